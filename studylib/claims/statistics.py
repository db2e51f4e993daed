"""The few tests that the claims rest on: one number per run, the training seed is the unit of replication.

At seed level intervals come from the t distribution: with 3 to 10 seeds bootstrap intervals are too narrow. pingouin
gives Holm, Hedges g and the Bayes factor. It does not give the interval and p: its `ttest` rounds the interval to two
decimals and returns the Bayes factor as text. It is imported where it is used, so that importing this file is cheap.

Not estimable is NaN: fewer than two seeds, or differences without spread, for which t is infinite and a p value or a
Bayes factor would be rounding noise (a constant shift gave BF10 = 3.6e33).
"""

import numpy as np
import pandas as pd
from scipy import stats

BF_SCALE = 0.707  # scale r of the Cauchy prior on the standardised effect, "medium" in Rouder et al. 2009
NO_SPREAD = 1e-12  # accuracies are of order 1, so a smaller range comes from floating point


def t_interval(values, level: float = 0.95) -> tuple[float, float, float]:
    """Mean and t interval on n - 1 degrees of freedom; NaN bounds for one value or for values without spread."""
    values = _numbers(values)
    mean = float(values.mean())
    if not _estimable(values):
        return mean, np.nan, np.nan
    half = stats.t.ppf((1 + level) / 2, values.size - 1) * values.std(ddof=1) / np.sqrt(values.size)
    return mean, float(mean - half), float(mean + half)


def paired_contrast(treatment: pd.Series, baseline: pd.Series) -> dict[str, float]:
    """Treatment minus baseline, paired by the seeds in the two indexes.

    difference with low, high (95 %) and low90, high90 (for equivalence), two-sided p of the paired t test, hedges_g,
    bf10 and n. hedges_g is pingouin's for paired data: Cohen's d_av, the mean difference over sqrt((s1^2 + s2^2) / 2)
    (Cumming 2012), times its small-sample factor 1 - 3 / (4 * 2n - 9). It tells the shift in units of the spread
    between seeds; it is not d_z, and with few seeds it is large for small shifts. bf10 is the two-sided JZS Bayes
    factor (Rouder et al. 2009, eq. 1) with r = .707.
    """
    treatment, baseline = _paired(treatment, baseline)
    differences = treatment - baseline
    mean, low, high = t_interval(differences)
    _, low90, high90 = t_interval(differences, 0.90)
    result = {"difference": mean, "low": low, "high": high, "low90": low90, "high90": high90, "n": differences.size}
    if not _estimable(differences):
        return {**result, "p": np.nan, "hedges_g": np.nan, "bf10": np.nan}
    import pingouin

    test = stats.ttest_rel(treatment, baseline)
    g = pingouin.compute_effsize(treatment, baseline, paired=True, eftype="hedges")
    bf10 = pingouin.bayesfactor_ttest(float(test.statistic), nx=differences.size, paired=True, r=BF_SCALE)
    return {**result, "p": float(test.pvalue), "hedges_g": float(g), "bf10": float(bf10)}


def holm(p_values) -> np.ndarray:
    """Holm-adjusted p values of one family; a NaN stays NaN and does not count as a test."""
    p_values = np.asarray(p_values, dtype=float)
    outside = p_values[(p_values < 0) | (p_values > 1)]
    if outside.size:
        raise ValueError(f"p values outside [0, 1]: {outside.tolist()}")
    adjusted, tested = np.full(p_values.shape, np.nan), ~np.isnan(p_values)
    if tested.any():
        import pingouin

        adjusted[tested] = pingouin.multicomp(p_values[tested], method="holm")[1]
    return adjusted


def _numbers(values) -> np.ndarray:
    values = np.asarray(values, dtype=float)
    if values.size == 0 or not np.isfinite(values).all():
        raise ValueError(f"not finite numbers: {values.tolist()}")
    return values


def _estimable(values: np.ndarray) -> bool:
    return values.size > 1 and float(np.ptp(values)) > NO_SPREAD


def _paired(treatment: pd.Series, baseline: pd.Series) -> tuple[np.ndarray, np.ndarray]:
    """The values of both in the order of the seeds; refuses seeds that only one of them has."""
    for series in (treatment, baseline):
        if not series.index.is_unique:
            raise ValueError(f"seeds more than once: {sorted(set(series.index[series.index.duplicated()]))}")
    missing = {
        "treatment": sorted(set(baseline.index) - set(treatment.index)),
        "baseline": sorted(set(treatment.index) - set(baseline.index)),
    }
    if any(missing.values()):
        words = " and ".join(f"the {side} lacks the seeds {seeds}" for side, seeds in missing.items() if seeds)
        raise ValueError(f"not paired: {words}")
    return _numbers(treatment.sort_index()), _numbers(baseline.sort_index())
