"""How a step's rewards become what TRL normalises: one column per reward, and where asked one more for their mixture.

TRL sums weighted columns. With a shaping or the LSC combination the columns of the rewards get weight 0, so that TRL
logs them as they are, and a last column `mixed` of weight 1 holds the shaped total. An answer of which one reward with
a weight could not be scored is left out as a whole: TRL would take the sum of the rest.
"""

import numpy as np
import torch

from studylib import processes
from studylib.params import RunParams
from studylib.policy.scoring import shared_prompt_scores
from studylib.rewards.groups import group_normalised
from studylib.rewards.shaping import min_norm_weights, moved, total, unit_rows
from studylib.training.batches import with_prompts
from studylib.training.objectives import bar


def weights(params: RunParams) -> list[float]:
    """Of the study's rewards, and of TRL's overlong punishment where it is on."""
    return list(params.reward_weights.values()) + [1.0] * (params.overlong_ramp > 0)


def has_mixture(params: RunParams) -> bool:
    return params.shaping != "none" or params.combination == "lsc"


def trl_weights(params: RunParams) -> list[float]:
    """Weights of the columns that TRL sees."""
    return [0.0] * len(weights(params)) + [1.0] if has_mixture(params) else weights(params)


def mixed(completions, **columns) -> list[float]:
    """The place of the mixture among TRL's reward functions; `with_mixture` fills its column."""
    return [0.0] * len(completions)


def with_mixture(per_reward: torch.Tensor, params: RunParams, g: int | None = None) -> torch.Tensor:
    """(B, columns) as TRL is to see them: rows that cannot be scored all NaN, the last column the mixture.

    g: answers to each prompt, where they are not `params.generations`, as in an evaluation.
    """
    weight = weights(params)
    trained = torch.tensor(weight, device=per_reward.device) != 0
    unscored = per_reward[:, : len(weight)][:, trained].isnan().any(1)
    per_reward = per_reward.masked_fill(unscored[:, None], torch.nan)
    if has_mixture(params):
        raw = per_reward[:, :-1].double().cpu().numpy()
        whole = total(raw, np.array(weight), g or params.generations, params.shaping, params.combination)
        per_reward[:, -1] = torch.as_tensor(whole).to(per_reward)
    return per_reward


class More:
    """MORE (dunzeng/MORE): weights of the rewards that make the mean of their gradients shortest, found at every step.

    The gradient of each reward alone is that of the on-policy loss -mean_i A_ik bar(logp_i), which is linear in the
    advantages, so that sum_k lambda_k A_k trains on the mean of the gradients. As in the released code the lambdas are
    found on moving averages of length 1 and applied to the gradients as they are.
    """

    def __init__(self):
        self.average: np.ndarray | None = None

    def advantages(self, trainer, answers: dict, per_reward: torch.Tensor) -> torch.Tensor:
        """(B,) combined advantages; logs lambda per reward. per_reward: (B, R) of the rewards with a weight."""
        columns = per_reward.double().T
        each = torch.stack([group_normalised(column, trainer.num_generations, eps=0) for column in columns], 1)
        each = each.to(answers["advantages"])
        self.average = moved(self.average, policy_gradients(trainer, answers, each))
        shares = min_norm_weights(unit_rows(self.average))
        for name, share in zip(trained_rewards(trainer.params), shares, strict=True):
            trainer.log_value(f"lambda/{name}", float(share))
        return each @ torch.as_tensor(shares).to(each)


def trained_rewards(params: RunParams) -> list[str]:
    return [name for name, weight in params.reward_weights.items() if weight]


def policy_gradients(trainer, answers: dict, advantages: torch.Tensor) -> np.ndarray:
    """(R, parameters) gradients of -mean_i A_ik bar(logp_i) for every column k of `advantages` (B, R).

    The passes are dealt to the processes of a run.
    """
    parameters = [p for p in trainer.model.parameters() if p.requires_grad]
    sums = [[torch.zeros_like(p) for p in parameters] for _ in advantages.T]
    passes = torch.arange(len(advantages)).split(trainer.params.rows_per_pass)
    for rows in (rows for i, rows in enumerate(passes) if processes.mine(i)):
        width = answers["completion_ids"].shape[1]
        with trainer.accelerator.autocast():
            logps = shared_prompt_scores(trainer.model, *with_prompts(answers, rows), width).logps
        mean = bar(logps, answers["completion_mask"][rows])
        for column, kept in zip(advantages[rows].T, sums, strict=True):
            loss = -(column * mean).sum() / len(advantages)
            parts = torch.autograd.grad(loss, parameters, retain_graph=True, allow_unused=True)
            for gradient, part in zip(kept, parts, strict=True):
                gradient += 0 if part is None else part
    processes.summed(gradient for kept in sums for gradient in kept)
    return torch.stack([torch.cat([g.flatten() for g in kept]) for kept in sums]).double().cpu().numpy()
