"""Power: what a number of seeds can tell, from the spread of the runs at hand and before their decisions are read.

All of it is for differences paired by seed with a standard deviation sd in units of the endpoint, under a normal
distribution. A standard deviation from few seeds is itself uncertain (3 seeds: a factor of 6 upwards), so the table
gives its interval, and a careful reader plans with the upper end.
"""

from collections import Counter

import numpy as np
import pandas as pd
from scipy import integrate, optimize, special, stats

from studylib.claims.decisions import ALPHA
from studylib.claims.plan import Plan
from studylib.claims.statistics import LARGE_T, NO_SPREAD
from studylib.runs.keys import require_keys
from studylib.runs.read import KEYS

TARGET = 0.80  # power that counts as enough
UNDECIDED = ("inconclusive", "not estimable")  # a look with one of these decisions does not end the study
MOST = 500  # seeds; more is not a plan
CERTAIN = 1e3  # times the critical t: a shift that no draw misses, and at 1e10 SciPy's noncentral t is not a number
KEY = ("world", "contrast", "seeds")
COLUMNS = (
    "sd", "sd_low", "sd_high", "detectable", "detectable_holm", "power_equivalent", "seeds_equivalent",
    "seeds_different", "more",
)  # fmt: skip


def difference_power(effect: float, sd: float, n: int, alpha: float = ALPHA) -> float:
    """Power of the two-sided paired t test (noncentral t, both tails).

    The lower tail is the upper one of the mirrored distribution: SciPy has no value for many lower tails near 0.
    """
    _check(sd, n)
    df, shift = n - 1, abs(effect) / sd * np.sqrt(n)
    critical = special.stdtrit(df, 1 - alpha / 2)
    if critical > LARGE_T:  # as in `noncentrality`; here SciPy is slow and wrong, and does not return at 1e7
        return max(alpha, float(special.chdtr(df, df * (shift / critical) ** 2)))
    if shift > CERTAIN * (1 + critical):
        return 1.0
    return float(stats.nct.sf(critical, df, shift) + stats.nct.sf(critical, df, -shift))


def equivalence_power(margin: float, sd: float, n: int, true: float = 0.0, alpha: float = ALPHA) -> float:
    """Power of the paired TOST when the true difference is `true`.

    Exact: given the observed standard deviation s, the mean must fall between -margin + h and margin - h with
    h = t(1 - alpha, n - 1) s / sqrt(n); integrated over the chi distribution of s (Phillips 1990).
    """
    _check(sd, n)
    df, se = n - 1, sd / np.sqrt(n)
    critical = special.stdtrit(df, 1 - alpha)

    def given(chi: float) -> float:
        room = margin - critical * se * chi / np.sqrt(df)
        inside = special.ndtr((room - true) / se) - special.ndtr((-room - true) / se)
        return inside * stats.chi.pdf(chi, df)

    widest = margin * np.sqrt(df) / (critical * se)  # beyond it there is no room
    upper = min(widest, stats.chi.isf(1e-12, df))
    return float(np.clip(integrate.quad(given, 0, upper, limit=200)[0], 0, 1))


def detectable(sd: float, n: int, alpha: float = ALPHA, power: float = TARGET) -> float:
    """Smallest true difference that n seeds find with this power, in the unit of sd."""
    _check(sd, n)
    if not alpha < power < 1:
        raise ValueError(f"the power must be between alpha = {alpha} and 1, not {power}")
    high = 1.0
    while difference_power(high, 1, n, alpha) < power:
        high *= 2
    return sd * optimize.brentq(lambda effect: difference_power(effect, 1, n, alpha) - power, 0, high, xtol=1e-12)


def seeds_needed(power_at, target: float = TARGET) -> float:
    """Fewest seeds n >= 2 with power_at(n) >= target, by bisection; infinity when MOST are not enough."""

    def enough(n: int) -> bool:
        if np.isnan(power := power_at(n)):
            raise ValueError(f"the power with {n} seeds is not a number")
        return power >= target

    high = 2
    while not enough(high):
        if high >= MOST:
            return np.inf
        high = min(2 * high, MOST)
    low = high // 2
    while low + 1 < high:
        middle = (low + high) // 2
        low, high = (low, middle) if enough(middle) else (middle, high)
    return high


def sd_interval(sd: float, n: int, level: float = 0.95) -> tuple[float, float]:
    """Chi-square interval of a standard deviation estimated from n normal values."""
    _check(sd, n)
    quantiles = stats.chi2.ppf([(1 + level) / 2, (1 - level) / 2], n - 1)
    return tuple(float(sd * np.sqrt((n - 1) / q)) for q in quantiles)


def power_table(runs: pd.DataFrame, plan: Plan) -> pd.DataFrame:
    """One row per world and planned contrast on the primary endpoint: what its spread between seeds allows.

    seeds; sd of the paired differences with its 95 % interval; detectable: true difference found with 80 % power;
    power_equivalent: chance of "equivalent" when the truth is no difference; seeds_equivalent, seeds_different: seeds
    for 80 % power when the truth is no difference, and when it is as large as the margin; more: seeds to add until
    both hold. All at the plan's alpha per look, but `detectable_holm` at alpha / k, which Holm asks of the first
    difference of a family: k counts the planned contrasts with the baseline, or with the control, that the plan's
    `family` corrects together, those of one split or of all splits of the world. A run without a scored answer leaves
    its pair out: `seeds` counts the pairs that are left.
    """
    require_keys(runs, *KEYS, "split", "endpoint")
    wanted = (runs["split"] == plan.primary_split) & (runs["endpoint"] == plan.primary_endpoint)
    rows = []
    for world, cell in runs[wanted].groupby("world"):
        arms = cell.pivot(index="seed", columns="condition", values="after")
        planned, splits = plan.planned_pairs(arms), _splits_corrected_together(runs[runs["world"] == world], plan)
        family = Counter(other for _, other in planned)
        for name, other in planned:
            differences = (arms[name] - arms[other]).dropna()
            key = dict(zip(KEY, (world, f"{name} - {other}", len(differences)), strict=True))
            rows.append(key | _row(differences, plan, family[other] * splits))
    return pd.DataFrame(rows, columns=[*KEY, *COLUMNS])


def _splits_corrected_together(runs: pd.DataFrame, plan: Plan) -> int:
    """Splits of one world whose contrasts on the primary endpoint share a family with those of the primary split."""
    if "split" in plan.family.split():
        return 1
    return runs[runs["endpoint"] == plan.primary_endpoint]["split"].nunique()


def _row(differences: pd.Series, plan: Plan, tests: int) -> dict[str, float]:
    n, alpha, margin = len(differences), plan.alpha_per_look, plan.margin
    if n < 2 or np.ptp(differences) <= NO_SPREAD:
        return dict.fromkeys(COLUMNS, np.nan)
    sd = float(differences.std())
    equivalent = seeds_needed(lambda n: equivalence_power(margin, sd, n, alpha=alpha))
    different = seeds_needed(lambda n: difference_power(margin, sd, n, alpha))
    low, high = sd_interval(sd, n)
    finds = detectable(sd, n, alpha), detectable(sd, n, alpha / tests)
    same, more = equivalence_power(margin, sd, n, alpha=alpha), max(equivalent - n, different - n, 0)
    return dict(zip(COLUMNS, (sd, low, high, *finds, same, equivalent, different, more), strict=True))


def next_look(plan: Plan, seeds: int, decisions) -> str:
    """What the plan says after a look with so many seeds: stop, or which seeds to add.

    The study stops when every primary contrast has a decision, or at the last look. Each look is at alpha / looks, so
    the chance of a wrong "different" anywhere on the way stays below alpha.
    """
    if seeds not in plan.look_sizes:
        raise ValueError(f"{seeds} seeds are no look of this plan; its looks are at {plan.look_sizes} seeds")
    if not len(decisions):
        return "There is no planned contrast, so there is nothing to decide."
    undecided = [decision for decision in decisions if decision in UNDECIDED]
    if not undecided:
        return f"Stop at {seeds} seeds: every planned contrast has a decision."
    which = f"{len(undecided)} of {len(decisions)} contrasts {' or '.join(sorted(set(undecided)))}"
    if seeds == plan.max_seeds:
        return f"Stop at {seeds} seeds, the last look of the plan, with {which}."
    following = plan.look_sizes[plan.look_sizes.index(seeds) + 1]
    return f"Go on, with {which}: add the seeds {seeds}..{following - 1}, then compare again."


def _check(sd: float, n: int) -> None:
    if not (sd > 0 and np.isfinite(sd) and n >= 2):
        raise ValueError(f"power needs a standard deviation above 0 and at least 2 seeds, not sd = {sd!r}, n = {n!r}")
