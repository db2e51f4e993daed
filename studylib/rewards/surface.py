"""Surface diversity of one text: the eight statistics of MultiRole-R1 (arXiv 2507.20187) and their mean.

The paper calls its score length-normalised and does not say how. Here the statistics of words are means over windows
of `window` consecutive words, so that they do not fall with length by arithmetic alone, and every statistic of a text
with fewer words is scaled down by words / window, so that a single word is not the most diverse text there is.
All of them lie in [0, 1]. None knows what a text says.
"""

import hashlib
import itertools
import math
import re
from functools import lru_cache

import numpy as np
from scipy.special import entr

from studylib.text.spelling import EDGE, spelt

SENTENCE = re.compile(r"[^.?!\n]+[.?!]*")
RUN = re.compile(r"[.?!]+(?=[.?!])")  # marks before the last of a run
RUNS = ["".join(pair) for pair in itertools.product(".?!", repeat=2)]
MARKS = {".": 4, "?": 8, "!": 12}  # what `_code` makes of them: the last mark of a sentence is its type
AT_ONCE = 2**16  # characters: about what a core keeps near
ODD = np.int64(0x1E3779B97F4A7C15)  # pairs of words become numbers that wrap around and practically never collide
BITS = 24  # of a sentence's number; 38 bits of a word's hash are left beside it
STATISTICS = (
    "lexical", "token_entropy", "sentence_length", "sentence_pattern", "adjacent_sentence", "yule", "distinct_ngram",
    "function_word",
)  # fmt: skip
FUNCTION = """
a about all although an and any are as at be because been but by can could did do does each either else for from had
has have he her him his how however i if in into is it its may me might must my neither no nor not of on or other our
out over shall she should since so some such than that the their them then there therefore these they this those though
thus to under unless until up us was we were what when where whether which while who whom whose why will with without
would yet you your
"""
FUNCTION_WORDS = frozenset(FUNCTION.split())


def sentences(text: str) -> list[str]:
    """Sentences with their closing marks; one ends at a full stop, a question or exclamation mark or a line's end."""
    return [part.strip() for part in SENTENCE.findall(text) if part.strip()]


def words(text: str) -> list[str]:
    """What stands between white space, case-folded and without punctuation at its ends."""
    return [word for piece in spelt(text).split() if (word := _bare(piece))]


def has_words(text: str) -> bool:
    """Whether `words` finds any; it looks no further than the first."""
    return any(_bare(piece[0]) for piece in re.finditer(r"\S+", text))


@lru_cache(maxsize=2**14)
def _bare(piece: str) -> str:
    return piece.strip(EDGE)  # the same words come again and again, and a look-up is four times as fast


@lru_cache(maxsize=2**14)
def _code(piece: str) -> int:
    """A number for a word, 2 or for function words 3 beyond a multiple of 4; that of a mark; or 0 for neither."""
    word = _bare(piece)
    if not word:
        return MARKS.get(piece, 0)
    # not hash(): it differs from process to process, and with it the order of sums and their last digit
    known = hashlib.blake2b(word.encode(errors="surrogatepass"), digest_size=8).digest()
    return int.from_bytes(known, signed=True) & ~3 | 2 | (word in FUNCTION_WORDS)


def surface(text: str, window: int) -> dict[str, float]:
    """The eight statistics of a text, and `mean`, their mean."""
    return {name: float(values[0]) for name, values in surfaces([text], window).items()}


def surfaces(texts: list[str], window: int) -> dict[str, np.ndarray]:
    """The eight statistics of each text, and `mean`, their mean: (len(texts),) each. Linear in the length of the texts.

    All texts at once, because for one text at a time numpy's calls cost more than their arithmetic.
    """
    if len(texts) > 1 and sum(map(len, texts)) > AT_ONCE:
        halves = surfaces(texts[: len(texts) // 2], window), surfaces(texts[len(texts) // 2 :], window)
        return {name: np.concatenate([half[name] for half in halves]) for name in halves[0]}
    pieces = [_marks_apart(spelt(text)).split() for text in texts]
    codes = np.fromiter(map(_code, itertools.chain.from_iterable(pieces)), np.int64)
    text = np.repeat(np.arange(len(texts)), np.fromiter(map(len, pieces), np.int64))
    is_word = (codes & 2) > 0
    words_in = np.bincount(text[is_word], minlength=len(texts))
    values = _of_words(codes[is_word], words_in, window) | _of_sentences(codes, is_word, text, len(texts))
    scaled = {name: np.minimum(1, words_in / window) * values[name] for name in STATISTICS}
    return scaled | {"mean": np.mean(list(scaled.values()), axis=0)}


def _marks_apart(text: str) -> str:
    """Every mark that ends a sentence stands alone, the last of a run for all of it; a line's end is a full stop."""
    if any(run in text for run in RUNS):  # a search for most texts in place of a substitution
        text = RUN.sub("", text)
    text = text.replace(".", " . ").replace("?", " ? ").replace("!", " ! ")
    return text.replace("\n", " . ") + " ."


# --- statistics of words ---------------------------------------------------------------------------------------------


def _of_words(codes: np.ndarray, words_in: np.ndarray, window: int) -> dict[str, np.ndarray]:
    """Means over the windows of each text. codes: words of all texts, text after text; words_in: how many each has."""
    means = {name: np.zeros(len(words_in)) for name in STATISTICS}
    sizes, ends = np.minimum(words_in, window), np.cumsum(words_in)
    for size in np.unique(sizes[sizes > 0]):
        some = np.flatnonzero(sizes == size)
        windows = -(-words_in[some] // size)
        first = np.cumsum(windows) - windows  # index of each text's first window
        text = np.repeat(some, windows)
        # side by side from the start, and where they leave a rest, the last one ends with the text
        within = np.minimum((np.arange(windows.sum()) - np.repeat(first, windows)) * size, words_in[text] - size)
        start = (ends - words_in)[text] + within
        for name, values in _of_windows(codes[start[:, None] + np.arange(size)]).items():
            means[name][some] = np.add.reduceat(values, first) / windows
    return means


def _of_windows(tiles: np.ndarray) -> dict[str, np.ndarray]:
    """tiles: (windows, size) words; statistic -> (windows,)."""
    windows, size = tiles.shape
    word, count, row = _types(tiles)
    squares, c_log_c = np.bincount(row, count**2, windows), count * np.log(count)
    log_size, is_function = math.log(size) or 1.0, word & 1
    functions = np.maximum(np.bincount(row, count * is_function, windows), 1)
    pairs = tiles[:, :-1] * ODD + tiles[:, 1:]
    return {
        "lexical": np.bincount(row, minlength=windows) / size,
        "token_entropy": (math.log(size) - np.bincount(row, c_log_c, windows) / size) / log_size,
        "yule": 1 / (1 + 1e4 / size**2 * (squares - size)),
        "distinct_ngram": np.bincount(_types(pairs)[2], minlength=windows) / max(size - 1, 1),
        "function_word": (np.log(functions) - np.bincount(row, c_log_c * is_function, windows) / functions) / log_size,
    }


def _types(tiles: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The distinct values of every row: value, how often it is there, and its row; (types,) each."""
    ordered = np.sort(tiles, axis=1)
    new = np.ones(ordered.shape, bool)
    new[:, 1:] = ordered[:, 1:] != ordered[:, :-1]
    starts = np.flatnonzero(new)
    return ordered.ravel()[starts], np.diff(starts, append=ordered.size), starts // max(ordered.shape[1], 1)


# --- statistics of sentences -----------------------------------------------------------------------------------------


def _of_sentences(codes: np.ndarray, is_word: np.ndarray, text: np.ndarray, texts: int) -> dict[str, np.ndarray]:
    """codes, is_word, text: of every piece; each text ends with a mark. A coefficient of variation is clipped at 1."""
    is_mark = ~is_word & (codes > 0)
    ended = np.cumsum(is_mark)  # marks up to here: the sentence of a word
    length = np.bincount(ended[is_word], minlength=is_mark.sum())
    spoken = length > 0  # a mark without words before it ends no sentence
    length, mood, of = length[spoken], codes[is_mark][spoken] // 4 - 1, text[is_mark][spoken]
    n = np.maximum(np.bincount(of, minlength=texts), 1)
    mean = np.maximum(np.bincount(of, length, texts) / n, 1)
    sd = np.sqrt(np.bincount(of, (length - mean[of]) ** 2, texts) / n)
    shares = np.bincount(of * len(MARKS) + mood, minlength=texts * len(MARKS)).reshape(texts, len(MARKS)) / n[:, None]
    pairs = of[1:] == of[:-1]
    distances = 1 - _jaccard(codes[is_word], (np.cumsum(spoken) - 1)[ended[is_word]], len(of))[pairs]
    return {
        "sentence_length": np.minimum(1, sd / mean),
        "sentence_pattern": entr(shares).sum(1) / math.log(len(MARKS)),
        "adjacent_sentence": np.bincount(of[1:][pairs], distances, texts) / np.maximum(n - 1, 1),
    }


def _jaccard(words: np.ndarray, sentence: np.ndarray, sentences: int) -> np.ndarray:
    """(sentences - 1,) words in a sentence and the next over words in either."""
    keys = _types(((words << BITS) + sentence)[None])[0]  # a word's sentences come one after another
    own = keys & ((1 << BITS) - 1)
    size = np.bincount(own, minlength=sentences)
    both = np.bincount(own[:-1][np.diff(keys) == 1], minlength=sentences)[:-1]
    return both / np.maximum(size[:-1] + size[1:] - both, 1)
