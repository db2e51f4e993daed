"""Log-probabilities of answers with every prompt encoded once, however many answers it has.

A prompt without its last token is encoded with gradients on; its KV cache is repeated for its answers; only the last
prompt token and the answers are run for each of them. Autograd flows through the cache, so values and gradients are
those of encoding the prompt again for every answer (the test says how nearly). The language-model head is TRL's, which
takes the tokens in chunks: logits of all answers never stand in memory at once.
"""

import contextlib
from typing import NamedTuple

import torch
from torch.utils.checkpoint import checkpoint


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
    With gradient checkpointing on, groups are scored one after the other and computed again in the backward pass.
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
    scores = _by_group(model, *parts) if lean else _score(model, *parts)
    back = order.argsort()
    return Scores(*(values[back] for values in scores))


def _distinct(prompts, mask) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Distinct prompts without columns that are padding everywhere, the prompt of each row, a row of each prompt."""
    keyed = torch.where(mask.bool(), prompts, -1)
    distinct, group = torch.unique(keyed, dim=0, return_inverse=True)
    first = torch.zeros(len(distinct), dtype=torch.long, device=group.device)
    first[group.flip(0)] = torch.arange(len(group) - 1, -1, -1, device=group.device)
    return prompts[first], group, first


def _score(model, prompts, prompt_mask, counts, answers, answer_mask) -> tuple[torch.Tensor, ...]:
    """Scores of answers that stand in the order of their prompts; counts: (N,) answers of each prompt."""
    used = int(prompt_mask.any(0).int().argmax())  # columns to the left are padding in every prompt
    prompts, prompt_mask = prompts[:, used:], prompt_mask[:, used:]
    group = torch.repeat_interleave(torch.arange(len(counts), device=counts.device), counts)
    with _caching(model), _last_hidden(model) as hidden:
        cache = model(
            input_ids=prompts[:, :-1],
            attention_mask=_needed(prompt_mask[:, :-1]),
            position_ids=_positions(prompt_mask[:, :-1]),
            use_cache=True,
            logits_to_keep=1,
        ).past_key_values
        repeat_cache(cache, counts, group)
        rows = torch.cat([prompts[group, -1:], answers[:, :-1]], dim=1)
        mask = torch.cat([prompt_mask[group], answer_mask[:, :-1]], dim=1)
        steps = torch.arange(rows.shape[1], device=rows.device)
        output = model(
            input_ids=rows,
            attention_mask=_needed(mask),
            position_ids=prompt_mask[group].sum(1, keepdim=True) - 1 + steps,
            past_key_values=cache,
            shift_labels=answers.masked_fill(answer_mask == 0, -100),
            fused_lm_head=True,
        )
    seen = prompt_mask[:, :-1, None]
    prompt = (hidden[0] * seen).sum(1) / seen.sum(1).clamp(min=1)
    return output.log_probs, output.entropy, hidden[1], prompt[group]


def _by_group(model, prompts, prompt_mask, counts, answers, answer_mask) -> tuple[torch.Tensor, ...]:
    """`_score` of one prompt at a time, computed again in the backward pass: activations of one group at a time."""
    scored = []
    for i, (own, own_mask) in enumerate(
        zip(answers.split(counts.tolist()), answer_mask.split(counts.tolist()), strict=True)
    ):
        parts = (prompts[i : i + 1], prompt_mask[i : i + 1], counts[i : i + 1], own, own_mask)
        scored.append(checkpoint(_score, model, *parts, use_reentrant=False))
    return tuple(torch.cat(values) for values in zip(*scored, strict=True))


def repeat_cache(cache, counts: torch.Tensor, group: torch.Tensor) -> None:
    """Repeat each prompt's keys and values for its answers, in place."""
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
