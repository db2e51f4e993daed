"""Surface diversity of one text: the eight statistics of MultiRole-R1 (arXiv 2507.20187) and their mean.

The paper calls its score length-normalised and does not say how. Here the statistics of words are means over windows
of `window` consecutive words, so that they do not fall with length by arithmetic alone, and every statistic of a text
with fewer words is scaled down by words / window, so that a single word is not the most diverse text there is.
All of them lie in [0, 1]. None knows what a text says.
"""

import itertools
import math
import re
import string
from functools import lru_cache

import numpy as np

EDGE = string.punctuation + "…–—“”‘’«»。！？、，"  # what is no part of a word at its ends
SENTENCE = re.compile(r"[^.?!\n]+[.?!]*")
MOODS = {"?": 1, "!": 2}  # the last mark of a sentence -> its type; all others are declarative: 0
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
    return [word for piece in text.casefold().split() if (word := _bare(piece))]


@lru_cache(maxsize=2**14)
def _bare(piece: str) -> str:
    return piece.strip(EDGE)  # the same words come again and again, and a look-up is four times as fast


def surface(text: str, window: int) -> dict[str, float]:
    """The eight statistics of a text, and `mean`, their mean. Linear in the length of the text."""
    spoken = [(tokens, part.rstrip()[-1]) for part in SENTENCE.findall(text) if (tokens := words(part))]
    tokens = [token for sentence, _ in spoken for token in sentence]
    if not tokens:
        return dict.fromkeys((*STATISTICS, "mean"), 0.0)
    values = _of_words(tokens, window) | _of_sentences(spoken)
    scale = min(1.0, len(tokens) / window)
    values = {name: scale * values[name] for name in STATISTICS}
    return values | {"mean": sum(values.values()) / len(values)}


def _of_words(tokens: list[str], window: int) -> dict[str, float]:
    """Means over windows; `count` holds for every word how often it stands in its window.

    With it, types = sum over words of 1 / count, entropy = mean log(size / count), sum of squares = sum of counts.
    """
    tiles = _windows(np.fromiter(map(hash, tokens), np.int64, len(tokens)), window)  # 64 bits: words do not collide
    n, size = tiles.shape
    same = tiles[:, :, None] == tiles[:, None, :]
    count = np.add.reduce(same, 2, dtype=np.int32)
    pairs = np.add.reduce(same[:, :-1, :-1] & same[:, 1:, 1:], 2, dtype=np.int32)
    yule = 1e4 / size**2 * (np.add.reduce(count, 1) - size)
    is_function = _windows(np.fromiter(map(FUNCTION_WORDS.__contains__, tokens), bool, len(tokens)), window)
    functions = np.maximum(np.add.reduce(is_function, 1, dtype=np.int32), 1)[:, None]
    log_size, log_count = math.log(size) or 1.0, np.log(count)
    of_functions = (is_function / functions * (np.log(functions) - log_count)).sum()
    return {
        "lexical": float((1 / count).sum()) / (n * size),
        "token_entropy": 1 - float(log_count.sum()) / (n * size) / log_size if size > 1 else 0.0,
        "yule": float((1 / (1 + yule)).sum()) / n,
        "distinct_ngram": float((1 / pairs).sum()) / (n * (size - 1)) if size > 1 else 0.0,
        "function_word": max(0.0, float(of_functions)) / n / log_size,
    }


def _windows(ids: np.ndarray, window: int) -> np.ndarray:
    """(windows, size): side by side from the start, and one that ends with the text where they leave a rest."""
    size = min(len(ids), window)
    tiles = ids[: len(ids) // size * size].reshape(-1, size)
    return tiles if len(ids) % size == 0 else np.vstack([tiles, ids[-size:]])


def _of_sentences(spoken: list[tuple[list[str], str]]) -> dict[str, float]:
    """spoken: (words, last character) of every sentence. The coefficient of variation is clipped at 1."""
    n = len(spoken)
    lengths = [len(tokens) for tokens, _ in spoken]
    mean = sum(lengths) / n
    sd = math.sqrt(sum((length - mean) ** 2 for length in lengths) / n)
    moods = [0, 0, 0]
    for _, mark in spoken:
        moods[MOODS.get(mark, 0)] += 1
    bags = [set(tokens) for tokens, _ in spoken]
    shared = [(len(a & b), len(a) + len(b)) for a, b in itertools.pairwise(bags)]
    distances = [1 - both / (total - both) for both, total in shared]  # both / either: Jaccard
    return {
        "sentence_length": min(1.0, sd / mean),
        "sentence_pattern": sum(k / n * math.log(n / k) for k in moods if k) / math.log(len(moods)),
        "adjacent_sentence": sum(distances) / len(distances) if distances else 0.0,
    }
