"""Sampling: a prompt is encoded once, its answers are decoded together, finished answers leave the batch.

The random number of token t of an answer depends on the key of the answer and on t alone (Philox, a counter-based
generator), so the same answers come out whatever else is in the batch, after a resume, and with one or eight prompts
at a time. What remains are ties: logits differ in the last bits with the shape of a batch, and now and then a draw
falls in between.
"""

import contextlib
import copy
import hashlib
import logging
import math
from collections.abc import Hashable, Sequence
from typing import NamedTuple

import bitsandbytes as bnb
import numpy as np
import torch
from peft.tuners.lora import LoraLayer
from torch._dynamo.exc import FailOnRecompileLimitHit
from transformers.cache_utils import Cache, DynamicCache, DynamicLayer, StaticLayer

from studylib.params import RunParams
from studylib.policy.memory import fits_with_dense_copy
from studylib.policy.models import sampling_mode, steady_attention

logger = logging.getLogger(__name__)

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


class NoToken(RuntimeError):
    """Logits from which no token can be drawn."""


def draw(logits: torch.Tensor, u: torch.Tensor, temperature: float = 1.0, top_p: float = 1.0) -> torch.Tensor:
    """One token per row by inverting the distribution function. logits: (R, V); u: (R,) in [0, 1). Greedy at T = 0.

    Raises NoToken where a row holds NaN or +inf, or -inf alone; -inf in some of its places has probability 0.
    """
    token, usable = _drawn(logits, u, *_checked(temperature, top_p))
    if not bool(usable.all()):
        raise NoToken(_unusable(int((~usable).sum()), len(usable)))
    return token


def _drawn(logits, u, temperature: float, top_p: float) -> tuple[torch.Tensor, torch.Tensor]:
    """Tokens, (R,), and whether each could be drawn; where not, its token may lie outside the vocabulary."""
    if temperature == 0:
        token = logits.argmax(-1)
        return token, logits.gather(-1, token[:, None]).squeeze(1).isfinite()  # to argmax, NaN is the largest number
    probabilities = torch.softmax(logits.float() / temperature, -1)
    if top_p < 1:
        probabilities = _nucleus(probabilities, top_p)
    reached = probabilities.cumsum(-1)
    total = reached[:, -1]
    goal = u * (1 - 2**-22) * total  # below the total, so never a token of probability 0
    return torch.searchsorted(reached, goal[:, None], right=True).squeeze(1), total.isfinite()


def _checked(temperature: float, top_p: float) -> tuple[float, float]:
    if not 0 <= temperature < math.inf:
        raise ValueError(f"temperature = {temperature} is not allowed: a number >= 0")
    if not 0 < top_p <= 1:
        raise ValueError(f"top_p = {top_p} is not allowed: a share > 0, at most 1")
    return temperature, top_p


def _unusable(bad: int, rows: int) -> str:
    return (
        f"no token can be drawn for {bad} of {rows} answers: their logits are NaN or infinite, as when float16 "
        "overflows (a GPU with bfloat16 computes such a model) or when training has diverged"
    )


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
    logps: list[list[float]] | None = None,
) -> list[list[int]]:
    """One answer per prompt: token ids up to and with the end token. Equal prompts are encoded once.

    prompts: token ids, at least two each; keys: what the random numbers of each answer depend on; batch: answers in
    flight; compiled: one token as a compiled function on a cache of fixed size (CUDA graphs), in which finished answers
    stay until the last is done; logps: a list that gets the log-probability with which each token of each answer was
    drawn. Prompts of like length are decoded together, which does not change the answers. Raises NoToken where the
    logits are NaN or infinite.
    """
    _checked(sampling.temperature, sampling.top_p)
    order = sorted(range(len(prompts)), key=lambda i: (len(prompts[i]), tuple(prompts[i])))
    answers: list[list[int]] = [[] for _ in prompts]
    drawn_with: list[list[float]] = [[] for _ in prompts]
    with sampling_mode(model), as_in_training(model), steady_attention(model):
        for start in range(0, len(order), batch):
            chosen = order[start : start + batch]
            shown = chosen + chosen[-1:] * (_fixed_rows(len(chosen), batch) - len(chosen) if compiled else 0)
            decoder = (FixedDecoder if compiled else Decoder)(model, [prompts[i] for i in shown], sampling, pad)
            decoded = _decode(decoder, [keys[i] for i in shown], sampling, pad, measured=logps is not None)
            for i, answer, said in zip(chosen, *decoded, strict=False):
                answers[i], drawn_with[i] = answer, said
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
    """Answers and, where measured, the log-probability of each of their tokens."""
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
        token, usable = _drawn(logits, u[rows, t], sampling.temperature, sampling.top_p)
        tokens[rows, t] = torch.where(unfinished, token, pad)
        bad = (unfinished & ~usable).sum()
        before, ended = unfinished, unfinished & torch.isin(token, eos)
        unfinished = unfinished & ~ended
        left, broken = torch.stack([unfinished.sum(), bad]).tolist()  # the one wait for the device
        if broken:
            raise NoToken(f"token {t + 1} of {most}: {_unusable(broken, int(before.sum()))}")
        if measured:
            logps[rows, t] = _log_probability(logits, token, sampling.temperature)
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


def _log_probability(logits: torch.Tensor, token: torch.Tensor, temperature: float) -> torch.Tensor:
    """(R,) log-probabilities of the drawn tokens; 0 where decoding is greedy."""
    if temperature == 0:
        return torch.zeros(len(token), device=token.device)
    return torch.log_softmax(logits.float() / temperature, -1).gather(-1, token[:, None]).squeeze(1)


class Decoder:
    """A model, the cache of its answers so far, and the token of each answer that is to be read next."""

    can_drop, multiple = True, 1  # whether finished answers can leave; what the prompts' width is a multiple of

    def __init__(self, model, prompts: Sequence[Sequence[int]], sampling: Sampling, pad: int):
        self.model, self.device, self.room = model, model.device, sampling.max_new_tokens + 1
        prefix, mask, of_row = _prefill(model, prompts, pad, self.multiple)
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


WIDTH = 128  # prompts of a compiled rollout are padded to a multiple of so many tokens
GRAPHS = 32  # compiled functions of one token, one per number of rows and length of the cache


def _fixed_rows(n: int, batch: int) -> int:
    """The rows of a compiled rollout: the next power of two, at most `batch`, so that few graphs are needed."""
    return min(1 << (n - 1).bit_length(), batch)


class FixedDecoder(Decoder):
    """The same with tensors that keep size and place, so that one token is one replay of a CUDA graph.

    There is a graph for each pair of rows and length, so both come in steps. Raises RuntimeError with the next graph
    after `GRAPHS`, where torch would go on uncompiled without a word.
    """

    can_drop, multiple = False, WIDTH

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
        with _limited_graphs():
            output = self.model._one_token(
                input_ids=self.token[:, None].contiguous(),
                attention_mask=self.visible,
                position_ids=self.position[:, None].contiguous(),
                past_key_values=self.cache,
                use_cache=True,
            )
        self.seen, self.position = self.seen + 1, self.position + 1
        return output.logits[:, -1].clone()  # the next replay overwrites it


@contextlib.contextmanager
def _limited_graphs():
    """Torch's limit of compiled functions is `GRAPHS`, and beyond it is an error."""
    try:
        with torch._dynamo.config.patch(recompile_limit=GRAPHS, fail_on_recompile_limit_hit=True):
            yield
    except FailOnRecompileLimitHit as error:
        raise RuntimeError(
            f"rollout_compile: more than {GRAPHS} numbers of answers and prompt lengths would each need a CUDA graph; "
            "set rollout_compile false or rollout_batch to a divisor of the answers"
        ) from error


def _prefill(model, prompts, pad: int, multiple: int = 1) -> tuple[DynamicCache, torch.Tensor, torch.Tensor]:
    """Cache and mask of all but the last token of the distinct prompts, and which of them each prompt is.

    The width is rounded up to a multiple of `multiple`.
    """
    distinct = sorted(set(map(tuple, prompts)))
    width = -(-(max(map(len, distinct)) - 1) // multiple) * multiple
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


class AdaptedLinear(torch.nn.Module):
    """A dense layer with its adapter beside it: x W + bias + s B(A(x)), step by step as PEFT computes it in training.

    Added to a 16-bit weight, an update smaller than half its last bit is lost, and an adapter begins with such updates:
    the first steps would be sampled from the untrained policy. `a` and `b` are the adapter in the compute dtype, to
    which autocast rounds it in training too.
    """

    def __init__(self, weight: torch.nn.Parameter, bias, layer: LoraLayer):
        super().__init__()
        self.weight, self.bias, self.scaling = weight, bias, layer.scaling["default"]
        for name, own in (("a", layer.lora_A), ("b", layer.lora_B)):
            self.register_buffer(name, torch.empty_like(own["default"].weight, dtype=weight.dtype), persistent=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        dense = torch.nn.functional.linear(x, self.weight, self.bias).to(x.dtype)
        return dense + torch.nn.functional.linear(torch.nn.functional.linear(x, self.a), self.b) * self.scaling

    def refresh(self, layer: LoraLayer) -> None:
        self.a.copy_(layer.lora_A["default"].weight)
        self.b.copy_(layer.lora_B["default"].weight)


class DenseCopy:
    """The policy with plain weights in the compute dtype, for sampling only: base dequantised once, and the adapter.

    A 4-bit layer unpacks its weights at every token. Here they are unpacked into a copy. In float32 the adapter is
    added to the copy's weights, W + (alpha / r) B A, once a step; in 16 bits it stays beside them (`AdaptedLinear`). It
    is never merged into the 4-bit weights, which would round it away (QLoRA, arXiv 2305.14314).
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
        self._layers, self.merged = [], base.dtype == torch.float32
        for name, module in base.named_modules():
            if isinstance(module, LoraLayer):
                self._layers.append((module, self._linear(name, module)))
            elif not name or ".lora_" in name or "base_layer" in name:
                continue
            else:
                own = self.model.get_submodule(name)
                for key, parameter in module.named_parameters(recurse=False):
                    setattr(own, key, parameter)  # embeddings and norms are shared, not copied
        self.refresh()

    def _linear(self, name: str, module: LoraLayer) -> torch.nn.Module:
        """The copy's layer for a layer of the policy; its own adapter is beside it where it cannot be merged."""
        own = self.model.get_submodule(name)
        own.bias = module.get_base_layer().bias
        if self.merged:
            return own
        with torch.no_grad():
            own.weight.copy_(_dequantised(module))
        beside = AdaptedLinear(own.weight, own.bias, module)
        self.model.set_submodule(name, beside)
        return beside

    @torch.no_grad()
    def refresh(self) -> torch.nn.Module:
        """The copy with the adapter's present weights."""
        for layer, own in self._layers:
            if self.merged:
                own.weight.copy_(_dequantised(layer).float() + layer.get_delta_weight("default").float())
            else:
                own.refresh(layer)
        return self.model


def _dequantised(layer: LoraLayer) -> torch.Tensor:
    stored = layer.get_base_layer().weight
    if isinstance(stored, bnb.nn.Params4bit):
        return bnb.functional.dequantize_4bit(stored.data, stored.quant_state)
    return stored


def dense_copy(policy) -> DenseCopy:
    """The policy's dense copy, made once and kept with it; `refresh` gives it the adapter's present weights."""
    if "_dense_copy" not in vars(policy):
        vars(policy)["_dense_copy"] = DenseCopy(policy)  # not a submodule: it is neither trained nor saved
    return policy._dense_copy


def use_dense_copy(params: RunParams, policy) -> bool:
    """Whether to sample from a dense copy: as `rollout_weights` says, or where the GPU as a whole has room for it.

    What is free at the moment is not asked, so that a run samples alike before, during and after training.
    """
    if params.rollout_weights != "auto" or params.device == "cpu":
        return params.rollout_weights != "nf4"
    return fits_with_dense_copy(params, policy.config)


def sampler(params: RunParams, policy) -> torch.nn.Module:
    """The model to sample from: the policy's dense copy as its adapter is now, or the policy itself."""
    return dense_copy(policy).refresh() if use_dense_copy(params, policy) else policy
