"""What a training run writes and shows: metrics.jsonl, the bar, notes, whole checkpoints; and seconds by stage."""

import json
import math
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import torch
from transformers import TrainerCallback

from studylib import processes
from studylib.text.readable import in_words
from studylib.training import checkpoints
from studylib.training.progress import progress_bar

IDLE_STEPS = 5  # steps in a row without anything to learn from, after which a run says so


class RunLog(TrainerCallback):
    """Writes metrics.jsonl, a line per batch of answers, completes checkpoints, and moves the bar.

    look: step -> what is seen of the policy at it, for the line of that step. The line of step 0 has nothing else. Of
    several processes the first one looks and writes.
    """

    def __init__(self, trainer, path: Path, from_step: int, look: Callable[[int], dict[str, float]] | None = None):
        self.trainer, self.params, self.path, self.from_step = trainer, trainer.params, path, from_step
        self.look, self.seen = look, {}  # the newest look
        self.always: dict[str, float] = {}  # in every line: DPO samples once, before training
        self.idle = 0  # steps in a row without anything to learn from
        kept = processes.of_first(_kept_lines, path, from_step)
        self.kept = json.loads(kept[-1]) if kept else {}

    def on_train_begin(self, args, state, control, **kwargs):
        self.bar = progress_bar(-(-state.max_steps // self.params.updates_per_batch), self.from_step)

    def on_log(self, args, state, control, logs=None, **kwargs):
        logs = logs | self.always
        if "reward" not in logs or "train_runtime" in logs:  # the closing summary of transformers
            return
        if "generated_tokens" in self.always:
            self.always["generated_tokens"] = 0  # they are counted once
        if self.trainer.objective.kind == "dpo":
            logs |= self.trainer.measured()
        step = state.global_step // self.params.updates_per_batch
        record = {"step": step} | {key: _number(value) for key, value in logs.items()}
        self._write(record | self._looked(step))
        self.bar.update(step, self._state(record))
        self._note_if_idle(record)

    def look_at_start(self) -> None:
        """A line of step 0 with what is seen of the untrained policy; a run that goes on has it already."""
        if not self.from_step and (seen := self._looked(0)):
            self._write({"step": 0} | seen)

    def _looked(self, step: int) -> dict[str, float]:
        """What is seen of the policy, every `eval_every` steps and at the last one; the layers' modes stay."""
        if not self.look or (step % self.params.eval_every and step != self.params.steps):
            return {}
        modes = {module: module.training for module in self.trainer.model.modules()}
        self.seen = processes.of_first(self.look, step)
        for module, training in modes.items():
            module.training = training
        return self.seen

    def _write(self, record: dict) -> None:
        if processes.is_first():
            with self.path.open("a") as file:
                file.write(json.dumps(record) + "\n")

    def _state(self, record: dict) -> str:
        """The last step in words, for the bar."""
        shown = {"reward": record["reward"], "entropy": record.get("entropy")}
        shown |= {"held-out accuracy": self.seen["held_out/accuracy"]} if self.seen else {}
        return ", ".join(f"{name} {_shown(value)}" for name, value in shown.items())

    def _note_if_idle(self, record: dict) -> None:
        """One note for every IDLE_STEPS steps in a row in which no answer of a group was better than another."""
        alike = record.get("frac_reward_zero_std")
        alike_only = alike == 1 and not self.trainer.objective.told  # those are right alike
        self.idle = self.idle + 1 if alike_only or record.get("grad_norm") == 0 else 0
        if self.idle == IDLE_STEPS:
            self.bar.note(
                f"note: {IDLE_STEPS} steps in a row had nothing to learn from: reward {_shown(record['reward'])}, "
                f"{_shown(alike)} of the groups without differences; of the last step's answers "
                f"{in_words(self.trainer.problems, self.params.max_new_tokens)}"
            )

    def on_step_end(self, args, state, control, **kwargs):
        self.trainer.heads.zero_grad()  # transformers zeroes the gradients of the model alone

    def on_save(self, args, state, control, **kwargs):
        checkpoints.complete(self.trainer, Path(args.output_dir) / f"checkpoint-{state.global_step}")

    def on_train_end(self, args, state, control, **kwargs):
        self.bar.close()


def _kept_lines(path: Path, from_step: int) -> list[str]:
    """The lines up to the step that a run goes on from, and the file without the others: their steps come again."""
    kept = [line for line in _read_lines(path) if json.loads(line)["step"] <= from_step] if from_step else []
    path.write_text("".join(kept))
    return kept


def _read_lines(path: Path) -> list[str]:
    """Whole lines only: a kill may have cut the last one."""
    if not path.is_file():
        return []
    return [line for line in path.read_text().splitlines(keepends=True) if line.endswith("\n")]


def _number(value) -> float | None:
    """A number as JSON has it: what is not known is null, and so is what float16 could not hold."""
    return float(value) if value is not None and math.isfinite(value) else None


def _shown(value: float | None) -> str:
    return "unknown" if value is None else f"{value:.3f}"


class StageTimes(TrainerCallback):
    """Seconds per step: those of each stage, `train` for all the rest, and `cpu_seconds`, in which a CPU was at work.

    stages: stage -> the trainer's method that does it; log: a list that gets a dict per step.
    """

    def __init__(self, trainer, stages: dict[str, str], log: list[dict]):
        self.log, self.stages, self.spent = log, stages, Counter()
        for stage, name in stages.items():
            setattr(trainer, name, self._timed(stage, getattr(trainer, name)))

    def _timed(self, stage: str, function):
        def timed(*args, **kwargs):
            started = _now()
            result = function(*args, **kwargs)
            self.spent[stage] += _now() - started
            return result

        return timed

    def on_step_begin(self, args, state, control, **kwargs):
        self.started, self.spent, self.cpu = _now(), Counter(), time.process_time()

    def on_step_end(self, args, state, control, **kwargs):
        total, cpu = _now() - self.started, time.process_time() - self.cpu
        by_stage = {stage: self.spent[stage] for stage in self.stages}
        self.log.append({"seconds": total, **by_stage, "train": total - sum(by_stage.values()), "cpu_seconds": cpu})


def _now() -> float:
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter()
