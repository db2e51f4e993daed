"""What cannot work says so: runs that cannot learn, answers without a score, stale caches, idle settings."""

import json
import math
import shutil

import pandas as pd
import pytest
import torch
from hub_models import hub_model
from training_runs import adapter, pay, start, steps_logged, tags_reward

from studylib.claims.tables import refuse_other_content
from studylib.evaluation import answers as suites
from studylib.evaluation.answers import evaluate
from studylib.judge.embedded import _key
from studylib.judge.model import Recipe
from studylib.names import OBJECTIVES
from studylib.params import RunParams
from studylib.policy.models import lora
from studylib.rewards.correct import format
from studylib.runs.contents import contents, folder_digest
from studylib.runs.folder import open_run
from studylib.scenarios.prompts import USUAL
from studylib.scenarios.selection import select
from studylib.text.readable import PROBLEMS, problems, shares, unreadable_note
from studylib.training.checkpoints import COMPLETE
from studylib.training.config import linear_rate
from studylib.training.idle import identical_conditions
from studylib.training.log import IDLE_STEPS
from studylib.training.train import prepare, train

REVISION = "0" * 40


def play(monkeypatch, first, second=format, third=None):
    pay(monkeypatch, correct=first, format=second, **({"rating_majority": third} if third else {}))


def lines(params):
    return [json.loads(line) for line in (params.run_dir / "metrics.jsonl").read_text().splitlines()]


# --- a run that cannot learn ---


@pytest.mark.parametrize(
    "response, cut, found",
    [
        ("<think>a</think><answer>right</answer>", False, set()),
        ("<think>a</think><answer>left</answer>", False, {"no option"}),
        ("<think>a, and then", True, {"cut off", "no answer", "no option"}),
        ("It is right.", False, {"no opening tag", "no answer", "no option"}),
        ("a</think><answer>right</answer>", False, {"no opening tag", "no option"}),
    ],
)
def test_what_keeps_an_answer_from_being_read(response, cut, found):
    assert problems(response, ["right", "wrong"], cut) == found
    assert problems(response, None, cut) == found & {"cut off"}, "an open answer has no tags"


def test_a_note_tells_the_shares_when_next_to_no_answer_can_be_read():
    good, bad = ("<think>a</think><answer>yes</answer>", ["yes", "no"], False), ("Yes", ["yes", "no"], True)
    assert unreadable_note(shares([good] * 6 + [bad] * 94), 7) is None
    note = unreadable_note(shares([good] * 5 + [bad] * 95), 7)
    assert "95% of the warm start's answers cannot be read" in note and "max_new_tokens = 7" in note
    assert "95% lack the opening tag, 95% have no answer and 95% name no option" in note
    assert shares([]) == dict.fromkeys(PROBLEMS, 0.0) and unreadable_note(shares([]), 7) is None


@pytest.mark.parametrize("given", [{"max_new_tokens": 3}, {"max_new_tokens": 12, "generations": 2}, {"seed": 2}])
def test_a_run_that_cannot_learn_says_so_after_the_first_evaluation_and_after_idle_steps(miniature, capsys, given):
    params = miniature(steps=IDLE_STEPS + 1, **given)
    splits, trainer = select(params), start(params)
    evaluate(trainer.model, trainer.processing_class, splits, params, "before")
    train(trainer, params)
    said = capsys.readouterr().out
    assert "of the warm start's answers cannot be read" in said
    assert said.count(f"note: {IDLE_STEPS} steps in a row had nothing to learn from: reward 0.000") == 1


def test_a_run_that_learns_says_nothing(miniature, monkeypatch, capsys):
    play(monkeypatch, tags_reward)
    params = miniature(steps=IDLE_STEPS + 1)
    train(start(params), params)
    assert "nothing to learn from" not in capsys.readouterr().out


# --- answers without a score ---


@pytest.mark.parametrize(
    "given",
    [
        {"objective": "grpo"}, {"objective": "rloo"}, {"objective": "dr_grpo"}, {"objective": "dapo"},
        {"objective": "reinforce_pp", "beta": 0.01}, {"objective": "ppo", "beta": 0.01},
        {"objective": "flowrl", "beta": 1.0}, {"objective": "gflowrl", "beta": 1.0}, {"objective": "rft"},
        {"objective": "vargrad", "beta": 1.0}, {"objective": "flowrl_raw", "beta": 1.0},
        {"objective": "alpha_dpg", "beta": 1.0},
        {"engine": "trl"}, {"dynamic_sampling": 1}, {"combination": "more", "rewards": "correct=1 format=1"},
    ],
    ids=lambda given: " ".join(map(str, given.values())),
)  # fmt: skip
def test_a_step_without_any_score_is_null_counted_and_stops_no_run(miniature, monkeypatch, given):
    asked = []

    def silent_first(response, scenario):
        asked.append(scenario["id"])
        return None if len(asked) <= 8 else tags_reward(response, scenario)

    play(monkeypatch, silent_first, tags_reward)
    params = miniature(steps=2, **{"rewards": "correct=1", "learning_rate": 0.01, **given})
    trainer = start(params)
    before = adapter(trainer)
    train(trainer, params)
    first, second = lines(params)
    if not params.dynamic_sampling:
        assert first["reward"] is None and first["rewards/correct/mean"] is None
    assert first["unscored/correct"] == 8 and math.isfinite(second["reward"])
    assert "NaN" not in (params.run_dir / "metrics.jsonl").read_text()
    after = adapter(trainer)
    assert all(value.isfinite().all() for value in after.values())
    assert any(not torch.equal(value, before[name]) for name, value in after.items())


@pytest.mark.parametrize(
    "objective",
    ["ppo", "reinforce_pp", "rloo", "flowrl", "flowrl_released", "flowrl_raw", "vargrad", "gflowrl", "alpha_dpg"],
)
def test_an_answer_without_a_score_teaches_nothing(miniature, monkeypatch, objective):
    """The gradient is the same whatever is written in it."""
    scores = iter([1.0, 0.0, None, 0.5] * 4)
    play(monkeypatch, lambda *_: next(scores))
    beta = {} if objective == "rloo" else {"beta": 0.1}
    params = miniature(objective=objective, steps=1, micro_batch=8, rewards="correct=1", **beta)
    trainer = start(params)
    loss, seen = trainer.compute_loss, []

    def gradient(model, inputs):
        weights = [p for p in model.parameters() if p.requires_grad]
        found = torch.autograd.grad(loss(model, inputs), weights, allow_unused=True)
        return torch.cat([g.flatten() for g in found if g is not None])

    def spy(model, inputs, *args, **kwargs):
        silent, scored = (inputs["completion_ids"].clone() for _ in range(2))
        unscored = inputs["scored"] == 0
        silent[unscored], scored[0] = 7, 7
        written = (inputs["completion_ids"], silent, scored)
        seen.append([gradient(model, inputs | {"completion_ids": ids}) for ids in written])
        assert not inputs["advantages"][unscored].any()
        return loss(model, inputs, *args, **kwargs)

    monkeypatch.setattr(trainer, "compute_loss", spy)
    train(trainer, params)
    as_it_is, silent, scored = seen[0]
    assert as_it_is.any() and torch.allclose(as_it_is, silent, rtol=1e-4, atol=1e-7)
    assert not torch.allclose(as_it_is, scored, rtol=1e-2), "another answer with a score is another gradient"


# --- the state of a run ---


@pytest.mark.parametrize(
    "given",
    [
        {"objective": "dpo", "beta": 0.1, "rewards": "correct=1"},
        {"combination": "more", "rewards": "correct=1 format=1 rating_majority=1"},
        {"objective": "ppo", "beta": 0.01, "rewards": "correct=1", "updates_per_batch": 2},
        {"objective": "dapo", "dynamic_sampling": 2, "rewards": "correct=1", "overlong_cache": 0.5},
    ],
    ids=["dpo", "more", "ppo", "dapo"],
)
def test_a_resumed_run_ends_and_logs_as_the_straight_one(miniature, monkeypatch, tmp_path, given):
    def length(response, scenario):
        return len(set(response)) / 64

    play(monkeypatch, tags_reward, length, lambda response, scenario: response.count("e") / 9)
    common = {"learning_rate": 0.01, "max_grad_norm": 1.0, "steps": 6, "micro_batch": 8, **given}
    if given.get("updates_per_batch"):
        common["micro_batch"] = 4
    straight = miniature(run_root=str(tmp_path / "a"), **common)
    trainer = start(straight)
    train(trainer, straight)
    expected, stopped = adapter(trainer), miniature(run_root=str(tmp_path / "b"), **common)
    shutil.copytree(straight.run_dir, stopped.run_dir)
    folders = (stopped.run_dir / "checkpoints").glob("checkpoint-*")
    (max(folders, key=lambda path: int(path.name.split("-")[1])) / COMPLETE).unlink()
    shutil.rmtree(stopped.run_dir / "adapter")
    trainer = start(stopped)
    assert train(trainer, stopped) > 0
    assert all(torch.equal(value, expected[name]) for name, value in adapter(trainer).items())
    for one, other in zip(lines(straight), lines(stopped), strict=True):
        timed = {name for name in one if "time" in name or "runtime" in name}
        assert {k: v for k, v in one.items() if k not in timed} == {k: v for k, v in other.items() if k not in timed}


def test_the_log_of_dynamic_sampling_tells_of_the_first_answers(miniature, monkeypatch):
    """Refills are chosen to differ, so their mean would be that of another policy."""
    asked = []

    def reward(response, scenario):
        asked.append(scenario["id"])
        return 0.25 if len(asked) <= 8 else float(len(asked) % 2)

    play(monkeypatch, reward)
    params = miniature(objective="dapo", dynamic_sampling=1, steps=1, rewards="correct=1")
    train(start(params), params)
    assert lines(params)[0]["reward"] == 0.25 and len(asked) == 16
    assert lines(params)[0]["frac_reward_zero_std"] == 1


def test_more_weighs_the_rewards_of_the_answers_that_were_sampled_anew(miniature, monkeypatch):
    asked = []

    def reward(response, scenario):
        asked.append(scenario["id"])
        return 0.0 if len(asked) <= 4 else tags_reward(response, scenario)

    play(monkeypatch, reward, lambda r, s: 0.0 if len(asked) <= 4 else len(r) / 99, lambda r, s: r.count("e") / 9)
    seen = []
    from studylib.training.mixing import More

    real = More.advantages

    def spy(self, trainer, answers, per_reward):
        seen.append((answers["rewards"], per_reward))
        return real(self, trainer, answers, per_reward)

    monkeypatch.setattr(More, "advantages", spy)
    rewards = "correct=1 format=1 rating_majority=1"
    params = miniature(combination="more", rewards=rewards, dynamic_sampling=2, steps=2)
    train(start(params), params)
    for total, per_reward in seen:
        assert torch.allclose(total, per_reward.sum(1))


# --- the learning rate ---


@pytest.mark.parametrize("warmup, steps", [(0, 4), (2, 10), (5, 120), (3, 2)])
def test_no_step_has_a_learning_rate_of_0(warmup, steps):
    rates = [linear_rate(step, warmup, steps) for step in range(steps)]
    assert all(0 < rate <= 1 for rate in rates) and linear_rate(steps, warmup, steps) == 0
    if steps > warmup:
        assert rates[warmup] == 1 and rates[:warmup] == sorted(rates[:warmup])


def test_the_first_step_moves_the_adapter(miniature, monkeypatch):
    play(monkeypatch, tags_reward)
    params = miniature(steps=4, save_every=1, learning_rate=0.01)
    trainer = start(params)
    before = adapter(trainer)
    train(trainer, params)
    assert steps_logged(params) == [1, 2, 3, 4] and all(line["learning_rate"] > 0 for line in lines(params)[:3])
    assert any(not torch.equal(value, before[name]) for name, value in adapter(trainer).items())


# --- caches and provenance by content ---


def before_key(params):
    return suites._before_path(params, select(params)["held_out"], USUAL).name


def test_answers_before_training_are_kept_by_all_that_they_depend_on(miniature, monkeypatch, tmp_path):
    keys = {before_key(miniature())}
    for given in ({"rollout_weights": "nf4"}, {"engine": "trl"}, {"max_new_tokens": 9}, {"eval_samples": 3}):
        keys.add(before_key(miniature(**given)))
    monkeypatch.setattr(suites, "CODE", "of another version")
    keys.add(before_key(miniature()))
    assert len(keys) == 6
    monkeypatch.undo()
    for same in ({"seed": 3}, {"condition": "narrow"}, {"objective": "rloo"}, {"learning_rate": 1e-5}):
        assert before_key(miniature(**same)) == before_key(miniature())


def test_a_folder_is_known_by_its_content(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "weights").write_text("1")
    found = [folder_digest(tmp_path / "a")]
    shutil.copytree(tmp_path / "a", tmp_path / "b")
    assert folder_digest(tmp_path / "b") == found[0], "another name, the same content"
    for name, text in (("weights", "2"), ("more", "2"), ("weights", "1")):
        (tmp_path / "a" / name).write_text(text)
        found.append(folder_digest(tmp_path / "a"))
    assert len(set(found)) == 4
    with pytest.raises(ValueError, match="no file in"):
        folder_digest(tmp_path / "none")


def test_a_judge_that_is_made_from_a_local_model_is_kept_by_the_models_content(miniature, tmp_path):
    params, keys = miniature(model=hub_model(tmp_path / "hub"), revision=REVISION), set()
    for text in ("1", "2", "3"):
        (tmp_path / "hub" / "more").write_text(text)
        keys.add(_key(params, Recipe(), 10, False))
    assert len(keys) == 3


def test_an_embedder_in_a_folder_is_known_by_its_content(miniature, tmp_path):
    (tmp_path / "weights").write_text("1")
    given = {"rewards": "dispersion=1", "embedder": str(tmp_path), "embedder_revision": REVISION}
    assert set(contents(miniature(**given))) == {"embedder_content"}


def test_a_run_does_not_go_on_with_another_judge_or_model(miniature, tmp_path):
    judge, model = tmp_path / "judge", tmp_path / "hub"
    judge.mkdir()
    (judge / "judge.json").write_text("1")
    given = {"rewards": "rubric=1", "rubric_grader": "judge", "judge": str(judge), "revision": REVISION}
    params = miniature(model=hub_model(model), **given)
    found = [contents(params)]
    assert set(found[0]) == {"judge_content", "model_content"} and contents(miniature()) == {}
    open_run(params.run_dir, vars(params) | found[0])
    (params.run_dir / "metrics.jsonl").touch()
    open_run(params.run_dir, vars(params) | contents(params))
    (judge / "judge.json").write_text("2")
    with pytest.raises(ValueError, match="holds a run with judge_content"):
        open_run(params.run_dir, vars(params) | contents(params))


@pytest.mark.parametrize("what", ["judge", "model"])
def test_runs_of_two_contents_of_one_folder_are_not_compared(tmp_path, what):
    for seed, content in ((0, "a"), (1, "a"), (2, "b")):
        folder = tmp_path / "inputs" / "tiny_cpu" / "local_norms" / "broad" / f"seed{seed}"
        folder.mkdir(parents=True)
        config = {"axis": "inputs", "profile": "tiny_cpu", "source": "local_norms", "condition": "broad", "seed": seed}
        (folder / "config.json").write_text(json.dumps(config | {f"{what}_content": content}))
        (folder / "manifest.json").write_text('{"finished": true}')
        if seed == 1:
            refuse_other_content(tmp_path, "inputs", "tiny_cpu")
    with pytest.raises(ValueError, match=f"cannot be compared: the folder of their {what} held another {what}"):
        refuse_other_content(tmp_path, "inputs", "tiny_cpu")


@pytest.mark.parametrize("revision", ["a" * 40, "main-2"])
def test_an_adapter_names_the_commit_of_its_base(miniature, revision):
    published = {"model": "some/model", "revision": revision}
    assert lora(miniature(**published, warm_start_steps=0)).revision == revision
    assert lora(miniature(**published, warm_start_steps=2)).revision is None, (
        "its base is the warm start, not the commit"
    )
    assert lora(miniature()).revision is None


# --- settings that do nothing ---


@pytest.mark.parametrize("name, value", [("dpo_nll", 1.0), ("flow_beta", 3.0), ("head_learning_rate", 1e-4)])
def test_a_parameter_that_the_objective_does_not_read_is_refused(miniature, name, value):
    for objective in ("grpo", "rloo", "rft"):
        with pytest.raises(ValueError, match=f"{name} = {value}.* because objective '{objective}' does not read it"):
            miniature(objective=objective, **{name: value})
    reader = next(record.name for record in OBJECTIVES.values() if name in [option.name for option in record.options])
    assert getattr(miniature(objective=reader, beta=1.0, **{name: value}), name) == value


@pytest.mark.parametrize("given", [{"dynamic_sampling": 2}, {"overlong_cache": 0.5}])
def test_dpo_samples_once_and_has_no_length_punishment(miniature, given):
    with pytest.raises(ValueError, match="because objective 'dpo' does not read it"):
        miniature(objective="dpo", beta=0.1, **given)


@pytest.mark.parametrize("given", [{"condition": "narrow"}, {"condition": "medium"}, {"n_styles": 1}])
def test_a_real_source_has_no_domains_to_choose_from(given):
    with pytest.raises(ValueError, match="because source 'ethics_justice' has none to choose from"):
        RunParams.resolve({"source": "ethics_justice", **given})


def test_conditions_that_differ_in_what_their_objective_does_not_read_are_identical():
    flow = {"objective": "flowrl", "rewards": "correct=1 rubric=1"}
    one, other = (vars(RunParams(condition=str(beta), beta=beta, **flow)) for beta in (1.0, 0.1))
    assert identical_conditions({"a": one, "b": {**other, "judge_content": "x"}}) == [("a", "b")]
    grpo = [vars(RunParams(condition=str(b), beta=b, rewards="correct=1 rubric=1")) for b in (1.0, 0.1)]
    assert identical_conditions(dict(zip("ab", grpo, strict=True))) == []


@pytest.mark.parametrize(
    "given, says",
    [
        ({"objective": "gspo"}, "it trains as 'grpo' does"),
        ({"answers_per_step": 4, "updates_per_batch": 2, "micro_batch": 2}, "a step has 1 groups for 2 updates"),
        ({"combination": "more", "rewards": "correct=1 format=1"}, "gives both the weight 0.5"),
    ],
)
def test_what_does_nothing_is_said_before_it_costs_anything(miniature, capsys, given, says):
    params = miniature(**given)
    prepare(params, select(params)["train"])
    assert says in capsys.readouterr().out


@pytest.mark.parametrize("objective, beta", [("flowrl", 1.0), ("vargrad", 1.0), ("gflowrl", 1.0), ("ppo", 0.01)])
def test_an_update_without_answers_has_a_loss_of_0(miniature, monkeypatch, objective, beta):
    play(monkeypatch, tags_reward)
    params = miniature(objective=objective, beta=beta, answers_per_step=4, updates_per_batch=2, micro_batch=2, steps=2)
    trainer = start(params)
    losses = []
    loss = trainer.compute_loss

    def spy(model, inputs, *args, **kwargs):
        found = loss(model, inputs, *args, **kwargs)
        losses.append((float(inputs["share"]), float(found.detach())))
        return found

    monkeypatch.setattr(trainer, "compute_loss", spy)
    train(trainer, params)
    assert any(share == 0 for share, _ in losses)
    assert all(found == 0 for share, found in losses if share == 0)
    assert any(found != 0 for share, found in losses if share > 0)


def test_the_table_of_answers_tells_which_were_cut_off(miniature):
    params = miniature(max_new_tokens=3)
    trainer = start(params)
    table = evaluate(trainer.model, trainer.processing_class, select(params), params, "before")
    assert isinstance(table, pd.DataFrame) and table.cut_off.mean() > 0.9
