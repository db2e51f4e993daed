"""Training objectives: what an answer is worth, what is minimised, and the only list of them (`names.OBJECTIVES`).

Notation: B answers in groups of G to the same prompt, T answer tokens, r rewards (B,), logp, old, ref token
log-probabilities (B, T) under policy, sampler and reference, mask (B, T), bar(x) the mean of x over an answer's tokens.
An answer whose reward is NaN could not be scored: it is worth 0 and stands in no mean, variance or whitening.

TRL computes the losses that it has; a record's `trl` holds their entries of GRPOConfig. The functions here are what TRL
lacks, and for the rest the reference that tests and the known target compare it with. They use tensor methods, because
reading parameters asks for the records and must not import torch.

A record (`names.Objective`) says by `kind` what else the trainer does: policy: nothing; tokens: token-level
advantages; ppo: those of a critic; flow: a loss of `matching.py`; dpg: its pseudo-rewards; dpo: pairs, before training;
none: no training. By `promise` it says where its name has it end, which `claims/manipulation.py` holds against where
a study ended: best: all mass on the answers of highest reward, however they share it; tempered:
pi_ref exp(beta r) / Z with `beta_per_answer`; filtered: pi_ref v / Z, v the reward; none: nowhere known.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from studylib.names import OBJECTIVES, Objective, Option
from studylib.rewards.groups import (
    EPS,
    as_paid,
    best_minus_worst,
    best_of_group,
    group_centred,
    group_normalised,
    leave_one_out,
)
from studylib.scenarios.prompts import FEW_SHOT, INSTRUCTION
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
    if objective.kind == "dpg":
        from studylib.training.matching import filtered_group

        return filtered_group
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


def dpo_loss(l_chosen, l_rejected, ref_chosen, ref_rejected, beta: float) -> torch.Tensor:
    """(B,): -log sigmoid(beta ((logp+ - ref+) - (logp- - ref-))), sums over tokens. DPO, arXiv 2305.18290, eq. 7."""
    from torch.nn.functional import logsigmoid

    return -logsigmoid(beta * ((l_chosen - ref_chosen) - (l_rejected - ref_rejected)))


def value_loss(values, returns, mask) -> torch.Tensor:
    """(B,): half the squared error of the critic, mean over an answer's tokens."""
    return 0.5 * bar((values - returns) ** 2, mask)


# --- the objectives of the study -------------------------------------------------------------------------------------
# One learning rate is to mean one size of step. Token sums (dr_grpo, rloo, alpha_dpg, gflowrl) are divided by the
# longest answer allowed, flow losses by twice their beta; dpo alone has a learning rate of its own.

_POSITIVE = {
    "holds": lambda value: LEAST <= value <= MOST,
    "allowed": f"a number > 0 whose square float32 can hold, so {LEAST:g} to {MOST:g}",
}
FLOW_BETA = Option(
    "flow_beta", 15.0, "inverse temperature of the reward beside mean log-probabilities of tokens: T x this per answer",
    **_POSITIVE,
)  # fmt: skip
GFLOW_BETA = Option(
    "gflow_beta", 8.0, "inverse temperature of the reward beside an answer's log-probability", **_POSITIVE
)
# GFlowRL's paper asks for low < high; the values it prints were not to be had. These are ours: a quarter and a half of
# its best beta, so that the gap of a right from a wrong answer is clipped and one of answers of like worth is not.
FLOW_EPS_LOW = Option(
    "flow_eps_low", 2.0, "most that a flow gap may raise an answer, nats", _POSITIVE["holds"],
    _POSITIVE["allowed"] + ", and below flow_eps_high", fits=lambda params: params.flow_eps_low < params.flow_eps_high,
)  # fmt: skip
FLOW_EPS_HIGH = Option("flow_eps_high", 4.0, "most that a flow gap may lower an answer, nats", **_POSITIVE)
DPG_ALPHA = Option(
    "dpg_alpha", 0.5, "from coverage (0: forward KL) to precision (towards 1: reverse KL), 0 <= alpha < 1",
    lambda value: 0 <= value < 1, "0 <= alpha < 1",
)  # fmt: skip
HEAD_RATE = Option("head_learning_rate", 5e-3, "peak learning rate of a value head or log Z head", **_POSITIVE)
DPO_NLL = Option(
    "dpo_nll", 0.0, "weight of the chosen answers' negative log-likelihood beside DPO's loss",
    lambda value: value == 0 or LEAST <= value <= MOST, _POSITIVE["allowed"].replace("> 0", ">= 0") + " or 0",
)  # fmt: skip


def beta_per_answer(params) -> float:
    """What a reward of 1 adds to an answer's log-probability at the optimum of a `tempered` objective, nats.

    A flow on mean log-probabilities of tokens weighs it by the answer's tokens, here by as many as it may have: beta 15
    and 28 tokens make 420, beside which the reference has no hold. A KL of weight beta in the reward makes 1 / beta.
    """
    objective = OBJECTIVES.of(params.objective)
    if objective.kind != "flow":
        return 1 / params.beta
    return params.gflow_beta if objective.gap else params.flow_beta * params.max_new_tokens


# what reward maximisation, a KL to the reference in the reward, and FlowRL's learned log Z have in common
_BEST = {"promise": "best"}
_KL = {"reference": True, "promise": "tempered"}
_FLOW = {"kind": "flow", "reference": True, "promise": "tempered"}
_LEARNED = _FLOW | {"heads": ("log_z",), "options": (FLOW_BETA, HEAD_RATE)}

for objective in (
    # group-normalised advantage, clipped token ratios, mean over tokens
    Objective("grpo", {"loss_type": "grpo"}, plain=True, **_BEST),
    # group-centred advantage, clipped token ratios, token sum over a constant
    Objective("dr_grpo", {"loss_type": "dr_grpo", "scale_rewards": "none"}, plain=True, **_BEST),
    # group-normalised advantage, asymmetric clip of token ratios, token-level loss; dynamic sampling and the soft
    # overlong punishment are parameters
    Objective("dapo", {"loss_type": "dapo", "epsilon_high": 0.28}, **_BEST),
    # leave-one-out advantage, token sum; clips token ratios, which the REINFORCE of RLOO's paper does not
    Objective("rloo", {"loss_type": "dr_grpo"}, leave_one_out, **_BEST),
    # returns with the k1 KL in the reward, normalised over the batch, clipped token ratios, token-level loss
    Objective("reinforce_pp", {"loss_type": "dapo"}, kind="tokens", **_KL),
    # group-normalised advantage, one clipped ratio per answer
    Objective(
        "gspo",
        {"loss_type": "grpo", "importance_sampling_level": "sequence", "epsilon": 3e-4, "epsilon_high": 4e-4},
        plain=True,
        **_BEST,
    ),
    # group-normalised advantage, token ratios as weights without gradient, none above 5
    Objective("cispo", {"loss_type": "cispo", "epsilon_high": 5.0}, plain=True, **_BEST),
    # GAE with a critic (its own loss is not clipped), k1 KL in the reward, clipped token ratios, token-level loss
    Objective("ppo", {"loss_type": "dapo"}, kind="ppo", heads=("value",), options=(HEAD_RATE,), **_KL),
    # squared flow residual on rewards normalised in the group, learned log Z, clipped importance weight
    Objective("flowrl", **_LEARNED),
    # as the released code: raw importance weight, gradient of log Z into the policy
    Objective("flowrl_released", released=True, **_LEARNED),
    # squared flow residual, log Z estimated in the group, clipped importance weight
    Objective("vargrad", options=(FLOW_BETA,), **_FLOW),
    # pairs from the untrained policy, ranked by the reward; with dpo_nll the likelihood of the chosen answer too
    Objective("dpo", {}, best_minus_worst, kind="dpo", reference=True, samples=False, options=(DPO_NLL,)),
    # supervised on the best answers of groups that differ; token ratios are clipped, so a token that became 1.2 times
    # as likely as when it was sampled is learnt no further
    Objective("rft", {"loss_type": "grpo"}, best_of_group, **_BEST),
    # no training
    Objective("base", kind="none", samples=False, options=(INSTRUCTION, FEW_SHOT)),
    # flowrl, fed the rewards themselves
    Objective("flowrl_raw", raw=True, **_LEARNED),
    # squared flow gap on token sums and rewards as they are, the gap of the sampler clipped, capped importance weight
    Objective("gflowrl", raw=True, gap=True, options=(GFLOW_BETA, FLOW_EPS_LOW, FLOW_EPS_HIGH), **_FLOW),
    # leave-one-out pseudo-reward of alpha-DPG, token sum; clips token ratios, which its paper, on-policy, need not
    Objective(
        "alpha_dpg", {"loss_type": "dr_grpo"}, kind="dpg", reference=True, promise="filtered", options=(DPG_ALPHA,)
    ),
    # grpo with a clip that never binds: beside it, several updates per batch and the clip are told apart
    Objective("grpo_unclipped", {"loss_type": "grpo", "epsilon": 1e9}, plain=True, **_BEST),
    # supervised on right answers after the policy's own reasons, which are not trained on; a token sum, clipped as rft
    Objective("sft", {"loss_type": "dr_grpo"}, as_paid, answer_only=True, told=True, samples=False),
    # group-normalised advantage, but of the tokens after the reasons alone; a token sum, clipped
    Objective("grpo_answer", {"loss_type": "dr_grpo"}, group_normalised, answer_only=True, promise="best"),
):
    OBJECTIVES.add(objective)
