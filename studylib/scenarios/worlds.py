"""Making scenarios of the embedded worlds: facts are drawn cell by cell, put into words, and kept apart by split.

`facts.py` has the rules by which they are judged, `telling.py` the texts.
"""

import dataclasses
import itertools
import json
from collections.abc import Callable
from functools import partial

import numpy as np

from studylib.names import FRAMEWORKS
from studylib.randomness import generator
from studylib.scenarios.facts import OPTIONS, Facts, right_answer
from studylib.scenarios.rows import digest, scenario_row
from studylib.scenarios.telling import clause, question, rubric, tell
from studylib.scenarios.vocabulary import CIRCUMSTANCES, COMMUNITIES, DOMAINS, MOTIVES, NAMES, SIZES

# (breach, circumstance) of ten pairs of scenarios. The answers to a pair differ in every community of every world, so
# any even number of scenarios is balanced. Fourteen of the twenty turn on whether the circumstance counts; twelve of
# them (need, promise) turn on the kind of community in `local_norms`.
CELL_PAIRS = (
    [((True, "need"), (False, "promise"))] * 6
    + [((True, "consent"), (True, None))]
    + [((False, "office"), (True, None))]
    + [((False, None), (True, None))] * 2
)


# --- drawing facts ---------------------------------------------------------------------------------------------------


def pick(rng: np.random.Generator, values):
    return values[int(rng.integers(len(values)))]


def draw_facts(rng, domain: str, breaches: dict[str, bool], circumstance: str | None) -> Facts:
    """Facts with the given breaches, or none, by framework; what the other frameworks ask about is drawn freely."""
    words = DOMAINS[domain]
    agent, affected, bystander = (str(name) for name in rng.choice(NAMES, size=3, replace=False))
    role = pick(rng, words.roles)
    coin = {f: bool(rng.integers(2)) for f in FRAMEWORKS} | breaches
    low, high = sorted(int(size) for size in rng.choice(len(SIZES), size=2, replace=False))
    good, harm = (low, high) if coin["act_utilitarianism"] else (high, low)
    names = {"a": agent, "b": affected, "c": bystander, "role": role}
    return Facts(
        domain=domain, community=words.community, cue=pick(rng, COMMUNITIES[words.community]),
        place=pick(rng, words.places), agent=agent, role=role, affected=affected, bystander=bystander,
        deed=pick(rng, words.deeds).format(**names),
        good=good, good_of=pick(rng, words.goods), harm=harm, harm_of=pick(rng, words.harms),
        deceived=coin["kantian_deontology"],
        virtuous=not coin["virtue_ethics"], motive=pick(rng, MOTIVES[not coin["virtue_ethics"]]),
        burden_alone=coin["scanlonian_contractualism"], left_worse=coin["gauthierian_contractarianism"],
        circumstance=circumstance,
        circumstance_text=pick(rng, CIRCUMSTANCES[circumstance]).format(**names) if circumstance else None,
    )  # fmt: skip


# --- making scenarios ------------------------------------------------------------------------------------------------

MAX_DRAWS = 10_000  # one in eight to one in two draws is on the right side

# Which eighths of all scenarios a split may use. `held_out_domains` shares one with `held_out`, whose domains differ.
SIDES = {
    "warm_start": (0, 1, 2, 3), "train": (4, 5), "held_out": (6,), "held_out_domains": (6,), "held_out_styles": (7,),
}  # fmt: skip


def make_split(
    world: str, split: str, n: int, seed: int, *,
    domains: tuple[str, ...], styles: tuple[str, ...], frameworks: tuple[str, ...], facts_told: int = 1,
) -> list[dict]:  # fmt: skip
    """`n` (even) scenario rows of one split, balanced over domains x frameworks x answers.

    No scenario comes twice, and none on both sides: a hash of its story (`story_key`) says whether it belongs to the
    warm start, to training or to evaluation, so that the sides are disjoint for all seeds without being compared.
    """
    if n < 2 or n % 2:
        raise ValueError(f"split {split!r} asks for {n} scenarios; they come in pairs: an even number >= 2")
    rng = generator(seed, f"scenarios/{split}")
    turns = itertools.cycle([(domain, framework) for domain in domains for framework in frameworks])
    decks: dict[tuple, list] = {}
    seen: set[str] = set()
    rows = []
    for domain, framework in itertools.islice(turns, n // 2):
        deck = decks.setdefault((domain, framework), [])
        if not deck:
            deck.extend(CELL_PAIRS[i] for i in rng.permutation(len(CELL_PAIRS)))
        for is_breach, circumstance in deck.pop():
            draw = partial(draw_facts, rng, domain, {framework: is_breach}, circumstance)
            facts = fresh(draw, partial(story_key, framework=framework), SIDES[split], seen, domain)
            style = pick(rng, styles)
            rows.append(_row(facts, framework, style, world, split, tell(facts, framework, style, facts_told, rng)))
    return [rows[i] for i in rng.permutation(len(rows))]


def fresh(draw: Callable[[], Facts], key: Callable[[Facts], str], side, seen: set[str], domain: str) -> Facts:
    """Drawn facts that belong to this side and were not seen before; `key` is the hash that decides about both."""
    for _ in range(MAX_DRAWS):
        facts = draw()
        if int(key(facts), 16) % 8 in side and key(facts) not in seen:
            seen.add(key(facts))
            return facts
    raise ValueError(f"no new scenario of domain {domain!r} in {MAX_DRAWS} draws: ask for fewer, or for more domains")


def story_key(facts: Facts, framework: str) -> str:
    """Hash of what every text about these facts holds: the same for two scenarios that differ in what is left out."""
    always = (facts.cue, facts.place, facts.agent, facts.role, facts.deed, facts.circumstance_text)
    return digest(always, clause(facts, framework))


def _row(facts: Facts, framework: str, style: str, world: str, split: str, text: str) -> dict:
    return scenario_row(
        source=world,
        split=split,
        prompt=f"{text} {question(framework)}",
        domain=facts.domain,
        framework=framework,
        style=style,
        options=list(OPTIONS),
        answer=right_answer(facts, framework, world),
        rubric=rubric(facts, framework, world),
        facts=json.dumps(dataclasses.asdict(facts)),
    )
