"""Power, detectable differences and the looks of a sequential plan, against formulas, R and simulation."""

import dataclasses
import json
import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import integrate, stats

from studylib.claims import power, tables
from studylib.claims.plan import Plan
from studylib.claims.plots_seeds import plot_power
from studylib.instruments import error_rates, simulate
from studylib.randomness import generator

GOLDEN = json.loads((Path(__file__).parent / "golden/statistics.json").read_text())
SLEEP = [pd.Series(GOLDEN["sleep"][drug]) for drug in ("drug1", "drug2")]


def golden(name: str, rel: float = 1e-6) -> dict:
    """The values of one entry, without its source and data."""
    assert GOLDEN[name]["source"]
    return {key: pytest.approx(value, rel=rel) for key, value in GOLDEN[name].items() if isinstance(value, float)}


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
