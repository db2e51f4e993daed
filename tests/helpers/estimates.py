"""The bias of the entropy from few answers, by brute force."""

import itertools
import math

from studylib.evaluation.estimators import entropy


def outcomes(n, shares):
    """(counts, probability) of n answers of a policy that gives its kinds of answers with these shares."""
    for counts in itertools.product(range(n + 1), repeat=len(shares)):
        if sum(counts) == n:
            ways = math.factorial(n) / math.prod(map(math.factorial, counts))
            yield counts, ways * math.prod(p**c for p, c in zip(shares, counts, strict=True))


def bias(n, shares):
    truth = -sum(p * math.log(p) for p in shares)
    return sum(p * entropy(counts) for counts, p in outcomes(n, shares)) - truth
