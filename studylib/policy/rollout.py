"""Sampling answers: a prompt is encoded once, its answers are decoded together, finished answers leave the batch."""

import contextlib
from collections.abc import Hashable, Sequence

import torch

from studylib.params import RunParams
from studylib.policy.decoder import Decoder, FixedDecoder, fixed_rows
from studylib.policy.dense import dense_copy, use_dense_copy
from studylib.policy.models import sampling_mode, steady_attention
from studylib.policy.sampling import NoToken, Sampling, checked, drawn, log_probability, uniforms, unusable

LEAVE = 8  # finished rows leave when they are one in so many: taking them out copies the cache


def rollout(
    model,
    prompts: Sequence[Sequence[int]],
    keys: Sequence[Hashable],
    sampling: Sampling,
    pad: int,
    batch: int = 256,
    compiled: bool = False,
    logps: list[list[float]] | None = None,
) -> list[list[int]]:
    """One answer per prompt: token ids up to and with the end token. Equal prompts are encoded once.

    prompts: token ids, at least two each; keys: what the random numbers of each answer depend on; batch: answers in
    flight; compiled: one token as a compiled function on a cache of fixed size (CUDA graphs), in which finished answers
    stay until the last is done; logps: a list that gets the log-probability with which each token of each answer was
    drawn. Prompts of like length are decoded together, which does not change the answers. Raises NoToken where the
    logits are NaN or infinite.
    """
    checked(sampling.temperature, sampling.top_p)
    order = sorted(range(len(prompts)), key=lambda i: (len(prompts[i]), tuple(prompts[i])))
    answers: list[list[int]] = [[] for _ in prompts]
    drawn_with: list[list[float]] = [[] for _ in prompts]
    with sampling_mode(model), as_in_training(model), steady_attention(model):
        for start in range(0, len(order), batch):
            chosen = order[start : start + batch]
            # A compiled function has a fixed number of rows; the last answer fills up those that are over.
            filled = chosen + chosen[-1:] * (fixed_rows(len(chosen), batch) - len(chosen) if compiled else 0)
            decoder = (FixedDecoder if compiled else Decoder)(model, [prompts[i] for i in filled], sampling, pad)
            decoded = _decode(decoder, [keys[i] for i in filled], sampling, pad, measured=logps is not None)
            for i, answer, own_logps in zip(chosen, *decoded, strict=False):
                answers[i], drawn_with[i] = answer, own_logps
    if logps is not None:
        logps[:] = drawn_with
    return answers


def as_in_training(model):
    """Half-precision models sample under autocast, because that is how the trainer computes their log-probabilities."""
    half = model.dtype != torch.float32
    return torch.autocast(model.device.type, dtype=model.dtype) if half else contextlib.nullcontext()


def _decode(
    decoder: "Decoder", keys: Sequence[Hashable], sampling: Sampling, pad: int, measured: bool = False
) -> tuple[list[list[int]], list[list[float]]]:
    """Answers and, where measured, the log-probability of each of their tokens.

    Everything is kept on the device, by answer and position: a device that is asked for one number per token would
    stand still between tokens. `rows` says which answers the rows of the decoder are, because finished ones leave.
    """
    device, n, most = decoder.device, len(keys), sampling.max_new_tokens
    u = torch.from_numpy(uniforms(keys, most)).to(device)
    eos = torch.tensor(sampling.eos, device=device)
    tokens = torch.full((n, most), pad, device=device)
    logps = torch.zeros((n, most if measured else 0), device=device)
    lengths = torch.full((n,), most, device=device)
    rows = torch.arange(n, device=device)  # the answers in flight
    unfinished = torch.ones_like(rows, dtype=torch.bool)
    for t in range(most):
        logits = decoder.next_logits()
        token, usable = drawn(logits, u[rows, t], sampling.temperature, sampling.top_p)
        tokens[rows, t] = torch.where(unfinished, token, pad)  # rows that are finished and still here draw nothing
        bad = (unfinished & ~usable).sum()
        before, ended = unfinished, unfinished & torch.isin(token, eos)
        unfinished = unfinished & ~ended
        left, broken = torch.stack([unfinished.sum(), bad]).tolist()  # the one wait for the device
        if broken:
            raise NoToken(f"token {t + 1} of {most}: {unusable(broken, int(before.sum()))}")
        if measured:
            logps[rows, t] = log_probability(logits, token, sampling.temperature)
        lengths[rows[ended]] = t + 1
        decoder.token = token
        if not left:
            break
        if decoder.can_drop and (len(rows) - left) * LEAVE >= len(rows):
            rows = rows[unfinished]
            decoder.keep(unfinished)
            unfinished = unfinished[unfinished]
    cut = lengths.tolist()
    return tuple([row[:length] for row, length in zip(of.tolist(), cut, strict=True)] for of in (tokens, logps))


def sampler(params: RunParams, policy) -> torch.nn.Module:
    """The model to sample from: the policy's dense copy as its adapter is now, or the policy itself."""
    return dense_copy(policy).refresh() if use_dense_copy(params, policy) else policy
