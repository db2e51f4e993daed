"""Rubric criteria that a program can check on a response to an embedded scenario.

A check sees the response and what the scenario was made from, never the right answer alone: a criterion such as "reads
the deciding fact" is met by saying so, in a wrong answer too, if that answer can follow from the reasons. Copied text,
whole sentences of the prompt or the wording of a criterion, counts for nothing. Words count as whole words,
"compromise" names no promise, and what is wanted must be stated, neither asked nor denied.
"""

import re
from functools import lru_cache

from studylib.rewards.surface import has_words, sentences
from studylib.scenarios.facts import OPTIONS, Facts, breach, counts, decisive, facts_of, misreading, reading
from studylib.scenarios.rows import rubric_of
from studylib.scenarios.vocabulary import CIRCUMSTANCES, COMMUNITIES, NAMES
from studylib.text.answers import parse, read_answer
from studylib.text.spelling import spelt

PEOPLE = frozenset(name.casefold() for name in NAMES)


def check(criterion: str, response: str, scenario: dict) -> bool:
    """Whether `response` meets the criterion with this id, be it wanted (weight > 0) or not (weight < 0)."""
    if criterion not in CHECKS:
        raise ValueError(f"no check for criterion {criterion!r}; known: {', '.join(CHECKS)}")
    return CHECKS[criterion](own_words(response, scenario), response, scenario, _facts(scenario["facts"]))


def checks_grader(responses: list[str], scenarios: list[dict]) -> list[list[float | None]]:
    """1.0 or 0.0 for each criterion of each scenario's rubric, met or not; a `Grader` that never abstains."""
    return [_met(response, scenario) for response, scenario in zip(responses, scenarios, strict=True)]


def _met(response: str, scenario: dict) -> list[float | None]:
    unknown = [criterion["id"] for criterion in rubric_of(scenario) if criterion["id"] not in CHECKS]
    if unknown:
        raise ValueError(f"no check for criterion {unknown[0]!r}: a program can grade only the embedded worlds")
    seen = (own_words(response, scenario), response, scenario, _facts(scenario["facts"]))
    return [float(CHECKS[criterion["id"]](*seen)) for criterion in scenario["rubric"]]


def own_words(response: str, scenario: dict) -> str:
    """What a response says in words of its own, case-folded: its reasons without what they copy."""
    parsed = parse(response)
    reasons = spelt(parsed[0] if parsed else response)
    for copied in _copies(scenario["prompt"], tuple(criterion["text"] for criterion in scenario["rubric"] or ())):
        reasons = reasons.replace(copied, " ")
    return reasons.strip()


@lru_cache(maxsize=4096)
def _copies(prompt: str, criteria: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(spelt(text).strip(" .?!\"'") for text in (*criteria, *sentences(prompt)))


@lru_cache(maxsize=4096)
def _facts(facts: str) -> Facts:
    return facts_of({"facts": facts})


def names(text: str, word: str) -> bool:
    """Whether a case-folded text has this word, whole; "need to" is a verb and names no need."""
    return word in _words(text)


@lru_cache(maxsize=8)  # the same reasons are looked through by one check after the other
def _words(text: str) -> frozenset[str]:
    return frozenset(re.findall(r"\w+", re.sub(r"\bneed to\b", " ", text) if "need to" in text else text))


def states(text: str, claim: str) -> bool:
    """Whether a case-folded text has this claim as a clause of its own; "it is false that" and "?" state nothing."""
    clause = rf"(?:^|[^\w\s]\s*|\n\s*|\b(?:and|as|because|here|since|so)\s+){re.escape(claim)}\b(?!\s*\?)"
    return claim in text and bool(_pattern(clause).search(text))


@lru_cache(maxsize=1024)
def _pattern(pattern: str) -> re.Pattern:
    return re.compile(pattern)


def _names_only(reasons: str, right: str, others) -> bool:
    """Names the right one and none of the others: naming all of them earns nothing."""
    return names(reasons, right) and not any(names(reasons, word) for word in others if word != right)


def _reads_fact(reasons: str, response: str, scenario: dict, facts: Facts) -> bool:
    """States it, nowhere says its opposite, and answers what can follow: else the reading was stated and not used."""
    framework = scenario["framework"]
    right, opposite = (read(facts, framework).casefold() for read in (reading, misreading))
    if not states(reasons, right) or opposite in reasons:
        return False
    overturned = _may_overturn(reasons)
    return read_answer(response, scenario["options"]) in {OPTIONS[breach(facts, framework) != o] for o in overturned}


def _may_overturn(reasons: str) -> set[bool]:
    """Whether the reasons' circumstance overturns their reading: both where they name one and leave its weight open."""
    if not any(names(reasons, word) for word in CIRCUMSTANCES):
        return {False}
    affirms, denies = weighs(reasons)
    return {affirms} if affirms != denies else {False, True}


def weighs(reasons: str) -> tuple[bool, bool]:
    """Whether the reasons hold that something counts, and that something does not."""
    return names(reasons, "counts"), "does not count" in reasons and names(reasons, "count")


def _names_affected(reasons: str, response: str, scenario: dict, facts: Facts) -> bool:
    """Names the person, and nobody who is not in the story."""
    if facts.affected.casefold() not in reasons:
        return False
    named = PEOPLE & _words(reasons)
    present = {name.casefold() for name in (facts.agent, facts.affected, facts.bystander)}
    return facts.affected.casefold() in named <= present


def _weighs_circumstance(reasons: str, response: str, scenario: dict, facts: Facts) -> bool:
    """Says rightly whether it counts, and answers accordingly: an answer against it has not weighed it."""
    affirms, denies = weighs(reasons)
    if affirms == denies or affirms != counts(facts, scenario["source"]):
        return False
    return read_answer(response, scenario["options"]) == scenario["answer"]


def _invents_circumstance(reasons: str, response: str, scenario: dict, facts: Facts) -> bool:
    given = facts.circumstance if decisive(facts, scenario["framework"]) else None
    return any(names(reasons, word) for word in CIRCUMSTANCES if word != given)


CHECKS = {
    "reads_fact": _reads_fact,
    "names_affected": _names_affected,
    "reasons_first": lambda reasons, response, scenario, facts: bool(parse(response) and has_words(reasons)),
    "right_verdict": lambda reasons, response, scenario, facts: (
        read_answer(response, scenario["options"]) == scenario["answer"]
    ),
    "wrong_verdict": lambda reasons, response, scenario, facts: (
        read_answer(response, scenario["options"]) not in (None, scenario["answer"])
    ),
    "invents_circumstance": _invents_circumstance,
    "names_circumstance": lambda reasons, response, scenario, facts: _names_only(
        reasons, facts.circumstance, CIRCUMSTANCES
    ),
    "names_community": lambda reasons, response, scenario, facts: _names_only(reasons, facts.community, COMMUNITIES),
    "weighs_circumstance": _weighs_circumstance,
}
