"""Embedded moral scenarios whose truth is known, because they are made from facts by documented rules.

A scenario is drawn as `Facts`, told in one of five styles, and judged by one of five frameworks (those of
MoReBench-Theory, arXiv 2510.16380). Every framework asks one question of the facts; the answer "no" is a *breach*:

| framework                     | question                                            | breach when             |
| ----------------------------- | --------------------------------------------------- | ----------------------- |
| Act Utilitarianism            | does the good outweigh the harm?                    | harm > good             |
| Kantian Deontology            | was everybody told the truth, so nobody mere means? | somebody was deceived   |
| Aristotelian Virtue Ethics    | did a virtue move the agent?                        | a vice moved the agent  |
| Scanlonian Contractualism     | can nobody reasonably reject it?                    | one person bears it all |
| Gauthierian Contractarianism  | does everybody gain on having no agreement?         | somebody is left worse  |

Beside it a scenario may tell one special *circumstance*: an excuse (consent, need) for a breach, or a special duty
(promise, office) against a deed that is otherwise no breach. Without one that counts, the act is permissible exactly
when there is no breach; an excuse that counts makes a breach permissible, a duty that counts makes any deed wrong.
Which circumstances count is the *norm* of the world:

* `universal_norms`: consent, need and promise count everywhere, office nowhere. What is learnt in one domain holds in
  all: diversity of inputs cannot matter (negative control).
* `local_norms`: so it is in covenant communities, but in kinship communities consent alone counts. The text tells the
  kind by a cue; every domain belongs to one kind, so one domain shows one kind only (positive control).

The two worlds tell the same texts and differ in answers alone. The norms are stipulated, not moral claims. Scenarios
come in pairs of opposite answers, so a constant answer scores 1/2.
"""

import dataclasses
import json

from studylib.scenarios.vocabulary import DUTIES, EXCUSES

NORMS = {  # world -> community -> circumstances that count
    "universal_norms": {"covenant": {"consent", "need", "promise"}, "kinship": {"consent", "need", "promise"}},
    "local_norms": {"covenant": {"consent", "need", "promise"}, "kinship": {"consent"}},
}
OPTIONS = ("permissible", "wrong")


@dataclasses.dataclass(frozen=True)
class Facts:
    """What happened. Everything else about a scenario (text, answer, rubric) follows from this and the world."""

    domain: str
    community: str  # kind of community, see COMMUNITIES
    cue: str  # how the text tells the kind
    place: str
    agent: str
    role: str  # the agent's
    affected: str
    bystander: str
    deed: str
    good: int  # 0 small, 1 moderate, 2 great
    good_of: str
    harm: int  # never equal to good
    harm_of: str
    deceived: bool
    motive: str
    virtuous: bool  # whether the motive is a virtue
    burden_alone: bool  # the affected person bears the whole burden
    left_worse: bool  # the affected person ends below having no agreement at all
    circumstance: str | None  # an excuse or a special duty
    circumstance_text: str | None


def breach(facts: Facts, framework: str) -> bool:
    """Whether the deed fails the framework's question (table in the module's docstring)."""
    return {
        "act_utilitarianism": facts.harm > facts.good,
        "kantian_deontology": facts.deceived,
        "virtue_ethics": not facts.virtuous,
        "scanlonian_contractualism": facts.burden_alone,
        "gauthierian_contractarianism": facts.left_worse,
    }[framework]


def decisive(facts: Facts, framework: str) -> bool:
    """Whether the answer turns on the circumstance: an excuse for a breach, or a duty where there is none."""
    return facts.circumstance in (EXCUSES if breach(facts, framework) else DUTIES)


def counts(facts: Facts, world: str) -> bool:
    """Whether the circumstance, if there is one, counts in this community of this world."""
    return facts.circumstance in NORMS[world][facts.community]


def right_answer(facts: Facts, framework: str, world: str) -> str:
    """What the act is in this world: permissible or wrong."""
    overturned = decisive(facts, framework) and counts(facts, world)
    return OPTIONS[breach(facts, framework) != overturned]


READINGS = {  # framework -> what a correct reasoner says of the deciding fact (no breach, breach)
    "act_utilitarianism": ("The good outweighs the harm", "The harm outweighs the good"),
    "kantian_deontology": ("Nobody was deceived", "Somebody was deceived"),
    "virtue_ethics": ("A virtue moved the agent", "A vice moved the agent"),
    "scanlonian_contractualism": ("All bear the burden", "One person bears the burden"),
    "gauthierian_contractarianism": ("Everybody gains", "Somebody is left worse off"),
}


def reading(facts: Facts, framework: str) -> str:
    return READINGS[framework][breach(facts, framework)]


def misreading(facts: Facts, framework: str) -> str:
    """The opposite of `reading`."""
    return READINGS[framework][not breach(facts, framework)]


def facts_of(row: dict) -> Facts:
    """The facts that an embedded scenario row was made from."""
    return Facts(**json.loads(row["facts"]))
