"""What a policy is given of people's ratings: whose, on which scale, and with how much of their disagreement.

Ratings come as `{rater, value, groups}` on the levels of a scenario's options. One change at a time, in this order:

1. `rating_scale`: a coarser scale. Two levels part the scale above its middle, three keep the middle as a level of its
   own (arXiv 2511.14476 compares 5, 3 and 2; its cuts are not known), and `two_decided` drops ratings in the middle.
2. `rater_pool`: who is asked. `all`, `balanced` (each group alike), one group by its name, or `without NAME`.
3. `raters_each`: how many of them rate a scenario. It is the same in every pool, or its size would be taken for its
   diversity.
4. `disagreement`: what is kept. `soft_label` keeps all ratings of a scenario as one distribution, `keep_all` each as a
   row of its own, `random_one` one of them; `majority`, `mean` and `median` are one value, of a tied majority all of
   them. `consensus_only` leaves out the scenarios on which raters differ, `consensus_matched` as many by chance.

Before all of these, a model of raters may speak in their place (`modelled.py`).

Every treatment of a seed begins with the same scenarios, and each comes as often as any other: `raters_each` times, as
`keep_all` has rows. Evaluation scenarios keep all their ratings, on the scale of the run.
"""

import math
from collections.abc import Callable
from itertools import cycle, islice

import numpy as np

from studylib.names import Option
from studylib.randomness import generator
from studylib.scenarios import rater_models
from studylib.scenarios.scale import levels
from studylib.typed import at_least, one_of

ALL, BALANCED, WITHOUT = "all", "balanced", "without "
OWN, DECIDED = "own", "two_decided"
SCALES = {OWN: 0, "three": 3, "two": 2, DECIDED: 2}  # name -> levels

POOL = Option(
    "rater_pool", ALL, f"whose ratings are trained on: {ALL}, {BALANCED} (each group alike), a group, or without GROUP"
)
PEOPLE = "none"  # no model: people's own ratings
MODEL = Option(
    "rater_model", PEOPLE, "whose ratings are trained on: people's (none), or those of a model of them (pal, pooled)",
    *one_of(PEOPLE, *rater_models.KINDS),
)  # fmt: skip
SCALE = Option(
    "rating_scale", OWN, "levels of the ratings: the source's own, three, two, or two without ratings in the middle",
    *one_of(*SCALES),
)  # fmt: skip
EACH = Option(
    "raters_each", 8, "ratings of each scenario that is trained on, as often as it comes",
    at_least(2)[0], "2 or more: one rating has no disagreement to keep or to drop",
)  # fmt: skip


# --- scale -----------------------------------------------------------------------------------------------------------


def rescaled(row: dict, scale: str) -> dict:
    """The row on a coarser scale, its levels called 1, 2, ...; raises ValueError for one that does not fit."""
    wanted, known = SCALES[scale], levels(row["options"])
    if not wanted or wanted == len(known):
        return row
    if wanted > len(known) or ((wanted == 3 or scale == DECIDED) and len(known) % 2 == 0):
        why = "has no middle" if wanted < len(known) else "has fewer"
        raise ValueError(f"rating_scale = {scale!r} does not fit scenario {row['id']}: its scale of {len(known)} {why}")
    places = {value: np.sign(2 * i - (len(known) - 1)) for i, value in enumerate(known)}  # -1, 0 in the middle, 1
    level = (lambda place: place + 2) if wanted == 3 else (lambda place: 1 + (place > 0))
    kept = [r for r in row["ratings"] if scale != DECIDED or places[r["value"]]]
    ratings = [r | {"value": float(level(places[r["value"]]))} for r in kept]
    return with_ratings(row | {"options": [str(k + 1) for k in range(wanted)]}, ratings)


def with_ratings(row: dict, ratings: list[dict]) -> dict:
    """The row with these ratings; its answer is the option that most raters chose, the lowest of them in a tie."""
    given = counts(ratings, levels(row["options"]))
    return row | {"ratings": ratings, "answer": row["options"][given.index(max(given))]}


def counts(ratings: list[dict], scale: list[float]) -> list[int]:
    """How many ratings there are of each level."""
    values = [rating["value"] for rating in ratings]
    return [values.count(level) for level in scale]


# --- raters ----------------------------------------------------------------------------------------------------------


def groups_of(rows: list[dict]) -> list[str]:
    """The groups that raters of these scenarios belong to."""
    return sorted({group for row in rows for rating in row["ratings"] for group in rating["groups"]})


def pooled(row: dict, pool: str, n: int, rng: np.random.Generator) -> list[dict] | None:
    """`n` ratings of the pool, drawn without replacement; None where it has fewer."""
    order = [row["ratings"][i] for i in rng.permutation(len(row["ratings"]))]
    if pool == BALANCED:
        order = _in_turns(
            [[r for r in order if group in r["groups"]] for group in rng.permutation(groups_of([row]))], n
        )
    elif pool.startswith(WITHOUT):
        order = [r for r in order if pool.removeprefix(WITHOUT) not in r["groups"]]
    elif pool != ALL:
        order = [r for r in order if pool in r["groups"]]
    return order[:n] if len(order) >= n else None


def _in_turns(parts: list[list[dict]], n: int) -> list[dict]:
    """A rating of each part in turn, and none twice; [] where a part is too small for its share of `n`."""
    if not parts or min(map(len, parts)) < math.ceil(n / len(parts)):
        return []
    return [part[i] for i in range(math.ceil(n / len(parts))) for part in parts]


def check_pool(rows: list[dict], pool: str) -> None:
    """Raises ValueError for a group that no rater is of."""
    group, known = pool.removeprefix(WITHOUT), groups_of(rows)
    if (pool not in (ALL, BALANCED) and group not in known) or (pool == BALANCED and not known):
        known = f"its groups are {', '.join(known)}" if known else "its raters are of no known group"
        raise ValueError(f"rater_pool = {pool!r} is not allowed: {known}")


# --- disagreement ----------------------------------------------------------------------------------------------------


def _one(value: float) -> list[dict]:
    return [{"rater": "", "value": float(value), "groups": []}]


def _modes(ratings: list[dict], scale: list[float], rng) -> list[dict]:
    given = counts(ratings, scale)
    return [rating for level, count in zip(scale, given, strict=True) if count == max(given) for rating in _one(level)]


def _nearest(middle: Callable) -> Callable:
    """The level nearest to a mean or median; of two that are as near the higher one."""

    def label(ratings: list[dict], scale: list[float], rng) -> list[dict]:
        value = middle([r["value"] for r in ratings])
        return _one(min(scale, key=lambda level: (abs(level - value), -level)))

    return label


def _random_one(ratings: list[dict], scale: list[float], rng) -> list[dict]:
    return [ratings[int(rng.integers(len(ratings)))]]


LABELS = {  # name -> function of (ratings, scale, random numbers) -> the ratings that are trained on
    "soft_label": lambda ratings, scale, rng: ratings,
    "keep_all": lambda ratings, scale, rng: ratings,
    "majority": _modes,
    "consensus_only": _modes,
    "consensus_matched": _modes,
    "random_one": _random_one,
    "mean": _nearest(np.mean),
    "median": _nearest(np.median),
}
DISAGREEMENT = Option(
    "disagreement", "soft_label", f"what is kept of several ratings: {', '.join(LABELS)}", *one_of(*LABELS)
)
OPTIONS = (POOL, SCALE, EACH, DISAGREEMENT, MODEL)  # that every source with ratings reads


def unanimous(ratings: list[dict]) -> bool:
    return len({r["value"] for r in ratings}) == 1


def training_rows(rows: list[dict], params) -> list[dict]:
    """`params.train_prompts` rows with the ratings that the parameters say, of the first `distinct` scenarios.

    Raises ValueError for a pool that no scenario has enough raters of, for `consensus_only` without consensus, and
    where no two ratings differ, so that nothing about disagreement could be learnt.
    """
    rows = list({row["id"]: row for row in rows}.values())[: distinct(params)]
    check_pool(rows, params.rater_pool)
    n, pool, kind = params.raters_each, params.rater_pool, params.disagreement

    def stream(row: dict, purpose: str) -> np.random.Generator:
        return generator(params.seed, f"ratings/{purpose}/{row['id']}")

    found = [(row, pooled(row, pool, n, stream(row, "pool"))) for row in rows]
    rated = [row | {"ratings": ratings} for row, ratings in found if ratings]
    if not rated:
        raise ValueError(f"rater_pool = {pool!r} has no scenario with raters_each = {n} ratings or more")
    may_agree = params.rater_model != PEOPLE  # a model may find that raters do not differ
    if not may_agree and all(unanimous(row["ratings"]) for row in rated):
        raise ValueError(f"disagreement = {kind!r} can make no difference: all ratings of each scenario are equal")
    if kind.startswith("consensus"):
        agreed = [row for row in rated if unanimous(row["ratings"])]
        if not agreed:
            raise ValueError(f"disagreement = {kind!r} leaves nothing: no scenario has {n} ratings that agree")
        order = generator(params.seed, "ratings/matched").permutation(len(rated))
        rated = agreed if kind == "consensus_only" else [rated[i] for i in sorted(order[: len(agreed)])]
    labelled = [
        with_ratings(row, LABELS[kind](row["ratings"], levels(row["options"]), stream(row, "label"))) for row in rated
    ]
    passes = _each_alone(labelled, n) if kind == "keep_all" else labelled
    return list(islice(cycle(passes), params.train_prompts))


def _each_alone(rows: list[dict], n: int) -> list[dict]:
    """A row for every rating, the first of all scenarios before the second of any."""
    return [with_ratings(row | {"id": f"{row['id']}-{k}"}, [row["ratings"][k]]) for k in range(n) for row in rows]


def distinct(params) -> int:
    """How many distinct scenarios a run with ratings trains on."""
    return math.ceil(params.train_prompts / params.raters_each)
