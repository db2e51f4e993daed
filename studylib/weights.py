"""Rewards and their weights, as parameters write them: `correct=0.9 diversity=0.1`."""

from studylib.names import REWARDS, nearest
from studylib.typed import LEAST, MOST, decimal


def reward_weights(text: str) -> dict[str, float]:
    """Reward name -> weight, of reward=weight pairs by spaces; a weight of 0 is measured, not trained on."""
    weights: dict[str, float] = {}
    for part in text.split():
        name, _, weight = part.partition("=")
        if name not in REWARDS:
            near = nearest(name, REWARDS) or f"; name=weight pairs of {', '.join(REWARDS)}"
            raise ValueError(f"no reward {name!r}{near}")
        if name in weights:
            raise ValueError(f"name=weight pairs, each name once, and {name!r} comes twice")
        weights[name] = _weight(name, weight)
    if not any(weights.values()):
        raise ValueError("at least one reward with a weight other than 0")
    return weights


def _weight(name: str, text: str) -> float:
    """0, or a finite number that float32 can hold."""
    value = decimal(text)
    if value is None or not (value == 0 or LEAST <= abs(value) <= MOST):
        raise ValueError(f"name=weight pairs, where weight {text!r} of {name} is 0 or {LEAST:g} to {MOST:g} in size")
    return value


def present_rewards(text: str) -> str:
    """reward=weight pairs with the names that the rewards have today, where a former one is among them."""
    pairs = [part.partition("=") for part in text.split()]
    if not any(name in REWARDS.former for name, *_ in pairs):
        return text
    return " ".join(REWARDS.former.get(name, name) + "".join(rest) for name, *rest in pairs)
