"""Every objective on a policy whose optimum is known: one prompt, K answers of one token, fixed rewards.

The losses are those of the study, and an objective that is registered has its row here without a further line.
Distribution-matching objectives must reach pi_ref exp(beta r) / Z; reward-maximising ones without a KL term must
collapse onto the best answer. GRPO with a KL term of weight 1 / beta reaches the same target if TRL corrects the term
by the importance ratio (`use_bias_correction_kl`). It does not with the plain term: on-policy the gradient of k3 is
that of KL(reference || policy), whose optimum is `k3_optimum`.

The table also has the two numbers that Figure 1 of the FlowRL paper (arXiv 2509.15207) prints for a toy target of its
own. That is another target, and the paper does not say which way its KL goes, so only their order can be compared.
"""

import math
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch

from studylib.names import OBJECTIVES, Objective
from studylib.paths import FIGURES
from studylib.randomness import torch_seed
from studylib.training import objectives as o

REWARDS = torch.tensor([0.0, 0.1, 0.9, 0.3, 0.0, 1.0, 0.2, 0.8, 0.1, 0.0, 0.5, 0.95])
REFERENCE = torch.log_softmax(torch.tensor([0.3, -0.2, 0.1, 0.0, 0.4, -0.3, 0.2, 0.0, -0.1, 0.3, 0.0, -0.2]), 0)
BETA = 4.0
KL_WEIGHT = 1 / BETA
GROUPS, G, STEPS, RATE = 16, 32, 1500, 0.05
PUBLISHED = {"FlowRL": 0.11, "reward-maximising": 8.68}  # KL to target
PUBLISHED_SOURCE = "arXiv 2509.15207, Figure 1, another target, direction of the KL unknown"
KLS = ["objective", "kl_target_policy", "kl_policy_target", "entropy"]  # ours
BESIDE = ["kl_published", "published_method", "published_status", "published_source"]


def target() -> torch.Tensor:
    """log of pi_ref exp(beta r) / Z."""
    return torch.log_softmax(REFERENCE + BETA * REWARDS, 0)


def k3_optimum(weight: float = KL_WEIGHT) -> torch.Tensor:
    """log of the policy that maximises E r - weight KL(reference || policy): pi_ref weight / (lambda - r).

    lambda, by bisection, makes it sum to 1.
    """
    low, high = float(REWARDS.max()) + 1e-9, float(REWARDS.max()) + weight
    for _ in range(100):
        middle = (low + high) / 2
        mass = float((REFERENCE.exp() * weight / (middle - REWARDS)).sum())
        low, high = (middle, high) if mass > 1 else (low, middle)
    return torch.log(REFERENCE.exp() * weight / (high - REWARDS))


# --- what each kind of objective minimises: token tensors (N, 1), rewards r (N,) -> (N,) ------------------------------


def _flow(objective: Objective, logp, old, ref, r, mask, log_z, value):
    z = log_z if objective.heads else o.group_log_z(logp, ref, mask, r, BETA, _groups())
    residual = o.flow_residual(logp, ref, mask, r, z, BETA)
    return o.flow_loss(residual, logp, old, mask, BETA, objective.released)


def _ppo(objective: Objective, logp, old, ref, r, mask, log_z, value):
    values = value.expand_as(logp)
    shaped = o.shaped_rewards(r, old, ref, mask, KL_WEIGHT)
    advantages, returns = o.gae(shaped, values.detach(), mask)
    return o.policy_loss(objective.trl, logp, old, advantages, mask).sum(1) + o.value_loss(values, returns, mask)


def _dpo(objective: Objective, logp, old, ref, r, mask, log_z, value):
    """Neighbours as pairs; pairs of equal reward teach nothing."""
    first, second = logp[0::2, 0], logp[1::2, 0]
    better = r[0::2] > r[1::2]
    loss = o.dpo_loss(
        torch.where(better, first, second), torch.where(better, second, first),
        torch.where(better, ref[0::2, 0], ref[1::2, 0]), torch.where(better, ref[1::2, 0], ref[0::2, 0]), 0.1,
    )  # fmt: skip
    return loss * (r[0::2] != r[1::2])


def _policy(objective: Objective, logp, old, ref, r, mask, log_z, value, kl=lambda logp, old, ref: 0.0):
    loss = o.policy_loss(objective.trl, logp, old, o.group_advantages(objective)(r, G), mask)
    return (loss + kl(logp, old, ref)).sum(1)


def _tokens(objective: Objective, logp, old, ref, r, mask, log_z, value):
    advantages = o.batch_normalised_returns(r, old, ref, mask, KL_WEIGHT)
    return o.policy_loss(objective.trl, logp, old, advantages, mask).sum(1)


KINDS = {"flow": _flow, "ppo": _ppo, "tokens": _tokens, "policy": _policy, "dpo": _dpo}  # in the order of the table
WITH_KL = {  # reward maximisation with a KL term, as TRL corrects it and without that
    "dr_grpo + corrected KL": lambda logp, old, ref: KL_WEIGHT * o.k3(logp, ref) * torch.exp(logp - old),
    "dr_grpo + plain KL": lambda logp, old, ref: KL_WEIGHT * o.k3(logp, ref),
}


def losses() -> dict[str, Callable]:
    """name -> loss of everything that is optimised: all registered objectives, and `WITH_KL` before the policy ones.

    An objective that trains nothing is left out, and so is one whose loss TRL alone has (`objectives.has_reference`).
    """
    parts = {kind: {} for kind in KINDS}
    parts["policy"] |= {name: partial(_policy, OBJECTIVES["dr_grpo"], kl=kl) for name, kl in WITH_KL.items()}
    for name, objective in OBJECTIVES.items():
        if objective.kind in KINDS and o.has_reference(objective.trl):
            parts[objective.kind][name] = partial(KINDS[objective.kind], objective)
    return {name: loss for part in parts.values() for name, loss in part.items()}


def maximising() -> list[str]:
    """Objectives that maximise the reward without any KL term."""
    return [name for name, objective in OBJECTIVES.items() if objective.kind == "policy"]


def _groups() -> torch.Tensor:
    return torch.arange(GROUPS).repeat_interleave(G)


def optimise(name: str, seed: int = 0) -> torch.Tensor:
    """Log-probabilities that objective `name` ends with: on-policy samples, Adam, rate falling to 0."""
    loss_of, theta = losses()[name], REFERENCE.clone().requires_grad_()
    log_z, value = torch.zeros(1, requires_grad=True), torch.zeros(1, requires_grad=True)
    optimizer = torch.optim.Adam([theta, log_z, value], lr=RATE)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1 - step / STEPS)
    with torch_seed(seed, "known_target"):
        for _ in range(STEPS):
            policy = torch.log_softmax(theta, 0)
            source = REFERENCE if name == "dpo" else policy.detach()  # DPO's pairs come from the reference
            k = torch.multinomial(source.exp(), GROUPS * G, replacement=True)
            logp, ref, r = policy[k][:, None], REFERENCE[k][:, None], REWARDS[k]
            loss = loss_of(logp, logp.detach(), ref, r, torch.ones_like(ref), log_z, value).mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
    return torch.log_softmax(theta, 0).detach()


def kl(p: torch.Tensor, q: torch.Tensor) -> float:
    """KL(p || q) of log-probabilities, nats."""
    return float((p.exp() * (p - q)).sum())


def table():
    """One row per objective: the columns `KLS` (nats), the published number beside it, each answer's probability."""
    import pandas as pd

    rows = []
    for name, policy in {"reference": REFERENCE, **{name: optimise(name) for name in losses()}}.items():
        answers = {f"p{k}": float(x) for k, x in enumerate(policy.exp())}
        entropy = -float((policy.exp() * policy).sum())
        ours = (name, kl(target(), policy), kl(policy, target()), entropy)
        rows.append(dict(zip(KLS, ours, strict=True)) | _published(name) | answers)
    return pd.DataFrame(rows, columns=[*KLS, *BESIDE, *answers])


def _published(name: str) -> dict:
    """The cells `BESIDE` of one objective of ours; none where the paper prints nothing of its kind."""
    method = "FlowRL" if name == "flowrl" else "reward-maximising" if name in maximising() else None
    return dict(zip(BESIDE, (PUBLISHED[method], method, "printed", PUBLISHED_SOURCE), strict=True)) if method else {}


def plot_policies(policies):
    """Figure with an Axes per objective: the target as bars, the policy as dots; policies: what `table` returns."""
    import matplotlib.pyplot as plt

    columns, order = 5, REWARDS.argsort()
    rows = math.ceil(len(policies) / columns)
    fig, axes = plt.subplots(rows, columns, figsize=(15, 2.8 * rows), layout="constrained", sharey=True)
    for ax in axes.flat[len(policies) :]:
        ax.set_axis_off()
    for row, ax in zip(policies.to_dict("records"), axes.flat, strict=False):
        ax.bar(range(len(order)), target().exp()[order], color="0.8", label="target")
        ax.plot(range(len(order)), [row[f"p{k}"] for k in order.tolist()], "o", color="C0", label="policy")
        title = f"{row['objective']}\nKL(target || policy) {max(row['kl_target_policy'], 0):.3f} nats"
        if not math.isnan(row["kl_published"]):
            title += f"\npublished, another target: {row['kl_published']:.2f}"
        ax.set_title(title, fontsize=11)
        ax.set_xticks([])
    axes[-1, 0].set(xlabel="answers, by reward", ylabel="probability")
    axes[0, 0].legend(frameon=False)
    return fig


def make_figure(folder: Path = FIGURES):
    """Write known_target.{csv,png,pdf} into `folder` and return the table, in a quarter of a minute."""
    from studylib.claims.plots import save

    policies = table()
    save(plot_policies(policies), "known_target", folder, policies)
    return policies
