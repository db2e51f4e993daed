"""The held-out curve: whose answers are read, what they score, and where there is none."""

import dataclasses
import random

import numpy as np
import pytest
import torch
from training_runs import start, tags_reward

from studylib.evaluation import curve
from studylib.evaluation.answers import respond
from studylib.evaluation.curve import SAMPLES, SCENARIOS, held_out_look, looked_at, shares
from studylib.policy.sampling import NoToken
from studylib.rewards.faithful import faithful
from studylib.scenarios.selection import select


def made(params):
    splits, trainer = select(params), start(params)
    return trainer, splits, held_out_look(trainer.model, trainer.processing_class, splits, params)


@pytest.mark.parametrize("world", ["local_norms", "universal_norms"])
def test_the_same_scenarios_are_looked_at_in_every_condition_and_seed(miniature, world):
    splits = select(miniature(source=world, eval_scenarios=80))
    chosen = looked_at(splits)
    assert chosen == splits["held_out_domains"][:SCENARIOS] and len(chosen) == SCENARIOS
    for given in ({"condition": "narrow"}, {"seed": 7}, {"objective": "dpo", "beta": 0.1, "generations": 2}):
        assert looked_at(select(miniature(source=world, eval_scenarios=80, **given))) == chosen
    assert {row["answer"] for row in chosen} == set(chosen[0]["options"]), "no constant answer is always right"


def test_a_real_source_is_looked_at_on_its_held_out_split(miniature, data_dir):
    real = {"axis": "real", "condition": "grpo", "source": "ethics_justice"}
    params = miniature(**real, data_dir=data_dir, eval_every=2)
    _, splits, look = made(params)
    assert looked_at(splits) == splits["held_out"][:SCENARIOS]
    assert set(look(0)) == {"held_out/accuracy"}, "nothing is known there of reasons"


def test_there_are_no_looks_where_none_are_asked_for_and_none_at_open_responses(miniature, monkeypatch):
    params = miniature(eval_every=0)
    trainer, splits, look = made(params)
    assert look is None
    asked = dataclasses.replace(params, eval_every=1)
    open_ones = {name: [row | {"answer": None, "options": None} for row in rows] for name, rows in splits.items()}
    assert held_out_look(trainer.model, trainer.processing_class, open_ones, asked) is None
    assert held_out_look(trainer.model, trainer.processing_class, {"train": splits["train"]}, asked) is None
    assert held_out_look(trainer.model, trainer.processing_class, splits, asked)(0).keys() == {
        "held_out/accuracy", "held_out/faithful",
    }  # fmt: skip


@pytest.mark.parametrize("how", [{"few_shot": 2}, {"instruction": -1}])
def test_an_untrained_model_that_is_asked_in_another_way_has_no_curve(miniature, how):
    """A look would ask it as those are asked that are trained."""
    params = miniature(objective="base", steps=0, model="some/model", revision="x", eval_every=1, **how)
    assert held_out_look(None, None, select(params), params) is None


def test_scripted_answerers_score_what_they_are_known_to(miniature):
    rows = looked_at(select(miniature(eval_scenarios=32)))
    right = [f"<think>So.</think><answer>{row['answer']}</answer>" for row in rows]
    wrong = [f"<think>So.</think><answer>{other_option(row)}</answer>" for row in rows]
    twice = [one + one for one in right]
    assert shares(right, rows) == {"held_out/accuracy": 1.0, "held_out/faithful": 0.0}, "reasons that say nothing"
    assert shares(wrong, rows)["held_out/accuracy"] == shares(twice, rows)["held_out/accuracy"] == 0.0
    assert shares(right[:8] + wrong[8:], rows)["held_out/accuracy"] == 8 / SCENARIOS
    assert shares(["guilty."] * SCENARIOS, rows) == {"held_out/accuracy": 0.0, "held_out/faithful": 0.0}


def other_option(row: dict) -> str:
    return next(option for option in row["options"] if option != row["answer"])


def test_a_look_is_the_mean_over_the_samples_that_evaluation_would_draw(miniature, monkeypatch):
    """Of the policy as it then is: the answers of another path, one prompt at a time."""
    monkeypatch.setattr(curve, "correct", tags_reward)  # what an untrained policy's answers differ in
    params = miniature(eval_every=1, eval_samples=SAMPLES, eval_scenarios=6)
    trainer, splits, look = made(params)
    for seed_of_weights in (0, 1):
        torch.manual_seed(seed_of_weights)
        for name, p in trainer.model.named_parameters():
            if "lora_B" in name:
                p.data.normal_(std=0.02)
        one_by_one = dataclasses.replace(params, rollout_batch=1)
        arguments = trainer.processing_class, looked_at(splits), one_by_one, params.seed, "held_out_curve"
        sampled = respond(trainer.model, *arguments).query("k > 0")
        rows = {row["id"]: row for row in splits["held_out_domains"]}
        by_hand = [(tags_reward(a.response, {}), faithful(a.response, rows[a.id])) for a in sampled.itertuples()]
        seen = look(0)
        assert list(seen.values()) == pytest.approx(np.mean(by_hand, axis=0).tolist(), abs=1e-12)
        assert seen["held_out/accuracy"] > 0 and len(by_hand) == 6 * SAMPLES


@pytest.mark.parametrize("engine", ["fast", "trl"])
def test_a_look_changes_no_random_number_no_weight_no_gradient_and_no_measure(miniature, engine):
    params = miniature(eval_every=1, engine=engine)
    trainer, _, look = made(params)
    before = state(trainer)
    assert look(0) == look(0), "the same policy has the same answers"
    after = state(trainer)
    assert before.keys() == after.keys()
    assert all(torch.equal(value, after[name]) for name, value in before.items())


def state(trainer) -> dict[str, torch.Tensor]:
    found = {name: p.detach().clone() for name, p in trainer.model.named_parameters()}
    found |= {f"grad of {name}": p.grad.clone() for name, p in trainer.model.named_parameters() if p.grad is not None}
    numbers = {
        "torch": torch.get_rng_state(), "python": torch.tensor(random.getstate()[1]),
        "generated": torch.tensor(trainer.generated),
        "measures": torch.tensor(sum(map(len, trainer._metrics["train"].values()))),
    }  # fmt: skip
    return found | numbers


def test_a_policy_that_cannot_answer_is_named_with_its_step(miniature):
    trainer, _, look = made(miniature(eval_every=1))
    for name, p in trainer.model.named_parameters():
        if "lora_B" in name:
            p.data.fill_(torch.nan)
    with pytest.raises(NoToken, match="held-out answers after step 3: "):
        look(3)
