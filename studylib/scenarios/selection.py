"""Which scenarios a run trains on and is evaluated on: diversity of inputs at a matched budget.

Conditions of the axis `inputs` differ in how many domains and styles the training prompts are drawn from; their number
is the same. The domains of a seed are nested (narrow in medium in broad), and evaluation scenarios are the same for
every condition and seed, so that runs pair.
"""

import math
from itertools import zip_longest
from typing import NamedTuple

import pandas as pd

from studylib.names import HELD_OUT_STYLES, SOURCES, TRAIN_DOMAINS, TRAIN_STYLES
from studylib.params import RunParams
from studylib.randomness import generator
from studylib.scenarios import modelled, ratings
from studylib.scenarios.choosing import ALL, at_hand, choose, sample
from studylib.scenarios.prompts import BEST
from studylib.scenarios.rows import accepted
from studylib.scenarios.sources import load_source
from studylib.scenarios.sources.records import others
from studylib.scenarios.vocabulary import HELD_OUT_DOMAINS

EVALUATION_SEED = 0  # of the evaluation scenarios; not the training seed
CHOOSING = 64  # scenarios of the training side on which instructions are held against each other
Splits = dict[str, list[dict]]


class Inputs(NamedTuple):
    domains: tuple[str, ...]
    styles: tuple[str, ...]


HELD_OUT = {  # evaluation split of a world -> where it is not told in the domains and styles of training
    "held_out_domains": Inputs(HELD_OUT_DOMAINS, TRAIN_STYLES),
    "held_out_styles": Inputs(TRAIN_DOMAINS, HELD_OUT_STYLES),
}


def choose_inputs(params: RunParams) -> Inputs:
    """The first n of a seeded order, so that a larger n only adds to a smaller one."""

    def first(values: tuple[str, ...], n: int, purpose: str) -> tuple[str, ...]:
        return tuple(values[i] for i in generator(params.seed, purpose).permutation(len(values))[:n])

    return Inputs(
        first(TRAIN_DOMAINS, params.n_domains, "selection/domains"),
        first(TRAIN_STYLES, params.n_styles, "selection/styles"),
    )


def select(params: RunParams) -> Splits:
    """Split name -> scenario rows. Raises ValueError when a split that the run needs is empty."""
    source = SOURCES.of(params.source)
    splits = _world_splits(params) if source.world else _real_splits(params)
    if source.rated and params.steps:
        splits["train"] = _rated(splits["train"], params)
    for name, rows in splits.items():
        if not rows and (name != "train" or params.steps):
            raise ValueError(f"split {name!r} of source {params.source!r} is empty")
    if params.instructed and "train" in splits:  # the tiny model's committed studies came in the order they were drawn
        splits["train"] = spread(splits["train"])
    chosen_on(params)  # a source without such scenarios is refused before a model is loaded
    return splits


def _rated(rows: list[dict], params: RunParams) -> list[dict]:
    """The rows with the ratings that are trained on: people's, or those of a model of them."""
    if params.rater_model != ratings.PEOPLE:
        rows = modelled.modelled(rows, training_side(params, modelled.SURVEYED), params.rater_model)
    return ratings.training_rows(rows, params)


def spread(rows: list[dict]) -> list[dict]:
    """The rows so that every stretch has its share of each source's scenarios of each right answer.

    Else a step in which one answer is right more often teaches a small batch that answer whatever is asked, and a
    policy that gives one answer alone learns no more from rewards.
    """
    kinds: dict[tuple, list[int]] = {}
    for i, row in enumerate(rows):
        kinds.setdefault((row["source"], *accepted(row)), []).append(i)
    places = [((k + 0.5) / len(of_kind), i) for of_kind in kinds.values() for k, i in enumerate(of_kind)]
    return [rows[i] for _, i in sorted(places)]


def chosen_on(params: RunParams) -> tuple[list[dict], list[dict]]:
    """Scenarios to be shown as worked examples, and others to choose an instruction on; both empty by default.

    They are of the training side, whatever the seed. Raises ValueError where it has too few with a right answer.
    """
    shown, wanted = params.few_shot, params.few_shot + CHOOSING * (params.instruction == BEST)
    if not wanted:
        return [], []
    rows = [row for row in training_side(params, wanted) if row["answer"] is not None]
    if len(rows) < wanted:
        asked = f"few_shot = {shown}, instruction = {params.instruction}"
        raise ValueError(f"{asked}: source {params.source!r} has {len(rows)} training scenarios with a right answer")
    return rows[:shown], rows[shown:]


def training_side(params: RunParams, n: int) -> list[dict]:
    """At most `n` scenarios of the training side, the same for every condition and seed, none of them twice."""
    source = SOURCES.of(params.source)
    if source.world:
        even, inputs = n + n % 2, {name: getattr(params, name) for name in source.inputs}
        return source.load("train", even, EVALUATION_SEED, domains=TRAIN_DOMAINS, styles=TRAIN_STYLES, **inputs)[:n]
    rows = _load(params, "train")
    return _sample(rows, min(n, len(rows)), EVALUATION_SEED)


def trace_rows(params: RunParams) -> list[dict]:
    """The scenarios that traces are sampled for (`training/traces.py`): those that rewards train on too, where these
    are as many, and none that is evaluated."""
    n, source = params.trace_scenarios, SOURCES.of(params.source)
    if source.world:
        domains, styles = choose_inputs(params)
        inputs = {name: getattr(params, name) for name in source.inputs}
        return source.load("train", n, params.seed, domains=domains, styles=styles, **inputs)
    return _train_rows(params, {row["prompt"] for row in _load(params, "held_out")}, n)


def describe(splits: Splits) -> pd.DataFrame:
    """split, scenarios, and the best constant answer with the share that it gets right, where there are answers."""
    table = []
    for name, rows in splits.items():
        counts = pd.Series([option for row in rows for option in accepted(row)], dtype="str").value_counts()
        best = [(option, count / len(rows)) for option, count in counts[:1].items()] or [("", math.nan)]
        table.append((name, len(rows), *best[0]))
    return pd.DataFrame(table, columns=["split", "scenarios", "best constant answer", "base rate"])


def _world_splits(params: RunParams) -> Splits:
    source = SOURCES.of(params.source)
    inputs = {name: getattr(params, name) for name in source.inputs}

    def split(name: str, n: int, seed: int, domains, styles, **others) -> list[dict]:
        return source.load(name, n, seed, domains=domains, styles=styles, **inputs | others)

    def train(n: int) -> list[dict]:
        rows = split("train", n, params.seed, *choose_inputs(params), **_fewer_frameworks(params))
        return choose(rows, n, params)

    n, distinct = params.eval_scenarios, ratings.distinct(params) if source.rated else params.train_prompts
    rows = {"train": train(distinct) if params.steps else []}
    for name in source.splits:
        if name != "train":
            rows[name] = split(name, n, EVALUATION_SEED, *HELD_OUT.get(name, Inputs(TRAIN_DOMAINS, TRAIN_STYLES)))
    return rows


def _fewer_frameworks(params: RunParams) -> dict[str, str]:
    """What training scenarios are asked by, where that is fewer frameworks than evaluation has."""
    if not params.n_frameworks:
        return {}
    known = params.frameworks.split()
    order = generator(params.seed, "selection/frameworks").permutation(len(known))
    return {"frameworks": " ".join(known[i] for i in order[: params.n_frameworks])}


def _real_splits(params: RunParams) -> Splits:
    held_out = _load(params, "held_out")
    n = min(params.eval_scenarios, len(held_out))  # an answer to a scenario that comes twice would count twice
    splits = {"held_out": _sample(held_out, n, EVALUATION_SEED)}
    if params.steps:
        splits["train"] = _train_rows(params, {row["prompt"] for row in held_out}, params.train_prompts)
    return splits


def train_sources(params: RunParams) -> tuple[str, ...]:
    """Published sources that a run trains on: its own, or the first n of the others in an order of the seed, so that a
    larger n only adds to a smaller one."""
    if not params.train_sources:
        return (params.source,)
    known = others(params.source)
    order = generator(params.seed, "selection/sources").permutation(len(known))
    return tuple(known[i] for i in order[: params.train_sources])


def _train_rows(params: RunParams, held_out: set[str], n: int) -> list[dict]:
    """`n` rows of all sources in turn, so that each step has some of each; no prompt that is evaluated."""
    names = train_sources(params)
    loaded = (load_source(name, "train", params.data_dir) for name in names)
    kept = [[row for row in rows if row["prompt"] not in held_out] for rows in loaded]
    for name, rows in zip(names, kept, strict=True):
        if not rows:
            raise ValueError(f"{name} has no training row that {params.source} does not hold out")
    if params.chosen_by != ALL:
        return choose(at_hand([row for rows in kept for row in rows], n, params.seed), n, params)
    parts = [_sample(rows, math.ceil(n / len(names)), params.seed) for rows in kept]
    return [row for turn in zip_longest(*parts) for row in turn if row][:n]


def _load(params: RunParams, split: str) -> list[dict]:
    return load_source(params.source, split, params.data_dir)


def _sample(rows: list[dict], n: int, seed: int) -> list[dict]:
    return sample(rows, n, seed, "selection/sample")
