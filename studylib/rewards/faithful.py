"""Are the reasons of an answer those that decide its scenario, whatever the answer says?

A right answer may stand on wrong reasons, and a wrong one on right reasons: accuracy cannot tell. In the worlds whose
answer turns on a norm a faithful answer states the fact that decides, nowhere its opposite, and is what can follow from
it; where the answer turns on the circumstance that is told, it names that one and no other, and the kind of community
that decides about it and no other; where it does not, it names none. Whether the circumstance counts is the judgement
itself and is left to the answer. In `council_norms` it reads the facts of at least one view, none of them falsely, and
answers as most of the views that it takes find: one view is enough, because what one view can know is the question.
"""

from functools import partial

from studylib.rewards.checks import check, own_words, states
from studylib.scenarios import council, plural, rated, raters, told_values
from studylib.scenarios.facts import NORMS, READINGS, decisive, facts_of, misreading, reading
from studylib.text.answers import read_answer


def faithful(response: str, row: dict) -> bool:
    """Whether the reasons of a response hold; False for a response that cannot be read.

    Raises ValueError for a scenario that is not made from facts, because nothing is known of what decides it.
    """
    if not row.get("facts"):
        raise ValueError(f"scenario {row['id']} has no facts, so nothing is known of what its reasons should be")
    if row["source"] not in HOLD:
        raise ValueError(
            f"the reasons of scenario {row['id']} cannot be checked: no rule for the world {row['source']!r}"
        )
    return HOLD[row["source"]](response, row)


def _appeals_rightly(response: str, row: dict, also: tuple[str, ...] = ("names_community",)) -> bool:
    named = ("names_circumstance", *also) if decisive(facts_of(row), row["framework"]) else ()
    if not named and check("invents_circumstance", response, row):
        return False
    return all(check(criterion, response, row) for criterion in ("reads_fact", *named))


def _reads_all(response: str, row: dict) -> bool:
    """Of what people rate: whether the reasons state all facts that raters go by, and none wrongly."""
    facts, reasons = facts_of(row), own_words(response, row)
    true = all(reading(facts, framework).casefold() in reasons for framework in raters.FACTS)
    return true and not any(misreading(facts, framework).casefold() in reasons for framework in READINGS)


def _follows_from_views(response: str, row: dict) -> bool:
    """Whether the reasons read one view or more rightly, none falsely, and most of these find the answer."""
    facts, reasons = facts_of(row), own_words(response, row)
    if any(misreading(facts, framework).casefold() in reasons for framework in READINGS):
        return False
    taken = [one for one in council.told(facts, row["prompt"]) if states(reasons, reading(facts, one).casefold())]
    found = [council.finding(facts, framework) for framework in taken]
    answer = read_answer(response, row["options"])
    return answer is not None and found.count(answer) * 2 > len(found)


def _holds_for_stance(response: str, row: dict) -> bool:
    from studylib.rewards.stances import reasons_hold  # here, because it registers a reward, which has its own place

    return reasons_hold(response, row)


HOLD = {  # world -> whether the reasons of a response to one of its rows hold
    **dict.fromkeys(NORMS, _appeals_rightly),
    plural.WORLD: _holds_for_stance,
    rated.WORLD: _reads_all,
    council.WORLD: _follows_from_views,
    told_values.WORLD: partial(_appeals_rightly, also=()),  # where no community decides
}
