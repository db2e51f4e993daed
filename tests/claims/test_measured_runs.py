"""Accuracy against measured diversity: the regression by another library, by brute force and on planted slopes."""

import math
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import statsmodels.formula.api as smf
from embedded_rows import scenarios
from pyarrow.parquet import write_table
from run_tables import scenario
from test_claims import STUDY, write_run

from studylib.claims import measured as m
from studylib.claims.plots_measured import draw_measured
from studylib.evaluation.table import read_trained_on
from studylib.scenarios.measured import MEASURES, SIZE
from studylib.scenarios.rows import to_dataset

ENDPOINT = "accuracy_sampled"


def runs(slope=0.0, conditions=12, seeds=3, seed=0, own=0.03, noisy=2, cost=0.0):
    """Runs with a planted slope per standard deviation of a measure, and a spread of conditions, seeds and runs."""
    rng = np.random.default_rng(seed)
    of_condition = rng.normal(0, 1, conditions), rng.normal(0, own, conditions)
    rows = []
    for k in range(seeds):
        level = rng.normal(0.8, 0.05)
        for c in range(conditions):
            vendi = of_condition[0][c] + rng.normal(0, 0.05)
            noise = 0.2 * (c < noisy)
            score = level + slope * vendi - cost * noise + of_condition[1][c] + rng.normal(0, 0.02)
            rows.append(("w", f"c{c}", k, noise, vendi, score))
    table = pd.DataFrame(rows, columns=["world", "condition", "seed", "label_noise", "vendi_about", ENDPOINT])
    return table.assign(**{name: 1.0 for name in MEASURES if name != "vendi_about"})


def test_the_slope_is_that_of_ordinary_least_squares_with_a_level_for_every_seed():
    table = runs(0.1, cost=0.5)
    z = (table["vendi_about"] - table["vendi_about"].mean()) / table["vendi_about"].std()
    fit = smf.ols(f"{ENDPOINT} ~ z + label_noise + C(seed)", table.assign(z=z)).fit()
    assert m.slope(table, "vendi_about", ENDPOINT)["slope"] == pytest.approx(fit.params["z"])
    clean = table[table["label_noise"] == 0]
    z = (clean["vendi_about"] - clean["vendi_about"].mean()) / clean["vendi_about"].std()
    fit = smf.ols(f"{ENDPOINT} ~ z + C(seed)", clean.assign(z=z)).fit()
    assert m.slope(clean, "vendi_about", ENDPOINT)["slope"] == pytest.approx(fit.params["z"]), "and noise stays out"


def test_the_error_is_the_jackknife_over_conditions():
    table = runs(0.1, conditions=6, noisy=0)
    found = m.slope(table, "vendi_about", ENDPOINT)
    z = (table["vendi_about"] - table["vendi_about"].mean()) / table["vendi_about"].std()
    table = table.assign(z=z)
    without = [
        smf.ols(f"{ENDPOINT} ~ z + C(seed)", table[table["condition"] != one]).fit().params["z"]
        for one in table["condition"].unique()
    ]
    error = math.sqrt(5 / 6 * sum((b - found["slope"]) ** 2 for b in without))
    assert (found["high"] - found["low"]) / 2 == pytest.approx(2.570582 * error, rel=1e-5), "t(.975, 5)"
    assert 0 < found["p"] < 1


@pytest.mark.parametrize("slope", [0.0, 0.05])
def test_the_interval_holds_a_planted_slope_as_often_as_it_says(slope):
    """Two hundred studies of twelve conditions and three seeds: 95 % within three binomial errors, or more."""
    held = []
    for seed in range(200):
        table = runs(slope, seed=seed, cost=0.5)
        found = m.slope(table, "vendi_about", ENDPOINT)
        true = slope * table["vendi_about"].std()
        held.append(found["low"] <= true <= found["high"])
    assert 0.95 - 3 * math.sqrt(0.95 * 0.05 / 200) < np.mean(held) < 0.995


def test_answers_for_every_world_and_measure_that_varies_corrected_in_each_world():
    table = pd.concat([runs(0.1), runs(0.0, seed=5).assign(world="v")])
    table["distance_about"] = np.random.default_rng(1).random(len(table))
    table["community_entropy"] = np.nan
    found = m.slopes(table, ENDPOINT).set_index(["world", "measure"])
    assert set(found.index) == {(w, name) for w in "wv" for name in ("vendi_about", "distance_about")}
    assert (found["runs"] == 36).all() and (found["conditions"] == 12).all()
    assert found.loc["w", "vendi_about"]["low"] > 0 > found.loc["v", "vendi_about"]["low"]
    for world in "wv":
        p = found.loc[world, "p"].sort_values()
        assert found.loc[world, "p_holm"][p.index[0]] == pytest.approx(min(1, 2 * p.iloc[0]))


def test_too_few_conditions_and_a_measure_that_only_the_noise_tells_have_no_interval():
    found = m.slope(runs(0.1, conditions=3, noisy=0), "vendi_about", ENDPOINT)
    assert math.isfinite(found["slope"]) and math.isnan(found["low"]) and math.isnan(found["p"])
    table = runs(noisy=6)
    found = m.slope(table.assign(vendi_about=table["label_noise"]), "vendi_about", ENDPOINT)
    assert math.isnan(found["slope"]) and math.isnan(found["low"])


# --- of finished runs ------------------------------------------------------------------------------------------------


def study(root, **sets):
    """Made runs of three seeds, with the training rows of each condition; None: a run that did not train."""
    for condition, rows in sets.items():
        for seed in range(3):
            folder = write_run(root / "runs", condition=condition, seed=seed)
            asked = [scenario(str(i), "held_out", i, prompt=row["prompt"]) for i, row in enumerate(scenarios(20))]
            train = [row | {"split": "train"} for row in rows]
            write_table(to_dataset(asked + train).data.table, folder / "scenarios.parquet")
            (folder / "responses.parquet").rename(folder / "responses_before.parquet")
    scores = [("local_norms", c, s, "held_out", ENDPOINT, 0.5, 0.6 + s / 50) for c in sets for s in range(3)]
    table = pd.DataFrame(scores, columns=["world", "condition", "seed", "split", "endpoint", "before", "after"])
    return SimpleNamespace(root=root / "runs", out=root, split="held_out", endpoint=ENDPOINT, runs=table, **STUDY)


ROWS = scenarios(240, "train")


def test_finished_runs_are_measured_from_what_they_kept_and_tables_and_figure_are_written(tmp_path):
    few = [row for row in ROWS if row["domain"] in ("law", "work")]
    one = study(tmp_path, broad=ROWS, narrow=few, again=ROWS[:60] * 4, other=ROWS[120:] * 2, base=[])
    table = m.write_measured(one)
    assert set(table["condition"]) == {"broad", "narrow", "again", "other"} and len(table) == 12
    of = table.groupby("condition").first()
    assert of.loc["narrow", "domain_entropy"] == pytest.approx(1) and of.loc["broad", "domain_entropy"] > 3.5
    assert (
        of.loc["again", "distinct_share"] == 0.25 and of.loc["broad", "vendi_about"] > of.loc["narrow", "vendi_about"]
    )
    written = pd.read_csv(tmp_path / "inputs_measured.csv")
    assert list(written) == ["world", "condition", "seed", *SIZE, *MEASURES, ENDPOINT]
    slopes = pd.read_csv(tmp_path / "inputs_regression.csv")
    assert list(slopes) == m.SLOPES and {"domain_entropy", "vendi_about", "coverage"} <= set(slopes["measure"])
    assert draw_measured(one, table) is not None and (tmp_path / "measured.png").is_file()
    ((world, means),) = m.by_condition(table, ENDPOINT)
    assert world == "local_norms" and means.loc["again", "prompts"] == 240 and "source_entropy" not in means
    assert [row["id"] for row in read_trained_on(one.root / "inputs/tiny_cpu/local_norms/broad/seed0")] == [
        row["id"] for row in ROWS
    ]


def test_where_all_conditions_train_on_the_same_there_is_no_table(tmp_path):
    same = study(tmp_path, broad=ROWS[:20], narrow=ROWS[:20])
    assert m.write_measured(same) is None and draw_measured(same, None) is None
    assert not list(tmp_path.glob("*measured*"))


def test_wrong_labels_alone_make_another_training_set(tmp_path):
    wrong = [ROWS[0] | {"answer": next(o for o in ROWS[0]["options"] if o != ROWS[0]["answer"])}, *ROWS[1:20]]
    table = m.write_measured(study(tmp_path, broad=ROWS[:20], narrow=wrong))
    assert sorted(table["label_noise"].unique()) == [0, 0.05]
