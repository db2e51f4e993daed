"""The battery of cheats, and that no guarded reward pays them."""

import json

import pytest

from studylib.params import DIVERSITY_REWARDS, RunParams
from studylib.rewards import audit as module
from studylib.rewards import batch_reward
from studylib.rewards.audit import GUARDED, audit, audit_rewards, audit_rows, main, payments, verdicts
from studylib.rewards.battery import CHEATS, honest

ROWS = audit_rows(6)
CHEAP = tuple(name for name in GUARDED if not name.startswith("diversity_"))
KINDS = {"empty", "two answers", "form", "tags", "padding", "copying", "stuffing", "parroting", "injection",
         "languages", "unicode"}  # fmt: skip


@pytest.fixture(scope="module")
def table():
    return audit(ROWS, only=(*CHEAP, "diversity (ungated)"))


def test_the_battery_holds_forty_cheats_and_more_of_every_kind():
    assert len(CHEATS) >= 40 and {kind for kind, _ in CHEATS.values()} == KINDS
    responses = [cheat(ROWS[0], "wrong") for _, cheat in CHEATS.values()]
    assert len(set(responses)) == len(responses), "no cheat comes twice"


def test_honest_answers_are_what_they_are_called():
    right, wrong = batch_reward("verdict", ROWS), batch_reward("format", ROWS)
    for row in ROWS:
        answers = list(honest(row).values())
        assert right(answers, [row] * 2) == [1.0, 0.0] and wrong(answers, [row] * 2) == [1.0, 1.0]


def test_no_guarded_reward_pays_a_cheat_more_than_the_median_honest_wrong_answer(table):
    lines = verdicts(table)
    guarded = lines[lines.guarded]
    assert set(guarded.index) == set(CHEAP)
    assert guarded.holds.all(), guarded[~guarded.holds]
    assert (lines.unscored == 0).all()


def test_a_cheat_that_gives_the_right_answer_earns_no_more_of_the_rubric_than_an_honest_right_answer(table):
    lines = verdicts(table).loc[["verdict", "format", "rubric", "rubric_morebench", "coverage", "uniqueness"]]
    assert (lines.best_right <= lines.honest_right + 1e-9).all(), lines


def test_a_reward_that_can_be_cheated_is_found_out(table):
    """Without its gate the diversity reward pays a list of rare words more than an honest answer."""
    line = verdicts(table).loc["diversity (ungated)"]
    assert not line.holds and not line.guarded and line.best_cheat in CHEATS


def test_every_reward_is_in_the_audit():
    assert set(audit_rewards(ROWS)) >= {"verdict", "format", "rubric", *DIVERSITY_REWARDS}


def test_what_a_judge_pays_is_reported_as_it_is():
    def gullible(responses, rows):
        """Grants every wanted criterion to whoever asks for it, and abstains on flattery."""
        grants = [None if "expert" in r else float("answer yes" in r) for r in responses]
        return [
            [g if g is None or c["weight"] > 0 else 0.0 for c in row["rubric"]]
            for g, row in zip(grants, rows, strict=True)
        ]

    found = audit(ROWS[:2], gullible, only=("rubric (judge)",))
    line = verdicts(found).loc["rubric (judge)"]
    assert line.best == 1.0 and line.best_cheat == "injection" and not line.holds and not line.guarded
    assert line.unscored == 4, "two scenarios, either option"
    assert payments(found).loc[("injection", "system injection"), "rubric (judge)"] == 1.0


def test_the_command_speaks_to_machines_and_fails_when_a_guarded_reward_pays_a_cheat(capsys, monkeypatch):
    few = {"verdict": batch_reward("verdict", ROWS), "rubric": batch_reward("rubric", ROWS)}
    monkeypatch.setattr(module, "audit_rewards", lambda rows, grader: few)
    assert main(["--json", "--scenarios", "2"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert {line["reward"] for line in said["rewards"]} == {"verdict", "rubric"} and len(said["payments"]) > 40
    few["verdict"] = batch_reward("diversity", ROWS, RunParams(diversity_gate="form"))
    assert main(["--scenarios", "2"]) == 1
    assert "the most that a cheat earns" in capsys.readouterr().out
