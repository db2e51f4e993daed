"""Rewards that a test puts in the place of the study's own, until it ends."""

import dataclasses

from studylib.names import REWARDS, Reward
from studylib.rewards import per_response


def replace_rewards(monkeypatch, rewards: dict) -> None:
    """rewards: name -> (function of response and scenario, fields that it needs); all others stay as they are."""
    known = dict(REWARDS)  # loads them, so that none is registered later over its replacement
    monkeypatch.setattr(REWARDS, "_records", dict(known))
    for name, (function, needs) in rewards.items():
        name = REWARDS.former.get(name, name)
        per_response(name)(function)
        old = known.get(name, Reward(name, None))
        REWARDS.add(dataclasses.replace(old, make=REWARDS[name].make, needs=needs, check=lambda row: None))
