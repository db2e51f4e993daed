"""Every objective on 2 prompts x 3 answers of different lengths: loss and gradient of the trainer by hand, and TRL's.

The log-probabilities are given, so that loss and gradient can be worked out with plain Python numbers and no autograd.
"""

import math

import pytest
import torch
from answer_batches import C, batch
from training_runs import pay, start, tags_reward
from trl import GRPOTrainer

from studylib.policy.scoring import Scores
from studylib.training import kinds
from studylib.training import objectives as o
from studylib.training.preferences import best_and_worst, dpo_trainer, sample_pairs
from studylib.training.trainer import PairTrainer

G, T, LONGEST = 3, 3, 4  # answers to a prompt, longest answer here, longest answer allowed
REWARDS = [1.0, 0.0, 0.5, 0.0, 0.0, 1.0]
LENGTHS = [1, 2, 3, 3, 1, 2]
OLD = [[-1.0, 0, 0], [-2.0, -0.5, 0], [-1.0, -1.5, -3.0], [-0.3, -1.0, -2.0], [-2.5, 0, 0], [-0.7, -1.1, 0]]
RATIO = [[1.5, 1, 1], [0.7, 1.1, 1], [1.0, 1.3, 0.9], [0.75, 1.25, 1.0], [1.4, 1, 1], [0.6, 1.24, 1]]
SHIFT = [[0.5, 0, 0], [-0.4, 0.2, 0], [0.1, 0.3, -0.2], [0.0, -0.6, 0.4], [0.3, 0, 0], [-0.1, 0.2, 0]]  # old - ref
LOGP = [[x + math.log(rho) for x, rho in zip(*rows, strict=True)] for rows in zip(OLD, RATIO, strict=True)]
REF = [[x - shift for x, shift in zip(*rows, strict=True)] for rows in zip(OLD, SHIFT, strict=True)]
BETA, FLOW_BETA, VALUE, LOG_Z = 0.1, 15.0, 0.2, 0.3
MASK = torch.tensor([[float(t < n) for t in range(T)] for n in LENGTHS])


# --- by hand: objective -> (loss, gradient for every token) -----------------------------------------------------------


def centred():
    return [r - sum(REWARDS[i // G * G : i // G * G + G]) / G for i, r in enumerate(REWARDS)]


def normalised():
    """(r - mean) / (sd + 1e-4); squared deviations sum to 1/2 in the first group and to 2/3 in the second."""
    sd = [math.sqrt(0.5 / 2)] * G + [math.sqrt(2 / 3 / 2)] * G
    return [a / (s + 1e-4) for a, s in zip(centred(), sd, strict=True)]


def tokens():
    return [(i, t) for i, n in enumerate(LENGTHS) for t in range(n)]


def clip_term(ratio, advantage, low, high):
    """(loss, derivative for the log-probability) of -min(rho A, clip(rho) A): no gradient where the clip is the min."""
    clipped = min(max(ratio, 1 - low), 1 + high)
    inside = ratio * advantage <= clipped * advantage
    return -min(ratio * advantage, clipped * advantage), -ratio * advantage * inside


def by_token(advantage, weight, low=0.2, high=0.2):
    """advantage(i, t), weight(i) of every token in the sum."""
    loss, gradient = 0.0, [[0.0] * T for _ in LENGTHS]
    for i, t in tokens():
        value, slope = clip_term(RATIO[i][t], advantage(i, t), low, high)
        loss += weight(i) * value
        gradient[i][t] = weight(i) * slope
    return loss, gradient


def grpo():
    return by_token(lambda i, t: normalised()[i], lambda i: 1 / (6 * LENGTHS[i]))


def dr_grpo():
    return by_token(lambda i, t: centred()[i], lambda i: 1 / (6 * LONGEST))


def dapo():
    return by_token(lambda i, t: normalised()[i], lambda i: 1 / sum(LENGTHS), high=0.28)


def rloo():
    others = [r - (sum(REWARDS[i // G * G : i // G * G + G]) - r) / 2 for i, r in enumerate(REWARDS)]
    return by_token(lambda i, t: others[i], lambda i: 1 / (6 * LONGEST))


def rft():
    return by_token(lambda i, t: float(i in (0, 5)), lambda i: 1 / (6 * LENGTHS[i]))


def sft():
    return by_token(lambda i, t: REWARDS[i], lambda i: 1 / (6 * LONGEST))


def grpo_answer():  # the answers of this test have no reasons that end
    return by_token(lambda i, t: normalised()[i], lambda i: 1 / (6 * LONGEST))


def gspo():
    loss, gradient = 0.0, [[0.0] * T for _ in LENGTHS]
    for i, n in enumerate(LENGTHS):
        ratio = math.prod(RATIO[i][:n]) ** (1 / n)
        value, slope = clip_term(ratio, normalised()[i], 3e-4, 4e-4)
        loss += value / 6
        gradient[i][:n] = [slope / n / 6] * n
    return loss, gradient


def cispo():
    loss, gradient = 0.0, [[0.0] * T for _ in LENGTHS]
    for i, t in tokens():
        gradient[i][t] = -min(RATIO[i][t], 5.0) * normalised()[i] / sum(LENGTHS)
        loss += gradient[i][t] * LOGP[i][t]
    return loss, gradient


def shaped(i, t):
    return -BETA * SHIFT[i][t] + REWARDS[i] * (t == LENGTHS[i] - 1)


def whitened(values):
    """values: {(i, t): x}, over all tokens, variance with n."""
    mean = sum(values.values()) / len(values)
    sd = math.sqrt(sum((x - mean) ** 2 for x in values.values()) / len(values))
    return {key: (x - mean) / sd for key, x in values.items()}


def reinforce_pp():
    returns = whitened({(i, t): sum(shaped(i, s) for s in range(t, LENGTHS[i])) for i, t in tokens()})
    return by_token(lambda i, t: returns[i, t], lambda i: 1 / sum(LENGTHS))


def ppo():
    """The critic says 0.2 everywhere; lambda 0.95. Its own loss is half the squared distance to A + V."""
    error = {(i, t): shaped(i, t) + (t < LENGTHS[i] - 1) * VALUE - VALUE for i, t in tokens()}
    gae = {(i, t): sum(0.95 ** (s - t) * error[i, s] for s in range(t, LENGTHS[i])) for i, t in tokens()}
    advantage = whitened(gae)
    loss, gradient = by_token(lambda i, t: advantage[i, t], lambda i: 1 / sum(LENGTHS))
    critic = sum(0.5 * gae[i, t] ** 2 / LENGTHS[i] for i, t in tokens()) / 6
    return loss + critic, gradient


def flow(log_z, weight, worth):
    """log_z(i), weight(product of the answer's ratios), worth(i)."""
    loss, gradient = 0.0, [[0.0] * T for _ in LENGTHS]
    for i, n in enumerate(LENGTHS):
        gap = log_z(i) + sum(LOGP[i][:n]) / n - FLOW_BETA * worth(i) - sum(REF[i][:n]) / n
        w = weight(math.prod(RATIO[i][:n]))
        loss += w * gap**2 / (2 * FLOW_BETA) / 6
        gradient[i][:n] = [w * gap / FLOW_BETA / n / 6] * n
    return loss, gradient


def within(product):
    return min(max(product, 0.8), 1.2)


def flowrl():
    return flow(lambda i: LOG_Z, within, lambda i: normalised()[i])


def flowrl_raw():
    return flow(lambda i: LOG_Z, within, lambda i: REWARDS[i])


def flowrl_released():
    return flow(lambda i: LOG_Z, lambda product: product, lambda i: normalised()[i])


def mean_of_group(values, i):
    return sum(values[i // G * G : i // G * G + G]) / G


def vargrad():
    """log Z: the mean over the group of beta r_hat + mean(ref - old), at the time of sampling."""
    value = [FLOW_BETA * a - sum(SHIFT[i][:n]) / n for i, (a, n) in enumerate(zip(normalised(), LENGTHS, strict=True))]
    return flow(lambda i: mean_of_group(value, i), within, lambda i: normalised()[i])


def gflowrl():
    """beta 8 per answer; the gap is clipped to [-2, 4]: of the answers of reward 1 to -2, of the others above 2."""
    loss, gradient = 0.0, [[0.0] * T for _ in LENGTHS]
    value = [8 * r - sum(SHIFT[i][:n]) for i, (r, n) in enumerate(zip(REWARDS, LENGTHS, strict=True))]
    for i, n in enumerate(LENGTHS):
        gap = min(max(mean_of_group(value, i) - value[i], -2), 4) + sum(math.log(rho) for rho in RATIO[i][:n])
        w = min(math.prod(RATIO[i][:n]), 1.2)
        loss += w * gap**2 / (2 * 8 * LONGEST) / 6
        gradient[i][:n] = [w * gap / (8 * LONGEST) / 6] * n
    return loss, gradient


def alpha_dpg():
    """The square root of r pi_ref / (pi_old Z), minus that of the group's two others: alpha is a half."""
    weight = [r * math.exp(-sum(SHIFT[i][:n])) for i, (r, n) in enumerate(zip(REWARDS, LENGTHS, strict=True))]
    root = [math.sqrt(w / mean_of_group(weight, i)) for i, w in enumerate(weight)]
    worth = [x - (G * mean_of_group(root, i) - x) / 2 for i, x in enumerate(root)]
    return by_token(lambda i, t: worth[i], lambda i: 1 / (6 * LONGEST))


def grpo_unclipped():
    return by_token(lambda i, t: normalised()[i], lambda i: 1 / (6 * LENGTHS[i]), low=math.inf, high=math.inf)


BY_HAND = {
    "grpo": grpo, "dr_grpo": dr_grpo, "dapo": dapo, "rloo": rloo, "rft": rft, "sft": sft, "gspo": gspo, "cispo": cispo,
    "reinforce_pp": reinforce_pp, "ppo": ppo, "flowrl": flowrl, "flowrl_released": flowrl_released,
    "flowrl_raw": flowrl_raw, "vargrad": vargrad, "gflowrl": gflowrl, "alpha_dpg": alpha_dpg,
    "grpo_unclipped": grpo_unclipped, "grpo_answer": grpo_answer,
}  # fmt: skip
NEED_BETA = {name: BETA for name in BY_HAND if o.OBJECTIVES[name].reference}


@pytest.mark.parametrize("name", BY_HAND)
def test_loss_and_gradient_by_hand(miniature, monkeypatch, name):
    """The trainer samples answers of the given lengths, scores them with the given rewards, and is given LOGP."""
    params = miniature(
        objective=name, beta=NEED_BETA.get(name, 0.0), answers_per_step=6, generations=G, micro_batch=6,
        max_new_tokens=LONGEST, steps=2,
    )  # fmt: skip
    trainer = start(params)
    trainer.current_gradient_accumulation_steps = 1
    answers = answers_of(trainer, monkeypatch)
    logp = torch.tensor(LOGP, requires_grad=True)
    hidden = torch.zeros(6, T, trainer.model.config.hidden_size)
    scores = Scores(logp, torch.zeros_like(MASK), hidden, hidden[:, 0])

    def given(*args, **kwargs):
        trainer.scores = scores
        return logp, scores.entropy, None

    monkeypatch.setattr(trainer, "_get_per_token_logps_and_entropies", given)
    loss = trainer.compute_loss(trainer.model, answers)
    (gradient,) = torch.autograd.grad(loss, logp)
    expected, slopes = BY_HAND[name]()
    assert loss.item() == pytest.approx(expected, abs=1e-5)
    assert torch.allclose(gradient, torch.tensor(slopes), atol=1e-6), gradient - torch.tensor(slopes)
    assert gradient.abs().sum() > 0


def answers_of(trainer, monkeypatch) -> dict:
    """A step's answers as the trainer makes them, with lengths, rewards, old and reference log-probabilities given."""
    for head in trainer.heads.values():
        bias = (head if isinstance(head, torch.nn.Linear) else head[-1]).bias
        bias.data.fill_(VALUE if trainer.objective.kind == "ppo" else LOG_Z)
    monkeypatch.setattr(trainer, "sample", lambda prompts, ids: [[20] * n for n in LENGTHS])
    rewards = torch.tensor(REWARDS)[:, None].repeat(1, len(trainer.params.reward_weights))
    rewards[:, 1:] = 0  # the format reward has weight 0
    monkeypatch.setattr(GRPOTrainer, "_calculate_rewards", lambda *args, **kwargs: rewards)
    monkeypatch.setattr("studylib.training.trainer.measure", lambda *args: None)
    zeros = torch.zeros(6, T)
    hidden = torch.zeros(6, T, trainer.model.config.hidden_size)
    monkeypatch.setattr(trainer, "score", lambda answers: Scores(torch.tensor(OLD), zeros, hidden, hidden[:, 0]))
    given = {"old_per_token_logps": torch.tensor(OLD) * MASK, "ref_per_token_logps": torch.tensor(REF) * MASK}
    worth = kinds.worth
    monkeypatch.setattr(kinds, "worth", lambda trainer, answers: given | worth(trainer, answers | given))
    rows = [trainer.train_dataset[i] for i in range(2) for _ in range(G)]
    answers = trainer._generate_and_score_completions(rows)
    assert torch.equal(answers["completion_mask"].float(), MASK)
    return answers


def test_the_pairs_of_dpo_by_hand():
    """Best and worst of each group, log-probabilities as sums: gradient +-beta sigmoid(-beta margin)."""
    pairs = best_and_worst(REWARDS, G)
    assert pairs == [(0, 1), (5, 3)]
    total = {name: torch.tensor([sum(row) for row in rows]) for name, rows in (("logp", LOGP), ("ref", REF))}
    total["logp"].requires_grad_()
    best, worst = torch.tensor(pairs).T
    loss = o.dpo_loss(total["logp"][best], total["logp"][worst], total["ref"][best], total["ref"][worst], BETA).mean()
    (gradient,) = torch.autograd.grad(loss, total["logp"])
    expected, slopes = 0.0, [0.0] * 6
    for i, j in pairs:
        margin = BETA * ((sum(LOGP[i]) - sum(REF[i])) - (sum(LOGP[j]) - sum(REF[j])))
        expected += math.log1p(math.exp(-margin)) / 2
        slopes[i], slopes[j] = -BETA / (1 + math.exp(margin)) / 2, BETA / (1 + math.exp(margin)) / 2
    assert loss.item() == pytest.approx(expected, abs=1e-6)
    assert gradient.tolist() == pytest.approx(slopes, abs=1e-6)


# --- TRL ---


@pytest.mark.parametrize("micro_batch, updates", [(12, 1), (4, 1), (2, 1), (6, 2), (2, 2), (2, 3)])
@pytest.mark.parametrize("name", ["grpo", "dr_grpo", "dapo", "gspo", "cispo"])
def test_a_step_has_the_loss_of_trl_however_it_is_cut(miniature, monkeypatch, name, micro_batch, updates):
    """Sum over all micro-batches and updates of a step, off-policy, at fixed weights: ours against TRL's own."""
    params = miniature(objective=name, answers_per_step=12, micro_batch=micro_batch, updates_per_batch=updates)
    trainer = start(params)
    trainer.current_gradient_accumulation_steps = trainer.args.gradient_accumulation_steps
    disturb(trainer.model)
    ids, mask = batch(padded=True, shuffled=False)
    answers = {
        "prompt_ids": ids[:, :-C], "prompt_mask": mask[:, :-C], "completion_ids": ids[:, -C:],
        "completion_mask": mask[:, -C:], "num_items_in_batch": mask[:, -C:].sum(),
        "advantages": torch.randn(12, generator=torch.Generator().manual_seed(1)),
        "old_per_token_logps": -3 * torch.rand(12, C, generator=torch.Generator().manual_seed(2)),
    }  # fmt: skip
    with torch.no_grad():
        logp = trainer.score(answers).logps
    noise = 0.3 * torch.randn(12, C, generator=torch.Generator().manual_seed(3))
    answers["old_per_token_logps"] = (logp + noise) * mask[:, -C:]
    monkeypatch.setattr(trainer, "_generate_and_score_completions", lambda inputs: dict(answers))
    assert trainer.args.steps_per_generation == 12 // params.rows_per_pass
    ours, theirs = whole_step(trainer, trainer._prepare_inputs), None
    trainer.fast = False
    theirs = whole_step(trainer, trainer._prepare_inputs)
    assert ours == pytest.approx(theirs, abs=1e-6 * max(1, updates))


def whole_step(trainer, prepare_inputs) -> float:
    """Mean over the updates of a step of the loss that each minimises, all at the weights as they are."""
    trainer._buffered_inputs, total = None, 0.0
    for step in range(trainer.args.steps_per_generation):
        trainer._step = step
        with torch.no_grad():
            total += trainer.compute_loss(trainer.model, prepare_inputs(None)).item()
    trainer._step = 0
    return total / trainer.params.updates_per_batch


def disturb(model):
    generator = torch.Generator().manual_seed(3)
    for name, parameter in model.named_parameters():
        if "lora_B.default" in name:  # TRL keeps the policy before DPO as a second adapter, "ref"
            parameter.data.normal_(std=0.1, generator=generator)


def test_the_loss_of_dpo_is_that_of_trl(miniature, monkeypatch):
    pay(monkeypatch, correct=tags_reward)
    params = miniature(objective="dpo", beta=0.3, answers_per_step=16, micro_batch=16)
    trainer = start(params)
    pairs, _, _ = sample_pairs(trainer)
    dpo = dpo_trainer(trainer, pairs, PairTrainer)
    disturb(dpo.model)
    inputs = next(iter(dpo.get_train_dataloader()))
    found = dpo.compute_loss(dpo.model, inputs).item()
    ids, mask, n = inputs["input_ids"], inputs["attention_mask"], len(inputs["input_ids"]) // 2
    answer = inputs["completion_mask"].bool()
    with torch.no_grad():
        policy = sums(dpo.model, ids, mask, answer)
        with dpo.model.disable_adapter():
            reference = sums(dpo.model, ids, mask, answer)
    expected = o.dpo_loss(policy[:n], policy[n:], reference[:n], reference[n:], 0.3).mean().item()
    assert found == pytest.approx(expected, abs=1e-5) and abs(found - math.log(2)) > 1e-3


def sums(model, ids, mask, answer) -> torch.Tensor:
    logits = model(input_ids=ids, attention_mask=mask).logits[:, :-1]
    chosen = torch.log_softmax(logits.float(), -1).gather(2, ids[:, 1:, None]).squeeze(2)
    return (chosen * answer[:, 1:]).sum(1)
