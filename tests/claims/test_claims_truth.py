"""Every statistic against a case whose answer is known. Run: python -m pytest tests/test_claims_truth.py

Values and their sources are in tests/golden/statistics.json, the commands of those from R in statistics.R beside it;
everything else is computed by brute force or by another library.
"""

import dataclasses
import json
import math
import subprocess
import sys
from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import integrate, optimize, stats

from studylib.claims import items, power, tables
from studylib.claims.plan import Plan
from studylib.claims.plots_seeds import kendall_w, plot_power
from studylib.claims.statistics import LARGE_T, bayes_factor, holm, noncentrality, paired_contrast, sign_flip, welch
from studylib.evaluation import diversity as responses
from studylib.evaluation.rates import wilson
from studylib.instruments import error_rates, seed_sets, simulate, validate
from studylib.paths import FIGURES
from studylib.randomness import generator

GOLDEN = json.loads((Path(__file__).parent / "golden/statistics.json").read_text())
SLEEP = [pd.Series(GOLDEN["sleep"][drug]) for drug in ("drug1", "drug2")]


def golden(name: str, rel: float = 1e-6) -> dict:
    """The values of one entry, without its source and data."""
    assert GOLDEN[name]["source"]
    return {key: pytest.approx(value, rel=rel) for key, value in GOLDEN[name].items() if isinstance(value, float)}


# --- one contrast ---


@pytest.mark.parametrize("name", ["paired_t", "welch", "bayes_factor", "hedges_g"])
def test_the_sleep_data_give_the_values_of_r(name):
    found, expected = paired_contrast(*SLEEP), golden(name)
    assert {key: found[key] for key in expected} == expected


def test_equivalence_by_hand_and_against_statsmodels():
    from statsmodels.stats.weightstats import ttost_paired

    expected = golden("tost")
    found = paired_contrast(*SLEEP, margin=GOLDEN["tost"]["margin"])
    del expected["margin"]
    assert {key: found[key] for key in expected} == expected
    assert found["p_tost"] == pytest.approx(ttost_paired(*SLEEP, -3, 3)[0])
    assert paired_contrast(*SLEEP, margin=1.0)["p_tost"] > 0.5, "beyond the margin"


@pytest.mark.parametrize("margin", [0.8, 0.95, 1.1, 2.29, 2.3])
def test_the_interval_is_inside_the_margin_exactly_when_both_one_sided_tests_reject(margin):
    found = paired_contrast(*SLEEP, margin=margin)
    assert (-margin < found["low90"] and found["high90"] < margin) == (found["p_tost"] < 0.05)


def test_another_alpha_makes_other_intervals_and_no_other_p():
    wide, usual = paired_contrast(*SLEEP, alpha=0.01), paired_contrast(*SLEEP)
    expected = stats.ttest_rel(*SLEEP)
    assert (wide["low"], wide["high"]) == pytest.approx(tuple(expected.confidence_interval(0.99)))
    assert (wide["low90"], wide["high90"]) == pytest.approx(tuple(expected.confidence_interval(0.98)))
    assert wide["p"] == usual["p"]


@pytest.mark.parametrize("t, df", [(4.06, 9), (-3.0, 4), (0.3, 2), (18.0, 2), (60.0, 4)])
def test_the_interval_of_the_noncentrality_inverts_the_noncentral_t(t, df):
    def found(share):
        return optimize.brentq(lambda nc: stats.nct.cdf(abs(t), df, nc) - share, -10, 150)

    bounds = (found(0.975), found(0.025)) if t > 0 else (-found(0.025), -found(0.975))
    assert noncentrality(t, df) == pytest.approx(bounds, rel=1e-3, abs=1e-3)


@pytest.mark.parametrize("t", [1001.0, -1e6, 1e12])
@pytest.mark.parametrize("df", [1, 4, 49])
def test_the_interval_of_the_noncentrality_ends_at_any_t_and_holds_what_it_says(t, df):
    low, high = sorted(np.abs(noncentrality(t, df)))
    rng = generator(0, "test/noncentrality")
    for noncentral, share in ((low, 0.975), (high, 0.025)):
        drawn = (noncentral + rng.normal(size=200_000)) / np.sqrt(rng.chisquare(df, 200_000) / df)
        assert (drawn < abs(t)).mean() == pytest.approx(share, abs=0.002)
    assert noncentrality(-t, df) == pytest.approx(tuple(-bound for bound in noncentrality(t, df)[::-1]))


@pytest.mark.parametrize("df", [1, 2, 9, 50])
@pytest.mark.parametrize("alpha", [0.01, 0.05, 1.0])
def test_the_noncentrality_has_no_step_where_its_calculation_changes(df, alpha):
    below, above = (np.array(noncentrality(t, df, alpha)) / t for t in (LARGE_T, LARGE_T * (1 + 1e-9)))
    assert above == pytest.approx(below, rel=2e-3), "SciPy's own error there"


@pytest.mark.parametrize(
    "noise, n", [(1e-5, 3), (1e-7, 5), (3e-8, 10), (1e-10, 50)], ids=["3 seeds", "5 seeds", "10 seeds", "50 seeds"]
)
@pytest.mark.filterwarnings("error")
def test_differences_that_are_nearly_constant_have_all_their_statistics_at_once(noise, n):
    baseline = pd.Series(generator(n, "test/nearly constant").normal(0.5, 0.02, n))
    treatment = baseline + 0.1 + noise * np.resize([1, -1, 0], n)
    found = paired_contrast(treatment, baseline)
    assert not any(map(math.isnan, found.values())) and found["low"] <= 0.1 <= found["high"]
    assert found["g_low"] < found["hedges_g"] < found["g_high"] and found["bf10"] > 100
    assert found["p"] < 1e-6


@pytest.mark.filterwarnings("error")
def test_differences_that_are_nearly_constant_have_a_plan_too():
    for sd in (1e-5, 1e-8, 1e-12):
        assert power.difference_power(0.1, sd, 3) == 1.0 and power.equivalence_power(0.1, sd, 3) == pytest.approx(1)
        assert power.seeds_needed(lambda n, sd=sd: power.difference_power(0.1, sd, n)) == 2
        assert power.detectable(sd, 3) == pytest.approx(sd * power.detectable(1, 3))


@pytest.mark.parametrize("alpha", [1e-3, 1e-4, 1e-6, 1e-9])
def test_two_seeds_at_a_tiny_alpha_have_a_detectable_difference_at_once(alpha):
    """With one degree of freedom it is inversely proportional to alpha, as the critical t is."""
    assert power.detectable(1, 2, alpha) * alpha == pytest.approx(0.5769, rel=1e-3)
    assert power.difference_power(0, 1, 2, alpha) == pytest.approx(alpha, rel=1e-6)


def test_hedges_g_is_too_large_where_pairs_are_correlated():
    """The figures of the README and of `noncentrality`: mean g of normal pairs whose true d_av is 1."""
    said = {(3, 0): 1.00, (3, 0.5): 1.04, (3, 0.9): 1.18, (5, 0): 1.00, (5, 0.5): 1.02, (5, 0.9): 1.09,
            (10, 0): 1.00, (10, 0.5): 1.01, (10, 0.9): 1.04}  # fmt: skip
    readme = (Path(__file__).resolve().parents[2] / "docs/claims.md").read_text()
    assert "is 1.18 with 3 seeds, 1.09 with 5 and 1.04 with 10; at .5 it is 1.04, 1.02 and 1.01" in readme
    for (n, correlation), mean in said.items():
        z, other = generator(n, f"test/hedges {correlation}").normal(size=(2, 100_000, n))
        treatment, baseline = z + 1, correlation * z + math.sqrt(1 - correlation**2) * other
        spread = np.sqrt((treatment.var(1, ddof=1) + baseline.var(1, ddof=1)) / 2)
        g = (treatment - baseline).mean(1) / spread * (1 - 3 / (8 * n - 9))
        assert g[0] == pytest.approx(paired_contrast(pd.Series(treatment[0]), pd.Series(baseline[0]))["hedges_g"])
        assert g.mean() == pytest.approx(mean, abs=0.005 + 3 * g.std() / math.sqrt(len(g))), (n, correlation)


def test_the_interval_of_hedges_g_holds_it_and_turns_with_it():
    found, turned = paired_contrast(*SLEEP), paired_contrast(*SLEEP[::-1])
    assert found["g_low"] < found["hedges_g"] < found["g_high"]
    assert (turned["g_low"], turned["g_high"]) == pytest.approx((-found["g_high"], -found["g_low"]))


def test_bayes_factors_for_three_priors():
    found = paired_contrast(*SLEEP)
    flat = paired_contrast(SLEEP[0], SLEEP[0] + [0.1, -0.1] * 5)
    assert found["bf10_r50"] < found["bf10"] < found["bf10_r100"], "a large effect: wide priors expect it"
    assert 1 > flat["bf10_r50"] > flat["bf10"] > flat["bf10_r100"], "no effect: wide priors expected more"


def test_bayes_factors_are_those_of_r_and_pingouin_where_these_integrate():
    import pingouin

    for n, t, expected in GOLDEN["bayes_factors"]["rows"]:
        for r, value in zip(GOLDEN["bayes_factors"]["r"], expected, strict=True):
            found = bayes_factor(t, n, r)
            assert found == pytest.approx(value, rel=1e-6) and bayes_factor(-t, n, r) == found
            assert found == pytest.approx(pingouin.bayesfactor_ttest(t, n, paired=True, r=r), rel=1e-6)


@pytest.mark.parametrize("n", [2, 3, 5, 20, 50])
@pytest.mark.parametrize("t", [0.0, 30.0, 800.0, 1e6])
def test_bayes_factors_at_any_t_by_another_substitution(n, t):
    """g = 1 / z^2 with z standard normal: 30 digits of another integrand."""
    import mpmath

    for r in (0.5, 0.707, 1.0):
        square, c = mpmath.mpf(t) ** 2, n * mpmath.mpf(r) ** 2

        def weighted(z, square=square, c=c):
            fit = (1 + square / (n - 1)) / (1 + square * z**2 / ((n - 1) * (z**2 + c)))
            return 2 * mpmath.npdf(z) * z / mpmath.sqrt(z**2 + c) * fit ** mpmath.mpf(n / 2)

        narrow = mpmath.sqrt((n - 1) * c / (1 + square))  # the peak
        with mpmath.workdps(30):
            cuts = sorted([0, 1, 5, 20, *(narrow * 10**k for k in range(-2, 9))])
            assert bayes_factor(t, n, r) == pytest.approx(float(mpmath.quad(weighted, cuts)), rel=1e-9)
    assert bayes_factor(800.0, 3, 0.707) == pytest.approx(552.2076171917)


def test_welch_by_hand_and_without_spread():
    a, b = np.array([0.8, 0.7, 0.75, 0.9]), np.array([0.6, 0.61, 0.59])
    parts = [a.var(ddof=1) / 4, b.var(ddof=1) / 3]
    df, difference, se = (
        sum(parts) ** 2 / (parts[0] ** 2 / 3 + parts[1] ** 2 / 2),
        a.mean() - b.mean(),
        sum(parts) ** 0.5,
    )
    p, half = 2 * stats.t.sf(difference / se, df), stats.t.isf(0.025, df) * se
    assert tuple(welch(a, b).values()) == pytest.approx((p, difference - half, difference + half))
    assert not math.isnan(welch([0.5, 0.5, 0.5], b)["p_welch"]), "one arm may be without spread"
    assert all(map(math.isnan, welch([0.5, 0.5], [0.6, 0.6]).values())) and math.isnan(welch([0.5], b)["p_welch"])


def test_sign_flips_of_darwins_maize():
    assert sign_flip(GOLDEN["darwin"]["differences"]) == pytest.approx((GOLDEN["darwin"]["p_signflip"], 2 / 2**15))


def test_sign_flips_by_brute_force_and_the_smallest_p_of_few_seeds():
    differences = SLEEP[0] - SLEEP[1]
    sums = [abs(sum(s * d for s, d in zip(signs, differences, strict=True))) for signs in product((1, -1), repeat=10)]
    assert sign_flip(differences)[0] == pytest.approx(np.mean(np.array(sums) >= abs(differences.sum()) - 1e-9))
    assert sign_flip([0.1, 0.2, 0.3]) == (0.25, 0.25), "three seeds can never be significant"
    assert sign_flip([0.1, 0.2, 0.3, 0.2, 0.1]) == (0.0625, 0.0625), "nor can five"
    assert (
        sign_flip(np.full(20, 0.1)) == (pytest.approx(1e-4), 1e-4)
        and sign_flip(np.r_[np.ones(10), -np.ones(10)])[0] == 1
    )


def test_holm_and_wilson():
    assert holm(GOLDEN["holm"]["p"]) == pytest.approx(GOLDEN["holm"]["adjusted"])
    for successes, n, low, high in GOLDEN["wilson"]["rates"]:
        assert wilson(successes, n) == pytest.approx((low, high), rel=1e-6)


def test_one_file_imports_pingouin_and_the_tables_come_without_torch():
    files = (Path(__file__).parents[2] / "studylib").rglob("*.py")
    assert [p.name for p in files if "import pingouin" in p.read_text().replace("pingouin_parts", "")] == [
        "pingouin_parts.py"
    ]
    code = "import sys, studylib.claims.tables, studylib.claims.items; print({'torch', 'pingouin'} & set(sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "set()\n"


# --- power ---


def test_power_and_detectable_difference():
    g = GOLDEN["power"]
    assert power.difference_power(g["dz"], 1, g["n"]) == pytest.approx(g["power"], rel=1e-6)
    assert power.seeds_needed(lambda n: power.difference_power(g["dz"], 1, n)) == g["n"]
    found = [power.detectable(1, n) for n in GOLDEN["detectable"]["seeds"]]
    assert found == pytest.approx(GOLDEN["detectable"]["dz"], rel=1e-6)
    assert power.detectable(0.04, 5) == pytest.approx(0.04 * power.detectable(1, 5))
    g = GOLDEN["detectable_at"]
    found = [power.detectable(1, n, alpha) for n, alpha in zip(g["n"], g["alpha"], strict=True)]
    assert found == pytest.approx(g["dz"], rel=1e-6)


@pytest.mark.parametrize("alpha", [0.05, 0.05 / 13, 0.001])
def test_the_power_is_a_number_everywhere_and_grows_with_the_effect_and_the_seeds(alpha):
    effects, seeds = np.geomspace(0.05, 20, 25), [*range(2, 25), 41, 50, 100, 200, 500]
    found = np.array([[power.difference_power(effect, 1, n, alpha) for effect in effects] for n in seeds])
    assert np.isfinite(found).all() and found.min() >= alpha and found.max() <= 1 + 1e-12
    assert np.diff(found, axis=0).min() > -1e-12 and np.diff(found, axis=1).min() > -1e-12
    for n in (2, 3, 5, 50, 500):
        assert power.difference_power(power.detectable(1, n, alpha), 1, n, alpha) == pytest.approx(0.8, abs=1e-9)


@pytest.mark.parametrize("effect, n, alpha", [(1.4, 41, 0.05), (2, 50, 0.05), (23.1606, 3, 0.001), (0.5, 4, 0.05 / 13)])
def test_the_power_is_the_normal_one_averaged_over_the_observed_standard_deviation(effect, n, alpha):
    shift, critical, df = effect * math.sqrt(n), stats.t.isf(alpha / 2, n - 1), n - 1

    def given(s):
        both = stats.norm.cdf(shift - critical * s) + stats.norm.cdf(-shift - critical * s)
        return both * stats.chi.pdf(s, df, scale=1 / math.sqrt(df))

    step = shift / critical  # where the first term falls from 1 to 0
    value = integrate.quad(given, 0, 5, points=[p for p in (step / 2, step, 2 * step) if p < 5], limit=500)[0]
    assert power.difference_power(effect, 1, n, alpha) == pytest.approx(value, abs=1e-7)


@pytest.mark.parametrize("n, k, true", [(3, 1.5, 0.0), (5, 1.0, 0.0), (5, 1.5, 0.5), (10, 1.0, 1.0)])
def test_the_power_of_equivalence_is_that_of_a_million_simulated_studies(n, k, true):
    x = generator(n, "test of power").normal(true, 1, (200_000, n))
    half = stats.t.ppf(0.95, n - 1) * x.std(axis=1, ddof=1) / math.sqrt(n)
    simulated = float((np.abs(x.mean(axis=1)) + half < k).mean())
    assert power.equivalence_power(k, 1, n, true) == pytest.approx(simulated, abs=0.004)


def test_seeds_needed_and_the_interval_of_a_standard_deviation():
    assert power.seeds_needed(lambda n: n / 50) == 40 and power.seeds_needed(lambda n: 0.0) == math.inf
    assert power.seeds_needed(lambda n: power.difference_power(0.1, 0.01097464, n)) == 3, "as R; never 4"
    with pytest.raises(ValueError, match="the power with 2 seeds is not a number"):
        power.seeds_needed(lambda n: math.nan)
    low, high = power.sd_interval(1.0, 5)
    assert (low, high) == pytest.approx((math.sqrt(4 / 11.1433), math.sqrt(4 / 0.484419)), rel=1e-4)
    with pytest.raises(ValueError, match="sd = 0.0"):
        power.detectable(0.0, 5)
    with pytest.raises(ValueError, match="between alpha = 0.05 and 1, not 1.0"):
        power.detectable(1.0, 5, power=1.0)


def test_the_power_table_says_what_is_not_estimable():
    runs = simulate.simulate(1, 5, 2)
    runs.loc[runs["condition"] == "c02", "after"] = runs.loc[runs["condition"] == "c00", "after"].to_numpy()
    table = power.power_table(runs, simulate.PLAN).set_index("contrast")
    arms = [runs[runs["condition"] == name]["after"].to_numpy() for name in ("c01", "c00")]
    assert table.loc["c01 - c00", "sd"] == pytest.approx((arms[0] - arms[1]).std(ddof=1))
    assert table.loc["c01 - c00", "detectable"] < table.loc["c01 - c00", "detectable_holm"]
    assert table.loc["c02 - c00"].drop(["world", "seeds"]).isna().all()


@pytest.mark.parametrize("family, tests", [("world split endpoint", 2), ("world endpoint", 6)])
def test_the_power_table_divides_alpha_by_the_planned_tests_that_are_corrected_together(family, tests):
    plan = dataclasses.replace(simulate.PLAN, family=family, seeds=5, max_seeds=10, looks=2, contrasts="c01 c02")
    primary = simulate.simulate(1, 5, 3)
    others = [primary.assign(split=split) for split in ("held_out", "held_out_styles")]
    runs = pd.concat([primary, *others, primary.assign(endpoint="accuracy_greedy")])
    corrected = tables.claims(runs, plan, decisions_only=True).query("endpoint == 'accuracy_sampled'")
    together = corrected[corrected["contrast"] != "c03 - c00"].groupby(family.split()).size()
    assert set(together) == {tests}, "the family of the claims"
    row = power.power_table(runs, plan).set_index("contrast").loc["c01 - c00"]
    assert row["detectable"] == pytest.approx(power.detectable(row["sd"], 5, 0.025))
    assert row["detectable_holm"] == pytest.approx(power.detectable(row["sd"], 5, 0.025 / tests), rel=1e-9)


def test_the_power_table_says_how_many_seeds_to_add():
    runs = simulate.simulate(1, 3, unequal=True)
    row = power.power_table(runs, simulate.PLAN).iloc[0]
    wanted = max(row["seeds_equivalent"], row["seeds_different"])
    for n, enough in ((wanted - 1, False), (wanted, True)):
        powers = power.equivalence_power(0.1, row["sd"], n), power.difference_power(0.1, row["sd"], n)
        assert (min(powers) >= 0.8) == enough
    assert row["more"] == wanted - 3 > 0


def test_the_power_table_of_a_baseline_alone_is_empty_and_can_be_drawn():
    runs = simulate.simulate(1, 3)
    table = power.power_table(runs[runs["condition"] == "c00"], simulate.PLAN)
    assert table.empty and list(table) == ["world", "contrast", "seeds", *power.COLUMNS]
    assert plot_power(table[table["world"] == "study00000"]).get_title() == "no planned contrast"


# --- single answers, all tasks ---


def answers(seeds: int, scenarios: int = 12, k: int = 4, spread: float = 0.8) -> pd.DataFrame:
    rng = generator(seeds, "test answers")
    logit = rng.normal(0, spread, (2 * seeds, 1, 1)) + rng.normal(0, 1, (1, scenarios, 1))
    right = rng.random((2 * seeds, scenarios, k)) < 1 / (1 + np.exp(-logit))
    run, scenario, _ = (grid.ravel() for grid in np.indices(right.shape))
    arms = {"seed": run // 2, "treated": run % 2}
    return pd.DataFrame(arms | {"id": scenario, "value": right.ravel().astype(float)})


def by_runs(table: pd.DataFrame) -> pd.Series:
    """One difference per seed: what the paired t test of runs sees."""
    means = table.groupby(["seed", "treated"])["value"].mean().unstack()
    return means[1] - means[0]


def test_errors_clustered_by_seed_are_those_of_the_paired_t_test_when_there_is_one_scenario():
    table = answers(4, scenarios=1, k=6, spread=1.5)
    found, test = items.clustered_contrast(table), stats.ttest_1samp(by_runs(table), 0)
    assert found["difference"] == pytest.approx(by_runs(table).mean())
    assert found["se"] == pytest.approx(stats.sem(by_runs(table))) and found["p"] == pytest.approx(test.pvalue)
    assert (found["low"], found["high"]) == pytest.approx(tuple(test.confidence_interval()))
    assert (found["seeds"], found["scenarios"], found["answers"]) == (4, 1, 48)


def test_two_way_errors_by_hand():
    """V(seed) + V(scenario) - V(cell), each G / (G - 1) times the squared sums of residuals over N^2 (CGM 2011)."""
    table = answers(6, scenarios=40)
    cells = table.groupby(["seed", "id", "treated"])["value"].mean().unstack()
    residual = (cells[1] - cells[0]) - (cells[1] - cells[0]).mean()
    sums = {name: residual.groupby(level=name).sum() for name in ("seed", "id")} | {"cell": residual}
    seed, scenario, cell = (len(x) / (len(x) - 1) * (x**2).sum() / len(residual) ** 2 for x in sums.values())
    found = items.clustered_contrast(table)
    assert found["se"] == pytest.approx(math.sqrt(max(seed + scenario - cell, seed)))
    assert found["se_naive"] < found["se"] / 2


def test_the_mixed_model_agrees_with_the_means_of_runs():
    table = answers(6, scenarios=40)
    mixed, clustered = items.mixed_contrast(table), items.clustered_contrast(table)
    assert mixed["mixed_difference"] == pytest.approx(clustered["difference"], abs=1e-6)
    assert mixed["mixed_se"] == pytest.approx(stats.sem(by_runs(table)), rel=0.02)


def test_crossed_effects_are_those_of_lme4_and_sandwich():
    """Plates stand for seeds, samples for scenarios; all differences are measured from 0."""
    expected, plates = GOLDEN["penicillin"], GOLDEN["penicillin"]["plates"]
    cells = [(plate, sample, plates[plate][sample]) for plate in range(24) for sample in range(6)]
    treated = pd.DataFrame(cells, columns=["seed", "id", "value"]).assign(treated=1)
    table = pd.concat([treated, treated.assign(treated=0, value=0.0)])
    clustered, mixed = items.clustered_contrast(table), items.mixed_contrast(table)
    assert (clustered["difference"], mixed["mixed_difference"]) == pytest.approx((expected["mean"],) * 2)
    assert clustered["se"] == pytest.approx(expected["se"], rel=1e-6)
    assert mixed["mixed_se"] == pytest.approx(expected["mixed_se"], rel=1e-4)


@pytest.mark.parametrize("square", [[[1, 0], [0, 1]], [[0.3, 0.1, 0.2], [0.2, 0.3, 0.1], [0.1, 0.2, 0.3]]])
def test_a_clustered_error_of_zero_is_rounding_and_gives_no_p(square):
    """Every seed and every scenario has the same mean, so only their cells differ."""
    cells = [(seed, i, value) for seed, row in enumerate(square) for i, value in enumerate(row)]
    table = pd.DataFrame([(arm, s, i, 0.5 + arm * d) for s, i, d in cells for arm in (0, 1)],
                         columns=["treated", "seed", "id", "value"])  # fmt: skip
    found = items.clustered_contrast(table)
    assert found["difference"] == pytest.approx(np.mean(square)) and found["se_naive"] > 0
    assert all(math.isnan(found[name]) for name in ("se", "low", "high", "p"))


def test_one_seed_and_half_a_pair_are_not_estimable_at_the_item_level():
    found = items.clustered_contrast(answers(1))
    assert math.isnan(found["low"]) and math.isnan(found["p"]) and not math.isnan(found["difference"])
    with pytest.raises(ValueError, match="only one condition answered scenario 0 with seed 1"):
        items.clustered_contrast(answers(2).query("seed == 0 or treated == 1"))


def test_iqm_by_hand_and_its_bootstrap_by_brute_force():
    scores = np.array(GOLDEN["iqm"]["scores"], dtype=float)
    assert items.iqm(scores) == GOLDEN["iqm"]["iqm"]
    tiny = np.array([[0.0, 1.0], [0.4, 1.0]])  # all 4 x 4 draws of two runs within two tasks
    draws = [np.mean([tiny[a, 0], tiny[b, 0], tiny[c, 1], tiny[d, 1]]) for a, b, c, d in product((0, 1), repeat=4)]
    value, low, high = items.stratified_bootstrap(tiny, np.mean, draws=4000)
    assert value == pytest.approx(0.6) and (low, high) == pytest.approx((min(draws), max(draws)))
    opposed = np.array([[0.0, 1.0], [1.0, 0.0]])  # the same runs drawn for both tasks would give 0.5 in every draw
    assert items.stratified_bootstrap(opposed, np.mean, draws=4000) == pytest.approx((0.5, 0.0, 1.0))
    assert np.isnan(items.stratified_bootstrap(tiny[:1])[1])
    assert items.stratified_bootstrap(scores) == items.stratified_bootstrap(scores), "drawn from its own stream"
    with pytest.raises(ValueError, match="matrix of finite scores"):
        items.stratified_bootstrap(np.array([[0.1, math.nan]]))


def test_kendalls_w():
    ranks = pd.DataFrame(GOLDEN["kendall_w"]["ranks"])
    assert kendall_w(ranks) == pytest.approx(GOLDEN["kendall_w"]["w"], abs=1e-6)
    friedman = stats.friedmanchisquare(*(ranks[column] for column in ranks)).statistic
    assert kendall_w(ranks) == pytest.approx(friedman / (3 * 3))
    assert kendall_w(ranks.iloc[[0, 0, 0]]) == 1 and math.isnan(kendall_w(ranks.iloc[:1]))


# --- diversity of answers ---


def said(reasons: str, answer: str = "right") -> str:
    return f"<think>{reasons}</think><answer>{answer}</answer>"


def test_distinct_n_by_hand():
    texts = [["a", "b", "a", "b"], ["a", "b"]]
    assert responses.distinct_n(texts, 1, 6) == pytest.approx(2 / 6)
    assert responses.distinct_n(texts, 2, 6) == pytest.approx(2 / 4), "ab ba ab | ab: no bigram across texts"
    assert responses.distinct_n(texts, 1, 3) == pytest.approx(2 / 3) and math.isnan(responses.distinct_n(texts, 1, 7))
    assert responses.words(said("It helps, it HELPS.")) == ["it", "helps", "it", "helps"]
    with pytest.raises(ValueError, match="n = 3, budget = 2"):
        responses.distinct_n(texts, 3, 2)


def test_wrong_and_greedy_answers_add_no_diversity_and_length_neither():
    same = pd.DataFrame({"id": range(4), "k": 1, "response": said("a b c d"), "correct": 1.0})
    wrong = pd.DataFrame(
        {"id": range(4), "k": 2, "response": [said(f"x{i} y{i}", "wrong") for i in range(4)], "correct": 0.0}
    )
    greedy = wrong.assign(k=0, correct=1.0)
    plain = responses.diversity(same, budget=8)
    assert responses.diversity(pd.concat([same, wrong, greedy]), budget=8)["distinct_n"] == plain["distinct_n"] == 0.5
    longer = same.assign(response=said("a b c d " * 5))
    assert responses.diversity(longer, 1, 8)["distinct_n"] == responses.diversity(same, 1, 8)["distinct_n"] == 0.5


def test_entropy_of_decisions_by_hand():
    decided = ["yes", "no", "Yes.", "no", "yes", "yes", "yes", "yes"]
    table = pd.DataFrame({"id": [0] * 4 + [1] * 4, "response": [said("why", answer) for answer in decided]})
    assert responses.decision_entropy(table) == pytest.approx(GOLDEN["decision_entropy"]["bits"])


# --- error rates by simulation, short (make validate is the long one) ---


def test_run_folders_and_tables_give_the_same_claims():
    runs = simulate.simulate(5, 3, 2, shift=0.05, unequal=True)
    direct, read = error_rates.decisions(runs), error_rates.decisions(simulate.from_folders(runs))
    pd.testing.assert_frame_equal(direct, read)


@pytest.mark.parametrize("seeds, contrasts, unequal", [(3, 1, True), (5, 14, False)])
def test_the_whole_pipeline_rarely_calls_a_null_different(seeds, contrasts, unequal):
    table = pd.DataFrame(error_rates.null_studies(150, seeds, contrasts, unequal))
    assert table["value"].iloc[0] <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / 150)


def test_equivalence_and_sequential_looks_rarely_err():
    table = pd.DataFrame([*error_rates.at_the_margin(300, 5, False), *error_rates.sequential(150)])
    assert (table["value"] <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / 150)).all() and len(table) == 3


def test_a_wrong_statistic_would_not_pass_the_simulation():
    """The instrument can fail: intervals that take single answers for independent cover far too rarely."""
    table = pd.DataFrame(error_rates.item_level(60, 3)).set_index("what")["value"]
    assert table.iloc[0] > 0.85 > table.iloc[1]


def test_misses_names_what_is_outside_its_target():
    rows = [["good", 0.95, 0.9, 0.99, 0.93, 0.97], ["bad", 0.5, 0.4, 0.6, 0.93, 0.97]]
    assert validate.misses(pd.DataFrame(rows, columns=error_rates.COLUMNS))["what"].tolist() == ["bad"]


def test_rows_without_a_target_are_reported_and_no_checks(monkeypatch, tmp_path, capsys):
    rows = [["good", 0.95, 0.9, 0.99, 0.93, 0.97], ["known", 0.5, 0.4, 0.6, math.nan, math.nan]]
    made = [(lambda *row: [dict(zip(error_rates.COLUMNS, row, strict=True))], *row) for row in rows]
    monkeypatch.setattr(validate, "cases", lambda studies, study: made)
    table = validate.write_validation(tmp_path / "validate.csv", workers=1)
    printed = capsys.readouterr().out
    assert "0.9500 in 0.930..0.970  good" in printed and "0.5000 reported          known" in printed
    assert validate.in_words(table) == "1 checks, 0 outside their target; 1 reported"
    assert pd.read_csv(tmp_path / "validate.csv")["what"].tolist() == ["good", "known"]
    assert validate.misses(pd.DataFrame(rows, columns=error_rates.COLUMNS)).empty


def test_what_cannot_fail_is_no_check():
    for rows in (error_rates.item_level(10, 3), error_rates.single_rates(20), error_rates.many_at_the_margin(10, 3)):
        table = pd.DataFrame(rows)
        assert not ((table["target_low"] <= 0) & (table["target_high"] >= 1)).any()
        assert len(validate.checks(table)) < len(table)


def test_many_contrasts_at_the_margin_have_a_false_equivalent_more_often_than_one():
    one, many = error_rates.at_the_margin(300, 5, False)[0], error_rates.many_at_the_margin(300, 5)[0]
    assert many["value"] > 3 * one["value"] and many["low"] > 0.2


@pytest.mark.parametrize("correlation", [0.0, 0.5])
def test_the_interval_of_hedges_g_covers_a_large_effect_with_few_seeds(correlation):
    """The bias correction is for the estimate: an interval shrunken with it covered 0.90 here."""
    (row,) = error_rates.standardised(1000, 3, 1.0, correlation)
    assert row["value"] == pytest.approx(0.95, abs=0.02)


def test_the_embedded_study_at_its_measured_spread():
    measured = tables.read_table(FIGURES / "inputs", "accuracy")
    table = pd.DataFrame(error_rates.embedded(10, measured)).drop_duplicates("what").set_index("what")["value"]
    different = table[~table.index.str.contains("trivial")]
    assert different[different.index.str.startswith("local")].tolist() == [1.0], "always found"
    assert different[different.index.str.startswith("universal")].tolist() == [0.0], "never claimed"


def test_the_validation_reads_no_study_but_the_one_that_it_is_given():
    alone, named = validate.cases(20), validate.cases(20, FIGURES / "inputs")
    assert [case for case in named if case[0] in (error_rates.embedded, error_rates.trained)] == [
        case for case in named if case[0] not in {case[0] for case in alone}
    ]
    assert not any(isinstance(argument, pd.DataFrame) for case in alone for argument in case)


def test_seed_sets_are_claimed_one_by_one():
    runs, plan = simulate.simulate(1, 6, shift=0.05), dataclasses.replace(simulate.PLAN, seeds=3, max_seeds=3)
    found = seed_sets.set_claims(runs, plan)
    assert found["seeds"].tolist() == ["0..2", "3..5"] and found["set"].tolist() == [1, 2]
    for row, first in zip(found.itertuples(), (0, 3), strict=True):
        alone = error_rates.decisions(runs[runs["seed"].between(first, first + 2)], plan).iloc[0]
        assert (row.difference, row.low, row.p_holm, row.decision) == tuple(
            alone[["difference", "low", "p_holm", "decision"]]
        )
    with pytest.raises(ValueError, match="6 seeds make no sets of 4"):
        seed_sets.in_sets(runs, 4)


def test_looks_of_a_sequential_plan():
    plan = Plan(axis="a", question="q", worlds="w", baseline="b", seeds=3, max_seeds=9, looks=3)
    assert plan.look_sizes == [3, 6, 9] and plan.alpha_per_look == pytest.approx(0.05 / 3)
    assert power.next_look(plan, 3, ["different", "equivalent"]).startswith("Stop at 3 seeds: every")
    assert "add the seeds 6..8" in power.next_look(plan, 6, ["different", "inconclusive"])
    assert "the last look" in power.next_look(plan, 9, ["inconclusive"])
    stay = power.next_look(plan, 9, pd.Series(["not estimable", "different", "inconclusive"]))
    assert stay == "Stop at 9 seeds, the last look of the plan, with 2 of 3 contrasts inconclusive or not estimable."
    assert power.next_look(plan, 3, ["not estimable"]).endswith("add the seeds 3..5, then compare again.")
    assert power.next_look(plan, 3, pd.Series([])) == "There is no planned contrast, so there is nothing to decide."
    with pytest.raises(ValueError, match=r"4 seeds are no look of this plan; its looks are at \[3, 6, 9\]"):
        power.next_look(plan, 4, [])


def test_a_look_takes_its_decision_at_its_own_alpha():
    """t = 2.9 on 9 degrees of freedom: p = .018, below alpha, and not below alpha / 3."""
    runs = simulate.simulate(1, 10)
    noise = np.tile([-1.0, 1.0], 5) * 0.1 * math.sqrt(0.9)  # standard deviation 0.1
    after = {"c00": np.zeros(10), "c01": noise + 2.9 * 0.1 / math.sqrt(10)}
    runs["after"] = 0.5 + np.concatenate([after[name] for name in ("c00", "c01")])
    looks = dataclasses.replace(simulate.PLAN, seeds=5, max_seeds=10, looks=3)
    one, three = (error_rates.decisions(runs, plan).iloc[0] for plan in (simulate.PLAN, looks))
    assert one["p"] == pytest.approx(2 * stats.t.sf(2.9, 9))
    assert (one["decision"], three["decision"]) == ("different", "inconclusive")


def test_answers_that_are_all_alike_are_not_estimable():
    same = answers(3).assign(value=1.0)
    assert math.isnan(items.mixed_contrast(same)["mixed_se"]) and math.isnan(items.clustered_contrast(same)["se"])
