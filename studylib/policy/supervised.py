"""Supervised training on demonstrations, which are token ids: the response is scored, the prompt is not.

A plain loop, because it scores the responses only and so takes half the time of TRL's SFTTrainer at the size of the
tiny model.
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import torch


class Pair(NamedTuple):
    prompt: list[int]
    response: list[int]  # up to and with the end token


class Recipe(NamedTuple):
    batch: int  # demonstrations per step
    rows_per_pass: int  # of them in a forward pass: gradients are summed, so it is a matter of memory alone
    learning_rate: float  # its peak
    warmup: int  # steps of linear warm-up; then cosine to 0


def supervised(model, pairs: Sequence[Pair], pad: int, recipe: Recipe) -> list[float]:
    """Train what of the model requires gradients on all pairs, once, in their order; returns the loss of every step.

    A model in 16 bits is run under autocast, and in float16 with scaled gradients.
    """
    weights = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(weights, lr=recipe.learning_rate, betas=(0.9, 0.98), weight_decay=0.0)
    steps = -(-len(pairs) // recipe.batch)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: _rate(step, steps, recipe.warmup))
    device, dtype = model.device.type, model.dtype
    scaler = torch.amp.GradScaler(device, enabled=dtype == torch.float16)  # else it does nothing
    losses = []
    for start in range(0, len(pairs), recipe.batch):
        loss = 0.0
        for part, share in _passes(pairs[start : start + recipe.batch], recipe.rows_per_pass):
            with torch.autocast(device, dtype, enabled=dtype != torch.float32):
                of_part = response_loss(model, part, pad) * share
            scaler.scale(of_part).backward()
            loss += float(of_part.detach())
        update(weights, optimizer, schedule, scaler)
        losses.append(loss)
    return losses


def update(weights: Sequence[torch.nn.Parameter], optimizer, schedule, scaler) -> None:
    """One step on the scaled gradients of `weights`, their norm clipped to 1."""
    scaler.unscale_(optimizer)
    torch.nn.utils.clip_grad_norm_(weights, 1.0)
    scaler.step(optimizer)
    scaler.update()
    schedule.step()
    optimizer.zero_grad()


def _passes(batch: Sequence[Pair], rows: int) -> Iterator[tuple[Sequence[Pair], float]]:
    """The batch in parts of like length, each with its share of the batch's response tokens."""
    if rows < len(batch):
        batch = sorted(batch, key=lambda pair: len(pair.prompt))
    tokens = sum(len(pair.response) for pair in batch)
    for start in range(0, len(batch), rows):
        part = batch[start : start + rows]
        yield part, sum(len(pair.response) for pair in part) / tokens


def response_loss(model, pairs: Sequence[Pair], pad: int) -> torch.Tensor:
    """Mean negative log-likelihood of the response tokens, nats per token. Prompts are padded left, responses right."""
    p, c = (max(map(len, part)) for part in zip(*pairs, strict=True))
    ids = torch.tensor([[pad] * (p - len(a)) + a + b + [pad] * (c - len(b)) for a, b in pairs], device=model.device)
    mask = torch.tensor([[0] * (p - len(a)) + [1] * len(a + b) + [0] * (c - len(b)) for a, b in pairs]).to(ids)
    logits = model(
        input_ids=ids, attention_mask=mask, position_ids=(mask.cumsum(1) - 1).clamp(min=0),
        logits_to_keep=c + 1,  # the last prompt position predicts the first response token
    ).logits[:, :-1]  # fmt: skip
    labels = ids[:, p:].masked_fill(mask[:, p:] == 0, -100)
    return torch.nn.functional.cross_entropy(logits.float().flatten(0, 1), labels.flatten())


def _rate(step: int, steps: int, warmup: int) -> float:
    return min(1.0, (step + 1) / warmup) * 0.5 * (1 + np.cos(np.pi * step / steps))
