"""Answers without a score: null in the files, counted in the tables, in no mean, and no other claim stops for them.

Run: python -m pytest tests/test_claims_unscored.py
"""

import dataclasses
import json
import math
import shutil

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from test_claims import PLAN, STUDY, write_run
from test_claims_departures import PLACE, WOBBLE

from studylib.claims import departures, fairness, items, plots, plots_seeds, power, published, report, tables
from studylib.claims.decisions import sentence
from studylib.claims.statistics import holm, paired_contrast
from studylib.evaluation.diversity import decision_entropy, diversity
from studylib.evaluation.summary import summarise, summary
from studylib.evaluation.table import read_answers, read_runs
from studylib.instruments import judge_gap, judge_plots
from studylib.instruments.judge_bias import padding_effect, partiality
from studylib.instruments.judge_report import agreement, agreement_report, reliability
from studylib.instruments.seed_sets import in_sets, set_claims
from studylib.instruments.simulate import from_folders, simulate
from studylib.judge.labels import held_out, others_share, rescored
from studylib.judge.prompts import graded_rows, responses_of
from studylib.runs import read as runs
from studylib.runs.folder import nulled, write_json
from studylib.runs.keys import require_keys

ENDPOINTS = ("accuracy_sampled", "accuracy_greedy")
MISSING = [None, math.nan, "", "  "]


@pytest.fixture(scope="module")
def kept(tmp_path_factory):
    """A study that kept to the plan of axis inputs, with every answer scored."""
    root = tmp_path_factory.mktemp("kept")
    for world in PLAN.worlds.split():
        for place, condition in enumerate(("narrow", "medium", "broad")):
            for seed, own in enumerate(np.roll(WOBBLE, place)):
                write_run(root, world, condition, seed, 0.6 + 0.1 * place + own, 0.55 + WOBBLE[seed] / 2)
    return root


@pytest.fixture
def root(kept, tmp_path):
    return shutil.copytree(kept, tmp_path / "runs")


def lose(root, condition, seed, world="local_norms", value=None, phases=("after",), splits=PLAN.primary_split) -> None:
    """No answer of this run could be scored, on some splits."""
    path = root / PLACE / world / condition / f"seed{seed}" / "summary.json"
    told = json.loads(path.read_text())
    for split in splits.split():
        for phase in phases:
            told["splits"][split][phase] |= dict.fromkeys(ENDPOINTS, value)
    path.write_text(json.dumps(told))


def compared(root, out) -> tuple[pd.DataFrame, list[str]]:
    """All claims and the notes beside them."""
    _, claims = tables.write_tables(root, out, **STUDY)
    return claims, tables.read_table(out, "notes")["note"].tolist()


def primary(claims, world="local_norms") -> pd.DataFrame:
    found = tables.primary(claims, PLAN)
    return found[found["world"] == world].set_index("contrast")


# --- files ---


def strictly(path):
    """JSON as other tools read it: NaN and Infinity are no JSON."""

    def refuse(name):
        raise AssertionError(f"{name} is no JSON")

    return json.loads(path.read_text(), parse_constant=refuse)


@pytest.mark.parametrize(
    "value, name",
    [
        ({"a": {"b": [1.0, math.nan]}}, "a.b.1 = nan"),
        ({"learning_rate": math.inf}, "learning_rate = inf"),
        ([{"loss": np.float64("-inf")}], "0.loss = "),
        (math.nan, "the value = nan"),
    ],
)
def test_a_number_that_json_does_not_have_is_refused_by_file_and_name(tmp_path, value, name):
    path = tmp_path / "facts.json"
    write_json(path, {"old": 1})
    with pytest.raises(ValueError, match=f"facts.json: {name}.*null where a value is not estimable"):
        write_json(path, value)
    assert strictly(path) == {"old": 1} and list(tmp_path.iterdir()) == [path], "the old file stays, and nothing else"


def test_what_is_not_estimable_is_written_as_null(tmp_path):
    values = {"a": math.nan, "b": [np.float64("nan"), 2, (math.nan, "nan")], "c": {"d": None, "e": True, "f": 0.5}}
    write_json(tmp_path / "x.json", nulled(values))
    expected = {"a": None, "b": [None, 2, [None, "nan"]], "c": {"d": None, "e": True, "f": 0.5}}
    assert strictly(tmp_path / "x.json") == expected
    with pytest.raises(ValueError, match="a = inf"):
        write_json(tmp_path / "x.json", nulled({"a": math.inf}))


def evaluated(scores, correct=math.nan) -> pd.DataFrame:
    """One greedy answer and samples to one scenario with these scores."""
    answer = {"id": "s", "split": "held_out", "response": "x", "correct": correct, "format": math.nan, "readable": True}
    return pd.DataFrame({"k": range(len(scores)), "score": pd.array(scores, dtype="float64")}).assign(**answer)


@pytest.mark.parametrize(
    "scores, greedy, sampled, counts",
    [
        ([None, None, None], None, None, (0, 3)),
        ([0.5, None, None], 0.5, None, (1, 2)),
        ([None, 0.2, None], None, 0.2, (1, 2)),
        ([0.1, 0.2, 0.6], 0.1, 0.4, (3, 0)),
    ],
)
def test_a_split_has_means_over_scored_answers_or_null_and_counts_both_kinds(tmp_path, scores, greedy, sampled, counts):
    rows = pd.DataFrame([{"id": "s", "split": "held_out", "answer": None}])
    found = summarise(evaluated(scores), rows)
    assert (found["score_greedy"], found["score_sampled"]) == (greedy, pytest.approx(sampled) if sampled else sampled)
    assert (found["answers_scored"], found["answers_unscored"]) == counts
    assert found["unscored"] == pytest.approx(counts[1] / 3)
    whole = summary(evaluated(scores), evaluated([None] * 3), rows)
    write_json(tmp_path / "summary.json", whole)
    assert strictly(tmp_path / "summary.json")["splits"]["held_out"]["after"]["score_sampled"] is None


def test_a_split_without_any_verdict_has_null_for_its_accuracies_and_their_interval():
    rows = pd.DataFrame([{"id": "s", "split": "held_out", "answer": "a"}])
    found = summarise(evaluated([0.5, 0.5]).drop(columns="score"), rows)
    nothing = ("accuracy_greedy", "accuracy_greedy_low", "accuracy_greedy_high", "accuracy_sampled", "format")
    assert all(found[name] is None for name in nothing) and found["base_rate"] == 1.0


# --- run folders ---


@pytest.mark.parametrize("value", [None, math.nan])
@pytest.mark.parametrize("phase", ["before", "after"])
def test_null_and_the_nan_of_older_runs_are_no_value_and_stop_nothing(root, value, phase):
    lose(root, "broad", 3, value=value, phases=(phase,))
    found = read_runs(root, **STUDY)
    lost = found[found[phase].isna()]
    assert len(found) == 180 and len(lost) == 2 and set(lost["endpoint"]) == set(ENDPOINTS)
    assert set(lost["condition"]) == {"broad"} and set(lost["seed"]) == {3}


@pytest.mark.parametrize("value", ["null", "", True, [], 1.5])
def test_what_is_broken_is_still_refused(root, value):
    lose(root, "broad", 3, value=value)
    with pytest.raises(ValueError, match="seed3: accuracy_sampled after training on held_out_domains is "):
        read_runs(root, **STUDY)


@pytest.mark.parametrize("name", ["condition", "source"])
@pytest.mark.parametrize("value", [None, "", 3])
def test_a_run_without_a_name_is_refused_before_it_is_lost_in_a_table(tmp_path, name, value):
    folder = write_run(tmp_path)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {name: value}))
    with pytest.raises(ValueError, match=f"config.json: {name} = {value!r} is no name"):
        read_runs(tmp_path, **STUDY)


def log(root, condition, seed, edit, world="local_norms") -> None:
    """Writes the log of a run again, every line as `edit` gives it."""
    path = root / PLACE / world / condition / f"seed{seed}" / "metrics.jsonl"
    lines = [edit(json.loads(line)) for line in path.read_text().splitlines()]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))


def one_world(table):
    return table[table["world"] == "local_norms"]


def test_steps_without_a_score_are_read_drawn_and_left_out_of_means(root):
    log(root, "broad", 3, lambda line: line | {"reward": None, "grad_norm": None})
    log(root, "narrow", 1, lambda line: line | ({"reward": None} if line["step"] == 4 else {}))
    for seed in range(5):
        log(root, "medium", seed, lambda line: line | dict.fromkeys(("reward", "grad_norm", "generated_tokens")))
    curves = runs.read_curves(root, **STUDY)
    lost = one_world(curves[curves["reward"].isna()])
    assert lost.groupby("condition").size().to_dict() == {"broad": 10, "medium": 50, "narrow": 1}
    assert curves["reward"].dtype == curves["grad_norm"].dtype == float
    given = one_world(fairness.fairness(curves)).set_index("condition")
    assert given["gradient_norm"].round(3).fillna(-1).to_dict() == {"broad": 0.1, "medium": -1, "narrow": 0.1}
    assert given["tokens"].fillna(-1).to_dict() == {"broad": 1000, "medium": -1, "narrow": 1000}, "null is not 0 tokens"
    ax = plots.plot_curves(one_world(curves))
    means = {line.get_label(): line.get_xdata() for line in ax.lines if line.get_linewidth() >= 2}
    assert list(means) == ["narrow", "medium: not estimable", "broad (4 of 5 seeds)"]
    assert list(means["narrow"]) == [1, 2, 3, 5, 6, 7, 8, 9, 10], "the mean has the steps that every seed has"
    plt.close("all")


@pytest.mark.parametrize("value", ["0.5", True, [0.5]])
def test_a_reward_that_is_no_number_names_its_log(root, value):
    log(root, "broad", 3, lambda line: line | {"reward": value})
    with pytest.raises(ValueError, match="broad/seed3/metrics.jsonl: reward = .* is no number"):
        runs.read_curves(root, **STUDY)


# --- claims ---


def test_a_run_without_a_score_leaves_its_pair_out_and_the_other_claims_as_they_were(root, tmp_path):
    whole, _ = compared(root, tmp_path / "whole")
    (root / PLACE / "first_plan.json").unlink()
    lose(root, "broad", 3)
    claims, notes = compared(root, tmp_path / "out")
    lost = claims["unscored"] != ""
    assert set(claims.loc[lost, "contrast"]) == {"broad - narrow", "broad - warm_start"} and lost.sum() == 4
    assert set(claims.loc[lost, "status"]) == {"exploratory"} and set(claims.loc[lost, "n"]) == {4}
    same = [name for name in whole if name != "p_holm"]
    pd.testing.assert_frame_equal(claims.loc[~lost, same], whole.loc[~lost, same])
    assert primary(claims)["status"].to_dict() == {"medium - narrow": "confirmatory", "broad - narrow": "exploratory"}
    assert notes == [
        "No answer of broad, seed 3 in local_norms could be scored after training on held_out_domains, so there is "
        "no accuracy_sampled, accuracy_greedy: contrasts that need it are exploratory and of the seeds that are left, "
        "if any."
    ]
    assert not tables.read_table(tmp_path / "out", "notes")["departure"].any()


def test_a_contrast_with_fewer_pairs_is_that_of_the_pairs_that_are_left_and_says_which_are_not(root, tmp_path):
    lose(root, "broad", 3)
    claims, _ = compared(root, tmp_path)
    found = read_runs(root, **STUDY)
    cell = found.query("world == 'local_norms' and split == @PLAN.primary_split and endpoint == 'accuracy_sampled'")
    arms = {name: arm.set_index("seed")["after"].drop(3) for name, arm in cell.groupby("condition")}
    row = primary(claims).loc["broad - narrow"]
    expected = paired_contrast(arms["broad"], arms["narrow"])
    assert row[list(expected)].to_dict() == pytest.approx(expected)
    assert sentence({"contrast": "broad - narrow", **row}).endswith(
        "No answer could be scored in broad, seed 3, so 4 pairs are left; runs without a score may be unlike the "
        "others. This claim is exploratory."
    )
    page = report.write_report("inputs", tmp_path, tmp_path / "none.csv").read_text()
    assert "No answer could be scored in broad, seed 3, so 4 pairs are left" in page


def test_the_loss_of_a_baseline_run_makes_every_contrast_of_that_cell_exploratory_and_no_other(root, tmp_path):
    lose(root, "narrow", 0)
    claims, _ = compared(root, tmp_path)
    assert set(primary(claims)["status"]) == {"exploratory"} and set(primary(claims)["n"]) == {4}
    assert set(primary(claims, "universal_norms")["status"]) == {"confirmatory"}
    rest = claims[(claims["split"] != PLAN.primary_split) | (claims["world"] != "local_norms")]
    assert set(rest["n"]) == {5} and rest["decision"].isin(["different", "both (trivial)", "inconclusive"]).any()


def test_a_condition_without_any_score_is_not_estimable_and_softens_no_other_contrast(root, tmp_path):
    for seed in range(5):
        lose(root, "broad", seed, splits=" ".join(("held_out", "held_out_domains", "held_out_styles")))
    claims, notes = compared(root, tmp_path)
    row = primary(claims).loc["broad - narrow"]
    assert row["decision"] == "not estimable" and row["n"] == 0 and math.isnan(row["difference"])
    told = sentence({"contrast": "broad - narrow", **row})
    assert "broad - narrow; " in told and "nan" not in told and "so no pair is left" in told
    family = claims.query("world == 'local_norms' and endpoint == 'accuracy_sampled'")
    medium = family[family["contrast"] == "medium - narrow"]
    assert medium["p_holm"].tolist() == pytest.approx(holm([*medium["p"], 1, 1, 1])[:3]), "six tests, as planned"
    assert len(notes) == 1 and "held_out, held_out_domains, held_out_styles" in notes[0]
    means = tables.means(read_runs(root, **STUDY)).query("world == 'local_norms' and condition == 'broad'")
    assert set(means["seeds"]) == {0} and means[["mean", "low", "high"]].isna().all(axis=None)
    shown = tables.readable(tables.primary(claims, PLAN), PLAN).set_index(["world", "contrast"])
    assert shown.loc[("local_norms", "broad - narrow"), "difference"] == "not estimable"


def test_a_policy_that_could_not_be_scored_before_training_is_missing_from_its_own_contrast_alone(root, tmp_path):
    lose(root, "medium", 2, phases=("before",))
    claims, notes = compared(root, tmp_path)
    lost = claims[claims["unscored"] != ""]
    assert set(lost["contrast"]) == {"medium - warm_start"} and set(lost["unscored"]) == {"warm_start, seed 2"}
    assert set(primary(claims)["status"]) == {"confirmatory"} and "before training" in notes[0]


def test_a_run_that_is_missing_is_still_refused_and_not_taken_for_an_unscored_one(root, tmp_path):
    lose(root, "broad", 3)
    shutil.rmtree(root / PLACE / "local_norms/narrow/seed3")
    with pytest.raises(ValueError, match=r"broad - narrow in local_norms, .*the baseline lacks the seeds \[3\]"):
        compared(root, tmp_path)


def test_some_answers_without_a_score_are_told_with_their_largest_share(root, tmp_path):
    for seed, share in ((1, 0.125), (4, 0.25)):
        path = root / PLACE / f"local_norms/broad/seed{seed}/summary.json"
        told = json.loads(path.read_text())
        told["splits"]["held_out"]["after"]["unscored"] = share
        path.write_text(json.dumps(told))
    claims, notes = compared(root, tmp_path)
    assert notes == [
        "Of 2 runs some answers could not be scored and are in no mean: at most 25.0 %, after training on held_out "
        "(world local_norms, condition broad, seed 4)."
    ]
    assert "unscored" not in claims and "confirmatory" in set(claims["status"])


def test_tables_of_a_study_whose_answers_all_have_a_score_have_no_column_for_them(root, tmp_path):
    claims, notes = compared(root, tmp_path)
    answers, found = read_answers(root, **STUDY), read_runs(root, **STUDY)
    made = (
        claims,
        items.item_table(answers, PLAN),
        items.rates(answers, "held_out"),
        items.iqm_table(found, ENDPOINTS[0]),
    )
    assert not any("unscored" in table for table in (*made, items.diversity_table(answers, "held_out"))) and not notes


@pytest.mark.parametrize("holes", [1, 3, 4, 10])
def test_simulated_studies_are_claimed_from_folders_and_tables_alike_whatever_is_missing(holes):
    found = simulate(2, 5)
    found.loc[found.index[:: len(found) // holes][:holes], "after"] = np.nan
    plan = dataclasses.replace(PLAN, axis="simulated", worlds="study00000 study00001", baseline="c00")
    keys = ["world", "contrast"]
    one, two = (tables.claims(t, plan).sort_values(keys, ignore_index=True) for t in (found, from_folders(found)))
    pd.testing.assert_frame_equal(one, two)
    assert (one["n"] <= 5).all() and (one["unscored"] != "").sum() == (one["n"] < 5).sum() > 0
    assert set(one.loc[one["n"] < 2, "decision"]) <= {"not estimable"}


def test_power_and_seed_sets_count_the_pairs_that_are_left(root):
    for seed in (1, 3):
        lose(root, "broad", seed)
    found = read_runs(root, **STUDY)
    needed = one_world(power.power_table(found, PLAN)).set_index("contrast")
    assert needed["seeds"].to_dict() == {"broad - narrow": 3, "medium - narrow": 5}
    sets = set_claims(one_world(found), PLAN).set_index("contrast")
    assert sets["n"].to_dict() == {"medium - narrow": 5, "broad - narrow": 3}
    assert sets.loc["broad - narrow", "unscored"] == "broad, seeds 1, 3"


# --- single answers ---


def crossed(seeds=3, scenarios=6, answers=2) -> pd.DataFrame:
    rng = np.random.default_rng(1)
    grid = [(t, s, f"i{i}") for t in (0, 1) for s in range(seeds) for i in range(scenarios) for _ in range(answers)]
    table = pd.DataFrame(grid, columns=["treated", "seed", "id"]).astype({"id": object, "seed": object})
    return table.assign(value=(rng.random(len(table)) < 0.5 + 0.2 * table["treated"]).astype(float))


@pytest.mark.parametrize("missing", MISSING)
@pytest.mark.parametrize("column", ["id", "seed"])
@pytest.mark.parametrize("contrast", [items.clustered_contrast, items.mixed_contrast])
def test_answers_without_a_key_are_refused_with_their_number(contrast, column, missing):
    table = crossed()
    table.loc[[5, 6, 50], column] = missing
    with pytest.raises(ValueError, match=f"3 of 72 rows have no {column} \\(the first is row 5\\)"):
        contrast(table)


def test_an_arm_that_is_neither_treated_nor_not_is_refused():
    with pytest.raises(ValueError, match="treated = 2 is neither 0 nor 1"):
        items.clustered_contrast(crossed().replace({"treated": {1: 2}}))


def test_unscored_answers_are_left_out_and_counted_and_never_wrong():
    table = crossed()
    some = table.assign(value=table["value"].where(table.index % 5 > 0))
    left = some.dropna(subset=["value"])
    both = left[left.groupby(["seed", "id"])["treated"].transform("nunique") == 2]
    found = items.clustered_contrast(some)
    assert found["unscored"] == 15 and found["answers"] == len(both)
    assert found == {**items.clustered_contrast(both), "unscored": 15}
    cells = both.groupby(["seed", "id", "treated"])["value"].mean().unstack()
    assert found["difference"] == pytest.approx((cells[1] - cells[0]).mean())


def test_a_scenario_and_a_run_without_a_score_leave_their_cells_out_and_half_a_pair_is_refused():
    table, whole = crossed(), items.clustered_contrast(crossed())
    lost = (table["treated"] == 1) & (table["seed"] == 2)
    found = items.clustered_contrast(table.assign(value=table["value"].mask(lost)))
    assert (found["seeds"], found["scenarios"], found["answers"], found["unscored"]) == (2, 6, 48, 12)
    scenario = items.clustered_contrast(table.assign(value=table["value"].mask(table["id"] == "i4")))
    assert (scenario["scenarios"], scenario["unscored"], whole["unscored"]) == (5, 12, 0)
    nothing = items.clustered_contrast(table.assign(value=np.nan))
    assert nothing["unscored"] == 72 and nothing["answers"] == 0 and math.isnan(nothing["difference"])
    assert all(math.isnan(value) for value in items.mixed_contrast(table.assign(value=np.nan)).values())
    with pytest.raises(ValueError, match="only one condition answered scenario i0 with seed 2"):
        items.clustered_contrast(table[~lost])


def open_answers(root, lost) -> None:
    """All responses open, with a score of their rubric; none where `lost` says so of (condition, seed)."""
    for path in (root / PLACE).rglob("responses.parquet"):
        answers = pd.read_parquet(path)
        score = answers["verdict"].astype(float) - 0.25
        gone = lost(path.parent.parent.name, path.parent.name)
        answers.assign(score=np.nan if gone else score, verdict=np.nan).to_parquet(path)


def test_a_run_whose_grader_scored_nothing_is_counted_and_the_other_runs_are_compared(root):
    open_answers(root, lambda condition, seed: (condition, seed) == ("broad", "seed3"))
    answers = read_answers(root, **STUDY)
    assert answers["correct"].isna().sum() == 2 * 150
    found = items.item_table(answers, dataclasses.replace(PLAN, primary_endpoint="score_sampled"))
    found = found.set_index(["world", "contrast"])
    lost = found.loc[("local_norms", "broad - narrow")]
    assert (lost["seeds"], lost["answers"], lost["unscored"]) == (4, 2 * 4 * 40, 40)
    assert found.loc[("local_norms", "medium - narrow"), ["seeds", "unscored"]].tolist() == [5, 0]
    single = items.rates(answers, "held_out").set_index(["world", "condition", "seed"])
    assert len(single) == 30 and single.loc[("local_norms", "broad", 3), ["scenarios", "unscored"]].tolist() == [0, 10]
    assert math.isnan(single.loc[("local_norms", "broad", 3), "rate"]) and single["unscored"].sum() == 20
    varied = items.diversity_table(answers, "held_out").set_index(["world", "condition", "seed"])
    assert varied.loc[("local_norms", "broad", 3), "unscored"] == 40 and varied["unscored"].sum() == 80
    assert math.isnan(varied.loc[("local_norms", "broad", 3), "words"]), "nothing is known of its right answers"


def test_open_and_closed_splits_of_one_run_each_have_their_outcome_and_a_lacking_verdict_is_refused(root):
    path = root / PLACE / "local_norms/broad/seed3/responses.parquet"
    answers = pd.read_parquet(path).assign(score=0.3)
    is_open = answers["split"] == "held_out"
    answers.assign(verdict=answers["verdict"].mask(is_open)).to_parquet(path)
    found = read_answers(root, **STUDY).query("world == 'local_norms' and condition == 'broad' and seed == 3")
    assert set(found.loc[found["split"] == "held_out", "correct"]) == {0.3}
    assert set(found.loc[found["split"] != "held_out", "correct"]) == {0.0, 1.0}
    answers.assign(verdict=answers["verdict"].mask(answers["k"] == 2)).to_parquet(path)
    with pytest.raises(ValueError, match="seed3/responses.parquet: 30 answers are neither correct nor wrong; delete"):
        read_answers(root, **STUDY)


@pytest.mark.parametrize("column", ["id", "split", "k"])
def test_stored_answers_without_a_key_name_their_file(root, column):
    path = root / PLACE / "local_norms/broad/seed3/responses.parquet"
    answers = pd.read_parquet(path)
    answers.astype({column: object}).assign(**{column: answers[column].where(answers.index > 2)}).to_parquet(path)
    with pytest.raises(ValueError, match=f"seed3/responses.parquet: 3 of 150 rows have no {column}"):
        read_answers(root, **STUDY)


def test_a_seed_without_a_score_in_one_task_is_out_of_the_interquartile_mean_and_counted(root):
    whole = items.iqm_table(read_runs(root, **STUDY), ENDPOINTS[0]).set_index("condition")
    lose(root, "broad", 3, splits="held_out")
    for seed in range(5):
        lose(root, "medium", seed)
    found = items.iqm_table(read_runs(root, **STUDY), ENDPOINTS[0]).set_index("condition")
    assert found["seeds"].to_dict() == {"broad": 4, "medium": 0, "narrow": 5}
    assert found["unscored"].to_dict() == {"broad": 1, "medium": 5, "narrow": 0}
    assert math.isnan(found.loc["medium", "iqm"]) and found.loc["narrow", "iqm"] == whole.loc["narrow", "iqm"]


@pytest.mark.parametrize("missing", MISSING)
def test_decisions_and_diversity_refuse_answers_without_a_scenario(missing):
    said = "<think>So.</think><answer>{}</answer>"
    table = pd.DataFrame(
        [(i, k, said.format("ab"[k % 2]), 1.0) for i in ("x", "y") for k in range(3)],
        columns=["id", "k", "response", "correct"],
    ).astype({"id": object})
    assert decision_entropy(table[table["k"] > 0]) == 1.0 and diversity(table, budget=2)["unscored"] == 0
    table.loc[[1, 4], "id"] = missing
    for measure in (decision_entropy, diversity):
        with pytest.raises(ValueError, match="2 of 6 rows have no id"):
            measure(table)


def test_an_unscored_answer_is_no_right_one_and_counted():
    said = [f"<think>{word} once more</think><answer>a</answer>" for word in ("so", "but", "then", "yet")]
    table = pd.DataFrame({"id": "x", "k": range(4), "response": said, "correct": [1.0, 1.0, np.nan, 0.0]})
    assert diversity(table, budget=3)["words"] == 3 and diversity(table, budget=3)["unscored"] == 1


@pytest.mark.parametrize("missing", MISSING)
@pytest.mark.parametrize("column", ["world", "condition", "seed"])
def test_tables_of_runs_without_a_key_are_refused_by_name(root, column, missing):
    found = read_runs(root, **STUDY).astype(object)
    found.loc[7, column] = missing
    for make in (tables.means, lambda t: tables.claims(t, PLAN), lambda t: power.power_table(t, PLAN),
                 lambda t: items.iqm_table(t, ENDPOINTS[0])):  # fmt: skip
        with pytest.raises(ValueError, match=f"1 of 180 rows have no {column} \\(the first is row 7\\)"):
            make(found)


def test_curves_answers_and_seed_sets_without_a_key_are_refused_by_name(root):
    curves = runs.read_curves(root, **STUDY)
    curves.loc[3, "world"] = None
    with pytest.raises(ValueError, match="1 of 300 rows have no world"):
        fairness.fairness(curves)
    answers = read_answers(root, **STUDY)
    answers.loc[3, "condition"] = ""
    for make in (lambda t: items.item_table(t, PLAN), lambda t: items.rates(t, "held_out"),
                 lambda t: items.diversity_table(t, "held_out")):  # fmt: skip
        with pytest.raises(ValueError, match="1 of 4500 rows have no condition"):
            make(answers)
    with pytest.raises(ValueError, match="1 of 3 rows have no seed"):
        in_sets(pd.DataFrame({"seed": [0, np.nan, 1]}), 2)


@pytest.mark.parametrize("missing", [None, math.nan, ""])
def test_a_run_whose_manifest_tells_no_plan_is_a_departure_and_does_not_leave_the_grouping(root, missing):
    found, made = read_runs(root, **STUDY), runs.read_provenance(root, **STUDY).astype({"plan": object})
    made.loc[3, "plan"] = missing
    told = departures.departures(PLAN, made, found, made[runs.KEYS], [], True)
    assert len(told) == 1 and told[0].startswith(f"1 of 30 runs were made under no plan, not {PLAN.digest};")
    made.loc[4, "condition"] = missing
    with pytest.raises(ValueError, match="1 of 30 rows have no condition"):
        departures.departures(PLAN, made, found, made[runs.KEYS], [], True)


def test_keys_that_are_there_pass_whatever_their_type():
    table = pd.DataFrame({"a": ["nan", "None", "0"], "b": [0, -1, 2], "c": pd.Categorical(["x", "y", "x"])})
    require_keys(table, "a", "b", "c")
    with pytest.raises(ValueError, match="1 of 3 rows have no c"):
        require_keys(table.assign(c=pd.Categorical(["x", None, "x"])), "c")


# --- figures ---


def test_figures_draw_the_runs_that_have_a_score_and_name_what_has_none(root):
    lose(root, "broad", 3)
    for seed in range(5):
        lose(root, "medium", seed)
    found = one_world(read_runs(root, **STUDY))
    ax = plots.plot_means(found)
    assert [text.get_text() for text in ax.texts] == ["not estimable"]
    assert sum(len(line.get_xdata()) for line in ax.lines if line.get_alpha() == 0.45) == 5 + 4
    ax = plots_seeds.plot_seeds(found)
    assert [text.get_text() for text in ax.texts] == ["not estimable"]
    assert sum(len(line.get_xdata()) for line in ax.lines if line.get_alpha() == 0.5) == 5 + 4
    ax = plots_seeds.plot_ranks(found)
    assert [tick.get_text() for tick in ax.get_yticklabels()] == ["broad", "narrow"]
    assert ax.get_xlabel().endswith("left out, not scored: medium, seed 3")
    ax = plots.plot_contrasts(one_world(tables.claims(read_runs(root, **STUDY), PLAN)))
    assert [text.get_text() for text in ax.texts].count("not estimable") == 2
    plots_seeds.plot_power(one_world(power.power_table(read_runs(root, **STUDY), PLAN)))
    plt.close("all")


def test_a_world_without_any_score_is_drawn_empty(root):
    found = one_world(read_runs(root, **STUDY)).assign(after=np.nan, before=np.nan)
    for draw in (plots.plot_means, plots_seeds.plot_seeds, plots_seeds.plot_ranks):
        assert {text.get_text() for text in draw(found).texts} == {"not estimable"}
    plt.close("all")


# --- published cells, judges and their labels ---


def test_published_cells_count_the_runs_that_have_a_value(tmp_path):
    for seed, score in ((0, 0.5), (1, np.nan)):
        folder = write_run(tmp_path, "morebench_public", "dapo", seed, axis="paper", model="Qwen/Qwen2.5-7B")
        answers = pd.read_parquet(folder / "responses.parquet").assign(score=score, verdict=np.nan)
        answers.to_parquet(folder / "responses.parquet")
    cells = published.ours(tmp_path, axis="paper", profile="tiny_cpu")
    assert cells["value"].tolist() == [0.5, 0.5] and cells["seeds"].tolist() == [1, 1]


def judged(scenarios=6) -> pd.DataFrame:
    """Rows of two models with labels and a judge's probabilities."""
    rubric = [{"id": f"c{i}", "text": f"Says {i}.", "weight": w, "dimension": "d"} for i, w in enumerate((2, -1, 1))]
    rows = [{"id": f"s{i}", "rubric": rubric} for i in range(scenarios) for _ in range(2)]
    rng = np.random.default_rng(0)
    said = ["word " * int(n) for n in rng.integers(1, 40, len(rows))]
    table = graded_rows(said, rows, ["m", "n"] * scenarios, rng.integers(0, 2, (len(rows), 3)).astype(float).tolist())
    return table.assign(p=rng.random(len(table))).astype({"scenario": object, "model": object})


@pytest.mark.parametrize("missing", MISSING)
@pytest.mark.parametrize("column", ["scenario", "model"])
def test_verdicts_without_a_scenario_or_a_model_are_refused_with_their_number(column, missing):
    rows = judged()
    rows.loc[[2, 7], column] = missing
    by = "model" if column == "model" else None
    for make in (lambda t: agreement(t, by), agreement_report, partiality, responses_of, others_share):
        with pytest.raises(ValueError, match=f"2 of 36 rows have no {column} \\(the first is row 2\\)"):
            make(rows)


@pytest.mark.parametrize("missing", MISSING)
def test_tables_of_labels_and_reliability_refuse_rows_without_a_scenario(missing):
    rows = judged().assign(kind="answer", score=1.0, judgement="yes", part="judge")
    rows.loc[4, "scenario"] = missing
    for make in (rescored, held_out):
        with pytest.raises(ValueError, match="1 of 36 rows have no scenario"):
            make(rows)
    with pytest.raises(ValueError, match="rows have no scenario"):
        reliability(rows)


def test_rows_without_label_or_probability_are_counted_in_every_table_of_a_judge():
    rows = judged(8)
    assert "unscored" not in partiality(rows) and "unscored" not in reliability(rows)
    rows.loc[3, "label"], rows.loc[[9, 10], "p"] = np.nan, np.nan
    assert set(partiality(rows)["unscored"]) == {3} and set(reliability(rows)["unscored"]) == {3}
    line = agreement(rows).iloc[0]
    assert (line["n"], line["unlabelled"], line["unscored"]) == (45, 1, 2)
    assert agreement(rows.assign(dimension=rows["dimension"].where(rows.index > 5)), "dimension").set_index("group")[
        "n"
    ].to_dict() == {"d": 40, "none": 5}, "a criterion without dimension is a group of its own"


def test_padded_answers_that_could_not_be_scored_are_counted():
    rubric = [{"id": "c", "text": "Says so.", "weight": 1, "dimension": "d"}]
    rows = [{"id": f"s{i}", "rubric": rubric} for i in range(6)]

    def grade(said, scenarios):
        return [[None if "s1" in text and "pad" in text else 0.5 + 0.1 * ("pad" in text)] for text in said]

    said = [f"I am s{i}." for i in range(6)]
    table = padding_effect(grade, said, rows, pad=lambda text, where: f"{text} pad")
    assert set(table["n"]) == {5} and set(table["unscored"]) == {1} and table["change"].round(6).isin([0.1]).any()
    silent = padding_effect(lambda s, r: [[None]] * len(s), said, rows, pad=lambda text, where: f"{text} pad")
    assert set(silent["n"]) == {0} and set(silent["unscored"]) == {6} and silent["change"].isna().all()


def test_the_gap_of_a_judge_is_that_of_the_seeds_with_a_score_at_both_ends():
    steps = pd.DataFrame([(s, step) for s in range(3) for step in range(1, 5)], columns=["seed", "step"])
    table = steps.assign(arm="the judge", judge=0.5 + 0.1 * steps["step"], checker=0.5 + 0.01 * steps["seed"])
    table.loc[table["seed"] == 2, "judge"] = np.nan
    line = judge_gap.gap_at_ends(table.assign(gap=table["judge"] - table["checker"]), window=1).iloc[0]
    assert line["seeds"] == 2 and line["growth"] == pytest.approx(0.3)
    ax = judge_plots.plot_gap(table.assign(gap=table["judge"] - table["checker"]))
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["the judge (2 of 3 seeds)"]
    plt.close("all")
    none = judge_gap.gap_at_ends(table.assign(gap=np.nan), window=1).iloc[0]
    assert none["seeds"] == 0 and math.isnan(none["growth"])
