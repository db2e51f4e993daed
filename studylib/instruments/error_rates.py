"""Simulated studies whose truth is known, case by case: how often do the claims err, cover and find?

Each case is a function that gives rows of `validate`'s table: what was simulated, the rate, its 95 % Wilson interval
and its target. Targets: error rates at most alpha + 2 standard errors of the simulation, coverage 93-97 %, power within
3 standard errors of the formula (two-sided, so 2 would miss by chance in one of twenty). Rows without a target are no
checks: they report what is known not to hold. Many studies are claimed at once, each a world of its own, and so a
family of its own too. The cases marked "run folders" write every run as a folder and read it back; the others begin
with the table.
"""

import dataclasses

import numpy as np
import pandas as pd

from studylib.claims import tables
from studylib.claims.decisions import ALPHA
from studylib.claims.items import clustered_contrast, stratified_bootstrap
from studylib.claims.plan import Plan, read_plan
from studylib.claims.power import detectable, difference_power, equivalence_power, next_look
from studylib.claims.statistics import paired_contrast
from studylib.evaluation.rates import wilson
from studylib.evaluation.table import RUN_COLUMNS
from studylib.instruments.seed_sets import set_claims
from studylib.instruments.simulate import PLAN, SD, from_folders, simulate
from studylib.randomness import generator

SEEDS, CONTRASTS = (3, 5, 10), (1, 14)
REJECTED = ("different", "both (trivial)")
SAME = ("equivalent", "both (trivial)")
COLUMNS = ["what", "value", "low", "high", "target_low", "target_high"]


def decisions(runs: pd.DataFrame, plan: Plan = PLAN) -> pd.DataFrame:
    """Planned claims only, with what the decision needs."""
    return tables.primary(tables.claims(runs, plan, decisions_only=True), plan)


def share_of(claims: pd.DataFrame, words: tuple[str, ...]) -> tuple[int, int]:
    """(studies in which any contrast has one of these decisions, studies)."""
    any_of_them = claims["decision"].isin(words).groupby(claims["world"]).any()
    return int(any_of_them.sum()), len(any_of_them)


# --- rows of the table -----------------------------------------------------------------------------------------------


def _row(what: str, hits: float, n: int, target: tuple[float, float]) -> dict:
    low, high = wilson(round(hits), n)
    return dict(zip(COLUMNS, (what, hits / n, low, high, *target), strict=True))


def _at_most(rate: float, n: int) -> tuple[float, float]:
    return 0.0, rate + 2 * np.sqrt(rate * (1 - rate) / n)


def _near(rate: float, n: int) -> tuple[float, float]:
    error = 3 * np.sqrt(rate * (1 - rate) / n)
    return max(rate - error, 0.0), min(rate + error, 1.0)


COVERAGE = (0.93, 0.97)
REPORTED = (np.nan, np.nan)  # no target
MANY = 12  # trained objectives beside GRPO


def null_studies(studies: int, seeds: int, contrasts: int, unequal: bool) -> list[dict]:
    """No condition differs: how many studies call any contrast different? And does the interval cover 0?"""
    runs, folders = simulate(studies, seeds, contrasts, unequal=unequal), contrasts == 1 and seeds < 10
    claims = decisions(from_folders(runs) if folders else runs)
    case = f"{seeds} seeds, {contrasts} contrast{'s' * (contrasts > 1)}, {'un' * unequal}equal variances"
    case += ", run folders" if folders else ""
    rows = [_row(f"false 'different' in a study: {case}", *share_of(claims, REJECTED), _at_most(ALPHA, studies))]
    if contrasts == 1:
        covered = int(((claims["low"] <= 0) & (claims["high"] >= 0)).sum())
        rows.append(_row(f"coverage of the paired t interval: {case}", covered, studies, COVERAGE))
    return rows


def at_the_margin(studies: int, seeds: int, unequal: bool) -> list[dict]:
    """The true difference is the margin: how often is it called equivalent?"""
    claims = decisions(simulate(studies, seeds, shift=PLAN.margin, unequal=unequal, case=1))
    hits = share_of(claims, SAME)
    case = f"{seeds} seeds, {'un' * unequal}equal variances"
    return [_row(f"false 'equivalent' at the margin: {case}", *hits, _at_most(ALPHA, studies))]


def many_at_the_margin(studies: int, seeds: int) -> list[dict]:
    """All of many true differences are the margin: is any called equivalent? Equivalence is not corrected for that."""
    claims = decisions(simulate(studies, seeds, MANY, shift=PLAN.margin, case=6))
    hits = share_of(claims, SAME)
    return [_row(f"any false 'equivalent', {MANY} contrasts at the margin: {seeds} seeds", *hits, REPORTED)]


def power_cases(studies: int, seeds: int) -> list[dict]:
    """Power against its formulas, where the formula says 80 %, and for equivalence where nothing differs."""
    sd = SD * np.sqrt(2)
    effect = detectable(sd, seeds)
    differ = share_of(decisions(simulate(studies, seeds, shift=effect, case=2)), REJECTED)
    same = decisions(simulate(studies, seeds, case=3))
    formula = difference_power(effect, sd, seeds), equivalence_power(PLAN.margin, sd, seeds)
    return [
        _row(
            f"power to find {effect:.3f}: {seeds} seeds (formula {formula[0]:.3f})",
            *differ, _near(formula[0], studies),
        ),
        _row(
            f"power of equivalence, margin {PLAN.margin}: {seeds} seeds (formula {formula[1]:.3f})",
            *share_of(same, SAME), _near(formula[1], studies),
        ),
    ]  # fmt: skip


def other_intervals(studies: int, seeds: int, unequal: bool) -> list[dict]:
    """Welch and Hedges' g: a true shift of two noise sd, g = 1.4 or 0.8. The sign flips: no shift."""
    case = f"{seeds} seeds, {'un' * unequal}equal variances"
    shift, sd = 2 * SD, SD * np.array([1, 3 if unequal else 1])
    true_g = shift / np.sqrt((sd**2 + SD**2).mean())  # both arms carry the seeds' effect
    welch = hedges = flips = 0
    for _, study in simulate(studies, seeds, shift=shift, unequal=unequal, case=4).groupby("world"):
        baseline, treatment = (arm.set_index("seed")["after"] for _, arm in study.groupby("condition"))
        contrast = paired_contrast(treatment, baseline)
        welch += contrast["low_welch"] <= shift <= contrast["high_welch"]
        hedges += contrast["g_low"] <= true_g <= contrast["g_high"]
        flips += paired_contrast(treatment - shift, baseline)["p_signflip"] < ALPHA if seeds > 5 else 0
    rows = [
        _row(f"coverage of the interval of Hedges' g: {case}", hedges, studies, COVERAGE),
        _row(f"coverage of Welch's interval on runs that pair (wide by design): {case}", welch, studies, (0.93, 1.0)),
    ]
    if seeds > 5:
        rows.append(_row(f"false rejections by sign flips: {case}", flips, studies, _at_most(ALPHA, studies)))
    return rows


def standardised(studies: int, seeds: int, g: float, correlation: float) -> list[dict]:
    """Hedges' g of normal pairs with equal variances; a large g, where the interval is too wide, is reported only."""
    rng, covered = generator(seeds, f"simulated pairs: g {g}, correlation {correlation}"), 0
    for _ in range(studies):
        shared, *own = rng.standard_normal((3, seeds))
        arms = [np.sqrt(correlation) * shared + np.sqrt(1 - correlation) * noise for noise in own]
        contrast = paired_contrast(pd.Series(arms[0] + g), pd.Series(arms[1]))
        covered += contrast["g_low"] <= g <= contrast["g_high"]
    case = f"{seeds} seeds, true g {g:g}, pairs correlated by {correlation:g}"
    target = COVERAGE if g < 2 else REPORTED
    return [_row(f"coverage of the interval of Hedges' g: {case}", covered, studies, target)]


def item_level(studies: int, seeds: int) -> list[dict]:
    """Answers with an effect of run and of scenario: does the two-way clustered interval cover, and the naive one?"""
    rng, scenarios, answers = generator(seeds, "simulated answers"), 40, 4
    two_way = naive = 0
    for _ in range(studies):
        logit = 0.8 + rng.normal(0, 0.3, (2 * seeds, 1, 1)) + rng.normal(0, 1, (1, scenarios, 1))
        right = rng.random((2 * seeds, scenarios, answers)) < 1 / (1 + np.exp(-logit))
        run, scenario, _ = (grid.ravel() for grid in np.indices(right.shape))
        arms = {"seed": run // 2, "treated": run % 2}
        items = pd.DataFrame(arms | {"id": scenario, "value": right.ravel().astype(float)})
        contrast = clustered_contrast(items)
        two_way += contrast["low"] <= 0 <= contrast["high"]
        naive += abs(contrast["difference"]) <= 1.96 * contrast["se_naive"]
    return [
        _row(f"coverage of the item-level interval, two-way clustered: {seeds} seeds", two_way, studies, COVERAGE),
        _row(f"coverage if answers were taken for independent: {seeds} seeds", naive, studies, REPORTED),
    ]


def sequential(studies: int) -> list[dict]:
    """Three looks at 3, 6 and 9 seeds: chance that any look calls a null different, or the margin equivalent."""
    plan = dataclasses.replace(PLAN, seeds=3, max_seeds=9, looks=3)
    rows = []
    for what, shift, wrong in (("'different'", 0.0, "different"), ("'equivalent' at the margin", 0.1, "equivalent")):
        runs = simulate(studies, plan.max_seeds, shift=shift, case=5)
        looks = [decisions(runs[runs["seed"] < n], plan).set_index("world")["decision"] for n in plan.look_sizes]
        errors, used = 0, 0
        for taken in zip(*(look.sort_index() for look in looks), strict=True):
            stop = [next_look(plan, n, [v]).startswith("Stop") for n, v in zip(plan.look_sizes, taken, strict=True)]
            last = stop.index(True)
            errors, used = errors + (taken[last] in (wrong, "both (trivial)")), used + plan.look_sizes[last]
        title = f"sequential, looks at 3, 6, 9 seeds: false {what} (mean seeds used {used / studies:.1f})"
        rows.append(_row(title, errors, studies, _at_most(ALPHA, studies)))
    return rows


def single_rates(studies: int) -> list[dict]:
    """Wilson's interval of one rate, and the IQM's bootstrap, which is known to be too narrow for few runs."""
    rng, rows = generator(0, "simulated rates"), []
    for n, rate in ((80, 0.5), (80, 0.9), (320, 0.95)):
        bounds = [wilson(int(hits), n) for hits in rng.binomial(n, rate, studies)]
        hits = sum(low <= rate <= high for low, high in bounds)
        rows.append(_row(f"coverage of Wilson's interval: {rate} of {n}", hits, studies, COVERAGE))
    for seeds in SEEDS:
        draws = (stratified_bootstrap(rng.normal(0.5, SD, (seeds, 6)), draws=400) for _ in range(studies // 10))
        hits = sum(low <= 0.5 <= high for _, low, high in draws)
        rows.append(_row(f"coverage of the IQM's bootstrap: {seeds} runs, 6 tasks", hits, studies // 10, REPORTED))
    return rows


def embedded(sets: int, measured: pd.DataFrame) -> list[dict]:
    """Fresh seed sets of a finished study of axis inputs, simulated and not trained.

    measured: its runs, as `read_runs` gives them and figures/inputs/accuracy.csv holds them. Scores are normal with
    their means and covariance over seeds; all conditions, splits and endpoints of a world are drawn together: means +
    Z (measured - means) / sqrt(n - 1).
    """
    rows = []
    for world, runs in measured.groupby("world"):
        claims = decisions(_fresh_sets(runs, world, sets), read_plan("inputs"))
        claims = claims[claims["contrast"] == "broad - narrow"].sort_values("world")
        null = world == "universal_norms"
        aims = ((10, REJECTED[:1], float(not null)), (sets, REJECTED[:1], 0.95 * (not null)), (sets, REJECTED, 0.0))
        for count, words, low in aims if null else aims[:2]:
            name = f"{world}: broad - narrow {' or '.join(map(repr, words))} in {count} simulated seed sets"
            target = (low, (0.0 if count == 10 else 0.05) if null else 1.0)
            rows.append(_row(f"{name} at the measured spread", *share_of(claims.head(count), words), target))
    return rows


def _fresh_sets(runs: pd.DataFrame, world: str, sets: int) -> pd.DataFrame:
    """Runs of so many simulated seed sets of one world, each set a world of its own."""
    columns = ["condition", "split", "endpoint"]
    wide = runs.pivot(index="seed", columns=columns, values="after")
    n, before = len(wide), runs.groupby(columns)["before"].mean()
    deviations, fresh = (wide - wide.mean()).to_numpy(), []
    for i in range(sets):
        draw = generator(i, f"fresh seed sets of {world}").standard_normal((n, n)) @ deviations / np.sqrt(n - 1)
        scores = pd.DataFrame((draw + wide.mean().to_numpy()).clip(0, 1), columns=wide.columns).rename_axis("seed")
        long = scores.stack(columns, future_stack=True).rename("after").reset_index()
        fresh.append(long.assign(world=f"{i:05d}"))
    return pd.concat(fresh).join(before.rename("before"), on=columns)[RUN_COLUMNS]


def trained(runs: pd.DataFrame) -> list[dict]:
    """Fresh seed sets that were trained (runs: those of `seed_sets`): how many of them call a null different?"""
    claims = set_claims(runs, read_plan("inputs"))
    n, name = len(claims), f"{claims['world'].iloc[0]}: {claims['contrast'].iloc[0]}"
    rows = []
    for words, target in ((REJECTED[:1], (0.0, 0.0)), (REJECTED, _at_most(ALPHA, n))):
        hits = int(claims["decision"].isin(words).sum())
        rows.append(_row(f"{name} {' or '.join(map(repr, words))} in {n} trained seed sets", hits, n, target))
    return rows
