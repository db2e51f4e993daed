"""Objectives whose optimum is a distribution: flows (FlowRL, VarGrad, GFlowRL) and alpha-DPG.

Notation as in `objectives.py`; sum(x) is the sum of x over an answer's tokens, group (B,) which prompt it belongs to.

What a flow is fed decides what it reaches. Fed the rewards, its optimum is pi_ref exp(beta r) / Z. FlowRL is fed r_hat,
the rewards normalised in their group, whose log odds at the fixed point are beta (r_i - r_j) / sd(r): as the policy
concentrates, sd(r) falls and the odds run away, so that on graded rewards it ends on the best answer
(`instruments/known_target.py`).
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from studylib.names import Objective
from studylib.rewards.groups import leave_one_out, n_scored
from studylib.training.objectives import bar

if TYPE_CHECKING:
    import torch

LARGEST = 10.0  # pseudo-reward: M of arXiv 2512.05962


def fed(objective: Objective, r: torch.Tensor, r_hat: torch.Tensor) -> torch.Tensor:
    """(B,) what a flow takes as the worth of answers: the rewards, 0 where there is none, or TRL's advantages r_hat."""
    return r.nan_to_num() if objective.raw else r_hat


def group_mean(value: torch.Tensor, group: torch.Tensor) -> torch.Tensor:
    """(B,) mean over the answers of the same group that are not NaN; 0 in a group without any."""
    n = int(group.max()) + 1
    known = ~value.isnan()
    total, count = (value.new_zeros(n).index_add_(0, group, x) for x in (value.nan_to_num(), known.to(value)))
    return (total / count.clamp(min=1))[group]


# --- flows -----------------------------------------------------------------------------------------------------------


def flow_residual(logp, ref, mask, r, log_z, beta: float) -> torch.Tensor:
    """(B,): log Z + bar(logp) - beta r - bar(ref). FlowRL, arXiv 2509.15207, where r is r_hat.

    It is 0 for all answers exactly when bar(logp) follows pi_ref exp(beta r) / Z.
    """
    return log_z + bar(logp, mask) - beta * r - bar(ref, mask)


def flow_loss(residual, logp, old, mask, beta: float, released: bool = False, low: float = 0.2, high: float = 0.2):
    """(B,): w residual^2 / (2 beta), w the detached importance weight of the answer.

    As in the paper w is clipped; in the authors' released code it is the raw product over tokens (`released`). Division
    by 2 beta is the step-size rule: on-policy the gradient is then that of GRPO with A = r_hat (plus the KL part).
    """
    product = ((logp - old) * mask).sum(-1).exp().detach()
    weight = product if released else product.clamp(1 - low, 1 + high)
    return weight * residual**2 / (2 * beta)


def group_log_z(logp, ref, mask, r, beta: float, group: torch.Tensor) -> torch.Tensor:
    """(B,) estimate of log Z from the group itself: the mean of beta r + bar(ref) - bar(logp), no gradient; of the
    answers whose r is not NaN. With it the squared residual is the variance loss of arXiv 2010.10436 (VarGrad).
    """
    return group_mean((beta * r + bar(ref, mask) - bar(logp, mask)).detach(), group)


def flow_gap(old, ref, mask, r, beta: float, group: torch.Tensor, low: float, high: float) -> torch.Tensor:
    """(B,): g = Z - d - beta r, clipped to [-low, high]; d = sum(ref - old), Z the group's mean of beta r + d.

    GFlowRL, arXiv 2607.13394, equations 4, 6 and 7. 0 where r is NaN.
    """
    d = ((ref - old) * mask).sum(-1)
    return (group_mean(beta * r + d, group) - d - beta * r).clamp(-low, high).nan_to_num()


def gap_loss(gap, logp, old, mask, beta: float, longest: int, high: float = 0.2) -> torch.Tensor:
    """(B,): w (g + sum(logp - old))^2 / (2 beta longest), w = min(ratio, 1 + high) without gradient.

    GFlowRL, equation 8. The division is the step-size rule: on-policy, at the reference and not clipped, the gradient
    is that of Dr. GRPO. longest: tokens that an answer may have.
    """
    shift = ((logp - old) * mask).sum(-1)
    weight = shift.exp().detach().clamp(max=1 + high)
    return weight * (gap + shift) ** 2 / (2 * beta * longest)


# --- alpha-DPG -------------------------------------------------------------------------------------------------------


def pseudo_rewards(old, ref, mask, r, alpha: float, g: int) -> torch.Tensor:
    """(B,): min((p / pi_old)^(1 - alpha) - 1, M) with the target p = pi_ref v / Z, v = max(r, 0); NaN where r is.

    alpha-DPG, arXiv 2512.05962, with its M. Of the derivative of the alpha-divergence it leaves out the factor
    1 / (1 - alpha), so that a wrong answer is worth -1 at every alpha; with the factor it would be worth minus infinity
    as alpha nears 1. Z = E_ref[v] is estimated in the group by importance weights pi_ref / pi_old. The paper's floor of
    Z is not needed, because where Z is 0 all answers are worth -1, and its cap of 1 is for rewards of at most 1.
    """
    log_ratio = (((ref - old) * mask).sum(-1) + r.clamp(min=0).log()).view(-1, g)  # of pi_ref v to pi_old
    log_z = log_ratio.nan_to_num(nan=-math.inf, neginf=-math.inf).logsumexp(1, keepdim=True)
    log_z = (log_z - n_scored(r, g).clamp(min=1).log()).clamp(min=-1e30)  # finite, where it is of no right answer
    return ((1 - alpha) * (log_ratio - log_z)).expm1().clamp(max=LARGEST).flatten()


def dpg_advantages(old, ref, mask, r, alpha: float, g: int) -> torch.Tensor:
    """(B,): the pseudo-reward minus the mean of the group's others, as in the paper; 0 where r is NaN."""
    return leave_one_out(pseudo_rewards(old, ref, mask, r, alpha, g), g)


def filtered_group(r: torch.Tensor, g: int) -> torch.Tensor:
    """(B,) advantages of alpha-DPG (alpha 0.5) before any training, where they rest on the rewards alone."""
    same = r.new_zeros(len(r), 1)
    return dpg_advantages(same, same, same, r, 0.5, g)
