"""docs/landscape.md: could the study have seen an effect of diversity, and did its arms do what their names say?

Made as docs/results.md is, from the tables in figures/ alone; the text is in `landscape.md` beside this file.
"""

from pathlib import Path

import pandas as pd

from studylib.claims.markdown import (
    claim_cell,
    claims_of,
    difference_cell,
    markdown_table,
    mean_cell,
    means_of,
    rendered,
)
from studylib.claims.plan import Plan, read_plan
from studylib.claims.statistics import paired_contrast
from studylib.claims.tables import read_table
from studylib.paths import FIGURES, ROOT
from studylib.runs.read import WARM_START, ordered

PAGE = ROOT / "docs" / "landscape.md"
REASONS = ("faithful_sampled", "right_and_faithful_sampled", "unfaithful_given_correct")
UNCLIPPED = "_4_unclipped"  # end of the conditions with four updates and no clip
READERS = ("accuracy_sampled", "accuracy_lenient", "forced_choice")


def landscape_page(figures: Path = FIGURES) -> str:
    """The page as Markdown, of the tables in a folder such as figures/."""
    return rendered(
        "landscape.md", landscape=_landscape(figures / "landscape"), controls=_controls(figures / "controls"),
        reasons=_reasons(figures / "inputs"),
    )  # fmt: skip


# --- landscape -------------------------------------------------------------------------------------------------------


def _landscape(folder: Path) -> dict:
    plan = read_plan(folder.name)
    return {"plan": plan, "tables": {world: _world(folder, plan, world) for world in plan.worlds.split()}}


def _world(folder: Path, plan: Plan, world: str) -> str:
    """What each objective keeps in one landscape, its price in accuracy, and whether it did what its name promises."""
    kept, cost, covered = plan.primary_endpoint, "accuracy_sampled", "overton_coverage"
    shown, compared = (kept, cost, "faithful_sampled", covered, "pass_16"), (kept, cost, covered)
    means = {endpoint: _of(means_of(folder, plan, endpoint), world, "condition") for endpoint in shown}
    against = {endpoint: _of(claims_of(folder, plan, endpoint), world, "contrast") for endpoint in compared}
    checks = _of(read_table(folder, "manipulation"), world, "condition")
    rows = []
    for condition in ordered(means[kept]):
        claims = [against[endpoint].get(f"{condition} - {plan.baseline}") for endpoint in compared]
        rows.append((
            f"`{condition}`", *(mean_cell(means[endpoint][condition]) for endpoint in shown[:2]),
            *(claim_cell(claim) for claim in claims), *(f"{means[e][condition]['mean']:.3f}" for e in shown[2:]),
            checks[condition]["outcome"] if condition in checks else "",
        ))  # fmt: skip
    minus = (f"{what} minus {plan.baseline}" for what in ("kept", "accuracy", "covered"))
    head = ("objective", "stances kept, share", "accuracy", *minus, "faithful", "covered by 4 answers", "pass@16",
            "its promise")  # fmt: skip
    return markdown_table(head, rows)


# --- controls --------------------------------------------------------------------------------------------------------


def _controls(folder: Path) -> dict:
    """Empty as long as there are no tables of the study."""
    if not (folder / "claims.csv").is_file():
        return {}
    notes = read_table(folder, "notes")["note"]
    return {
        "plan": read_plan(folder.name), "table": controls_table(folder), "clip": _clip(folder),
        "lost": [note for note in notes if "lost the form" in note or "lost its answers" in note],
    }  # fmt: skip


def controls_table(folder: Path) -> str:
    """What each reward teaches, by the strict and the lenient reader, against no training and above a random reward."""
    plan = read_plan(folder.name)
    means = {endpoint: _by(means_of(folder, plan, endpoint), "condition") for endpoint in READERS}
    strict, lenient = (_by(claims_of(folder, plan, endpoint), "contrast") for endpoint in READERS[:2])
    rows = []
    for condition in ordered(means[READERS[0]]):
        claims = [claims.get(f"{condition} - {plan.baseline}") for claims in (strict, lenient)]
        above = strict.get(f"{condition} - {plan.control}")
        cells = (mean_cell(means[endpoint][condition]) for endpoint in READERS)
        rows.append((f"`{condition}`", *cells, *map(claim_cell, claims), claim_cell(above)))
    minus = (f"{reader} minus {plan.baseline}" for reader in ("strict", "lenient"))
    head = ("reward and updates", "accuracy, strict", "accuracy, lenient", "forced choice", *minus,
            f"strict above {plan.control}")  # fmt: skip
    return markdown_table(head, rows)


def _clip(folder: Path) -> str:
    """What four updates on a batch change, and what the clip changes of that, paired by seed."""
    plan, runs = read_plan(folder.name), read_table(folder, "accuracy")
    runs = runs[(runs["split"] == plan.primary_split) & (runs["endpoint"] == plan.primary_endpoint)]
    after = {name: part.set_index("seed")["after"] for name, part in runs.groupby("condition")}
    rewards = [name.removesuffix(UNCLIPPED) for name in ordered(after) if name.endswith(UNCLIPPED)]

    def cell(treatment: str, baseline: str) -> str:
        return difference_cell(paired_contrast(after[treatment], after[baseline], plan.alpha, plan.margin, False))

    rows = [(f"`{name}`", cell(f"{name}_4", f"{name}_1"), cell(f"{name}{UNCLIPPED}", f"{name}_4")) for name in rewards]
    return markdown_table(("reward", "four updates minus one", "without the clip minus with it"), rows)


# --- reasons ---------------------------------------------------------------------------------------------------------


def _reasons(folder: Path) -> dict:
    """Right answers and their reasons in the study of inputs."""
    plan, rows = read_plan(folder.name), []
    means = {endpoint: means_of(folder, plan, endpoint) for endpoint in (plan.primary_endpoint, *REASONS)}
    for world in sorted(plan.worlds.split(), reverse=True):
        of_world = [_of(means[endpoint], world, "condition") for endpoint in means]
        for condition in ordered(of_world[0]):
            rows.append((f"`{world}`", f"`{condition}`", *(mean_cell(part[condition]) for part in of_world)))
    conditions = ordered(set(means[plan.primary_endpoint]["condition"]) - {WARM_START})
    contrast = f"{conditions[-1]} - {conditions[0]}"
    claims = [
        (f"`{world}`", endpoint.replace("_", " "), claim_cell(_of(against, world, "contrast")[contrast]))
        for world in sorted(plan.worlds.split(), reverse=True)
        for endpoint, against in ((name, claims_of(folder, plan, name)) for name in means)
    ]
    head = ("world", "condition", "right", "faithful", "right and faithful", "unfaithful, of the right ones")
    return {
        "table": markdown_table(head, rows), "contrast": contrast,
        "claims": markdown_table(("world", "endpoint", contrast), claims),
    }  # fmt: skip


# --- parts -----------------------------------------------------------------------------------------------------------


def _of(table: pd.DataFrame, world: str, key: str) -> dict[str, dict]:
    return _by(table[table["world"] == world], key)


def _by(table: pd.DataFrame, key: str) -> dict[str, dict]:
    return {row[key]: row for row in table.to_dict("records")}
