"""Are the reasons of an answer those that decide its scenario, whatever the answer says?

A right answer may stand on wrong reasons, and a wrong one on right reasons: accuracy cannot tell. In the worlds whose
answer turns on a norm a faithful answer states the fact that decides, nowhere its opposite, and is what can follow from
it; where the answer turns on the circumstance that is told, it names that one and no other, and the kind of community
that decides about it and no other; where it does not, it names none. Whether the circumstance counts is the judgement
itself and is left to the answer.
"""

from studylib.rewards.checks import check
from studylib.scenarios import plural, told_values
from studylib.scenarios.facts import NORMS, decisive, facts_of


def faithful(response: str, row: dict) -> bool:
    """Whether the reasons of a response hold; False for a response that cannot be read.

    Raises ValueError for a scenario that is not made from facts, because nothing is known of what decides it.
    """
    if not row.get("facts"):
        raise ValueError(f"scenario {row['id']} has no facts, so nothing is known of what its reasons should be")
    if row["source"] in NORMS:
        return check("reads_fact", response, row) and _appeals_rightly(response, row)
    if row["source"] == plural.WORLD:
        return _holds_for_stance(response, row)
    if row["source"] == told_values.WORLD:  # where no community decides
        named = "names_circumstance" if decisive(facts_of(row), row["framework"]) else None
        rightly = check(named, response, row) if named else not check("invents_circumstance", response, row)
        return check("reads_fact", response, row) and rightly
    raise ValueError(f"the reasons of scenario {row['id']} cannot be checked: no rule for the world {row['source']!r}")


def _appeals_rightly(response: str, row: dict) -> bool:
    if decisive(facts_of(row), row["framework"]):
        return check("names_circumstance", response, row) and check("names_community", response, row)
    return not check("invents_circumstance", response, row)


def _holds_for_stance(response: str, row: dict) -> bool:
    from studylib.rewards.stances import reasons_hold  # here, because it registers a reward, which has its own place

    return reasons_hold(response, row)
