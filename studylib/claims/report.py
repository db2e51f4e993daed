"""One self-contained page of a study: question, plan, claims, figures, runs. It opens without a network.

`python -m studylib report --axis inputs` writes figures/inputs/report.html. The page reads only what the comparison
wrote beside the figures, so that it can be made from a fresh copy of the repository, where there are no runs to execute
a notebook on. What is missing there is left out, or the page says that it is missing. `published.csv` (any columns), if
it lies there, becomes a section of its own.
"""

import base64
import dataclasses
import os
from pathlib import Path

import pandas as pd
from jinja2 import Environment, FileSystemLoader

from studylib.axes import read_axis
from studylib.claims import plan as plans
from studylib.claims.decisions import sentence
from studylib.claims.items import iqm_warning
from studylib.claims.plan import Plan
from studylib.claims.tables import (
    beside_primary,
    checks,
    misses,
    plans_of,
    primary,
    read_table,
    read_tables,
    readable,
    rounded,
)
from studylib.paths import FIGURES

TEMPLATE = "report.html"  # beside this file
CAPTIONS = {  # of the figures, by file
    "accuracy": "Every seed and the mean with its 95 % t interval over seeds.",
    "contrasts": "Differences paired by seed with their intervals, the equivalence margin in grey, and the decisions.",
    "curves": "Training reward: every seed thin, the mean thick, nothing smoothed.",
    "held_out": "A few held-out scenarios during training: every seed thin, the mean thick, nothing smoothed.",
    "seeds": "Every seed, its mean with a 95 % t interval, from five on a density; rank in every seed (1 is best).",
    "detectable": "Differences that these seeds detect with 80 % power; bars: the 95 % interval of the seeds' spread.",
    "seed_sets": "The contrast again in sets of seeds that the study never used, each analysed on its own.",
    "pareto": "Quality against diversity of the right answers: seeds faint, means strong, and their front.",
    "measured": "Every run against how diverse its training set is; slope and 95 % interval over conditions.",
}
TITLES = {  # of the further tables, by file
    "fairness": "What every condition was given in training",
    "power": "Power: what these seeds can tell",
    "items": "Item level: answers clustered by run and scenario, mixed model as a check",
    "iqm": "Interquartile mean over runs and tasks, stratified bootstrap",
    "inputs_regression": "Accuracy against the measured diversity of the training set, per standard deviation",
    "groups": "Fit of each condition to what each group of raters said",
    "published": "Published numbers",
}


def report(folder: Path, plan: Plan, validation: Path | None = None) -> str:
    """The page as text; folder: figures/<axis>, with at least means.csv and claims.csv.

    Refuses claims of another plan: their decisions and status would stand beside the margin of this one.
    """
    means, claims = read_tables(folder)
    if plans_of(claims) != plan.digest:
        raise ValueError(
            f"the claims in {folder} were made under {plans_of(claims)}, not under {plan.digest}, the plan of now: "
            f"make them again, with python -m studylib compare --axis {plan.axis} --remake"
        )
    planned = primary(claims, plan)
    departures, remarks = _notes(folder)
    pages = Environment(autoescape=True, trim_blocks=True, loader=FileSystemLoader(Path(__file__).parent))
    return pages.get_template(TEMPLATE).render(
        plan=plan, cells=_cells, status=_status(claims, departures), departures=departures, remarks=remarks,
        sentences=_sentences(planned, plan),
        beside={name: _sentences(claims, plan) for name, claims in beside_primary(claims, plan).items()},
        claims=readable(planned, plan), all_claims=rounded(claims), means=rounded(means),
        plan_table=pd.DataFrame(dataclasses.asdict(plan).items(), columns=["of the plan", "value"]),
        figures=[(name, caption, _picture(folder / f"{name}.png")) for name, caption in CAPTIONS.items()
                 if (folder / f"{name}.png").is_file()],
        tables=list(_tables(folder)), validation=_validation(validation),
        runs=rounded(read_table(folder, "runs"), "") if (folder / "runs.csv").is_file() else None,
    )  # fmt: skip


def _sentences(claims: pd.DataFrame, plan: Plan) -> list[str]:
    return [sentence(row, plan.margin, plan.alpha_per_look) for row in claims.to_dict("records")]


def _notes(folder: Path) -> tuple[list[str], list[str]]:
    """Departures from the plan, and other remarks; older notes did not tell them apart and were all departures."""
    if not (folder / "notes.csv").is_file():
        return [], []
    notes = read_table(folder, "notes")
    departed = notes.get("departure", pd.Series(True, notes.index)).astype(bool)
    return tuple(list(notes.loc[which, "note"]) for which in (departed, ~departed))


def _status(claims: pd.DataFrame, departures: list[str]) -> str:
    count = int((claims["status"] == "confirmatory").sum())
    if count:
        return f"{count} claims are confirmatory, as planned; the other {len(claims) - count} are exploratory."
    return f"All claims are exploratory{', because the study left its plan:' if departures else '.'}"


def _tables(folder: Path):
    """(title, warning, table) of every further table that is there and has rows."""
    for name, title in TITLES.items():
        if (folder / f"{name}.csv").is_file() and len(table := read_table(folder, name)):
            yield title, iqm_warning(table) if name == "iqm" else "", rounded(table, "")


def _validation(path: Path | None) -> dict | None:
    """Numbers of checks and of misses, and the table; None where there is no file."""
    if path is None or not path.is_file():
        return None
    table = pd.read_csv(path)
    return {"checked": len(checks(table)), "missed": len(misses(table)), "table": rounded(table, "")}


def _cells(table: pd.DataFrame) -> list[list[tuple[str, object]]]:
    """Rows of (column, value); what is missing is empty. The template escapes both."""
    filled = table.astype(object).where(table.notna(), "")
    return [list(zip(table.columns, row, strict=True)) for row in filled.itertuples(index=False, name=None)]


def _picture(path: Path) -> str:
    return base64.b64encode(path.read_bytes()).decode("ascii")


def write_report(axis: str, folder: Path | None = None, validation: Path = FIGURES / "validate.csv") -> Path:
    """Writes report.html into the folder of the axis' figures, whole or not at all."""
    read_axis(axis)  # an axis that nobody knows is refused as such
    folder = folder or FIGURES / axis
    missing = [name for name in ("means", "claims") if not (folder / f"{name}.csv").is_file()]
    if missing:
        raise ValueError(f"no {missing[0]}.csv in {folder}: compare the runs first, with make study AXIS={axis}")
    path = folder / "report.html"
    scratch = path.with_suffix(".tmp")
    scratch.write_text(report(folder, plans.read_plan(axis), validation), encoding="utf-8")
    os.replace(scratch, path)
    return path
