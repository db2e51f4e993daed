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
from studylib.policy.models import load_base, lora
from studylib.policy.precision import Precision
from studylib.training import config, supported
from studylib.training.config import grpo_config
from studylib.training.trainer import StudyTrainer

QUESTIONS = [f"Is it wrong to {deed}?" for deed in ("steal", "lie to a friend", "help", "break a promise to a child")]


def spread(completions, **columns):
    """A reward in which answers differ: of chats or of texts."""
    texts = [said if isinstance(said, str) else said[0]["content"] for said in completions]
    return [len(set(text)) / 10 for text in texts]


def chats(questions=QUESTIONS):
    return Dataset.from_list([{"prompt": [{"role": "user", "content": text}]} for text in questions])


def trainer_of(params: RunParams, rewards=spread, dataset=None, evaluated=None, callbacks=None, ends=None, **settings):
    """A trainer with the given settings of TRL's; with engine 'trl' it trains on the fast sampler's answers."""
    base, tokenizer = load_base(params)
    settings = {
        "optim": "sgd",
        "learning_rate": 1.0,
        "lr_scheduler_type": "constant",
        "warmup_steps": 0,
        "save_strategy": "no",
    } | settings
    args = grpo_config(params)
    for name, value in settings.items():
        setattr(args, name, value)
    trainer = StudyTrainer(
        model=base, processing_class=tokenizer, params=params, scenario_ids={}, args=args, reward_funcs=rewards,
        train_dataset=dataset or chats(), eval_dataset=evaluated, peft_config=lora(params), callbacks=callbacks,
    )  # fmt: skip
    trainer.eos_token_ids = ends or list(range(0, base.config.vocab_size, 8))  # answers end here and there
    if not trainer.fast:
        known = [row["prompt"] for data in (trainer.train_dataset, evaluated) if data for row in data]
        name = {tuple(trainer._tokenize_prompts([asked])[0][0]): text_of(asked) for asked in known}
        trainer._generate_single_turn = lambda ids, *more: (trainer.sample(ids, [name[tuple(i)] for i in ids]), None)
    return trainer


def text_of(prompt) -> str:
    return prompt if isinstance(prompt, str) else prompt[-1]["content"]


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
    small = {"steps": 2, "answers_per_step": 8, "micro_batch": 4, "objective": "grpo", "rewards": "correct=1"}
    return tuple(movement(miniature(engine=e, **small | (params or {})), **settings) for e in ("fast", "trl"))


def assert_alike(fast, trl, tolerance=2e-3):
    assert trl.norm() > 0, "nothing was learnt, so nothing is compared"
    assert (fast - trl).norm() / trl.norm() < tolerance


# --- the same training with both engines ---


@pytest.mark.parametrize(
    "settings",
    [
        {"loss_type": "grpo", "pad_to_multiple_of": 8},
        {"loss_type": "dr_grpo", "scale_rewards": "none"},
        {"loss_type": "dapo", "scale_rewards": "batch", "epsilon_high": 0.28},
        {"loss_type": "cispo", "epsilon_high": 5.0},
        {"loss_type": "sapo", "sapo_temperature_pos": 2.0},
        {"loss_type": "luspo", "importance_sampling_level": "sequence"},
        {"loss_type": "vespo"},
        {"num_iterations": 2, "delta": 1.1, "off_policy_mask_threshold": 0.01, "importance_sampling_level": "sequence"},
        {"mask_truncated_completions": True},
        {"mask_truncated_completions": True, "loss_type": "dapo", "num_iterations": 2},
    ],
    ids=str,
)
def test_a_setting_moves_the_adapter_as_plain_trl_does(miniature, settings):
    assert_alike(*both(miniature, **settings))


@pytest.mark.parametrize(
    "settings",
    [
        {"loss_type": "bnpo"},
        {"entropy_coef": 0.5, "loss_type": "dapo"},
        {"use_adaptive_entropy": True, "entropy_target": 10.0, "entropy_coef_delta": 0.1},
        {"top_entropy_quantile": 0.5},
    ],
    ids=str,
)
def test_a_term_of_a_whole_micro_batch_moves_the_adapter_as_plain_trl_does(miniature, settings):
    """In one micro-batch, since TRL deals the answers of a step to several at random."""
    assert_alike(*both(miniature, {"micro_batch": 8}, **settings))


def test_in_bfloat16_the_adapter_moves_as_plain_trl_moves_it(miniature, monkeypatch):
    small = {"steps": 1, "rollout_weights": "nf4"}  # one sampler, and no answer that rounding made another
    in_float32, _ = both(miniature, small)
    monkeypatch.setattr(config, "precision", lambda device: Precision(torch.bfloat16, "as on a GPU"))
    fast, trl = both(miniature, small)
    assert not torch.equal(fast, in_float32), "bfloat16 was not on"
    assert_alike(fast, trl, tolerance=0.03)


def flat(completions, **columns):
    """A reward from which nothing can be learnt."""
    return [1.0] * len(completions)


def test_the_entropy_bonus_moves_the_adapter_where_no_answer_is_better(miniature):
    fast, trl = both(miniature, {"micro_batch": 8}, rewards=flat, entropy_coef=0.5)
    assert_alike(fast, trl)


def test_a_step_whose_answers_are_all_cut_off_and_masked_moves_nothing(miniature):
    for moved in both(miniature, ends=[3], mask_truncated_completions=True):
        assert not moved.any()


@pytest.mark.parametrize("objective", ["ppo", "flowrl", "flowrl_raw", "vargrad", "gflowrl", "alpha_dpg"])
def test_answers_that_are_cut_off_and_masked_teach_no_objective_anything(miniature, objective):
    params = miniature(objective=objective, steps=1, rewards="correct=1", beta=0.05)
    trainer = trainer_of(params, ends=[3], mask_truncated_completions=True)
    heads = [p.detach().clone() for p in trainer.heads.parameters()]
    before = adapter(trainer)
    trainer.train()
    assert torch.equal(adapter(trainer), before)
    assert all(torch.equal(*pair) for pair in zip(heads, trainer.heads.parameters(), strict=True))


def test_prompts_that_are_texts_are_answered_and_trained_on(miniature):
    fast, trl = both(miniature, dataset=Dataset.from_list([{"prompt": text} for text in QUESTIONS]))
    assert_alike(fast, trl)


def twice(completions, **columns):
    return [2 * value for value in spread(completions)]


def sometimes(completions, **columns):
    """Scores every other answer alone."""
    return [None if i % 2 else value for i, value in enumerate(spread(completions))]


def test_two_rewards_are_weighed_and_an_answer_that_one_of_them_could_not_score_counts_nothing(miniature):
    small = {"steps": 1, "answers_per_step": 8, "micro_batch": 4, "generations": 4, "rewards": "correct=1 format=0.5"}
    fast, trl = both(miniature, small, rewards=[spread, twice])
    assert_alike(fast, trl)
    fast, trl = both(miniature, small, rewards=[spread, sometimes])
    assert_alike(fast, trl)
    alone, _ = both(miniature, small | {"rewards": "correct=1"}, rewards=[sometimes])
    assert fast.norm() > 0 and (fast / fast.norm() - alone / alone.norm()).norm() < 0.01


def test_a_reward_that_scores_nothing_teaches_nothing(miniature):
    for moved in both(miniature, rewards=lambda completions, **columns: [None] * len(completions)):
        assert not moved.any()


# --- evaluation during training ---


class Seen(TrainerCallback):
    """Counts what TRL's callbacks tell of, and keeps what is logged."""

    def __init__(self):
        self.steps, self.logs, self.evaluations = 0, [], 0

    def on_step_end(self, *args, **kwargs):
        self.steps += 1

    def on_log(self, args, state, control, logs=None, **kwargs):
        self.logs.append(dict(logs))

    def on_evaluate(self, *args, **kwargs):
        self.evaluations += 1


EVALUATION = {"eval_strategy": "steps", "eval_steps": 1, "per_device_eval_batch_size": 4}


@pytest.mark.parametrize("engine, g", [("fast", None), ("fast", 1), ("fast", 2), ("trl", 1)])
def test_evaluation_during_training_answers_as_often_as_asked_and_changes_nothing(miniature, engine, g):
    params = miniature(engine=engine, steps=2, rewards="correct=1")
    seen, asked = Seen(), []

    def counted(completions, prompts, **columns):
        asked.append(len({prompt[0]["content"] for prompt in prompts}))
        return spread(completions)

    evaluated = movement(
        params, rewards=counted, evaluated=chats(["Is it wrong to wait?", "May one be late?"]), callbacks=[seen],
        num_generations_eval=g, eval_on_start=True, **EVALUATION,
    )  # fmt: skip
    assert (seen.steps, seen.evaluations) == (2, 3)
    assert asked.count(min(2, 4 // (g or 4))) >= 3
    logged = [logs for logs in seen.logs if "eval_reward" in logs]
    assert len(logged) == 3 and all(0 < logs["eval_reward"] < 3 and "reward" not in logs for logs in logged)
    alone = movement(params, rewards=spread)
    assert (evaluated - alone).norm() / alone.norm() < 1e-4


@pytest.mark.parametrize(
    "given",
    [
        {"objective": "flowrl", "beta": 0.05},
        {"objective": "vargrad", "beta": 0.05},
        {"objective": "gflowrl", "beta": 0.05},
        {"objective": "alpha_dpg", "beta": 0.05},
        {"objective": "ppo", "beta": 0.05},
        {"objective": "rloo", "dynamic_sampling": 2},
        {"objective": "grpo", "rewards": "correct=1 format=1", "combination": "more"},
        {"objective": "grpo", "rewards": "correct=1 format=1", "combination": "lsc"},
    ],
    ids=str,
)
def test_every_objective_and_combination_can_be_evaluated_during_training(miniature, given):
    params, seen = miniature(**{"steps": 2, "rewards": "correct=1"} | given), Seen()
    rewards = [spread, twice] if "combination" in given else [spread]
    if given.get("combination") == "lsc":
        from studylib.training.mixing import mixed

        rewards.append(mixed)
    trainer = trainer_of(
        params, rewards=rewards, evaluated=chats(QUESTIONS[:2]), callbacks=[seen], num_generations_eval=2, **EVALUATION
    )
    trainer.train()
    told = [logs for logs in seen.logs if "eval_loss" in logs]
    assert len(told) == 2 and all(isinstance(logs["eval_reward"], float) for logs in told)
    assert not any(name.startswith("eval_lambda") for logs in told for name in logs)


# --- what is refused ---


FIELDS = {field.name: field for field in dataclasses.fields(GRPOConfig)}
LISTED = {
    *supported.HONOURED, *supported.OF_THE_PARAMETERS, *supported.OF_THE_LOSS, *supported.OF_THE_ADVANTAGES,
    *supported.OF_THE_STEP, *supported.OF_PLAIN_TRL, *supported.REFUSED,
}  # fmt: skip


class Untouched(torch.nn.Module):
    """A model of which nothing may be used but what its configuration says."""

    class config:
        num_experts = None

        @classmethod
        def get_text_config(cls):
            return cls

    def __call__(self, *args, **kwargs):
        raise AssertionError("the model was touched")


def refused(params: RunParams, **given) -> str:
    """The sentence with which a trainer is refused."""
    args = grpo_config(params)
    for name in [name for name in given if name in FIELDS]:
        setattr(args, name, given.pop(name))
    made = {
        "model": Untouched(), "processing_class": None, "params": params, "scenario_ids": {}, "args": args,
        "reward_funcs": [spread], "train_dataset": chats(),
    }  # fmt: skip
    with pytest.raises(ValueError) as error:
        StudyTrainer(**made | given)
    assert "\n" not in str(error.value)
    return str(error.value)


def test_every_field_that_trl_adds_is_listed_once():
    added = set(FIELDS) - {field.name for field in dataclasses.fields(TrainingArguments)}
    assert added == LISTED - {"per_device_train_batch_size", "gradient_accumulation_steps", "seed"}
    lists = (supported.HONOURED, supported.OF_THE_PARAMETERS, supported.OF_THE_LOSS, supported.OF_THE_ADVANTAGES)
    assert sum(map(len, (*lists, supported.OF_THE_STEP, supported.OF_PLAIN_TRL, supported.REFUSED))) == len(LISTED)


@pytest.mark.parametrize("name", [*supported.OF_PLAIN_TRL, *supported.REFUSED])
def test_a_setting_that_the_fast_engine_does_not_read_is_refused_by_name(miniature, name):
    found = refused(miniature(rewards="correct=1"), **{name: "something else"})
    assert found.startswith(f"GRPOConfig setting {name} = 'something else' is not allowed: ")


@pytest.mark.parametrize("name, value", [
    ("num_generations", 2), ("max_completion_length", 9), ("steps_per_generation", 4), ("temperature", 0.7),
    ("gradient_accumulation_steps", 4), ("per_device_train_batch_size", 2), ("beta", 0.1), ("seed", 7),
    ("reward_weights", [2.0]), ("multi_objective_aggregation", "normalize_then_sum"),
])  # fmt: skip
@pytest.mark.parametrize("engine", ["fast", "trl"])
def test_a_setting_that_disagrees_with_the_parameters_is_refused_by_name(miniature, engine, name, value):
    found = refused(miniature(rewards="correct=1", objective="grpo", engine=engine), **{name: value})
    assert found.startswith(f"GRPOConfig setting {name} = {value!r} is not allowed: the run's parameters say ")


@pytest.mark.parametrize("objective, name, value", [
    ("flowrl", "epsilon", 0.1), ("gflowrl", "loss_type", "dapo"), ("flowrl_released", "entropy_coef", 0.1),
    ("alpha_dpg", "scale_rewards", "none"),
    ("dpo", "delta", 2.0), ("rloo", "scale_rewards", "batch"), ("ppo", "scale_rewards", "none"),
])  # fmt: skip
def test_a_setting_that_the_objective_does_not_read_is_refused_by_name(miniature, objective, name, value):
    found = refused(miniature(rewards="correct=1", objective=objective, beta=0.05), **{name: value})
    assert found.startswith(f"GRPOConfig setting {name} = {value!r} is not allowed")
    assert found.endswith(f"objective {objective!r} reads no other")


@pytest.mark.parametrize("given, told", [
    ({"tools": [spread]}, "argument tools"),
    ({"rollout_func": spread}, "argument rollout_func"),
    ({"environment_factory": spread}, "argument environment_factory"),
    ({"reward_funcs": [spread, flat]}, "2 reward_funcs are not allowed: the run's parameters have weights for 1"),
    ({"args": None}, "argument args = None is not allowed"),
    ({"eval_dataset": Dataset.from_list([{"prompt": "?", "image": "a.png"}])}, "eval_dataset has the column 'image'"),
])  # fmt: skip
def test_an_argument_of_trls_trainer_that_would_be_ignored_is_refused_by_name(miniature, given, told):
    assert refused(miniature(rewards="correct=1"), **given).startswith(told)


def test_several_visible_gpus_are_refused_by_number(miniature):
    params = miniature(rewards="correct=1")
    args = grpo_config(params)
    args._n_gpu = 2
    assert refused(params, args=args) == "2 visible GPUs are not supported: set CUDA_VISIBLE_DEVICES to one of them"
