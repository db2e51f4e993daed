"""Reading a stated distribution, such as `1: 0.2, 2: 0.5, 3: 0.3`: every option once, shares that sum to 1."""

import re
from functools import lru_cache

from studylib.text.answers import parse, read_answer
from studylib.text.spelling import folded, plain

SHARE = r"[0-9]{1,3}(?:\.[0-9]{1,9})?|\.[0-9]{1,9}"
TOLERANCE = 0.01  # how far from 1 the shares may sum


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


def readable(response: str, options: list[str], rated: bool) -> bool:
    """Whether an answer can be read: it gives an option or, of what people rated, a distribution over all of them."""
    return (stated if rated else read_answer)(response, options) is not None
