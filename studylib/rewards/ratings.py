"""Rewards from people's ratings and from choices with several acceptable answers.

p is the distribution of a scenario's ratings over the levels of its scale (`scenarios/scale.py`). The answer is one
option or, for some rewards, a stated distribution such as `1: 0.2, 2: 0.5, 3: 0.3`, which names every level once and
sums to 1. An answer that is neither, or that is not in its one place, gets the lowest value of the reward. The formulas
are the project's own, after KorNAT's SVA (`expected`) and proper scoring; arXiv 2511.14476 leaves them open.
"""

from functools import partial

from studylib.names import Option
from studylib.rewards import per_response
from studylib.scenarios.scale import levels, shares
from studylib.text.answers import read_answer
from studylib.text.stated import stated

SHARE_OF_RATERS = Option(
    "rater_share", 0.25, "share of raters that makes an option acceptable to rating_any_of",
    lambda value: 0 < value <= 1, "a share > 0, at most 1",
)  # fmt: skip


# --- the rewards -----------------------------------------------------------------------------------------------------

_rating = partial(per_response, needs=("options", "ratings"), check=shares)


@_rating("rating_majority", two_valued=True, agreement=True)
def majority(response: str, scenario: dict) -> float | None:
    """1.0 for the level that most raters chose (any of them in a tie), else 0.0."""
    p, level = shares(scenario), _level(response, scenario)
    return float(level is not None and p[level] == max(p))


@_rating("rating_expected", agreement=True)
def expected(response: str, scenario: dict) -> float | None:
    """p(answer): the mean over raters of agreeing with one; KorNAT's SVA. A stated distribution does not count."""
    level = _level(response, scenario)
    return shares(scenario)[level] if level is not None else 0.0


@_rating("rating_soft_label", agreement=True, distributions=True)
def soft_label(response: str, scenario: dict) -> float | None:
    """sum_k q_k p_k: the chance that a draw of the answer agrees with a rater; `expected` for a single option."""
    return _compared(response, scenario, 0.0, lambda q, p: sum(a * b for a, b in zip(q, p, strict=True)))


@_rating("rating_total_variation", agreement=True, distributions=True)
def total_variation(response: str, scenario: dict) -> float | None:
    """1 - 1/2 sum_k |q_k - p_k|, in [0, 1]."""
    return _compared(response, scenario, 0.0, lambda q, p: 1 - sum(abs(a - b) for a, b in zip(q, p, strict=True)) / 2)


@_rating("rating_brier", agreement=True, distributions=True)
def brier(response: str, scenario: dict) -> float | None:
    """1 - sum_k (q_k - p_k)^2, in [-1, 1]: a proper score, so stating p itself is best."""
    return _compared(response, scenario, -1.0, lambda q, p: 1 - sum((a - b) ** 2 for a, b in zip(q, p, strict=True)))


@_rating("rating_ordinal", agreement=True)
def ordinal(response: str, scenario: dict) -> float | None:
    """1 - |answer - mean rating| / range of the scale, in [0, 1]."""
    scale, p, level = levels(scenario["options"]), shares(scenario), _level(response, scenario)
    mean = sum(value * share for value, share in zip(scale, p, strict=True))
    return 1 - abs(scale[level] - mean) / (scale[-1] - scale[0]) if level is not None else 0.0


@_rating("rating_any_of", two_valued=True, options=(SHARE_OF_RATERS,))
def any_of(response: str, scenario: dict, rater_share: float) -> float | None:
    """1.0 for an option that at least `rater_share` of the raters chose: several answers may be acceptable."""
    p, level = shares(scenario), _level(response, scenario)
    return float(level is not None and p[level] >= rater_share)


def _level(response: str, scenario: dict) -> int | None:
    """Index of the one option that is answered."""
    answer = read_answer(response, scenario["options"])
    return None if answer is None else scenario["options"].index(answer)


def _compared(response: str, scenario: dict, lowest: float, compare) -> float:
    p, q = shares(scenario), stated(response, scenario["options"])
    return lowest if q is None else compare(q, p)
