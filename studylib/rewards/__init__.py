"""Rewards: pure functions of one response and its scenario, `-> float | None`. None means: cannot be scored."""

from collections.abc import Callable

from studylib.rewards.verdict import format, verdict

Reward = Callable[[str, dict], float | None]
REWARDS: dict[str, tuple[Reward, tuple[str, ...]]] = {  # name -> (function, scenario fields that it needs)
    "verdict": (verdict, ("options", "answer")),
    "format": (format, ("options",)),
}


def reward(name: str, rows: list[dict]) -> Reward:
    """The reward called `name`; refuses scenarios that lack a field it needs."""
    function, needs = REWARDS[name]
    for row in rows:
        missing = [field for field in needs if row.get(field) is None]
        if missing:
            raise ValueError(f"reward {name!r} needs the field {missing[0]!r}, which scenario {row['id']} lacks")
    return function
