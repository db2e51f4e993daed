"""In which numbers a device computes."""

from typing import NamedTuple

import torch


class Precision(NamedTuple):
    dtype: torch.dtype
    reason: str


def precision(device: str, capability: tuple[int, int] | None = None) -> Precision:
    """Compute dtype and why. `capability`: CUDA compute capability; asked of the GPU when not given."""
    if device == "cpu":
        return Precision(torch.float32, "CPU: float32, exact and fast enough for the tiny model")
    capability = capability or torch.cuda.get_device_capability()
    if capability >= (8, 0):
        return Precision(torch.bfloat16, f"compute capability {capability}: bfloat16 in hardware (Ampere or later)")
    return Precision(torch.float16, f"compute capability {capability}: no bfloat16 in hardware, so float16 + scaling")
