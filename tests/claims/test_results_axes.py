"""The pages of single axes say what the tables of their studies say.

Run: python -m pytest tests/claims/test_results_axes.py
"""

import shutil

import pandas as pd
import pytest

from studylib.claims.results_axes import MARKED, filled, filled_pages, section
from studylib.paths import FIGURES
from studylib.runs.read import WARM_START


@pytest.fixture
def figures(tmp_path):
    shutil.copytree(FIGURES / "inputs", tmp_path / "inputs")
    return tmp_path


def rows_of(text: str, name: str) -> list[str]:
    return [line for line in text.splitlines() if line.startswith(f"| {name} |")]


def test_the_committed_pages_are_up_to_date():
    pages = filled_pages()
    assert len(pages) >= 4
    for path, text in pages.items():
        assert path.read_text(encoding="utf-8") == text, "make results"


def test_only_what_is_between_the_marks_changes():
    page = "before\n<!-- results: systems -->\nold\n<!-- end of results -->\nafter\n"
    wanted = page.replace("old", "Not run yet: `python -m studylib study --axis systems`.")
    assert filled(page, FIGURES / "none") == wanted == filled(wanted, FIGURES / "none")
    assert len(MARKED.findall(page + page)) == 2


def test_means_and_planned_differences_of_each_world_are_told(figures):
    text = section("inputs", figures)
    means = pd.read_csv(figures / "inputs/means.csv").query(
        "split == 'held_out_domains' and endpoint == 'accuracy_sampled' and condition == 'broad'"
    )
    rows = rows_of(text, "`broad`")
    of_worlds = zip(means.sort_values("world", ascending=False)["mean"], rows, strict=True)
    assert all(f"{mean:.3f} [" in row for mean, row in of_worlds)
    assert "+0.191 [+0.157, +0.225]: different" in rows[1]
    assert len(rows_of(text, "before training")) == 2 and WARM_START not in text
    assert "![Differences of the axis inputs](../figures/inputs/contrasts.png)" in text
    runs = pd.read_csv(figures / "inputs/runs.csv")
    assert f"{len(runs)} runs, {runs['seed'].nunique()} seeds, {runs['wall_seconds'].sum() / 3600:.1f} hours" in text


def test_tables_that_some_studies_have_are_shown(figures):
    folder = figures / "inputs"
    groups = [("w", "narrow", group, 0.6, 0.5, 0.7, 3) for group in ("", "young")]
    names = ["world", "condition", "group", "fit", "low", "high", "seeds"]
    pd.DataFrame(groups, columns=names).to_csv(folder / "groups.csv", index=False)
    effects = [("w", "accuracy_sampled", "a x b", 3, 0.1, 0.05, 0.15, 0.01, 0.04)]
    names = ["world", "endpoint", "effect", "n", "difference", "low", "high", "p", "p_holm"]
    pd.DataFrame(effects, columns=names).to_csv(folder / "interactions.csv", index=False)
    traces = [("w", "multi", seed, "multi_role", 3.0, right, 1000, 200, 50) for seed, right in enumerate((0.4, 0.6))]
    names = ["world", "condition", "seed", "traces", "roles_per_trace", "right", "supervised_tokens",
             "tokens_for_traces", "tokens_for_rewards"]  # fmt: skip
    pd.DataFrame(traces, columns=names).to_csv(folder / "traces.csv", index=False)
    text = section("inputs", figures)
    assert "| `w` | `narrow` | 0.600 [0.500, 0.700] | 0.600 [0.500, 0.700] |" in text
    assert "| everybody | young |" in text
    assert "| a x b | +0.100 [+0.050, +0.150] | 0.040 |" in text
    assert "| `w` | `multi` | 3 | 0.5 | 1000 | 200 | 50 |" in text
