"""Values of parameters: what is accepted for a number, and which numbers training can work with."""

import math
import numbers
import re
from decimal import Decimal

NUMBER = re.compile(r"[-+]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][-+]?[0-9]+)?")  # as YAML 1.2 writes numbers
LARGEST_SEED = 2**32 - 1  # of numpy and transformers
LARGEST_COUNT = 2**31 - 1  # of tokens, steps and rows
LARGEST_EXACT = 2**53  # whole numbers up to here are exact as floats
LEAST, MOST = 1e-18, 1e18  # a number between them and its square are within float32

# --- what is allowed: (function of a value, in words) ---

WITHIN = f"whose square float32 can hold, so {LEAST:g} to {MOST:g}"
POSITIVE = (lambda value: LEAST <= value <= MOST, f"a number > 0 {WITHIN}")
NOT_NEGATIVE = (lambda value: value == 0 or LEAST <= value <= MOST, f"a number >= 0 {WITHIN} or 0")


def at_least(low: int, most: int = LARGEST_COUNT):
    return lambda value: low <= value <= most, f"an integer >= {low}, at most {most}"


def between(low: int, high: int):
    return lambda value: low <= value <= high, f"{low}..{high}"


def one_of(*names: str):
    return lambda value: value in names, f"one of {', '.join(names)}"


def some_of(*names: str):
    return lambda value: bool(value.split()) and set(value.split()) <= {*names}, f"one or more of {', '.join(names)}"


# --- reading ---


def typed(name: str, value, kind: type):
    """`value` as `kind`. Text that is a number is accepted for numbers, because YAML 1.1 reads `1e-5` as text."""
    wanted = {int: "an integer", float: "a number", str: "text", bool: "true or false"}[kind]
    read = {int: _whole, float: decimal}.get(kind)
    number = read(value) if read else value if type(value) is kind else None
    if number is None:
        raise ValueError(f"parameter {name} = {value!r} is not allowed: {wanted}")
    return number


def _is_number(value) -> bool:
    """A real number, or text that is written as one; true and false are none."""
    if isinstance(value, str):
        return NUMBER.fullmatch(value) is not None
    return isinstance(value, numbers.Real) and not isinstance(value, bool)


def _whole(value) -> int | None:
    """An integer as it is written, not by way of a float, or a float that is exactly one; None for what is neither."""
    if not _is_number(value):
        return None
    if isinstance(value, numbers.Integral):
        return int(value)
    exact, most = (Decimal(value), 2**63) if isinstance(value, str) else (Decimal(float(value)), LARGEST_EXACT)
    if not exact.is_finite() or exact.adjusted() > 18 or abs(exact) > most or exact != exact.to_integral_value():
        return None
    return int(exact)


def decimal(value) -> float | None:
    """A number as a float; None for what is none, or beyond all floats."""
    try:
        number = float(value) if _is_number(value) else math.nan
    except OverflowError:
        return None
    return None if math.isnan(number) else number
