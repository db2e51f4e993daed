"""The example of docs/extend.md for a reward: fifteen lines in one file, and everything knows it."""

import json

import pytest
from extend import add_example, example

from studylib.instruments.audit import audit, audit_rows, which_hold
from studylib.names import REWARDS
from studylib.params import RunParams
from studylib.rewards import batch_reward
from studylib.run import run

BRIEF, LONG = "<think>It was a lie.</think><answer>wrong</answer>", f"<think>{'so ' * 21}</think><answer>wrong</answer>"


@pytest.fixture(autouse=True)
def brief(tmp_path, monkeypatch):
    add_example("reward", tmp_path, monkeypatch)


def test_a_reward_takes_fifteen_lines_in_one_file():
    assert len(example("reward").splitlines()) <= 15 and "brief" in REWARDS


def test_parameters_take_it_and_it_scores():
    params = RunParams(rewards="correct=1.0 brief=0.2")
    assert params.reward_weights == {"correct": 1.0, "brief": 0.2}
    row = {"id": "x", "options": ["permissible", "wrong"], "answer": "wrong"}
    assert batch_reward("brief", [row], params)([BRIEF, LONG, "no form"], [row] * 3) == [1.0, 0.0, 0.0]
    with pytest.raises(ValueError, match="did you mean brief"):
        RunParams(rewards="correct=1.0 brieff=0.2")


def test_the_audit_tries_every_cheat_on_it_and_reports_a_reward_that_pays_one():
    table = which_hold(audit(audit_rows(2), only=("brief", "correct")))
    assert table.guarded.all() and table.loc["brief", "best"] == 1.0, "reasons of one full stop are brief too"
    assert table.holds.to_dict() == {"brief": True, "correct": True}, "an honest error is brief as well"


def test_a_run_is_trained_on_it(miniature):
    folder = run(miniature(rewards="correct=1.0 brief=0.2"))
    steps = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    assert any("rewards/brief/mean" in step for step in steps)
