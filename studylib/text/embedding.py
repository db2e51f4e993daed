"""Texts as vectors without a model: how often each word comes, and how rare the word is."""

import zlib
from functools import lru_cache

import numpy as np

from studylib.text.spelling import EDGE, spelt

HASHED = 4096  # dimensions


def embed_words(texts: list[str]) -> np.ndarray:
    """(texts, 4096): how often each word comes, words hashed to dimensions."""
    vectors = np.zeros((len(texts), HASHED + 1))
    for vector, text in zip(vectors, texts, strict=True):
        dimensions = np.fromiter(map(_dimension, spelt(text).split()), int)
        vector += np.bincount(dimensions, minlength=HASHED + 1)
    return vectors[:, :HASHED]


@lru_cache(maxsize=2**14)
def _dimension(piece: str) -> int:
    word = piece.strip(EDGE)
    return zlib.crc32(word.encode(errors="surrogatepass")) % HASHED if word else HASHED  # no word: beyond the others


def rarity(counts: np.ndarray) -> np.ndarray:
    """(dimensions,) log((2 + n) / (1 + df)) of n texts with these (n, dimensions) counts.

    The inverse document frequency (Sparck Jones 1972), next to 0 for a word of all texts. Counts times rarity say what
    a text is about; in counts alone the words that every text of a style has weigh most.
    """
    return np.log((2 + len(counts)) / (1 + (counts > 0).sum(0)))


def unit(vectors: np.ndarray) -> np.ndarray:
    """The vectors, one a row, at length 1, without the dimensions that none of them has; raises ValueError for a text
    without a word."""
    lengths = np.linalg.norm(vectors, axis=1)
    if not lengths.all():
        raise ValueError(f"text {int((lengths == 0).argmax())} has no word that could be compared")
    return (vectors / lengths[:, None])[:, vectors.any(0)]
