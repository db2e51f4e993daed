"""Every objective on a policy whose optimum is known: one prompt, K answers of one token, fixed rewards.

python -m studylib.instruments.known_target -> figures/known_target.{csv,png,pdf}

The losses are those of the study. Distribution-matching objectives must reach pi_ref exp(beta r) / Z, and
reward-maximising ones without a KL term must collapse onto the best answer. GRPO with a KL term of weight 1 / beta
reaches the same target when TRL corrects the term by the importance ratio (`use_bias_correction_kl`). It does not with
the plain term: on-policy the gradient of k3 is that of KL(reference || policy), whose optimum is `k3_optimum`.

Beside them stand the two numbers that Figure 1 of the FlowRL paper (arXiv 2509.15207) prints for a toy target of its
own: another target, and we do not know which way their KL goes. Only their order may be held against ours.
"""

import math

import torch

from studylib.randomness import torch_seed
from studylib.training import objectives as o

REWARDS = torch.tensor([0.0, 0.1, 0.9, 0.3, 0.0, 1.0, 0.2, 0.8, 0.1, 0.0, 0.5, 0.95])
REFERENCE = torch.log_softmax(torch.tensor([0.3, -0.2, 0.1, 0.0, 0.4, -0.3, 0.2, 0.0, -0.1, 0.3, 0.0, -0.2]), 0)
BETA = 4.0
KL_WEIGHT = 1 / BETA
GROUPS, G, STEPS, RATE = 16, 32, 1500, 0.05
MAXIMISING = ("grpo", "dr_grpo", "dapo", "rloo", "gspo", "cispo", "rft")  # without any KL term
PUBLISHED = {"FlowRL": (0.11, ("flowrl",)), "reward-maximising": (8.68, MAXIMISING)}  # KL to target, ours beside it
PUBLISHED_SOURCE = "arXiv 2509.15207, Figure 1, another target, direction of the KL unknown"
KLS = ["objective", "kl_target_policy", "kl_policy_target", "entropy"]  # ours
BESIDE = ["kl_published", "published_method", "published_status", "published_source"]


def target() -> torch.Tensor:
    """log of pi_ref exp(beta r) / Z."""
    return torch.log_softmax(REFERENCE + BETA * REWARDS, 0)


def k3_optimum(weight: float = KL_WEIGHT) -> torch.Tensor:
    """log of the policy that maximises E r - weight KL(reference || policy): pi_ref weight / (lambda - r).

    lambda makes it sum to 1; found by bisection.
    """
    low, high = float(REWARDS.max()) + 1e-9, float(REWARDS.max()) + weight
    for _ in range(100):
        middle = (low + high) / 2
        mass = float((REFERENCE.exp() * weight / (middle - REWARDS)).sum())
        low, high = (middle, high) if mass > 1 else (low, middle)
    return torch.log(REFERENCE.exp() * weight / (high - REWARDS))


def _flow(name, logp, old, ref, r, mask, log_z, value):
    z = o.group_log_z(logp, ref, mask, r, BETA, _groups()) if name == "gflowrl" else log_z
    residual = o.flow_residual(logp, ref, mask, r, z, BETA)
    return o.flow_loss(residual, logp, old, mask, BETA, released=name == "flowrl_released")


def _ppo(name, logp, old, ref, r, mask, log_z, value):
    values = value.expand_as(logp)
    shaped = o.shaped_rewards(r, old, ref, mask, KL_WEIGHT)
    advantages, returns = o.gae(shaped, values.detach(), mask)
    return o.clipped(logp, old, advantages, mask).sum(1) + o.value_loss(values, returns, mask)


def _dpo(name, logp, old, ref, r, mask, log_z, value):
    """Neighbours as pairs; pairs of equal reward teach nothing."""
    first, second = logp[0::2, 0], logp[1::2, 0]
    better = r[0::2] > r[1::2]
    loss = o.dpo_loss(
        torch.where(better, first, second), torch.where(better, second, first),
        torch.where(better, ref[0::2, 0], ref[1::2, 0]), torch.where(better, ref[1::2, 0], ref[0::2, 0]), 0.1,
    )  # fmt: skip
    return loss * (r[0::2] != r[1::2])


def _policy(name, logp, old, ref, r, mask, log_z, value):
    advantage = {
        "grpo": o.group_normalised, "dapo": o.group_normalised, "gspo": o.group_normalised, "cispo": o.group_normalised,
        "dr_grpo": o.group_centred, "dr_grpo + plain KL": o.group_centred,
        "dr_grpo + corrected KL": o.group_centred, "rloo": o.leave_one_out, "rft": o.best_of_group,
    }[name](r, G)  # fmt: skip
    if name == "cispo":
        return o.cispo(logp, old, advantage, 5.0).sum(1)
    clip = {"dapo": (0.2, 0.28), "gspo": (3e-4, 4e-4)}.get(name, (0.2, 0.2))
    loss = o.clipped(logp, old, advantage, mask, *clip, sequence=name == "gspo")
    if name.endswith("KL"):
        loss = loss + KL_WEIGHT * o.k3(logp, ref) * (torch.exp(logp - old) if "corrected" in name else 1)
    return loss.sum(1)


def _reinforce_pp(name, logp, old, ref, r, mask, log_z, value):
    advantages = o.batch_normalised_returns(r, old, ref, mask, KL_WEIGHT)
    return o.clipped(logp, old, advantages, mask).sum(1)


LOSSES = {
    "flowrl": _flow, "flowrl_released": _flow, "gflowrl": _flow, "ppo": _ppo, "reinforce_pp": _reinforce_pp,
    "dr_grpo + corrected KL": _policy, "dr_grpo + plain KL": _policy, "grpo": _policy, "dr_grpo": _policy,
    "dapo": _policy, "rloo": _policy, "gspo": _policy, "cispo": _policy, "rft": _policy, "dpo": _dpo,
}  # fmt: skip


def _groups() -> torch.Tensor:
    return torch.arange(GROUPS).repeat_interleave(G)


def optimise(name: str, seed: int = 0) -> torch.Tensor:
    """Log-probabilities that objective `name` ends with: on-policy samples, Adam, rate falling to 0."""
    theta = REFERENCE.clone().requires_grad_()
    log_z, value = torch.zeros(1, requires_grad=True), torch.zeros(1, requires_grad=True)
    optimizer = torch.optim.Adam([theta, log_z, value], lr=RATE)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1 - step / STEPS)
    with torch_seed(seed, "known_target"):
        for _ in range(STEPS):
            policy = torch.log_softmax(theta, 0)
            source = REFERENCE if name == "dpo" else policy.detach()  # DPO's pairs come from the reference
            k = torch.multinomial(source.exp(), GROUPS * G, replacement=True)
            logp, ref, r = policy[k][:, None], REFERENCE[k][:, None], REWARDS[k]
            loss = LOSSES[name](name, logp, logp.detach(), ref, r, torch.ones_like(ref), log_z, value).mean()
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
    for name, policy in {"reference": REFERENCE, **{name: optimise(name) for name in LOSSES}}.items():
        answers = {f"p{k}": float(x) for k, x in enumerate(policy.exp())}
        entropy = -float((policy.exp() * policy).sum())
        ours = (name, kl(target(), policy), kl(policy, target()), entropy)
        rows.append(dict(zip(KLS, ours, strict=True)) | _published(name) | answers)
    return pd.DataFrame(rows, columns=[*KLS, *BESIDE, *answers])


def _published(name: str) -> dict:
    """The cells `BESIDE` of one objective of ours; none where the paper prints nothing of its kind."""
    for method, (value, objectives) in PUBLISHED.items():
        if name in objectives:
            return dict(zip(BESIDE, (value, method, "printed", PUBLISHED_SOURCE), strict=True))
    return {}


def plot_policies(found):
    """Figure with an Axes per objective: the target as bars, the policy as dots; found is what `table` returns."""
    import matplotlib.pyplot as plt

    columns, order = 5, REWARDS.argsort()
    rows = math.ceil(len(found) / columns)
    fig, axes = plt.subplots(rows, columns, figsize=(15, 2.8 * rows), layout="constrained", sharey=True)
    for ax in axes.flat[len(found) :]:
        ax.set_axis_off()
    for row, ax in zip(found.to_dict("records"), axes.flat, strict=False):
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


def main() -> None:
    from studylib.claims.plots import save
    from studylib.paths import FIGURES

    found = table()
    save(plot_policies(found), "known_target", FIGURES, found)
    print(found[[*KLS, *BESIDE[:3]]].round(4).to_string(index=False, na_rep=""))
    print(f"published: {PUBLISHED_SOURCE}")


if __name__ == "__main__":
    main()
