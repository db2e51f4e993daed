"""GRPO on scenarios. The only file that touches TRL beyond its public names."""

import json
import logging
import os
import time
from collections import Counter
from pathlib import Path

import torch
from datasets import Dataset
from transformers import PrinterCallback, ProgressCallback, TrainerCallback

os.environ["TRL_EXPERIMENTAL_SILENCE"] = "1"  # our sampling goes through its experimental hook, `rollout_func`

from trl import GRPOConfig, GRPOTrainer

from studylib.params import RunParams
from studylib.provenance import is_complete
from studylib.rewards import reward
from studylib.scenarios.prompts import chat
from studylib.training.batches import MEAN_OVER_ROWS, SUM_OVER_STEP, micro_batches
from studylib.training.models import check_gradients, load_base, lora, precision, require_device
from studylib.training.rollout import DenseCopy, Sampling, rollout, use_dense_copy
from studylib.training.scoring import shared_prompt_scores, why_not

logger = logging.getLogger(__name__)

COMPLETE = "complete"  # file in a checkpoint, written after all others
STAGES = {  # stage of a step -> TRL's method that does it
    "generate": "_generate",
    "reward": "_calculate_rewards",
    "score": "_get_per_token_logps_and_entropies",
}


class StudyTrainer(GRPOTrainer):
    """TRL's GRPO with these differences from GRPO as published (arXiv 2402.03300):

    1. One update per batch of answers, so the ratio is 1 and its clip does not bind.
    2. The KL term is off unless `beta` > 0; the reference is the policy with its adapter switched off.
    3. LoRA weights stay in fp32: TRL 1.16 casts them to bf16 on every quantised model, where an update smaller than
       1/256 of a weight is lost, and where fp16 scaling on a T4 fails.
    4. Scenarios come in the order of the selection, each once: TRL's own shuffle is off.

    With `engine: fast` every prompt is encoded once for all its answers, in sampling and in training, and answers whose
    advantage is 0 are left out of the micro-batches; the gradient is the same (tests/test_fast_path.py). With
    `engine: trl` all of that is TRL's own.
    """

    def __init__(self, *args, params: RunParams, scenario_ids: dict[str, str], **kwargs):
        reason = why_not(kwargs["model"]) if params.engine == "fast" else "engine = 'trl'"
        if params.engine == "fast" and reason:
            logger.warning("prompts are not shared in training, because %s", reason)
        self.fast, self.params, self.scenario_ids, self.dense = not reason, params, scenario_ids, None
        super().__init__(*args, rollout_func=_rollout if self.fast else None, **kwargs)
        for parameter in self.model.parameters():
            if parameter.requires_grad:
                parameter.data = parameter.data.float()
        if self.fast and use_dense_copy(params, self.model):
            self.dense = DenseCopy(self.model)

    def sample(self, prompts: list[list[int]], ids: list[str]) -> list[list[int]]:
        """One answer to each prompt (token ids); the k-th answer to a scenario in a step has its own random stream."""
        seen: Counter = Counter()
        keys = []
        for scenario in ids:
            keys.append((self.params.seed, "train", self.state.global_step, scenario, seen[scenario]))
            seen[scenario] += 1
        sampling = Sampling(self.params.max_new_tokens, tuple(self.eos_token_ids), self.params.temperature)
        model = self.dense.refresh() if self.dense else self.model
        return rollout(model, prompts, keys, sampling, self.processing_class.pad_token_id, self.params.rollout_batch)

    def _get_per_token_logps_and_entropies(self, model, input_ids, attention_mask, logits_to_keep, *args, **kwargs):
        if not self.fast:
            return super()._get_per_token_logps_and_entropies(
                model, input_ids, attention_mask, logits_to_keep, *args, **kwargs
            )
        with self.accelerator.autocast():
            scores = shared_prompt_scores(model, input_ids, attention_mask, logits_to_keep)
        return *scores, None

    def _prepare_inputs(self, generation_batch):
        """TRL's, except that micro-batches hold whole groups of like length and nothing that cannot count."""
        known = self.args.loss_type in MEAN_OVER_ROWS + SUM_OVER_STEP
        if not self.fast or not known or not self.model.training:
            return super()._prepare_inputs(generation_batch)
        steps = self.args.steps_per_generation
        if self._step % (steps * self.num_iterations) == 0 or self._buffered_inputs is None:
            answers = self._generate_and_score_completions(generation_batch)
            self._buffered_inputs = micro_batches(answers, steps, self.args.loss_type, skip_zero=self.beta == 0)
        return self._buffered_inputs[self._step % steps]

    def compute_loss(self, model, inputs, *args, **kwargs):
        loss = super().compute_loss(model, inputs, *args, **kwargs)
        return loss * inputs["share"] if "share" in inputs else loss

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


def _rollout(prompts: list[list[dict]], trainer: StudyTrainer) -> dict:
    """TRL's hook for one's own sampling. prompts: chats, each G times."""
    ids = trainer.processing_class.apply_chat_template(prompts, add_generation_prompt=True, return_dict=False)
    scenarios = [trainer.scenario_ids[chat[-1]["content"]] for chat in prompts]
    return {"prompt_ids": ids, "completion_ids": trainer.sample(ids, scenarios), "logprobs": None}


class RunLog(TrainerCallback):
    """Writes metrics.jsonl, marks complete checkpoints, and prints about ten lines a run."""

    def __init__(self, path: Path, steps: int, from_step: int):
        self.path, self.every, self.started = path, max(1, steps // 10), time.time()
        kept = [line for line in _read_lines(path) if json.loads(line)["step"] <= from_step]
        path.write_text("".join(kept))  # steps after the checkpoint come again

    def on_log(self, args, state, control, logs=None, **kwargs):
        if "reward" not in logs:  # the closing summary of transformers
            return
        record = {"step": state.global_step} | {key: _number(value) for key, value in logs.items()}
        with self.path.open("a") as file:
            file.write(json.dumps(record) + "\n")
        if state.global_step % self.every == 0 or state.global_step == 1:
            entropy, seconds = record.get("entropy") or 0.0, time.time() - self.started
            print(
                f"step {state.global_step:4d}  reward {record['reward']:.3f}  entropy {entropy:.3f}  {seconds:5.0f} s"
            )

    def on_save(self, args, state, control, **kwargs):
        (Path(args.output_dir) / f"checkpoint-{state.global_step}" / COMPLETE).touch()


def _read_lines(path: Path) -> list[str]:
    """Whole lines only: a kill may have cut the last one."""
    if not path.is_file():
        return []
    return [line for line in path.read_text().splitlines(keepends=True) if line.endswith("\n")]


def _number(value) -> float | None:
    return None if value is None else float(value)


def trl_reward(name: str, rows: list[dict]):
    """The reward as TRL calls it: a batch of chats in, one float or None each out. Counts the Nones."""
    function = reward(name, rows)
    by_id = {row["id"]: row for row in rows}

    def scored(completions, id, log_metric, **columns):
        values = [function(chat[0]["content"], by_id[i]) for chat, i in zip(completions, id, strict=True)]
        log_metric(f"unscored/{name}", sum(value is None for value in values))
        return values

    scored.__name__ = name
    return scored


def grpo_config(params: RunParams) -> GRPOConfig:
    """The run's parameters in TRL's words."""
    dtype = str(precision(params.device).dtype)
    return GRPOConfig(
        output_dir=str(params.run_dir / "checkpoints"),
        loss_type="grpo",
        scale_rewards="group",
        reward_weights=list(params.reward_weights.values()),
        beta=params.beta,
        num_generations=params.generations,
        per_device_train_batch_size=params.micro_batch,
        gradient_accumulation_steps=params.answers_per_step // params.micro_batch,
        max_completion_length=params.max_new_tokens,
        temperature=params.temperature,
        max_steps=max(params.steps, 1),  # 0 would mean "by epochs"; with no steps nothing is trained
        learning_rate=params.learning_rate,
        lr_scheduler_type="linear",
        warmup_steps=min(5, params.steps // 2),
        adam_beta2=0.99,
        max_grad_norm=params.max_grad_norm,
        shuffle_dataset=False,
        seed=params.seed,
        use_cpu=params.device == "cpu",
        bf16=dtype == "torch.bfloat16",
        fp16=dtype == "torch.float16",
        gradient_checkpointing=params.gradient_checkpointing,
        save_strategy="steps",
        save_steps=params.save_every,
        save_total_limit=2,
        logging_steps=1,
        report_to=[],
        disable_tqdm=True,
    )


def prepare(params: RunParams, train_rows: list[dict]) -> StudyTrainer:
    """Policy and trainer, untrained. Checks the machine first and the 4-bit gradients last."""
    require_device(params)
    model, tokenizer = load_base(params)
    instruct = params.model != "tiny"
    rows = [{"prompt": chat(row, instruct), "id": row["id"]} for row in train_rows]
    trainer = StudyTrainer(
        model=model,
        processing_class=tokenizer,
        params=params,
        scenario_ids={chat(row, instruct)[-1]["content"]: row["id"] for row in train_rows},
        args=grpo_config(params),
        reward_funcs=[trl_reward(name, train_rows) for name in params.reward_weights],
        train_dataset=Dataset.from_list(rows or [{"prompt": [], "id": ""}]),
        peft_config=lora(params),
    )
    trainer.remove_callback(PrinterCallback)
    trainer.remove_callback(ProgressCallback)
    trainer.gradient_change = check_gradients(trainer.model, tokenizer)
    return trainer


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
    step = int(checkpoint.name.split("-")[1]) if checkpoint else 0
    trainer.add_callback(RunLog(run_dir / "metrics.jsonl", params.steps, step))
    if params.steps:
        trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
    trainer.model.save_pretrained(run_dir / "adapter")
    return step
