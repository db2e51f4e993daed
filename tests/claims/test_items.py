"""Single answers, all tasks in one number and the diversity of answers, against R, by hand and by brute force."""

import json
import math
from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from studylib.claims import items
from studylib.claims.plots_seeds import kendall_w
from studylib.evaluation import diversity as responses
from studylib.randomness import generator

GOLDEN = json.loads((Path(__file__).parent / "golden/statistics.json").read_text())
SLEEP = [pd.Series(GOLDEN["sleep"][drug]) for drug in ("drug1", "drug2")]


def golden(name: str, rel: float = 1e-6) -> dict:
    """The values of one entry, without its source and data."""
    assert GOLDEN[name]["source"]
    return {key: pytest.approx(value, rel=rel) for key, value in GOLDEN[name].items() if isinstance(value, float)}


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


def test_answers_that_are_all_alike_are_not_estimable():
    same = answers(3).assign(value=1.0)
    assert math.isnan(items.mixed_contrast(same)["mixed_se"]) and math.isnan(items.clustered_contrast(same)["se"])


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
