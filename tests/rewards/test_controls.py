"""Controls: rewards that pay for something else than the right answer."""

import json
import shutil

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from studylib.instruments.audit import audit, audit_rows, guarded, which_hold
from studylib.names import REWARDS
from studylib.params import RunParams
from studylib.rewards import batch_reward
from studylib.rewards.groups import group_normalised
from studylib.run import run
from studylib.training.idle import identical_conditions, random_rewards, shaping_is_idle

CONTROLS = ["random", "inverted", "constant", "majority"]
OPTIONS = ["permissible", "wrong", "unclear"]


def scenario(id: str = "x", answer: str = "wrong", **fields) -> dict:
    return {"id": id, "options": OPTIONS, "answer": answer, **fields}


def says(option: str, reasons: str = "It was a lie.") -> str:
    return f"<think>{reasons}</think><answer>{option}</answer>"


def paid(name: str, responses: list[str], rows: list[dict], seed: int = 0) -> list[float]:
    return batch_reward(name, rows, RunParams(seed=seed))(responses, rows)


def test_the_controls_say_of_themselves_that_they_are():
    assert [name for name, record in REWARDS.items() if record.control] == CONTROLS


# --- random ---


def test_the_random_reward_is_a_fair_coin_for_each_answer_whatever_it_says():
    """4 standard errors of a share of 4,000 fair coins are 0.032."""
    rows = [scenario(f"s{i // 4}") for i in range(4000)]
    right = np.array(paid("random", [says("wrong")] * 4000, rows))
    assert set(right) == {0.0, 1.0} and abs(right.mean() - 0.5) < 0.032
    texts = ["", says("permissible"), "no form", "<answer>wrong</answer>"] * 1000
    assert paid("random", texts, rows) == right.tolist(), "the same coins for other texts"
    paid_in_group = np.bincount(right.reshape(-1, 4).sum(1).astype(int), minlength=5) / 1000
    assert paid_in_group == pytest.approx(np.array([1, 4, 6, 4, 1]) / 16, abs=0.065), "binomial: independent coins"


def test_two_answers_of_a_group_with_the_same_text_may_be_paid_differently():
    coins = np.array(paid("random", [says("wrong")] * 400, [scenario(f"s{i // 4}") for i in range(400)]))
    groups = coins.reshape(-1, 4)
    assert (groups.min(1) < groups.max(1)).mean() > 0.7, "7 of 8 groups are expected to"


def test_the_coins_are_those_of_the_seed_and_of_the_place_among_the_answers_to_a_scenario():
    rows = [scenario(f"s{i % 50}") for i in range(200)]
    coins = np.array(paid("random", [""] * 200, rows))
    assert coins.tolist() == paid("random", [""] * 200, rows), "a run that resumes draws them again"
    by_scenario = np.array(paid("random", [""] * 200, sorted(rows, key=lambda row: int(row["id"][1:])))).reshape(50, 4)
    assert (by_scenario == coins.reshape(4, 50).T).all(), "whatever else is in the batch"
    assert coins.tolist() != paid("random", [""] * 200, rows, seed=1)


# --- inverted and constant ---


def test_inverted_is_the_complement_of_correct_on_readable_answers_and_pays_no_other():
    readable = [says(option) for option in OPTIONS] + [says("Wrong.")]
    malformed = ["", "wrong", says("wrong") + says("permissible"), says("none of them"), "<answer>wrong</answer>"]
    rows = [scenario()] * len(readable)
    right, inverted = (paid(name, readable, rows) for name in ("correct", "inverted"))
    assert inverted == [1.0, 0.0, 1.0, 0.0] == [1.0 - value for value in right]
    assert paid("inverted", malformed, [scenario()] * len(malformed)) == [0.0] * len(malformed)


def test_inverted_pays_none_of_several_accepted_options():
    stances = [{"option": option, "level": 1.0, "groups": ["everybody"]} for option in ("permissible", "wrong")]
    row = scenario(accepted=stances)
    assert paid("inverted", [says(option) for option in OPTIONS], [row] * 3) == [0.0, 0.0, 1.0]


def test_a_constant_reward_teaches_nothing():
    responses = ["", says("wrong"), says("permissible"), "no form"]
    values = paid("constant", responses, [{"id": "open"}] * 4)
    assert values == [1.0] * 4
    assert group_normalised(torch.tensor(values), 4).abs().max() == 0.0
    assert shaping_is_idle(RunParams(rewards="constant=1", shaping="par"))


def test_a_constant_beside_another_reward_makes_no_other_condition():
    plain, more = ({"rewards": rewards, "axis": "rewards"} for rewards in ("correct=1", "correct=1 constant=0.5"))
    assert identical_conditions({"a": plain, "b": more}) == [("a", "b")]
    assert identical_conditions({"a": plain, "b": plain | {"rewards": "inverted=1"}}) == []
    four = {"rewards": "constant=1", "axis": "rewards", "updates_per_batch": 4, "micro_batch": 16}
    assert identical_conditions({"a": four | {"updates_per_batch": 1}, "b": four}) == [], "other updates, none of use"
    assert (random_rewards(["constant"], 4) == 1).all() and len(np.unique(random_rewards(["random"], 4))) == 2


# --- majority ---


def test_the_majority_is_counted_among_the_readable_answers_to_each_scenario():
    given = ["wrong", "wrong", "permissible", None, "unclear", "unclear", "wrong", "Unclear."]
    responses = [says(option) if option else "unreadable" for option in given]
    rows = [scenario("a", "permissible")] * 4 + [scenario("b", "permissible")] * 4
    assert paid("majority", responses, rows) == [1.0, 1.0, 0.0, 0.0, 1.0, 1.0, 0.0, 1.0]
    mixed = [0, 4, 1, 5, 2, 6, 3, 7]  # groups that are dealt into each other
    assert paid("majority", [responses[i] for i in mixed], [rows[i] for i in mixed]) == [1, 1, 1, 1, 0, 0, 0, 1]


def test_tied_options_are_all_paid_and_answers_that_cannot_be_read_never():
    tied = [says("wrong"), says("permissible"), "wrong", says("wrong") + says("wrong")]
    assert paid("majority", tied, [scenario()] * 4) == [1.0, 1.0, 0.0, 0.0]
    assert paid("majority", ["", "wrong", "no form", "<think>"], [scenario()] * 4) == [0.0] * 4
    assert paid("majority", [says("wrong"), says("wrong"), says("permissible"), says("permissible"), says("unclear")],
                [scenario()] * 5) == [1.0, 1.0, 1.0, 1.0, 0.0]  # fmt: skip


def test_the_majority_needs_no_label_and_is_blind_to_it():
    responses = [says("wrong"), says("wrong"), says("permissible")]
    values = [paid("majority", responses, [scenario(answer=answer)] * 3) for answer in (None, "wrong", "permissible")]
    assert values == [[1.0, 1.0, 0.0]] * 3


# --- the audit ---


def test_the_audit_shows_what_controls_pay_and_never_lets_one_hold():
    lines = which_hold(audit(audit_rows(4), only=("correct", *CONTROLS)))
    assert lines.control.to_dict() == {"correct": False} | dict.fromkeys(CONTROLS, True)
    assert lines.holds.to_dict() == {"correct": True} | dict.fromkeys(CONTROLS, False)
    assert not any(guarded(name) for name in CONTROLS) and (lines.loc[CONTROLS, "best"] == 1.0).all()


# --- runs ---


def logged(folder) -> list[dict]:
    """The training steps: the held-out curve has a line of its own for step 0."""
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [line for line in lines if line["step"]]


@pytest.mark.parametrize("name", ["random", "inverted", "majority"])
def test_a_run_is_trained_on_a_control_from_first_to_last(miniature, name):
    folder = run(miniature(steps=2, rewards=f"{name}=1.0 correct=0.0"))
    steps = logged(folder)
    assert len(steps) == 2 and (folder / "manifest.json").is_file()
    assert all({f"rewards/{name}/mean", "rewards/correct/mean"} <= step.keys() for step in steps)


def test_a_run_that_goes_on_draws_the_coins_of_one_that_was_never_stopped(miniature, tmp_path, monkeypatch):
    whole = logged(run(miniature(rewards="random=1", save_every=2)))
    params = miniature(rewards="random=1", save_every=2, run_root=str(tmp_path / "stopped"))
    monkeypatch.setattr("studylib.run.finish", lambda *args: None)
    run(params)
    shutil.rmtree(params.run_dir / "checkpoints" / "checkpoint-4")
    monkeypatch.undo()
    again = logged(run(params))
    assert json.loads((params.run_dir / "manifest.json").read_text())["resumed_from"] == 2
    assert [step["rewards/random/mean"] for step in again] == [step["rewards/random/mean"] for step in whole]


def test_a_run_on_a_constant_ends_as_it_began_and_says_so(miniature, capsys):
    folder = run(miniature(steps=6, rewards="constant=1", updates_per_batch=2))
    said = capsys.readouterr().out
    assert "note: 5 steps in a row had nothing to learn from: reward 1.000, 1.000 of the groups" in said
    weights = load_file(folder / "adapter" / "adapter_model.safetensors")
    moved = [float(tensor.abs().max()) for name, tensor in weights.items() if "lora_B" in name]
    assert moved and max(moved) == 0.0, "LoRA begins with B = 0"
