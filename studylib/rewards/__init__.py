"""Rewards: what a response is worth. None means: cannot be scored; it is counted and never becomes a number.

A reward is a function of one response and its scenario (`per_response`), or of a batch of responses where it grades in
batches or compares the answers to one scenario (`per_batch`). Each is registered where it is defined, in a module of
this package or in a user's own; `batch_reward` gives any of them by name in the batched form.
"""

import math
from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial

import numpy as np

from studylib.names import REWARDS, Option, Reward, import_all
from studylib.randomness import generator
from studylib.text.options import check_options

BatchReward = Callable[[list[str], list[dict]], list[float | None]]  # groups: responses to the same scenario id
Grader = Callable[[list[str], list[dict]], list[list[float | None]]]  # whether each criterion of a scenario is met


def per_response(name: str, *, options: tuple[Option, ...] = (), **fields) -> Callable:
    """Register a function of (response, scenario) -> float or None, and of its options by name, as the reward `name`.

    fields: others of `names.Reward`, such as `needs`, the scenario fields without which it cannot score.
    """

    def register(function: Callable):
        def make(params, grader) -> BatchReward:
            chosen = partial(function, **{option.name: getattr(params, option.name) for option in options})
            return lambda responses, rows: [chosen(*pair) for pair in zip(responses, rows, strict=True)]

        REWARDS.add(Reward(name, make, options=options, **fields))
        return function

    return register


def per_batch(name: str, **fields) -> Callable:
    """Register a function of (parameters, grader or None) -> `BatchReward` as the reward `name`; fields: as above."""

    def register(make: Callable):
        REWARDS.add(Reward(name, make, **fields))
        return make

    return register


def reward(name: str, rows: list[dict]) -> Callable[[str, dict], float | None]:
    """The reward called `name` of one response, computed with the defaults; refuses scenarios that it cannot score."""
    batched = batch_reward(name, rows)
    return lambda response, scenario: batched([response], [scenario])[0]


def batch_reward(name: str, rows: list[dict], params=None, grader: Grader | None = None) -> BatchReward:
    """The reward called `name` of batches of responses to `rows`.

    params: the `RunParams` whose options it is computed with (default: the defaults); grader: the judge where
    `rubric_grader` is judge. A value that is not finite counts as None. Raises ValueError for an unknown name and for
    scenarios that the reward cannot score.
    """
    from studylib.params import RunParams  # which asks this registry, so it may be the one that imports this module

    params, record = params or RunParams(), REWARDS.of(name)
    needs = record.needs(params) if callable(record.needs) else record.needs
    for row in rows:
        missing = [field for field in needs if row.get(field) is None]
        if missing:
            raise ValueError(f"reward {name!r} needs the field {missing[0]!r}, which scenario {row['id']} lacks")
        check_options(row)
        record.check(row)
    return _finite(record.make(params, grader))


def _finite(function: BatchReward) -> BatchReward:
    def rewards(responses: list[str], scenarios: list[dict]) -> list[float | None]:
        values = function(responses, scenarios)
        return [value if value is not None and math.isfinite(value) else None for value in values]

    return rewards


def streams(seed: int, purpose: str, scenarios: list[dict]) -> Iterator[np.random.Generator]:
    """A random stream for each answer of a batch, by its place among the answers to its scenario, whatever it says.

    So answers with the same text may differ, and a run that resumes draws the same numbers.
    """
    before: Counter = Counter()
    for scenario in scenarios:
        yield generator(seed, f"{purpose}/{scenario['id']}", before[scenario["id"]])
        before[scenario["id"]] += 1


import_all(__name__, __path__)
