"""World `plural_norms`: scenarios with several acceptable answers, whose number, levels and evaluators are known.

A text tells what all five frameworks ask about (`facts.py`), and in m = 1..4 of these facts there is a breach. Each
breach can be answered by two *stances*, so there are ten options:

| breach by                    | formal stance | personal stance |
| ---------------------------- | ------------- | --------------- |
| Act Utilitarianism           | compensate    | console         |
| Kantian Deontology           | disclose      | confess         |
| Aristotelian Virtue Ethics   | censure       | forgive         |
| Scanlonian Contractualism    | redistribute  | assist          |
| Gauthierian Contractarianism | renegotiate   | reconcile       |

1. A stance *answers* a scenario when there is a breach that it belongs to: 2 m of the ten do.
2. It is *accepted* when it is of the kind of the community, formal under a covenant and personal in kinship: m are.
3. Three groups of evaluators, the affected, the agent and the public, each accept the stances to some breaches
   (`ACCEPTS`), other ones in each kind of community. Every accepted stance has at least one group.
4. Its *level* is 0.85 + 0.05 x the number of groups that accept it: 0.90, 0.95 or 1.00.

The demonstrations of the warm start read the breaches rightly, take each of them equally often, and know the norm of
the community a little: seven in ten of their stances are of the kind that it accepts (`BELIEF`). Among the accepted
ones none is preferred, so a policy starts with all m of them, has the norm to learn, and the study sees how many it
keeps on the way. The norms are stipulated, not moral claims.
"""

import dataclasses
import itertools
import json
from functools import partial

from studylib.randomness import generator
from studylib.scenarios.facts import READINGS, Facts, breach
from studylib.scenarios.rows import digest, scenario_row
from studylib.scenarios.telling import TELL, clause
from studylib.scenarios.worlds import SIDES, draw_facts, fresh, pick

WORLD = "plural_norms"
MOST = 4  # accepted stances
FORMAL, PERSONAL = 0, 1
STANCES = {  # framework -> stances that answer its breach: formal, personal
    "act_utilitarianism": ("compensate", "console"),
    "kantian_deontology": ("disclose", "confess"),
    "virtue_ethics": ("censure", "forgive"),
    "scanlonian_contractualism": ("redistribute", "assist"),
    "gauthierian_contractarianism": ("renegotiate", "reconcile"),
}
OPTIONS = tuple(stance for pair in STANCES.values() for stance in pair)
FRAMEWORK_OF = {stance: framework for framework, pair in STANCES.items() for stance in pair}
KIND = {"covenant": FORMAL, "kinship": PERSONAL}  # kind of community -> kind of stance that it accepts
AFFECTED, AGENT, PUBLIC = "the affected", "the agent", "the public"
ACCEPTS = {  # kind of community -> framework -> groups that accept the stance to its breach
    "covenant": dict(zip(
        STANCES, ((AFFECTED, PUBLIC), (AFFECTED, AGENT, PUBLIC), (PUBLIC,), (AFFECTED,), (AGENT, AFFECTED)), strict=True
    )),
    "kinship": dict(zip(
        STANCES, ((PUBLIC,), (AFFECTED, PUBLIC), (AFFECTED, AGENT, PUBLIC), (AGENT, AFFECTED), (AGENT,)), strict=True
    )),
}  # fmt: skip
GROUPS = (AFFECTED, AGENT, PUBLIC)
LEVEL, PER_GROUP = 0.85, 0.05
BELIEF = 0.7  # chance that a demonstration's stance is of the kind that its community accepts
QUESTION = "What should be done now?"
WORDINGS = (  # reading, reading in lower case, kind of community
    "{0} under {2}.", "Under {2}, {1}.", "This is {2}, and {1}.",
)  # fmt: skip
TOO, NOTHING = "Fitting too:", "Nothing else fits."


# --- the rules -------------------------------------------------------------------------------------------------------


def breaches(facts: Facts) -> list[str]:
    """The frameworks in whose question there is a breach."""
    return [framework for framework in STANCES if breach(facts, framework)]


def accepted_stances(facts: Facts) -> list[dict]:
    """Option, level and groups of every accepted stance: rules 2 to 4 of the module's docstring."""
    stances = []
    for framework in breaches(facts):
        groups = ACCEPTS[facts.community][framework]
        level = round(LEVEL + PER_GROUP * len(groups), 2)
        option = STANCES[framework][KIND[facts.community]]
        stances.append({"option": option, "level": level, "groups": list(groups)})
    return stances


def supports(stance: str) -> str:
    """The reading of the facts that supports a stance, where it is true."""
    return READINGS[FRAMEWORK_OF[stance]][True]


# --- making scenarios ------------------------------------------------------------------------------------------------


def make_split(
    split: str, n: int, seed: int, *, domains: tuple[str, ...], styles: tuple[str, ...], accepted_stances: int
) -> list[dict]:
    """`n` scenario rows of one split with `accepted_stances` of 1..4, balanced over domains x sets of breaches.

    No scenario comes twice, and none on both sides of warm start, training and evaluation (`worlds.SIDES`).
    """
    rng = generator(seed, f"plural/{split}")
    rows = [
        _row(facts, style, split, rng) for facts, style in _stories(rng, split, n, domains, styles, (accepted_stances,))
    ]
    return [rows[i] for i in rng.permutation(len(rows))]


def _stories(rng, split: str, n: int, domains, styles, sizes: tuple[int, ...]):
    """`n` pairs of facts and style, with as many breaches as `sizes` says, in turn."""
    decks: dict[tuple, list] = {}
    seen: set[str] = set()
    turns = itertools.cycle(itertools.product(sizes, domains))
    for size, domain in itertools.islice(turns, n):
        sets = list(itertools.combinations(STANCES, size))
        deck = decks.setdefault((size, domain), [])
        if not deck:
            deck.extend(sets[i] for i in rng.permutation(len(sets)))
        chosen = deck.pop()
        wanted = {framework: framework in chosen for framework in STANCES}
        draw = partial(draw_facts, rng, domain, wanted, None)
        yield fresh(draw, _key, SIDES[split], seen, domain), pick(rng, styles)


def _key(facts: Facts) -> str:
    """Hash of what a text about these facts tells, whatever the order."""
    told = (facts.cue, facts.place, facts.agent, facts.role, facts.deed)
    return digest(told, [clause(facts, framework) for framework in STANCES])


def _row(facts: Facts, style: str, split: str, rng) -> dict:
    clauses = [clause(facts, framework) for framework in rng.permutation(list(STANCES))]
    accepted = accepted_stances(facts)
    return scenario_row(
        source=WORLD, split=split, prompt=f"{TELL[style](facts, clauses)} {QUESTION}",
        domain=facts.domain, style=style, options=list(OPTIONS),
        answer=max(accepted, key=lambda stance: stance["level"])["option"], accepted=accepted,
        facts=json.dumps(dataclasses.asdict(facts)),
    )  # fmt: skip


# --- demonstrations --------------------------------------------------------------------------------------------------


def demonstrations(n: int, seed: int, *, domains: tuple[str, ...], styles: tuple[str, ...]) -> list[tuple[str, str]]:
    """`n` (prompt, response) pairs from the warm start's side, with 1 to 4 breaches in turn."""
    rng = generator(seed, "plural/warm_start")
    stories = _stories(rng, "warm_start", n, domains, styles, tuple(range(1, MOST + 1)))
    pairs = [(_row(facts, style, "warm_start", rng)["prompt"], _demonstration(facts, rng)) for facts, style in stories]
    return [pairs[i] for i in rng.permutation(len(pairs))]


def _demonstration(facts: Facts, rng) -> str:
    """A response that reads the breaches rightly and takes a stance to one, not sure of the community's norm."""
    stances = [_believed(facts, framework, rng) for framework in rng.permutation(breaches(facts))]
    return response(facts, stances[0], stances[1:], pick(rng, WORDINGS))


def _believed(facts: Facts, framework: str, rng) -> str:
    kind = KIND[facts.community]
    return STANCES[framework][kind if rng.random() < BELIEF else 1 - kind]


def response(facts: Facts, stance: str, others=(), wording: str = WORDINGS[0]) -> str:
    """A well-formed response that takes `stance` for the reason that supports it, and states others as fitting too."""
    reading = supports(stance)
    reasons = wording.format(reading, reading[0].lower() + reading[1:], facts.community)
    too = f"{TOO} {', '.join(others)}." if others else NOTHING
    return f"<think>{reasons} {too}</think><answer>{stance}</answer>"
