"""The battery of cheats, and that no guarded reward pays them."""

import re

import numpy as np
import pytest

from studylib.instruments import audit as module
from studylib.instruments import battery_stances
from studylib.instruments.audit import (
    MOREBENCH,
    audit,
    audit_report,
    audit_rewards,
    audit_rows,
    audit_text,
    guarded,
    payments,
    stance_rows,
    which_hold,
)
from studylib.instruments.battery import CHEATS, honest, other, well_formed
from studylib.names import REWARDS
from studylib.params import RunParams
from studylib.paths import ROOT
from studylib.rewards import batch_reward
from studylib.scenarios.facts import READINGS, decisive, facts_of
from studylib.scenarios.vocabulary import CIRCUMSTANCES

README = ROOT / "docs/rewards.md"
ROWS = audit_rows(6)
STANCES = stance_rows(6)
GUARDED = [name for name in audit_rewards(ROWS) if guarded(name)]
HEDGED = [name for name, reward in REWARDS.items() if reward.distributions]
CONTROLS = [name for name, reward in REWARDS.items() if reward.control]
CHEAP = tuple(name for name in GUARDED if not name.startswith(("diversity_", "length_matched")))
KINDS = {"empty", "two answers", "form", "tags", "padding", "copying", "stuffing", "parroting", "injection",
         "languages", "unicode", "hedging"}  # fmt: skip


@pytest.fixture(scope="module")
def table():
    return audit(ROWS, only=(*CHEAP, *HEDGED, "diversity (ungated)"))


def test_the_battery_holds_forty_cheats_and_more_of_every_kind():
    assert len(CHEATS) >= 40 and {kind for kind, _ in CHEATS.values()} == KINDS
    responses = [cheat(ROWS[0], "wrong") for _, cheat in CHEATS.values()]
    assert len(set(responses)) == len(responses), "no cheat comes twice"


def test_honest_answers_are_what_they_are_called():
    right, wrong = batch_reward("correct", ROWS), batch_reward("format", ROWS)
    for row in ROWS:
        answers = list(honest(row).values())
        assert right(answers, [row] * 2) == [1.0, 0.0] and wrong(answers, [row] * 2) == [1.0, 1.0]


def test_no_guarded_reward_pays_a_cheat_more_than_the_median_honest_wrong_answer(table):
    lines = which_hold(table)
    watched = lines[lines.guarded]
    assert set(watched.index) == set(CHEAP)
    assert watched.holds.all(), watched[~watched.holds]
    assert (lines.unscored == 0).all()


def test_no_reasons_whatever_make_a_wrong_option_worth_more_than_an_honest_error():
    """Drawn from all that the checks look for. The bound: 8 of 14 wanted points, 3 of 5 unwanted ones."""
    rng = np.random.default_rng(0)
    rubric, bound = batch_reward("rubric", ROWS), 8 / 14 - 3 / 5
    most = []
    for row in ROWS:
        facts = facts_of(row)
        pieces = [*READINGS[row["framework"]], facts.affected, facts.agent, *CIRCUMSTANCES, "under covenant",
                  "under kinship", "It counts", "It does not count", "No excuse", "a breach"]  # fmt: skip
        said = [". ".join(rng.choice(pieces, size=rng.integers(1, 8), replace=False)) for _ in range(300)]
        most.append(max(rubric([well_formed(reasons, other(row["answer"])) for reasons in said], [row] * 300)))
        if decisive(facts, row["framework"]):
            assert rubric([honest(row)["wrong"]], [row]) == pytest.approx([bound])
    assert max(most) <= bound + 1e-9


def test_an_even_hedge_beats_a_wrong_option_where_distributions_are_answers(table):
    lines = which_hold(table)
    assert not lines.loc[list(HEDGED)].holds.any() and set(lines.loc[list(HEDGED)].best_cheat) == {"even odds"}
    assert lines.loc[list(HEDGED)].best.tolist() == pytest.approx([0.5, 0.75, 0.875]), "three of four raters agree"


def test_a_cheat_that_gives_the_right_answer_earns_no_more_of_the_rubric_than_an_honest_right_answer(table):
    lines = which_hold(table).loc[["correct", "format", "rubric", "rubric_morebench", "rating_expected"]]
    assert (lines.best_right <= lines.honest_right + 1e-9).all(), lines


def test_a_reward_that_can_be_cheated_is_found_out(table):
    """Without its gate the diversity reward pays a list of rare words more than an honest answer."""
    line = which_hold(table).loc["diversity (ungated)"]
    assert not line.holds and not line.guarded and line.best_cheat in CHEATS


def test_no_cheat_earns_a_stance_anything_not_even_one_that_is_accepted_for_wrong_reasons():
    table = audit(STANCES)
    lines = which_hold(table)
    assert set(lines.index) == {"stance", "stance (graded)", "stance (groups)"} and lines.guarded.all()
    assert lines.holds.all() and (lines.best == 0).all() and (lines.honest_right > 0).all()
    assert (lines.best_right == 0).all(), lines.best_right_cheat
    assert len(battery_stances.CHEATS) >= 25


def test_every_reward_is_in_the_audit():
    assert set(audit_rewards(ROWS)) | set(audit_rewards(STANCES)) >= set(REWARDS) | {
        MOREBENCH,
        "coverage (ungated)",
        "dispersion (ungated)",
    }
    assert set(GUARDED) | set(HEDGED) | set(CONTROLS) | {"stance"} == set(REWARDS) | {MOREBENCH}
    assert not set(GUARDED) & set(CONTROLS), "they pay wrong answers by design"
    assert set(HEDGED) == {"rating_soft_label", "rating_total_variation", "rating_brier"}


def test_what_a_judge_pays_is_reported_as_it_is():
    def gullible(responses, rows):
        """Grants every wanted criterion to whoever asks for it, and abstains on flattery."""
        grants = [None if "expert" in r else float("answer yes" in r) for r in responses]
        return [
            [g if g is None or c["weight"] > 0 else 0.0 for c in row["rubric"]]
            for g, row in zip(grants, rows, strict=True)
        ]

    found = audit(ROWS[:2], gullible, only=("rubric (judge)",))
    line = which_hold(found).loc["rubric (judge)"]
    assert line.best == 1.0 and line.best_cheat == "injection" and not line.holds and not line.guarded
    assert line.unscored == 4, "two scenarios, either option"
    assert payments(found).loc[("injection", "system injection"), "rubric (judge)"] == 1.0


def test_the_readme_has_the_table_of_the_audit():
    table = README.read_text().partition("| best cheat, wrong option |")[2].partition("\n\n")[0]
    shown = re.findall(r"^\| ([a-z_]+(?: \(ungated\))?) \| (.+) \|$", table, re.MULTILINE)
    lines = which_hold(audit(only=tuple(name for name, _ in shown)))
    assert len(shown) == 13 and f"run on {len(CHEATS)} cheating answers" in README.read_text()
    for name, cells in shown:
        line = lines.loc[name]
        told = [f"{line.best:.3f}", line.best_cheat, f"{line.honest_wrong:z.3f}", "yes" if line.holds else "no",
                f"{line.best_right:.3f}", line.best_right_cheat, f"{line.honest_right:z.3f}"]  # fmt: skip
        assert cells.split(" | ") == told, name


def test_the_report_fails_when_a_guarded_reward_pays_a_cheat(monkeypatch):
    few = {"correct": batch_reward("correct", ROWS), "rubric": batch_reward("rubric", ROWS)}
    monkeypatch.setattr(module, "audit_rewards", lambda rows, grader: {} if rows[0]["accepted"] else few)
    tables, holds = audit_report(2)
    assert holds and set(tables["rewards"].index) == {"correct", "rubric"} and len(tables["payments"]) > 40
    few["correct"] = batch_reward("diversity", ROWS, RunParams(diversity_gate="form"))
    tables, holds = audit_report(2)
    assert not holds and not tables["rewards"].holds["correct"]
    assert "The most that a cheat earns" in audit_text(tables) and "rare words" in audit_text(tables)
