"""Estimates from few answers equal what brute force over all outcomes says that they must be."""

import itertools
import math

import numpy as np
import pytest
from estimates import bias

from studylib.evaluation.estimators import entropy, one_of


@pytest.mark.parametrize("n, k", [(4, 1), (4, 4), (8, 4), (16, 8)])
@pytest.mark.parametrize("p", [0.0, 0.1, 0.5, 1.0])
def test_one_of_k_has_the_mean_of_the_closed_form(n, k, p):
    mean = sum(math.comb(n, c) * p**c * (1 - p) ** (n - c) * one_of(n, c, k) for c in range(n + 1))
    assert mean == pytest.approx(1 - (1 - p) ** k)


@pytest.mark.parametrize("n, c, k", [(5, 2, 3), (4, 0, 2), (4, 4, 1), (6, 1, 6)])
def test_one_of_k_is_the_share_of_draws_that_hold_one(n, c, k):
    draws = list(itertools.combinations([1] * c + [0] * (n - c), k))
    assert one_of(n, c, k) == pytest.approx(np.mean([any(draw) for draw in draws]))


@pytest.mark.parametrize("n, c, k", [(4, 1, 5), (4, 5, 1), (4, 1, 0)])
def test_one_of_more_than_there_are_is_refused(n, c, k):
    with pytest.raises(ValueError, match=f"{c} of n = {n} answers and k = {k}"):
        one_of(n, c, k)


@pytest.mark.parametrize("n", [1, 2, 3, 4, 5, 8, 15, 16, 100])
def test_the_entropy_of_one_kind_of_answer_is_0_however_many_there_are(n):
    assert entropy([n]) == 0 and entropy([0, n, 0]) == 0


def test_the_entropy_of_many_answers_is_that_of_their_shares():
    assert entropy([2500] * 4) == pytest.approx(math.log(4), abs=1e-3)
    assert entropy([9000, 1000]) == pytest.approx(0.3251, abs=1e-3)


@pytest.mark.parametrize(
    "n, shares, expected",  # the table of the docstring
    [
        (4, [1 / 2] * 2, -0.026), (8, [1 / 2] * 2, -0.001), (16, [1 / 2] * 2, 0.0),
        (4, [1 / 3] * 3, 0.002), (8, [1 / 3] * 3, -0.004), (16, [1 / 3] * 3, 0.0),
        (4, [1 / 4] * 4, -0.008), (8, [1 / 4] * 4, 0.006), (16, [1 / 4] * 4, -0.001),
        (4, [0.9, 0.1], -0.075), (8, [0.9, 0.1], -0.032), (16, [0.9, 0.1], -0.008),
        (4, [0.7, 0.1, 0.1, 0.1], -0.158), (8, [0.7, 0.1, 0.1, 0.1], -0.049), (16, [0.7, 0.1, 0.1, 0.1], -0.003),
    ],
)  # fmt: skip
def test_the_bias_of_the_entropy_is_what_is_said_of_it(n, shares, expected):
    assert bias(n, shares) == pytest.approx(expected, abs=6e-4)


def test_the_entropy_of_two_kinds_is_worked_out_by_hand():
    """Three answers, two alike: 2/3 (1/2) + 1/3 (1 + 1/2) seen; of singles 1 and doubles 1, A = 1/2."""
    unseen = 1 / 3 * (1 / 2) ** -2 * (math.log(2) - (1 / 2 + 1 / 8))
    assert entropy([2, 1]) == pytest.approx(2 / 3 * 1 / 2 + 1 / 3 * 3 / 2 + unseen)


def test_the_entropy_of_nothing_is_refused():
    with pytest.raises(ValueError, match="no answers"):
        entropy([0, 0])
