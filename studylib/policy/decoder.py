"""One token at a time for many answers: the caches of their prompts and answers, growing or of fixed size."""

import contextlib
from collections.abc import Sequence

import torch
from torch._dynamo.exc import FailOnRecompileLimitHit
from transformers.cache_utils import Cache, DynamicCache, DynamicLayer, StaticLayer

from studylib.policy.sampling import Sampling

WIDTH = 128  # prompts of a compiled rollout are padded to a multiple of so many tokens
GRAPHS = 32  # compiled functions of one token, one per number of rows and length of the cache


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


class Decoder:
    """A model, the cache of its answers so far, and the token of each answer that is to be read next."""

    can_drop, multiple = True, 1  # whether finished answers can leave; what the prompts' width is a multiple of

    def __init__(self, model, prompts: Sequence[Sequence[int]], sampling: Sampling, pad: int):
        self.model, self.device, self.room = model, model.device, sampling.max_new_tokens + 1
        prefix, mask, of_row = _prefill(model, prompts, pad, self.multiple)
        self.cache = self._roomy(prefix, of_row)
        # The prompt's last token is left out of the prefill and read here: its logits are those of the first token.
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
        self.choose(rows.nonzero().squeeze(1))

    def choose(self, rows: torch.Tensor) -> None:
        """Go on with the answers of these indices, in their order; one that is there twice is two answers."""
        self.token, self.position, self.mask = self.token[rows], self.position[rows], self.mask[rows]
        self.cache.batch_select_indices(rows)


def fixed_rows(n: int, batch: int) -> int:
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
