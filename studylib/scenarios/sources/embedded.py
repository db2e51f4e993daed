"""The embedded worlds as sources: their scenarios are made, with known truth, for a number and a seed."""

from functools import partial
from operator import attrgetter

from studylib.names import SOURCES, Option, Source
from studylib.scenarios import council, plural, rated, ratings, roles, told_values
from studylib.scenarios.choosing import CHOICE
from studylib.scenarios.facts import NORMS
from studylib.scenarios.worlds import make_split
from studylib.typed import between, one_of

SPLITS = ("train", "held_out", "held_out_domains", "held_out_styles")


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
               parameters=(N_FRAMEWORKS, *CHOICE), splits=SPLITS)
    )  # fmt: skip
ACCEPTED = Option(
    "accepted_stances", plural.MOST, "stances that are accepted in each scenario",
    *between(1, plural.MOST),
)  # fmt: skip
SOURCES.add(
    Source(plural.WORLD, plural.make_split, world=True, inputs=(ACCEPTED.name,), parameters=(ACCEPTED,),
           demonstrations=plural.demonstrations, splits=SPLITS)
)  # fmt: skip


def _composable(value: str) -> bool:
    try:
        return bool(told_values.outlooks(tuple(value.split())))
    except ValueError:
        return False


def _left(params) -> int:
    """Outlooks that training may tell."""
    return len(told_values.outlooks(tuple(params.message_dimensions.split()))[0])


MESSAGES = (
    Option(
        "message_dimensions", " ".join(told_values.VALUES), "dimensions of system messages, by spaces",
        _composable, f"two or more of {', '.join(told_values.DIMENSIONS)}, or no message is left to hold out; concern "
        "among them, or manner (tone, address, voice) alone",
    ),
    Option(
        "message_outlooks", 12, "combinations of values that training messages tell; 0: no messages",
        lambda value: value >= 0, "0 or more, and no more than message_dimensions leave, as some are held out",
        fits=lambda params: params.message_outlooks <= _left(params),
    ),
    Option(
        "message_wordings", told_values.WORDINGS, "wordings of each clause of a training message",
        *between(1, told_values.WORDINGS),
    ),
    Option(
        "message_shuffled", False, "training messages are told at random, and the usual outlook is right",
        allowed="true only where training messages tell two outlooks or more",
        fits=lambda params: not params.message_shuffled or params.message_outlooks > 1,
    ),
)  # fmt: skip
SOURCES.add(
    Source(told_values.WORLD, told_values.make_split, world=True, splits=told_values.SPLITS,
           inputs=tuple(option.name for option in MESSAGES), parameters=MESSAGES,
           demonstrations=told_values.demonstrations, demonstrated=("message_dimensions",))
)  # fmt: skip
SOURCES.add(
    Source(rated.WORLD, rated.make_split, world=True, inputs=tuple(map(attrgetter("name"), rated.INPUTS)),
           parameters=(*rated.PARAMETERS, *ratings.OPTIONS), demonstrations=rated.demonstrations, rated=True,
           splits=SPLITS)
)  # fmt: skip
COUNCIL = Option(
    "council", "own", "what the views of a scenario know: each a fact of its own (own), or all the same (same)",
    *one_of(*council.COUNCILS),
)  # fmt: skip
SOURCES.add(
    Source(council.WORLD, council.make_split, world=True, inputs=(COUNCIL.name,), parameters=(COUNCIL, *roles.OPTIONS),
           demonstrations=council.demonstrations, roles=council.roles, splits=SPLITS)
)  # fmt: skip
