"""The tables of the comparison: what each condition reaches, and what may be claimed about their contrasts.

python -m studylib.claims.tables --axis inputs --profile tiny_cpu
"""

import argparse
from pathlib import Path

import pandas as pd

from studylib.claims import plan as plans
from studylib.claims.plan import Plan
from studylib.claims.runs import (
    ENDPOINTS,
    SPLITS,
    WARM_START,
    complete_runs,
    incomplete_runs,
    ordered,
    read_json,
    read_provenance,
    read_runs,
)
from studylib.claims.statistics import DETAILS, WELCH, holm, paired_contrast, t_interval
from studylib.claims.verdicts import sentence, verdict
from studylib.paths import FIGURES, RUNS
from studylib.rewards.idle import identical_conditions

CELL = ["world", "split", "endpoint"]
UNPLANNED = "unplanned"  # family of conditions against the baseline that the plan does not name
MEAN_COLUMNS = ["world", "condition", "split", "endpoint", "mean", "low", "high", "seeds"]
SHOWN = ["world", "contrast", "split", "endpoint", "difference", "low", "high", "p_holm", "hedges_g", "bf10", "verdict"]
MORE = ["status", "plan", "n", "p", "low90", "high90", "p_tost", *DETAILS, *WELCH]
CLAIM_COLUMNS = [*SHOWN, *(name for name in MORE if name not in SHOWN)]


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


def claims(runs: pd.DataFrame, plan: Plan, departed: bool = False, verdicts_only: bool = False) -> pd.DataFrame:
    """Contrasts paired by seed, per world x split x endpoint, with one verdict each.

    Conditions against the plan's baseline, and conditions against their own warm start (is anything learned at all?).
    Each of the two is a family of its own in every group of the plan's `family`, corrected by Holm. Intervals, p and
    verdict are at the plan's alpha per look. status is confirmatory for planned contrasts of a study that kept to its
    plan, else exploratory. verdicts_only: contrasts with the baseline alone, and of them only what the verdict needs.
    """
    cells = runs.groupby(CELL)
    table = pd.DataFrame([row for key, cell in cells for row in _contrasts(_key(key), cell, plan, verdicts_only)])
    table["p_holm"] = table.groupby([*plan.family.split(), "family"])["p"].transform(lambda p: holm(p))
    bounds = table[["low", "high", "low90", "high90", "p_holm"]].itertuples(index=False)
    table["verdict"] = [verdict(*values, plan.margin, plan.alpha_per_look) for values in bounds]
    planned = pd.Series([plan.is_planned(*key) for key in table[CELL].itertuples(index=False)], index=table.index)
    planned &= table["family"] == plan.baseline
    table["status"] = (planned & (not departed)).map({True: "confirmatory", False: "exploratory"})
    table["plan"] = plan.digest
    columns = [name for name in CLAIM_COLUMNS if name in table]
    return _reading_order(table, "family", "condition")[columns]


def _contrasts(key: dict, cell: pd.DataFrame, plan: Plan, verdicts_only: bool) -> list[dict]:
    """One cell of the study: every condition against the baseline and against its own warm start."""
    by_condition = cell.set_index("seed").groupby("condition")
    arms = {phase: dict(list(by_condition[phase])) for phase in ("before", "after")}
    if plan.baseline not in arms["after"]:
        found = ", ".join(arms["after"])
        raise ValueError(f"{key['world']} has no runs of the baseline {plan.baseline!r}, only of {found}")
    rows = []
    for condition, after in arms["after"].items():
        against = {} if verdicts_only else {WARM_START: (WARM_START, arms["before"][condition])}
        if condition != plan.baseline:
            family = plan.baseline if plan.plans(condition) else UNPLANNED
            against[plan.baseline] = (family, arms["after"][plan.baseline])
        for name, (family, other) in against.items():
            contrast = f"{condition} - {name}"
            try:
                numbers = paired_contrast(after, other, plan.alpha_per_look, plan.margin, not verdicts_only)
            except ValueError as error:
                raise ValueError(f"{contrast} in {key['world']}, {key['split']}: {error}") from error
            rows.append({**key, "contrast": contrast, "family": family, "condition": condition, **numbers})
    return rows


def primary(claims: pd.DataFrame, plan: Plan) -> pd.DataFrame:
    """The contrasts with the baseline on the primary endpoint and split, in every world."""
    wanted = (claims["split"] == plan.primary_split) & (claims["endpoint"] == plan.primary_endpoint)
    return claims[wanted & claims["contrast"].str.endswith(f" - {plan.baseline}")]


def notes(plan: Plan, planned: bool, root: Path | str, axis: str, profile: str) -> tuple[pd.DataFrame, list[str]]:
    """Provenance of the runs, and how the study left its plan, one sentence each.

    The first comparison under the plan of the file stores it beside the runs.
    """
    made = read_provenance(root, axis=axis, profile=profile)
    first = plans.first_plan(Path(root) / axis / profile, plan, planned)
    return made, plans.departures(plan, made, first)


def refuse_identical(root: Path | str, axis: str, profile: str) -> None:
    """Raise ValueError when two conditions differ in their rewards by name alone: their advantages are the same."""
    configs = {
        key["condition"]: read_json(folder / "config.json") for folder, key in complete_runs(root, axis, profile)
    }
    pairs = identical_conditions(configs)
    if pairs:
        one, other = pairs[0]
        raise ValueError(
            f"{one} and {other} cannot be compared: whatever the rewards, their advantages are identical, so that only "
            f"the random numbers differ ({len(pairs)} such pairs)"
        )


def write_tables(
    root: Path | str, out_dir: Path | str, axis: str, profile: str, baseline: str = "", margin: float | None = None
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Writes means.csv, claims.csv, runs.csv and notes.csv in full precision; returns means and claims.

    The plan is that of the axis; a baseline or a margin beside it makes the claims exploratory.
    """
    plan = plans.choose_plan(axis, baseline, margin)
    refuse_identical(root, axis, profile)
    runs = read_runs(root, axis=axis, profile=profile)
    made, departures = notes(plan, plan.digest == plans.plan_digest(axis), root, axis, profile)
    if runs["condition"].nunique() == 1:
        departures.append(f"There is one condition only, {runs['condition'].iloc[0]}: nothing to compare it with.")
    tables = means(runs), claims(runs, plan, bool(departures))
    out_dir = Path(out_dir)
    out_dir.mkdir(parents=True, exist_ok=True)
    written = zip(
        ("means", "claims", "runs", "notes"), (*tables, made, pd.DataFrame({"note": departures})), strict=True
    )
    for name, table in written:
        table.to_csv(out_dir / f"{name}.csv", index=False)
    return tables


def read_tables(out_dir: Path | str) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Means and claims as `write_tables` wrote them."""
    return read_table(out_dir, "means"), read_table(out_dir, "claims")


def read_table(out_dir: Path | str, name: str) -> pd.DataFrame:
    """A table that the comparison wrote; only an empty field is NaN, so a condition may be called "none"."""
    return pd.read_csv(Path(out_dir) / f"{name}.csv", keep_default_na=False, na_values=[""])


def _key(values: tuple, *more: str) -> dict:
    return dict(zip([*CELL, *more], values, strict=True))


def _reading_order(table: pd.DataFrame, *names: str) -> pd.DataFrame:
    """Rows by split (primary first), world, endpoint, then by the condition-like columns `names`."""
    first = {"split": SPLITS, "endpoint": ENDPOINTS}
    columns = ["split", "world", "endpoint", *names]
    order = {c: ordered(table[c], first[c]) if c in first else ordered(table[c]) for c in columns}
    ranks = pd.DataFrame({c: table[c].map({name: rank for rank, name in enumerate(order[c])}) for c in columns})
    return table.loc[ranks.sort_values(columns).index].reset_index(drop=True)


def rounded(table: pd.DataFrame, missing: str = "not estimable") -> pd.DataFrame:
    """Three decimals, none from 1,000 on, for reading; a p value never shows as 0."""
    shown = table.select_dtypes("float").map(
        lambda x: missing if pd.isna(x) else f"{x:.3f}" if abs(x) < 1000 else f"{x:,.0f}"
    )
    for name in shown:
        if name == "p" or name.startswith("p_"):
            shown[name] = shown[name].where(~(table[name] < 0.001), "< .001")
    return table.assign(**shown)


def main(arguments: list[str] | None = None) -> None:
    """Prints the primary claims of one axis, rounded, and where its tables and figures lie."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--axis", required=True, help="face of diversity, such as inputs")
    parser.add_argument("--profile", default="tiny_cpu", help="profile of the runs (tiny_cpu)")
    parser.add_argument("--runs", type=Path, default=RUNS, help="folder of the run folders")
    parser.add_argument("--out", type=Path, help="folder of the tables and figures (figures/<axis>)")
    parser.add_argument("--baseline", default="", help="condition that the others are compared with (of the plan)")
    parser.add_argument("--margin", type=float, help="equivalence margin, in the endpoint's units (of the plan)")
    parser.add_argument("--remake", action="store_true", help="make the tables from the runs even if they are there")
    args = parser.parse_args(arguments)
    out, plan = args.out or FIGURES / args.axis, plans.choose_plan(args.axis, args.baseline, args.margin)
    if not args.remake and all((out / f"{name}.csv").exists() for name in ("means", "claims")):
        print(f"read from {out} as they were written; --remake makes them from the runs again")
        tables = read_tables(out)
    else:
        tables = write_tables(args.runs, out, args.axis, args.profile, args.baseline, args.margin)
        print(f"made from {args.runs}, profile {args.profile}; incomplete runs: {len(incomplete_runs(args.runs))}")
    _print(*tables, plan, out)


def _print(means: pd.DataFrame, claims: pd.DataFrame, plan: Plan, out: Path) -> None:
    print(f"\n{plan.question}\nPlan {plan.digest}: margin ±{plan.margin:g}, alpha {plan.alpha:g}, seeds {plan.seeds}")
    under = set(claims.get("plan", pd.Series(["an older version without plans"])))
    if under != {plan.digest}:
        print(f"These tables were made under {', '.join(sorted(under))}: --remake makes them under the plan of now.")
    if (out / "notes.csv").is_file():
        print(*read_table(out, "notes")["note"], sep="\n")
    shown = means[(means["split"] == plan.primary_split) & (means["endpoint"] == plan.primary_endpoint)]
    found = primary(claims, plan)
    columns = [name for name in [*SHOWN, "status"] if name in found]
    for title, table in (("Mean over seeds, 95 % t interval", shown), ("Claims", found[columns])):
        print(f"\n{title}\n{rounded(table).to_string(index=False)}")
    print("", *(sentence(row, plan.margin, plan.alpha_per_look) for row in found.to_dict("records")), sep="\n")
    print(f"\nAll splits, endpoints and statistics: {out / 'claims.csv'}, {out / 'means.csv'}")
    print("\nFigures", *(sorted(out.glob("*.png")) or ["none yet"]), sep="\n")


if __name__ == "__main__":
    main()
