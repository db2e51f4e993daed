"""The tables of the comparison: what each condition reaches, and what may be claimed about their contrasts.

python -m studylib.claims.tables --axis inputs --profile tiny_cpu
"""

import argparse
from pathlib import Path

import pandas as pd

from studylib.claims.runs import ENDPOINTS, SPLITS, WARM_START, incomplete_runs, ordered, read_runs
from studylib.claims.statistics import holm, paired_contrast, t_interval
from studylib.claims.verdicts import MARGIN, verdict
from studylib.paths import FIGURES, RUNS

CELL = ["world", "split", "endpoint"]
BASELINES = {"inputs": "narrow", "objective": "grpo"}  # axis -> what its conditions are compared with
MEAN_COLUMNS = ["world", "condition", "split", "endpoint", "mean", "low", "high", "seeds"]
CLAIM_COLUMNS = [
    "world", "contrast", "split", "endpoint",
    "difference", "low", "high", "p_holm", "hedges_g", "bf10", "verdict",
]  # fmt: skip


def means(runs: pd.DataFrame) -> pd.DataFrame:
    """Mean over seeds with its 95 % t interval, per world x condition x split x endpoint.

    `warm_start` is the policy before training. All conditions of a seed start from it and measure it once each, so it
    enters as one value per seed: the mean over the conditions.
    """
    before = runs.groupby([*CELL, "seed"], as_index=False)["before"].mean()
    before = before.rename(columns={"before": "after"}).assign(condition=WARM_START)
    rows = []
    for key, cell in pd.concat([runs, before]).groupby([*CELL, "condition"]):
        mean, low, high = t_interval(cell["after"])
        rows.append({**_key(key, "condition"), "mean": mean, "low": low, "high": high, "seeds": len(cell)})
    return _reading_order(pd.DataFrame(rows), "condition")[MEAN_COLUMNS]


def claims(runs: pd.DataFrame, baseline: str = "narrow", margin: float = MARGIN) -> pd.DataFrame:
    """Contrasts paired by seed, per world x split x endpoint, with one verdict each.

    Two families per world x endpoint, over all its splits, each corrected by Holm on its own: conditions against the
    baseline, and conditions against their own warm start (is anything learned at all?).
    """
    rows = [row for key, cell in runs.groupby(CELL) for row in _contrasts(_key(key), cell, baseline)]
    table = pd.DataFrame(rows)
    table["p_holm"] = table.groupby(["world", "endpoint", "family"])["p"].transform(lambda p: holm(p))
    bounds = table[["low", "high", "low90", "high90", "p_holm"]].itertuples(index=False)
    table["verdict"] = [verdict(*values, margin=margin) for values in bounds]
    return _reading_order(table, "family", "condition")[CLAIM_COLUMNS]


def _contrasts(key: dict, cell: pd.DataFrame, baseline: str) -> list[dict]:
    """One cell of the study: every condition against the baseline and against its own warm start."""
    arms = {condition: arm.set_index("seed") for condition, arm in cell.groupby("condition")}
    if baseline not in arms:
        raise ValueError(f"{key['world']} has no runs of the baseline {baseline!r}, only of {', '.join(arms)}")
    rows = []
    for condition, arm in arms.items():
        against = {WARM_START: arm["before"]}
        if condition != baseline:
            against[baseline] = arms[baseline]["after"]
        for family, other in against.items():
            contrast = f"{condition} - {family}"
            try:
                numbers = paired_contrast(arm["after"], other)
            except ValueError as error:
                raise ValueError(f"{contrast} in {key['world']}, {key['split']}: {error}") from error
            rows.append({**key, "contrast": contrast, "family": family, "condition": condition, **numbers})
    return rows


def write_tables(
    root: Path | str, out_dir: Path | str, axis: str, profile: str, baseline: str = "", margin: float = MARGIN
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Writes means.csv and claims.csv in full precision and returns both tables. No baseline: that of the axis."""
    baseline = baseline or BASELINES.get(axis, "")
    runs = read_runs(root, axis=axis, profile=profile)
    tables = means(runs), claims(runs, baseline, margin)
    out_dir = Path(out_dir)
    out_dir.mkdir(parents=True, exist_ok=True)
    for name, table in zip(("means", "claims"), tables, strict=True):
        table.to_csv(out_dir / f"{name}.csv", index=False)
    return tables


def read_tables(out_dir: Path | str) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The two tables as `write_tables` wrote them; only an empty field is NaN, so a condition may be called "none"."""
    options = {"keep_default_na": False, "na_values": [""]}
    return tuple(pd.read_csv(Path(out_dir) / f"{name}.csv", **options) for name in ("means", "claims"))


def _key(values: tuple, *more: str) -> dict:
    return dict(zip([*CELL, *more], values, strict=True))


def _reading_order(table: pd.DataFrame, *names: str) -> pd.DataFrame:
    """Rows by split (primary first), world, endpoint, then by the condition-like columns `names`."""
    first = {"split": SPLITS, "endpoint": ENDPOINTS}
    columns = ["split", "world", "endpoint", *names]
    order = {c: ordered(table[c], first[c]) if c in first else ordered(table[c]) for c in columns}
    ranks = pd.DataFrame({c: table[c].map({name: rank for rank, name in enumerate(order[c])}) for c in columns})
    return table.loc[ranks.sort_values(columns).index].reset_index(drop=True)


def _rounded(table: pd.DataFrame) -> str:
    """Three decimals, for reading; a p value never shows as 0."""
    shown = table.select_dtypes("float").map(lambda x: "not estimable" if pd.isna(x) else f"{x:.3f}")
    if "p_holm" in table:
        shown["p_holm"] = shown["p_holm"].where(~(table["p_holm"] < 0.001), "< .001")
    return table.assign(**shown).to_string(index=False)


def main(arguments: list[str] | None = None) -> None:
    """Prints the tables of one axis, rounded, and where its figures lie."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--axis", required=True, help="face of diversity, such as inputs")
    parser.add_argument("--profile", default="tiny_cpu", help="profile of the runs (tiny_cpu)")
    parser.add_argument("--runs", type=Path, default=RUNS, help="folder of the run folders")
    parser.add_argument("--out", type=Path, help="folder of the tables and figures (figures/<axis>)")
    parser.add_argument("--baseline", default="", help="condition that the others are compared with (of the axis)")
    parser.add_argument("--margin", type=float, default=MARGIN, help=f"equivalence margin, accuracy ({MARGIN})")
    parser.add_argument("--remake", action="store_true", help="make the tables from the runs even if they are there")
    args = parser.parse_args(arguments)
    out = args.out or FIGURES / args.axis
    if not args.remake and all((out / f"{name}.csv").exists() for name in ("means", "claims")):
        print(f"read from {out} as they were written; --remake makes them from the runs again")
        tables = read_tables(out)
    else:
        tables = write_tables(args.runs, out, args.axis, args.profile, args.baseline, args.margin)
        print(f"made from {args.runs}, profile {args.profile}; incomplete runs: {len(incomplete_runs(args.runs))}")
    for title, table in zip(("Accuracy, mean over seeds, 95 % t interval", "Claims"), tables, strict=True):
        print(f"\n{title}\n{_rounded(table)}")
    print("\nFigures", *(sorted(out.glob("*.png")) or ["none yet"]), sep="\n")


if __name__ == "__main__":
    main()
