"""docs/real_model.md is what the tables of the studies with a real model say, and says which of them there are."""

import shutil

import pandas as pd
import pytest

from studylib.claims.plan import read_plan
from studylib.claims.results_real import STUDIES, real_model_page
from studylib.paths import FIGURES
from studylib.runs.read import WARM_START

NOT_RUN = "**This study has not been run yet**"


@pytest.fixture
def figures(tmp_path):
    """The tables of the tiny model's study in the place of the real model's."""
    shutil.copytree(FIGURES / "inputs", tmp_path / "inputs_smollm2")
    said = [(world, condition, 0, 12.5, 0.25, 0.5, 1.0, 1.0, share)
            for world in ("local_norms", "universal_norms")
            for condition, share in (("narrow", 0.25), ("broad", 0.75), (WARM_START, None))]  # fmt: skip
    names = ["world", "condition", "seed", "words", "distinct_2", "decision_entropy", "readable", "readable_leniently"]
    pd.DataFrame(said, columns=[*names, "faithful"]).to_csv(tmp_path / "inputs_smollm2/reasons.csv", index=False)
    return tmp_path


def published(folder, axis: str, power: bool = True) -> None:
    """Made tables of one axis of published data: everything is 0.6, and every contrast +0.05."""
    plan = read_plan(axis)
    arms = {plan.baseline, *plan.contrasts.split(), *plan.control.split(), WARM_START}
    key = {"split": plan.primary_split, "endpoint": plan.primary_endpoint}
    means = [{"world": w, "condition": c, **key, "mean": 0.6, "low": 0.5, "high": 0.7, "seeds": 3}
             for w in plan.worlds.split() for c in sorted(arms)]  # fmt: skip
    claims = [{"world": w, "contrast": f"{c} - {plan.baseline}", **key, "difference": 0.05, "low": -0.1, "high": 0.2,
               "decision": "inconclusive"} for w in plan.worlds.split() for c in plan.contrasts.split()]  # fmt: skip
    (folder / axis).mkdir()
    tables = {"means": means, "claims": claims, "runs": [{"wall_seconds": 1800.0}] * 3}
    tables["power"] = [{"world": c["world"], "contrast": c["contrast"], "detectable": 0.123} for c in claims]
    for name, rows in tables.items():
        pd.DataFrame(rows).to_csv(folder / axis / f"{name}.csv", index=False)


def test_a_study_that_was_not_run_is_said_to_be_so(tmp_path):
    page = real_model_page(tmp_path)
    assert page.count(NOT_RUN) == len(STUDIES)
    assert all(read_plan(axis).question in page for axis in STUDIES)


def test_the_study_of_inputs_is_told_with_its_decision_its_reach_and_its_hours(figures):
    page = real_model_page(figures)
    row = next(line for line in page.splitlines() if line.startswith("| `local_norms` | 0.700"))
    assert (
        "| 0.736 [0.687, 0.784] | 0.909 [0.893, 0.926] | 0.927 [0.885, 0.969] | +0.191 [+0.157, +0.225]: different |"
        in row
    )
    reach = pd.read_csv(figures / "inputs_smollm2/power.csv").query(
        "world == 'local_norms' and contrast == 'broad - narrow'"
    )
    assert row.endswith(f"| ±{reach['detectable'].iloc[0]:.3f} |")
    runs = pd.read_csv(figures / "inputs_smollm2/runs.csv")["wall_seconds"]
    assert f"{len(runs)} runs, {runs.sum() / 3600:.1f} hours of runs" in page
    assert "| `local_norms` | `broad` | 12.5 | 0.25 | 0.5 | 1 | 0.75 |" in page
    assert "| `local_norms` | before training | 12.5 | 0.25 | 0.5 | 1 |  |" in page, "nothing known stays empty"
    assert page.count(NOT_RUN) == len(STUDIES) - 1


def test_published_questions_stand_beside_what_they_are_held_against(tmp_path):
    published(tmp_path, "real")
    rows = [("ethics_virtue", "base_rate", 0.79, 0.75, 0.82), ("ethics_virtue", "linear_probe", 0.84, 0.8, 0.87)]
    table = pd.DataFrame(rows, columns=["source", "baseline", "accuracy", "low", "high"])
    table.to_csv(tmp_path / "real/baselines.csv", index=False)
    page = real_model_page(tmp_path)
    head = next(line for line in page.splitlines() if line.startswith("| world |"))
    row = next(line for line in page.splitlines() if line.startswith("| `ethics_virtue`"))
    cells = dict(zip(head.split(" | "), row.split(" | "), strict=True))
    assert cells["most frequent answer"] == "0.790 [0.750, 0.820]" and cells["linear probe"] == "0.840 [0.800, 0.870]"
    assert cells["before training"] == cells["`sft`"] == cells["`grpo`"] == "0.600 [0.500, 0.700]"
    assert (
        cells["grpo - base"] == "+0.050 [-0.100, +0.200]: inconclusive"
        and cells["sft - base: seen with 80 %"] == "±0.123"
    )
    other = next(line for line in page.splitlines() if line.startswith("| `ethics_justice`"))
    assert len(other.split(" | ")) == len(head.split(" | ")), "a source without baselines has empty cells"
    assert "3 runs, 1.5 hours of runs" in page


def test_what_a_policy_would_be_held_against_is_told_before_any_is_trained(tmp_path):
    (tmp_path / "real").mkdir()
    rows = [("ethics_virtue", "base_rate", 0.79, 0.75, 0.82), ("ethics_virtue", "linear_probe", 0.84, 0.8, 0.87)]
    table = pd.DataFrame(rows, columns=["source", "baseline", "accuracy", "low", "high"])
    table.to_csv(tmp_path / "real/baselines.csv", index=False)
    page = real_model_page(tmp_path)
    row = "| `ethics_virtue` | 0.790 [0.750, 0.820] | 0.840 [0.800, 0.870] |"
    assert f"| source | most frequent answer | linear probe |\n| --- | --- | --- |\n{row}\n\n" in page
    assert page.count(NOT_RUN) == len(STUDIES)


def test_what_carries_over_is_told_by_the_source_that_neither_trained_on(tmp_path):
    published(tmp_path, "parts")
    page = real_model_page(tmp_path)
    assert "| world | before training | `narrow` | `broad` | broad - narrow | broad - narrow: seen with 80 % |" in page
    assert page.count("| `moralchoice` | 0.600 [0.500, 0.700] |") == 1
