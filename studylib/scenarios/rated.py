"""World `rated_norms`: scenarios that raters with known leanings rate (`raters.py`), and answers that say how.

A text tells three facts. It asks for a rating of one's own (`level`: the answer is a level) or for how people rate the
deed (`shares`: the answer states the share of each level). A policy that answers with single levels is paid most for
the most frequent one, whatever is kept of the disagreement; one that states shares can be paid for all of it.

The demonstrations of the warm start read the facts rightly and are unsure of the raters: they state what five
people say who share some of the views of the groups of all populations. The norms are stipulated, not moral claims.
"""

import dataclasses
import json
from functools import partial
from itertools import cycle, islice, product

from studylib.names import Option
from studylib.randomness import generator
from studylib.scenarios.facts import Facts, reading
from studylib.scenarios.raters import FACTS, POPULATIONS, TOP, judged, ratings
from studylib.scenarios.ratings import SCALE, SCALES, rescaled, with_ratings
from studylib.scenarios.rows import digest, scenario_row
from studylib.scenarios.scale import shares
from studylib.scenarios.telling import TELL, clause
from studylib.scenarios.worlds import SIDES, draw_facts, fresh, pick
from studylib.typed import one_of

WORLD = "rated_norms"
QUESTIONS = {"level": "How do you rate this on {0} levels?", "shares": "How do people rate this on {0} levels?"}
IN_WORDS = {2: "two", 3: "three", 5: "five"}  # a digit would read like a level
POPULATION = Option("population", "opposed", "the raters of rated_norms", *one_of(*POPULATIONS))
FORM = Option("rating_form", "shares", "what a policy states in rated_norms: shares of all levels, or one level",
              *one_of(*QUESTIONS))  # fmt: skip
PARAMETERS = (POPULATION, FORM)  # that this world alone reads
INPUTS = (*PARAMETERS, SCALE)
ASKED = ("own", "three", "two")  # scales of demonstrations
LEVELS = [str(level) for level in range(1, TOP + 1)]
PEOPLE = 5  # whose ratings a demonstration imagines, so that shares are stated in fifths


def make_split(
    split: str, n: int, seed: int, *, domains, styles, population: str, rating_form: str, rating_scale: str
) -> list[dict]:
    """`n` scenario rows of one split, balanced over domains x breaches, rated by the whole population.

    No scenario comes twice, and none on both sides of warm start, training and evaluation (`worlds.SIDES`).
    """
    rng = generator(seed, f"rated/{split}")
    rows = [
        _row(facts, style, split, population, rating_form, rating_scale, rng)
        for facts, style in _stories(rng, split, n, domains, styles)
    ]
    return [rows[i] for i in rng.permutation(len(rows))]


def _stories(rng, split: str, n: int, domains, styles):
    """`n` pairs of facts and style: every set of breaches in turn, in one domain after the other."""
    seen: set[str] = set()
    order = [domains[i] for i in rng.permutation(len(domains))]
    turns = cycle(product(order, product((True, False), repeat=len(FACTS))))
    for domain, wanted in islice(turns, n):
        draw = partial(draw_facts, rng, domain, dict(zip(FACTS, wanted, strict=True)), None)
        yield fresh(draw, _key, SIDES[split], seen, domain), pick(rng, styles)


def _key(facts: Facts) -> str:
    """Hash of what a text about these facts tells, whatever the order."""
    told = (facts.cue, facts.place, facts.agent, facts.role, facts.deed)
    return digest(told, [clause(facts, framework) for framework in FACTS])


def _row(facts: Facts, style: str, split: str, population: str, form: str, scale: str, rng) -> dict:
    row = scenario_row(
        source=WORLD, split=split, prompt=_prompt(facts, style, form, scale, rng), domain=facts.domain, style=style,
        options=LEVELS, facts=json.dumps(dataclasses.asdict(facts)),
    )  # fmt: skip
    return rescaled(with_ratings(row, ratings(facts, population, rng)), scale)


def _prompt(facts: Facts, style: str, form: str, scale: str, rng) -> str:
    clauses = [clause(facts, framework) for framework in rng.permutation(list(FACTS))]
    return f"{TELL[style](facts, clauses)} {QUESTIONS[form].format(IN_WORDS[SCALES[scale] or TOP])}"


# --- demonstrations --------------------------------------------------------------------------------------------------


def demonstrations(n: int, seed: int, *, domains, styles) -> list[tuple[str, str]]:
    """`n` (prompt, response) pairs from the warm start's side, of every form on every scale by chance: in turns, a fact
    would go with a scale.
    """
    rng = generator(seed, "rated/warm_start")
    stories = _stories(rng, "warm_start", n, domains, styles)
    pairs = [
        _demonstration(facts, style, pick(rng, tuple(QUESTIONS)), pick(rng, ASKED), rng) for facts, style in stories
    ]
    return [pairs[i] for i in rng.permutation(len(pairs))]


def _demonstration(facts: Facts, style: str, form: str, scale: str, rng) -> tuple[str, str]:
    prompt = _prompt(facts, style, form, scale, rng)
    row = rescaled(with_ratings({"id": prompt, "options": LEVELS}, _believed(facts, rng)), scale)
    said = f"{row['ratings'][0]['value']:g}" if form == "level" else statement(row["options"], shares(row))
    return prompt, response(facts, said)


def _believed(facts: Facts, rng) -> list[dict]:
    """What `PEOPLE` imagined raters say, who share up to three of the views of the groups of all populations."""
    views = sorted({group.weights for groups in POPULATIONS.values() for group in groups.values()})
    held = rng.permutation(len(views))[: int(rng.integers(1, 4))]
    return [{"rater": "", "value": float(judged(facts, views[i])), "groups": []} for i in rng.choice(held, size=PEOPLE)]


def statement(options: list[str], p: list[float]) -> str:
    """The shares as an answer states them."""
    return ", ".join(f"{option}: {share:g}" for option, share in zip(options, p, strict=True))


def response(facts: Facts, answer: str) -> str:
    """A well-formed response that reads the facts rightly and gives `answer`."""
    reasons = " ".join(f"{reading(facts, framework)}." for framework in FACTS)
    return f"<think>{reasons}</think><answer>{answer}</answer>"
