"""What the kinds of objective do beyond TRL's policy losses: advantages of their own, a critic, losses of flows.

`trainer` is a `StudyTrainer`, `answers` and `inputs` are TRL's tensors of a step and of a micro-batch of it.
"""

import torch

from studylib.training import matching, objectives
from studylib.training.told import after_reasons


def worth(trainer, answers: dict) -> dict:
    """What the objective adds to a step's answers: its own advantages and what they rest on.

    An answer that could not be scored (reward NaN) is worth 0 and in no mean.
    """
    objective, r, g = trainer.objective, answers["rewards"], trainer.group_size
    if objective.answer_only:
        width = answers["completion_mask"].shape[1]
        return {"advantages": after_reasons(objective.advantages(r, g), answers["reasons"], width)}
    if objective.advantages:
        return {"advantages": objective.advantages(r, g)}
    if objective.kind == "policy":
        return {}
    old, ref, mask = answers.get("old_per_token_logps"), answers["ref_per_token_logps"], answers["completion_mask"]
    # TRL leaves `old` out where a batch has one update: the ratio is 1 then. Flows and shaped rewards need its value.
    scores = trainer.score(answers) if old is None or objective.kind == "ppo" else None
    old = scores.logps if old is None else old
    own = {"old_per_token_logps": old}
    if objective.kind == "tokens":
        own["advantages"] = objectives.batch_normalised_returns(r, old, ref, mask, trainer.params.beta)
    elif objective.kind == "ppo":
        values = trainer.heads["value"](scores.hidden.float()).squeeze(-1).detach() * mask
        own |= _critics_worth(r, old, ref, mask, values, trainer.params.beta)
    elif objective.kind == "dpg":
        r = r.masked_fill(answers["scored"] == 0, torch.nan)
        own["advantages"] = matching.dpg_advantages(old, ref, mask, r, trainer.params.dpg_alpha, g)
    elif objective.kind == "flow" and not objective.heads:
        worth = matching.fed(objective, r, answers["advantages"]).masked_fill(answers["scored"] == 0, torch.nan)
        own |= _flows_worth(trainer, old, ref, mask, worth, torch.arange(len(r), device=r.device) // g)
    return own


def _flows_worth(trainer, old, ref, mask, worth, group) -> dict:
    """What a flow without a learned log Z takes from the group, (B,): log Z, or the clipped gap."""
    p = trainer.params
    if not trainer.objective.gap:
        return {"log_z": matching.group_log_z(old, ref, mask, worth, p.flow_beta, group)}
    return {"gap": matching.flow_gap(old, ref, mask, worth, p.gflow_beta, group, p.flow_eps_low, p.flow_eps_high)}


def _critics_worth(r, old, ref, mask, values, beta: float) -> dict:
    """PPO's whitened advantages and the returns that its critic learns, both (B, T)."""
    counted = objectives.counted(r, mask)
    advantages, returns = objectives.gae(objectives.shaped_rewards(r, old, ref, mask, beta), values, counted)
    return {"advantages": objectives.whiten(advantages, counted), "returns": returns}


def critic_loss(trainer, inputs: dict) -> torch.Tensor:
    """(rows,) of the value head, on the hidden states of the policy's last pass; no gradient goes into the policy."""
    values = trainer.heads["value"](trainer.scores.hidden.detach().float()).squeeze(-1)
    critic = objectives.value_loss(values, inputs["returns"], inputs["completion_mask"])
    trainer.log_value("value_loss", critic.mean())
    return critic


def flow_loss(trainer, inputs: dict, logps: torch.Tensor, entropy: torch.Tensor) -> torch.Tensor:
    """(rows,) of a flow objective. logps, entropy: (rows, T) of the policy's last pass over `inputs`."""
    mask, old = inputs["completion_mask"], inputs["old_per_token_logps"]
    ratio = torch.exp(((logps - old) * mask).sum(1)).detach()
    trainer.log_value("entropy", (entropy * mask).sum() / mask.sum())
    trainer.log_value("clip_ratio/region_mean", ((ratio - 1).abs() > 0.2).float().mean())
    return (_of_gap if trainer.objective.gap else _of_residual)(trainer, inputs, logps, old, mask)


def _of_gap(trainer, inputs: dict, logps, old, mask) -> torch.Tensor:
    p, gap = trainer.params, inputs["gap"]
    clipped = (gap <= -p.flow_eps_low) | (gap >= p.flow_eps_high)
    trainer.log_value("flow_gap_clipped", clipped.float().mean())
    return matching.gap_loss(gap, logps, old, mask, p.gflow_beta, p.max_new_tokens)


def _of_residual(trainer, inputs: dict, logps, old, mask) -> torch.Tensor:
    objective, beta = trainer.objective, trainer.params.flow_beta
    log_z = inputs["log_z"] if "log_z" in inputs else _learned_log_z(trainer)
    trainer.log_value("log_z", log_z.mean())
    worth = matching.fed(objective, inputs["rewards"], inputs["advantages"])
    residual = matching.flow_residual(logps, inputs["ref_per_token_logps"], mask, worth, log_z, beta)
    return matching.flow_loss(residual, logps, old, mask, beta, objective.released)


def _learned_log_z(trainer) -> torch.Tensor:
    """(rows,) of the head on the mean hidden state of each prompt.

    In the paper the head alone learns Z. The released code does not detach the hidden states, so there the gradient of
    log Z moves the policy too.
    """
    prompt = trainer.scores.prompt if trainer.objective.released else trainer.scores.prompt.detach()
    return trainer.heads["log_z"](prompt.float()).squeeze(-1)


def per_answer(trainer, loss: torch.Tensor, inputs: dict) -> torch.Tensor:
    """Losses (rows,) as their part of the mean over an update's answers, in evaluation over a batch's.

    Those that could not be scored count nothing, nor does the answer that stands in for an empty micro-batch.
    """
    p, counts = trainer.params, inputs["scored"] * (inputs.get("share", 1.0) > 0)
    n = p.answers_per_step / p.updates_per_batch if trainer.model.training else len(loss)
    return (loss * counts).sum() / n
