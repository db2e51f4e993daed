"""Training objectives as pure tensor functions: what an answer is worth, and what is minimised.

Notation: B answers in groups of G to the same prompt, T answer tokens, r rewards (B,), logp, old, ref token
log-probabilities (B, T) under policy, sampler and reference, mask (B, T), bar(x) the mean of x over an answer's tokens.
An answer whose reward is NaN could not be scored: it is worth 0 and stands in no mean, variance or whitening.
TRL computes the losses that it has (`trl` below holds their configuration); the functions here are what it lacks, and
for the rest the reference that tests compare TRL with.
"""

from collections.abc import Callable
from typing import NamedTuple

import torch

EPS = 1e-4  # TRL's, added to standard deviations


def bar(x: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """(B,) mean over each answer's tokens."""
    return (x * mask).sum(-1) / mask.sum(-1).clamp(min=1)


# --- advantages: rewards (B,), rows in groups of G -> (B,) ------------------------------------------------------------


def group_normalised(r: torch.Tensor, g: int) -> torch.Tensor:
    """(r - mean) / (sd + eps) over the group, sd with n - 1 of its n scored answers. GRPO, arXiv 2402.03300."""
    centred = group_centred(r, g).view(-1, g)
    sd = ((centred**2).sum(1, keepdim=True) / (n_scored(r, g) - 1).clamp(min=1)).sqrt()
    return (centred / (sd + EPS)).flatten()


def group_centred(r: torch.Tensor, g: int) -> torch.Tensor:
    """r - mean over the group. Dr. GRPO, arXiv 2503.20783."""
    groups = r.view(-1, g)
    return (groups - groups.nansum(1, keepdim=True) / n_scored(r, g).clamp(min=1)).nan_to_num().flatten()


def n_scored(r: torch.Tensor, g: int) -> torch.Tensor:
    """(B / G, 1) scored answers of each group."""
    return (~r.view(-1, g).isnan()).sum(1, keepdim=True)


def leave_one_out(r: torch.Tensor, g: int) -> torch.Tensor:
    """r minus the mean of the group's other scored answers; 0 where there are none. RLOO, arXiv 2402.14740."""
    n = n_scored(r, g)
    return (group_centred(r, g).view(-1, g) * n / (n - 1).clamp(min=1)).flatten()


def best_of_group(r: torch.Tensor, g: int) -> torch.Tensor:
    """1 for the best answers of a group in which answers differ, else 0: supervised training on them (RFT)."""
    groups = r.view(-1, g)
    best = groups.nan_to_num(nan=-torch.inf).amax(1, keepdim=True)
    worst = groups.nan_to_num(nan=torch.inf).amin(1, keepdim=True)
    return ((groups == best) & (best > worst)).float().flatten()


# --- token-level advantages: (B, T) ----------------------------------------------------------------------------------


def counted(r: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """(B, T): the mask without the answers that could not be scored."""
    return mask * ~r.isnan()[:, None]


def shaped_rewards(r, old, ref, mask, beta: float) -> torch.Tensor:
    """(B, T): the k1 KL penalty -beta (logp - ref) at every token, and r at the last one. PPO and REINFORCE++."""
    last = mask.cumsum(-1).eq(mask.sum(-1, keepdim=True)) & mask.bool()
    return (-beta * (old - ref) + r.nan_to_num()[:, None] * last) * counted(r, mask)


def batch_normalised_returns(r, old, ref, mask, beta: float) -> torch.Tensor:
    """Undiscounted returns of the shaped rewards, normalised over all tokens of the batch's scored answers.

    REINFORCE++, arXiv 2501.03262.
    """
    shaped = shaped_rewards(r, old, ref, mask, beta)
    return whiten(shaped.flip(-1).cumsum(-1).flip(-1), counted(r, mask))


def whiten(x: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """Mean 0 and variance 1 over the unmasked entries; 0 where masked."""
    n = mask.sum().clamp(min=1)
    centred = (x - (x * mask).sum() / n) * mask
    return centred / ((centred**2).sum() / n).sqrt().clamp(min=EPS)


def gae(rewards, values, mask, gamma: float = 1.0, lam: float = 0.95) -> tuple[torch.Tensor, torch.Tensor]:
    """Generalised advantage estimates and returns, both (B, T). arXiv 1506.02438, equation 16; the value after the end
    is 0. rewards, values: (B, T), of the action at t and of the state in which it is taken.
    """
    advantages = torch.zeros_like(values)
    following, next_value = torch.zeros_like(values[:, 0]), torch.zeros_like(values[:, 0])
    for t in reversed(range(values.shape[1])):
        delta = rewards[:, t] + gamma * next_value - values[:, t]
        following = (delta + gamma * lam * following) * mask[:, t]
        advantages[:, t], next_value = following, values[:, t] * mask[:, t]
    return advantages, (advantages + values) * mask


# --- losses ----------------------------------------------------------------------------------------------------------


def clipped(logp, old, advantages, mask, low: float = 0.2, high: float = 0.2, sequence: bool = False):
    """(B, T) or, with `sequence`, (B, 1): -min(rho A, clip(rho, 1 - low, 1 + high) A). PPO, arXiv 1707.06347, eq. 7.

    `sequence`: one ratio per answer, exp(bar(logp - old)). GSPO, arXiv 2507.18071.
    """
    ratio = torch.exp(bar(logp - old, mask)[:, None] if sequence else logp - old)
    advantages = advantages[:, None] if advantages.dim() == 1 else advantages
    return -torch.min(ratio * advantages, ratio.clamp(1 - low, 1 + high) * advantages)


def cispo(logp, old, advantages, high: float) -> torch.Tensor:
    """(B, T): -stopgrad(min(rho, high)) A logp. CISPO, arXiv 2506.13585."""
    return -torch.exp(logp - old).clamp(max=high).detach() * advantages[:, None] * logp


def k3(logp, ref) -> torch.Tensor:
    """(B, T) estimate of KL(policy || reference): exp(d) - d - 1, d = ref - logp (Schulman 2020)."""
    return torch.exp(ref - logp) - (ref - logp) - 1


def flow_residual(logp, ref, mask, r_hat, log_z, beta: float) -> torch.Tensor:
    """(B,): log Z + bar(logp) - beta r_hat - bar(ref). FlowRL, arXiv 2509.15207.

    It is 0 for all answers exactly when bar(logp) follows pi_ref exp(beta r_hat) / Z.
    """
    return log_z + bar(logp, mask) - beta * r_hat - bar(ref, mask)


def flow_loss(residual, logp, old, mask, beta: float, released: bool = False, low: float = 0.2, high: float = 0.2):
    """(B,): w residual^2 / (2 beta), w the detached importance weight of the answer.

    As in the paper w is clipped; in the authors' released code it is the raw product over tokens (`released`). Division
    by 2 beta is the step-size rule: on-policy the gradient is then that of GRPO with A = r_hat (plus the KL part).
    """
    product = torch.exp(((logp - old) * mask).sum(-1)).detach()
    weight = product if released else product.clamp(1 - low, 1 + high)
    return weight * residual**2 / (2 * beta)


def group_log_z(logp, ref, mask, r_hat, beta: float, group: torch.Tensor) -> torch.Tensor:
    """(B,) estimate of log Z from the group itself: the mean of beta r_hat + bar(ref) - bar(logp), no gradient; of the
    answers whose r_hat is not NaN, and 0 in a group without any.

    The variance loss of arXiv 2010.10436 (VarGrad); GFlowRL, arXiv 2607.13394, estimates Z in the group as well.
    group: (B,) which prompt each answer belongs to.
    """
    value = (beta * r_hat + bar(ref, mask) - bar(logp, mask)).detach()
    n = int(group.max()) + 1
    known = ~value.isnan()
    total, count = (value.new_zeros(n).index_add_(0, group, x) for x in (value.nan_to_num(), known.to(value)))
    return (total / count.clamp(min=1))[group]


def dpo_loss(l_chosen, l_rejected, ref_chosen, ref_rejected, beta: float) -> torch.Tensor:
    """(B,): -log sigmoid(beta ((logp+ - ref+) - (logp- - ref-))), sums over tokens. DPO, arXiv 2305.18290, eq. 7."""
    return -torch.nn.functional.logsigmoid(beta * ((l_chosen - ref_chosen) - (l_rejected - ref_rejected)))


def value_loss(values, returns, mask) -> torch.Tensor:
    """(B,): half the squared error of the critic, mean over an answer's tokens."""
    return 0.5 * bar((values - returns) ** 2, mask)


# --- the objectives of the study -------------------------------------------------------------------------------------


class Objective(NamedTuple):
    """`trl`: GRPOConfig entries. `advantages`: replaces TRL's, from (r, G). `kind`: what else the trainer has to do."""

    says: str
    trl: dict = {}  # noqa: RUF012
    advantages: Callable[[torch.Tensor, int], torch.Tensor] | None = None
    kind: str = "policy"  # policy, tokens (token-level advantages), ppo, flow, dpo or none
    reference: bool = False  # whether it needs beta > 0 and with it the reference's log-probabilities
    step: str = "as GRPO"  # step-size rule: what makes its first step comparable with GRPO's at the same learning rate


OBJECTIVES: dict[str, Objective] = {
    "grpo": Objective("group-normalised advantage, clipped token ratios, mean over tokens", {"loss_type": "grpo"}),
    "dr_grpo": Objective(
        "group-centred advantage, clipped token ratios, token sum over a constant",
        {"loss_type": "dr_grpo", "scale_rewards": "none"},
        step="token sums are divided by the longest answer allowed",
    ),
    "dapo": Objective(
        "group-normalised advantage, asymmetric clip of token ratios, token-level loss, dynamic sampling, "
        "soft overlong punishment",
        {"loss_type": "dapo", "epsilon_high": 0.28},
    ),
    "rloo": Objective(
        "leave-one-out advantage, token sum; clips token ratios, which the REINFORCE of RLOO's paper does not",
        {"loss_type": "dr_grpo"}, leave_one_out,
        step="token sums are divided by the longest answer allowed",
    ),
    "reinforce_pp": Objective(
        "returns with the k1 KL in the reward, normalised over the batch, clipped token ratios, token-level loss",
        {"loss_type": "dapo"}, kind="tokens", reference=True,
    ),
    "gspo": Objective(
        "group-normalised advantage, one clipped ratio per answer",
        {"loss_type": "grpo", "importance_sampling_level": "sequence", "epsilon": 3e-4, "epsilon_high": 4e-4},
    ),
    "cispo": Objective(
        "group-normalised advantage, token ratios as weights without gradient, none above 5",
        {"loss_type": "cispo", "epsilon_high": 5.0},
    ),
    "ppo": Objective(
        "GAE with a critic (its own loss is not clipped), k1 KL in the reward, clipped token ratios, token-level loss",
        {"loss_type": "dapo"}, kind="ppo", reference=True,
    ),
    "flowrl": Objective(
        "squared flow residual, learned log Z, clipped importance weight", kind="flow", reference=True,
        step="the loss is divided by 2 flow_beta",
    ),
    "flowrl_released": Objective(
        "as the released code: raw importance weight, gradient of log Z into the policy", kind="flow", reference=True,
        step="the loss is divided by 2 flow_beta",
    ),
    "gflowrl": Objective(
        "squared flow residual, log Z estimated in the group, clipped importance weight", kind="flow", reference=True,
        step="the loss is divided by 2 flow_beta",
    ),
    "dpo": Objective(
        "pairs from the untrained policy, ranked by the reward; with dpo_nll the likelihood of the chosen answer too",
        kind="dpo", step="its own learning rate",
    ),
    "rft": Objective(
        "supervised on the best answers of groups that differ; token ratios are clipped, so a token that became 1.2 "
        "times as likely as when it was sampled is learnt no further",
        {"loss_type": "grpo"}, best_of_group,
    ),
    "base": Objective("no training", kind="none"),
}  # fmt: skip
