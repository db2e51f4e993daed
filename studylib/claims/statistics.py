"""The few tests that the claims rest on: one number per run, the training seed is the unit of replication.

At seed level intervals come from the t distribution: with 3 to 10 seeds bootstrap intervals are too narrow. The paired
test is written out, because SciPy's `ttest_1samp` takes 80 times as long and the simulation of the claims makes some
300,000 of them (`instruments/validate.py`); the tests hold it against SciPy.

Not estimable is NaN: fewer than two seeds, or differences without spread, for which t is infinite and a p value or a
Bayes factor would be rounding noise (a constant shift gave BF10 = 3.6e33).
"""

import warnings

import numpy as np
import pandas as pd
from scipy import special, stats

from studylib.claims import pingouin_parts
from studylib.claims.decisions import ALPHA, MARGIN
from studylib.randomness import generator

BF_SCALES = {"bf10_r50": 0.5, "bf10": 0.707, "bf10_r100": 1.0}  # scale r of the Cauchy prior on the effect
NO_SPREAD = 1e-12  # accuracies are of order 1, so a smaller range comes from floating point
EXACT_FLIPS = 15  # seeds up to which all 2^n sign flips are tried
G_SEEDS = 3  # seeds from which g has an interval: with 2 the 95 % interval covered 91 to 96 %
LARGE_T = 1e3  # beyond it the noncentrality is a chi-square quantile to 1e-4, and SciPy's inversion errs by up to 0.4 %
TESTS = ("low", "high", "low90", "high90", "p", "p_tost")
DETAILS = ("hedges_g", "g_low", "g_high", *BF_SCALES, "p_signflip", "p_signflip_min")
WELCH = ("p_welch", "low_welch", "high_welch")


def t_interval(values, level: float = 0.95) -> tuple[float, float, float]:
    """Mean and t interval on n - 1 degrees of freedom; NaN bounds for one value or for values without spread."""
    values = _numbers(values)
    mean = float(values.mean())
    if not _estimable(values):
        return mean, np.nan, np.nan
    half = special.stdtrit(values.size - 1, (1 + level) / 2) * values.std(ddof=1) / np.sqrt(values.size)
    return mean, float(mean - half), float(mean + half)


def paired_contrast(
    treatment: pd.Series, baseline: pd.Series, alpha: float = ALPHA, margin: float = MARGIN, details: bool = True
) -> dict[str, float]:
    """Treatment minus baseline, paired by the seeds in the two indexes.

    n, difference, and what the decision needs: the 1 - alpha interval low, high; the 1 - 2 alpha interval low90,
    high90, which is inside +-margin exactly when both one-sided tests reject at alpha (TOST, Schuirmann 1987);
    two-sided p of the paired t test; p_tost, the larger of the two one-sided p values at the margin.

    `details` adds hedges_g with its 1 - alpha interval, Bayes factors for three priors, the sign-flip permutation and
    Welch's test for the same runs taken as unpaired.
    """
    treatment, baseline = _paired(treatment, baseline)
    differences = treatment - baseline
    result = {"n": differences.size, "difference": float(differences.mean())}
    if not _estimable(differences):
        nothing = dict.fromkeys((*TESTS, *DETAILS) if details else TESTS, np.nan)
        return result | nothing | (welch(treatment, baseline, alpha) if details else {})
    result |= _paired_t(differences, alpha, margin)
    return result | (_details(treatment, baseline, alpha) if details else {})


def _paired_t(differences: np.ndarray, alpha: float, margin: float) -> dict[str, float]:
    df, mean = differences.size - 1, float(differences.mean())
    se = float(differences.std(ddof=1)) / np.sqrt(differences.size)
    half, half90 = (special.stdtrit(df, 1 - share) * se for share in (alpha / 2, alpha))
    return {
        "low": float(mean - half), "high": float(mean + half),
        "low90": float(mean - half90), "high90": float(mean + half90),
        "p": float(2 * special.stdtr(df, -abs(mean) / se)),
        "p_tost": float(special.stdtr(df, -(margin - abs(mean)) / se)),
    }  # fmt: skip


def _details(treatment: np.ndarray, baseline: np.ndarray, alpha: float) -> dict[str, float]:
    differences = treatment - baseline
    t = float(differences.mean() / stats.sem(differences))
    n, spread = differences.size, treatment.var(ddof=1) + baseline.var(ddof=1)
    scale = np.sqrt(2 * differences.var(ddof=1) / (n * spread))  # d_av = scale * t; g shrinks it, its interval does not
    low, high = (float(scale * bound) for bound in noncentrality(t, n - 1, alpha)) if n >= G_SEEDS else (np.nan, np.nan)
    g = pingouin_parts.hedges_g(treatment, baseline)
    factors = {name: bayes_factor(t, n, r) for name, r in BF_SCALES.items()}
    p, smallest = sign_flip(differences)
    return {
        "hedges_g": g, "g_low": low, "g_high": high, **factors, "p_signflip": p, "p_signflip_min": smallest,
        **welch(treatment, baseline, alpha),
    }  # fmt: skip


def noncentrality(t: float, df: int, alpha: float = ALPHA) -> tuple[float, float]:
    """1 - alpha interval of the noncentrality of an observed t.

    Times sqrt(2 s_d^2 / (n (s1^2 + s2^2))) it is the interval of the true d_av of pairs, which Hedges' g estimates
    (Algina & Keselman 2003). Without bias it does so for uncorrelated pairs alone, since its correction counts 2n - 2
    degrees of freedom and correlated pairs have fewer: the mean g for a true 1 and pairs correlated by 0, .5 and .9 is
    1.00, 1.04 and 1.18 with 3 pairs, 1.00, 1.02 and 1.09 with 5, and 1.00, 1.01 and 1.04 with 10 (400,000 simulated
    studies each). The interval is approximate, since that factor is estimated too: 95 % intervals covered 94 to
    97 % of true effects up to 2, with 3 to 10 pairs correlated by 0 to .9, and up to 99 % of an effect of 5. (Shrunken
    like g itself they covered 88 to 97 %.)
    """
    low, high = (_noncentrality_at(abs(t), df, share) for share in (1 - alpha / 2, alpha / 2))
    return (low, high) if t >= 0 else (-high, -low)


def _noncentrality_at(t: float, df: int, share: float) -> float:
    """The noncentrality at which a share of the distribution lies below t >= 0.

    T is (Z + noncentrality) / sqrt(chi2 / df), and at large t nothing depends on Z. SciPy's `nctdtrinc` loses digits
    there (2 % at t = 1e4 with df 1 and share .005) and does not return from t = 3e5 on, which differences that are
    constant but for the rounding of float32 reach.
    """
    if t > LARGE_T:
        return float(t * np.sqrt(special.chdtri(df, share) / df))
    return float(special.nctdtrinc(df, share, t))


def bayes_factor(t: float, n: int, r: float) -> float:
    """Two-sided JZS BF10 of a paired t with n pairs, Cauchy prior of scale r (Rouder et al. 2009, eq. 1).

    The integral over their g is a sum over x = log g, where the integrand is smooth and vanishes at both ends, so that
    even steps lose nothing. In logarithms, because at large t the peak is far out, near g = t^2, and very high: with 50
    pairs BF10 is beyond the largest number from about t = 1e8 on, and infinite here.
    """
    step, df = 0.05, n - 1
    x = np.arange(-8, 40 + 2 * np.log1p(abs(t)), step)
    wider = 1 + n * r**2 * np.exp(x)  # variance of the mean under the prior, in units of that without an effect
    fit = n / 2 * (np.log1p(t**2 / df) - np.log1p(t**2 / (df * wider)))
    prior = -(np.log(2 * np.pi) + x + np.exp(-x)) / 2  # of x, as g is inverse gamma with shape and scale 1/2
    with np.errstate(over="ignore"):
        return float(step * np.exp(special.logsumexp(fit - np.log(wider) / 2 + prior)))


def welch(treatment, baseline, alpha: float = ALPHA) -> dict[str, float]:
    """Two-sided p and 1 - alpha interval of the difference of two unpaired means, unequal variances (Welch 1947)."""
    treatment, baseline = _numbers(treatment), _numbers(baseline)
    if min(treatment.size, baseline.size) < 2 or not (_estimable(treatment) or _estimable(baseline)):
        return dict.fromkeys(WELCH, np.nan)
    with warnings.catch_warnings(action="ignore", category=RuntimeWarning):  # one arm may be without spread
        test = stats.ttest_ind(treatment, baseline, equal_var=False)
    return dict(zip(WELCH, map(float, (test.pvalue, *test.confidence_interval(1 - alpha))), strict=True))


def sign_flip(differences) -> tuple[float, float]:
    """Two-sided p of the sign-flip permutation of the mean, and the smallest p possible with this many pairs.

    All 2^n flips up to n = 15 (smallest p 2 / 2^n: .25 with 3 seeds, .0625 with 5), then 9,999 drawn ones and the
    observed one (Phipson & Smyth 2010). SciPy's `permutation_test` gives the same of all flips; of drawn ones it
    doubles the smaller tail, so that p cannot fall below 2 in 10,000.
    """
    differences = _numbers(differences)
    if differences.size <= EXACT_FLIPS:
        bits = np.arange(2**differences.size)[:, None] >> np.arange(differences.size)
        flips, smallest = 1 - 2 * (bits & 1), 2.0 ** (1 - differences.size)  # the first row flips nothing
    else:
        drawn = generator(0, "sign flips", differences.size).choice((1, -1), size=(9999, differences.size))
        flips, smallest = np.vstack([np.ones_like(drawn[:1]), drawn]), 1 / 10_000
    means = np.abs(flips @ differences) / differences.size
    return float((means >= means[0] - NO_SPREAD).mean()), smallest


def holm(p_values) -> np.ndarray:
    """Holm-adjusted p values of one family; a NaN stays NaN and does not count as a test."""
    p_values = np.asarray(p_values, dtype=float)
    outside = p_values[(p_values < 0) | (p_values > 1)]
    if outside.size:
        raise ValueError(f"p values outside [0, 1]: {outside.tolist()}")
    adjusted, tested = np.full(p_values.shape, np.nan), ~np.isnan(p_values)
    if tested.any():
        adjusted[tested] = pingouin_parts.holm(p_values[tested])
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
    if treatment.index.equals(baseline.index):
        return _numbers(treatment), _numbers(baseline)
    missing = {
        "treatment": sorted(set(baseline.index) - set(treatment.index)),
        "baseline": sorted(set(treatment.index) - set(baseline.index)),
    }
    if any(missing.values()):
        words = " and ".join(f"the {side} lacks the seeds {seeds}" for side, seeds in missing.items() if seeds)
        raise ValueError(f"not paired: {words}")
    return _numbers(treatment.sort_index()), _numbers(baseline.sort_index())
