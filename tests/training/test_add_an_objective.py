"""The example of docs/extend.md for an objective: one file, and everything knows it."""

import pytest
import torch
from extend import add_example, example
from training_runs import adapter, pay, start, tags_reward

from studylib.instruments import known_target
from studylib.names import OBJECTIVES
from studylib.params import RunParams
from studylib.training.idle import idle_message, shaping_is_idle
from studylib.training.train import train


@pytest.fixture(autouse=True)
def grpo_median(tmp_path, monkeypatch):
    add_example("objective", tmp_path, monkeypatch)


def test_an_objective_takes_one_file_of_at_most_15_lines():
    assert len(example("objective").splitlines()) <= 15 and "grpo_median" in OBJECTIVES


def test_an_added_objective_trains_on_its_own_advantages(miniature, monkeypatch):
    pay(monkeypatch, correct=tags_reward)
    params = miniature(objective="grpo_median", steps=2)
    trainer = start(params)
    fresh, steps = adapter(trainer), []
    answered = trainer._generate_and_score_completions
    monkeypatch.setattr(
        trainer, "_generate_and_score_completions", lambda rows: steps.append(answered(rows)) or steps[-1]
    )
    train(trainer, params)
    assert len(steps) == len((params.run_dir / "metrics.jsonl").read_text().splitlines()) == 2
    for answers in steps:
        groups = answers["rewards"].view(-1, 4)
        middle = groups.sort(1).values[:, 1:2]  # of an even number torch takes the lower one
        assert torch.equal(answers["advantages"], (groups - middle).flatten()) and answers["advantages"].any()
    assert any(not torch.equal(value, fresh[name]) for name, value in adapter(trainer).items())


def test_an_added_objective_is_a_parameter_and_reads_only_what_it_declares():
    assert RunParams.resolve({"objective": "grpo_median"}).objective == "grpo_median"
    with pytest.raises(ValueError, match="flow_beta = 3.0 .* because objective 'grpo_median' does not read it"):
        RunParams.resolve({"objective": "grpo_median", "flow_beta": 3.0})
    with pytest.raises(ValueError, match="did you mean grpo_median"):
        RunParams.resolve({"objective": "grpo_medain"})


def test_a_shaping_is_tried_with_the_advantages_of_an_added_objective():
    """PAR of two values only scales them, which a normalised advantage takes out again and a centred one does not."""
    assert not shaping_is_idle(RunParams(rewards="correct=1", shaping="par", objective="grpo_median"))
    assert idle_message(RunParams(rewards="correct=1", shaping="par", objective="grpo"))


def test_an_added_objective_stands_in_the_known_target():
    """Without a KL term it collapses onto the best answer."""
    assert "grpo_median" in known_target.losses() and "grpo_median" in known_target.maximising()
    policy = known_target.optimise("grpo_median")
    assert policy.argmax() == known_target.REWARDS.argmax() and policy.max().exp() > 0.9
