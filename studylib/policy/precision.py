"""In which numbers a device computes."""

import contextlib
from collections.abc import Iterator
from contextvars import ContextVar
from typing import NamedTuple

import torch
from transformers import BitsAndBytesConfig


class Precision(NamedTuple):
    dtype: torch.dtype
    reason: str


_forced: ContextVar[Precision | None] = ContextVar("forced precision", default=None)


@contextlib.contextmanager
def forced_precision(dtype: torch.dtype) -> Iterator[None]:
    """Compute in `dtype` whatever the device: float16 on a card with bfloat16, 16 bits on a CPU. For checks."""
    before = _forced.set(Precision(dtype, f"{str(dtype).removeprefix('torch.')}, as asked for"))
    try:
        yield
    finally:
        _forced.reset(before)


def precision(device: str, capability: tuple[int, int] | None = None) -> Precision:
    """Compute dtype and why. `capability`: CUDA compute capability; asked of the GPU when not given."""
    if forced := _forced.get():
        return forced
    if device == "cpu":
        return Precision(torch.float32, "CPU: float32, exact and fast enough for the tiny model")
    capability = capability or torch.cuda.get_device_capability()
    if capability >= (8, 0):
        return Precision(torch.bfloat16, f"compute capability {capability}: bfloat16 in hardware (Ampere or later)")
    return Precision(torch.float16, f"compute capability {capability}: no bfloat16 in hardware, so float16 + scaling")


def nf4(dtype: torch.dtype) -> BitsAndBytesConfig:
    """4-bit NormalFloat with double quantisation (QLoRA, arXiv 2305.14314), computing in `dtype`."""
    return BitsAndBytesConfig(
        load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_use_double_quant=True, bnb_4bit_compute_dtype=dtype
    )
