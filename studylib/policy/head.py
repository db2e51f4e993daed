"""Log-probabilities of tokens from hidden states on a CPU, with the gradient found on the way.

TRL's head, made for GPUs, computes all logits again in its backward pass. The gradient of a token's log-probability is
its row of the head less the mean row under the policy, and that mean is at hand while the logits are: so it is kept,
(N, d) numbers, and the backward pass is a product by element.
"""

import torch
from torch.autograd.function import once_differentiable

from studylib.policy.products import product

ROWS = 128  # tokens whose logits are in memory at once


class TokenScores(torch.autograd.Function):
    """(log-probability, entropy), each (N,), of target tokens under softmax(h W^T / T).

    hidden: (N, d) float32; weight: (V, d), frozen; targets: (N,). d log p / dh = (W[target] - sum_v p_v W_v) / T.
    """

    @staticmethod
    def forward(ctx, hidden, weight, targets, temperature: float):
        logps, entropy = hidden.new_empty(2, len(hidden))
        mean = torch.empty_like(hidden) if ctx.needs_input_grad[0] else None
        for start in range(0, len(hidden), ROWS):
            part = slice(start, start + ROWS)
            logs = _log_softmax(hidden[part], weight, temperature)
            logps[part] = logs.gather(1, targets[part, None]).squeeze(1)
            p = logs.exp()
            entropy[part] = -torch.linalg.vecdot(p, logs)
            if mean is not None:
                mean[part] = product(p, weight.T)
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(hidden, weight, targets, mean, entropy)
        ctx.temperature = temperature
        return logps, entropy

    @staticmethod
    @once_differentiable
    def backward(ctx, of_logps, of_entropy):
        hidden, weight, targets, mean, entropy = ctx.saved_tensors
        gradient = torch.zeros_like(hidden)
        if of_logps is not None:
            gradient += (weight[targets] - mean) * of_logps[:, None]
        if of_entropy is not None:
            gradient += _entropy_gradient(hidden, weight, entropy, ctx.temperature) * of_entropy[:, None]
        return gradient / ctx.temperature, None, None, None


def _log_softmax(hidden, weight, temperature: float) -> torch.Tensor:
    return torch.log_softmax(product(hidden, weight).div_(temperature), -1)


def _entropy_gradient(hidden, weight, entropy, temperature: float) -> torch.Tensor:
    """(N, d) of dH/dz = -p (log p + H), z being the logits over the temperature; few losses ask for it."""
    parts = []
    for states, own in zip(hidden.split(ROWS), entropy.split(ROWS), strict=True):
        logs = _log_softmax(states, weight, temperature)
        parts.append(product(-logs.exp() * (logs + own[:, None]), weight.T))
    return torch.cat(parts)


def token_scores(policy, temperature: float, labels: torch.Tensor, **inputs) -> tuple[torch.Tensor, torch.Tensor]:
    """(log-probabilities, entropy), (B, T), of `labels` where they are not -100, and 0 elsewhere.

    labels: (B, T), the token after each of `inputs`, which go to the policy's layers.
    """
    states = policy.get_base_model().base_model(**inputs, use_cache=False).last_hidden_state
    asked = labels != -100
    scores = TokenScores.apply(states[asked], policy.get_output_embeddings().weight, labels[asked], temperature)
    empty = states.new_zeros(labels.shape)
    return tuple(empty.masked_scatter(asked, values) for values in scores)
