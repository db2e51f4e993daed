"""A run as a function: the stages of notebook 3, the same files, and a complete run that stays as it is."""

import ast
import json
import shutil
from pathlib import Path

import nbformat
import pandas as pd
import papermill
import pytest
import torch
from conftest import MINIATURE

from studylib.evaluation.table import read_runs, read_scenarios
from studylib.params import RunParams
from studylib.run import begin, run
from studylib.scenarios.selection import select

ROOT = Path(__file__).resolve().parents[1]
NOTEBOOK = ROOT / "notebooks/3_run_condition.ipynb"
SMALL = {**MINIATURE, "condition": "narrow", "seed": 3, "rewards": "correct=1.0 rubric=0.0"}


def called(source: str) -> list[str]:
    """Names of the functions that a source calls, in its order."""
    calls = [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Call)]
    named = [call for call in calls if isinstance(call.func, ast.Name)]
    return [call.func.id for call in sorted(named, key=lambda call: (call.lineno, call.col_offset))]


def test_the_notebook_calls_the_stages_of_run_in_its_order():
    cells = [cell.source for cell in nbformat.read(NOTEBOOK, as_version=4).cells if cell.cell_type == "code"]
    source = "\n".join(cell for cell in cells if "google.colab" not in cell)
    imports = [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.ImportFrom)]
    stages = {alias.name for node in imports if node.module == "studylib.run" for alias in node.names}
    tree = ast.parse((ROOT / "studylib/run.py").read_text())
    (function,) = [node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name == "run"]
    in_function = [name for name in called(ast.unparse(function)) if name != "is_complete"]
    assert [name for name in called(source) if name in stages] == in_function
    assert len(in_function) == len(set(in_function)) == 11


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """The same run by the notebook and by the function: two folders."""
    root = tmp_path_factory.mktemp("runs")
    given = SMALL | {"run_root": str(root / "notebook")}
    papermill.execute_notebook(NOTEBOOK, root / "run.ipynb", given, kernel_name="python3", progress_bar=False)
    by_notebook = RunParams.resolve(given).run_dir
    return by_notebook, run(RunParams.resolve(SMALL | {"run_root": str(root / "function")}))


def logged(folder: Path) -> list[dict]:
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [{name: value for name, value in line.items() if "time" not in name} for line in lines]


@pytest.mark.parametrize("name", ["scenarios", "responses_before", "responses"])
def test_notebook_and_function_write_the_same_tables(runs, name):
    one, other = (pd.read_parquet(folder / f"{name}.parquet") for folder in runs)
    pd.testing.assert_frame_equal(one, other)
    assert len(one)


def test_notebook_and_function_write_the_same_log_summary_and_configuration(runs):
    one, other = runs
    assert logged(one) == logged(other)
    assert [line["step"] for line in logged(one)] == [0, *range(1, SMALL["steps"] + 1)], "0: seen before training"
    assert (one / "summary.json").read_bytes() == (other / "summary.json").read_bytes()
    configs = [json.loads((folder / "config.json").read_text()) | {"run_root": ""} for folder in runs]
    manifests = [json.loads((folder / "manifest.json").read_text()) for folder in runs]
    assert configs[0] == configs[1] and manifests[0].keys() == manifests[1].keys()
    assert all(manifests[0][name] == manifests[1][name] for name in ("data", "plan", "code", "resumed_from"))
    assert {path.name for path in other.iterdir()} == {
        "config.json", "scenarios.parquet", "responses_before.parquet", "metrics.jsonl", "responses.parquet",
        "summary.json", "figures", "adapter", "checkpoints", "manifest.json",
    }  # fmt: skip


def test_a_run_keeps_what_was_asked_as_it_was_asked(runs):
    folder = runs[1]
    params = RunParams.of_config(json.loads((folder / "config.json").read_text()))
    evaluated = [row for name, rows in select(params).items() if name != "train" for row in rows]
    assert read_scenarios(folder).to_dict("records") == evaluated
    kept = pd.read_parquet(folder / "scenarios.parquet")
    assert kept["split"].value_counts()["train"] == params.train_prompts


def test_a_summary_is_made_again_from_the_tables_of_a_real_run(runs, tmp_path):
    root = shutil.copytree(runs[1].parents[4], tmp_path / "runs")
    (path,) = root.rglob("summary.json")
    kept = path.read_bytes()
    path.unlink()
    found = read_runs(root, axis="inputs", profile="tiny_cpu", endpoints=["decision_entropy"])
    assert path.read_bytes() == kept and set(found["endpoint"]) == {
        "accuracy_sampled", "accuracy_greedy", "score_sampled", "score_greedy", "decision_entropy",
    }  # fmt: skip


def test_a_complete_run_stays_as_it_is(runs, capsys):
    folder = runs[1]
    state = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
    again = run(RunParams.of_config(json.loads((folder / "config.json").read_text())))
    assert again == folder and "(complete: nothing will be trained)" in capsys.readouterr().out
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*")} == state


def test_a_stopped_run_goes_on_and_has_the_answers_of_the_straight_one(runs, miniature):
    straight, params = runs[1], miniature(**{name: SMALL[name] for name in ("condition", "seed", "rewards")})
    shutil.copytree(straight, params.run_dir)
    for name in ("manifest.json", "summary.json", "responses.parquet", "checkpoints/checkpoint-4/complete"):
        (params.run_dir / name).unlink()
    run(params)
    assert json.loads((params.run_dir / "manifest.json").read_text())["resumed_from"] == 2
    assert logged(params.run_dir) == logged(straight)
    pd.testing.assert_frame_equal(*(pd.read_parquet(f / "responses.parquet") for f in (straight, params.run_dir)))
    assert (params.run_dir / "summary.json").read_bytes() == (straight / "summary.json").read_bytes()


@pytest.mark.skipif(torch.cuda.is_available(), reason="the machine has a GPU")
def test_a_machine_without_the_gpu_that_a_run_needs_is_refused_before_the_folder_is_made(tmp_path, capsys):
    params = RunParams.resolve({"profile": "gpu_24gb", "run_root": str(tmp_path / "runs")})
    with pytest.raises(ValueError, match="profile 'gpu_24gb' needs a CUDA GPU"):
        begin(params)
    assert not (tmp_path / "runs").exists() and not capsys.readouterr().out


def test_rewards_of_the_caller_are_paid_and_named_in_the_configuration(miniature):
    def make_rewards(rows: list[dict]) -> list:
        def first(completions, id, **columns):
            return [float(i % 2) for i in range(len(completions))]

        def second(completions, id, **columns):
            return [0.0] * len(completions)

        return [first, second]

    folder = run(miniature(), make_rewards, first="by its place")
    assert {line["rewards/first/mean"] for line in logged(folder) if line["step"]} == {0.5}
    assert json.loads((folder / "config.json").read_text())["first"] == "by its place"
    with pytest.raises(ValueError, match="holds a run with first = 'by its place', not 'otherwise'"):
        run(miniature(), make_rewards, first="otherwise")
