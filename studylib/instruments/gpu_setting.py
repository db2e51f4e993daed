"""Where the checks of a GPU run and with what: the card or its stand-in, models, parameters, trainers, peak memory."""

import contextlib
import gc
import math
import shutil
import weakref
import zlib
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import NamedTuple

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from transformers import AutoConfig

from studylib import paths
from studylib.instruments.random_models import cut, save_random_model, save_speaking_model
from studylib.params import RunParams
from studylib.policy.memory import GIB, SHAPES, Shape
from studylib.policy.precision import forced_precision
from studylib.policy.tiny_start import demonstrations
from studylib.scenarios.selection import select
from studylib.training.train import prepare
from studylib.training.trainer import StudyTrainer

LARGEST_FILE = 3.2  # GiB of 16-bit weights: a model of more has fewer layers in the checks, and its row says so
SHORT = 4  # layers of the model that steps are tried with
REAL = "HuggingFaceTB/SmolLM2-135M-Instruct"
STEP = {  # a run on scenarios: everything that one does, at a size of seconds
    "profile": "colab_t4", "rewards": "correct=1", "steps": 1, "answers_per_step": 16, "generations": 4,
    "micro_batch": 8, "max_new_tokens": 32, "rollout_batch": 16, "save_every": 100, "eval_every": 0,
    "eval_scenarios": 2, "eval_samples": 1,
}  # fmt: skip
MINIATURE = {
    "vocabulary": 1024, "hidden": 128, "layers": 2, "heads": 2, "kv_heads": 1, "head_dim": 64, "intermediate": 192,
}  # fmt: skip
FEW = {"max_new_tokens": 24, "rollout_batch": 16, "generations": 4, "micro_batch": 4, "lora_r": 8}  # of a profile
USUAL = 2.0**10  # scale of a loss whose gradients float16 holds
SHORTER = {"max_new_tokens": 8, "answers_per_step": 8, "micro_batch": 4, "facts_told": 1}  # of a step


class Skipped(Exception):
    """A check that cannot be made here, and why."""


class Finding(NamedTuple):
    what: str
    found: str
    expected: str
    holds: bool


Findings = Iterator[Finding]


class Setting(NamedTuple):
    """device: cuda, or cpu for the stand-in, whose models are miniatures; folder: for models and runs."""

    device: str
    folder: Path

    @property
    def stand_in(self) -> bool:
        return self.device == "cpu"

    @property
    def prompt(self) -> int:
        """Tokens of a prompt where they are counted."""
        return 64 if self.stand_in else 512

    def precision(self):
        """The stand-in computes in 16 bits, as a card does."""
        return forced_precision(torch.bfloat16) if self.stand_in else contextlib.nullcontext()

    def shape(self, model: str) -> Shape:
        """Of a hub model; raises Skipped for one whose shape is not known."""
        if model not in SHAPES:
            raise Skipped(f"the shape of {model} is not in studylib/policy/memory.py")
        return SHAPES[model]._replace(**MINIATURE) if self.stand_in else SHAPES[model]

    def of_profile(self, name: str) -> tuple[RunParams, Shape]:
        """Two groups of a step of a profile, and its model's shape with as many layers as are tried.

        Raises Skipped where the card is too small for the profile.
        """
        told = RunParams.resolve({"profile": name})
        if not self.stand_in and told.min_gpu_gb > (has := card_gib()):
            raise Skipped(f"needs {told.min_gpu_gb:g} GiB, and the card has {has:.1f}")
        shape = cut(self.shape(told.model), LARGEST_FILE)
        few = FEW if self.stand_in else {}
        given = {"rewards": "correct=1", "steps": 1, "eval_every": 0} | few | self._given(self.counting(shape), name)
        groups = math.lcm(2 * few.get("generations", told.generations), few.get("micro_batch", told.micro_batch))
        return RunParams.resolve(given | {"profile": name, "answers_per_step": groups}), shape

    def of_step(self, name: str, **given) -> RunParams:
        """A run called `name` on scenarios, with a model of few layers that speaks."""
        shape = self.shape(RunParams.resolve({"profile": STEP["profile"]}).model)
        shape = shape._replace(layers=min(SHORT, shape.layers))
        return RunParams.resolve(self._step(self.speaking(shape), name) | given)

    def of_real(self) -> RunParams:
        """A run on scenarios with the real weights of SmolLM2; raises Skipped where they are not in the cache."""
        return RunParams.resolve(self._step(real_weights(), "smollm2"))

    def _step(self, model: Path, name: str) -> dict:
        return STEP | (SHORTER if self.stand_in else {}) | self._given(model, name)

    def _given(self, model: Path, name: str) -> dict:
        runs = str(self.folder / "runs" / name)
        return {"device": self.device, "model": str(model), "revision": "random", "run_root": runs}

    def counting(self, shape: Shape) -> Path:
        """Folder of a random model whose answers are as long as they may be. One is kept at a time: they are large."""
        kept = self.folder / "counting"
        if not (kept / _name(shape)).exists():
            shutil.rmtree(kept, ignore_errors=True)
        return _saved(kept, shape, save_random_model)

    def speaking(self, shape: Shape) -> Path:
        """Folder of a random model that can be asked about scenarios."""
        pairs = demonstrations(RunParams.resolve({"profile": STEP["profile"]}), 300)
        save = partial(save_speaking_model, texts=[" ".join(pair) for pair in pairs])
        return _saved(self.folder / "speaking", shape, save)


def _name(shape: Shape) -> str:
    return f"{shape.kind}-{shape.hidden}-{shape.layers}"


def _saved(kept: Path, shape: Shape, save: Callable[[Path, Shape], None]) -> Path:
    """Folder of a model, which is made when it is not there: whole, because its maker may be stopped."""
    folder, scratch = kept / _name(shape), kept / "scratch"
    if not folder.exists():
        shutil.rmtree(scratch, ignore_errors=True)
        save(scratch, shape)
        scratch.rename(folder)
    return folder


def real_weights() -> Path:
    """Folder of SmolLM2-135M-Instruct in the cache, where `make model` keeps it."""
    for config in sorted((paths.CACHE / "models").glob("*/config.json")):
        if Shape.of(AutoConfig.from_pretrained(config.parent)) == SHAPES[REAL]:
            return config.parent
    raise Skipped(f"{REAL} is not in the cache: run `make model` first")


def card_gib() -> float:
    return torch.cuda.get_device_properties(0).total_memory / GIB


def differing(completions, **columns) -> list[float]:
    """A reward that differs between any two answers."""
    return [zlib.crc32(chat[0]["content"].encode()) / 2**32 for chat in completions]


def prepared(params: RunParams) -> StudyTrainer:
    """An untrained trainer on scenarios, paid by `differing`."""
    return prepare(params, select(params)["train"], rewards=[differing])


def adapter(trainer: StudyTrainer) -> torch.Tensor:
    """All LoRA weights as one vector on the CPU."""
    return torch.cat([p.detach().float().cpu().flatten() for p in trainer.model.parameters() if p.requires_grad])


def scale_as_usual(trainer: StudyTrainer, scale: float = USUAL) -> None:
    """Where gradients are scaled: a scale that float16 holds. A fresh scaler leaves its first steps out to find it."""
    if scaler := trainer.accelerator.scaler:
        scaler.load_state_dict(scaler.state_dict() | {"scale": scale})


@torch.no_grad()
def disturb(trainer: StudyTrainer) -> None:
    """Give a fresh adapter, which does nothing yet, something to do."""
    torch.manual_seed(0)
    for name, parameter in trainer.model.named_parameters():
        if "lora_B" in name:
            parameter.normal_(std=0.02)


class Held(TorchDispatchMode):
    """How many bytes the tensors hold that are made while the mode is on, and the most that they held at once."""

    def __init__(self):
        super().__init__()
        self.now = self.most = 0
        self.known: weakref.WeakSet = weakref.WeakSet()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        made = func(*args, **(kwargs or {}))
        for tensor in tree_leaves(made):
            if isinstance(tensor, torch.Tensor):
                self._count(tensor.untyped_storage())
        return made

    def _count(self, storage) -> None:
        if storage not in self.known:
            self.known.add(storage)
            weakref.finalize(storage, self._add, -storage.nbytes())
            self._add(storage.nbytes())

    def _add(self, size: int) -> None:
        self.now += size
        self.most = max(self.most, self.now)


@contextlib.contextmanager
def peak_memory(device: str) -> Iterator[list[float]]:
    """A list that gets the most memory, GiB, that tensors held at once: on CUDA by the allocator's own count; on a CPU
    of those that are made inside the block, without what an operation needs in between."""
    peak: list[float] = []
    if device == "cuda":
        gc.collect()  # what the last check left
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
        yield peak
        peak.append(torch.cuda.max_memory_allocated() / GIB)
    else:
        with Held() as held:
            yield peak
        peak.append(held.most / GIB)
