"""GRPO on scenarios. The only file that touches TRL beyond its public names."""

import contextlib
import json
import logging
import math
import os
import time
from collections import Counter
from functools import partial
from pathlib import Path

import torch
from datasets import Dataset
from transformers import PrinterCallback, ProgressCallback, TrainerCallback

os.environ["TRL_EXPERIMENTAL_SILENCE"] = "1"  # our sampling goes through its experimental hook, `rollout_func`

from trl import DPOTrainer, GRPOConfig, GRPOTrainer
from trl.rewards import get_soft_overlong_punishment

from studylib.names import OBJECTIVES
from studylib.params import RunParams
from studylib.policy.models import (
    check_gradients,
    give_large_tensors_back,
    load_policy,
    lora,
    precision,
    require_device,
    require_positions,
)
from studylib.policy.rollout import NoToken, Sampling, dense_copy, rollout, use_dense_copy
from studylib.policy.scoring import Scores, scores_in_passes, shared_prompt_scores, why_not
from studylib.randomness import generator, torch_seed
from studylib.rewards import Grader, batch_reward
from studylib.runs.folder import is_complete
from studylib.scenarios.prompts import chat
from studylib.text.readable import shares, told
from studylib.text.tokens import answer_texts, cut_off, prompt_tokens
from studylib.training import mixing, objectives
from studylib.training.batches import MEAN_OVER_ROWS, SUM_OVER_STEP, idle_groups, micro_batches, refill
from studylib.training.heads import make_heads
from studylib.training.idle import idle_message
from studylib.training.preferences import dpo_trainer, sample_pairs
from studylib.training.supported import require_one_process, require_supported

logger = logging.getLogger(__name__)

COMPLETE = "complete"  # file in a checkpoint, written after all others; holds the name of the objective
HEADS = "heads.pt"  # value head or log Z head in a checkpoint
MORE = "more.pt"  # moving average of the gradients that MORE weighs
MEASURE_EVERY = 10  # steps between measurements of entropy, KL and the sampler's mismatch over all answers
IDLE_STEPS = 5  # steps in a row without anything to learn from, after which a run says so
SAMPLED = "sampling_per_token_logps"  # TRL's name for the log-probabilities that the sampler drew with
STAGES = {  # stage of a step -> TRL's method that does it
    "generate": "_generate",
    "reward": "_calculate_rewards",
    "score": "_get_per_token_logps_and_entropies",
}


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


class PairTrainer(LinearRate, DPOTrainer):
    """TRL's DPO on pairs of token ids as they were sampled: a chat template could write an answer in another way."""

    def _prepare_dataset(self, dataset, *args, **kwargs):
        return dataset


class StudyTrainer(LinearRate, GRPOTrainer):
    """TRL's trainer with these differences from GRPO as published (arXiv 2402.03300):

    1. One update per batch of answers by default (`updates_per_batch`), so the ratio is 1 and its clip does not bind.
    2. The KL term is off unless `beta` > 0; the reference is the policy with its adapter switched off. The term is
       corrected by the importance ratio, without which its optimum is another (`claims/known_target.py`).
    3. LoRA weights stay in fp32: TRL 1.16 casts them to bf16 on every quantised model, where an update smaller than
       1/256 of a weight is lost, and where fp16 scaling on a T4 fails.
    4. Scenarios come in the order of the selection, each once: TRL's own shuffle is off.
    5. What a policy wrote is read as evaluation reads it (`text/tokens.py`); TRL drops special tokens and does not know
       of tags that a template opens in the prompt.
    6. The first step has a learning rate above 0.
    7. An answer that one of several rewards with a weight could not score counts nothing; TRL sums the others.
    8. Evaluation during training (`eval_dataset`) keeps the layers in train() mode (`models.py` says why), has random
       numbers of its own, and neither draws refills nor weighs rewards by their gradients.

    Other objectives replace the advantages, add a head or compute their own loss; `objectives.py` says which. With
    `engine: fast` every prompt is encoded once for all its answers, in sampling and in training, and answers whose
    advantage is 0 are left out of the micro-batches; the gradient is the same (tests/training/test_fast_path.py). With
    `engine: trl` all of that is TRL's own.
    """

    def __init__(self, *args, params: RunParams, scenario_ids: dict[str, str], **kwargs):
        reason = why_not(kwargs["model"]) if params.engine == "fast" else "engine = 'trl'"
        require_supported(grpo_config(params), params, not reason, kwargs)
        if params.engine == "fast" and reason:
            logger.warning("prompts are not shared in training, because %s", reason)
        self.fast, self.params, self.scenario_ids, self.dense = not reason, params, scenario_ids, None
        self.objective, self.attempt, self.generated = OBJECTIVES[params.objective], 0, 0
        self.problems = shares([])  # of reading the last step's answers
        self.drawn: list | None = None  # log-probabilities of the sampler
        self.more = mixing.More() if params.combination == "more" else None
        if reason and self.objective.kind != "policy":
            raise ValueError(f"objective {params.objective!r} needs shared prompts: {reason}")
        super().__init__(*args, rollout_func=_rollout if self.fast else None, **kwargs)
        for parameter in self.model.parameters():
            if parameter.requires_grad:
                parameter.data = parameter.data.float()
        size = self.model.config.get_text_config().hidden_size
        with torch_seed(params.seed, "training/heads"):
            self.heads = make_heads(self.objective.heads, size, self.model.device)
        if self.fast and params.device == "cpu":
            give_large_tensors_back()
        if self.fast and use_dense_copy(params, self.model):
            self.dense = dense_copy(self.model)

    def create_optimizer(self, *args, **kwargs):
        optimizer = super().create_optimizer(*args, **kwargs)
        if len(self.heads):
            rate = self.params.head_learning_rate
            optimizer.add_param_group({"params": list(self.heads.parameters()), "lr": rate, "weight_decay": 0.0})
        return optimizer

    # --- answers ---

    def _tokenize_prompts(self, prompts):
        return (prompt_tokens(self.processing_class, prompts), None, {}) if _chats(prompts) else (
            super()._tokenize_prompts(prompts)
        )  # fmt: skip

    def _generate(self, prompts):
        """TRL's; the text of an answer is what `answer_texts` reads."""
        prompt_ids, answers, tools, said, *rest = super()._generate(prompts)
        if not self.tools:
            said = answer_texts(self.processing_class, prompt_ids, answers, self.eos_token_ids)
            said = [[{"role": "assistant", "content": text}] for text in said] if _chats(prompts) else said
        return prompt_ids, answers, tools, said, *rest

    def sample(self, prompts: list[list[int]], ids: list[str]) -> list[list[int]]:
        """One answer to each prompt (token ids); the k-th answer to a scenario in a step has its own random stream.

        `drawn` gets the log-probability with which each token was drawn, in steps that are measured.
        """
        self.drawn = [] if self.measuring and self.model.training else None
        seen, keys, purpose = Counter(), [], f"refill{self.attempt}" if self.attempt else self._mode
        for scenario in ids:
            keys.append((self.params.seed, purpose, self.state.global_step, scenario, seen[scenario]))
            seen[scenario] += 1
        p = self.params
        sampling = Sampling(p.max_new_tokens, tuple(self.eos_token_ids), p.temperature)
        model = self.dense.refresh() if self.dense else self.model
        pad, training = self.processing_class.pad_token_id, self.model.training
        try:
            answers = rollout(model, prompts, keys, sampling, pad, p.rollout_batch, p.rollout_compile, self.drawn)
        except NoToken as error:
            raise NoToken(f"after {self.state.global_step} optimiser steps, {error}") from None
        self.model.training = training  # TRL reads here whether it evaluates, and sampling is always in train() mode
        self.generated += sum(map(len, answers))
        return answers

    def _calculate_rewards(self, inputs, prompts, completions, completion_ids_list):
        per_reward = super()._calculate_rewards(inputs, prompts, completions, completion_ids_list)
        per_reward = mixing.with_mixture(per_reward, self.params, self._group_size)
        if self.model.training:
            self.problems = self._problems(inputs, completions, completion_ids_list)
        self.per_reward = per_reward[:, self.reward_weights.to(per_reward.device) != 0]
        total = (per_reward * self.reward_weights.to(per_reward.device)).nansum(1)
        self.last_rewards = total.masked_fill(per_reward.isnan().all(1), torch.nan)
        return per_reward

    def _problems(self, inputs, completions, answers) -> dict[str, float]:
        """Share of a step's answers with each problem of reading them."""
        texts = [said if isinstance(said, str) else said[0]["content"] for said in completions]
        options = [row.get("options") for row in inputs]
        cut = [cut_off(answer, self.eos_token_ids) for answer in answers]
        return shares(zip(texts, options, cut, strict=True))

    def _answered(self, inputs) -> dict:
        """TRL's tensors of a step's answers, their total reward and each reward that is trained on."""
        answers = super()._generate_and_score_completions(inputs)
        has_tokens = answers["completion_mask"].any(1)  # else it was cut off, and those are masked as a whole
        return answers | {
            "advantages": answers["advantages"] * has_tokens,
            "rewards": self.last_rewards,
            "per_reward": self.per_reward,
            "scored": (has_tokens & ~self.last_rewards.isnan()).float(),
        }

    @contextlib.contextmanager
    def _unlogged(self):
        """Answers sampled here are in no mean of the step's log but the number of tokens."""
        metrics = self._metrics["train"]
        kept, problems = {name: list(values) for name, values in metrics.items()}, self.problems
        yield
        tokens = metrics["num_tokens"]
        metrics.clear()
        metrics.update(kept | {"num_tokens": tokens})
        self.problems = problems

    def _generate_and_score_completions(self, inputs):
        """TRL's, with dynamic sampling. The log tells of the step's first answers: refills are chosen to differ."""
        self.generated, self.attempt = 0, 0
        answers = self._answered(inputs)
        training = self.model.training
        for attempt in range(1, self.params.dynamic_sampling * training + 1):
            self.attempt = attempt
            idle = idle_groups(answers["advantages"], self.num_generations)
            if not len(idle):
                break
            fresh = [row for row in self._reserve(len(idle)) for _ in range(self.num_generations)]
            with self._unlogged():
                more = self._answered(fresh)
            answers = refill(answers, more, idle, self.num_generations, self.processing_class.pad_token_id)
        self._log("generated_tokens", self.generated)
        per_reward = answers.pop("per_reward")
        if self.fast:
            if training:
                self._measure(answers)
            answers |= self._worth(answers)
        if self.more and training:
            answers["advantages"] = self.more.advantages(self, answers, per_reward)
        return answers

    def _reserve(self, n: int) -> list[dict]:
        """`n` training scenarios drawn for dynamic sampling."""
        rng = generator(self.params.seed, "dynamic_sampling", self.state.global_step * 1000 + self.attempt)
        return [self.train_dataset[int(i)] for i in rng.integers(len(self.train_dataset), size=n)]

    @torch.no_grad()
    def _score(self, answers: dict) -> Scores:
        """Scores of a step's answers under the policy as it is, a micro-batch at a time."""
        ids = torch.cat([answers["prompt_ids"], answers["completion_ids"]], 1)
        mask = torch.cat([answers["prompt_mask"], answers["completion_mask"]], 1)
        shape = answers["completion_ids"].shape[1], self.params.rows_per_pass, self.num_generations
        with self.accelerator.autocast():
            return scores_in_passes(self.model, ids, mask, *shape)

    @property
    def measuring(self) -> bool:
        """Whether the answers of this step are measured."""
        return self.state.global_step // self.params.updates_per_batch % MEASURE_EVERY == 0

    def _measure(self, answers: dict) -> None:
        """Every tenth step, for any objective, over all answers: entropy of the policy, its KL to the reference, and
        how far the sampler was from it (`sampler_mismatch`, nats per token; `sampler_largest_ratio`, at least 1)."""
        sampled = answers.pop(SAMPLED, None)
        if not self.measuring:
            return
        mask, policy = answers["completion_mask"], self._score(answers)
        with self.model.disable_adapter():
            reference = self._score(answers).logps
        self._log("policy_entropy", (policy.entropy * mask).sum() / mask.sum())
        self._log("kl_to_reference", ((policy.logps - reference) * mask).sum(1).mean())
        if sampled is not None:
            apart = ((sampled - policy.logps) * mask).abs()
            self._log("sampler_mismatch", apart.sum() / mask.sum())
            self._log("sampler_largest_ratio", apart.max().exp())

    def measured(self) -> dict[str, float]:
        """Entropy and KL of the policy as it is, on fresh answers: for DPO, which samples none while it trains."""
        scenarios = range(min(len(self.train_dataset), self.params.answers_per_step // self.num_generations))
        rows = [self.train_dataset[i] for i in scenarios for _ in range(self.num_generations)]
        self._measure(super()._generate_and_score_completions(rows))
        found = {name: self._metrics[self._mode][name][-1] for name in ("policy_entropy", "kl_to_reference")}
        self._metrics[self._mode].clear()
        return found

    def _worth(self, answers: dict) -> dict:
        """What the objective adds to a step's answers: its own advantages and what they rest on.

        An answer that could not be scored (reward NaN) is worth 0 and in no mean.
        """
        g, mask, beta, r = self._group_size, answers["completion_mask"], self.params.beta, answers["rewards"]
        if self.objective.advantages:
            return {"advantages": self.objective.advantages(r, g)}
        if self.objective.kind == "policy":
            return {}
        ref, old = answers["ref_per_token_logps"], answers.get("old_per_token_logps")
        scores = self._score(answers) if old is None or self.objective.kind == "ppo" else None
        old = scores.logps if old is None else old
        worth = {"old_per_token_logps": old}
        if self.objective.kind == "tokens":
            worth["advantages"] = objectives.batch_normalised_returns(r, old, ref, mask, beta)
        elif self.objective.kind == "ppo":
            values = self.heads["value"](scores.hidden.float()).squeeze(-1).detach() * mask
            counted = objectives.counted(r, mask)
            shaped = objectives.shaped_rewards(r, old, ref, mask, beta)
            advantages, worth["returns"] = objectives.gae(shaped, values, counted)
            worth["advantages"] = objectives.whiten(advantages, counted)
        elif self.objective.kind == "flow" and not self.heads:
            group = torch.arange(len(r), device=r.device) // g
            r_hat = answers["advantages"].masked_fill(answers["scored"] == 0, torch.nan)
            worth["log_z"] = objectives.group_log_z(old, ref, mask, r_hat, self.params.flow_beta, group)
        return worth

    def _prepare_inputs(self, generation_batch):
        """TRL's, except that micro-batches hold whole groups of like length and nothing that cannot count.

        A loss with terms of a micro-batch as a whole gets TRL's own: mean or quantile of entropy, or of all its tokens.
        """
        by_row = self.args.loss_type in MEAN_OVER_ROWS + SUM_OVER_STEP and self.top_entropy_quantile == 1
        if not self.fast or not by_row or self._entropy_bonus_enabled or not self.model.training:
            return super()._prepare_inputs(generation_batch)
        steps = self.args.steps_per_generation
        if self._step % (steps * self.num_iterations) == 0 or self._buffered_inputs is None:
            answers = self._generate_and_score_completions(generation_batch)
            skip = self.objective.kind == "policy" and self.beta == 0
            updates = self.params.updates_per_batch
            self._buffered_inputs = micro_batches(answers, steps, self.args.loss_type, skip, updates)
        return self._buffered_inputs[self._step % steps]

    def prediction_step(self, model, *args, **kwargs):
        """TRL's, with the model in evaluation by name and its layers in train() mode (`models.py` says why)."""
        self.model.train()
        self.model.training = False
        return super().prediction_step(model, *args, **kwargs)

    # --- losses ---

    def _get_per_token_logps_and_entropies(self, model, input_ids, attention_mask, logits_to_keep, *args, **kwargs):
        if not self.fast:
            return super()._get_per_token_logps_and_entropies(
                model, input_ids, attention_mask, logits_to_keep, *args, **kwargs
            )
        if kwargs.get("batch_size"):  # TRL asks for reference and old policy of all answers, in parts of this size
            g = self.num_generations
            with torch.no_grad(), self.accelerator.autocast():
                size = self.params.micro_batch
                scores = scores_in_passes(model, input_ids, attention_mask, logits_to_keep, size, g)
            return scores.logps, scores.entropy, None
        with self.accelerator.autocast():
            self.scores = shared_prompt_scores(model, input_ids, attention_mask, logits_to_keep)
        return self.scores.logps, self.scores.entropy, None

    def compute_loss(self, model, inputs, *args, **kwargs):
        if self.objective.kind == "flow":
            return self._flow_loss(model, inputs)
        kl_in_loss, self.beta = self.beta, self.beta if self.objective.kind == "policy" else 0.0
        try:
            loss = super().compute_loss(model, inputs, *args, **kwargs) * inputs.get("share", 1.0)
        finally:
            self.beta = kl_in_loss
        if self.objective.kind == "ppo":
            values = self.heads["value"](self.scores.hidden.detach().float()).squeeze(-1)
            critic = objectives.value_loss(values, inputs["returns"], inputs["completion_mask"])
            self._log("value_loss", critic.mean())
            loss = loss + self._per_answer(critic, inputs)
        return loss

    def _flow_loss(self, model, inputs) -> torch.Tensor:
        ids = torch.cat([inputs["prompt_ids"], inputs["completion_ids"]], 1)
        attention = torch.cat([inputs["prompt_mask"], inputs["completion_mask"]], 1)
        mask, beta, released = (
            inputs["completion_mask"],
            self.params.flow_beta,
            self.objective.released,
        )
        logps, entropy, _ = self._get_per_token_logps_and_entropies(model, ids, attention, mask.shape[1])
        if "log_z" in inputs:
            log_z = inputs["log_z"]
        else:
            prompt = self.scores.prompt if released else self.scores.prompt.detach()
            log_z = self.heads["log_z"](prompt.float()).squeeze(-1)
        old, ref = inputs["old_per_token_logps"], inputs["ref_per_token_logps"]
        residual = objectives.flow_residual(logps, ref, mask, inputs["advantages"], log_z, beta)
        ratio = torch.exp(((logps - old) * mask).sum(1)).detach()
        self._log("entropy", (entropy * mask).sum() / mask.sum())
        self._log("clip_ratio/region_mean", ((ratio - 1).abs() > 0.2).float().mean())
        self._log("log_z", log_z.mean())
        return self._per_answer(objectives.flow_loss(residual, logps, old, mask, beta, released), inputs)

    def _per_answer(self, loss: torch.Tensor, inputs: dict) -> torch.Tensor:
        """Losses of some answers as their part of the mean over an update's answers, in evaluation over a batch's.

        Those that could not be scored count nothing, nor does the answer that stands in for an empty micro-batch.
        """
        counts = inputs["scored"] * (inputs.get("share", 1.0) > 0)
        p = self.params
        n = p.answers_per_step / p.updates_per_batch if self.model.training else len(loss)
        return (loss * counts).sum() / n

    def _log(self, name: str, value: torch.Tensor | float) -> None:
        self._metrics[self._mode][name].append(float(torch.as_tensor(value).detach()))

    @property
    def _mode(self) -> str:
        """Name of TRL's metrics."""
        return "train" if self.model.training else "eval"

    @property
    def _group_size(self) -> int:
        """Answers to each prompt."""
        return self.num_generations if self.model.training else self.num_generations_eval

    def time_stages(self) -> list[dict]:
        """A list that gets the seconds of every step from now on: as a whole and by stage. For benchmarks."""
        log: list[dict] = []
        self.add_callback(StageTimes(self, log))
        return log


class StageTimes(TrainerCallback):
    """Seconds per step: generate, reward, score (the forward passes of training) and train (all the rest)."""

    def __init__(self, trainer: StudyTrainer, log: list[dict]):
        self.log, self.spent = log, Counter()
        for stage, name in STAGES.items():
            setattr(trainer, name, self._timed(stage, getattr(trainer, name)))

    def _timed(self, stage: str, function):
        def timed(*args, **kwargs):
            started = _now()
            result = function(*args, **kwargs)
            self.spent[stage] += _now() - started
            return result

        return timed

    def on_step_begin(self, args, state, control, **kwargs):
        self.started, self.spent = _now(), Counter()

    def on_step_end(self, args, state, control, **kwargs):
        total = _now() - self.started
        stages = {stage: self.spent[stage] for stage in STAGES}
        self.log.append({"seconds": total, **stages, "train": total - sum(stages.values())})


def _now() -> float:
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter()


def _chats(prompts: list) -> bool:
    return isinstance(prompts[0], list)


def _rollout(prompts: list, trainer: StudyTrainer) -> dict:
    """TRL's hook for one's own sampling. prompts: chats or texts, each G times; one of no scenario is its own name."""
    ids = trainer._tokenize_prompts(prompts)[0]
    asked = [chat[-1]["content"] for chat in prompts] if _chats(prompts) else prompts
    scenarios = [trainer.scenario_ids.get(text, text) for text in asked]
    answers = trainer.sample(ids, scenarios)
    return {"prompt_ids": ids, "completion_ids": answers, "logprobs": trainer.drawn or None}


class RunLog(TrainerCallback):
    """Writes metrics.jsonl, a line per batch of answers, completes checkpoints, and prints about ten lines a run."""

    def __init__(self, trainer: StudyTrainer, path: Path, from_step: int):
        self.trainer, self.params = trainer, trainer.params
        self.path, self.every, self.started = path, max(1, self.params.steps // 10), time.time()
        self.always: dict[str, float] = {}  # what stands in every line: DPO samples once, before training
        self.idle = 0  # steps in a row without anything to learn from
        kept = [line for line in _read_lines(path) if json.loads(line)["step"] <= from_step]
        path.write_text("".join(kept))  # steps after the checkpoint come again
        self.kept = json.loads(kept[-1]) if kept else {}

    def on_log(self, args, state, control, logs=None, **kwargs):
        logs = logs | self.always
        if "reward" not in logs or "train_runtime" in logs:  # the closing summary of transformers
            return
        if "generated_tokens" in self.always:
            self.always["generated_tokens"] = 0  # told once
        if self.trainer.objective.kind == "dpo":
            logs |= self.trainer.measured()
        step = state.global_step // self.params.updates_per_batch
        record = {"step": step} | {key: _number(value) for key, value in logs.items()}
        with self.path.open("a") as file:
            file.write(json.dumps(record) + "\n")
        if step % self.every == 0 or step == 1:
            shown = f"reward {_shown(record['reward'])}  entropy {record.get('entropy') or 0.0:.3f}"
            print(f"step {step:4d}  {shown}  {time.time() - self.started:5.0f} s")
        self._say_if_idle(record)

    def _say_if_idle(self, record: dict) -> None:
        """One note for every IDLE_STEPS steps in a row in which no answer of a group was better than another."""
        alike = record.get("frac_reward_zero_std")
        self.idle = self.idle + 1 if alike == 1 or record.get("grad_norm") == 0 else 0
        if self.idle == IDLE_STEPS:
            print(
                f"note: {IDLE_STEPS} steps in a row had nothing to learn from: reward {_shown(record['reward'])}, "
                f"{_shown(alike)} of the groups without differences; of the last step's answers "
                f"{told(self.trainer.problems, self.params.max_new_tokens)}"
            )

    def on_step_end(self, args, state, control, **kwargs):
        self.trainer.heads.zero_grad()  # transformers zeroes the gradients of the model alone

    def on_save(self, args, state, control, **kwargs):
        folder = Path(args.output_dir) / f"checkpoint-{state.global_step}"
        if len(self.trainer.heads):
            torch.save(self.trainer.heads.state_dict(), folder / HEADS)
        if self.trainer.more:
            torch.save(torch.from_numpy(self.trainer.more.average), folder / MORE)
        (folder / COMPLETE).write_text(self.params.objective)


def _read_lines(path: Path) -> list[str]:
    """Whole lines only: a kill may have cut the last one."""
    if not path.is_file():
        return []
    return [line for line in path.read_text().splitlines(keepends=True) if line.endswith("\n")]


def _number(value) -> float | None:
    """A number as JSON has it: what is not known is null."""
    return None if value is None or math.isnan(value) else float(value)


def _shown(value: float | None) -> str:
    return "unknown" if value is None else f"{value:.3f}"


def trl_reward(name: str, rows: list[dict], params: RunParams | None = None, judge: Grader | None = None):
    """The reward as TRL calls it: a batch of chats in, one float or None each out. Counts the Nones."""
    function = batch_reward(name, rows, params, judge)
    by_id = {row["id"]: row for row in rows}

    def scored(completions, id, log_metric, **columns):
        values = function([chat[0]["content"] for chat in completions], [by_id[i] for i in id])
        log_metric(f"unscored/{name}", sum(value is None for value in values))
        return values

    scored.__name__ = name
    return scored


def grpo_config(params: RunParams, **more) -> GRPOConfig:
    """The run's parameters in TRL's words; `more` goes to TRL as it is."""
    dtype = str(precision(params.device).dtype)
    updates = params.updates_per_batch
    steps = params.answers_per_step // params.rows_per_pass
    config = {
        "loss_type": "grpo",
        "scale_rewards": "group",
        "reward_weights": mixing.trl_weights(params),
        "multi_objective_aggregation": (
            "normalize_then_sum" if params.combination == "normalise_then_sum" else "sum_then_normalize"
        ),
        "beta": params.beta,
        "use_bias_correction_kl": params.beta > 0,
        "num_generations": params.generations,
        "per_device_train_batch_size": params.rows_per_pass,
        "gradient_accumulation_steps": steps // updates,
        "steps_per_generation": steps,
        "max_completion_length": params.max_new_tokens,
        "temperature": params.temperature,
    }
    return GRPOConfig(
        output_dir=str(params.run_dir / "checkpoints"),
        **(config | OBJECTIVES[params.objective].trl),
        max_steps=max(params.steps, 1) * updates,  # 0 would mean "by epochs"; with no steps nothing is trained
        learning_rate=params.learning_rate,
        lr_scheduler_type="linear",
        warmup_steps=min(5, params.steps // 2) * updates,
        adam_beta2=0.99,
        max_grad_norm=params.max_grad_norm,
        shuffle_dataset=False,
        seed=params.seed,
        use_cpu=params.device == "cpu",
        bf16=dtype == "torch.bfloat16",
        fp16=dtype == "torch.float16",
        gradient_checkpointing=params.gradient_checkpointing,
        save_strategy="steps",
        save_steps=params.save_every * updates,
        save_total_limit=2,
        logging_steps=updates,
        report_to=[],
        disable_tqdm=True,
        **more,
    )


def prepare(
    params: RunParams, train_rows: list[dict], judge: Grader | None = None, rewards: list | None = None
) -> StudyTrainer:
    """Policy and trainer, untrained. Checks the machine first and the 4-bit gradients last.

    `judge` grades the rubric where `rubric_grader` is 'judge'. `rewards`: functions as TRL calls them, in place of
    those named in `params.rewards` and with their weights. Says so when the chosen shaping cannot do anything.
    """
    require_one_process()
    require_device(params)
    for message in filter(None, (idle_message(params), _idle_update(params), _no_ratio(params))):
        print(f"note: {message}")
    model, tokenizer = load_policy(params)
    instruct = params.model != "tiny"
    rows = [{"prompt": chat(row, instruct), "id": row["id"], "options": row["options"]} for row in train_rows]
    require_positions(model, prompt_tokens(tokenizer, [row["prompt"] for row in rows]), params.max_new_tokens)
    trainer = StudyTrainer(
        model=model,
        processing_class=tokenizer,
        params=params,
        scenario_ids={chat(row, instruct)[-1]["content"]: row["id"] for row in train_rows},
        args=grpo_config(params),
        reward_funcs=[
            *(rewards or [trl_reward(name, train_rows, params, judge) for name in params.reward_weights]),
            *overlong(params),
            *[mixing.mixed] * mixing.has_mixture(params),
        ],
        train_dataset=Dataset.from_list(rows or [{"prompt": [], "id": "", "options": []}]),
        peft_config=lora(params),
    )
    trainer.remove_callback(PrinterCallback)
    trainer.remove_callback(ProgressCallback)
    trainer.gradient_change = check_gradients(trainer.model, tokenizer)
    return trainer


def _idle_update(params: RunParams) -> str | None:
    """A group is trained on in one update, so that with fewer groups than updates some train on nothing."""
    groups = params.answers_per_step // params.generations
    if not params.steps or groups >= params.updates_per_batch:
        return None
    return f"a step has {groups} groups for {params.updates_per_batch} updates, of which the others train on nothing"


def _no_ratio(params: RunParams) -> str | None:
    if params.objective != "gspo" or params.updates_per_batch > 1:
        return None
    return "with one update per batch the ratios of objective 'gspo' are 1, so that it trains as 'grpo' does"


def overlong(params: RunParams) -> list:
    """DAPO's soft punishment of answers that are nearly or quite too long, as TRL has it; arXiv 2503.14476, eq. 13."""
    ramp = params.overlong_ramp
    return [get_soft_overlong_punishment(params.max_new_tokens, ramp)] if ramp else []


def newest_checkpoint(folder: Path) -> Path | None:
    """The newest checkpoint that was written to the end."""
    complete = [marker.parent for marker in folder.glob(f"checkpoint-*/{COMPLETE}")]
    return max(complete, key=lambda path: int(path.name.split("-")[1]), default=None)


def train(trainer: StudyTrainer, params: RunParams) -> int:
    """Train to the end, from the newest complete checkpoint if there is one; returns the step it resumed from.

    A finished run is not trained again: its adapter is loaded. With `steps: 0` the policy is left as it is.
    """
    run_dir = params.run_dir
    if is_complete(run_dir):
        trainer.model.load_adapter(run_dir / "adapter", "default", is_trainable=True)
        return params.steps
    run_dir.mkdir(parents=True, exist_ok=True)
    checkpoint = newest_checkpoint(run_dir / "checkpoints")
    step = int(checkpoint.name.split("-")[1]) // params.updates_per_batch if checkpoint else 0
    if checkpoint:
        _resume(trainer, checkpoint)
    log = RunLog(trainer, run_dir / "metrics.jsonl", step)
    training = trainer
    if trainer.objective.kind == "dpo":
        pairs, reward_of_pairs, tokens = sample_pairs(trainer)
        log.always |= {"reward": reward_of_pairs, "generated_tokens": 0 if log.kept else tokens}
        training = dpo_trainer(trainer, pairs, PairTrainer)
        training._total_train_tokens = log.kept.get("num_tokens") or 0  # TRL counts from 0 after a resume
    training.add_callback(log)
    if params.steps:
        training.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
    trainer.model.save_pretrained(run_dir / "adapter")
    return step


def _resume(trainer: StudyTrainer, checkpoint: Path) -> None:
    """Load what the study keeps beside TRL's checkpoint; refuses one that another objective left."""
    made_by = (checkpoint / COMPLETE).read_text()
    if made_by != trainer.params.objective:
        wanted = trainer.params.objective
        raise ValueError(f"{checkpoint} was made by objective {made_by!r}, not {wanted!r}; give another run_root")
    if len(trainer.heads):
        trainer.heads.load_state_dict(torch.load(checkpoint / HEADS))
    if trainer.more:
        trainer.more.average = torch.load(checkpoint / MORE).numpy()
