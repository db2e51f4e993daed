"""What runs on a GPU, run on the pretended one: every objective, combination and profile, from policy to resume."""

import shutil

import pytest
import torch
from pretended_gpu import OnCard
from test_training import adapter, start, tags_reward

from studylib.evaluation.suites import evaluate
from studylib.params import NEED_REFERENCE, RunParams
from studylib.rewards.verdict import format
from studylib.scenarios.selection import select
from studylib.training import tiny
from studylib.training.objectives import OBJECTIVES
from studylib.training.trainer import COMPLETE, newest_checkpoint, train


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(autouse=True)
def one_layer(cache, monkeypatch):
    """The tiny model with one layer, in a cache of its own: half the operations."""
    monkeypatch.setitem(tiny.SHAPE, "num_hidden_layers", 1)
    monkeypatch.setattr("studylib.training.warm_start.CACHE", cache)
    monkeypatch.setattr("studylib.evaluation.suites.CACHE", cache)


SMALLEST = {  # three steps, of which the last comes again after a resume
    "device": "cuda", "steps": 3, "save_every": 2, "eval_scenarios": 2, "eval_samples": 1, "learning_rate": 0.01,
    "max_grad_norm": 1.0, "max_new_tokens": 4, "micro_batch": 8,
}  # fmt: skip


@pytest.fixture
def differing(monkeypatch):
    """Rewards that untrained answers differ in."""
    rewards = {"verdict": (tags_reward, ()), "format": (lambda response, row: len(response) / 100, ())}
    monkeypatch.setattr("studylib.rewards.REWARDS", rewards | {"read": (format, ("options",))})


def run_and_resume(params: RunParams):
    """Evaluation, three steps, evaluation; then the last step again from the checkpoint before it."""
    splits, trainer = select(params), start(params)
    assert all(isinstance(p, OnCard) for p in trainer.model.parameters()), "the policy is on the GPU"
    fresh = {name: p.cpu() for name, p in adapter(trainer).items()}
    per_split = params.eval_scenarios * (1 + params.eval_samples)
    assert len(evaluate(trainer.model, trainer.processing_class, splits, params, "before")) == 3 * per_split
    assert train(trainer, params) == 0
    assert len(evaluate(trainer.model, trainer.processing_class, splits, params, "after")) == 3 * per_split
    ended = {name: p.cpu() for name, p in adapter(trainer).items()}
    if not params.steps:
        return fresh, ended
    newest = newest_checkpoint(params.run_dir / "checkpoints")
    (newest / COMPLETE).unlink()
    shutil.rmtree(params.run_dir / "adapter")
    again = start(params)
    assert 0 < train(again, params) < params.steps
    for name, p in adapter(again).items():
        assert torch.equal(p.cpu(), ended[name]), f"{name} after a resume"
    return fresh, ended


def moved(fresh, ended) -> bool:
    assert all(torch.isfinite(p).all() for p in ended.values())
    return any(not torch.equal(p, ended[name]) for name, p in fresh.items())


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_an_objective_takes_steps_evaluations_and_a_resume(gpu, miniature, differing, objective):
    given = {"beta": 0.1 * (objective in NEED_REFERENCE)}
    given |= {"base": {"steps": 0}, "dpo": {"generations": 2}}.get(objective, {})  # DPO: a pair of every two answers
    params = miniature(**SMALLEST | given, objective=objective)
    assert moved(*run_and_resume(params)) == (objective != "base")
