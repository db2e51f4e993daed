"""Published cells beside ours, and the table that shows whether the steps of conditions were alike."""

import json

import numpy as np
import pandas as pd
import pytest

from studylib.claims.fairness import fairness, readable
from studylib.claims.published import PUBLISHED, beside, ours, published
from studylib.claims.tables import read_table, rounded
from studylib.instruments import known_target
from studylib.paths import FIGURES


def run(root, condition="dapo", seed=0, model="Qwen/Qwen2.5-7B", source="morebench_public", scores=(0.2, 0.4, 0.9)):
    """A finished run with a greedy answer, which must not count, and three samples to one scenario."""
    folder = root / condition / f"seed{seed}"
    folder.mkdir(parents=True)
    key = {"axis": "paper", "profile": "p", "source": source, "condition": condition, "seed": seed, "model": model}
    (folder / "config.json").write_text(json.dumps(key))
    (folder / "manifest.json").write_text(json.dumps({"finished": True}))
    answers = pd.DataFrame({"split": "held_out", "k": [0, 1, 2, 3], "verdict": 0.0, "score": [5.0, *scores]})
    answers = answers.assign(id="a", response="x")
    answers.to_parquet(folder / "responses.parquet")


def test_the_published_grid_has_every_cell_and_says_which_are_unknown():
    grid = published()
    assert len(grid) == 2 * 2 * 6 * 2
    assert grid["value"].notna().sum() == 23 and grid["value"].dropna().between(0, 1).all()
    assert grid[grid.method.isin(["PPO", "GRPO"])]["value"].isna().all()
    known = grid.dropna(subset="value")
    assert set(known["status"]) == {"printed", "derived"}
    dapo = known.query("method == 'DAPO' and metric == 'Avg@8'").set_index(["model", "dataset"])["value"]
    flow = known.query("method == 'FlowRL' and metric == 'Avg@8'").set_index(["model", "dataset"])["value"]
    assert (dapo - flow).round(2).tolist() == [0.06, 0.07, 0.12, 0.06]


@pytest.mark.parametrize(
    "old, new, message",
    [("0.67,printed", "67,printed", "line 2: .* is no cell"), ("0.67,printed", "nan,printed", "line 2: .* is no cell"),
     ("0.67,printed", "0.67,guessed", "line 2: .* is no cell"), ("0.67,printed", "0.67", "line 2: .* is no cell"),
     ("0.67,printed", '"0.67,printed', "a quote in .*line 2 is not closed"),
     ("DAPO,Score@1,0.67", "dapo,Score@1,0.67", "outside the grid")],
)  # fmt: skip
def test_a_published_cell_that_is_none_is_refused_by_file_and_line(tmp_path, monkeypatch, old, new, message):
    path = tmp_path / "published.csv"
    path.write_text(PUBLISHED.read_text().replace(old, new, 1))
    monkeypatch.setattr("studylib.claims.published.PUBLISHED", path)
    with pytest.raises(ValueError, match=message):
        published()


def test_ours_are_means_over_scenarios_and_seeds_of_the_first_and_of_all_samples(tmp_path):
    run(tmp_path, seed=0)
    run(tmp_path, seed=1, scores=(0.4, 0.4, 0.4))
    cells = ours(tmp_path, axis="paper", profile="p").set_index("metric")
    assert cells.loc["Score@1", "value"] == pytest.approx(0.3)
    assert cells.loc["Avg@3", "value"] == pytest.approx((0.5 + 0.4) / 2)
    assert cells["seeds"].tolist() == [2, 2] and set(cells["model"]) == {"Qwen2.5-7B-Base"}


def test_unknown_cells_stay_empty_on_both_sides(tmp_path):
    run(tmp_path)
    table = beside(ours(tmp_path, axis="paper", profile="p"))
    assert list(table)[4:] == ["Base", "PPO", "GRPO", "REINFORCE++", "DAPO", "FlowRL", "derived_not_printed"]
    cells = table.set_index(["whose", "metric", "model", "dataset"]).sort_index()
    qwen = ("Qwen2.5-7B-Base", "MoReBench-Public")
    assert cells.loc[("published", "Avg@8", *qwen), "DAPO"] == 0.67
    assert cells.loc[("ours", "Score@1", *qwen), "DAPO"] == pytest.approx(0.2)
    assert np.isnan(cells.loc[("ours", "Avg@8", *qwen), "DAPO"]), "three samples are not eight"
    assert cells.loc[("ours", "Avg@3", *qwen), "DAPO"] == pytest.approx(0.5)
    assert np.isnan(cells.loc[("ours", "Score@1", *qwen), "FlowRL"])
    assert beside().query("whose == 'ours'")[["Base", "DAPO"]].isna().all().all()


def test_the_table_says_which_published_cells_are_derived_and_not_printed(tmp_path):
    table = beside()
    known = published().dropna(subset="value").set_index(["whose", "model", "dataset", "metric"])
    for row in table.itertuples():
        cells = known[known.index == (row.whose, row.model, row.dataset, row.metric)]
        assert row.derived_not_printed == ", ".join(cells[cells["status"] == "derived"]["method"])
    assert set(table["derived_not_printed"]) == {"", "Base", "Base, REINFORCE++"}
    assert table.dtypes.iloc[4:10].eq("float64").all() and table["Base"].sum() == pytest.approx(1.76)
    table.to_csv(tmp_path / "published.csv", index=False)
    shown = rounded(read_table(tmp_path, "published"), "").fillna("")  # as in the report
    assert "Base, REINFORCE++" in table.round(3).astype("string").fillna("").to_string()  # as in the notebook
    assert shown["derived_not_printed"].tolist() == table["derived_not_printed"].tolist()


def test_runs_of_other_conditions_alone_are_refused(tmp_path):
    run(tmp_path, condition="rft")
    with pytest.raises(ValueError, match="no run of base, ppo, grpo"):
        ours(tmp_path, axis="paper", profile="p")


def test_the_published_toy_figures_stand_beside_the_objectives_of_their_kind(monkeypatch):
    monkeypatch.setattr(known_target, "optimise", lambda name, landscape: known_target.REFERENCE)
    table = known_target.table()
    assert table[table["landscape"] == "binary"]["kl_published"].isna().all()
    found = table[table["landscape"] == "graded"].set_index("objective")
    assert found.loc["flowrl", ["kl_published", "published_method"]].tolist() == [0.11, "FlowRL"]
    beside = found.dropna(subset="kl_published")
    assert set(beside.drop("flowrl").index) == set(known_target.maximising())
    assert set(beside.drop("flowrl")["kl_published"]) == {8.68}
    assert set(beside["published_status"]) == {"printed"}
    assert beside["published_source"].str.startswith("arXiv 2509.15207, Figure 1, another target").all()
    assert not {"reference", "ppo", "reinforce_pp", "dpo"} & set(beside.index), "KL in the reward, or no such kind"


def test_the_committed_known_target_has_them_too():
    found = pd.read_csv(FIGURES / "known_target.csv").query("landscape == 'graded'").set_index("objective")
    assert found.loc["flowrl", "kl_published"] == 0.11 and found.loc["grpo", "kl_published"] == 8.68
    kl = found["kl_target_policy"]
    assert kl["flowrl_raw"] < 0.11 and kl["flowrl"] > 5 and kl["grpo"] > 5, "fed as the trainer feeds them"


def test_a_small_share_is_not_read_as_zero():
    table = pd.DataFrame({"condition": ["grpo"], "clipped": [0.00062], "tokens": [80734.0], "idle_groups": [np.nan]})
    assert readable(table).iloc[0].tolist() == ["grpo", "0.00062", "80,734", ""]


def test_fairness_tells_what_each_condition_was_given():
    curves = pd.DataFrame({
        "world": "w", "condition": ["a"] * 4 + ["b"] * 2, "seed": [0, 0, 1, 1, 0, 0], "step": [1, 11] * 3,
        "grad_norm": [1.0, 3.0, 2.0, 2.0, 10.0, 20.0], "frac_reward_zero_std": [0.5] * 6,
        "generated_tokens": [10, 20, 30, 40, 5, 5], "policy_entropy": [0.9, 0.1, 0.7, 0.3, 0.5, np.nan],
        "kl_to_reference": [0.0, 2.0, 0.0, 4.0, 0.0, np.nan],
    })  # fmt: skip
    table = fairness(curves).set_index("condition")
    assert table.loc["a"].drop("world").to_dict() == pytest.approx({
        "gradient_norm": 2.0, "idle_groups": 0.5, "entropy_first": 0.8, "entropy_last": 0.2, "kl_last": 3.0,
        "tokens": 50,
    })  # fmt: skip
    assert table.loc["b", "entropy_last"] == 0.5 and "clipped" not in table
