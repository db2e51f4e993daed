"""What runs on a GPU, run on the pretended one: every objective, combination and profile, from policy to resume."""

import json
import shutil
import zlib

import numpy as np
import pandas as pd
import pytest
import torch
from embedded_rows import scenarios
from pretended_gpu import AMPERE, HOPPER, TURING, Card
from training_runs import adapter, end_reasons, pay, start, tags_reward

from studylib.axes import profile_names, read_profile
from studylib.evaluation.answers import evaluate
from studylib.instruments import bench, bench_step
from studylib.instruments.random_models import save_random_model
from studylib.judge import embedded as embedded_judge
from studylib.judge.model import Judge, Recipe, judge_of, new_hub_judge, new_tiny_judge, train_judge
from studylib.judge.prompts import context, question
from studylib.judge.variants import variant
from studylib.names import OBJECTIVES
from studylib.params import RunParams
from studylib.policy import tiny
from studylib.policy.dense import use_dense_copy
from studylib.policy.models import require_device
from studylib.policy.precision import precision
from studylib.randomness import generator
from studylib.rewards.checks import checks_grader
from studylib.rewards.correct import format
from studylib.runs.folder import write_manifest
from studylib.runs.provenance import machine, peak_memory_gb
from studylib.scenarios.selection import select
from studylib.training.checkpoints import COMPLETE, newest_checkpoint
from studylib.training.train import prepare, train
from studylib.training.trainer import STAGES


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(autouse=True)
def one_layer(cache, monkeypatch):
    """The tiny model with one layer, in a cache of its own: half the operations."""
    monkeypatch.setitem(tiny.SHAPE, "num_hidden_layers", 1)
    monkeypatch.setattr("studylib.paths.CACHE", cache)
    monkeypatch.setattr("studylib.evaluation.answers.CACHE", cache)


SMALLEST = {  # three steps, of which the last comes again after a resume
    "device": "cuda", "steps": 3, "save_every": 2, "eval_scenarios": 2, "eval_samples": 1, "learning_rate": 0.01,
    "max_grad_norm": 1.0, "max_new_tokens": 4, "micro_batch": 8,
}  # fmt: skip


@pytest.fixture
def differing(monkeypatch):
    """Rewards that untrained answers differ in."""
    pay(monkeypatch, correct=tags_reward, format=lambda response, row: len(response) / 100, read=format)


def run_and_resume(params: RunParams):
    """Evaluation, three steps, evaluation; then the last step again from the checkpoint before it.

    The resumed run has the weights, the log and the answers, and so the summary, of the straight one.
    """
    splits, trainer = select(params), start(params)
    assert {p.device.type for p in trainer.model.parameters()} == {params.device}
    fresh = {name: p.cpu() for name, p in adapter(trainer).items()}
    per_split = params.eval_scenarios * (1 + params.eval_samples)
    assert len(evaluate(trainer.model, trainer.processing_class, splits, params, "before")) == 3 * per_split
    assert train(trainer, params) == 0
    answers = evaluate(trainer.model, trainer.processing_class, splits, params, "after")
    assert len(answers) == 3 * per_split
    ended = {name: p.cpu() for name, p in adapter(trainer).items()}
    if not params.steps:
        return fresh, ended
    newest, straight = newest_checkpoint(params.run_dir / "checkpoints"), logged(params)
    (newest / COMPLETE).unlink()
    (params.run_dir / "responses.parquet").unlink()
    shutil.rmtree(params.run_dir / "adapter")
    again = start(params)
    assert 0 < train(again, params) < params.steps
    for name, p in adapter(again).items():
        assert torch.equal(p.cpu(), ended[name]), f"{name} after a resume"
    assert logged(params) == straight
    pd.testing.assert_frame_equal(evaluate(again.model, again.processing_class, splits, params, "after"), answers)
    return fresh, ended


def logged(params: RunParams) -> list[dict]:
    """The lines of a run's log without what a clock tells."""
    lines = [json.loads(line) for line in (params.run_dir / "metrics.jsonl").read_text().splitlines()]
    return [{name: value for name, value in line.items() if "time" not in name} for line in lines]


def moved(fresh, ended) -> bool:
    assert all(torch.isfinite(p).all() for p in ended.values())
    return any(not torch.equal(p, ended[name]) for name, p in fresh.items())


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_an_objective_takes_steps_evaluations_and_a_resume(gpu, miniature, differing, monkeypatch, objective):
    end_reasons(monkeypatch)
    given = {"beta": 0.1 * OBJECTIVES[objective].reference}
    given |= {"base": {"steps": 0}, "dpo": {"generations": 2}}.get(objective, {})  # DPO: a pair of every two answers
    params = miniature(**SMALLEST | given, objective=objective)
    assert moved(*run_and_resume(params)) == (objective != "base")


COMBINATIONS = {
    "more": {"rewards": "correct=1 format=1", "combination": "more"},
    "sum of log-sigmoids": {"rewards": "correct=1 format=1", "combination": "lsc"},
    "normalise_then_sum": {"rewards": "correct=1 format=1", "combination": "normalise_then_sum"},
    "par, overlong, kl in the loss": {"shaping": "par", "overlong_cache": 0.5, "beta": 0.1, "micro_batch": 4},
    "two updates, ppo": {"updates_per_batch": 2, "objective": "ppo", "beta": 0.1},
    "checkpointing, flowrl": {"gradient_checkpointing": True, "objective": "flowrl", "beta": 0.1},
    "plain trl": {"engine": "trl"},
    "compiled rollout": {"rollout_compile": True},
    "rollout from the trained weights": {"rollout_weights": "nf4"},
}


@pytest.mark.parametrize("given", COMBINATIONS.values(), ids=COMBINATIONS)
def test_what_changes_the_path_of_training_works_as_well(gpu, miniature, differing, given):
    assert moved(*run_and_resume(miniature(**SMALLEST | given)))


def test_groups_without_differences_are_sampled_anew(gpu, miniature, monkeypatch):
    def for_some(response, row):
        return tags_reward(response, row) * (zlib.crc32(row["id"].encode()) % 2)

    pay(monkeypatch, correct=for_some)
    params = miniature(**SMALLEST, objective="dapo", dynamic_sampling=1)
    assert moved(*run_and_resume(params))
    lines = (params.run_dir / "metrics.jsonl").read_text().splitlines()
    tokens = max(json.loads(line)["generated_tokens"] for line in lines)
    assert tokens > params.answers_per_step * params.max_new_tokens, "more than the step's own answers"


def test_a_dense_copy_is_made_where_it_is_asked_for_or_the_card_has_room_however_much_is_free(gpu, miniature):
    policy = start(miniature(**SMALLEST)).model
    assert use_dense_copy(miniature(**SMALLEST), policy)
    gpu.free_gib = 0.0
    assert use_dense_copy(miniature(**SMALLEST), policy), "as before training"
    gpu.card = Card("Pretended small", (8, 0), 1e-6)
    assert not use_dense_copy(miniature(**SMALLEST), policy)
    assert use_dense_copy(miniature(**SMALLEST, rollout_weights="dense"), policy)


# --- profiles ---

PROFILES = profile_names()
CARDS = {"colab_t4": TURING, "gpu_24gb": AMPERE}


def shrunk(miniature, name: str) -> RunParams:
    """A profile's configuration, with the tiny model and the least of everything that is counted."""
    whole = RunParams.resolve({"profile": name})
    least = SMALLEST | {"device": whole.device, "answers_per_step": 2 * whole.generations, "model": "tiny"}
    least |= {"revision": "", "warm_start_steps": 2, "micro_batch": whole.generations}
    return miniature(**read_profile(name) | least)


@pytest.mark.parametrize("name", PROFILES)
def test_a_profile_takes_steps_evaluations_and_a_resume(gpu, miniature, differing, name):
    gpu.card = next((card for start_of, card in CARDS.items() if name.startswith(start_of)), HOPPER)
    params = shrunk(miniature, name)
    told = RunParams.resolve({"profile": name})
    kept = ("generations", "lora_r", "lora_alpha", "gradient_checkpointing", "frameworks", "facts_told", "min_gpu_gb")
    assert all(getattr(params, key) == getattr(told, key) for key in kept)
    assert moved(*run_and_resume(params))


@pytest.mark.parametrize("card, scaled", [(TURING, True), (AMPERE, False)], ids=["float16", "bfloat16"])
def test_gradients_are_scaled_in_float16_alone(gpu, miniature, card: Card, scaled):
    gpu.card = card
    trainer = start(miniature(**SMALLEST))
    assert (trainer.accelerator.scaler is not None) == scaled
    assert (trainer.args.fp16, trainer.args.bf16) == (scaled, not scaled)
    assert precision("cuda").dtype == (torch.float16 if scaled else torch.bfloat16)


@pytest.mark.parametrize("name", [name for name in PROFILES if read_profile(name)["device"] == "cuda"])
def test_a_profile_refuses_a_card_of_half_its_memory(gpu, name):
    params = RunParams.resolve({"profile": name})
    gpu.card = Card("Pretended half", (8, 0), params.min_gpu_gb / 2)
    with pytest.raises(ValueError, match=f"{name}' needs .* GiB of GPU memory, found"):
        require_device(params)
    gpu.card = Card("Pretended whole", (8, 0), params.min_gpu_gb)
    require_device(params)


# --- judge ---

ROWS = scenarios(4)
SAID = [variant(row, generator(0, "test", i)) for i, row in enumerate(ROWS)]


@pytest.fixture(scope="module")
def judge_folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("judge")
    pairs = zip(SAID, ROWS, strict=True)
    texts = [context(said, row, True) + " ".join(map(question, row["rubric"])) for said, row in pairs]
    new_tiny_judge(texts, sees_scenario=True).save(folder)
    return folder


def test_the_embedded_judge_grades_on_the_gpu_as_on_the_cpu(gpu, judge_folder):
    there, here = (Judge.load(judge_folder, device) for device in ("cuda", "cpu"))
    assert there.model.device.type == "cuda"
    expected = np.concatenate(here.grade(SAID, ROWS))
    assert np.concatenate(there.grade(SAID, ROWS)) == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("card", [TURING, AMPERE], ids=["float16", "bfloat16"])
def test_a_judge_of_a_hub_model_is_trained_saved_and_loaded(gpu, judge_folder, tmp_path, card: Card):
    gpu.card = card
    params = RunParams(model=str(judge_folder), revision="local", device="cuda", micro_batch=8)
    judge = new_hub_judge(params, sees_scenario=True)
    before = np.concatenate(judge.grade(SAID, ROWS))
    losses = train_judge(judge, SAID, ROWS, checks_grader(SAID, ROWS), Recipe(3, 4, learning_rate=1e-2))
    after = np.concatenate(judge.grade(SAID, ROWS))
    assert np.isfinite(losses).all() and np.abs(after - before).max() > 1e-4, "it has learnt something"
    judge.save(tmp_path / "judge")
    again = Judge.load(tmp_path / "judge", "cuda")
    assert {p.device.type for p in again.model.parameters()} == {"cuda"}
    assert np.concatenate(again.grade(SAID, ROWS)) == pytest.approx(after, abs=1e-5)


def test_an_embedded_judge_reads_answers_that_are_sampled_on_the_gpu(gpu, miniature):
    judge = embedded_judge.build(miniature(**SMALLEST), Recipe(1, 4), 4)
    assert judge.facts["trained_on"] and judge.facts["share_yes"]


def test_a_rubric_is_graded_by_a_judge_on_the_gpu_in_training_and_evaluation(gpu, miniature, judge_folder):
    params = miniature(**SMALLEST, rewards="rubric=1", rubric_grader="judge", judge=str(judge_folder))
    splits = select(params)
    grader = judge_of(params, splits["train"])
    trainer = prepare(params, splits["train"], grader)
    train(trainer, params)
    answers = evaluate(trainer.model, trainer.processing_class, splits, params, "after", grader)
    assert answers["score"].notna().all()


# --- bench, machine ---


@pytest.mark.parametrize("engine", bench.ENGINES)
def test_a_step_is_measured_on_the_gpu(gpu, tmp_path, engine):
    save_random_model(tmp_path, bench_step.SMALL._replace(layers=1))
    result = bench_step.measure(str(tmp_path), engine, p=6, c=3, g=2, prompts=2, micro_batch=4, steps=1, device="cuda")
    (step,) = result["steps"]
    assert all(step[stage] > 0 for stage in (*STAGES, "train")) and result["peak_gb"] == 1.0, "the GPU's memory"


def test_the_comparison_on_a_gpu_writes_its_tables(gpu, tmp_path, monkeypatch):
    least = {"p": 6, "c": 2, "g": 2, "prompts": 2, "micro_batch": 4}
    monkeypatch.setattr(bench, "run_worker", lambda **task: task | bench_step.measure(**task | least))
    monkeypatch.setattr(bench, "FIGURES", tmp_path)
    monkeypatch.setattr(bench, "GPU_MODELS", {"0.5B": bench_step.SMALL._replace(layers=1, kind="qwen2")})
    bench.bench_gpu(repeats=1, steps=1)
    steps = pd.read_csv(tmp_path / "bench_gpu" / "steps.csv")
    assert set(steps.engine) >= {"trl", "fast"} and set(steps.gpu) == {AMPERE.name}
    assert (tmp_path / "bench_gpu" / "ratio.csv").is_file()


def test_a_manifest_names_the_card_and_its_memory(gpu, tmp_path):
    assert machine()["gpu"] == AMPERE.name
    assert peak_memory_gb()["gpu"] == 1.0
    manifest = write_manifest(tmp_path, {}, 0.0, precision=precision("cuda").reason)
    assert manifest["machine"]["gpu"] == AMPERE.name and "bfloat16" in manifest["precision"]
