"""Rubric criteria that a program can check on a response to an embedded scenario.

A check sees the response and what the scenario was made from, never the right verdict alone: a criterion such as
"reads the deciding fact" is met by saying so, whatever the answer.
"""

from studylib.rewards.verdict import parse, read_answer
from studylib.scenarios.vocabulary import CIRCUMSTANCES, COMMUNITIES
from studylib.scenarios.worlds import READINGS, Facts, counts, decisive, facts_of, reading


def check(criterion: str, response: str, scenario: dict) -> bool:
    """Whether `response` meets the criterion with this id, be it wanted (weight > 0) or not (weight < 0)."""
    if criterion not in CHECKS:
        raise ValueError(f"no check for criterion {criterion!r}; known: {', '.join(CHECKS)}")
    parsed = parse(response)
    reasons = (parsed[0] if parsed else response).casefold()
    return CHECKS[criterion](reasons, response, scenario, facts_of(scenario))


def _says_only(reasons: str, right: str, others) -> bool:
    """Says the right word and none of the others: naming all of them earns nothing."""
    return right.casefold() in reasons and not any(word.casefold() in reasons for word in others if word != right)


def _reads_fact(reasons: str, response: str, scenario: dict, facts: Facts) -> bool:
    return _says_only(reasons, reading(facts, scenario["framework"]), READINGS[scenario["framework"]])


def _weighs_circumstance(reasons: str, response: str, scenario: dict, facts: Facts) -> bool:
    denies = "does not count" in reasons
    affirms = "counts" in reasons
    return affirms != denies and affirms == counts(facts, scenario["source"])


def _invents_circumstance(reasons: str, response: str, scenario: dict, facts: Facts) -> bool:
    told = facts.circumstance if decisive(facts, scenario["framework"]) else None
    return any(word in reasons for word in CIRCUMSTANCES if word != told)


CHECKS = {
    "reads_fact": _reads_fact,
    "names_affected": lambda reasons, response, scenario, facts: facts.affected.casefold() in reasons,
    "reasons_first": lambda reasons, response, scenario, facts: bool((parse(response) or ("",))[0]),
    "right_verdict": lambda reasons, response, scenario, facts: (
        read_answer(response, scenario["options"]) == scenario["answer"]
    ),
    "wrong_verdict": lambda reasons, response, scenario, facts: (
        read_answer(response, scenario["options"]) not in (None, scenario["answer"])
    ),
    "invents_circumstance": _invents_circumstance,
    "names_circumstance": lambda reasons, response, scenario, facts: _says_only(
        reasons, facts.circumstance, CIRCUMSTANCES
    ),
    "names_community": lambda reasons, response, scenario, facts: _says_only(reasons, facts.community, COMMUNITIES),
    "weighs_circumstance": _weighs_circumstance,
}
