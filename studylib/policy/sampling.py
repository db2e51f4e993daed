"""Drawing one token: random numbers that depend on the answer alone, and the distribution that they invert.

The random number of token t of an answer depends on the key of the answer and on t alone (Philox, a counter-based
generator). So the same answers come out whatever else is in the batch, after a resume, and with one or eight prompts
at a time. What remains are ties: logits differ in the last bits with the shape of a batch, and now and then a draw
falls in between.
"""

import hashlib
import math
from collections.abc import Hashable, Sequence
from typing import NamedTuple

import numpy as np
import torch


class Sampling(NamedTuple):
    max_new_tokens: int
    eos: tuple[int, ...]
    temperature: float = 1.0  # 0: greedy
    top_p: float = 1.0


def uniforms(keys: Sequence[Hashable], n: int) -> np.ndarray:
    """(len(keys), n) numbers in [0, 1), float32; row i depends on keys[i] alone."""
    table = np.empty((len(keys), n), np.float32)
    for row, key in zip(table, keys, strict=True):
        bits = int.from_bytes(hashlib.sha256(repr(key).encode()).digest()[:16], "little")
        np.random.Generator(np.random.Philox(key=bits)).random(out=row, dtype=np.float32)
    return table


class NoToken(RuntimeError):
    """Logits from which no token can be drawn."""


def draw(logits: torch.Tensor, u: torch.Tensor, temperature: float = 1.0, top_p: float = 1.0) -> torch.Tensor:
    """One token per row by inverting the distribution function. logits: (R, V); u: (R,) in [0, 1). Greedy at T = 0.

    Raises NoToken where a row holds NaN or +inf, or -inf alone; -inf in some of its places has probability 0.
    """
    token, usable = drawn(logits, u, *checked(temperature, top_p))
    if not bool(usable.all()):
        raise NoToken(unusable(int((~usable).sum()), len(usable)))
    return token


def drawn(logits, u, temperature: float, top_p: float) -> tuple[torch.Tensor, torch.Tensor]:
    """Tokens, (R,), and whether each could be drawn; where not, its token may lie outside the vocabulary."""
    if temperature == 0:
        token = logits.argmax(-1)
        return token, logits.gather(-1, token[:, None]).squeeze(1).isfinite()  # to argmax, NaN is the largest number
    probabilities = torch.softmax(logits.float() / temperature, -1)
    if top_p < 1:
        probabilities = _nucleus(probabilities, top_p)
    reached = probabilities.cumsum(-1)
    total = reached[:, -1]
    # softmax in float32 sums to 1 but for its last bits, so u is scaled to the sum that is there, and kept below it:
    # u * total could round up to it, and the search would then end on a token of probability 0 or beyond the last one.
    goal = u * (1 - 2**-22) * total
    return torch.searchsorted(reached, goal[:, None], right=True).squeeze(1), total.isfinite()


def checked(temperature: float, top_p: float) -> tuple[float, float]:
    if not 0 <= temperature < math.inf:
        raise ValueError(f"temperature = {temperature} is not allowed: a number >= 0")
    if not 0 < top_p <= 1:
        raise ValueError(f"top_p = {top_p} is not allowed: a share > 0, at most 1")
    return temperature, top_p


def unusable(bad: int, rows: int) -> str:
    return (
        f"no token can be drawn for {bad} of {rows} answers: their logits are NaN or infinite, as when float16 "
        "overflows (a GPU with bfloat16 computes such a model) or when training has diverged"
    )


def _nucleus(probabilities: torch.Tensor, top_p: float) -> torch.Tensor:
    """Keeps the likeliest tokens up to and with the one that reaches `top_p` (Holtzman et al. 2020), unnormalised."""
    ordered, index = probabilities.sort(-1, descending=True)
    ordered = ordered.masked_fill(ordered.cumsum(-1) - ordered >= top_p, 0.0)
    return torch.zeros_like(probabilities).scatter(-1, index, ordered)


def log_probability(logits: torch.Tensor, token: torch.Tensor, temperature: float) -> torch.Tensor:
    """(R,) log-probabilities of the drawn tokens; 0 where decoding is greedy."""
    if temperature == 0:
        return torch.zeros(len(token), device=token.device)
    return torch.log_softmax(logits.float() / temperature, -1).gather(-1, token[:, None]).squeeze(1)
