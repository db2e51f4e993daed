"""Every objective on policies whose optimum is known: one prompt, K answers of one token, fixed rewards.

The losses are those of the study, fed as the trainer feeds them (`matching.fed`), and an objective that is registered
has its row here without a further line. There are two landscapes of rewards: `graded`, and `binary` with four right
answers of twelve. A row is held against the distribution that the objective's record promises: pi_ref exp(beta r) / Z,
of alpha-DPG pi_ref v / Z. Objectives that maximise the reward promise none, and stand against the first; without a KL
term they must collapse onto the best answer where one is best. GRPO with a KL term of weight 1 / beta reaches the same
target if TRL corrects the term by the importance ratio (`use_bias_correction_kl`). It does not with the plain term:
on-policy the gradient of k3 is that of KL(reference || policy), whose optimum is `k3_optimum`.

Beside graded rewards the table has the two numbers that Figure 1 of the FlowRL paper (arXiv 2509.15207) prints for a
toy target of its own. That is another target, and the paper does not say which way its KL goes, so only their order can
be compared.
"""

import math
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch

from studylib.names import OBJECTIVES, Objective
from studylib.paths import FIGURES
from studylib.randomness import torch_seed
from studylib.training import matching
from studylib.training import objectives as o

REWARDS = torch.tensor([0.0, 0.1, 0.9, 0.3, 0.0, 1.0, 0.2, 0.8, 0.1, 0.0, 0.5, 0.95])
LANDSCAPES = {"graded": REWARDS, "binary": (REWARDS >= 0.8).float()}
REFERENCE = torch.log_softmax(torch.tensor([0.3, -0.2, 0.1, 0.0, 0.4, -0.3, 0.2, 0.0, -0.1, 0.3, 0.0, -0.2]), 0)
BETA = 4.0
KL_WEIGHT = 1 / BETA
GROUPS, G, STEPS, RATE = 16, 32, 1500, 0.05
RIGHT = REWARDS >= 0.8  # the answers among which modes are counted: the right ones, or the four best
PUBLISHED = {"FlowRL": 0.11, "reward-maximising": 8.68}  # KL to target
PUBLISHED_SOURCE = "arXiv 2509.15207, Figure 1, another target, direction of the KL unknown"
KEYS = ["objective", "landscape", "fed", "target"]
KLS = ["kl_target_policy", "kl_policy_target", "entropy", "modes_kept", "modes_of_target"]  # ours
BESIDE = ["kl_published", "published_method", "published_status", "published_source"]


def target(landscape: str = "graded", promise: str = "tempered") -> torch.Tensor:
    """log of pi_ref exp(beta r) / Z, or, of promise `filtered`, of pi_ref r / Z."""
    r = LANDSCAPES[landscape]
    return torch.log_softmax(REFERENCE + (r.log() if promise == "filtered" else BETA * r), 0)


def target_of(name: str) -> str:
    """The promise that an objective is held against: its own, where that is one distribution."""
    return "filtered" if name in OBJECTIVES and OBJECTIVES[name].promise == "filtered" else "tempered"


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
    worth = matching.fed(objective, r, o.group_normalised(r, G))
    if objective.gap:
        gap = matching.flow_gap(old, ref, mask, worth, BETA, _groups(), o.FLOW_EPS_LOW.default, o.FLOW_EPS_HIGH.default)
        return matching.gap_loss(gap, logp, old, mask, BETA, 1)
    z = log_z if objective.heads else matching.group_log_z(old, ref, mask, worth, BETA, _groups())
    residual = matching.flow_residual(logp, ref, mask, worth, z, BETA)
    return matching.flow_loss(residual, logp, old, mask, BETA, objective.released)


def _dpg(objective: Objective, logp, old, ref, r, mask, log_z, value):
    advantages = matching.dpg_advantages(old, ref, mask, r, o.DPG_ALPHA.default, G)
    return o.policy_loss(objective.trl, logp, old, advantages, mask).sum(1)


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


KINDS = {
    "flow": _flow,
    "dpg": _dpg,
    "ppo": _ppo,
    "tokens": _tokens,
    "policy": _policy,
    "dpo": _dpo,
}  # in the order of the table
WITH_KL = {  # reward maximisation with a KL term, as TRL corrects it and without that
    "dr_grpo + corrected KL": lambda logp, old, ref: KL_WEIGHT * o.k3(logp, ref) * torch.exp(logp - old),
    "dr_grpo + plain KL": lambda logp, old, ref: KL_WEIGHT * o.k3(logp, ref),
}


def losses() -> dict[str, Callable]:
    """name -> loss of everything that is optimised: all registered objectives, and `WITH_KL` before the policy ones.

    An objective that trains nothing is left out, and so is one that is told the answers, and one whose loss TRL alone
    has (`objectives.has_reference`).
    """
    parts = {kind: {} for kind in KINDS}
    parts["policy"] |= {name: partial(_policy, OBJECTIVES["dr_grpo"], kl=kl) for name, kl in WITH_KL.items()}
    for name, objective in OBJECTIVES.items():
        if objective.kind in KINDS and o.has_reference(objective.trl) and not objective.told:
            parts[objective.kind][name] = partial(KINDS[objective.kind], objective)
    return {name: loss for part in parts.values() for name, loss in part.items()}


def maximising() -> list[str]:
    """Objectives that maximise the reward without any KL term."""
    return [name for name, objective in OBJECTIVES.items() if objective.kind == "policy" and not objective.told]


def _groups() -> torch.Tensor:
    return torch.arange(GROUPS).repeat_interleave(G)


def optimise(name: str, seed: int = 0, landscape: str = "graded") -> torch.Tensor:
    """Log-probabilities that objective `name` ends with: on-policy samples, Adam, rate falling to 0."""
    loss_of, theta, rewards = losses()[name], REFERENCE.clone().requires_grad_(), LANDSCAPES[landscape]
    log_z, value = torch.zeros(1, requires_grad=True), torch.zeros(1, requires_grad=True)
    optimizer = torch.optim.Adam([theta, log_z, value], lr=RATE)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1 - step / STEPS)
    with torch_seed(seed, "known_target"):
        for _ in range(STEPS):
            policy = torch.log_softmax(theta, 0)
            source = REFERENCE if name == "dpo" else policy.detach()  # DPO's pairs come from the reference
            k = torch.multinomial(source.exp(), GROUPS * G, replacement=True)
            logp, ref, r = policy[k][:, None], REFERENCE[k][:, None], rewards[k]
            loss = loss_of(logp, logp.detach(), ref, r, torch.ones_like(ref), log_z, value).mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
    return torch.log_softmax(theta, 0).detach()


def kl(p: torch.Tensor, q: torch.Tensor) -> float:
    """KL(p || q) of log-probabilities, nats; an answer that p never gives adds nothing."""
    return float((p.exp() * (p - q)).nan_to_num().sum())


def entropy(policy: torch.Tensor) -> float:
    """Of log-probabilities, nats."""
    return -float((policy.exp() * policy).nan_to_num().sum())


def modes_kept(policy: torch.Tensor) -> float:
    """exp(entropy) inside the answers `RIGHT`: 4 where they are equally likely, 1 where one is left."""
    return math.exp(entropy(torch.log_softmax(policy[RIGHT], 0)))


def table():
    """One row per landscape and objective: `KEYS`, `KLS` (nats, numbers of answers) to the row's own target, the
    published number beside it, each answer's probability."""
    import pandas as pd

    rows = []
    for landscape in LANDSCAPES:
        rows.append(_row("reference", landscape, REFERENCE))
        rows += [_row(name, landscape, optimise(name, landscape=landscape)) for name in losses()]
    return pd.DataFrame(rows)


def _row(name: str, landscape: str, policy: torch.Tensor) -> dict:
    goal = target(landscape, target_of(name))
    ours = kl(goal, policy), kl(policy, goal), entropy(policy), modes_kept(policy), modes_kept(goal)
    keys = name, landscape, _fed(name), target_of(name)
    answers = {f"p{k}": float(x) for k, x in enumerate(policy.exp())}
    beside = _published(name if landscape == "graded" else "")
    return dict(zip(KEYS + KLS, keys + ours, strict=True)) | beside | answers


def _fed(name: str) -> str:
    """What an objective takes as the worth of an answer."""
    if name not in OBJECTIVES or OBJECTIVES[name].kind != "flow":
        return ""
    return "raw" if OBJECTIVES[name].raw else "normalised"


def _published(name: str) -> dict:
    """The cells `BESIDE` of one objective of ours; none where the paper prints nothing of its kind."""
    method = "FlowRL" if name == "flowrl" else "reward-maximising" if name in maximising() else None
    if not method:
        return dict.fromkeys(BESIDE)
    return dict(zip(BESIDE, (PUBLISHED[method], method, "printed", PUBLISHED_SOURCE), strict=True))


def plot_policies(policies):
    """Figure with an Axes per landscape and objective: its target as bars, the policy as dots; policies: of `table`."""
    import matplotlib.pyplot as plt

    columns, order = 6, REWARDS.argsort()
    rows = {landscape: math.ceil(len(part) / columns) for landscape, part in policies.groupby("landscape", sort=False)}
    size = 3 * columns, 2.7 * sum(rows.values())
    fig, axes = plt.subplots(sum(rows.values()), columns, figsize=size, layout="constrained", sharey=True)
    for ax in axes.flat:
        ax.set_axis_off()
    first = 0
    for landscape, part in policies.groupby("landscape", sort=False):
        for row, ax in zip(part.to_dict("records"), axes[first:].flat, strict=False):
            _plot_policy(row, ax, order)
        axes[first + rows[landscape] - 1, 0].set(xlabel="answers, by reward", ylabel="probability")
        first += rows[landscape]
    axes[0, 0].legend(frameon=False)
    return fig


def _plot_policy(row: dict, ax, order) -> None:
    ax.set_axis_on()
    ax.bar(range(len(order)), target(row["landscape"], row["target"]).exp()[order], color="0.8", label="target")
    ax.plot(range(len(order)), [row[f"p{k}"] for k in order.tolist()], "o", color="C0", label="policy")
    named = " ".join(filter(None, (row["objective"], f"({row['fed']})" if row["fed"] else "")))
    title = f"{named}, {row['landscape']}\nKL(target || policy) {max(row['kl_target_policy'], 0):.3f} nats"
    if row["kl_published"] and not math.isnan(row["kl_published"]):
        title += f"\npublished, another target: {row['kl_published']:.2f}"
    ax.set_title(title, fontsize=10)
    ax.set_xticks([])


def make_figure(folder: Path = FIGURES):
    """Write known_target.{csv,png,pdf} into `folder` and return the table, in a minute."""
    from studylib.claims.plots import save

    policies = table()
    save(plot_policies(policies), "known_target", folder, policies)
    return policies
