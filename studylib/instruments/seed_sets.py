"""Fresh seed sets: the same contrast again with seeds that the study never used, as many small studies.

`make seed-sets` writes figures/inputs/seed_sets.{csv,png,pdf} and seed_sets_runs.csv.

The runs are `narrow` and `broad` in universal_norms, where diversity cannot matter. Each set of the plan's number of
seeds is claimed as a study of its own, by the code of the comparison. With one contrast instead of the study's two the
Holm correction is milder, so a false "different" is likelier here than there.
"""

from pathlib import Path

import pandas as pd
from matplotlib.axes import Axes

from studylib.claims import tables
from studylib.claims.plan import Plan, read_plan
from studylib.claims.plots import forest, forest_height, label, legend_below, new_axes, save
from studylib.evaluation.table import read_runs
from studylib.paths import FIGURES, ROOT
from studylib.runs.keys import require_keys


def in_sets(runs: pd.DataFrame, seeds: int) -> pd.DataFrame:
    """`runs` with a column `set`, 1, 2, ...: so many seeds each, in their order; refuses seeds that fill no set."""
    require_keys(runs, "seed")
    order = {seed: i for i, seed in enumerate(sorted(runs["seed"].unique()))}
    if len(order) % seeds:
        raise ValueError(f"{len(order)} seeds make no sets of {seeds}")
    return runs.assign(set=runs["seed"].map(order) // seeds + 1)


def set_claims(runs: pd.DataFrame, plan: Plan) -> pd.DataFrame:
    """One row per set: world, set, seeds ("5..9"), and the planned claim of that set alone."""
    rows = []
    for number, part in in_sets(runs, plan.seeds).groupby("set"):
        claims = tables.primary(tables.claims(part.drop(columns="set"), plan, departed=True, decisions_only=True), plan)
        seeds = f"{part['seed'].min()}..{part['seed'].max()}"
        rows.append(
            claims.drop(columns=["status", "hedges_g", "bf10"], errors="ignore").assign(set=number, seeds=seeds)
        )
    first = ["world", "set", "seeds"]
    table = pd.concat(rows, ignore_index=True)
    return table[[*first, *table.columns.drop(first)]]


def plot_sets(df: pd.DataFrame, margin: float, ax: Axes | None = None) -> Axes:
    """One row per set: difference, 95 % interval (thin), 90 % interval of the equivalence test (thick), decision."""
    ax = new_axes(ax, (7, forest_height(len(df))))
    forest(ax, df, margin)
    ax.set_yticks(range(len(df)), [f"seeds {row.seeds}" for row in df.itertuples()])
    ax.locator_params(axis="x", nbins=6)
    contrast = df["contrast"].iloc[0]
    label(ax, df["world"].iloc[0], f"{contrast}, difference in accuracy\n95 % (thin) and 90 % (thick) t intervals", "")
    return legend_below(ax, 2, 0.75)


def write_seed_sets(runs: Path = ROOT / "runs_seed_sets", out: Path = FIGURES / "inputs") -> pd.DataFrame:
    """Writes seed_sets (csv, png, pdf) and seed_sets_runs.csv of the run folders below `runs`; returns the claims."""
    plan, results = read_plan("inputs"), read_runs(runs, axis="inputs", profile="tiny_cpu")
    claims = set_claims(results, plan)
    save(plot_sets(claims, plan.margin).figure, "seed_sets", out, claims)
    results.to_csv(out / "seed_sets_runs.csv", index=False)
    return claims


def in_words(claims: pd.DataFrame) -> str:
    """The claim of every set of fresh seeds, and how often each decision came."""
    columns = ["seeds", "contrast", "difference", "low", "high", "p_holm", "decision"]
    return f"{tables.rounded(claims[columns]).to_string(index=False)}\n{claims['decision'].value_counts().to_string()}"
