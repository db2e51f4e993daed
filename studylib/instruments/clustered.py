"""Intervals for grades of criteria: criteria of one scenario are alike, so scenarios are drawn, not rows.

A bootstrap of clusters (Field and Welsh 2007), percentiles of 1000 draws. With fewer than five scenarios, or where more
than one draw in twenty has no value, an interval is not estimable and its bounds are NaN. A measure takes weights
(draws, n) and gives (draws,), so that all draws are one matrix product. (`claims/items.py` clusters by run and scenario
at once, by a formula for means; kappa and AUROC have none.)
"""

import numpy as np
import pandas as pd

from studylib.randomness import generator
from studylib.runs.keys import require_keys

MIN_SCENARIOS = 5
DRAWS = 1000


def scenario_weights(scenarios: pd.Series, draws: int = DRAWS, seed: int = 0) -> np.ndarray:
    """(1 + draws, n): the first row is all ones; in the others a scenario counts as often as it was drawn.

    One row alone where there are too few scenarios for an interval. Raises ValueError for a row without scenario, which
    would otherwise be drawn with another one.
    """
    require_keys(pd.DataFrame({"scenario": scenarios}), "scenario")
    codes, names = pd.factorize(scenarios)
    ones = np.ones((1, len(codes)))
    if len(names) < MIN_SCENARIOS:
        return ones
    drawn = generator(seed, "judge_report/bootstrap").multinomial(len(names), [1 / len(names)] * len(names), size=draws)
    return np.concatenate([ones, drawn[:, codes]])


def with_interval(values: np.ndarray, level: float = 0.95) -> tuple[float, float, float]:
    """(value, low, high): the first of `values` and percentiles of the others; NaN bounds without others.

    Bounds are NaN too when more than one draw in twenty has no value.
    """
    value, drawn = float(values[0]), values[1:]
    if not len(drawn) or np.isnan(drawn).mean() > 0.05:
        return value, np.nan, np.nan
    low, high = np.nanquantile(drawn, [(1 - level) / 2, (1 + level) / 2])
    return value, float(low), float(high)


def weighted_mean(x: np.ndarray, w: np.ndarray) -> np.ndarray:
    """(draws,) means of x (n,) under weights w (draws, n)."""
    with np.errstate(invalid="ignore"):
        return w @ x / w.sum(1)
