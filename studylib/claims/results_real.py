"""docs/real_model.md: the same questions asked of a real language model.

Made as docs/results.md is, from the tables in figures/ alone; the text is in `real_model.md` beside this file. A study
that has not been run has no tables, and the page says so.
"""

from pathlib import Path

import pandas as pd

from studylib.claims.markdown import (
    claim_cell,
    claims_of,
    condition_cell,
    markdown_table,
    mean_cell,
    means_of,
    rendered,
)
from studylib.claims.plan import Plan, read_plan
from studylib.claims.results_landscape import controls_table
from studylib.claims.tables import read_table
from studylib.paths import FIGURES, ROOT
from studylib.runs.read import WARM_START, ordered

PAGE = ROOT / "docs" / "real_model.md"
BASELINES = {"base_rate": "most frequent answer", "bag_of_words": "bag of words", "linear_probe": "linear probe"}
REASONS = {
    "words": "words", "distinct_2": "distinct pairs of words", "decision_entropy": "bits between samples",
    "readable": "readable", "faithful": "faithful",
}  # fmt: skip
STUDIES = ("inputs_smollm2", "controls_smollm2", "real", "parts")


def real_model_page(figures: Path = FIGURES) -> str:
    """The page as Markdown, of the tables in a folder such as figures/."""
    run = {axis: (figures / axis / "claims.csv").is_file() for axis in STUDIES}
    return rendered(
        "real_model.md", run=run, plans={axis: read_plan(axis) for axis in STUDIES},
        hours={axis: _hours(figures / axis) for axis in STUDIES if run[axis]},
        inputs=_by_world(figures / "inputs_smollm2") if run["inputs_smollm2"] else "",
        controls=controls_table(figures / "controls_smollm2") if run["controls_smollm2"] else "",
        reasons={axis: _reasons(figures / axis) for axis in STUDIES[:2] if run[axis]},
        real=_by_world(figures / "real", _baselines(figures / "real")) if run["real"] else "",
        parts=_by_world(figures / "parts") if run["parts"] else "", baselines=_baselines_alone(figures / "real"),
    )  # fmt: skip


def _by_world(folder: Path, beside: dict[str, dict[str, str]] | None = None) -> str:
    """Per world: what `beside` has of it, every condition's primary endpoint, and every planned difference with what
    these seeds would have shown with 80 % power."""
    plan, beside = read_plan(folder.name), beside or {}
    means, claims = (of(folder, plan, plan.primary_endpoint) for of in (means_of, claims_of))
    power = read_table(folder, "power")
    rows = []
    for world in sorted(plan.worlds.split(), reverse=True):
        cells = {"world": f"`{world}`"} | beside.get(world, {})
        own = means[means["world"] == world].set_index("condition").to_dict("index")
        for condition in [WARM_START, *(name for name in ordered(own) if name not in (WARM_START, "base"))]:
            cells[condition_cell(condition)] = mean_cell(own[condition])
        for contrast in _planned(plan):
            found = claims[(claims["world"] == world) & (claims["contrast"] == contrast)].to_dict("records")
            cells[contrast] = claim_cell(found[0]) if found else ""
            seen = power[(power["world"] == world) & (power["contrast"] == contrast)]["detectable"]
            cells[f"{contrast}: seen with 80 %"] = f"±{seen.iloc[0]:.3f}" if len(seen) else ""
        rows.append(cells)
    head = max(rows, key=len)
    return markdown_table(head, ([cells.get(name, "") for name in head] for cells in rows))


def _planned(plan: Plan) -> list[str]:
    """Contrasts with the baseline, and with a control that is no arm without training."""
    against = [plan.baseline, *([plan.control] if plan.control not in ("", "base") else [])]
    return [f"{name} - {other}" for other in against for name in plan.contrasts.split() if name != other]


def _baselines(folder: Path) -> dict[str, dict[str, str]]:
    """source -> name of a baseline -> its accuracy with Wilson's interval; nothing where they were not taken."""
    if not (folder / "baselines.csv").is_file():
        return {}
    table = read_table(folder, "baselines")
    table = table.assign(mean=table["accuracy"], name=table["baseline"].map(BASELINES))
    return {source: {row["name"]: mean_cell(row) for row in part.to_dict("records")}
            for source, part in table.groupby("source")}  # fmt: skip


def _baselines_alone(folder: Path) -> str:
    """As a table of their own, for a page without policies to hold against them."""
    rows = [{"source": f"`{source}`"} | cells for source, cells in _baselines(folder).items()]
    return markdown_table(list(rows[0]), [list(row.values()) for row in rows]) if rows else ""


def _reasons(folder: Path) -> str:
    """What training did to the reasons: the mean over seeds of each condition."""
    means = read_table(folder, "reasons").groupby(["world", "condition"])[list(REASONS)].mean()
    rows = [
        (f"`{world}`", condition_cell(condition), *("" if pd.isna(means.loc[(world, condition), name]) else
         f"{means.loc[(world, condition), name]:.3g}" for name in REASONS))
        for world in sorted(means.index.levels[0], reverse=True)
        for condition in ordered(means.loc[world].index)
    ]  # fmt: skip
    return markdown_table(("world", "condition", *REASONS.values()), rows)


def _hours(folder: Path) -> str:
    """How many runs, and how long they took together."""
    seconds = read_table(folder, "runs")["wall_seconds"].astype(float)
    return f"{len(seconds)} runs, {seconds.sum() / 3600:.1f} hours of runs"
