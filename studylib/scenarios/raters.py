"""Embedded raters whose truth is known: groups that weigh the facts differently, and noise in each single rating.

A scenario of `rated.py` tells three facts, and in each there is a breach or none. A rater of group g finds the deed as
bad as the sum of the group's weights of the breaches, and rates it max - badness, rounded, on a scale of `TOP` levels
(1: worst). Each rating slips by one level with chance `NOISE`, up or down, and never off the scale. Populations:

* `opposed`: three groups, each of which cares for one of the facts most (positive control: to drop or to outvote a
  group changes what is learnt).
* `alike`: groups of the same names and sizes without a difference (negative control: it cannot matter).

Simulated raters are no evidence about people. They show whether a method finds what is there.
"""

from typing import NamedTuple

import numpy as np

from studylib.scenarios.facts import Facts, breach

TOP = 5  # levels of the scale on which raters rate
NOISE = 0.05  # chance that a rating slips by one level
FACTS = ("kantian_deontology", "virtue_ethics", "scanlonian_contractualism")  # that a scenario tells


class Group(NamedTuple):
    raters: int
    weights: tuple[float, float, float]  # badness of a breach in each of `FACTS`


EVEN = (4 / 3, 4 / 3, 4 / 3)
POPULATIONS = {
    "opposed": {
        "truth-minded": Group(16, (3.0, 0.5, 0.5)),
        "motive-minded": Group(16, (0.5, 3.0, 0.5)),
        "fairness-minded": Group(8, (0.5, 0.5, 3.0)),
    },
    "alike": {
        "truth-minded": Group(16, EVEN),
        "motive-minded": Group(16, EVEN),
        "fairness-minded": Group(8, EVEN),
    },
}


def judged(facts: Facts, weights: tuple[float, ...]) -> int:
    """The level, 1..`TOP`, that these weights give the deed, before noise; halves are rounded up."""
    badness = sum(weight for weight, framework in zip(weights, FACTS, strict=True) if breach(facts, framework))
    return int(np.clip(np.floor(TOP - badness + 0.5), 1, TOP))


def distribution(facts: Facts, population: str) -> dict[str, np.ndarray]:
    """Group -> (`TOP`,) chances of each level, noise included: what the ratings of a group are drawn from."""
    return {name: _slipped(judged(facts, group.weights)) for name, group in POPULATIONS[population].items()}


def _slipped(level: int) -> np.ndarray:
    chances = np.zeros(TOP)
    for step, chance in ((0, 1 - NOISE), (1, NOISE / 2), (-1, NOISE / 2)):
        chances[int(np.clip(level + step, 1, TOP)) - 1] += chance
    return chances


def ratings(facts: Facts, population: str, rng: np.random.Generator) -> list[dict]:
    """One rating of every rater: rater, value and groups, as a scenario row has them."""
    drawn = []
    for group, chances in distribution(facts, population).items():
        levels = rng.choice(np.arange(1, TOP + 1), size=POPULATIONS[population][group].raters, p=chances)
        drawn += [{"rater": f"{group} {i}", "value": float(level), "groups": [group]} for i, level in enumerate(levels)]
    return drawn
