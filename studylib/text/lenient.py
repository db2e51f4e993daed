"""A lenient reader of answers, apart from the reward's strict one: what was meant where the form was lost.

It reads the option that is named in or after the last answer tag, or, where there is no such tag, at the very end of
what follows the reasons. It never guesses: where two options stand at that place, or one stands there denied ("not
wrong"), it reads none.
"""

import re
import unicodedata
from functools import lru_cache

from studylib.text.answers import ANSWER, END_ANSWER, END_THINK, THINK
from studylib.text.options import TAGS, named

MARKS = " \t\"'*_`()[]{}.,:;!?“”‘’"  # may stand around an option
_TAG = re.compile("|".join(map(re.escape, TAGS)))
_DENIED = re.compile(  # up to four words before an option
    r"(?:\b(?:not|cannot|never|neither|nor|no longer|hardly|scarcely|barely|far from)|n['’]t)(?: [\w'’]+){0,4}\s*$",
    re.IGNORECASE,
)


def read_leniently(response: str, options: list[str]) -> str | None:
    """The option that a response means, None where it names none or more than one; as strict reading where it reads."""
    if ANSWER not in response:
        return _only(_last_line(_after_reasons(response)), options, at_end=True)
    inside, _, behind = response.rpartition(ANSWER)[2].partition(END_ANSWER)
    place = inside if _whole(inside, options) or _pattern(tuple(options)).search(_clean(inside)) else behind
    return _only(place, options)


def _after_reasons(response: str) -> str:
    """What follows the reasons: nothing where they are opened and do not end, all where there is no tag of theirs."""
    if END_THINK in response:
        return response.rpartition(END_THINK)[2]
    return "" if THINK in response else response


def _last_line(text: str) -> str:
    lines = [line for line in _TAG.sub("\n", text).splitlines() if line.strip(MARKS)]
    return lines[-1] if lines else ""


def _only(place: str, options: list[str], at_end: bool = False) -> str | None:
    """The one option that a place names, and does not deny; at_end: the place must end with it."""
    if whole := _whole(place, options):
        return whole
    text = _clean(place)
    found = list(_pattern(tuple(options)).finditer(text))
    if len({match.lastgroup for match in found}) != 1 or (at_end and found[-1].end() < len(text)):
        return None
    if any(_DENIED.search(text[: match.start()]) for match in found):
        return None
    return options[int(found[0].lastgroup.removeprefix("option"))]


def _whole(place: str, options: list[str]) -> str | None:
    """The option that a place holds and nothing else, punctuation aside."""
    text = _TAG.sub(" ", place)
    return named(text.strip(), options) or named(text.strip(MARKS), options)


def _clean(text: str) -> str:
    """Text on one line, without tags and what stands around it; its case is kept."""
    return unicodedata.normalize("NFC", " ".join(_TAG.sub(" ", text).split()).strip(MARKS))


@lru_cache(maxsize=4096)
def _pattern(options: tuple[str, ...]) -> re.Pattern:
    """Whole words that name an option, the longest where one holds another; option i is the group `option<i>`."""
    longest_first = sorted(range(len(options)), key=lambda i: -len(options[i]))
    groups = "|".join(f"(?P<option{i}>{_words(options[i])})" for i in longest_first)
    return re.compile(rf"(?<![\w'’-])(?<!\w\.)(?:{groups})(?![\w-]|['’.]\w)")


def _words(option: str) -> str:
    """An option as a pattern. A single letter must have its case: "a" is a word of any text, "A" an option."""
    text = _clean(option) or option
    return re.escape(text) if len(text) == 1 else f"(?i:{re.escape(text)})"
