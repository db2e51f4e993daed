"""How varied are texts, at a fixed number of words? A longer text has more distinct words."""

from collections.abc import Iterable

import numpy as np

BUDGET = 2000  # words


def distinct_n(texts: Iterable[list[str]], n: int = 2, budget: int = BUDGET) -> float:
    """Share of distinct n-grams among those of the first `budget` words (Li et al. 2016, distinct-n); NaN for fewer.

    n-grams do not reach across texts.
    """
    if n < 1 or budget < n:
        raise ValueError(f"n-grams need 1 <= n <= budget, not n = {n}, budget = {budget}")
    grams, left = [], budget
    for text in texts:
        text = text[:left]
        left -= len(text)
        grams += [tuple(text[i : i + n]) for i in range(len(text) - n + 1)]
    return len(set(grams)) / len(grams) if left == 0 and grams else np.nan
