"""When two texts are spelt alike. What forgives an answer forgives an option, and what counts words counts them so."""

import string
import unicodedata
from functools import lru_cache

EDGE = string.punctuation + "…–—“”‘’«»。！？、，"  # stripped from the ends of words


def spelt(text: str) -> str:
    """Text in one case, its letters composed (NFC), so that neither tells texts apart.

    Not NFKC: letters that merely look alike (Cyrillic, full-width, ligatures, the long s) stay what they are.
    """
    if text.isascii():
        return text.casefold()
    return unicodedata.normalize("NFC", "".join(map(_small, unicodedata.normalize("NFC", text))))


@lru_cache(maxsize=4096)
def _small(letter: str) -> str:
    # Case folding alone would turn the ligature of f and i, and the long s, into the letters they look like.
    return letter if unicodedata.decomposition(letter).startswith("<") else letter.casefold()


def plain(text: str) -> str:
    """Text as `spelt`, on one line, with single spaces."""
    return spelt(" ".join(text.split()))


def folded(text: str) -> str:
    """What is compared when no option is given word for word: plain text without one closing full stop."""
    return plain(text).removesuffix(".")
