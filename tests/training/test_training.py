"""Warm start and trainer: made once, resumed exactly, finished once."""

import shutil

import pytest
import torch
from training_runs import adapter, base, pay, start, steps_logged, tags_reward

from studylib.evaluation.answers import evaluate
from studylib.names import HELD_OUT_STYLES, TRAIN_STYLES
from studylib.policy import warm_start as module
from studylib.policy.tiny_start import BELIEF, demonstrations
from studylib.policy.warm_start import warm_start, warm_start_key
from studylib.rewards.correct import format
from studylib.runs.folder import write_manifest
from studylib.scenarios.facts import facts_of
from studylib.scenarios.selection import select
from studylib.scenarios.vocabulary import DOMAINS
from studylib.scenarios.worlds import make_split
from studylib.training.checkpoints import COMPLETE, newest_checkpoint
from studylib.training.train import train, trl_reward

# --- warm start ---


def test_the_warm_start_is_built_once_and_shared_by_worlds_conditions_and_seeds(miniature, monkeypatch):
    folder = warm_start(miniature())
    monkeypatch.setattr(module, "build", lambda *args: pytest.fail("built again"))
    for given in ({"source": "universal_norms"}, {"condition": "narrow"}, {"seed": 4}, {"learning_rate": 1e-5}):
        assert warm_start(miniature(**given)) == folder


@pytest.mark.parametrize("change", [{"warm_start_steps": 3}, {"frameworks": "virtue_ethics"}, {"facts_told": 2}])
def test_another_recipe_is_another_warm_start(miniature, change):
    assert warm_start_key(miniature(**change)) != warm_start_key(miniature())


def test_a_build_that_is_cut_off_leaves_no_warm_start(miniature, monkeypatch, tmp_path):
    monkeypatch.setattr("studylib.paths.CACHE", tmp_path)

    def cut_off(params, folder):
        (folder / "config.json").write_text("{}")
        raise KeyboardInterrupt

    monkeypatch.setattr(module, "build", cut_off)
    with pytest.raises(KeyboardInterrupt):
        warm_start(miniature())
    assert not (tmp_path / "warm_start" / warm_start_key(miniature())).exists()


def test_demonstrations_teach_the_form_and_doubt_the_norms_alike_in_all_communities(miniature):
    pairs = demonstrations(miniature(), 4000)
    rows = {row["prompt"]: row for row in make_split(
        "local_norms", "warm_start", 4000, 0, domains=tuple(DOMAINS),
        styles=TRAIN_STYLES + HELD_OUT_STYLES, frameworks=("kantian_deontology", "virtue_ethics"),
    )}  # fmt: skip
    assert all(format(response, rows[prompt]) == 1.0 for prompt, response in pairs)
    for community in ("covenant", "kinship"):
        for circumstance, belief in BELIEF.items():
            said = [
                f"{circumstance} under {community} counts" in response
                for prompt, response in pairs
                if f"{circumstance} under {community}" in response and facts_of(rows[prompt]).community == community
            ]
            # 4 standard errors of a share of about 0.5
            assert sum(said) / len(said) == pytest.approx(belief, abs=2 / len(said) ** 0.5)


def test_no_demonstration_is_an_evaluation_or_training_scenario(miniature):
    prompts = {prompt for prompt, _ in demonstrations(miniature(), 2000)}
    assert not prompts & {row["prompt"] for rows in select(miniature()).values() for row in rows}


# --- trainer ---


def test_training_moves_the_adapter_in_fp32_and_leaves_the_base_alone(miniature):
    params = miniature(learning_rate=0.1, max_grad_norm=1.0, rewards="correct=1 format=0.5")
    trainer = start(params)
    before, base_before = adapter(trainer), base(trainer)
    assert {p.dtype for p in before.values()} == {torch.float32}
    assert train(trainer, params) == 0
    assert all(torch.equal(value, base_before[name]) for name, value in base(trainer).items())
    assert {p.dtype for p in adapter(trainer).values()} == {torch.float32}
    assert steps_logged(params) == [1, 2, 3, 4]
    assert (params.run_dir / "adapter" / "adapter_model.safetensors").is_file()
    assert newest_checkpoint(params.run_dir / "checkpoints").name == "checkpoint-4"


def test_a_resumed_run_ends_where_the_straight_run_ends(miniature, monkeypatch, tmp_path):
    pay(monkeypatch, correct=tags_reward)
    straight = miniature(run_root=str(tmp_path / "straight"), learning_rate=0.01, max_grad_norm=1.0)
    trainer = start(straight)
    fresh = adapter(trainer)
    train(trainer, straight)
    expected = adapter(trainer)
    assert any(not torch.equal(value, fresh[name]) for name, value in expected.items()), "something was learned"

    stopped = miniature(run_root=str(tmp_path / "stopped"), learning_rate=0.01, max_grad_norm=1.0)
    shutil.copytree(straight.run_dir, stopped.run_dir)  # as a kill after step 4, half-way through its checkpoint
    (stopped.run_dir / "checkpoints" / "checkpoint-4" / COMPLETE).unlink()
    shutil.rmtree(stopped.run_dir / "adapter")
    with (stopped.run_dir / "metrics.jsonl").open("a") as file:
        file.write('{"step": 5, "rew')  # the kill cut the last line
    trainer = start(stopped)
    assert train(trainer, stopped) == 2, "from the newest complete checkpoint"
    assert all(torch.equal(value, expected[name]) for name, value in adapter(trainer).items())
    assert steps_logged(stopped) == [1, 2, 3, 4]


def test_the_same_seed_trains_the_same_and_another_seed_not(miniature, monkeypatch, tmp_path):
    pay(monkeypatch, correct=tags_reward)

    def trained(root, seed):
        params = miniature(run_root=str(tmp_path / root), seed=seed, learning_rate=0.01, steps=2, max_grad_norm=1.0)
        trainer = start(params)
        train(trainer, params)
        return torch.cat([p.flatten() for p in adapter(trainer).values()])

    assert torch.equal(trained("a", 1), trained("b", 1))
    assert not torch.equal(trained("c", 1), trained("d", 2))


def test_a_complete_run_is_not_trained_again_and_gives_its_adapter(miniature, monkeypatch):
    pay(monkeypatch, correct=tags_reward)
    params = miniature(learning_rate=0.01, max_grad_norm=1.0)
    trainer = start(params)
    train(trainer, params)
    expected = adapter(trainer)
    write_manifest(params.run_dir, {}, 0.0)
    again = start(params)
    monkeypatch.setattr(again, "train", lambda *args, **kwargs: pytest.fail("trained again"))
    assert train(again, params) == params.steps
    assert all(torch.equal(value, expected[name]) for name, value in adapter(again).items())


def test_no_steps_leave_the_policy_as_it_is(miniature):
    params = miniature(steps=0)
    trainer = start(params)
    before = adapter(trainer)
    assert train(trainer, params) == 0
    assert all(torch.equal(value, before[name]) for name, value in adapter(trainer).items())


def test_every_prompt_is_answered_once_by_a_whole_group_in_the_order_of_the_selection(miniature, monkeypatch):
    asked = []

    def spy(response, scenario):
        asked.append(scenario["id"])
        return 0.0

    pay(monkeypatch, correct=spy)
    params = miniature(rewards="correct=1")
    train(start(params), params)
    assert asked == [row["id"] for row in select(params)["train"] for _ in range(params.generations)]


def test_advantages_are_those_of_the_group(miniature, monkeypatch):
    """A_i = (r_i - mean) / (sd + eps) within the group of a prompt, Shao et al. 2024, section 4.1.2."""
    scores = iter([0.0, 0.0, 0.0, 1.0, 1.0, 1.0, 1.0, 1.0] * 4)
    pay(monkeypatch, correct=lambda *_: next(scores))
    params = miniature(rewards="correct=1", steps=1)
    trainer = start(params)
    seen = []
    score = trainer._generate_and_score_completions
    monkeypatch.setattr(
        trainer, "_generate_and_score_completions", lambda inputs: seen.append(score(inputs)) or seen[-1]
    )
    train(trainer, params)
    expected = torch.tensor([-0.5, -0.5, -0.5, 1.5, 0, 0, 0, 0])  # sd with n - 1 is 0.5
    assert torch.allclose(seen[0]["advantages"], expected, atol=1e-3)


def test_answers_that_cannot_be_scored_are_counted_and_not_zero(monkeypatch):
    pay(monkeypatch, correct=lambda r, s: None if r == "?" else 1.0)
    logged = {}
    scored = trl_reward("correct", [{"id": "a"}])
    completions = [[{"content": text}] for text in ("?", "x", "?")]
    assert scored(completions, id=["a"] * 3, log_metric=logged.__setitem__) == [None, 1.0, None]
    assert logged == {"unscored/correct": 2}


# --- evaluation of a policy ---


def test_answers_are_written_once_and_the_untrained_policy_is_evaluated_once(miniature, monkeypatch):
    params = miniature()
    splits, trainer = select(params), start(params)
    first = evaluate(trainer.model, trainer.processing_class, splits, params, "before")
    per_scenario = 1 + params.eval_samples
    assert len(first) == 3 * params.eval_scenarios * per_scenario
    monkeypatch.setattr("studylib.evaluation.answers.respond", lambda *args: pytest.fail("answered again"))
    other = miniature(condition="narrow", seed=3)
    assert evaluate(trainer.model, trainer.processing_class, select(other), other, "before").equals(first)
