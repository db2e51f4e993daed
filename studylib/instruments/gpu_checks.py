"""Does a GPU do what a run asks of it? One function a check, which yields what it found; `gpu_check.py` runs them."""

import json
import math
import subprocess
from functools import partial

import bitsandbytes as bnb
import torch
from transformers import TrainerCallback

from studylib.evaluation.answers import evaluate
from studylib.instruments.gpu_pair import gradients_of_a_pair
from studylib.instruments.gpu_setting import USUAL, Finding, Findings, Setting, adapter, prepared, scale_as_usual
from studylib.names import OBJECTIVES
from studylib.policy.memory import GIB
from studylib.policy.precision import forced_precision, precision
from studylib.runs.provenance import versions
from studylib.scenarios.selection import select
from studylib.training.told import told
from studylib.training.train import train
from studylib.training.trainer import StudyTrainer

PRODUCT = 0.01  # relative error of a 4-bit product in 16 bits: bfloat16 rounds a number by up to 2^-9 of it
PLANTED = 2.0**100  # scale of a loss whose gradients float16 cannot hold


# --- the card --------------------------------------------------------------------------------------------------------


def environment(setting: Setting) -> Findings:
    """Driver, card, versions, and whether torch was built for the card."""
    yield Finding("environment", *_stand_in() if setting.stand_in else _card())


def _stand_in() -> tuple[str, str, bool]:
    return f"no card: a CPU, torch {torch.__version__}, {precision('cpu').reason}", "the stand-in", True


def _card() -> tuple[str, str, bool]:
    major, minor = torch.cuda.get_device_capability()
    built = torch.cuda.get_arch_list()
    of_kind = [int(arch.partition("_")[2].rstrip("af")) for arch in built if arch.startswith("sm_")]
    runs = any(number // 10 == major and number % 10 <= minor for number in of_kind)
    free, total = (size / GIB for size in torch.cuda.mem_get_info())
    software = ", ".join(f"{name} {versions()[name]}" for name in ("torch", "bitsandbytes", "trl", "transformers"))
    found = (
        f"{torch.cuda.get_device_name()}, driver {_driver()}, CUDA {torch.version.cuda}, {free:.1f} of {total:.1f} GiB "
        f"free, {software}; {precision('cuda').reason}"
    )
    return found, f"kernels for compute capability {major}.{minor} among {' '.join(built)}", runs


def _driver() -> str:
    command = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.split("\n")[0].strip()
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def four_bits(setting: Setting) -> Findings:
    """bitsandbytes' products and gradients against the dequantised weights, for a token and for many."""
    shape = setting.shape("Qwen/Qwen2.5-0.5B-Instruct")
    dtype = precision(setting.device).dtype
    torch.manual_seed(0)
    layer = bnb.nn.Linear4bit(
        shape.hidden, shape.intermediate, bias=False, compute_dtype=dtype, quant_type="nf4", compress_statistics=True
    ).to(setting.device)
    dense = bnb.functional.dequantize_4bit(layer.weight.data, layer.weight.quant_state).float()
    worst = max(_product_error(layer, dense, rows, dtype) for rows in (1, 7, 64, 512))
    yield Finding("4-bit product", f"{worst:.2%} apart", f"at most {PRODUCT:.0%}", worst <= PRODUCT)


def _product_error(layer, dense: torch.Tensor, rows: int, dtype: torch.dtype) -> float:
    """The largest relative error of a layer's output, with and without gradients, and of the gradient of its input.

    Without gradients a single row has a kernel of its own.
    """
    x = torch.randn(rows, dense.shape[1], device=dense.device, dtype=dtype, requires_grad=True)
    y = layer(x)
    y.backward(torch.ones_like(y))
    with torch.no_grad():
        sampled = layer(x.detach())
    output, gradient = x.detach().float() @ dense.T, torch.ones_like(sampled).float() @ dense
    pairs = (y.detach(), output), (sampled, output), (x.grad, gradient)
    return max(float((found.float() - right).norm() / right.norm()) for found, right in pairs)


# --- a step ----------------------------------------------------------------------------------------------------------


def objective(setting: Setting, name: str) -> Findings:
    """One step of an objective."""
    of_kind = {"none": {"steps": 0}, "dpo": {"generations": 2}}.get(OBJECTIVES[name].kind, {})
    given = of_kind | {"beta": 0.1 * OBJECTIVES[name].reference}
    trainer = prepared(setting.of_step(name, objective=name, **given))
    if OBJECTIVES[name].told:
        trainer.sample = partial(_after_empty_reasons, trainer)
    before = adapter(trainer)
    scale_as_usual(trainer)
    train(trainer, trainer.params)
    yield Finding(f"objective {name}", *_step(trainer, before, moves=name != "base"))


def _after_empty_reasons(trainer: StudyTrainer, prompts: list[list[int]], ids: list[str]) -> list[list[int]]:
    """Answers that are told: random weights never end reasons of their own, and after those nothing can be told."""
    own = trainer.processing_class("<think></think>", add_special_tokens=False)["input_ids"]
    return told(trainer, prompts, [own] * len(prompts), ids)


def _step(trainer: StudyTrainer, before: torch.Tensor, moves: bool = True) -> tuple[str, str, bool]:
    """(found, expected, whether they agree) of a run's losses and of how far its adapter went."""
    path = trainer.params.run_dir / "metrics.jsonl"
    losses = [json.loads(line)["loss"] for line in path.read_text().splitlines()]
    moved = float((adapter(trainer) - before).norm())
    finite = math.isfinite(moved) and all(loss is not None and math.isfinite(loss) for loss in losses)
    said = ", ".join("not a number" if loss is None else f"{loss:.4g}" for loss in losses)
    found = f"loss {said}, adapter moved by {moved:.3g}" if losses else f"adapter moved by {moved:.3g}"
    expected = "a finite loss, and the adapter moves" if moves else "the adapter stays"
    return found, expected, finite and (moved > 0) == moves


class Overflow(TrainerCallback):
    """Scales the loss beyond float16 in the first step and as usual in the second."""

    def __init__(self, trainer: StudyTrainer):
        self.trainer, self.after = trainer, []

    def on_step_begin(self, args, state, control, **kwargs):
        first = state.global_step == 0
        scale_as_usual(self.trainer, PLANTED if first else USUAL)

    def on_step_end(self, args, state, control, **kwargs):
        self.after.append((self.trainer.accelerator.scaler.get_scale(), adapter(self.trainer)))


def float16(setting: Setting) -> Findings:
    """Autocast in float16 with a GradScaler, on a newer card by force: an overflow is noticed, its step left out."""
    with forced_precision(torch.float16):
        trainer = prepared(setting.of_step("float16", steps=2))
        scale_gradients(trainer)
        before, watch = adapter(trainer), Overflow(trainer)
        trainer.add_callback(watch)
        train(trainer, trainer.params)
    (scale, skipped), (_, ended) = watch.after
    stayed, moved = torch.equal(skipped, before), float((ended - before).norm())
    after = (
        f"at the overflow the scale is {scale / PLANTED:g} of what it was and the adapter {'stays' * stayed or 'moves'}"
    )
    expected = "a scale of half and no step at the overflow, then a finite step"
    holds = scale == PLANTED / 2 and stayed and math.isfinite(moved) and moved > 0
    yield Finding("float16 with GradScaler", f"{after}; then it moves by {moved:.3g}", expected, holds)


def scale_gradients(trainer: StudyTrainer) -> None:
    """On a CPU, where accelerate leaves float16 out: its autocast and a scaler of that device."""
    if trainer.accelerator.device.type == "cpu":
        trainer.accelerator.native_amp = True
        trainer.accelerator.scaler = torch.amp.GradScaler("cpu")


class Stopped(Exception):
    """The run ends here, as if somebody had stopped it."""


class StopBefore(TrainerCallback):
    def __init__(self, step: int):
        self.step = step

    def on_step_begin(self, args, state, control, **kwargs):
        if state.global_step == self.step:
            raise Stopped


def resume(setting: Setting) -> Findings:
    """Three steps, once straight and once stopped after the second and begun again."""
    given = {"steps": 3, "save_every": 2}
    straight = prepared(setting.of_step("straight", **given))
    start = adapter(straight)
    train(straight, straight.params)
    stopped = prepared(setting.of_step("stopped", **given))
    stopped.add_callback(StopBefore(2))
    try:
        train(stopped, stopped.params)
    except Stopped:
        del stopped
    again = prepared(setting.of_step("stopped", **given))
    step = train(again, again.params)
    went, apart = float((adapter(straight) - start).norm()), float((adapter(again) - adapter(straight)).norm())
    bits = "the same bits" if apart == 0 else f"{apart / went:.2%} of the way apart"
    yield Finding("resume", f"resumed from step {step}, {bits}", "from step 2, the same bits", step == 2 and apart == 0)


def evaluation(setting: Setting) -> Findings:
    """Answers to two scenarios of every split."""
    yield Finding("evaluation", *_evaluated(prepared(setting.of_step("evaluation"))))


def _evaluated(trainer: StudyTrainer) -> tuple[str, str, bool]:
    params = trainer.params
    splits = select(params)
    answers = evaluate(trainer.model, trainer.processing_class, splits, params, "after")
    wanted = sum(len(rows) for name, rows in splits.items() if name != "train") * (1 + params.eval_samples)
    shares = answers["forced"].dropna()
    holds = len(answers) == wanted and len(shares) > 0 and bool(shares.between(0, 1).all())
    found = f"{len(answers)} answers, {int(answers['readable'].sum())} readable, forced choice {shares.mean():.2f}"
    return found, f"{wanted} answers, shares in 0..1", holds


def smollm2(setting: Setting) -> Findings:
    """A step and an evaluation of the real model."""
    trainer = prepared(setting.of_real())
    before = adapter(trainer)
    scale_as_usual(trainer)
    train(trainer, trainer.params)
    yield Finding("SmolLM2, a step", *_step(trainer, before))
    yield Finding("SmolLM2, evaluation", *_evaluated(trainer))


# --- what is not on the card -----------------------------------------------------------------------------------------


def two_processes(setting: Setting) -> Findings:
    """Whether two processes average their gradients."""
    found = gradients_of_a_pair(setting.folder)
    yield Finding("two processes, gloo", f"gradients {found}", "the mean of 1 and 2 in both", found == [[1.5, 1.5]] * 2)
