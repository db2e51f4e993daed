"""Fresh seed sets: the same contrast again with seeds that the study never used, as many small studies.

python -m studylib.instruments.seed_sets -> figures/inputs/seed_sets.{csv,png,pdf}, seed_sets_runs.csv (make seed-sets)

The runs are `narrow` and `broad` in universal_norms, where diversity cannot matter. Each set of the plan's number of
seeds is claimed as a study of its own, by the code of the comparison. With one contrast instead of the study's two the
Holm correction is milder, so a false "different" is likelier here than there.
"""

import argparse
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
        found = tables.primary(tables.claims(part.drop(columns="set"), plan, departed=True, verdicts_only=True), plan)
        seeds = f"{part['seed'].min()}..{part['seed'].max()}"
        rows.append(found.drop(columns=["status", "hedges_g", "bf10"], errors="ignore").assign(set=number, seeds=seeds))
    first = ["world", "set", "seeds"]
    table = pd.concat(rows, ignore_index=True)
    return table[[*first, *table.columns.drop(first)]]


def plot_sets(df: pd.DataFrame, margin: float, ax: Axes | None = None) -> Axes:
    """One row per set: its difference, 95 % interval (thin), 90 % interval of the equivalence test (thick), verdict."""
    ax = new_axes(ax, (7, forest_height(len(df))))
    forest(ax, df, margin)
    ax.set_yticks(range(len(df)), [f"seeds {row.seeds}" for row in df.itertuples()])
    ax.locator_params(axis="x", nbins=6)
    contrast = df["contrast"].iloc[0]
    label(ax, df["world"].iloc[0], f"{contrast}, difference in accuracy\n95 % (thin) and 90 % (thick) t intervals", "")
    return legend_below(ax, 2, 0.75)


def main(arguments: list[str] | None = None) -> None:
    """Prints the claim of every set of fresh seeds and how often each verdict came."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--runs", type=Path, default=ROOT / "runs_seed_sets", help="folder of the run folders")
    parser.add_argument("--out", type=Path, default=FIGURES / "inputs", help="folder of the tables and the figure")
    args = parser.parse_args(arguments)
    plan, runs = read_plan("inputs"), read_runs(args.runs, axis="inputs", profile="tiny_cpu")
    found = set_claims(runs, plan)
    save(plot_sets(found, plan.margin).figure, "seed_sets", args.out, found)
    runs.to_csv(args.out / "seed_sets_runs.csv", index=False)
    shown = ["seeds", "contrast", "difference", "low", "high", "p_holm", "verdict"]
    print(tables.rounded(found[shown]).to_string(index=False))
    print(found["verdict"].value_counts().to_string())


if __name__ == "__main__":
    main()
