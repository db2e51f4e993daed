"""World `council_norms`: an act is what most of three views make of it, and each view reads a fact of its own.

A text tells what three of four frameworks ask about (`facts.py`; the fifth, Act Utilitarianism, compares two sizes, and
the tiny model learns to read them last). A framework *finds* the act wrong where there is a breach by it and
permissible where there is none; the answer is what most of the three find. The option `council` says what the views
know:

* `own`: every combination of findings is equally frequent. One view alone is right in 3/4 of the scenarios and all
  three together always, so perspectives must matter (positive control).
* `same`: all three find the same. Each view alone knows the answer, so perspectives cannot matter (negative control).

Views are taken by *roles* (`roles.py`): a framework by its name, or a person concerned who asks what it asks. The
demonstrations of the warm start read every fact rightly and conclude from it in nine cases of ten (`BELIEF`). Two in
three take one view; the others take three, and answer as one of these, drawn by chance, concludes. So the model knows
the words for several views, and not that most of them decide. One warm start serves both kinds of council. The norm is
stipulated, no moral claim.
"""

import dataclasses
import itertools
import json
from functools import partial

from studylib.names import FRAMEWORKS
from studylib.randomness import generator
from studylib.scenarios.facts import OPTIONS, Facts, breach, reading
from studylib.scenarios.roles import Role, merged, opening
from studylib.scenarios.rows import digest, scenario_row
from studylib.scenarios.telling import TELL, clause
from studylib.scenarios.worlds import SIDES, draw_facts, fresh, pick
from studylib.text.spelling import spelt

WORLD = "council_norms"
VIEWS = 3  # told in a text; odd, so that most of them decide
COUNCILS = ("own", "same")
BELIEF = 0.9  # chance that a demonstration concludes from its reading what follows
SEVERAL = 1 / 3  # share of the demonstrations that take three views
QUESTION = "What do most views find: is it permissible or wrong?"
ASKS = {  # framework -> what is asked by whoever takes its view
    "kantian_deontology": "was everybody told the truth",
    "virtue_ethics": "did a virtue move the agent",
    "scanlonian_contractualism": "do all bear the burden",
    "gauthierian_contractarianism": "does everybody gain",
}
STAKEHOLDERS = {  # a person concerned -> the framework whose question that person asks
    "the affected": "scanlonian_contractualism",
    "the agent": "virtue_ethics",
    "the public": "gauthierian_contractarianism",
}
TAKES = {FRAMEWORKS[framework]: framework for framework in ASKS} | STAKEHOLDERS  # role -> framework


# --- the rules -------------------------------------------------------------------------------------------------------


def told(facts: Facts, prompt: str) -> list[str]:
    """The frameworks whose deciding fact a text tells."""
    text = spelt(prompt)
    return [framework for framework in ASKS if clause(facts, framework).casefold() in text]


def finding(facts: Facts, framework: str) -> str:
    return OPTIONS[breach(facts, framework)]


def right_answer(facts: Facts, frameworks) -> str:
    """What most of these frameworks find; their number is odd."""
    found = [finding(facts, framework) for framework in frameworks]
    return max(OPTIONS, key=found.count)


def roles(row: dict) -> list[Role]:
    """The roles that a scenario offers: frameworks whose fact is told, and persons concerned who ask what they ask."""
    facts = Facts(**json.loads(row["facts"]))
    here = told(facts, row["prompt"])
    return [Role(name, ASKS[framework]) for name, framework in TAKES.items() if framework in here]


# --- making scenarios ------------------------------------------------------------------------------------------------


def make_split(
    split: str, n: int, seed: int, *, domains: tuple[str, ...], styles: tuple[str, ...], council: str
) -> list[dict]:
    """`n` (even) scenario rows of one split, in pairs that tell of the same views and whose answers are opposite.

    No scenario comes twice, and none on both sides of warm start, training and evaluation (`worlds.SIDES`).
    """
    if n < 2 or n % 2:
        raise ValueError(f"split {split!r} asks for {n} scenarios; they come in pairs: an even number >= 2")
    rng = generator(seed, f"council/{split}")
    rows = [_row(*story, split, rng) for story in _stories(rng, split, n, domains, styles, council)]
    return [rows[i] for i in rng.permutation(len(rows))]


def _stories(rng, split: str, n: int, domains, styles, council: str):
    """`n` times facts, the frameworks that are told, and a style: balanced over domains, views and findings."""
    triples, decks = list(itertools.combinations(ASKS, VIEWS)), {}
    patterns = [found for found in itertools.product((True, False), repeat=VIEWS)
                if sum(found) * 2 > VIEWS and (council == "own" or all(found))]  # fmt: skip
    cells = list(itertools.product(triples, patterns))
    seen: set[str] = set()
    for domain in itertools.islice(itertools.cycle(domains), n // 2):
        deck = decks.setdefault(domain, [])
        if not deck:
            deck.extend(cells[i] for i in rng.permutation(len(cells)))
        frameworks, found = deck.pop()
        for breaches in (found, tuple(not one for one in found)):
            draw = partial(draw_facts, rng, domain, dict(zip(frameworks, breaches, strict=True)), None)
            yield fresh(draw, partial(_key, frameworks), SIDES[split], seen, domain), frameworks, pick(rng, styles)


def _key(frameworks, facts: Facts) -> str:
    """Hash of what a text about these facts tells, whatever the order."""
    return digest(
        (facts.cue, facts.place, facts.agent, facts.role, facts.deed), [clause(facts, one) for one in frameworks]
    )


def _row(facts: Facts, frameworks, style: str, split: str, rng) -> dict:
    clauses = [clause(facts, framework) for framework in rng.permutation(list(frameworks))]
    return scenario_row(
        source=WORLD, split=split, prompt=f"{TELL[style](facts, clauses)} {QUESTION}",
        domain=facts.domain, style=style, options=list(OPTIONS), answer=right_answer(facts, frameworks),
        facts=json.dumps(dataclasses.asdict(facts)),
    )  # fmt: skip


# --- demonstrations --------------------------------------------------------------------------------------------------


def demonstrations(n: int, seed: int, *, domains: tuple[str, ...], styles: tuple[str, ...]) -> list[tuple[str, str]]:
    """`n` (prompt, response) pairs from the warm start's side, of councils whose views know facts of their own."""
    rng = generator(seed, "council/warm_start")
    pairs = []
    for facts, frameworks, style in _stories(rng, "warm_start", n + n % 2, domains, styles, "own"):
        pairs.append(
            (_row(facts, frameworks, style, "warm_start", rng)["prompt"], _demonstration(facts, frameworks, rng))
        )
    return [pairs[i] for i in rng.permutation(len(pairs))[:n]]


def _demonstration(facts: Facts, frameworks, rng) -> str:
    """A response that takes one view or all three, in any order, and answers as one of them concludes."""
    taken = rng.permutation(list(frameworks))[: VIEWS if rng.random() < SEVERAL else 1]
    concluded = [_concluded(facts, framework, rng) for framework in taken]
    traces = [trace(pick(rng, takers(framework)), facts, framework, option)
              for framework, option in zip(taken, concluded, strict=True)]  # fmt: skip
    return f"<think>{merged(traces)}</think><answer>{pick(rng, concluded)}</answer>"


def _concluded(facts: Facts, framework: str, rng) -> str:
    found = breach(facts, framework)
    return OPTIONS[found if rng.random() < BELIEF else not found]


def takers(framework: str) -> list[str]:
    """Names of the roles that take a framework's view."""
    return [name for name, taken in TAKES.items() if taken == framework]


def trace(role: str, facts: Facts, framework: str, option: str) -> str:
    """Reasons of one role: its opening, the reading of its fact, and what it concludes."""
    return f"{opening(role)} {reading(facts, framework)}, so {option}."


def response(facts: Facts, frameworks, role_of=lambda framework: FRAMEWORKS[framework]) -> str:
    """A well-formed response that takes these views rightly and answers what most of them find."""
    traces = [trace(role_of(one), facts, one, finding(facts, one)) for one in frameworks]
    return f"<think>{merged(traces)}</think><answer>{right_answer(facts, frameworks)}</answer>"
