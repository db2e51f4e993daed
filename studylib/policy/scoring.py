"""Log-probabilities of answers with every prompt encoded once, however many answers it has.

A prompt without its last token is encoded with gradients on; its KV cache is repeated for its answers; only the last
prompt token and the answers are run for each of them. Autograd flows through the cache, so values and gradients are
those of encoding the prompt again for every answer (tests/training/test_fast_path.py has the tolerance). The language-
model head is TRL's or, on a CPU, that of `head.py`; both take the tokens in chunks: logits of all answers are never in
memory at once.
"""

import contextlib
from functools import partial
from typing import NamedTuple

import torch
from torch.utils.checkpoint import checkpoint
from transformers.cache_utils import Cache, DynamicCache, DynamicLayer
from transformers.modeling_layers import GradientCheckpointingLayer

from studylib import processes
from studylib.policy.head import token_scores
from studylib.policy.models import steady_attention
from studylib.policy.products import own_head


class Scores(NamedTuple):
    logps: torch.Tensor  # (B, C) log-probability of each answer token at the trainer's temperature; 0 where masked
    entropy: torch.Tensor  # (B, C) entropy of the distribution that it was drawn from, nats
    hidden: torch.Tensor  # (B, C, d) last hidden state in which each answer token was drawn
    prompt: torch.Tensor  # (B, d) mean of the last hidden states of the prompt, its last token left out


def why_not(model) -> str | None:
    """The reason why prompts cannot be shared in this model, or None when they can."""
    config = model.config.get_text_config()
    kinds = set(getattr(config, "layer_types", None) or ["full_attention"])
    if kinds != {"full_attention"}:
        return f"its layers are not all full attention: {', '.join(sorted(kinds))}"
    if getattr(config, "is_encoder_decoder", False):
        return "it is an encoder-decoder model"
    if getattr(config, "num_experts", None) or getattr(config, "num_local_experts", None):
        return "it is a mixture of experts, whose balance counts every prompt token"
    return None


def shared_prompt_scores(model, input_ids: torch.Tensor, attention_mask: torch.Tensor, n_answer: int) -> Scores:
    """Scores of the last `n_answer` columns of each row.

    input_ids, attention_mask: (B, P + C), prompts padded left, answers right. Rows with equal prompts share one
    encoding, whatever their order. `model` has TRL's fused head (GRPOTrainer adds it) and stays in train() mode.
    With gradient checkpointing on, groups are scored one after the other, and each layer of a group is computed again
    in the backward pass: between the two only the inputs of the layers and the prompts' keys and values are kept.
    """
    prompts, answers = input_ids[:, :-n_answer], input_ids[:, -n_answer:]
    prompt_mask, answer_mask = attention_mask[:, :-n_answer], attention_mask[:, -n_answer:]
    prompts, group, first = _distinct(prompts, prompt_mask)
    prompt_mask = prompt_mask[first]
    if prompts.shape[1] < 2:
        raise ValueError("a prompt of one token has no part to share")
    order = group.argsort(stable=True)
    counts = torch.bincount(group)
    parts = (prompts, prompt_mask, counts, answers[order], answer_mask[order])
    lean = torch.is_grad_enabled() and _checkpointing(model)
    with steady_attention(model), _layers_again(model) if lean else _caching(model):
        scores = _by_group(model, *parts) if lean else _score(model, *parts)
    back = order.argsort()
    return Scores(*(values[back] for values in scores))


def scores_in_passes(model, input_ids, attention_mask, n_answer: int, rows: int, group: int) -> Scores:
    """`shared_prompt_scores` of at most `rows` rows at a time: equal to one pass, in the memory of `rows`.

    The rows of a group, `group` of them one after the other, stay in one pass unless they are more than `rows`. Passes
    are dealt to the processes of a run, and every process gets all scores.
    """
    size = rows // group * group or rows
    parts = list(zip(input_ids.split(size), attention_mask.split(size), strict=True))
    passes = processes.dealt(lambda ids, mask: shared_prompt_scores(model, ids, mask, n_answer), parts)
    return Scores(*(torch.cat(values) for values in zip(*passes, strict=True)))


def _distinct(prompts, mask) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Distinct prompts without columns that are padding everywhere, the prompt of each row, a row of each prompt."""
    keyed = torch.where(mask.bool(), prompts, -1)  # what a padded place holds makes no other prompt
    distinct, group = torch.unique(keyed, dim=0, return_inverse=True)
    first = torch.zeros(len(distinct), dtype=torch.long, device=group.device)
    first[group.flip(0)] = torch.arange(len(group) - 1, -1, -1, device=group.device)
    return prompts[first], group, first


def _score(model, prompts, prompt_mask, counts, answers, answer_mask, again: bool = False) -> tuple[torch.Tensor, ...]:
    """Scores of answers that stand in the order of their prompts; counts: (N,) answers of each prompt.

    again: the layers will be run again in the backward pass, so a second update must leave their caches as they are.
    """
    used = int(prompt_mask.any(0).int().argmax())  # columns before it are padding in every prompt
    prompts, prompt_mask = prompts[:, used:], prompt_mask[:, used:]
    group = torch.repeat_interleave(torch.arange(len(counts), device=counts.device), counts)
    cache = _cache_of_prompts(model) if again else DynamicCache(config=model.config)
    with _last_hidden(model) as hidden:
        model(
            input_ids=prompts[:, :-1],
            attention_mask=_needed(prompt_mask[:, :-1]),
            position_ids=_positions(prompt_mask[:, :-1]),
            past_key_values=cache,
            use_cache=not again,
            logits_to_keep=1,
        )
        if again:
            cache = Cache(layers=[AnswersLayer(layer, counts, group) for layer in cache.layers])
        else:
            repeat_cache(cache, counts, group)
        # Row t holds the token before answer token t, so its output is the distribution that t was drawn from. That is
        # why the prompt's last token was kept back, and why an answer's last token need not be run at all.
        rows = torch.cat([prompts[group, -1:], answers[:, :-1]], dim=1)
        mask = torch.cat([prompt_mask[group], answer_mask[:, :-1]], dim=1)
        steps = torch.arange(rows.shape[1], device=rows.device)
        logps, entropy = _of_tokens(
            model,
            answers.masked_fill(answer_mask == 0, -100),
            input_ids=rows,
            attention_mask=_needed(mask),
            position_ids=prompt_mask[group].sum(1, keepdim=True) - 1 + steps,  # padding on the left has no positions
            past_key_values=cache,
        )
    seen = prompt_mask[:, :-1, None]
    prompt = (hidden[0] * seen).sum(1) / seen.sum(1).clamp(min=1)
    return logps, entropy, hidden[1], prompt[group]


def _of_tokens(model, labels: torch.Tensor, **inputs) -> tuple[torch.Tensor, torch.Tensor]:
    """Log-probability and entropy of each label, by TRL's head or, where the products are ours, by `head.py`."""
    if temperature := own_head(model):
        return token_scores(model, temperature, labels, **inputs)
    output = model(**inputs, shift_labels=labels, fused_lm_head=True)
    return output.log_probs, output.entropy


def _by_group(model, prompts, prompt_mask, counts, answers, answer_mask) -> tuple[torch.Tensor, ...]:
    """`_score` of one prompt at a time, so that a layer that is computed again holds the activations of one group."""
    sizes, scored = counts.tolist(), []
    for i, (own, own_mask) in enumerate(zip(answers.split(sizes), answer_mask.split(sizes), strict=True)):
        one = slice(i, i + 1)
        scored.append(_score(model, prompts[one], prompt_mask[one], counts[one], own, own_mask, again=True))
    return tuple(torch.cat(values) for values in zip(*scored, strict=True))


class PromptLayer(DynamicLayer):
    """A cache layer that keeps what it is given first; the same again, in the backward pass, changes nothing."""

    def update(self, key_states, value_states, *args, **kwargs):
        if not self.is_initialized:
            _fill(self, key_states, value_states)
        return key_states, value_states


class AnswersLayer(DynamicLayer):
    """The prompts' keys and values before those of their answers, which are not kept; repeated where they are read."""

    def __init__(self, prompts: PromptLayer, counts: torch.Tensor, group: torch.Tensor):
        super().__init__()
        _fill(self, prompts.keys, prompts.values)
        self._answers = counts, group

    def update(self, key_states, value_states, *args, **kwargs):
        repeated = DynamicLayer()
        _fill(repeated, self.keys, self.values)
        repeat_cache(repeated, *self._answers)
        return torch.cat([repeated.keys, key_states], dim=-2), torch.cat([repeated.values, value_states], dim=-2)


def _fill(layer: DynamicLayer, keys: torch.Tensor, values: torch.Tensor) -> None:
    layer.keys, layer.values, layer.is_initialized = keys, values, True
    layer.dtype, layer.device = keys.dtype, keys.device


def _cache_of_prompts(model) -> Cache:
    return Cache(layers=[PromptLayer() for _ in range(model.config.get_text_config().num_hidden_layers)])


def repeat_cache(cache, counts: torch.Tensor, group: torch.Tensor) -> None:
    """Repeat each prompt's keys and values for its answers, in place. `cache`: a whole one, or one of its layers."""
    if bool((counts == counts[0]).all()):
        cache.batch_repeat_interleave(int(counts[0]))  # its backward is a sum, faster than that of an index
    else:
        cache.batch_select_indices(group)


def _positions(mask: torch.Tensor) -> torch.Tensor:
    return (mask.cumsum(1) - 1).clamp(min=0)


def _needed(mask: torch.Tensor) -> torch.Tensor | None:
    """No mask where there is no padding: attention is faster without one."""
    return None if bool(mask.all()) else mask


def _checkpointing(model) -> bool:
    return any(getattr(module, "gradient_checkpointing", False) for module in model.modules())


@contextlib.contextmanager
def _last_hidden(model):
    """A list that gets the last hidden states, (rows, tokens, d), of each pass through the model."""
    causal = model.get_base_model() if hasattr(model, "get_base_model") else model
    states: list[torch.Tensor] = []
    handle = causal.base_model.register_forward_hook(lambda *call: states.append(call[-1].last_hidden_state))
    try:
        yield states
    finally:
        handle.remove()


@contextlib.contextmanager
def _caching(model):
    """Layers keep their cache: transformers drops it where gradient checkpointing is on."""
    switched = [module for module in model.modules() if getattr(module, "gradient_checkpointing", False)]
    for module in switched:
        module.gradient_checkpointing = False
    try:
        yield
    finally:
        for module in switched:
            module.gradient_checkpointing = True


@contextlib.contextmanager
def _layers_again(model):
    """Layers that are checkpointed keep their cache: those of `_score` may be updated twice."""
    layers = [m for m in model.modules() if isinstance(m, GradientCheckpointingLayer) and m.gradient_checkpointing]
    before = [layer._gradient_checkpointing_func for layer in layers]
    contexts = partial(_both_contexts, model)
    for layer in layers:
        layer._can_checkpoint_with_cache = True
        layer._gradient_checkpointing_func = partial(checkpoint, use_reentrant=False, context_fn=contexts)
    try:
        yield
    finally:
        for layer, function in zip(layers, before, strict=True):
            del layer._can_checkpoint_with_cache
            layer._gradient_checkpointing_func = function


def _both_contexts(model) -> tuple:
    """What a checkpointed layer runs in: in the forward pass as everything around it, again in the backward pass."""
    return contextlib.nullcontext(), steady_attention(model)
