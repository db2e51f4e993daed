"""The run's parameters in TRL's words, and the learning rate of every step."""

from functools import partial

import torch
from trl import GRPOConfig
from trl.rewards import get_soft_overlong_punishment

from studylib import processes
from studylib.names import OBJECTIVES
from studylib.params import RunParams
from studylib.policy.precision import precision
from studylib.training import mixing


def grpo_config(params: RunParams, **more) -> GRPOConfig:
    """The run's parameters in TRL's words, with the objective's entries on top; `more` goes to TRL as it is."""
    updates = params.updates_per_batch
    steps = params.answers_per_step // params.rows_per_pass
    by_column = params.combination == "normalise_then_sum"
    config = {
        "loss_type": "grpo",
        "scale_rewards": "group",
        "reward_weights": mixing.trl_weights(params),
        "multi_objective_aggregation": "normalize_then_sum" if by_column else "sum_then_normalize",
        "beta": params.beta,
        # Without the importance ratio the gradient of k3 is that of the reverse KL: `instruments/known_target.py`.
        "use_bias_correction_kl": params.beta > 0,
        "num_generations": params.generations,
        "per_device_train_batch_size": params.rows_per_pass,
        "gradient_accumulation_steps": steps // updates,
        "steps_per_generation": steps,
        "max_completion_length": params.max_new_tokens,
        "temperature": params.temperature,
    }
    return GRPOConfig(
        **(config | OBJECTIVES.of(params.objective).trl),
        **shared_config(params),
        max_steps=max(params.steps, 1) * updates,  # 0 would mean "by epochs"; with no steps nothing is trained
        shuffle_dataset=False,
        **more,
    )


def shared_config(params: RunParams) -> dict:
    """Settings of transformers' TrainingArguments that GRPO and DPO have in common."""
    dtype, updates = precision(params.device).dtype, params.updates_per_batch
    return {
        "output_dir": str(params.run_dir / "checkpoints"), "seed": params.seed, "report_to": [], "disable_tqdm": True,
        "learning_rate": params.learning_rate, "lr_scheduler_type": "linear", "adam_beta2": 0.99,
        "warmup_steps": min(5, params.steps // 2) * updates, "max_grad_norm": params.max_grad_norm,
        "use_cpu": params.device == "cpu", "bf16": dtype == torch.bfloat16, "fp16": dtype == torch.float16,
        "gradient_checkpointing": params.gradient_checkpointing, "logging_steps": updates,
        "save_strategy": "steps" if processes.is_first() else "no", "save_steps": params.save_every * updates,
        "save_total_limit": 2,
    }  # fmt: skip


def overlong(params: RunParams) -> list:
    """DAPO's soft punishment of answers that are nearly or quite too long, as TRL has it; arXiv 2503.14476, eq. 13."""
    ramp = params.overlong_ramp
    return [get_soft_overlong_punishment(params.max_new_tokens, ramp)] if ramp else []


def linear_rate(step: int, warmup: int, steps: int) -> float:
    """Share of the peak learning rate in `step` = 0, 1, ...: up in `warmup` steps, of which none has rate 0, and down.

    transformers' linear warm-up gives the first step a rate of 0, so that its answers teach nothing.
    """
    return min((step + 1) / (warmup + 1), max(0, steps - step) / max(1, steps - warmup))


class LinearRate:
    """A trainer of transformers whose linear schedule begins above 0."""

    def create_scheduler(self, num_training_steps, optimizer=None):
        if self.lr_scheduler is None and self.args.lr_scheduler_type == "linear":
            rate = partial(linear_rate, warmup=self.args.get_warmup_steps(num_training_steps), steps=num_training_steps)
            self.lr_scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer or self.optimizer, rate)
            self._created_lr_scheduler = True
        return super().create_scheduler(num_training_steps, optimizer)
