"""Cells and tables of the pages in docs/ that are made of the tables in figures/."""

from collections.abc import Iterable
from pathlib import Path

import pandas as pd
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from studylib.claims.plan import Plan
from studylib.claims.tables import read_table
from studylib.runs.read import WARM_START

NOT_ESTIMABLE = "not estimable"


def rendered(template: str, **names) -> str:
    """A template beside this file with its names filled in; a name that is missing is an error."""
    pages = Environment(trim_blocks=True, keep_trailing_newline=True, undefined=StrictUndefined,
                        loader=FileSystemLoader(Path(__file__).parent))  # fmt: skip
    return pages.get_template(template).render(**names)


def means_of(folder: Path, plan: Plan, endpoint: str) -> pd.DataFrame:
    """Means of an endpoint on the primary split."""
    return _on_primary_split(read_table(folder, "means"), plan, endpoint)


def claims_of(folder: Path, plan: Plan, endpoint: str) -> pd.DataFrame:
    """Claims about an endpoint on the primary split, planned or not."""
    return _on_primary_split(read_table(folder, "claims"), plan, endpoint)


def _on_primary_split(table: pd.DataFrame, plan: Plan, endpoint: str) -> pd.DataFrame:
    return table[(table["split"] == plan.primary_split) & (table["endpoint"] == endpoint)]


def mean_cell(row) -> str:
    """ "0.945 [0.906, 0.984]"; without an interval the mean alone."""
    if pd.isna(row["mean"]):
        return NOT_ESTIMABLE
    return f"{row['mean']:.3f}" + ("" if pd.isna(row["low"]) else f" [{row['low']:.3f}, {row['high']:.3f}]")


def difference_cell(row) -> str:
    """ "+0.191 [+0.157, +0.225]"."""
    if pd.isna(row["difference"]):
        return NOT_ESTIMABLE
    return f"{row['difference']:+.3f}" + ("" if pd.isna(row["low"]) else f" [{row['low']:+.3f}, {row['high']:+.3f}]")


def condition_cell(condition: str) -> str:
    """A condition by its name; the policy before training in words."""
    return "before training" if condition == WARM_START else f"`{condition}`"


def claim_cell(claim: dict | None) -> str:
    """Difference with its interval, and the decision; of no claim nothing."""
    return f"{difference_cell(claim)}: {claim['decision']}" if claim else ""


def counted(claims: pd.DataFrame) -> str:
    """ "11 *equivalent*, 1 *inconclusive*"."""
    return ", ".join(f"{count} *{decision}*" for decision, count in claims["decision"].value_counts().items())


def markdown_table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    head = list(head)
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (head, ["---"] * len(head), *rows))
