"""The notebooks, executed by papermill as a user would, at a size that takes seconds."""

import json
import shutil
from pathlib import Path

import nbformat
import pandas as pd
import papermill
import pytest
from conftest import MINIATURE
from papermill.exceptions import PapermillExecutionError
from published import morebench
from test_claims import write_run

from studylib.claims.plan import plan_digest
from studylib.evaluation.rates import wilson
from studylib.judge.model import Judge, new_tiny_judge
from studylib.scenarios.sources.morebench import part_of

ROOT = Path(__file__).resolve().parents[1]


def execute(name: str, folder: Path, **parameters) -> str:
    """Runs a notebook and returns all that it printed and showed as text."""
    output = folder / f"{name}.ipynb"
    papermill.execute_notebook(
        ROOT / "notebooks" / f"{name}.ipynb", output, parameters, kernel_name="python3", progress_bar=False
    )
    notebook = nbformat.read(output, as_version=4)
    shown = [out for cell in notebook.cells if cell.cell_type == "code" for out in cell.outputs]
    assert not [out for out in shown if out.get("name") == "stderr"], "warnings in a reader's notebook"
    return "\n".join(out.get("text") or out.get("data", {}).get("text/plain", "") for out in shown)


def run(folder: Path, **parameters) -> tuple[Path, str]:
    shown = execute(
        "3_run_condition", folder, **{**MINIATURE, "save_every": 4, "run_root": str(folder / "runs"), **parameters}
    )
    (manifest,) = (folder / "runs").rglob("manifest.json")
    return manifest.parent, shown


def test_the_scenarios_notebook_runs(tmp_path):
    shown = execute("1_scenarios", tmp_path, source="universal_norms", seed=1)
    assert "By Kantian Deontology, is this permissible or wrong?" in " ".join(shown.split())
    assert "same facts twice: 0" in shown


def test_a_run_from_parameters_to_manifest_and_again(tmp_path):
    folder, shown = run(tmp_path, condition="medium", seed=2)
    assert folder == tmp_path / "runs/inputs/tiny_cpu/local_norms/medium/seed2"
    for name in ("config.json", "metrics.jsonl", "responses.parquet", "summary.json", "manifest.json"):
        assert (folder / name).is_file()
    assert (folder / "adapter").is_dir() and (folder / "checkpoints").is_dir()
    assert (folder / "figures/training_curve.png").is_file()
    manifest = json.loads((folder / "manifest.json").read_text())
    assert manifest["params"]["condition"] == "medium" and manifest["gradient_change"] < 1e-2
    assert manifest["plan"] == plan_digest("inputs")
    assert set(manifest["data"]) == {"train", "held_out", "held_out_domains", "held_out_styles"}
    assert "complete after" in shown and "nothing will be trained" not in shown

    _, again = run(tmp_path, condition="medium", seed=2)
    assert "(complete: nothing will be trained)" in again
    assert "was complete already" in again and "complete after" not in again
    assert json.loads((folder / "manifest.json").read_text()) == manifest


def test_a_judge_is_trained_reported_and_trained_against(tmp_path):
    printed = execute(
        "2_train_judge", tmp_path, **{**MINIATURE, "save_every": 4}, run_root=str(tmp_path / "runs"),
        out_root=str(tmp_path / "out"), judge_scenarios=8, judge_steps=2, audit_scenarios=2,
    )  # fmt: skip
    assert "cheats earn more from the judge than the median honest wrong answer" in printed
    assert "0 of them train or evaluate a policy" in printed
    assert written(tmp_path / "out/judge") == {"agreement", "reliability", "partiality", "gap"}
    curves = pd.read_csv(tmp_path / "out/judge/gap.csv")
    assert set(curves.arm) == {"the checker", "the judge", "a flawed checker"}
    assert curves.step.max() == MINIATURE["steps"]


def test_a_judge_of_real_dilemmas_learns_published_verdicts(tmp_path):
    path = tmp_path / "verdicts.jsonl"
    aside = [f"Chess {i}?" for i in range(20) if part_of(f"Chess {i}?") == "judge"][:2]
    lines = [morebench(["yes", "No.", "Not sure", "no"], dilemma) for dilemma in aside]
    path.write_text("\n".join(map(json.dumps, lines)))
    base = new_tiny_judge(["Response: <think>x</think> Criterion: Mentions chess. Met? yes no"] * 50)
    base.save(tmp_path / "base")  # stands in for a model of the hub
    printed = execute(
        "2b_judge_real_dilemmas", tmp_path, run_root=str(tmp_path / "runs"), out_root=str(tmp_path / "out"),
        verdict_file=str(path), train_on="verdicts", judge_model=str(tmp_path / "base"), judge_revision="local",
        judge_steps=2,
    )  # fmt: skip
    assert Judge.load(tmp_path / "runs/judge/qwen3_1.7b").facts["trained_on"] and "6 labels, loss" in printed
    assert "16 verdicts on 2 scenarios, 4 are none" in printed and "no endpoint given" in printed
    assert {"recorded/keyword_overlap/agreement", "real/agreement"} <= written(tmp_path / "out/judge")


def test_the_notebook_of_real_dilemmas_says_what_it_was_not_given(tmp_path):
    printed = execute("2b_judge_real_dilemmas", tmp_path)
    for what in ("no verdict_file given", "no endpoint given", "no judge for real dilemmas is trained"):
        assert what in printed


def written(folder: Path) -> set[str]:
    """Names, below the folder, of the figures that are there as pdf, png and csv."""
    names = {path.relative_to(folder).with_suffix("") for path in folder.rglob("*.pdf")}
    return {str(name) for name in names if all((folder / f"{name}.{kind}").is_file() for kind in ("png", "csv"))}


def test_the_comparison_notebook_reads_run_folders_and_writes_tables_and_figures(tmp_path):
    for world in ("local_norms", "universal_norms"):
        for condition, mean in (("narrow", 0.6), ("medium", 0.7), ("broad", 0.8)):
            for seed in range(3):
                after = mean + (0.01 * seed * (1 + len(condition)) if world == "local_norms" else 0.02 * seed)
                write_run(tmp_path / "runs", world, condition, seed, after)
    write_run(tmp_path / "runs", seed=9, finished=False)
    shown = execute("4_compare_conditions", tmp_path, run_root=str(tmp_path / "runs"), out_root=str(tmp_path / "out"))
    claims = pd.read_csv(tmp_path / "out/inputs/claims.csv")
    assert set(claims.decision) <= {"different", "equivalent", "both (trivial)", "inconclusive", "not estimable"}
    assert all((tmp_path / f"out/inputs/{name}.csv").is_file() for name in ("means", "power", "items", "iqm", "runs"))
    for name in ("accuracy", "contrasts", "curves", "detectable", "seeds", "pareto"):
        assert all((tmp_path / f"out/inputs/{name}.{suffix}").is_file() for suffix in ("pdf", "png", "csv"))
    assert "narrow/seed9" in shown, "the run that did not finish is named"
    assert "90 % interval" in shown and "p_signflip (smallest)" in shown and "0.250 (0.250)" in shown
    assert "These intervals are too narrow: below 10 runs" in shown, "beside the interquartile mean"
    assert "Axis inputs does not compare objectives." in shown
    assert "Axis inputs has no condition that is a published method." in shown
    assert set(claims.status) == {"exploratory"} and "The plan fixes the seeds 0..4; " in shown, "three seeds, not five"


def test_the_comparison_notebook_ends_on_a_study_with_one_condition_in_the_home_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    for seed in range(2):
        write_run(tmp_path / "my rüns", "local_norms", "narrow", seed, 0.6 + 0.02 * seed)
    shown = execute("4_compare_conditions", tmp_path, run_root="~/my rüns", out_root="~/out")
    assert "There is one condition only, narrow: nothing to compare it with." in shown
    assert "No power and no next look: there is no planned contrast." in shown and "Stop at" not in shown
    assert not (tmp_path / "out/inputs/detectable.png").exists() and (tmp_path / "out/inputs/pareto.png").is_file()


@pytest.mark.parametrize(
    "parameters, message",
    [
        ({"sede": 3}, "unknown parameter 'sede'; did you mean seed"),
        ({"seed": 1.5}, "parameter seed = 1.5 is not allowed: an integer"),
    ],
)
def test_a_bad_parameter_ends_the_notebook_before_anything_is_written(tmp_path, parameters, message):
    with pytest.raises(PapermillExecutionError, match=message):
        execute("3_run_condition", tmp_path, run_root=str(tmp_path / "runs"), **parameters)
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize("name", ["1_scenarios", "4_compare_conditions"])
def test_a_parameter_that_a_notebook_without_a_run_does_not_know_is_refused_too(tmp_path, name):
    with pytest.raises(PapermillExecutionError, match="unknown parameter 'learning_rate'; known parameters: "):
        execute(name, tmp_path, learning_rate=1e-3)


@pytest.mark.parametrize("source, rate", [("ethics_justice", 0.5), ("contrastive_moral_stories", 0.667)])
def test_a_run_on_real_scenarios(tmp_path, data_dir, source, rate):
    folder, shown = run(tmp_path, axis="real", condition="grpo", source=source, data_dir=data_dir, steps=2)
    score = json.loads((folder / "summary.json").read_text())["splits"]["held_out"]["after"]
    greedy = score["accuracy_greedy"] * score["scenarios"]
    assert (score["accuracy_greedy_low"], score["accuracy_greedy_high"]) == wilson(round(greedy), score["scenarios"])
    assert 0.5 <= score["base_rate"] <= 1 and 0 <= score["unscorable"] <= 1
    assert source in shown
    shutil.rmtree(folder)
