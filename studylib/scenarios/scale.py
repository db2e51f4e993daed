"""Scales on which people rate: the levels that options stand for, and how ratings are distributed over them.

A scenario's options are the levels in their order: all of them numbers, or all of them words, which count as 1..K.
`ratings` holds one value of the scale per rater.
"""

import itertools
import math
import re
import unicodedata
from functools import lru_cache

NUMBER = re.compile(r"[-+]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)")  # a level that is a number: digits, sign, decimal point
OPENERS, IN_NUMBERS = " \t([<>~≤≥#'\"", "+-−.,"  # before, and within, a number that words open with


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
