"""Estimates from few answers: how many stances a policy keeps, and whether one of k answers would do."""

import math
from collections.abc import Sequence


def one_of(n: int, c: int, k: int) -> float:
    """Chance that one of k answers drawn without replacement from n is among the c that will do: 1 - C(n-c,k)/C(n,k).

    Its mean over policies' answers is 1 - (1 - p)^k, where p is the chance of one answer: unbiased (Chen et al. 2021,
    arXiv 2107.03374, equation 1).
    """
    if not 0 <= c <= n or not 1 <= k <= n:
        raise ValueError(f"{c} of n = {n} answers and k = {k}: 0 <= c <= n and 1 <= k <= n are needed")
    return 1 - math.comb(n - c, k) / math.comb(n, k)


def entropy(counts: Sequence[int]) -> float:
    """Entropy in nats of the distribution that these counts were drawn from.

    Estimator of Chao, Wang and Jost (2013, Methods in Ecology and Evolution 4:1091). The entropy of the observed shares
    is too small for few answers, so that by it a policy with more right answers would seem more diverse. This one is
    exactly 0 for one kind of answer, however many there are. Its bias by brute force over all outcomes, in nats, that
    of the observed shares in brackets:

    |                       | n = 4         | n = 8         | n = 16        |
    | --------------------- | ------------- | ------------- | ------------- |
    | 1 kind                | 0 (0)         | 0 (0)         | 0 (0)         |
    | 2 kinds, equal        | -.026 (-.152) | -.001 (-.068) | .000 (-.032)  |
    | 3 kinds, equal        | .002 (-.316)  | -.004 (-.142) | .000 (-.066)  |
    | 4 kinds, equal        | -.008 (-.469) | .006 (-.221)  | -.001 (-.101) |
    | .9 and .1             | -.075 (-.125) | -.032 (-.072) | -.008 (-.036) |
    | .7 and three times .1 | -.158 (-.378) | -.049 (-.216) | -.003 (-.109) |

    That of Grassberger (2003, arXiv physics/0307138) was tried: for an odd number of answers of one kind it is far
    above 0 (.37 for 3, .21 for 5), so a policy that always says the same would seem to keep several stances.
    """
    counts = [c for c in counts if c]
    n = sum(counts)
    if n < 1:
        raise ValueError("the entropy of no answers is not known")
    seen = sum(c / n * sum(1 / j for j in range(c, n)) for c in counts)
    return seen + _unseen(n, counts.count(1), counts.count(2))


def _unseen(n: int, singles: int, doubles: int) -> float:
    """What kinds that were not drawn add, judged by how many were drawn once and twice."""
    if n < 2 or not singles:
        return 0.0
    kept = 2 * doubles if doubles else 2
    rare = kept / ((n - 1) * (singles if doubles else singles - 1) + kept)
    if rare == 1:
        return 0.0
    series = sum((1 - rare) ** r / r for r in range(1, n))
    return singles / n * (1 - rare) ** (1 - n) * (-math.log(rare) - series)
