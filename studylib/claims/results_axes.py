"""What came out of an axis, on its own page: the parts between two marks are made of the tables in figures/.

    <!-- results: AXIS -->   ...   <!-- end of results -->

Text around the marks is written by hand, so a page keeps question, design and results of its axis together.
"""

import re
from pathlib import Path

import pandas as pd

from studylib.claims.markdown import (
    claim_cell,
    claims_of,
    condition_cell,
    difference_cell,
    markdown_table,
    mean_cell,
    means_of,
)
from studylib.claims.plan import Plan, read_plan
from studylib.claims.tables import read_table
from studylib.paths import FIGURES, ROOT
from studylib.runs.read import WARM_START, ordered

PAGES = ROOT / "docs"
MARKED = re.compile(r"(<!-- results: (\w+) -->\n).*?(<!-- end of results -->)", re.DOTALL)
SECONDARY = 2  # endpoints beside the primary one whose means are shown
NOT_RUN = "Not run yet: `python -m studylib study --axis {}`."


def filled_pages(figures: Path = FIGURES) -> dict[Path, str]:
    """Page -> its text with every marked part made anew, of the pages that have such parts."""
    texts = {path: path.read_text(encoding="utf-8") for path in sorted(PAGES.glob("*.md"))}
    return {path: filled(text, figures) for path, text in texts.items() if MARKED.search(text)}


def filled(text: str, figures: Path) -> str:
    """A page with every marked part made of the tables in a folder such as figures/."""
    return MARKED.sub(lambda part: f"{part[1]}{section(part[2], figures)}\n{part[3]}", text)


def section(axis: str, figures: Path) -> str:
    """Means, planned differences and decisions of a study, what its conditions did, and its figure."""
    folder = figures / axis
    if not (folder / "claims.csv").is_file():
        return NOT_RUN.format(axis)
    plan = read_plan(axis)
    parts = [_runs(folder), *(_of_world(folder, plan, world) for world in sorted(plan.worlds.split(), reverse=True))]
    parts += [make(folder, plan) for name, make in MORE.items() if (folder / f"{name}.csv").is_file()]
    return "\n\n".join([*parts, f"![Differences of the axis {axis}](../figures/{axis}/contrasts.png)"])


def _runs(folder: Path) -> str:
    runs = read_table(folder, "runs")
    hours = runs["wall_seconds"].astype(float).sum() / 3600
    commits = ", ".join(f"`{commit}`" for commit in sorted(set(runs["commit"].dropna())))
    seeds = runs["seed"].nunique()
    return f"{len(runs)} runs, {seeds} seeds, {hours:.1f} hours of runs, commit {commits}; [95 % t intervals]."


def _of_world(folder: Path, plan: Plan, world: str) -> str:
    """A line for each condition of a world: its means, and what it is held against."""
    shown = (plan.primary_endpoint, *plan.secondary.split()[:SECONDARY])
    means = {endpoint: _by_condition(means_of(folder, plan, endpoint), world) for endpoint in shown}
    claims = _by_condition(claims_of(folder, plan, plan.primary_endpoint), world, "contrast")
    rows = []
    for name in [WARM_START, *(name for name in ordered(means[plan.primary_endpoint]) if name != WARM_START)]:
        cells = [mean_cell(means[endpoint][name]) if name in means[endpoint] else "" for endpoint in shown]
        against = [claim_cell(claims.get(f"{name} - {other}")) for other in plan.held_against]
        rows.append((condition_cell(name), *cells, *against))
    head = (f"`{world}`", *(f"`{endpoint}`" for endpoint in shown), *(f"minus `{name}`" for name in plan.held_against))
    return markdown_table(head, rows)


def _by_condition(table: pd.DataFrame, world: str, key: str = "condition") -> dict[str, dict]:
    return {row[key]: row for row in table[table["world"] == world].to_dict("records")}


# --- tables that some studies have -----------------------------------------------------------------------------------


def _groups(folder: Path, plan: Plan) -> str:
    """The fit to each group of raters."""
    table = read_table(folder, "groups").assign(group=lambda table: table["group"].fillna("").replace("", "everybody"))
    table["mean"] = table["fit"]
    groups = list(dict.fromkeys(table["group"]))
    rows = []
    for (world, condition), part in table.groupby(["world", "condition"], sort=False):
        cells = {row["group"]: mean_cell(row) for row in part.to_dict("records")}
        rows.append((f"`{world}`", f"`{condition}`", *(cells.get(group, "") for group in groups)))
    return f"Fit to each group of raters, after training:\n\n{markdown_table(('world', 'condition', *groups), rows)}"


def _interactions(folder: Path, plan: Plan) -> str:
    """Main effects and interactions of crossed factors."""
    table = read_table(folder, "interactions")
    table = table[table["endpoint"] == plan.primary_endpoint]
    rows = [(row["effect"], difference_cell(row), f"{row['p_holm']:.3f}") for row in table.to_dict("records")]
    head = ("effect (`x`: difference of differences)", "difference", "p (Holm)")
    return f"Effects on `{plan.primary_endpoint}`:\n\n{markdown_table(head, rows)}"


def _plain(words: str, columns: dict[str, str], name: str):
    """A table as it is, its numbers rounded, means over seeds per world and condition."""

    def make(folder: Path, plan: Plan) -> str:
        table = read_table(folder, name).groupby(["world", "condition"], sort=False)[list(columns)].mean()
        rows = [(f"`{world}`", f"`{condition}`", *(f"{value:.4g}" for value in row))
                for (world, condition), row in zip(table.index, table.to_numpy(), strict=True)]  # fmt: skip
        return f"{words}:\n\n{markdown_table(('world', 'condition', *columns.values()), rows)}"

    return make


MORE = {  # table in the folder of an axis -> the part that shows it
    "groups": _groups,
    "interactions": _interactions,
    "messages": _plain("What training told, and how often answers turned on the message", {
        "messages": "messages", "outlooks": "outlooks", "told_right": "share told rightly",
        "moved_before": "moved, before", "moved_after": "moved, after",
    }, "messages"),
    "traces": _plain("What was trained on before rewards, and what it took", {
        "roles_per_trace": "roles in a trace", "right": "share of traces that are right",
        "supervised_tokens": "tokens trained on", "tokens_for_traces": "generated for traces",
        "tokens_for_rewards": "generated for rewards",
    }, "traces"),
}  # fmt: skip
