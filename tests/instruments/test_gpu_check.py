"""gpu-check on its stand-in: every check is made for real on the CPU, in 16 bits, and every one of them can fail.

What a check asks of a card alone (driver, CUDA kernels and graphs, the allocator's count) never ran.
"""

import functools
import json
import re
import shutil
import subprocess
import sys
import time

import bitsandbytes as bnb
import pandas as pd
import pytest
import torch
from pretended_gpu import TURING, Card

from studylib import paths
from studylib.__main__ import main
from studylib.instruments import gpu_check, gpu_checks, gpu_setting, gpu_sizes
from studylib.instruments.gpu_check import LIMITS, OUTCOMES, Row, names, rows_of, watched
from studylib.instruments.gpu_setting import MINIATURE, Setting, peak_memory
from studylib.instruments.random_models import save_speaking_model
from studylib.names import OBJECTIVES
from studylib.policy.decoder import FixedDecoder
from studylib.policy.dense import DenseCopy
from studylib.policy.memory import GIB, SHAPES
from studylib.policy.precision import forced_precision, precision
from studylib.training.trainer import StudyTrainer


@pytest.fixture(scope="module")
def setting(tmp_path_factory):
    return Setting("cpu", tmp_path_factory.mktemp("gpu_check"))


@pytest.fixture(scope="module")
def made(setting):
    """Name of a check -> its rows; each is made once, in this process."""
    return functools.cache(lambda name: list(rows_of(name, setting)))


@pytest.fixture
def anew(setting):
    """The setting without the runs of other tests, which would be gone on with."""
    shutil.rmtree(setting.folder / "runs", ignore_errors=True)
    return setting


# --- on the stand-in, every check is made and passes ---


def test_there_is_a_check_of_every_kind_objective_and_gpu_profile():
    assert {name.partition(" ")[0] for name in names()} == set(LIMITS)
    assert [name for name in names() if name.startswith("objective")] == [f"objective {name}" for name in OBJECTIVES]
    on_cuda = {path.stem for path in (paths.PARAMS / "profiles").glob("*.yaml") if "device: cuda" in path.read_text()}
    assert {name.partition(" ")[2] for name in names() if name.startswith("profile")} == on_cuda


@pytest.mark.parametrize("name", [name for name in names() if name != "smollm2"])
def test_a_check_passes(made, name):
    rows = made(name)
    assert rows and [row.outcome for row in rows] == ["ok"] * len(rows), rows
    assert all(row.found and row.expected and row.seconds >= 0 for row in rows)


@pytest.mark.parametrize("name", [name for name in names() if name.startswith("profile")])
def test_a_profile_is_checked_for_gradients_sampler_and_memory_and_says_what_the_whole_model_needs(made, name):
    rows = made(name)
    assert [row.check for row in rows] == ["gradients", "sampler against trainer", "memory"]
    assert {row.profile for row in rows} == {name.partition(" ")[2]}
    assert re.search(r"2 of 2 layers; .* the whole model, computed \d+\.\d\d GiB", rows[-1].found)


def test_float16_and_bfloat16_are_computed_in(anew, monkeypatch):
    """Under autocast, as on a card."""
    seen, forward = set(), bnb.nn.Linear4bit.forward

    def spy(layer, x):
        if torch.is_autocast_enabled("cpu"):
            seen.add(torch.get_autocast_dtype("cpu"))
        return forward(layer, x)

    monkeypatch.setattr(bnb.nn.Linear4bit, "forward", spy)
    assert [row.outcome for row in rows_of("float16", anew)] == ["ok"]
    assert seen == {torch.float16}
    (log,) = (anew.folder / "runs/float16").rglob("metrics.jsonl")
    norms = [json.loads(line)["grad_norm"] for line in log.read_text().splitlines()]
    assert norms[0] is None and norms[1] > 0, "the overflow is null, and the file is JSON"
    seen.clear()
    assert [row.outcome for row in rows_of("objective grpo", anew)] == ["ok"]
    assert seen == {torch.bfloat16}


def test_the_real_model_is_skipped_where_it_is_not_and_used_where_it_is(anew, tmp_path, monkeypatch):
    monkeypatch.setattr(paths, "CACHE", tmp_path)
    (row,) = rows_of("smollm2", anew)
    assert row.outcome == "skipped" and "run `make model` first" in row.found
    small = SHAPES[gpu_setting.REAL]._replace(**MINIATURE)
    save_speaking_model(tmp_path / "models/other", small._replace(layers=1), ["It is right."] * 20)
    save_speaking_model(tmp_path / "models/real", small, ["It is right."] * 20)
    monkeypatch.setattr(gpu_setting, "SHAPES", {**SHAPES, gpu_setting.REAL: small})
    assert gpu_setting.real_weights() == tmp_path / "models/real"
    step, evaluation = rows_of("smollm2", anew)
    assert (step.outcome, evaluation.outcome) == ("ok", "ok") and "12 answers" in evaluation.found
    monkeypatch.setattr(gpu_checks, "evaluate", lambda *args: gpu_check_answers(11))
    assert [row.outcome for row in rows_of("smollm2", anew)][-1] == "failed"


# --- every check can fail ---


def gpu_check_answers(n: int, forced: float = 0.5) -> pd.DataFrame:
    return pd.DataFrame({"readable": [False] * n, "forced": [forced] * n})


class KeepsItsScale(torch.amp.GradScaler):
    def update(self, new_scale=None):
        super().update(self.get_scale())


class Careless(torch.amp.GradScaler):
    """Steps whatever it finds, and keeps its scale."""

    def unscale_(self, optimizer):
        pass

    def step(self, optimizer, *args, **kwargs):
        return optimizer.step()

    def update(self, new_scale=None):
        pass


def not_a_number(trainer, *args, **kwargs):
    return compute_loss(trainer, *args, **kwargs) * torch.nan


compute_loss = StudyTrainer.compute_loss
forward = bnb.nn.Linear4bit.forward
next_logits = FixedDecoder.next_logits
memory_needed = gpu_sizes.memory_needed


def forgets_the_optimiser(monkeypatch):
    """A checkpoint that has lost Adam's moments."""
    prepared = gpu_checks.prepared

    def prepared_anew(params):
        for file in params.run_dir.glob("checkpoints/*/optimizer.pt"):
            file.unlink()
        return prepared(params)

    monkeypatch.setattr(gpu_checks, "prepared", prepared_anew)


def steps(trl: tuple[float, int], fast: tuple[float, int]):
    """Of a benchmark in which a step of each engine takes so many seconds and bytes."""

    def measure(model, engine, **how):
        seconds, size = {"trl": trl, "fast": fast}[engine]
        held = torch.ones(size // 4)
        return {"steps": [{"seconds": seconds + 0 * held[0].item()}]}

    return measure


def need(factor: float):
    return lambda *args, **how: {name: factor * gib for name, gib in memory_needed(*args, **how).items()}


def forgets_the_adapter(copy):
    for _, own in copy._layers:
        own.a.zero_()
        own.b.zero_()
    return copy.model


FAULTS = {  # what is wrong -> (check, the fault, the name of the row, what its words have)
    "a kernel gives a twentieth too much": (
        "four_bits", (bnb.nn.Linear4bit, "forward", lambda layer, x: forward(layer, x) * 1.05),
        "4-bit product", r"5\.\d+% apart",
    ),
    "the loss is no number": (
        "objective grpo", (StudyTrainer, "compute_loss", not_a_number), "objective grpo", "moved by nan",
    ),
    "nothing is learnt": (
        "objective cispo", ("studylib.training.config.linear_rate", lambda *args, **how: 0.0),
        "objective cispo", "adapter moved by 0$",
    ),
    "an overflow changes no scale": (
        "float16", (torch.amp, "GradScaler", KeepsItsScale), "float16 with GradScaler",
        "scale is 1 of what it was and the adapter stays",
    ),
    "a step is taken for all the overflow": (
        "float16", (torch.amp, "GradScaler", Careless), "float16", "NoToken: .* logits are NaN or infinite",
    ),
    "a resumed run goes another way": ("resume", forgets_the_optimiser, "resume", r"step 2, \d+\.\d+% of the way"),
    "a resumed run begins again": (
        "resume", ("studylib.training.train.newest_checkpoint", lambda folder: None), "resume", "from step 0",
    ),
    "an answer is missing": (
        "evaluation", (gpu_checks, "evaluate", lambda *args: gpu_check_answers(11)), "evaluation", "11 answers",
    ),
    "a share is no share": (
        "evaluation", (gpu_checks, "evaluate", lambda *args: gpu_check_answers(12, 1.5)), "evaluation", "1.50",
    ),
    "a graph answers otherwise": (
        "fixed_cache", (FixedDecoder, "next_logits", lambda decoder: next_logits(decoder).flip(0)),
        "fixed cache, CUDA graphs", r"\d+% of 8 answers alike",
    ),
    "the fast path is slower": (
        "against_trl", (gpu_sizes, "measure", steps((1.0, 4096), (2.0, 2048))),
        "plain TRL / fast path", r"0\.50 x the seconds .* 2\.00 x the memory",
    ),
    "the fast path is larger": (
        "against_trl", (gpu_sizes, "measure", steps((2.0, 2048), (1.0, 4096))),
        "plain TRL / fast path", r"2\.00 x the seconds .* 0\.50 x the memory",
    ),
    "a sampler does not know the adapter": (
        "profile colab_t4", (DenseCopy, "refresh", forgets_the_adapter), "sampler against trainer", "nats a token",
    ),
    "gradients change through sampling": (
        "profile colab_t4", (gpu_sizes, "check_gradients", lambda *args: 0.02), "gradients", r"2\.00% other",
    ),
    "more memory than computed": (
        "profile gpu_24gb", (gpu_sizes, "memory_needed", need(0.3)), "memory", "MiB with 2 of 2 layers",
    ),
    "half the memory computed": (
        "profile gpu_24gb", (gpu_sizes, "memory_needed", need(3.0)), "memory", "MiB with 2 of 2 layers",
    ),
    "processes train alone": (
        "two_processes", (gpu_checks, "gradients_of_a_pair", lambda folder: [[1.0, 1.0], [2.0, 2.0]]),
        "two processes, gloo", r"\[2.0, 2.0\]",
    ),
}  # fmt: skip


@pytest.mark.parametrize("check, fault, row, words", FAULTS.values(), ids=FAULTS)
def test_a_check_fails_where_something_is_wrong(anew, monkeypatch, check, fault, row, words):
    if check == "against_trl":
        monkeypatch.setattr(Setting, "counting", lambda setting, shape: setting.folder)  # nobody looks at it
    fault(monkeypatch) if callable(fault) else monkeypatch.setattr(*fault)
    (found,) = [found for found in rows_of(check, anew) if found.check == row]
    assert found.outcome == "failed" and re.search(words, found.found), found


def test_every_kind_of_check_is_shown_to_fail():
    shown = {check.partition(" ")[0] for check, *_ in FAULTS.values()}
    assert shown | {"environment", "smollm2"} == set(LIMITS), "those two stand in tests of their own"


@pytest.mark.parametrize(
    "built, outcome", [(["sm_75", "sm_80"], "ok"), (["sm_80", "sm_90a"], "failed"), ([], "failed")]
)
def test_a_torch_that_was_not_built_for_the_card_is_noticed(gpu, tmp_path, monkeypatch, built, outcome):
    gpu.card = TURING
    monkeypatch.setattr(torch.cuda, "get_arch_list", lambda: built)
    (row,) = rows_of("environment", Setting("cuda", tmp_path))
    assert row.outcome == outcome and "Pretended Turing" in row.found and "float16" in row.found
    assert "7.5" in row.expected


def test_an_exception_is_a_row_and_what_was_found_before_stays(setting, monkeypatch, capsys):
    def fails(*args):
        raise RuntimeError("out of\nmemory")

    monkeypatch.setattr(gpu_sizes, "memory_needed", fails)
    gradients, sampler, memory = rows_of("profile colab_t4", setting)
    assert (gradients.outcome, sampler.outcome) == ("ok", "ok")
    assert memory[:4] == ("profile", "colab_t4", "failed", "RuntimeError: out of memory")
    assert "Traceback" in capsys.readouterr().err


def test_a_profile_that_is_too_large_for_the_card_is_skipped_with_the_reason(gpu, tmp_path):
    gpu.card = Card("Pretended small", (8, 0), 16.0)
    (row,) = rows_of("profile gpu_80gb", Setting("cuda", tmp_path))
    assert row[:4] == ("profile", "gpu_80gb", "skipped", "needs 75 GiB, and the card has 16.0")


@pytest.mark.parametrize("name", ["objective grpo", "evaluation"])
def test_a_check_runs_on_the_pretended_gpu(gpu, tmp_path, monkeypatch, name):
    """Which refuses to mix devices; its weights are float32, so what is left of the numbers is that they are finite."""
    monkeypatch.setattr(Setting, "shape", lambda setting, model: SHAPES[model]._replace(**MINIATURE))
    monkeypatch.setattr(gpu_setting, "STEP", gpu_setting.STEP | gpu_setting.SHORTER)
    (row,) = rows_of(name, Setting("cuda", tmp_path))
    assert row.outcome == "ok", row


# --- memory and precision ---


def test_the_peak_is_that_of_what_is_held_at_once():
    with peak_memory("cpu") as peak:
        one = torch.ones(2**20)
        two = one + one  # 8 MiB at once
        del one
        view, three = two[:10], two * 2  # and again: a view holds nothing of its own
        del two, view, three
        torch.ones(2**18)
    assert peak[0] * GIB == 8 * 2**20


def test_a_precision_is_forced_for_a_while():
    with forced_precision(torch.float16):
        assert precision("cuda", (9, 0)).dtype == precision("cpu").dtype == torch.float16
        assert precision("cpu").reason == "float16, as asked for"
    assert precision("cuda", (9, 0)).dtype == torch.bfloat16 and precision("cpu").dtype == torch.float32


# --- the watch: no check hides another ---

WORKER = """
import json, os, sys, time
checks, events = json.loads(sys.argv[1])
def say(**event):
    with open(events, "a") as file: file.write(json.dumps(event) + "\\n")
if checks[0].startswith("mute"): os._exit(3)
say(card="A Card (16 GB)")
for name in checks:
    say(begin=name)
    if name == "environment": os._exit(7)
    if name == "resume": time.sleep(60)
    failed = name == "float16"
    say(row=[name, "", "failed" if failed else "ok", "found", "expected", 0.1])
    say(end=name)
    if failed: break
"""


@pytest.fixture
def workers(monkeypatch):
    """What each worker was asked for; the workers are light, end their process at environment and hang at resume."""
    asked = []

    def start(checks, events):
        asked.append(checks)
        command = [sys.executable, "-S", "-c", WORKER, json.dumps([checks, str(events)])]
        return subprocess.Popen(command, start_new_session=True)

    monkeypatch.setitem(LIMITS, "resume", 2)
    return asked, start


def test_checks_that_fail_hang_or_end_the_process_hide_no_other(workers, tmp_path):
    asked, start = workers
    checks = ["four_bits", "environment", "float16", "resume", "evaluation"]
    card, *found = dict.fromkeys(watched(checks, start, tmp_path / "events", time.monotonic() + 60))
    rows = [row for row in found if isinstance(row, Row)]
    assert card == "A Card (16 GB)" and [row.check for row in rows] == checks
    assert [row.outcome for row in rows] == ["ok", "failed", "failed", "failed", "ok"]
    assert rows[1].found == "its process ended with code 7" and rows[3].found == "stopped after its limit of 2 s"
    assert asked == [checks, checks[2:], checks[3:], checks[4:]], "a fresh process goes on with the rest"


def test_what_is_left_when_the_time_is_out_is_not_reached(workers, tmp_path, monkeypatch):
    monkeypatch.setitem(LIMITS, "resume", 60)
    _, start = workers
    found = list(watched(["four_bits", "resume", "profile gpu_80gb"], start, tmp_path / "events", time.monotonic() + 3))
    assert [row[:4] for row in found if isinstance(row, Row)] == [
        ("four_bits", "", "ok", "found"), ("resume", "", "not reached", "out of time"),
        ("profile", "gpu_80gb", "not reached", "out of time"),
    ]  # fmt: skip


def test_a_worker_that_cannot_begin_fails_all_its_checks(workers, tmp_path):
    asked, start = workers
    found = list(watched(["mute", "evaluation"], start, tmp_path / "events", time.monotonic() + 60))
    assert [row.outcome for row in found] == ["failed", "failed"] and len(asked) == 1
    assert {row.found for row in found} == {"its process ended with code 3"}


# --- the command ---


@pytest.fixture
def light(workers, tmp_path, monkeypatch):
    """The command with light workers; what it writes is in tmp_path."""
    monkeypatch.setattr(gpu_check, "_starter", lambda *args: workers[1])
    monkeypatch.setattr(gpu_check, "CACHE", tmp_path / "cache")
    monkeypatch.setattr(gpu_check, "FIGURES", tmp_path / "figures")
    return tmp_path


@pytest.mark.parametrize("checks, code", [(["four_bits", "evaluation"], 0), (["float16", "evaluation"], 1)])
def test_the_command_prints_and_keeps_a_table_and_ends_with_1_where_a_check_fails(
    light, monkeypatch, capsys, checks, code
):
    monkeypatch.setattr(gpu_check, "names", lambda: checks)
    assert main(["gpu-check", "--stand-in"]) == code
    table = pd.read_csv(light / "figures/gpu/a_card_16_gb.csv", keep_default_na=False)
    assert list(table) == ["card", *Row._fields] and table["check"].tolist() == checks
    assert set(table["card"]) == {"A Card (16 GB)"} and set(table["outcome"]) <= set(OUTCOMES)
    printed = capsys.readouterr().out
    assert f"{2 - code} ok, {code} failed, 0 skipped, 0 not reached; written to " in printed
    assert re.search(r"^ok          evaluation: found  \(expected: expected\)  0 s$", printed, re.MULTILINE)


def test_without_a_gpu_the_command_is_refused_in_one_sentence(light, monkeypatch, capsys):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert main(["gpu-check"]) == 2
    assert "gpu-check needs a CUDA GPU, and this machine has none; --stand-in" in capsys.readouterr().err
    assert not (light / "figures").exists()


def test_a_worker_writes_the_rows_of_its_checks_and_stops_after_one_that_fails(setting, tmp_path, monkeypatch):
    def found(name, setting):
        yield Row(name, "", "failed" if name == "resume" else "ok", "found", "", 0.0)

    monkeypatch.setattr(gpu_check, "rows_of", found)
    task = {"checks": ["four_bits", "resume", "evaluation"], "device": "cpu", "folder": str(tmp_path)}
    assert main(["gpu-check", "--worker", json.dumps(task | {"events": str(tmp_path / "events")})]) == 0
    events = [json.loads(line) for line in (tmp_path / "events").read_text().splitlines()]
    assert events[0] == {"card": "CPU stand-in"} and [event["begin"] for event in events if "begin" in event] == [
        "four_bits", "resume",
    ]  # fmt: skip
    assert [event["row"][2] for event in events if "row" in event] == ["ok", "failed"]
