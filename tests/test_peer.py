"""What TRL's trainer does with its settings, the study's does too, with either engine, or refuses by one sentence.

Both engines train on the same answers: those of the fast sampler, which plain TRL is given in place of its own.
"""

import dataclasses

import pytest
import torch
from datasets import Dataset
from transformers import TrainerCallback, TrainingArguments
from trl import GRPOConfig

from studylib.params import RunParams
from studylib.text.tokens import prompt_tokens
from studylib.training import supported
from studylib.training.models import load_base, lora
from studylib.training.trainer import StudyTrainer, grpo_config, prepare

QUESTIONS = [f"Is it wrong to {deed}?" for deed in ("steal", "lie to a friend", "help", "break a promise to a child")]


def spread(completions, **columns):
    """A reward in which answers differ: of chats or of texts."""
    texts = [said if isinstance(said, str) else said[0]["content"] for said in completions]
    return [len(set(text)) / 10 for text in texts]


def chats(questions=QUESTIONS):
    return Dataset.from_list([{"prompt": [{"role": "user", "content": text}]} for text in questions])


def trainer_of(params: RunParams, rewards=spread, dataset=None, evaluated=None, callbacks=None, model=None, **settings):
    """A trainer with the given settings of TRL's; with engine 'trl' it trains on the fast sampler's answers."""
    base, tokenizer = load_base(params)
    settings = {"optim": "sgd", "learning_rate": 1.0, "lr_scheduler_type": "constant", "warmup_steps": 0} | settings
    args = grpo_config(params)
    for name, value in settings.items():
        setattr(args, name, value)
    trainer = StudyTrainer(
        model=base, processing_class=tokenizer, params=params, scenario_ids={}, args=args, reward_funcs=rewards,
        train_dataset=dataset or chats(), eval_dataset=evaluated, peft_config=lora(params), callbacks=callbacks,
    )  # fmt: skip
    if not trainer.fast:
        known = [row["prompt"] for data in (trainer.train_dataset, evaluated) if data for row in data]
        name = {tuple(prompt_tokens(tokenizer, [chat])[0]): chat[-1]["content"] for chat in known}
        trainer._generate_single_turn = lambda ids, *more: (trainer.sample(ids, [name[tuple(i)] for i in ids]), None)
    return trainer


def adapter(trainer) -> torch.Tensor:
    return torch.cat([p.detach().flatten() for p in trainer.model.parameters() if p.requires_grad])


def movement(params: RunParams, **settings) -> torch.Tensor:
    """How far a training moves the adapter."""
    trainer = trainer_of(params, **settings)
    before = adapter(trainer)
    trainer.train()
    return adapter(trainer) - before


def both(miniature, params=None, **settings) -> tuple[torch.Tensor, torch.Tensor]:
    """The movement with each engine, of two steps."""
    small = {"steps": 2, "answers_per_step": 8, "micro_batch": 4, "objective": "grpo", "rewards": "verdict=1"}
    return tuple(movement(miniature(engine=e, **small | (params or {})), **settings) for e in ("fast", "trl"))


def assert_alike(fast, trl, tolerance=2e-3):
    assert trl.norm() > 0, "nothing was learnt, so nothing is compared"
    assert (fast - trl).norm() / trl.norm() < tolerance


# --- the same training with both engines ---


@pytest.mark.parametrize(
    "settings",
    [
        {"loss_type": "grpo"},
        {"loss_type": "bnpo"},
        {"loss_type": "dr_grpo"},
        {"loss_type": "dapo"},
        {"loss_type": "cispo", "epsilon_high": 5.0},
        {"loss_type": "sapo"},
        {"loss_type": "luspo", "importance_sampling_level": "sequence"},
        {"loss_type": "vespo"},
        {"importance_sampling_level": "sequence"},
        {"num_iterations": 2},
        {"num_iterations": 2, "delta": 1.5, "loss_type": "dapo"},
        {"off_policy_mask_threshold": 0.5, "num_iterations": 2},
        {"scale_rewards": "none"},
        {"scale_rewards": "batch"},
        {"pad_to_multiple_of": 8},
        {"entropy_coef": 0.05},
        {"entropy_coef": 0.05, "loss_type": "dapo"},
        {"use_adaptive_entropy": True, "entropy_target": 10.0, "entropy_coef_delta": 0.1},
        {"top_entropy_quantile": 0.5},
    ],
    ids=str,
)
def test_a_setting_moves_the_adapter_as_plain_trl_does(miniature, settings):
    assert_alike(*both(miniature, **settings))
