"""Sampling: a prompt is encoded once, its answers are decoded together, finished answers leave the batch.

The random number of token t of an answer depends on the key of the answer and on t alone (Philox, a counter-based
generator), so the same answers come out whatever else is in the batch, after a resume, and with one or eight prompts
at a time. What remains are ties: logits differ in the last bits with the shape of a batch, and now and then a draw
falls in between.
"""

import copy
import hashlib
from collections.abc import Hashable, Sequence
from typing import NamedTuple

import bitsandbytes as bnb
import numpy as np
import torch
from peft.tuners.lora import LoraLayer
from transformers.cache_utils import Cache, DynamicCache, DynamicLayer, StaticLayer

from studylib.params import RunParams
from studylib.training.models import sampling_mode

LEAVE = 8  # finished rows leave when they are one in so many: taking them out copies the cache


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


def draw(logits: torch.Tensor, u: torch.Tensor, temperature: float = 1.0, top_p: float = 1.0) -> torch.Tensor:
    """One token per row by inverting the distribution function. logits: (R, V); u: (R,) in [0, 1). Greedy at T = 0."""
    if temperature == 0:
        return logits.argmax(-1)
    probabilities = torch.softmax(logits.float() / temperature, -1)
    if top_p < 1:
        probabilities = _nucleus(probabilities, top_p)
    reached = probabilities.cumsum(-1)
    goal = u * (1 - 2**-22) * reached[:, -1]  # below the total, so never a token of probability 0
    return torch.searchsorted(reached, goal[:, None], right=True).squeeze(1)


def _nucleus(probabilities: torch.Tensor, top_p: float) -> torch.Tensor:
    """Keeps the likeliest tokens up to and with the one that reaches `top_p` (Holtzman et al. 2020), unnormalised."""
    ordered, index = probabilities.sort(-1, descending=True)
    ordered = ordered.masked_fill(ordered.cumsum(-1) - ordered >= top_p, 0.0)
    return torch.zeros_like(probabilities).scatter(-1, index, ordered)


class RoomyLayer(DynamicLayer):
    """A cache layer with room for `more` tokens: a new token is written in its place, the others are not copied."""

    def __init__(self, keys: torch.Tensor, values: torch.Tensor, more: int):
        super().__init__()
        self.length = keys.shape[-2]
        self._rooms = [self._room(keys, more), self._room(values, more)]
        self.dtype, self.device, self.is_initialized = keys.dtype, keys.device, True
        self._show()

    @staticmethod
    def _room(filled: torch.Tensor, more: int) -> torch.Tensor:
        rows, heads, length, size = filled.shape
        room = filled.new_empty(rows, heads, length + more, size)
        room[:, :, :length] = filled
        return room

    def _show(self) -> None:
        self.keys, self.values = (room[:, :, : self.length] for room in self._rooms)

    def update(self, key_states, value_states, *args, **kwargs):
        end = self.length + key_states.shape[-2]
        for room, states in zip(self._rooms, (key_states, value_states), strict=True):
            room[:, :, self.length : end] = states
        self.length = end
        self._show()
        return self.keys, self.values

    def batch_select_indices(self, indices: torch.Tensor) -> None:
        self._rooms = [room[indices] for room in self._rooms]
        self._show()


def rollout(
    model,
    prompts: Sequence[Sequence[int]],
    keys: Sequence[Hashable],
    sampling: Sampling,
    pad: int,
    batch: int = 256,
    compiled: bool = False,
) -> list[list[int]]:
    """One answer per prompt: token ids up to and with the end token. Equal prompts are encoded once.

    prompts: token ids, at least two each; keys: what the random numbers of each answer depend on; batch: answers in
    flight; compiled: one token as a compiled function on a cache of fixed size (CUDA graphs), in which finished answers
    stay until the last is done. Prompts of like length are decoded together, which does not change the answers.
    """
    order = sorted(range(len(prompts)), key=lambda i: (len(prompts[i]), tuple(prompts[i])))
    answers: list[list[int]] = [[] for _ in prompts]
    with sampling_mode(model):
        for start in range(0, len(order), batch):
            chosen = order[start : start + batch]
            decoder = (FixedDecoder if compiled else Decoder)(model, [prompts[i] for i in chosen], sampling, pad)
            for i, answer in zip(chosen, _decode(decoder, [keys[i] for i in chosen], sampling, pad), strict=True):
                answers[i] = answer
    return answers


def _decode(decoder: "Decoder", keys: Sequence[Hashable], sampling: Sampling, pad: int) -> list[list[int]]:
    device, n, most = decoder.device, len(keys), sampling.max_new_tokens
    u = torch.from_numpy(uniforms(keys, most)).to(device)
    eos = torch.tensor(sampling.eos, device=device)
    tokens = torch.full((n, most), pad, device=device)
    lengths = torch.full((n,), most, device=device)
    rows = torch.arange(n, device=device)  # the answers in flight
    unfinished = torch.ones_like(rows, dtype=torch.bool)
    for t in range(most):
        token = draw(decoder.next_logits(), u[rows, t], sampling.temperature, sampling.top_p)
        tokens[rows, t] = torch.where(unfinished, token, pad)
        ended = unfinished & torch.isin(token, eos)
        lengths[rows[ended]] = t + 1
        unfinished = unfinished & ~ended
        decoder.token = token
        left = int(unfinished.sum())
        if not left:
            break
        if decoder.can_drop and (len(rows) - left) * LEAVE >= len(rows):
            rows = rows[unfinished]
            decoder.keep(unfinished)
            unfinished = unfinished[unfinished]
    return [row[:length] for row, length in zip(tokens.tolist(), lengths.tolist(), strict=True)]


class Decoder:
    """A model, the cache of its answers so far, and the token of each answer that is to be read next."""

    can_drop = True

    def __init__(self, model, prompts: Sequence[Sequence[int]], sampling: Sampling, pad: int):
        self.model, self.device, self.room = model, model.device, sampling.max_new_tokens + 1
        prefix, mask, of_row = _prefill(model, prompts, pad)
        self.cache = self._roomy(prefix, of_row)
        self.token = torch.tensor([prompt[-1] for prompt in prompts], device=self.device)
        mask = mask[of_row]
        self.position, self.padded = mask.sum(1), not bool(mask.all())
        self.mask = torch.cat([mask, mask.new_ones(len(prompts), self.room)], dim=1)

    def _roomy(self, prefix: DynamicCache, of_row: torch.Tensor) -> DynamicCache:
        cache = DynamicCache()
        cache.layers = [RoomyLayer(layer.keys[of_row], layer.values[of_row], self.room) for layer in prefix.layers]
        return cache

    def next_logits(self) -> torch.Tensor:
        """(R, V) logits after reading the token of each answer."""
        seen = self.cache.get_seq_length() + 1
        logits = self.model(
            input_ids=self.token[:, None],
            attention_mask=self.mask[:, :seen] if self.padded else None,
            position_ids=self.position[:, None],
            past_key_values=self.cache,
            use_cache=True,
        ).logits[:, -1]
        self.position = self.position + 1
        return logits

    def keep(self, rows: torch.Tensor) -> None:
        """Drop the answers whose entry in `rows` (bool) is False."""
        self.token, self.position, self.mask = self.token[rows], self.position[rows], self.mask[rows]
        self.cache.batch_select_indices(rows.nonzero().squeeze(1))


class FixedDecoder(Decoder):
    """The same with tensors that keep size and place, so that one token is one replay of a CUDA graph."""

    can_drop = False

    def __init__(self, model, *args):
        super().__init__(model, *args)
        length = self.mask.shape[1] - self.room
        self.visible = self.mask.bool()[:, None, None, :].clone()
        self.visible[..., length:] = False
        self.seen = length
        if not hasattr(model, "_one_token"):  # compiled once per model and shape
            mode = {"mode": "reduce-overhead"} if self.device.type == "cuda" else {"backend": "eager"}
            model._one_token = torch.compile(model.forward, dynamic=False, **mode)

    def _roomy(self, prefix: DynamicCache, of_row: torch.Tensor) -> Cache:
        length = prefix.get_seq_length()
        layers = []
        for filled in prefix.layers:
            layer = StaticLayer(length + self.room)
            layer.lazy_initialization(filled.keys[of_row], filled.values[of_row])
            layer.update(filled.keys[of_row], filled.values[of_row])
            layers.append(layer)
        return Cache(layers=layers)

    def next_logits(self) -> torch.Tensor:
        self.visible[..., self.seen] = True
        output = self.model._one_token(
            input_ids=self.token[:, None].contiguous(),
            attention_mask=self.visible,
            position_ids=self.position[:, None].contiguous(),
            past_key_values=self.cache,
            use_cache=True,
        )
        self.seen, self.position = self.seen + 1, self.position + 1
        return output.logits[:, -1].clone()  # the next replay overwrites it


def _prefill(model, prompts, pad: int) -> tuple[DynamicCache, torch.Tensor, torch.Tensor]:
    """Cache and mask of all but the last token of the distinct prompts, and which of them each prompt is."""
    distinct = sorted(set(map(tuple, prompts)))
    width = max(map(len, distinct)) - 1
    if min(map(len, distinct)) < 2:
        raise ValueError("a prompt must have at least two tokens")
    ids = torch.tensor([[pad] * (width + 1 - len(p)) + list(p[:-1]) for p in distinct], device=model.device)
    mask = torch.tensor([[0] * (width + 1 - len(p)) + [1] * (len(p) - 1) for p in distinct], device=model.device)
    prefix = model(
        input_ids=ids, attention_mask=mask, position_ids=(mask.cumsum(1) - 1).clamp(min=0), use_cache=True,
        logits_to_keep=1,
    ).past_key_values  # fmt: skip
    index = {prompt: i for i, prompt in enumerate(distinct)}
    return prefix, mask, torch.tensor([index[tuple(prompt)] for prompt in prompts], device=model.device)


class DenseCopy:
    """The policy with plain weights in the compute dtype, for sampling only: base dequantised once, plus the adapter.

    A 4-bit layer unpacks its weights at every token. Here they are unpacked once a step, W + (alpha / r) B A, into a
    copy. The adapter is never merged into the 4-bit weights, which would round it away (QLoRA, arXiv 2305.14314).
    """

    def __init__(self, policy):
        base = policy.get_base_model()
        config = copy.deepcopy(base.config)
        if hasattr(config, "quantization_config"):
            del config.quantization_config
        attention = base.config._attn_implementation
        with torch.device(policy.device):
            self.model = type(base)._from_config(config, dtype=base.dtype, attn_implementation=attention)
        self.model.requires_grad_(False)
        self._layers = []
        for name, module in base.named_modules():
            if isinstance(module, LoraLayer):
                own = self.model.get_submodule(name)
                own.bias = module.get_base_layer().bias
                self._layers.append((module, own.weight))
            elif not name or ".lora_" in name or "base_layer" in name:
                continue
            else:
                own = self.model.get_submodule(name)
                for key, parameter in module.named_parameters(recurse=False):
                    setattr(own, key, parameter)  # embeddings and norms are shared, not copied
        self.refresh()

    @torch.no_grad()
    def refresh(self) -> torch.nn.Module:
        """The copy with the adapter's present weights."""
        for layer, weight in self._layers:
            stored = layer.get_base_layer().weight
            if isinstance(stored, bnb.nn.Params4bit):
                stored = bnb.functional.dequantize_4bit(stored.data, stored.quant_state)
            weight.copy_(stored.float() + layer.get_delta_weight("default").float())
        return self.model


def use_dense_copy(params: RunParams, policy) -> bool:
    """Whether to sample from a dense copy: as `rollout_weights` says, or where twice its size is free on the GPU."""
    if params.rollout_weights != "auto" or params.device == "cpu":
        return params.rollout_weights != "nf4"
    size = sum(module.in_features * module.out_features for module in policy.modules() if isinstance(module, LoraLayer))
    return torch.cuda.mem_get_info()[0] > 2 * size * policy.dtype.itemsize
