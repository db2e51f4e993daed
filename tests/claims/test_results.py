"""The pages of docs/ that are made of tables are what the committed tables say, and nothing else."""

import math
import shutil

import pandas as pd
import pytest

from studylib.claims.plan import read_plan
from studylib.claims.results import LANDSCAPE, PAGE, REAL_MODEL, results_page
from studylib.claims.results_landscape import _landscape, landscape_page
from studylib.claims.results_real import real_model_page
from studylib.paths import FIGURES


@pytest.fixture
def figures(tmp_path):
    """The committed tables, to be changed."""
    return shutil.copytree(FIGURES, tmp_path / "figures", ignore=shutil.ignore_patterns("*.png", "*.pdf"))


def change(path, row: int, **values) -> None:
    table = pd.read_csv(path, keep_default_na=False)
    for name, value in values.items():
        table.loc[row, name] = value
    table.to_csv(path, index=False)


@pytest.mark.parametrize(
    "path, page", [(PAGE, results_page), (LANDSCAPE, landscape_page), (REAL_MODEL, real_model_page)]
)
def test_the_committed_page_is_up_to_date(path, page):
    assert path.read_text(encoding="utf-8") == page(), "make results"


def test_a_number_that_changes_in_a_table_changes_on_the_page(figures):
    claims = pd.read_csv(figures / "objective/claims.csv", keep_default_na=False)
    primary = claims.query("split == 'held_out_domains' and endpoint == 'accuracy_sampled'")
    change(figures / "objective/claims.csv", primary.index[primary.contrast == "cispo - grpo"][0], decision="different")
    change(
        figures / "objective/claims.csv",
        primary.index[primary.contrast == "rft - warm_start"][0],
        decision="inconclusive",
    )
    change(figures / "inputs/seed_sets.csv", 0, decision="different")
    change(figures / "validate.csv", 0, value=0.9)
    page = results_page(figures)
    assert "that the first comparison planned are:\n10 *equivalent*, 1 *different*, 1 *inconclusive*" in page
    assert "3 came later and are exploratory" in page and page.count("| equivalent (exploratory) |") == 3
    assert "14 of the 16 trained objectives differ from their own warm start" in page
    assert "rft - warm_start is inconclusive" in page
    assert "9 *equivalent*, 1 *different*" in page and "1 outside their target" in page


def test_every_figure_and_page_that_it_names_is_there():
    page = results_page()
    for name in (part.split(")")[0] for part in page.split("](")[1:]):
        assert (
            name.startswith("https://") or name in ("claims.md", "objectives.md") or (PAGE.parent / name).is_file()
        ), name


def test_a_landscape_compares_what_is_kept_what_it_costs_and_what_is_covered(tmp_path):
    """With one accepted stance the first is 1 by definition, so that the others are what can fail."""
    plan = read_plan("landscape")
    shown = (plan.primary_endpoint, "accuracy_sampled", "faithful_sampled", "overton_coverage", "pass_16")
    cell = {"split": plan.primary_split, "low": math.nan, "high": math.nan}
    cells = [{**cell, "world": world, "endpoint": endpoint} for world in plan.worlds.split() for endpoint in shown]
    means = [c | {"condition": name, "mean": 1.0} for c in cells for name in ("grpo", "flowrl")]
    claims = [c | {"contrast": "flowrl - grpo", "difference": i / 100} for i, c in enumerate(cells[: len(shown)])]
    checks = [{"world": "m1", "condition": "flowrl", "outcome": "matches"}]
    folder = tmp_path / "landscape"
    folder.mkdir()
    for name, rows in (("means", means), ("claims", claims), ("manipulation", checks)):
        pd.DataFrame(rows).assign(decision="not estimable").to_csv(folder / f"{name}.csv", index=False)
    head, _, *rows = _landscape(folder)["tables"]["m1"].splitlines()
    assert head.split(" | ")[3:6] == ["kept minus grpo", "accuracy minus grpo", "covered minus grpo"]
    (row,) = (row for row in rows if "flowrl" in row)
    assert [text[:6] for text in row.split(" | ")[3:6]] == ["+0.000", "+0.010", "+0.030"] and "matches" in row
