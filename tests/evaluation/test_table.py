"""Endpoints are computed from what a run keeps, also those that nobody knew when the run was made."""

import json
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
from extend import add_example, example
from run_tables import keep_tables
from test_claims import PLAN, STUDY, write_run

from studylib.claims import tables
from studylib.evaluation.diversity import decision_entropy
from studylib.evaluation.summary import joined, summary
from studylib.evaluation.table import read_answers, read_runs, read_scenarios, read_unscored
from studylib.names import ENDPOINTS, Endpoint

DEFAULT = ["accuracy_sampled", "accuracy_greedy", "score_sampled", "score_greedy"]


@pytest.fixture
def study(tmp_path):
    """Finished runs of today's layout: two conditions, two seeds."""
    for condition, mean in (("narrow", 0.5), ("broad", 0.8)):
        for seed in (0, 1):
            keep_tables(write_run(tmp_path, condition=condition, seed=seed, after=mean + seed / 20))
    return tmp_path


@pytest.fixture
def added():
    """`ENDPOINTS.add` of a test, undone at its end."""
    known = dict(ENDPOINTS)
    yield ENDPOINTS.add
    for name in set(ENDPOINTS) - set(known):
        del ENDPOINTS._records[name]


def run_of(study, condition="broad", seed=1):
    return study / f"inputs/tiny_cpu/local_norms/{condition}/seed{seed}"


# --- records ---


def test_four_endpoints_are_compared_by_default_and_others_when_they_are_asked_for():
    assert [name for name, record in ENDPOINTS.items() if record.default] == DEFAULT
    assert not ENDPOINTS["decision_entropy"].default and ENDPOINTS["decision_entropy"].unit == "bits"


def test_a_mean_over_answers_knows_its_answers_and_an_entropy_has_none():
    answers = pd.DataFrame({"id": "a", "k": [0, 1, 2], "correct": [1.0, 0.0, 1.0]})
    assert ENDPOINTS["accuracy_sampled"].item(answers).to_dict() == {1: 0.0, 2: 1.0}
    assert ENDPOINTS["accuracy_greedy"].item(answers).to_dict() == {0: 1.0}
    assert ENDPOINTS["score_sampled"].item(answers).empty and ENDPOINTS["decision_entropy"].item is None


def test_the_registry_of_endpoints_is_asked_without_torch():
    code = "import sys; from studylib.names import ENDPOINTS; assert list(ENDPOINTS) and 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


# --- tables of a run ---


def test_an_answer_is_read_with_what_was_asked_and_in_its_place(study):
    answers = read_answers(study, **STUDY)
    assert {"prompt", "options", "answer", "rubric", "facts", "domain"} <= set(answers)
    assert (answers["prompt"] == "What of " + answers["id"] + "?").all() and answers["options"][0] == ["right", "wrong"]
    kept = pd.concat(
        [pd.read_parquet(run_of(study, *run) / "responses.parquet") for run in (("broad", 0), ("broad", 1))]
    )
    assert answers.query("condition == 'broad'")["response"].tolist() == kept["response"].tolist()


def test_training_scenarios_are_kept_but_no_split_of_the_evaluation(study):
    kept = pd.read_parquet(run_of(study) / "scenarios.parquet")
    assert (kept["split"] == "train").sum() == 2 and "train" not in set(read_scenarios(run_of(study))["split"])
    assert "train" not in set(read_runs(study, **STUDY)["split"])


def test_an_answer_without_its_scenario_is_refused():
    asked = pd.DataFrame({"split": "held_out", "id": ["a"], "prompt": "?"})
    answers = pd.DataFrame({"split": "held_out", "id": ["a", "b"], "k": 0})
    with pytest.raises(ValueError, match="1 answers have no scenario; the first is to b of split held_out"):
        joined(answers, asked)


def test_the_summary_is_a_cache_that_is_made_again(study):
    before = read_runs(study, **STUDY)
    path = run_of(study) / "summary.json"
    kept = path.read_bytes()
    path.unlink()
    pd.testing.assert_frame_equal(read_runs(study, **STUDY), before)
    assert path.read_bytes() == kept
    path.write_text("cut")
    pd.testing.assert_frame_equal(read_runs(study, **STUDY), before)


def test_a_run_of_the_older_layout_has_the_values_that_its_tables_give(study, tmp_path_factory):
    """The same answers, told by a summary alone and by tables."""
    here = read_runs(study, **STUDY)
    assert set(here["endpoint"]) == set(DEFAULT[:2]) and len(here) == 2 * 2 * 3 * 2
    for path in study.rglob("responses.parquet"):
        answers = pd.read_parquet(path).rename(columns={"correct": "verdict"})
        answers.to_parquet(path)
        for name in ("scenarios.parquet", "responses_before.parquet"):
            (path.parent / name).unlink()
    pd.testing.assert_frame_equal(read_runs(study, **STUDY), here)
    assert set(read_answers(study, **STUDY)["correct"]) == {0.0, 1.0}, "verdict is its former name"


def test_scores_are_endpoints_where_answers_have_them_and_their_gaps_are_counted(study):
    path = run_of(study) / "responses.parquet"
    answers = pd.read_parquet(path)
    answers.assign(score=np.where(answers["k"] == 2, np.nan, 0.25)).to_parquet(path)
    answers.assign(score=0.25).to_parquet(path.with_name("responses_before.parquet"))
    found = read_runs(study, **STUDY).query("endpoint == 'score_sampled'")
    assert set(found["condition"]) == {"broad"} and found["after"].tolist() == [0.25] * 3
    unscored = read_unscored(study, **STUDY)
    assert set(unscored["phase"]) == {"after"} and unscored["share"].tolist() == [0.2] * 3


def test_open_responses_have_no_accuracy(study):
    for folder in (path.parent for path in list(study.rglob("scenarios.parquet"))):
        for name in ("responses.parquet", "responses_before.parquet"):
            pd.read_parquet(folder / name).assign(correct=np.nan, score=0.5).to_parquet(folder / name)
        (folder / "summary.json").touch()
        keep_tables(folder, options=None, answer=None)
    assert set(read_runs(study, **STUDY)["endpoint"]) == {"score_sampled", "score_greedy"}


# --- an endpoint that is added later ---


def test_an_endpoint_is_added_by_one_function_and_reaches_finished_runs(study, tmp_path, monkeypatch):
    add_example("endpoint", tmp_path, monkeypatch)
    assert len(example("endpoint").splitlines()) <= 15
    found = read_runs(study, **STUDY, endpoints=["always_right"])
    mine, others = found["endpoint"] == "always_right", found["endpoint"].isin(DEFAULT)
    pd.testing.assert_frame_equal(found[others].reset_index(drop=True), read_runs(study, **STUDY))
    answers = read_answers(study, **STUDY).query("condition == 'broad' and seed == 1 and split == 'held_out' and k > 0")
    by_hand = np.mean([group["correct"].all() for _, group in answers.groupby("id")])
    row = found[mine].query("condition == 'broad' and seed == 1 and split == 'held_out'").iloc[0]
    assert (row["after"], row["before"]) == (pytest.approx(by_hand), 0.0)
    claimed = tables.claims(found, PLAN)
    assert set(claimed["endpoint"]) == {*DEFAULT[:2], "always_right"}
    assert set(claimed.query("endpoint == 'always_right'")["status"]) == {"exploratory"}
    assert "always_right" not in (run_of(study) / "summary.json").read_text(), "it was not asked for by default"


def test_an_endpoint_may_look_at_the_scenarios(study, added):
    def worst_domain(answers):
        return answers.groupby("domain")["correct"].mean().min()

    added(Endpoint("worst_domain", worst_domain, needs=("domain",)))
    found = read_runs(study, **STUDY, endpoints=["worst_domain"]).query("endpoint == 'worst_domain'")
    answers = read_answers(study, **STUDY).query("condition == 'narrow' and seed == 0 and split == 'held_out'")
    expected = min(part["correct"].mean() for _, part in answers.groupby("domain"))
    assert found.query("condition == 'narrow' and seed == 0 and split == 'held_out'")["after"].item() == expected


def test_decision_entropy_is_an_endpoint_of_finished_runs(study):
    found = read_runs(study, **STUDY, endpoints=["decision_entropy"]).query("endpoint == 'decision_entropy'")
    answers = read_answers(study, **STUDY).query("condition == 'broad' and seed == 1 and split == 'held_out' and k > 0")
    row = found.query("condition == 'broad' and seed == 1 and split == 'held_out'").iloc[0]
    assert row["after"] == pytest.approx(decision_entropy(answers)) and row["after"] > 0


def test_an_older_run_is_refused_for_an_endpoint_that_its_summary_cannot_have(tmp_path):
    folder = write_run(tmp_path)
    with pytest.raises(ValueError) as refused:
        read_runs(tmp_path, **STUDY, endpoints=["decision_entropy"])
    assert str(refused.value) == (
        f"{folder} lacks scenarios.parquet and responses_before.parquet, which decision_entropy is computed from; "
        "delete the folder and make the run again"
    )


@pytest.mark.parametrize(
    "name, message",
    [
        ("accuracy_sample", "no endpoint 'accuracy_sample'; .*did you mean accuracy_sampled"),
        ("score_sampled", "no run of axis 'inputs' has the endpoint 'score_sampled'; it needs score"),
    ],
)
def test_an_endpoint_that_no_run_can_have_is_refused(study, name, message):
    with pytest.raises(ValueError, match=message):
        read_runs(study, **STUDY, endpoints=[name])


@pytest.mark.parametrize("value, wrong", [(7.0, "7.0, outside 0..1"), (np.inf, "inf, not a number")])
def test_an_endpoint_that_leaves_its_range_is_refused_by_name(study, added, value, wrong):
    added(Endpoint("wild", lambda answers: value))
    with pytest.raises(ValueError, match=f"wild before .* is {wrong}; mend the function or the range of wild$"):
        read_runs(study, **STUDY, endpoints=["wild"])


def test_the_summary_of_tables_is_strict_json(study):
    folder = run_of(study)
    before, after = (pd.read_parquet(folder / name) for name in ("responses_before.parquet", "responses.parquet"))
    content = summary(before.assign(correct=np.nan), after, read_scenarios(folder))
    assert json.loads(json.dumps(content, allow_nan=False))["splits"]["held_out"]["before"]["accuracy_sampled"] is None
