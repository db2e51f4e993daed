"""An objective is added in one file: a name, TRL's entries and what an answer is worth, and everything knows it."""

import importlib.util

import pytest
import torch
from training_runs import adapter, pay, start, tags_reward

from studylib.instruments import known_target
from studylib.names import OBJECTIVES
from studylib.params import RunParams
from studylib.training.idle import idle_message, shaping_is_idle
from studylib.training.train import train

ONE_FILE = '''
"""Dr. GRPO with a median baseline: r minus the median of its group, which one extreme answer does not move."""

from studylib.names import OBJECTIVES, Objective


def median_centred(r, g):
    groups = r.view(-1, g)
    return (groups - groups.nanmedian(1, keepdim=True).values).nan_to_num().flatten()


OBJECTIVES.add(Objective("median", {"loss_type": "dr_grpo", "scale_rewards": "none"}, median_centred))
'''


@pytest.fixture
def median(tmp_path, monkeypatch):
    """The objective, registered as by a module of the reader's own; it is gone when the test ends."""
    monkeypatch.setattr(OBJECTIVES, "_records", dict(OBJECTIVES))
    (tmp_path / "median.py").write_text(ONE_FILE)
    spec = importlib.util.spec_from_file_location("median", tmp_path / "median.py")
    spec.loader.exec_module(importlib.util.module_from_spec(spec))
    return OBJECTIVES["median"]


def test_an_objective_takes_one_file_of_at_most_15_lines():
    assert len(ONE_FILE.strip().splitlines()) <= 15


def test_an_added_objective_trains_on_its_own_advantages(median, miniature, monkeypatch):
    pay(monkeypatch, correct=tags_reward)
    params = miniature(objective="median", steps=2)
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


def test_an_added_objective_is_a_parameter_and_reads_only_what_it_declares(median):
    assert RunParams.resolve({"objective": "median"}).objective == "median"
    with pytest.raises(ValueError, match="flow_beta = 3.0 .* because objective 'median' does not read it"):
        RunParams.resolve({"objective": "median", "flow_beta": 3.0})
    with pytest.raises(ValueError, match="did you mean median"):
        RunParams.resolve({"objective": "medain"})


def test_a_shaping_is_tried_with_the_advantages_of_an_added_objective(median):
    """PAR of two values only scales them, which a normalised advantage takes out again and a centred one does not."""
    assert not shaping_is_idle(RunParams(rewards="correct=1", shaping="par", objective="median"))
    assert idle_message(RunParams(rewards="correct=1", shaping="par", objective="grpo"))


def test_an_added_objective_stands_in_the_known_target(median):
    """Without a KL term it collapses onto the best answer."""
    assert "median" in known_target.losses() and "median" in known_target.maximising()
    policy = known_target.optimise("median")
    assert policy.argmax() == known_target.REWARDS.argmax() and policy.max().exp() > 0.9
