"""One source of random numbers: every draw names its seed, its purpose and an index."""

import contextlib
import zlib

import numpy as np


def generator(seed: int, purpose: str, index: int = 0) -> np.random.Generator:
    """Independent stream for (seed, purpose, index); neighbouring seeds share nothing (numpy SeedSequence)."""
    return np.random.default_rng([seed, zlib.crc32(purpose.encode()), index])


@contextlib.contextmanager
def torch_seed(seed: int, purpose: str, index: int = 0):
    """Run torch code that draws from its global generator on a derived stream, and put the global state back."""
    import torch

    with torch.random.fork_rng():
        torch.manual_seed(int(generator(seed, purpose, index).integers(2**31)))
        yield
