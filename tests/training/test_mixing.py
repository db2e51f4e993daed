"""Rewards in the trainer: what TRL is shown, shaped totals, rewards that cannot be scored, and MORE's weights."""

import json

import numpy as np
import pytest
import torch
from training_runs import adapter, pay, start, tags_reward

from studylib.params import RunParams
from studylib.rewards.correct import format
from studylib.rewards.groups import normalised
from studylib.rewards.shaping import total
from studylib.training import mixing
from studylib.training.preferences import best_and_worst
from studylib.training.train import train

NAN = float("nan")


def opposite(response, scenario):
    return -tags_reward(response, scenario)


def play(monkeypatch, second=format):
    pay(monkeypatch, correct=tags_reward, format=second)


def advantages_of(trainer, params):
    seen = []
    score = trainer._generate_and_score_completions
    trainer._generate_and_score_completions = lambda inputs: seen.append(score(inputs)) or seen[-1]
    train(trainer, params)
    return seen[0]["advantages"]


def test_by_default_trl_sees_the_rewards_as_they_are():
    params = RunParams(rewards="correct=1 format=0.1", overlong_cache=0.2)
    assert mixing.trl_weights(params) == [1.0, 0.1, 1.0] and not mixing.has_mixture(params)
    r = torch.rand(8, 3)
    assert torch.equal(mixing.with_mixture(r, params), r)


def test_an_answer_of_which_a_trained_reward_is_missing_is_left_out_as_a_whole():
    params = RunParams(rewards="correct=1 rubric=1 format=0")
    r = torch.tensor([[1.0, 1.0, 1.0], [1.0, NAN, 1.0], [0.0, 1.0, NAN], [0.0, 0.0, 0.0]])
    found = mixing.with_mixture(r, params)
    assert found.isnan().any(1).tolist() == [False, True, True, False] and found[1].isnan().all()
    assert found[2, :2].tolist() == [0.0, 1.0], "format is not trained on"


@pytest.mark.parametrize("how", [{"shaping": "par"}, {"combination": "lsc"}])
def test_a_mixture_is_a_column_of_its_own(how):
    params = RunParams(rewards="correct=1 rubric=0.5", **how)
    assert mixing.trl_weights(params) == [0.0, 0.0, 1.0]
    r = torch.rand(8, 3)
    found = mixing.with_mixture(r.clone(), params)
    expected = total(r[:, :2].double().numpy(), np.array([1.0, 0.5]), 4, params.shaping, params.combination)
    assert torch.equal(found[:, :2], r[:, :2]) and found[:, 2].numpy() == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("how", [{"shaping": "par"}, {"combination": "lsc"}, {"combination": "normalise_then_sum"}])
def test_a_run_trains_on_the_shaped_total_and_logs_the_rewards_as_they_are(miniature, monkeypatch, how):
    play(monkeypatch)
    params = miniature(rewards="correct=1 format=1", **how)
    trainer = start(params)
    seen = []
    monkeypatch.setattr(trainer, "_calculate_rewards", spy(trainer._calculate_rewards, seen))
    found = advantages_of(trainer, params)
    r = seen[0][:, :2].double().numpy()
    whole = total(r, np.ones(2), 4, params.shaping, params.combination)
    if params.combination == "normalise_then_sum":
        expected = whole / max(float(np.std(whole, ddof=1)), 1e-9)
    else:
        expected = normalised(whole, 4)
    assert found.numpy() == pytest.approx(expected, abs=0.05)  # TRL's epsilon
    line = json.loads((params.run_dir / "metrics.jsonl").read_text().splitlines()[0])
    assert line["rewards/correct/mean"] == pytest.approx(r[:, 0].mean(), abs=1e-4)


def spy(function, seen):
    def called(*args, **kwargs):
        seen.append(function(*args, **kwargs))
        return seen[-1]

    return called


def test_more_weighs_two_opposite_rewards_alike_and_stands_still(miniature, monkeypatch):
    play(monkeypatch, opposite)
    params = miniature(rewards="correct=1 format=1", combination="more", learning_rate=0.1, max_grad_norm=1.0)
    trainer = start(params)
    before = adapter(trainer)
    train(trainer, params)
    line = json.loads((params.run_dir / "metrics.jsonl").read_text().splitlines()[0])
    assert (line["lambda/correct"], line["lambda/format"]) == pytest.approx((0.5, 0.5), abs=1e-3)
    assert all(torch.allclose(value, before[name], atol=1e-4) for name, value in adapter(trainer).items())


def test_more_with_one_reward_is_grpo_and_a_reward_without_differences_gets_no_weight(miniature, monkeypatch, tmp_path):
    play(monkeypatch, lambda response, scenario: 0.5)
    common = {"learning_rate": 0.01, "max_grad_norm": 1.0, "steps": 2}
    ends, worth = [], []
    for root, given in (
        ("more", {"rewards": "correct=1 format=1", "combination": "more"}),
        ("sum", {"rewards": "correct=1"}),
    ):
        params = miniature(run_root=str(tmp_path / root), **common, **given)
        trainer = start(params)
        before = adapter(trainer)
        worth.append(advantages_of(trainer, params))
        ends.append(torch.cat([(p - before[name]).flatten() for name, p in adapter(trainer).items()]))
    assert torch.allclose(*worth, atol=2e-2) and worth[0].any(), "TRL adds an epsilon to the standard deviation"
    assert torch.cosine_similarity(*ends, dim=0) > 0.99


def test_the_gradients_that_more_weighs_are_linear_in_the_advantages(miniature, monkeypatch):
    play(monkeypatch)
    params = miniature(steps=1)
    trainer = start(params)
    seen = []
    monkeypatch.setattr(trainer, "_generate_and_score_completions", spy(trainer._generate_and_score_completions, seen))
    train(trainer, params)
    a = torch.randn(8, 2, generator=torch.Generator().manual_seed(0))
    both = torch.cat([a, a.sum(1, keepdim=True)], 1)
    one, other, together = mixing.policy_gradients(trainer, seen[0], both)
    assert together == pytest.approx(one + other, abs=1e-6) and np.abs(together).max() > 1e-5


def test_a_run_says_when_its_shaping_cannot_do_anything(miniature, capsys):
    start(miniature(rewards="correct=1", shaping="tanh"))
    assert "note: shaping 'tanh' cannot change the gradient here" in capsys.readouterr().out
    start(miniature())
    assert "note:" not in capsys.readouterr().out


def test_pairs_leave_out_answers_that_could_not_be_scored():
    assert best_and_worst([NAN, 1.0, 0.0, NAN, NAN, NAN, NAN, 2.0], 4) == [(1, 2)]
