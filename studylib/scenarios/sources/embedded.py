"""The embedded worlds as sources: their scenarios are made, with known truth, for a number and a seed."""

from functools import partial
from operator import attrgetter

from studylib.names import SOURCES, Option, Source
from studylib.scenarios import council, plural, rated, ratings, roles
from studylib.scenarios.choosing import CHOICE
from studylib.scenarios.facts import NORMS
from studylib.scenarios.worlds import make_split
from studylib.typed import between, one_of


def _make(world: str, split: str, n: int, seed: int, *, frameworks: str, **inputs) -> list[dict]:
    return make_split(world, split, n, seed, frameworks=tuple(frameworks.split()), **inputs)


N_FRAMEWORKS = Option(
    "n_frameworks", 0, "frameworks to train on, the first n of `frameworks` in an order of the seed; 0: all",
    lambda value: value >= 0, "0, or at most the number of frameworks",
    fits=lambda params: params.n_frameworks <= len(params.frameworks.split()),
)  # fmt: skip
for _world in NORMS:
    SOURCES.add(
        Source(_world, partial(_make, _world), world=True, inputs=("frameworks", "facts_told"),
               parameters=(N_FRAMEWORKS, *CHOICE))
    )  # fmt: skip
ACCEPTED = Option(
    "accepted_stances", plural.MOST, "stances that are accepted in each scenario",
    *between(1, plural.MOST),
)  # fmt: skip
SOURCES.add(
    Source(plural.WORLD, plural.make_split, world=True, inputs=(ACCEPTED.name,), parameters=(ACCEPTED,),
           demonstrations=plural.demonstrations)
)  # fmt: skip
SOURCES.add(
    Source(rated.WORLD, rated.make_split, world=True, inputs=tuple(map(attrgetter("name"), rated.INPUTS)),
           parameters=(*rated.PARAMETERS, *ratings.OPTIONS), demonstrations=rated.demonstrations, rated=True)
)  # fmt: skip
COUNCIL = Option(
    "council", "own", "what the views of a scenario know: each a fact of its own (own), or all the same (same)",
    *one_of(*council.COUNCILS),
)  # fmt: skip
SOURCES.add(
    Source(council.WORLD, council.make_split, world=True, inputs=(COUNCIL.name,), parameters=(COUNCIL, *roles.OPTIONS),
           demonstrations=council.demonstrations, roles=council.roles)
)  # fmt: skip
