"""Rewards from people's ratings and from choices with several acceptable answers.

A scenario's options are the levels of a scale in their order: all of them numbers, or all of them words, which count as
1..K. `ratings` holds one value of the scale per rater; p is their distribution over the levels. The answer is one
option or, for some rewards, a stated distribution such as `1: 0.2, 2: 0.5, 3: 0.3`, which names every level once and
sums to 1. An answer that is neither, or that is not in its one place, gets the lowest value of the reward. The formulas
are the project's own, after KorNAT's SVA (`expected`) and proper scoring; arXiv 2511.14476 leaves them open.
"""

import itertools
import math
import re
import unicodedata
from functools import lru_cache, partial

from studylib.names import Option
from studylib.rewards import per_response
from studylib.text.answers import parse, read_answer
from studylib.text.spelling import folded, plain

SHARE = r"[0-9]{1,3}(?:\.[0-9]{1,9})?|\.[0-9]{1,9}"
NUMBER = re.compile(r"[-+]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)")  # a level that is a number: digits, sign, decimal point
OPENERS, IN_NUMBERS = " \t([<>~≤≥#'\"", "+-−.,"  # before, and within, a number that words open with
TOLERANCE = 0.01  # how far from 1 a stated distribution may sum
SHARE_OF_RATERS = Option(
    "rater_share", 0.25, "share of raters that makes an option acceptable to rating_any_of",
    lambda value: 0 < value <= 1, "a share > 0, at most 1",
)  # fmt: skip


def levels(options: list[str]) -> list[float]:
    """The scale: the options' numbers where all are numbers, 1..K where none is; raises ValueError for anything else.

    A number is written with digits, sign and decimal point. Any other way to write one (1e3, nan, a fraction, a Roman
    or full-width numeral) is refused, and so is a word beside numbers: "don't know" is not a level above 1, 2 and 3. A
    level in words may start with a number ("1 - never") if that is its position, because raters' values would mean it.
    """
    return list(_levels(tuple(options)))


@lru_cache(maxsize=4096)
def _levels(options: tuple[str, ...]) -> tuple[float, ...]:
    numbers = [NUMBER.fullmatch(option.strip()) is not None for option in options]
    in_words = not any(numbers) and not any(map(_is_numeral, options)) and _places_hold(options)
    scale = tuple(map(float, options)) if all(numbers) else tuple(float(k) for k in range(1, len(options) + 1))
    rises = all(a < b for a, b in itertools.pairwise(scale)) and all(map(math.isfinite, scale))
    if not (all(numbers) or in_words) or len(set(options)) < max(2, len(options)) or not rises:
        raise ValueError(
            f"options {list(options)!r} are not a scale: it takes two or more different words, or rising numbers, "
            "not both, and no word may start with a number other than its position"
        )
    return scale


def _is_numeral(option: str) -> bool:
    """Whether a reader would take these words for a number, however it is written."""
    try:
        float(option)
    except ValueError:
        return option.strip().isnumeric()
    return True


def _places_hold(options: tuple[str, ...]) -> bool:
    return all(_opening(option) in ("", str(place)) for place, option in enumerate(options, start=1))


def _opening(option: str) -> str:
    """The number that words open with, in any writing: "1" of "1 - never", "10" of "10+", "" of "never"."""
    text = option.lstrip(OPENERS)
    return "".join(itertools.takewhile(_in_a_number, text)).rstrip(IN_NUMBERS)


def _in_a_number(letter: str) -> bool:
    return unicodedata.category(letter).startswith("N") or letter in IN_NUMBERS


def shares(scenario: dict) -> list[float]:
    """p: the share of raters at each level. Raises ValueError without ratings and for a rating off the scale."""
    try:
        scale, values = levels(scenario["options"]), [rating["value"] for rating in scenario["ratings"]]
    except ValueError as error:
        raise ValueError(f"scenario {scenario['id']} cannot be scored by ratings: {error}") from error
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
    if parsed is None or len(parsed[1]) > sum(map(len, options)) * 4 + 100 * len(options):
        return None
    readings = _distributions(plain(parsed[1]), tuple(map(folded, options)))
    q = readings[0] if len(readings) == 1 else []
    return [share / sum(q) for share in q] if q and abs(sum(q) - 1) <= TOLERANCE else None


def _distributions(text: str, names: tuple[str, ...]) -> list[list[float]]:
    """Every way to read a text as `name: share` of each name, in any order, with a comma or semicolon between.

    The names are matched as they stand, so that commas, colons and digits in them are not read as syntax.
    """
    readings, unfinished = [], [(text, {})]
    while unfinished:
        text, given = unfinished.pop()
        for name in names:
            match = _statement(name).match(text) if name not in given else None
            if match is None:
                continue
            named, last = given | {name: float(match[1])}, len(given) + 1 == len(names)
            if last and match.end() == len(text) and match[2] is None:
                readings.append([named[name] for name in names])
            elif not last and match[2] is not None:
                unfinished.append((text[match.end() :], named))
    return readings


@lru_cache(maxsize=4096)
def _statement(name: str) -> re.Pattern:
    return re.compile(rf"{re.escape(name)}\.? ?: ?({SHARE})(?: ?([,;]) ?)?")


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
