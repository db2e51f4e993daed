"""One self-contained page of a study: question, plan, claims, figures, runs. It opens without a network.

python -m studylib.claims.report --axis inputs -> figures/inputs/report.html

It reads only what the comparison wrote beside the figures, so it can be made from a fresh copy of the repository; what
is not there is said to be missing. `published.csv` (any columns), if it lies there, becomes a section of its own.
"""

import argparse
import base64
import dataclasses
import os
from pathlib import Path

import pandas as pd
from jinja2 import Environment

from studylib.claims import plan as plans
from studylib.claims.decisions import sentence
from studylib.claims.items import iqm_warning
from studylib.claims.plan import Plan
from studylib.claims.tables import checks, misses, plans_of, primary, read_table, read_tables, readable, rounded
from studylib.paths import FIGURES

FIGURES_SHOWN = {  # file -> caption
    "accuracy": "Every seed and the mean with its 95 % t interval over seeds.",
    "contrasts": "Differences paired by seed with their intervals, the equivalence margin in grey, and the decisions.",
    "curves": "Training reward: every seed thin, the mean thick, nothing smoothed.",
    "seeds": "Every seed, its mean with a 95 % t interval, from five on a density; rank in every seed (1 is best).",
    "detectable": "What so many seeds find with 80 % power; the bar is what the uncertain spread leaves.",
    "seed_sets": "The contrast again in sets of seeds that the study never used, each claimed alone.",
    "pareto": "Quality against diversity of the right answers: seeds faint, means strong, and their front.",
}
TABLES_SHOWN = {  # file -> title
    "fairness": "What every condition was given in training",
    "power": "Power: what these seeds can tell",
    "items": "Item level: answers clustered by run and scenario, mixed model as a check",
    "iqm": "Interquartile mean over runs and tasks, stratified bootstrap",
    "published": "Published numbers",
}
TEMPLATE = """<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><title>{{ plan.axis }}: claims</title><style>
body { font: 16px/1.5 system-ui, sans-serif; max-width: 72rem; margin: 2rem auto; padding: 0 1rem; color: #111; }
h2 { border-bottom: 1px solid #999; margin-top: 2.5rem; } img { max-width: 100%; }
figure { margin: 1.5rem 0; } figcaption { color: #444; } div.wide { overflow-x: auto; }
table { border-collapse: collapse; font-size: 0.85rem; } th { border-bottom: 2px solid #444; }
td, th { padding: 0.2rem 0.6rem; text-align: left; vertical-align: top; }
tbody tr:nth-child(even) { background: #f2f2f2; }
p.status { border-left: 0.4rem solid #444; padding-left: 0.8rem; }
</style></head><body>
<h1>{{ plan.question }}</h1>
<p>Axis {{ plan.axis }}, analysis plan {{ plan.digest }}.</p>
<h2>Claims</h2>
<p class="status">{{ status }}</p>
{% if departures %}<ul>{% for note in departures %}<li>{{ note }}</li>{% endfor %}</ul>{% endif %}
{% for note in remarks %}<p>{{ note }}</p>{% endfor %}
<ul>{% for line in sentences %}<li>{{ line }}</li>{% endfor %}</ul>
<p>The same in numbers: {{ plan.primary_endpoint }} on {{ plan.primary_split }}; in brackets after the p of the
sign-flip permutation the smallest that so many seeds can give.</p>
<div class="wide">{{ html(claims) }}</div>
<details><summary>All claims: every split, endpoint and statistic</summary>
<div class="wide">{{ html(all_claims) }}</div></details>
<h2>Plan</h2>
<div class="wide">{{ html(plan_table) }}</div>
<h2>Figures</h2>
{% for name, caption, data in figures %}<figure><img alt="{{ caption }}" src="data:image/png;base64,{{ data }}">
<figcaption>{{ caption }} Source: {{ name }}.csv.</figcaption></figure>
{% else %}<p>There are no figures yet.</p>{% endfor %}
<h2>Means</h2>
<div class="wide">{{ html(means) }}</div>
{% for title, warning, table in tables %}<h2>{{ title }}</h2>
{% if warning %}<p class="status">{{ warning }}</p>{% endif %}
<div class="wide">{{ html(table) }}</div>{% endfor %}
{% if validation is not none %}<h2>Do these statistics err as often as they say?</h2>
<p>Simulated studies of known truth: {{ checked }} checks, {{ missed }} outside their target; rows without a target
are reported as they are.</p>
<details><summary>All checks</summary><div class="wide">{{ html(validation) }}</div></details>{% endif %}
<h2>Runs</h2>
{% if runs is none %}<p>No table of runs lies beside the figures.</p>
{% else %}<div class="wide">{{ html(runs) }}</div>{% endif %}
</body></html>
"""


def report(folder: Path, plan: Plan, validation: Path | None = None) -> str:
    """The page as text; folder: figures/<axis>, with at least means.csv and claims.csv.

    Refuses claims of another plan: their decisions and status would be shown beside the margin of this one.
    """
    means, claims = read_tables(folder)
    if plans_of(claims) != plan.digest:
        raise ValueError(
            f"the claims in {folder} were made under {plans_of(claims)}, not under {plan.digest}, the plan of now: "
            f"make them again, with python -m studylib.claims.tables --axis {plan.axis} --remake"
        )
    shown = primary(claims, plan)
    validated = pd.read_csv(validation) if validation and validation.is_file() else None
    found = {name: read_table(folder, name) for name in TABLES_SHOWN if (folder / f"{name}.csv").is_file()}
    notes = read_table(folder, "notes") if (folder / "notes.csv").is_file() else pd.DataFrame({"note": []})
    departed = notes.get("departure", pd.Series(True, notes.index)).astype(bool)  # older notes were all departures
    departures, remarks = (list(notes.loc[which, "note"]) for which in (departed, ~departed))
    page = Environment(autoescape=True, trim_blocks=True).from_string(TEMPLATE)
    return page.render(
        plan=plan, html=_html, status=_status(claims, departures), departures=departures, remarks=remarks,
        sentences=[sentence(row, plan.margin, plan.alpha_per_look) for row in shown.to_dict("records")],
        claims=readable(shown, plan), all_claims=rounded(claims),
        plan_table=pd.DataFrame(dataclasses.asdict(plan).items(), columns=["of the plan", "value"]),
        figures=[(name, caption, _picture(folder / f"{name}.png")) for name, caption in FIGURES_SHOWN.items()
                 if (folder / f"{name}.png").is_file()],
        means=rounded(means), tables=[
            (TABLES_SHOWN[name], iqm_warning(table) if name == "iqm" else "", rounded(table, ""))
            for name, table in found.items() if len(table)
        ],
        validation=None if validated is None else rounded(validated, ""),
        checked=0 if validated is None else len(checks(validated)),
        missed=0 if validated is None else len(misses(validated)),
        runs=rounded(read_table(folder, "runs"), "") if (folder / "runs.csv").is_file() else None,
    )  # fmt: skip


def _status(claims: pd.DataFrame, departures: list[str]) -> str:
    count = int((claims["status"] == "confirmatory").sum())
    if count:
        return f"{count} claims are confirmatory, as planned; the other {len(claims) - count} are exploratory."
    return f"All claims are exploratory{', because the study left its plan:' if departures else '.'}"


def _html(table: pd.DataFrame):
    """A table as HTML; names and texts are escaped."""
    from markupsafe import Markup

    return Markup(table.to_html(index=False, border=0, na_rep="", escape=True))


def _picture(path: Path) -> str:
    return base64.b64encode(path.read_bytes()).decode("ascii")


def write_report(axis: str, folder: Path | None = None, validation: Path = FIGURES / "validate.csv") -> Path:
    """Writes report.html into the folder of the axis' figures, whole or not at all."""
    folder = folder or FIGURES / axis
    missing = [name for name in ("means", "claims") if not (folder / f"{name}.csv").is_file()]
    if missing:
        raise ValueError(f"no {missing[0]}.csv in {folder}: compare the runs first, with make study AXIS={axis}")
    path = folder / "report.html"
    scratch = path.with_suffix(".tmp")
    scratch.write_text(report(folder, plans.read_plan(axis), validation), encoding="utf-8")
    os.replace(scratch, path)
    return path


def main(arguments: list[str] | None = None) -> None:
    """Writes the report of one axis and says where it is."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--axis", required=True, help="face of diversity, such as inputs")
    parser.add_argument("--out", type=Path, help="folder of the tables and figures (figures/<axis>)")
    args = parser.parse_args(arguments)
    print(write_report(args.axis, args.out))


if __name__ == "__main__":
    main()
