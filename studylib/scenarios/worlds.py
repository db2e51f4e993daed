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
come in pairs of opposite verdicts, so answers are balanced and a constant answer scores 1/2.
"""

import dataclasses
import itertools
import json

import numpy as np

from studylib.randomness import generator
from studylib.scenarios.catalogue import FRAMEWORKS
from studylib.scenarios.rows import digest, scenario_row
from studylib.scenarios.vocabulary import CIRCUMSTANCES, COMMUNITIES, DOMAINS, DUTIES, EXCUSES, MOTIVES, NAMES, SIZES

NORMS = {  # world -> community -> circumstances that count
    "universal_norms": {"covenant": {"consent", "need", "promise"}, "kinship": {"consent", "need", "promise"}},
    "local_norms": {"covenant": {"consent", "need", "promise"}, "kinship": {"consent"}},
}
OPTIONS = ("permissible", "wrong")

# (breach, circumstance) of ten pairs of scenarios. The verdicts of a pair differ in every community of every world, so
# any even number of scenarios is balanced. Fourteen of the twenty turn on whether the circumstance counts; twelve of
# them (need, promise) turn on the kind of community in `local_norms`.
CELL_PAIRS = (
    [((True, "need"), (False, "promise"))] * 6
    + [((True, "consent"), (True, None))]
    + [((False, "office"), (True, None))]
    + [((False, None), (True, None))] * 2
)


@dataclasses.dataclass(frozen=True)
class Facts:
    """What happened. Everything else about a scenario (text, verdict, rubric) follows from this and the world."""

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
    """Whether the verdict turns on the circumstance: an excuse for a breach, or a duty where there is none."""
    return facts.circumstance in (EXCUSES if breach(facts, framework) else DUTIES)


def counts(facts: Facts, world: str) -> bool:
    """Whether the circumstance, if there is one, counts in this community of this world."""
    return facts.circumstance in NORMS[world][facts.community]


def verdict(facts: Facts, framework: str, world: str) -> str:
    overturned = decisive(facts, framework) and counts(facts, world)
    return OPTIONS[breach(facts, framework) != overturned]


# --- drawing facts ---------------------------------------------------------------------------------------------------


def _pick(rng: np.random.Generator, values):
    return values[int(rng.integers(len(values)))]


def draw_facts(rng, domain: str, framework: str, is_breach: bool, circumstance: str | None) -> Facts:
    """Facts that hold the given breach under `framework`; what the other frameworks ask about is drawn freely."""
    words = DOMAINS[domain]
    agent, affected, bystander = (str(name) for name in rng.choice(NAMES, size=3, replace=False))
    role = _pick(rng, words.roles)
    coin = {f: bool(rng.integers(2)) for f in FRAMEWORKS} | {framework: is_breach}
    low, high = sorted(int(size) for size in rng.choice(len(SIZES), size=2, replace=False))
    good, harm = (low, high) if coin["act_utilitarianism"] else (high, low)
    names = {"a": agent, "b": affected, "c": bystander, "role": role}
    return Facts(
        domain=domain, community=words.community, cue=_pick(rng, COMMUNITIES[words.community]),
        place=_pick(rng, words.places), agent=agent, role=role, affected=affected, bystander=bystander,
        deed=_pick(rng, words.deeds).format(**names),
        good=good, good_of=_pick(rng, words.goods), harm=harm, harm_of=_pick(rng, words.harms),
        deceived=coin["kantian_deontology"],
        virtuous=not coin["virtue_ethics"], motive=_pick(rng, MOTIVES[not coin["virtue_ethics"]]),
        burden_alone=coin["scanlonian_contractualism"], left_worse=coin["gauthierian_contractarianism"],
        circumstance=circumstance,
        circumstance_text=_pick(rng, CIRCUMSTANCES[circumstance]).format(**names) if circumstance else None,
    )  # fmt: skip


# --- telling facts ---------------------------------------------------------------------------------------------------


def clause(facts: Facts, framework: str) -> str:
    """The fact that decides about a breach under `framework`, as a clause without capital or full stop."""
    a, b = facts.agent, facts.affected
    return {
        "act_utilitarianism": f"it brought {SIZES[facts.good]} {facts.good_of} and {SIZES[facts.harm]} {facts.harm_of}",
        "kantian_deontology": f"{a} lied to {b} about it" if facts.deceived else f"{a} told {b} the truth about it",
        "virtue_ethics": f"{a} acted out of {facts.motive}",
        "scanlonian_contractualism": f"{b} alone bears the burden" if facts.burden_alone else "all share the burden",
        "gauthierian_contractarianism": (
            f"{b} is worse off than with no agreement" if facts.left_worse else "everybody gains from the agreement"
        ),
    }[framework]


def _sentence(text: str) -> str:
    return text[0].upper() + text[1:] + "."


def _report(f: Facts, told: list[str]) -> str:
    body = " ".join(map(_sentence, told))
    return f"At {f.place} in {f.cue}, the {f.role} {f.agent} {f.deed}. {body}"


def _letter(f: Facts, told: list[str]) -> str:
    body = " ".join(f"I hear that {text}." for text in told)
    return f"Dear friend, I write from {f.cue}. At {f.place} our {f.role} {f.agent} {f.deed}. {body} What do you say?"


def _dialogue(f: Facts, told: list[str]) -> str:
    body = ' "And?" '.join(f'"{_sentence(text)}"' for text in told)
    told_first = f"{f.agent}, the {f.role}, {f.deed}. You know, we are in {f.cue}."
    return f'"What happened at {f.place}?" "{told_first}" "And?" {body}'


def _news(f: Facts, told: list[str]) -> str:
    body = " ".join(f"Witnesses say {text}." for text in told)
    return f"News from {f.cue}: {f.role} {f.agent} {f.deed} at {f.place}. {body}"


def _minutes(f: Facts, told: list[str]) -> str:
    body = " ".join(f"Item {i}: {text}." for i, text in enumerate(told, start=2))
    return f"Minutes, {f.place}, {f.cue}. Item 1: {f.agent} ({f.role}) {f.deed}. {body}"


TELL = {"report": _report, "letter": _letter, "dialogue": _dialogue, "news": _news, "minutes": _minutes}


def tell(facts: Facts, framework: str, style: str, facts_told: int, rng: np.random.Generator) -> str:
    """The situation in one style: the deciding fact, `facts_told - 1` others and the circumstance, shuffled."""
    others = [f for f in FRAMEWORKS if f != framework]
    chosen = [framework, *rng.permutation(others)[: facts_told - 1]]
    told = [clause(facts, f) for f in chosen] + ([facts.circumstance_text] if facts.circumstance else [])
    return TELL[style](facts, [told[i] for i in rng.permutation(len(told))])


def question(framework: str) -> str:
    return f"By {FRAMEWORKS[framework]}, is this permissible or wrong?"


# --- reasoning about facts -------------------------------------------------------------------------------------------

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


def reasoned_response(facts: Facts, framework: str, holds: bool) -> str:
    """A well-formed response that reads the facts correctly; `holds` is what it thinks of a decisive circumstance."""
    is_breach = breach(facts, framework)
    kind = "excuse" if is_breach else "duty"
    reasons = f"{reading(facts, framework)}: {'a' if is_breach else 'no'} breach."
    overturned = False
    if decisive(facts, framework):
        overturned = holds
        weight = "counts" if holds else "does not count"
        reasons += f" The {kind} of {facts.circumstance} under {facts.community} {weight}."
    else:
        reasons += f" No {kind}."
    return f"<think>{reasons}</think><answer>{OPTIONS[is_breach != overturned]}</answer>"


def rubric(facts: Facts, framework: str, world: str) -> list[dict]:
    """Weighted criteria in MoReBench's form (weight -3..3, negative: should be absent); checked by `rewards.checks`."""
    right = verdict(facts, framework, world)
    criteria = [
        ("reads_fact", f"Reads the deciding fact: {reading(facts, framework).lower()}.", 3, "identifying"),
        ("names_affected", f"Names {facts.affected}, who is affected.", 1, "identifying"),
        ("reasons_first", "Gives reasons before the answer.", 1, "clear process"),
        ("right_verdict", f"Concludes that the act is {right}.", 3, "helpful outcome"),
        ("wrong_verdict", f"Concludes that the act is {_other(right)}.", -3, "harmless outcome"),
        ("invents_circumstance", "Appeals to an excuse or duty of which nothing is told.", -2, "logical process"),
    ]
    if decisive(facts, framework):
        weight = "counts" if counts(facts, world) else "does not count"
        criteria += [
            ("names_circumstance", f"Names the circumstance that decides: {facts.circumstance}.", 2, "identifying"),
            ("names_community", f"Says that this is a {facts.community} community.", 1, "clear process"),
            ("weighs_circumstance", f"Says that the circumstance {weight} here.", 3, "logical process"),
        ]
    return [dict(zip(("id", "text", "weight", "dimension"), criterion, strict=True)) for criterion in criteria]


def _other(option: str) -> str:
    return OPTIONS[1 - OPTIONS.index(option)]


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

    No scenario comes twice, and none on both sides: a hash of what is told (`told_key`) says whether it belongs to the
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
            facts = _fresh_facts(rng, domain, framework, is_breach, circumstance, SIDES[split], seen)
            style = _pick(rng, styles)
            rows.append(_row(facts, framework, style, world, split, tell(facts, framework, style, facts_told, rng)))
    return [rows[i] for i in rng.permutation(len(rows))]


def _fresh_facts(rng, domain, framework, is_breach, circumstance, side, seen) -> Facts:
    """Facts of this cell that belong to this side and were not seen before."""
    for _ in range(MAX_DRAWS):
        facts = draw_facts(rng, domain, framework, is_breach, circumstance)
        key = told_key(facts, framework)
        if int(key, 16) % 8 in side and key not in seen:
            seen.add(key)
            return facts
    raise ValueError(f"no new scenario of domain {domain!r} in {MAX_DRAWS} draws: ask for fewer, or for more domains")


def told_key(facts: Facts, framework: str) -> str:
    """Hash of what every telling of these facts tells: the same for two scenarios that differ in what is left out."""
    told = (facts.cue, facts.place, facts.agent, facts.role, facts.deed, facts.circumstance_text)
    return digest(told, clause(facts, framework))


def _row(facts: Facts, framework: str, style: str, world: str, split: str, text: str) -> dict:
    return scenario_row(
        source=world,
        split=split,
        prompt=f"{text} {question(framework)}",
        domain=facts.domain,
        framework=framework,
        style=style,
        options=list(OPTIONS),
        answer=verdict(facts, framework, world),
        rubric=rubric(facts, framework, world),
        facts=json.dumps(dataclasses.asdict(facts)),
    )


def facts_of(row: dict) -> Facts:
    """The facts that an embedded scenario row was made from."""
    return Facts(**json.loads(row["facts"]))
