"""A run that is looked at trains as one that is not, and says the same when it resumes."""

import dataclasses
import json
import shutil

import pytest
import torch
from training_runs import adapter, pay, start, tags_reward

from studylib.evaluation.curve import held_out_look
from studylib.scenarios.selection import select
from studylib.training.checkpoints import COMPLETE
from studylib.training.train import train

MOVING = {"learning_rate": 0.01, "max_grad_norm": 1.0}
PATHS = {
    "grpo": {},
    "two updates per batch": {"updates_per_batch": 2},
    "ppo, four updates": {"objective": "ppo", "beta": 0.1, "updates_per_batch": 4, "generations": 2, "micro_batch": 2},
    "dpo": {"objective": "dpo", "beta": 0.1, "generations": 2},
    "refilled groups": {"objective": "dapo", "dynamic_sampling": 1},
    "flowrl, checkpointing": {"objective": "flowrl", "beta": 0.1, "gradient_checkpointing": True},
    "plain trl": {"engine": "trl"},
    "a dense copy": {"rollout_weights": "dense"},
}


@pytest.fixture(autouse=True)
def paid(monkeypatch):
    pay(monkeypatch, correct=tags_reward)


def trained(params):
    trainer = start(params)
    look = held_out_look(trainer.model, trainer.processing_class, select(params), params)
    train(trainer, params, look)
    return adapter(trainer)


def lines(params) -> list[dict]:
    """Of metrics.jsonl, without what a clock tells."""
    logged = [json.loads(line) for line in (params.run_dir / "metrics.jsonl").read_text().splitlines()]
    return [{name: value for name, value in line.items() if "time" not in name} for line in logged]


def unseen(logged: list[dict]) -> list[dict]:
    return [{name: line[name] for name in line if "held_out" not in name} for line in logged if line["step"]]


@pytest.mark.parametrize("given", PATHS.values(), ids=PATHS)
def test_training_is_the_same_to_the_last_bit_with_looks_and_without(miniature, tmp_path, given):
    plain = miniature(**MOVING | given, eval_every=0, run_root=str(tmp_path / "plain"))
    seen = dataclasses.replace(plain, run_root=str(tmp_path / "seen"), eval_every=1)
    fresh = adapter(start(plain))
    expected, found = trained(plain), trained(seen)
    assert any(not torch.equal(value, fresh[name]) for name, value in expected.items()), "something was learned"
    assert all(torch.equal(value, found[name]) for name, value in expected.items())
    assert unseen(lines(seen)) == lines(plain)
    assert [line["step"] for line in lines(seen) if "held_out/accuracy" in line] == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("given", [{}, PATHS["dpo"], {"updates_per_batch": 2}], ids=["grpo", "dpo", "two updates"])
@pytest.mark.parametrize("lost, from_step", [(["checkpoint-4"], 2), (["checkpoint-4", "checkpoint-2"], 0)])
def test_a_resumed_run_has_the_curve_of_the_straight_one(miniature, given, lost, from_step):
    params = miniature(**MOVING | given, eval_every=3)
    expected, straight = trained(params), lines(params)
    for name in lost:  # as a kill in the last step, before or after the first checkpoint was whole
        number = int(name.split("-")[1]) * params.updates_per_batch
        (params.run_dir / "checkpoints" / f"checkpoint-{number}" / COMPLETE).unlink()
    shutil.rmtree(params.run_dir / "adapter")
    trainer = start(params)
    look = held_out_look(trainer.model, trainer.processing_class, select(params), params)
    assert train(trainer, params, look) == from_step
    assert all(torch.equal(value, expected[name]) for name, value in adapter(trainer).items())
    assert lines(params) == straight
    assert [line["step"] for line in straight if "held_out/accuracy" in line] == [0, 3, 4], "and at the last step"


def test_a_run_without_training_has_one_look(miniature):
    params = miniature(steps=0, eval_every=5)
    trained(params)
    (line,) = lines(params)
    assert line["step"] == 0 and set(line) == {"step", "held_out/accuracy", "held_out/faithful"}


def test_the_bar_shows_the_newest_look(miniature, capfd):
    params = miniature(eval_every=3)
    trained(params)
    assert f"held-out accuracy {lines(params)[-1]['held_out/accuracy']:.3f}" in capfd.readouterr().err


def test_looks_are_taken_on_a_gpu_and_change_nothing_there(gpu, miniature, tmp_path):
    given = MOVING | {"device": "cuda", "steps": 2, "eval_scenarios": 2, "source": "local_norms"}
    plain = miniature(**given, eval_every=0, run_root=str(tmp_path / "plain"))
    seen = dataclasses.replace(plain, run_root=str(tmp_path / "seen"), eval_every=1)
    expected, found = trained(plain), trained(seen)
    assert all(torch.equal(value.cpu(), found[name].cpu()) for name, value in expected.items())
    assert [line["step"] for line in lines(seen) if "held_out/accuracy" in line] == [0, 1, 2]
