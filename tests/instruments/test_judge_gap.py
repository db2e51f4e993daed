"""The gap between judge and checker is measured on runs like any other, which no other comparison counts."""

import json
import shutil

import pandas as pd
import pytest

from studylib.evaluation.table import read_runs
from studylib.instruments import judge_gap
from studylib.instruments.judge_gap import CHECKER, FLAWED, JUDGE, arm_dir, gap, trained_rows
from studylib.run import run


def test_the_arms_are_complete_runs_that_name_their_graders_and_are_made_once(miniature, monkeypatch):
    params = miniature(steps=2)
    table = gap(params, judge_gap.flawed_grader, [1])
    assert table.groupby("arm", sort=False).size().to_dict() == {CHECKER: 2, JUDGE: 2, FLAWED: 2}
    config = json.loads((arm_dir(params, CHECKER, 1) / "config.json").read_text())
    assert (config["rubric_trained_on"], config["rubric_measured"]) == ("checks_grader", "flawed_grader")
    assert (config["axis"], config["condition"], config["seed"]) == ("judge_gap", "the_checker", 1)
    found = read_runs(params.run_root, axis="judge_gap", profile="tiny_cpu")
    assert set(found["condition"]) == {"the_checker", "the_judge", "a_flawed_checker"}
    monkeypatch.setattr("studylib.run.train", lambda *_: pytest.fail("trained again"))
    pd.testing.assert_frame_equal(gap(params, judge_gap.flawed_grader, [1]), table)
    assert len(trained_rows(params, judge_gap.flawed_grader, [1])) > 0
    with pytest.raises(ValueError, match="holds a run with rubric_measured = 'flawed_grader', not 'checks_grader'"):
        gap(params, judge_gap.checks_grader, [1])


def test_runs_of_the_gap_are_none_of_the_axis_that_they_were_made_from(miniature):
    params = miniature(steps=0)
    run(params)
    judge_gap.train_arm(judge_gap.arm_params(params, JUDGE, 0), judge_gap.checks_grader, judge_gap.flawed_grader)
    assert set(read_runs(params.run_root, axis="inputs", profile="tiny_cpu")["condition"]) == {"broad"}


def test_answers_and_curves_of_the_older_layout_are_read(miniature):
    params = miniature(steps=2)
    table = gap(params, judge_gap.flawed_grader, [0])
    rows = trained_rows(params, judge_gap.flawed_grader, [0])
    for arm in (CHECKER, JUDGE, FLAWED):
        here = arm_dir(params, arm, 0)
        former = here.parents[4] / f"judge_gap/{arm.replace(' ', '_')}/inputs/tiny_cpu/local_norms/broad/seed0"
        former.mkdir(parents=True)
        for name in ("metrics.jsonl", "responses.parquet"):
            shutil.copy(here / name, former)
        shutil.rmtree(here)
        assert arm_dir(params, arm, 0) == former
    pd.testing.assert_frame_equal(gap(params, judge_gap.flawed_grader, [0]), table)
    pd.testing.assert_frame_equal(trained_rows(params, judge_gap.flawed_grader, [0]), rows)
