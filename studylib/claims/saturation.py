"""Steps to saturation: how soon the held-out curve of a run stays where it ends."""

import math

import pandas as pd

from studylib.runs.keys import require_keys
from studylib.runs.read import KEYS, SEEN

TOLERANCE = 0.05  # share of the answers that a curve may be away from its level, and has to rise by
LAST = 3  # looks whose mean is the level


def steps_to_saturation(curve: pd.Series) -> float:
    """First step from which on a curve (step -> share) stays within `TOLERANCE` of its level, the mean of its last
    `LAST` looks.

    NaN where the question has no answer: without a look before training or with fewer than `LAST` after it; where the
    level is not above the first look by more than the tolerance; where one of the last looks is away from their mean,
    so that the curve has not settled. The answer is a look, so it is late by up to the steps between two. With just
    `LAST` looks after the first it can be no other than the first of them: it says then only that the curve settled.
    """
    curve = curve.dropna().sort_index()
    if len(curve) <= LAST or curve.index[0] != 0:
        return math.nan
    level = curve.iloc[-LAST:].mean()
    away = (curve - level).abs() > TOLERANCE
    if away.iloc[-LAST:].any() or level - curve.iloc[0] <= TOLERANCE:
        return math.nan
    return float(curve.index[len(curve) - away.to_numpy()[::-1].argmax()])


def saturation(looks: pd.DataFrame) -> pd.DataFrame:
    """One row per world, condition, seed and what is seen: `first` and `level` of its curve, `steps_to_saturation`.

    looks is what `read_held_out` returns.
    """
    require_keys(looks, *KEYS, "step")
    rows = []
    for name in seen(looks):
        for key, run in looks.dropna(subset=[name]).groupby(KEYS):
            curve = run.set_index("step")[name].astype(float).sort_index()
            ends = {"first": curve.iloc[0], "level": curve.iloc[-LAST:].mean()}
            rows.append(dict(zip(KEYS, key, strict=True)) | {"seen": name, **ends}
                        | {"steps_to_saturation": steps_to_saturation(curve)})  # fmt: skip
    return pd.DataFrame(rows)


def by_condition(table: pd.DataFrame) -> pd.DataFrame:
    """Per world, condition and what is seen: seeds, how many of them settled after a rise, and the means over seeds;
    `steps_to_saturation` is the median of those that settled."""
    groups = table.groupby(["world", "condition", "seen"])
    return groups.agg(
        seeds=("seed", "nunique"), settled=("steps_to_saturation", "count"), first=("first", "mean"),
        level=("level", "mean"), steps_to_saturation=("steps_to_saturation", "median"),
    )  # fmt: skip


def seen(looks: pd.DataFrame) -> list[str]:
    """What was seen at the looks: names of columns with values."""
    return [name for name in SEEN if looks[name].notna().any()]
