"""Training objectives: what an answer is worth, what is minimised, and the only list of them (`names.OBJECTIVES`).

Notation: B answers in groups of G to the same prompt, T answer tokens, r rewards (B,), logp, old, ref token
log-probabilities (B, T) under policy, sampler and reference, mask (B, T), bar(x) the mean of x over an answer's tokens.
An answer whose reward is NaN could not be scored: it is worth 0 and stands in no mean, variance or whitening.

TRL computes the losses that it has; a record's `trl` holds their entries of GRPOConfig. The functions here are what TRL
lacks, and for the rest the reference that tests and the known target compare it with. They use tensor methods, because
reading parameters asks for the records and must not import torch.

A record (`names.Objective`) says by `kind` what else the trainer does: policy: nothing; tokens: token-level
advantages; ppo: those of a critic; flow: `flow_loss`; dpo: pairs, before training; none: no training.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from studylib.names import OBJECTIVES, Objective, Option
from studylib.rewards.groups import (
    EPS,
    best_minus_worst,
    best_of_group,
    group_centred,
    group_normalised,
    leave_one_out,
)
from studylib.typed import LEAST, MOST

if TYPE_CHECKING:
    import torch


def bar(x: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """(B,) mean over each answer's tokens."""
    return (x * mask).sum(-1) / mask.sum(-1).clamp(min=1)


def group_advantages(objective: Objective) -> Callable:
    """What the objective makes of rewards (B,) and G: its own function, or what TRL does as its entries say.

    Token-level advantages rest on more than the rewards; of them this is the part that a group of answers decides.
    """
    return objective.advantages or (group_normalised if objective.normalised else group_centred)


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
    advantages = values.new_zeros(values.shape)
    following = next_value = values.new_zeros(len(values))
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
    ratio = (bar(logp - old, mask)[:, None] if sequence else logp - old).exp()
    advantages = advantages[:, None] if advantages.dim() == 1 else advantages
    return -(ratio * advantages).minimum(ratio.clamp(1 - low, 1 + high) * advantages)


def cispo(logp, old, advantages, high: float) -> torch.Tensor:
    """(B, T): -stopgrad(min(rho, high)) A logp. CISPO, arXiv 2506.13585."""
    return -(logp - old).exp().clamp(max=high).detach() * advantages[:, None] * logp


def policy_loss(trl: Mapping, logp, old, advantages, mask) -> torch.Tensor:
    """(B, T) or (B, 1): what TRL minimises under the entries `trl` of its GRPOConfig, before it takes a mean.

    Raises ValueError for a loss of TRL's of which there is no reference here.
    """
    low = trl.get("epsilon", 0.2)
    high = trl.get("epsilon_high", low)
    if not has_reference(trl):
        raise ValueError(f"no reference of TRL's loss_type {trl['loss_type']!r}")
    if trl.get("loss_type") == "cispo":
        return cispo(logp, old, advantages, high)
    return clipped(logp, old, advantages, mask, low, high, trl.get("importance_sampling_level") == "sequence")


def has_reference(trl: Mapping) -> bool:
    """Whether `policy_loss` knows the loss: those that differ in their mean alone clip alike."""
    return trl.get("loss_type", "grpo") in ("grpo", "dr_grpo", "dapo", "bnpo", "cispo")


def k3(logp, ref) -> torch.Tensor:
    """(B, T) estimate of KL(policy || reference): exp(d) - d - 1, d = ref - logp (Schulman 2020)."""
    return (ref - logp).exp() - (ref - logp) - 1


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
    product = ((logp - old) * mask).sum(-1).exp().detach()
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
    from torch.nn.functional import logsigmoid

    return -logsigmoid(beta * ((l_chosen - ref_chosen) - (l_rejected - ref_rejected)))


def value_loss(values, returns, mask) -> torch.Tensor:
    """(B,): half the squared error of the critic, mean over an answer's tokens."""
    return 0.5 * bar((values - returns) ** 2, mask)


# --- the objectives of the study -------------------------------------------------------------------------------------
# One learning rate is to mean one size of step. Token sums (dr_grpo, rloo) are divided by the longest answer allowed,
# flow losses by 2 flow_beta; dpo alone has a learning rate of its own.

_POSITIVE = {
    "holds": lambda value: LEAST <= value <= MOST,
    "allowed": f"a number > 0 whose square float32 can hold, so {LEAST:g} to {MOST:g}",
}
FLOW_BETA = Option("flow_beta", 15.0, "inverse temperature of the reward in the flow objectives", **_POSITIVE)
HEAD_RATE = Option("head_learning_rate", 5e-3, "peak learning rate of a value head or log Z head", **_POSITIVE)
DPO_NLL = Option(
    "dpo_nll", 0.0, "weight of the chosen answers' negative log-likelihood beside DPO's loss",
    lambda value: value == 0 or LEAST <= value <= MOST, _POSITIVE["allowed"].replace("> 0", ">= 0") + " or 0",
)  # fmt: skip

for objective in (
    # group-normalised advantage, clipped token ratios, mean over tokens
    Objective("grpo", {"loss_type": "grpo"}, plain=True),
    # group-centred advantage, clipped token ratios, token sum over a constant
    Objective("dr_grpo", {"loss_type": "dr_grpo", "scale_rewards": "none"}, plain=True),
    # group-normalised advantage, asymmetric clip of token ratios, token-level loss; dynamic sampling and the soft
    # overlong punishment are parameters
    Objective("dapo", {"loss_type": "dapo", "epsilon_high": 0.28}),
    # leave-one-out advantage, token sum; clips token ratios, which the REINFORCE of RLOO's paper does not
    Objective("rloo", {"loss_type": "dr_grpo"}, leave_one_out),
    # returns with the k1 KL in the reward, normalised over the batch, clipped token ratios, token-level loss
    Objective("reinforce_pp", {"loss_type": "dapo"}, kind="tokens", reference=True),
    # group-normalised advantage, one clipped ratio per answer
    Objective(
        "gspo",
        {"loss_type": "grpo", "importance_sampling_level": "sequence", "epsilon": 3e-4, "epsilon_high": 4e-4},
        plain=True,
    ),
    # group-normalised advantage, token ratios as weights without gradient, none above 5
    Objective("cispo", {"loss_type": "cispo", "epsilon_high": 5.0}, plain=True),
    # GAE with a critic (its own loss is not clipped), k1 KL in the reward, clipped token ratios, token-level loss
    Objective("ppo", {"loss_type": "dapo"}, kind="ppo", reference=True, heads=("value",), options=(HEAD_RATE,)),
    # squared flow residual, learned log Z, clipped importance weight
    Objective("flowrl", kind="flow", reference=True, heads=("log_z",), options=(FLOW_BETA, HEAD_RATE)),
    # as the released code: raw importance weight, gradient of log Z into the policy
    Objective(
        "flowrl_released", kind="flow", reference=True, heads=("log_z",), options=(FLOW_BETA, HEAD_RATE), released=True
    ),
    # squared flow residual, log Z estimated in the group, clipped importance weight
    Objective("gflowrl", kind="flow", reference=True, options=(FLOW_BETA,)),
    # pairs from the untrained policy, ranked by the reward; with dpo_nll the likelihood of the chosen answer too
    Objective("dpo", {}, best_minus_worst, kind="dpo", reference=True, samples=False, options=(DPO_NLL,)),
    # supervised on the best answers of groups that differ; token ratios are clipped, so a token that became 1.2 times
    # as likely as when it was sampled is learnt no further
    Objective("rft", {"loss_type": "grpo"}, best_of_group),
    # no training
    Objective("base", kind="none", samples=False),
):
    OBJECTIVES.add(objective)
