"""A run that dropped a tag is said to have lost the form of its answers, with what it means when read leniently."""

import pandas as pd
import pytest
from run_tables import keep_tables
from test_claims import STUDY, write_run

from studylib.claims import tables
from studylib.evaluation.lost_form import read_lost_form

SPLIT = "held_out_domains"


@pytest.fixture
def study(tmp_path):
    for condition in ("narrow", "broad"):
        for seed in (0, 1):
            keep_tables(write_run(tmp_path / "runs", condition=condition, seed=seed, after=0.7))
    return tmp_path / "runs"


def rewrite(folder, change):
    """Sampled answers say something else after training, and are read as the evaluation would."""
    path = folder / "responses.parquet"
    answers = pd.read_parquet(path)
    sampled = answers["k"] > 0
    answers.loc[sampled, "response"] = answers.loc[sampled, "response"].map(change)
    answers.loc[sampled, ["correct", "readable"]] = 0.0, False
    answers.to_parquet(path)


def without_tag(response):
    return response.replace("<answer>", "")


def broad(study):
    return study / "inputs/tiny_cpu/local_norms/broad/seed1"


def test_a_run_that_dropped_a_tag_and_kept_its_verdicts_lost_the_form(study):
    answers = pd.read_parquet(broad(study) / "responses.parquet")
    mine = answers[(answers["split"] == SPLIT) & (answers["k"] > 0)]
    rewrite(broad(study), without_tag)
    lost = read_lost_form(study, **STUDY, split=SPLIT)
    assert lost["leniently_readable"].item() == 1
    assert lost.drop(columns=["leniently_readable", "lenient"]).to_dict("records") == [
        {"world": "local_norms", "condition": "broad", "seed": 1, "split": SPLIT, "before": 1.0, "after": 0.0}
    ]
    assert lost["lenient"].item() == pytest.approx(mine["correct"].mean())


def test_the_comparison_names_it(study, tmp_path):
    rewrite(broad(study), without_tag)
    tables.write_tables(study, tmp_path / "out", **STUDY)
    lenient = read_lost_form(study, **STUDY, split=SPLIT)["lenient"].item()
    notes = tables.read_table(tmp_path / "out", "notes")
    mine = notes[notes["note"].str.contains("lost the form")]
    assert mine["note"].tolist() == [
        f"broad, seed 1 in local_norms lost the form of its answers: on {SPLIT} 0.0 % can be read, 100.0 % before "
        f"training; read leniently {100 * lenient:.1f} % are right."
    ]
    assert not mine["departure"].any(), "it leaves no plan"


@pytest.mark.parametrize("change", [lambda said: "babble", lambda said: "<think>right or wrong"])
def test_a_run_whose_answers_mean_nothing_lost_more_than_the_form(study, tmp_path, change):
    rewrite(broad(study), change)
    lost = read_lost_form(study, **STUDY, split=SPLIT)
    assert lost["leniently_readable"].tolist() == [0.0] and lost["seed"].tolist() == [1]
    tables.write_tables(study, tmp_path / "out", **STUDY)
    notes = tables.read_table(tmp_path / "out", "notes")["note"]
    assert not notes.str.contains("lost the form").any()
    assert notes[notes.str.contains("lost its answers")].tolist() == [
        f"broad, seed 1 in local_norms lost its answers: on {SPLIT} 0.0 % can be read and 0.0 % leniently, 100.0 % "
        "before training."
    ]


def test_runs_that_can_be_read_or_kept_no_tables_lost_nothing(study):
    assert read_lost_form(study, **STUDY, split=SPLIT).empty
    (broad(study) / "scenarios.parquet").unlink()
    assert read_lost_form(study, **STUDY, split=SPLIT).empty
