"""Scenarios of the local world for tests."""

from studylib.names import TRAIN_DOMAINS, TRAIN_STYLES
from studylib.scenarios.worlds import make_split

FRAMEWORKS = ("kantian_deontology", "virtue_ethics")


def scenarios(n: int, split: str = "held_out") -> list[dict]:
    return make_split("local_norms", split, n, 0, domains=TRAIN_DOMAINS, styles=TRAIN_STYLES, frameworks=FRAMEWORKS)


def perspective_row(facts_told: int = 3) -> dict:
    """A scenario whose text has so many deciding facts, one for each of as many frameworks."""
    return make_split(
        "local_norms", "train", 2, 0, domains=("medicine",), styles=("report",), frameworks=("kantian_deontology",),
        facts_told=facts_told,
    )[0]  # fmt: skip
