"""GRPO on scenarios. The only file that touches TRL beyond its public names."""

import json
import time
from pathlib import Path

from datasets import Dataset
from transformers import PrinterCallback, ProgressCallback, TrainerCallback
from trl import GRPOConfig, GRPOTrainer

from studylib.params import RunParams
from studylib.provenance import is_complete
from studylib.rewards import reward
from studylib.scenarios.prompts import chat
from studylib.training.models import check_gradients, load_base, lora, precision, require_device

COMPLETE = "complete"  # file in a checkpoint, written after all others


class StudyTrainer(GRPOTrainer):
    """TRL's GRPO with these differences from GRPO as published (arXiv 2402.03300):

    1. One update per batch of answers, so the ratio is 1 and its clip does not bind.
    2. The KL term is off unless `beta` > 0; the reference is the policy with its adapter switched off.
    3. LoRA weights stay in fp32: TRL 1.16 casts them to bf16 on every quantised model, where an update smaller than
       1/256 of a weight is lost, and where fp16 scaling on a T4 fails.
    4. Scenarios come in the order of the selection, each once: TRL's own shuffle is off.
    """

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        for parameter in self.model.parameters():
            if parameter.requires_grad:
                parameter.data = parameter.data.float()


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
