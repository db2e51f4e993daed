"""Rewards from people's ratings and from choices with several acceptable answers.

A scenario's options are the levels of a scale in their order: numbers, or words that count as 1..K. `ratings` holds
one value of the scale per rater; p is their distribution over the levels. The answer is one option, or where a reward
says so a stated distribution such as `1: 0.2, 2: 0.5, 3: 0.3`, which names every level once and sums to 1. An answer
that is neither, or not in its one place, gets the lowest value of the reward. Formulas: arXiv 2511.14476 leaves them
open; these are the project's own, after KorNAT's SVA (`expected`) and proper scoring.
"""

import itertools
import math
import re

from studylib.rewards.verdict import parse, read_answer

SHARE = re.compile(r"[0-9]{1,3}(?:\.[0-9]{1,9})?|\.[0-9]{1,9}")
TOLERANCE = 0.01  # how far from 1 a stated distribution may sum


def levels(options: list[str]) -> list[float]:
    """The scale: the options' numbers where all are numbers, else 1..K."""
    try:
        scale = [float(option) for option in options]
    except ValueError:
        scale = [float(k) for k in range(1, len(options) + 1)]
    rises = all(a < b for a, b in itertools.pairwise(scale)) and all(map(math.isfinite, scale))
    if len(set(options)) < max(2, len(options)) or not rises:
        raise ValueError(f"options {options!r} are no scale: two or more different words, or numbers that rise")
    return scale


def shares(scenario: dict) -> list[float]:
    """p: the share of raters at each level. Refuses a scenario without ratings and a rating off the scale."""
    scale, values = levels(scenario["options"]), [rating["value"] for rating in scenario["ratings"]]
    off = [value for value in values if value not in scale]
    if off or not values:
        problem = f"a rating of {off[0]!r} is not on its scale {scale}" if off else "it has no ratings"
        raise ValueError(f"scenario {scenario['id']} cannot be scored by ratings: {problem}")
    return [values.count(level) / len(values) for level in scale]


def stated(response: str, options: list[str]) -> list[float] | None:
    """q: the distribution that a well-formed answer states, all on one level when it names one; else None."""
    named = read_answer(response, options)
    if named is not None:
        return [float(option == named) for option in options]
    parsed = parse(response)
    if parsed is None or len(parsed[1]) > 100 * len(options):
        return None
    parts = [part.partition(":") for part in re.split("[,;]", parsed[1])]
    given = [(level.strip().casefold(), share.strip()) for level, _, share in parts]
    names = [option.casefold() for option in options]
    if sorted(level for level, _ in given) != sorted(names) or not all(SHARE.fullmatch(share) for _, share in given):
        return None
    q = [float(dict(given)[name]) for name in names]
    return [share / sum(q) for share in q] if abs(sum(q) - 1) <= TOLERANCE else None


def majority(response: str, scenario: dict) -> float | None:
    """1.0 for the level that most raters chose (any of them in a tie), else 0.0."""
    p, said = shares(scenario), _one(response, scenario)
    return float(said is not None and p[said] == max(p))


def expected(response: str, scenario: dict) -> float | None:
    """p(answer): the mean over raters of agreeing with one; KorNAT's SVA. A stated distribution is no answer here."""
    said = _one(response, scenario)
    return shares(scenario)[said] if said is not None else 0.0


def soft_label(response: str, scenario: dict) -> float | None:
    """sum_k q_k p_k: the chance that a draw of the answer agrees with a rater; `expected` for a single option."""
    return _compared(response, scenario, 0.0, lambda q, p: sum(a * b for a, b in zip(q, p, strict=True)))


def total_variation(response: str, scenario: dict) -> float | None:
    """1 - 1/2 sum_k |q_k - p_k|, in [0, 1]."""
    return _compared(response, scenario, 0.0, lambda q, p: 1 - sum(abs(a - b) for a, b in zip(q, p, strict=True)) / 2)


def brier(response: str, scenario: dict) -> float | None:
    """1 - sum_k (q_k - p_k)^2, in [-1, 1]: a proper score, so stating p itself is best."""
    return _compared(response, scenario, -1.0, lambda q, p: 1 - sum((a - b) ** 2 for a, b in zip(q, p, strict=True)))


def ordinal(response: str, scenario: dict) -> float | None:
    """1 - |answer - mean rating| / range of the scale, in [0, 1]."""
    scale, p, said = levels(scenario["options"]), shares(scenario), _one(response, scenario)
    mean = sum(level * share for level, share in zip(scale, p, strict=True))
    return 1 - abs(scale[said] - mean) / (scale[-1] - scale[0]) if said is not None else 0.0


def any_of(response: str, scenario: dict, accepted_share: float = 0.25) -> float | None:
    """1.0 for an option that at least `accepted_share` of the raters chose: several answers may be acceptable."""
    p, said = shares(scenario), _one(response, scenario)
    return float(said is not None and p[said] >= accepted_share)


def _one(response: str, scenario: dict) -> int | None:
    """Index of the one option that is answered."""
    named = read_answer(response, scenario["options"])
    return None if named is None else scenario["options"].index(named)


def _compared(response: str, scenario: dict, lowest: float, compare) -> float:
    p, q = shares(scenario), stated(response, scenario["options"])
    return lowest if q is None else compare(q, p)
