"""Objectives: by hand, against brute force, against TRL, and on a policy whose optimum is known."""

import json
import shutil

import pytest
import torch
from answer_batches import C, batch
from training_runs import adapter, end_reasons, pay, start, tags_reward

from studylib.axes import read_axis
from studylib.instruments import known_target as known
from studylib.params import RunParams
from studylib.training import matching
from studylib.training import objectives as o
from studylib.training.batches import idle_groups, micro_batches, refill
from studylib.training.checkpoints import COMPLETE
from studylib.training.config import overlong
from studylib.training.preferences import best_and_worst
from studylib.training.train import train

R = torch.tensor([1.0, 0.0, 0.5, 0.0, 0.0, 0.0])  # two groups of three
MASK = torch.tensor([[1, 1, 0], [1, 0, 0], [1, 1, 1]])


# --- advantages ---


def test_advantages_by_hand():
    assert o.group_centred(R, 3).tolist() == pytest.approx([0.5, -0.5, 0.0, 0, 0, 0])
    assert o.group_normalised(R, 3).tolist() == pytest.approx([1.0, -1.0, 0.0, 0, 0, 0], abs=1e-3)  # sd is 0.5
    assert o.leave_one_out(R, 3).tolist() == pytest.approx([1 - 0.25, 0 - 0.75, 0.5 - 0.5, 0, 0, 0])
    assert o.best_of_group(R, 3).tolist() == [1, 0, 0, 0, 0, 0], "a group without differences teaches nothing"
    assert o.best_of_group(torch.tensor([1.0, 1, 0]), 3).tolist() == [1, 1, 0]


def test_leave_one_out_is_the_mean_of_the_others():
    r = torch.rand(4 * 5, generator=torch.Generator().manual_seed(0))
    for start_ in range(0, 20, 5):
        group = r[start_ : start_ + 5]
        expected = [group[i] - (group.sum() - group[i]) / 4 for i in range(5)]
        assert torch.allclose(o.leave_one_out(r, 5)[start_ : start_ + 5], torch.stack(expected), atol=1e-6)


def test_shaped_rewards_and_returns_by_hand():
    old, ref = torch.tensor([[-1.0, -2.0, 0.0]] * 3), torch.tensor([[-1.5, -1.0, 0.0]] * 3)
    shaped = o.shaped_rewards(torch.tensor([1.0, 2.0, 0.0]), old, ref, MASK, 0.1)
    # -0.1 * (old - ref) = -0.05, +0.1, 0; the reward at the last token
    expected = [[-0.05, 1.1, 0], [-0.05 + 2, 0, 0], [-0.05, 0.1, 0]]
    assert torch.allclose(shaped, torch.tensor(expected))
    returns = torch.tensor([[1.05, 1.1, 0], [1.95, 0, 0], [0.05, 0.1, 0.0]])
    values = returns[MASK.bool()]
    normalised = (values - values.mean()) / values.std(correction=0)
    assert torch.allclose(
        o.batch_normalised_returns(torch.tensor([1.0, 2.0, 0.0]), old, ref, MASK, 0.1)[MASK.bool()],
        normalised,
        atol=1e-5,
    )


@pytest.mark.parametrize("gamma, lam", [(1.0, 0.95), (0.9, 0.5), (1.0, 1.0), (1.0, 0.0)])
def test_gae_is_the_sum_of_discounted_errors(gamma, lam):
    generator = torch.Generator().manual_seed(0)
    rewards, values = torch.rand(3, 3, generator=generator) * MASK, torch.rand(3, 3, generator=generator) * MASK
    advantages, returns = o.gae(rewards, values, MASK, gamma, lam)
    for i, n in enumerate(MASK.sum(1).tolist()):
        v = [*values[i, :n].tolist(), 0.0]
        errors = [rewards[i, t].item() + gamma * v[t + 1] - v[t] for t in range(n)]
        brute = [sum((gamma * lam) ** (s - t) * errors[s] for s in range(t, n)) for t in range(n)]
        assert advantages[i, :n].tolist() == pytest.approx(brute, abs=1e-6)
        assert returns[i, :n].tolist() == pytest.approx([a + b for a, b in zip(brute, v, strict=False)], abs=1e-6)
        assert not advantages[i, n:].any()


# --- losses ---


def test_the_clip_by_hand():
    """rho = 1.5 and 0.5; low 0.2, high 0.3."""
    logp, old, mask = torch.log(torch.tensor([[1.5, 0.5]])), torch.zeros(1, 2), torch.ones(1, 2)
    gain = o.clipped(logp, old, torch.tensor([2.0]), mask, 0.2, 0.3)
    assert gain.tolist()[0] == pytest.approx([-2.6, -1.0]), "gains are capped at 1.3 A; falls count in full"
    loss = o.clipped(logp, old, torch.tensor([-2.0]), mask, 0.2, 0.3)
    assert loss.tolist()[0] == pytest.approx([3.0, 1.6])
    whole = o.clipped(logp, old, torch.tensor([1.0]), mask, 0.2, 0.3, sequence=True)
    assert whole.flatten().tolist() == pytest.approx([-((1.5 * 0.5) ** 0.5)])
    assert o.cispo(logp, old, torch.tensor([2.0]), 1.2)[0, 0].item() == pytest.approx(-1.2 * 2 * logp[0, 0].item())


def test_k3_by_hand():
    d = torch.tensor([[0.0, 1.0, -1.0]])
    assert o.k3(torch.zeros(1, 3), d)[0].tolist() == pytest.approx([0.0, 2.718281828 - 2, 0.367879441], abs=1e-6)


def test_the_flow_loss_by_hand_and_its_step_size():
    """On-policy, at the reference and with log Z = 0 its gradient is that of -A bar(logp): GRPO's."""
    logp = torch.tensor([[-1.0, -3.0, 0.0], [-2.0, 0.0, 0.0], [-1.0, -1.0, -1.0]], requires_grad=True)
    ref, beta, r_hat = logp.detach(), 15.0, torch.tensor([1.0, -1.0, 0.5])
    residual = matching.flow_residual(logp, ref, MASK, r_hat, torch.zeros(3), beta)
    assert residual.tolist() == pytest.approx([-15.0, 15.0, -7.5])
    loss = matching.flow_loss(residual, logp, ref, MASK, beta)
    assert loss.tolist() == pytest.approx([225 / 30, 225 / 30, 56.25 / 30])
    (gradient,) = torch.autograd.grad(loss.sum(), logp)
    (expected,) = torch.autograd.grad(-(r_hat * o.bar(logp, MASK)).sum(), logp)
    assert torch.allclose(gradient, expected, atol=1e-6)


def test_the_importance_weight_of_the_paper_is_clipped_and_that_of_the_code_is_not():
    logp, old = torch.full((1, 3), 0.5), torch.zeros(1, 3)
    residual, mask = torch.ones(1), torch.ones(1, 3)
    assert matching.flow_loss(residual, logp, old, mask, 0.5).item() == pytest.approx(1.2)
    assert matching.flow_loss(residual, logp, old, mask, 0.5, released=True).item() == pytest.approx(
        2.718281828**1.5, rel=1e-5
    )


def test_the_group_estimate_of_log_z_centres_the_residuals_of_each_group():
    generator = torch.Generator().manual_seed(0)
    logp, ref = -torch.rand(6, 3, generator=generator), -torch.rand(6, 3, generator=generator)
    mask, group = MASK.repeat(2, 1), torch.tensor([0, 0, 0, 1, 1, 1])
    log_z = matching.group_log_z(logp, ref, mask, R, 4.0, group)
    residual = matching.flow_residual(logp, ref, mask, R, log_z, 4.0)
    assert residual[:3].sum().item() == pytest.approx(0, abs=1e-5)
    assert residual[3:].sum().item() == pytest.approx(0, abs=1e-5)


def test_the_flow_gap_by_hand_its_clip_and_its_step_size():
    """Two groups of two, d = 1, -1, 0, 0, beta 2: beta r + d = 3, -1, 0, 0.2, so Z = 1 and 0.1."""
    old, mask = torch.zeros(4, 2), torch.ones(4, 2)
    ref = torch.tensor([[0.5, 0.5], [0.0, -1.0], [0.0, 0.0], [0.0, 0.0]])
    r, group = torch.tensor([1.0, 0.0, 0.0, 0.1]), torch.tensor([0, 0, 1, 1])
    assert matching.flow_gap(old, ref, mask, r, 2.0, group, 9, 9).tolist() == pytest.approx([-2, 2, 0.1, -0.1])
    assert matching.flow_gap(old, ref, mask, r, 2.0, group, 0.05, 1).tolist() == pytest.approx([-0.05, 1, 0.1, -0.05])
    logp = old.clone().requires_grad_()
    gap = matching.flow_gap(old, old, mask, r, 2.0, group, 9, 9)
    (gradient,) = torch.autograd.grad(matching.gap_loss(gap, logp, old, mask, 2.0, 5).sum(), logp)
    (expected,) = torch.autograd.grad(-(o.group_centred(r, 2)[:, None] * logp).sum() / 5, logp)  # Dr. GRPO's
    assert torch.allclose(gradient, expected, atol=1e-6)
    far = torch.full((1, 2), 0.5)
    assert matching.gap_loss(torch.ones(1), far, torch.zeros(1, 2), mask[:1], 0.5, 1).item() == pytest.approx(1.2 * 4)


def test_the_flow_gap_is_estimated_from_scored_answers_alone():
    g = torch.Generator().manual_seed(0)
    old, ref, mask = torch.randn(6, 3, generator=g), torch.randn(6, 3, generator=g), torch.ones(6, 3)
    r, group = torch.tensor([1.0, torch.nan, 0.0, torch.nan, torch.nan, torch.nan]), torch.tensor([0, 0, 0, 1, 1, 1])
    gap = matching.flow_gap(old, ref, mask, r, 2.0, group, 99, 99)
    kept = [0, 2]
    alone = matching.flow_gap(old[kept], ref[kept], mask[kept], r[kept], 2.0, group[kept], 99, 99)
    assert torch.allclose(gap[kept], alone) and gap[1] == 0 and not gap[3:].any()


def test_pseudo_rewards_by_hand():
    """At the reference p / pi is v over its mean; alpha 0: the ratio minus 1; towards 1: (1 - alpha) times its log."""
    same, mask = torch.zeros(4, 1), torch.ones(4, 1)
    r = torch.tensor([1.0, 0.5, 0.0, -3.0])  # below 0 counts as 0; the mean is 3/8
    ratio = torch.tensor([8 / 3, 4 / 3, 0.0, 0.0])
    assert torch.allclose(matching.pseudo_rewards(same, same, mask, r, 0.0, 4), ratio - 1, atol=1e-6)
    assert torch.allclose(matching.pseudo_rewards(same, same, mask, r, 0.5, 4), ratio.sqrt() - 1, atol=1e-6)
    near = matching.pseudo_rewards(same, same, mask, r, 0.999, 4)
    assert torch.allclose(near[:2] / 0.001, ratio[:2].log(), atol=2e-3) and near[2:].tolist() == [-1, -1]
    rare = torch.cat(
        [torch.full((1, 1), -9.0), torch.zeros(31, 1)]
    )  # one answer that the reference gives far more often
    found = matching.pseudo_rewards(rare, torch.zeros(32, 1), torch.ones(32, 1), torch.ones(32), 0.0, 32)
    assert found[0] == matching.LARGEST, "of 31 without the bound"


def test_pseudo_rewards_vanish_at_the_target_and_without_a_score():
    """At the target all answers are worth the same, however few of them are drawn: no noise is left in the gradient."""
    pi = torch.tensor([0.1, 0.2, 0.3, 0.4])
    v = torch.tensor([1.0, 0.5, 0.25, 0.125])
    target = pi * v / (pi * v).sum()
    for alpha in (0.0, 0.5, 0.9):
        at = matching.dpg_advantages(target.log()[:, None], pi.log()[:, None], torch.ones(4, 1), v, alpha, 2)
        assert torch.allclose(at, torch.zeros(4), atol=1e-5)
    same, mask = torch.zeros(4, 1), torch.ones(4, 1)
    r = torch.tensor([1.0, torch.nan, 0.0, 1.0])
    worth = matching.dpg_advantages(same, same, mask, r, 0.5, 4)
    alone = matching.dpg_advantages(same[:3], same[:3], mask[:3], r[[0, 2, 3]], 0.5, 3)
    assert torch.allclose(worth[[0, 2, 3]], alone) and worth[1] == 0
    for nothing in (torch.zeros(4), torch.full((4,), torch.nan)):
        assert not matching.dpg_advantages(same, same, mask, nothing, 0.5, 4).any()


def test_beta_per_answer_is_that_of_its_tokens_of_an_answer_or_of_a_kl():
    def of(**given):
        return o.beta_per_answer(RunParams(beta=0.01, max_new_tokens=28, **given))

    assert of(objective="flowrl") == of(objective="flowrl_raw") == of(objective="vargrad") == 15 * 28 == 420
    assert of(objective="gflowrl") == 8 and of(objective="gflowrl", gflow_beta=2.0) == 2
    assert of(objective="ppo") == of(objective="reinforce_pp") == pytest.approx(100)


def test_dpo_by_hand():
    zero = torch.zeros(1)
    assert o.dpo_loss(zero, zero, zero, zero, 0.1).item() == pytest.approx(0.693147, abs=1e-5)
    loss = o.dpo_loss(torch.tensor([-1.0]), torch.tensor([-3.0]), torch.tensor([-2.0]), torch.tensor([-2.0]), 0.5)
    assert loss.item() == pytest.approx(0.313262, abs=1e-5)  # log(1 + exp(-0.5 * 2))


def test_pairs_are_the_best_and_the_worst_of_groups_with_differences():
    assert best_and_worst([0, 1, 1, 0, 0, 0, 1, 0.5, 0.2], 3) == [(1, 0), (6, 8)]


@pytest.mark.parametrize("objective", ["grpo", "dr_grpo", "dapo", "gspo", "cispo"])
def test_the_losses_are_those_of_trl(miniature, objective):
    """TRL's own loss on answers of different lengths, off-policy, against the pure functions."""
    params = miniature(objective=objective, answers_per_step=12, micro_batch=12, engine="fast")
    trainer = start(params)
    trainer.current_gradient_accumulation_steps = 1
    ids, mask = batch(padded=True, shuffled=False)
    answers = {
        "prompt_ids": ids[:, :-C], "prompt_mask": mask[:, :-C], "completion_ids": ids[:, -C:],
        "completion_mask": mask[:, -C:], "num_items_in_batch": mask[:, -C:].sum(),
        "advantages": torch.randn(12, generator=torch.Generator().manual_seed(1)),
    }  # fmt: skip
    real = mask[:, -C:]
    with torch.no_grad():
        logp = trainer.score(answers).logps
    old = logp + 0.3 * torch.randn(logp.shape, generator=torch.Generator().manual_seed(2)) * real
    found = trainer.compute_loss(trainer.model, answers | {"old_per_token_logps": old}).item()
    advantages, width = answers["advantages"], params.max_new_tokens
    if objective == "cispo":
        expected = (o.cispo(logp, old, advantages, 5.0) * real).sum() / real.sum()
    elif objective == "gspo":
        expected = o.clipped(logp, old, advantages, real, 3e-4, 4e-4, sequence=True).mean()
    else:
        token = o.clipped(logp, old, advantages, real, 0.2, 0.28 if objective == "dapo" else 0.2)
        expected = {
            "grpo": o.bar(token, real).mean(),
            "dr_grpo": (token * real).sum() / (12 * width),
            "dapo": (token * real).sum() / real.sum(),
        }[objective]
    assert found == pytest.approx(expected.item(), abs=1e-6)


def test_the_soft_overlong_punishment_by_hand(miniature):
    """A ramp of 2 tokens before the longest answer of 8: DAPO, arXiv 2503.14476, eq. 13."""
    (punish,) = overlong(miniature(objective="dapo", overlong_cache=0.25))
    assert punish(completion_ids=[[1] * n for n in (1, 6, 7, 8, 9)]) == [0, 0, -0.5, -1, -1]
    assert overlong(miniature(objective="dapo")) == []


# --- known target ---


@pytest.mark.parametrize("landscape", known.LANDSCAPES)
@pytest.mark.parametrize("name", ["flowrl_raw", "gflowrl", "alpha_dpg", "ppo", "reinforce_pp"])
def test_what_matches_a_distribution_reaches_the_one_that_its_record_promises(name, landscape):
    goal = known.target(landscape, o.OBJECTIVES[name].promise)
    policy = known.optimise(name, landscape=landscape)
    assert known.kl(goal, policy) < 0.01
    assert known.modes_kept(policy) == pytest.approx(known.modes_kept(goal), abs=0.02)


def test_the_corrected_kl_term_reaches_the_target():
    assert known.kl(known.target(), known.optimise("dr_grpo + corrected KL")) < 0.05


@pytest.mark.parametrize("name", ["flowrl", "flowrl_released", "vargrad"])
def test_flows_on_rewards_normalised_in_the_group_collapse_on_graded_rewards_and_keep_the_modes_of_binary_ones(name):
    graded, binary = (known.optimise(name, landscape=landscape) for landscape in known.LANDSCAPES)
    assert known.kl(known.target(), graded) > 5 and known.modes_kept(graded) < 1.02
    assert known.modes_kept(binary) == pytest.approx(known.modes_kept(known.REFERENCE), abs=0.02)
    assert known.kl(known.target("binary"), binary) > 0.1, "but not the weight of the wrong answers"


def test_the_targets_are_what_they_are_called():
    pi, r = known.REFERENCE.exp(), known.LANDSCAPES["binary"]
    assert r.sum() == 4
    tempered, filtered = (known.target("binary", promise).exp() for promise in ("tempered", "filtered"))
    assert torch.allclose(tempered, pi * (4 * r).exp() / (pi * (4 * r).exp()).sum(), atol=1e-6)
    assert torch.allclose(filtered, pi * r / (pi * r).sum(), atol=1e-6)
    graded = known.target("graded", "filtered").exp()
    assert torch.allclose(graded, pi * known.REWARDS / (pi * known.REWARDS).sum(), atol=1e-6)
    even = torch.where(known.RIGHT, torch.tensor(0.25), torch.tensor(1e-30)).log()
    assert known.modes_kept(even) == pytest.approx(4, abs=1e-5)


def test_the_known_target_feeds_flows_what_the_trainer_feeds_them(monkeypatch):
    """Both ask the same function."""
    asked, fed = [], matching.fed
    monkeypatch.setattr(
        matching, "fed", lambda objective, *worth: asked.append(objective.name) or fed(objective, *worth)
    )
    monkeypatch.setattr(known, "STEPS", 1)
    flows = [name for name, objective in o.OBJECTIVES.items() if objective.kind == "flow"]
    for name in known.losses():
        known.optimise(name)
    assert asked == flows


@pytest.mark.parametrize("name", ["grpo", "dr_grpo", "dapo", "rloo", "gspo", "cispo", "rft"])
def test_reward_maximising_collapses_onto_the_best_answer(name):
    policy = known.optimise(name)
    assert policy.argmax() == known.REWARDS.argmax() and policy.max().exp() > 0.9
    assert known.kl(known.target(), policy) > 1


def test_the_plain_kl_term_of_grpo_has_another_optimum_than_the_one_it_is_known_for():
    policy = known.optimise("dr_grpo + plain KL")
    assert known.kl(known.k3_optimum(), policy) < 0.005
    assert known.kl(known.target(), policy) > 0.05
    assert known.k3_optimum().exp().sum().item() == pytest.approx(1, abs=1e-4)


# --- groups ---


def test_idle_groups_are_replaced_by_useful_ones_and_lengths_are_padded():
    def answers(prompt, completion, advantages):
        n = len(advantages)
        return {
            "prompt_ids": torch.full((n, prompt), 7), "prompt_mask": torch.ones(n, prompt),
            "completion_ids": torch.full((n, completion), prompt), "completion_mask": torch.ones(n, completion),
            "advantages": torch.tensor(advantages), "num_items_in_batch": torch.tensor(0),
        }  # fmt: skip

    first, more = answers(3, 2, [1.0, -1, 0, 0, 0, 0]), answers(4, 3, [0.0, 0, 2, -2])
    idle = idle_groups(first["advantages"], 2)
    assert idle.tolist() == [1, 2]
    merged = refill(first, more, idle, 2, pad=9)
    assert merged["advantages"].tolist() == [1, -1, 2, -2, 0, 0]
    assert merged["prompt_ids"].tolist()[0] == [9, 7, 7, 7] and merged["prompt_ids"].tolist()[2] == [7] * 4
    assert merged["completion_ids"].tolist()[0] == [3, 3, 9] and merged["completion_ids"].tolist()[2] == [4] * 3
    assert merged["num_items_in_batch"] == 2 * 2 + 2 * 3 + 2 * 2


def test_answers_without_a_score_are_worth_nothing():
    """Advantages of the others are those of a group without it; a group without scores is worth 0 throughout."""
    r = torch.tensor([1.0, torch.nan, 0.0, 0.5, torch.nan, torch.nan, torch.nan, torch.nan])
    alone = torch.tensor([1.0, 0.0, 0.5])
    for advantages in (o.group_centred, o.group_normalised, o.leave_one_out, o.best_of_group):
        worth, without = advantages(r, 4), advantages(alone, 3)
        assert torch.allclose(worth[[0, 2, 3]], without) and worth[1] == 0 and not worth[4:].any(), advantages.__name__
    assert not o.leave_one_out(torch.tensor([1.0, torch.nan, torch.nan]), 3).any(), "nothing to compare it with"


def test_answers_without_a_score_are_in_no_mean_or_whitening_of_tokens():
    g = torch.Generator().manual_seed(0)
    old, ref, values = (torch.randn(4, 5, generator=g) for _ in range(3))
    mask = torch.tensor([[1, 1, 1, 0, 0], [1, 1, 1, 1, 1], [1, 1, 0, 0, 0], [1, 0, 0, 0, 0]])
    r, kept = torch.tensor([1.0, torch.nan, 0.0, 0.5]), [0, 2, 3]
    counted = o.counted(r, mask)

    def of(rows):
        shaped = o.shaped_rewards(r[rows], old[rows], ref[rows], mask[rows], 0.1)
        advantages, returns = o.gae(shaped, values[rows] * mask[rows], counted[rows])
        returned = o.batch_normalised_returns(r[rows], old[rows], ref[rows], mask[rows], 0.1)
        return [returned, o.whiten(advantages, counted[rows]), returns]

    for whole, without in zip(of([0, 1, 2, 3]), of(kept), strict=True):
        assert torch.allclose(whole[kept], without, atol=1e-6) and not whole[1].any()


def test_log_z_of_a_group_is_estimated_from_its_scored_answers():
    g = torch.Generator().manual_seed(0)
    logp, ref = torch.randn(6, 4, generator=g), torch.randn(6, 4, generator=g)
    mask, group = torch.ones(6, 4), torch.tensor([0, 0, 0, 1, 1, 1])
    r_hat = torch.tensor([1.0, torch.nan, -1.0, torch.nan, torch.nan, torch.nan])
    found = matching.group_log_z(logp, ref, mask, r_hat, 2.0, group)
    kept = [0, 2]
    alone = matching.group_log_z(logp[kept], ref[kept], mask[kept], r_hat[kept], 2.0, group[kept])
    assert torch.allclose(found[:3], alone[0].expand(3)) and not found[3:].any()


def test_updates_share_the_groups_among_them():
    ids, mask = batch(padded=True, groups=(3, 3, 3, 3), shuffled=False)
    answers = {
        "prompt_ids": torch.arange(4).repeat_interleave(3)[:, None].expand(12, 20), "completion_ids": ids[:, -C:],
        "completion_mask": mask[:, -C:], "advantages": torch.ones(12),
    }  # fmt: skip
    parts = micro_batches(answers, 4, "grpo", skip_zero=True, updates=2)
    halves = [torch.cat([part["prompt_ids"][:, 0] for part in parts[i : i + 2]]).unique().tolist() for i in (0, 2)]
    assert sorted(halves[0] + halves[1]) == [0, 1, 2, 3] and len(halves[0]) == 2
    assert sum(part["share"] for part in parts[:2]) == pytest.approx(2)


# --- the trainer ---


@pytest.fixture
def spaces(monkeypatch):
    """A reward in which untrained answers differ."""
    pay(monkeypatch, correct=tags_reward)


def of_condition(miniature, name, **given):
    row = {"condition": name} if name in read_axis("objective").conditions else {"condition": "grpo", "objective": name}
    beta = {"beta": 1.0} if len(row) == 2 and o.OBJECTIVES[name].reference else {}
    common = {"axis": "objective", **row, **beta, "learning_rate": 0.01, "max_grad_norm": 1.0}
    return miniature(**{**common, "rewards": "correct=1", **given})


@pytest.mark.parametrize("name", [name for name in o.OBJECTIVES if name != "base"])
def test_every_objective_trains_and_says_what_it_did(miniature, spaces, monkeypatch, name):
    params = of_condition(miniature, name)
    trainer = start(params)
    end_reasons(monkeypatch)
    before = adapter(trainer)
    train(trainer, params)
    assert any(not torch.equal(value, before[key]) for key, value in adapter(trainer).items())
    assert all(torch.isfinite(value).all() for value in adapter(trainer).values())
    lines = [json.loads(line) for line in (params.run_dir / "metrics.jsonl").read_text().splitlines()]
    assert all(line["grad_norm"] >= 0 for line in lines)
    answers = params.train_prompts * params.generations
    tokens = sum(line["generated_tokens"] for line in lines)
    assert answers <= tokens <= answers * params.max_new_tokens * (1 + params.dynamic_sampling)
    assert len({line["step"] for line in lines}) == len(lines)
    assert lines[0]["policy_entropy"] > 0
    if name != "dpo":
        assert [line["step"] for line in lines] == [1, 2, 3, 4]
        assert lines[0]["kl_to_reference"] == pytest.approx(0, abs=1e-4)


@pytest.mark.parametrize("name", ["ppo", "flowrl", "gflowrl", "alpha_dpg"])
def test_a_resumed_run_with_a_head_or_a_distribution_ends_where_the_straight_run_ends(
    miniature, spaces, tmp_path, name
):
    straight = of_condition(miniature, name, run_root=str(tmp_path / "straight"))
    trainer = start(straight)
    train(trainer, straight)
    stopped = of_condition(miniature, name, run_root=str(tmp_path / "stopped"))
    shutil.copytree(straight.run_dir, stopped.run_dir)
    (stopped.run_dir / "checkpoints" / "checkpoint-8" / COMPLETE).unlink()
    again = start(stopped)
    assert train(again, stopped) == 2
    assert all(torch.equal(value, adapter(trainer)[key]) for key, value in adapter(again).items())
    for one, other in zip(trainer.heads.parameters(), again.heads.parameters(), strict=True):
        assert torch.equal(one, other) and one.abs().sum() > 0


def test_a_checkpoint_of_another_objective_is_refused(miniature, spaces):
    train(start(of_condition(miniature, "ppo", steps=2)), of_condition(miniature, "ppo", steps=2))
    ppo, grpo = of_condition(miniature, "ppo", steps=2), of_condition(miniature, "grpo")
    shutil.copytree(ppo.run_dir / "checkpoints", grpo.run_dir / "checkpoints")
    with pytest.raises(ValueError, match="was made by objective 'ppo', not 'grpo'"):
        train(start(grpo), grpo)


@pytest.mark.parametrize(
    "given, message",
    [
        ({"objective": "flowrl"}, "beta = 0.0 is not allowed: > 0, because objective 'flowrl' needs the reference"),
        ({"objective": "ppo", "beta": 0}, "objective 'ppo' needs the reference"),
        ({"objective": "ppo", "beta": 0.1, "engine": "trl"}, "engine = 'trl' is not allowed: 'trl' knows only grpo"),
        ({"objective": "base"}, "steps = 4 is not allowed: 0 for objective 'base'"),
        ({"generations": 1}, "generations = 1 is not allowed: an integer >= 2"),
        ({"objective": "trpo"}, "objective = 'trpo' is not allowed: one of grpo, dr_grpo"),
        ({"updates_per_batch": 3}, "micro_batch = 4 is not allowed: a divisor of the 2.66667 answers of an update"),
    ],
)
def test_what_cannot_be_is_refused(miniature, given, message):
    with pytest.raises(ValueError, match=message):
        miniature(**given)
