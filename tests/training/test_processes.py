"""Two processes on gloo make the run that one process makes: metrics, answers and adapter, each file once.

The two are started once, by torchrun, and make all runs of `helpers/shared_runs.py` while this process makes the same.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
import torch
from safetensors.torch import load_file
from shared_runs import CASES, COMMON, SEEN, WHOLE, make

from studylib import processes
from studylib.__main__ import main
from studylib.training.train import prepare

ROUNDING = {"rel": 1e-5, "abs": 2e-6}
# Where a process has several passes of an update, the sum over all of them is rounded in another order, and Adam
# divides it by its size, however small that is. With one pass each the sum has the same two terms.
SAME_BITS = {"two_updates", "pass_each", "one_pass", "dpo"}
TIMES = ("time", "_per_second")
MADE = ["whole", *CASES]


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """name -> (parameters of the run of one process, of the run of two); the folder with what the two said."""
    from conftest import MINIATURE, RunParams

    root = tmp_path_factory.mktemp("processes")

    def params(of: str, name: str) -> RunParams:
        given = WHOLE if name in ("whole", "resumed") else CASES[name]
        return RunParams.resolve({**MINIATURE, **COMMON, **given, "run_root": str(root / of / name)})

    one, two = ({name: params(of, name) for name in [*MADE, "resumed"]} for of in ("one", "two"))
    make("grpo", one["grpo"])  # and the warm start, which the two then find
    (root / "cases.json").write_text(json.dumps({name: of_run.as_dict() for name, of_run in two.items()}))
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    script = Path(__file__).parents[1] / "helpers/shared_runs.py"
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}
    with (root / "log").open("w") as log:
        started = subprocess.Popen([*torchrun, str(script), str(root)], stdout=log, stderr=log, env=environment)
        try:
            for name in MADE:
                if name != "grpo":
                    make(name, one[name])
            assert started.wait(timeout=1200) == 0, (root / "log").read_text()[-4000:]
        finally:
            started.kill()
    return {name: (one.get(name), two[name]) for name in two} | {"root": root}


def lines(params) -> list[dict]:
    return [json.loads(line) for line in (params.run_dir / "metrics.jsonl").read_text().splitlines()]


def without_times(line: dict) -> dict:
    return {name: value for name, value in line.items() if not name.endswith(TIMES)}


def texts(params) -> list:
    return [json.loads(line) for line in (params.run_dir / SEEN).read_text().splitlines()]


@pytest.mark.parametrize("name", MADE)
def test_two_processes_log_the_metrics_of_one(made, name):
    one, two = (lines(params) for params in made[name])
    assert [line["step"] for line in two] == [line["step"] for line in one], "each step once"
    for line, other in zip(one, two, strict=True):
        assert without_times(other) == pytest.approx(without_times(line), **ROUNDING), line["step"]


@pytest.mark.parametrize("name", MADE)
def test_two_processes_sample_and_grade_the_answers_of_one(made, name):
    one, two = (texts(params) for params in made[name])
    assert two == one and len(one) > 1 - (name == "dpo")


@pytest.mark.parametrize("name", MADE)
def test_two_processes_train_the_adapter_of_one(made, name):
    one, two = (load_file(params.run_dir / "adapter/adapter_model.safetensors") for params in made[name])
    assert two.keys() == one.keys()
    one, two = (torch.cat([adapter[key].flatten() for key in sorted(one) if "lora_B" in key]) for adapter in (one, two))
    assert one.norm() > 0.5, "something was learned: it began at 0"
    assert torch.equal(two, one) if name in SAME_BITS else (two - one).norm() < 3e-4 * one.norm()


def test_dynamic_sampling_filled_up_groups_in_the_run_that_is_compared(made):
    assert len(texts(made["dapo"][0])) > 4, "a batch a step, and those of refills"


def answers(params, name: str) -> pd.DataFrame:
    return pd.read_parquet(params.run_dir / name)


def test_two_processes_evaluate_as_one_and_leave_the_same_files(made):
    one, two = made["whole"]
    for name in ("responses_before.parquet", "responses.parquet"):
        assert answers(two, name)["response"].tolist() == answers(one, name)["response"].tolist()
        assert answers(two, name).drop(columns="forced").equals(answers(one, name).drop(columns="forced"))
    files = [sorted(p.relative_to(of.run_dir) for p in of.run_dir.rglob("*") if p.is_file()) for of in (one, two)]
    assert files[0] == files[1] and Path("checkpoints/checkpoint-4/complete") in files[0]
    manifests = [json.loads((params.run_dir / "manifest.json").read_text()) for params in (one, two)]
    assert [manifest["processes"] for manifest in manifests] == [1, 2]


def test_a_run_of_two_processes_that_was_killed_ends_where_the_straight_run_ends(made):
    straight, resumed = made["whole"][1], made["resumed"][1]
    assert json.loads((resumed.run_dir / "manifest.json").read_text())["resumed_from"] == 2
    assert [line["step"] for line in lines(resumed)] == [0, 1, 2, 3, 4]
    for line, other in zip(lines(straight), lines(resumed), strict=True):
        assert without_times(other) == without_times(line)
    both = [load_file(params.run_dir / "adapter/adapter_model.safetensors") for params in (straight, resumed)]
    assert all(torch.equal(value, both[1][name]) for name, value in both[0].items())
    assert answers(resumed, "responses.parquet").equals(answers(straight, "responses.parquet"))


def test_the_first_process_alone_prints(made):
    log = (made["root"] / "log").read_text()
    assert log.count("complete after") == 2, "of the whole and of the resumed run"
    assert log.count("an update has 1 forward pass of micro_batch = 16 answers for 2 processes") == 1, "of one_pass"
    assert "process group is initialized" not in log


# --- what the processes tell each other ---


@pytest.fixture(scope="module")
def told(made) -> list[dict]:
    return [json.loads((made["root"] / f"told{rank}.json").read_text()) for rank in (0, 1)]


def test_work_is_dealt_in_turn_and_everyone_gets_all_results(told):
    for one in told:
        assert one["dealt"] == [[0, 0], [1, 1], [2, 0], [3, 1], [4, 0]], "number of the piece, process that did it"
        assert one["summed"] == [[3.0] * 4, [10.0] * 3]
        assert one["merged"] == {"both": [1.0, 1.0], "own0": [2.0], "own1": [2.0]}


def test_everyone_gets_what_the_first_alone_makes_or_nothing(told):
    assert [one["rank"] for one in told] == [0, 1]
    assert [one["of_first"] for one in told] == [0, 0]
    assert [one["only_first"] for one in told] == [7, None]


def test_an_error_of_one_process_is_raised_in_both_so_that_none_waits(told):
    for one in told:
        assert one["error of the first"].endswith("Local: cannot be pickled")
        assert one["error of the second"] == "ValueError: the second fails"
        assert one["error of a reward"] == "ValueError: no grade"


def test_plain_trl_is_refused_where_each_process_would_sample_for_itself(told):
    wanted = "ValueError: training without shared prompts (engine = 'trl') is not allowed with 2 processes, only with 1"
    assert [one["engine"] for one in told] == [wanted] * 2


# --- what is no process of torchrun's ---


@pytest.mark.parametrize("size, said", [
    ("2", "WORLD_SIZE = '2' is not allowed without RANK, LOCAL_RANK, .*: several processes are started by torchrun"),
    ("8", "WORLD_SIZE = '8' is not allowed without RANK"),
    ("0", "WORLD_SIZE = '0' is not allowed: the number of processes, an integer >= 1"),
    ("two", "WORLD_SIZE = 'two' is not allowed"),
])  # fmt: skip
def test_processes_that_cannot_find_each_other_are_refused_before_anything_is_loaded(monkeypatch, size, said):
    monkeypatch.setenv("WORLD_SIZE", size)
    with pytest.raises(ValueError, match=said):
        prepare(None, [])


@pytest.mark.parametrize("command", ["study", "compare", "audit"])
def test_a_command_that_is_one_process_work_is_refused_under_torchrun(monkeypatch, capsys, command):
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert main([command]) == 2
    said = f"python -m studylib {command} is not allowed with 2 processes, only with 1"
    assert said in capsys.readouterr().err


@pytest.mark.parametrize("visible, local, own", [
    (None, "1", "1"), ("4,6", "1", "6"), ("0,0", "1", "0"), ("GPU-a,GPU-b,GPU-c", "2", "GPU-c"), ("0", "1", ""),
])  # fmt: skip
def test_each_process_sees_one_gpu(monkeypatch, visible, local, own):
    for name, value in (("WORLD_SIZE", "3"), ("LOCAL_RANK", local), ("CUDA_VISIBLE_DEVICES", visible)):
        monkeypatch.setenv(name, value) if value is not None else monkeypatch.delenv(name, raising=False)
    processes.take_own_gpu()
    assert os.environ["CUDA_VISIBLE_DEVICES"] == own


def test_one_process_sees_the_gpus_that_it_saw(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,6")
    for size, local in ((None, None), ("1", "0"), (None, "1")):
        for name, value in (("WORLD_SIZE", size), ("LOCAL_RANK", local)):
            monkeypatch.setenv(name, value) if value else monkeypatch.delenv(name, raising=False)
        processes.take_own_gpu()
        assert os.environ["CUDA_VISIBLE_DEVICES"] == "4,6"
