"""The tables of the comparison: what each condition reaches, and what may be claimed about their contrasts.

python -m studylib.claims.tables --axis inputs --profile tiny_cpu
"""

import argparse
from collections.abc import Collection
from pathlib import Path

import numpy as np
import pandas as pd

from studylib.claims import departures as left
from studylib.claims import plan as plans
from studylib.claims.decisions import sentence, verdict
from studylib.claims.plan import Plan
from studylib.claims.statistics import DETAILS, TESTS, WELCH, holm, paired_contrast, t_interval
from studylib.evaluation.table import read_runs, read_unscored
from studylib.names import ENDPOINTS
from studylib.paths import FIGURES, RUNS
from studylib.runs.keys import require_keys
from studylib.runs.read import (
    KEYS,
    SPLITS,
    WARM_START,
    complete_runs,
    incomplete_runs,
    ordered,
    other_profiles,
    profiles_of,
    read_json,
    read_provenance,
    read_settings,
)
from studylib.training.idle import identical_conditions

CELL = ["world", "split", "endpoint"]
LEVELS = {"low": 1, "low90": 2}  # lower bound -> alphas that its interval leaves out
UNPLANNED = "unplanned"  # family of conditions against the baseline that the plan does not mean
MEAN_COLUMNS = ["world", "condition", "split", "endpoint", "mean", "low", "high", "seeds"]
SHOWN = ["world", "contrast", "split", "endpoint", "difference", "low", "high", "p_holm", "hedges_g", "bf10", "verdict"]
MORE = ["status", "plan", "n", "p", "low90", "high90", "p_tost", *DETAILS, *WELCH]
UNSCORED = "unscored"  # column of claims that lack a run because none of its answers could be scored; else absent
CLAIM_COLUMNS = [*SHOWN, *(name for name in MORE if name not in SHOWN), UNSCORED]


def means(runs: pd.DataFrame) -> pd.DataFrame:
    """Mean over seeds with its 95 % t interval, per world x condition x split x endpoint.

    `warm_start` is the policy before training. All conditions of a seed start from it and measure it once each, so it
    enters as one value per seed: the mean over the conditions. `seeds` counts the values: a run without any scored
    answer has none, and where no run has one the mean is NaN.
    """
    require_keys(runs, *KEYS, "split", "endpoint")
    before = runs.groupby([*CELL, "seed"], as_index=False)["before"].mean()
    before = before.rename(columns={"before": "after"}).assign(condition=WARM_START)
    rows = []
    for key, cell in pd.concat([runs, before]).groupby([*CELL, "condition"]):
        values = cell["after"].dropna()
        mean, low, high = t_interval(values) if len(values) else (np.nan, np.nan, np.nan)
        rows.append({**_key(key, "condition"), "mean": mean, "low": low, "high": high, "seeds": len(values)})
    return _reading_order(pd.DataFrame(rows), "condition")[MEAN_COLUMNS]


def claims(
    runs: pd.DataFrame, plan: Plan, departed: bool = False, verdicts_only: bool = False, later: Collection[str] = ()
) -> pd.DataFrame:
    """Contrasts paired by seed, per world x split x endpoint, with one verdict each.

    Conditions against the plan's baseline, and conditions against their own warm start (is anything learned at all?).
    Each of the two is a family of its own in every group of the plan's `family`, corrected by Holm. Intervals, p and
    verdict are at the plan's alpha per look. status is confirmatory for planned contrasts of a study that kept to its
    plan, else exploratory. verdicts_only: contrasts with the baseline alone, and of them only what the verdict needs.
    later: conditions that came after the first comparison; they are exploratory and leave the planned family as it was.

    A run of which no answer could be scored leaves its pair out of that contrast alone. The contrast then has fewer
    pairs than planned (`n`), names the runs (`unscored`, a column that is there where any contrast lacks a run) and is
    exploratory. In its family it counts as a test that failed, so that no other contrast gains by it.
    """
    require_keys(runs, *KEYS, "split", "endpoint")
    _need_baseline(runs, plan)
    rows = []
    for key, cell in runs.groupby(CELL):
        rows += _contrasts(_key(key), cell, plan, verdicts_only, later)
    table = pd.DataFrame(rows)
    lacks = table[UNSCORED] != ""
    p = table["p"].mask(lacks & table["p"].isna(), 1.0)
    families = [table[name] for name in (*plan.family.split(), "family")]
    table["p_holm"] = p.groupby(families).transform(lambda p: holm(p)).where(table["p"].notna())
    bounds = table[["low", "high", "low90", "high90", "p_holm"]].itertuples(index=False)
    table["verdict"] = [verdict(*values, plan.margin, plan.alpha_per_look) for values in bounds]
    planned = pd.Series([plan.is_planned(*key) for key in table[CELL].itertuples(index=False)], index=table.index)
    planned &= (table["family"] == plan.baseline) & ~lacks
    table["status"] = (planned & (not departed)).map({True: "confirmatory", False: "exploratory"})
    table["plan"] = plan.digest
    columns = [name for name in CLAIM_COLUMNS if name in table and (name != UNSCORED or lacks.any())]
    return _reading_order(table, "family", "condition")[columns]


def _need_baseline(runs: pd.DataFrame, plan: Plan) -> None:
    for world, conditions in runs.groupby("world")["condition"]:
        if plan.baseline not in set(conditions):
            found = ", ".join(ordered(conditions))
            raise ValueError(f"{world} has no runs of the baseline {plan.baseline!r}, only of {found}")


def _contrasts(
    key: dict, cell: pd.DataFrame, plan: Plan, verdicts_only: bool, later: Collection[str] = ()
) -> list[dict]:
    """One cell of the study: every condition against the baseline and against its own warm start.

    The baseline may lack the endpoint, such as a rubric's score where only some conditions are rewarded by a rubric.
    """
    by_condition = cell.set_index("seed").groupby("condition")
    arms = {phase: dict(list(by_condition[phase])) for phase in ("before", "after")}
    rows = []
    for condition, after in arms["after"].items():
        against = {} if verdicts_only else {WARM_START: (WARM_START, arms["before"][condition])}
        if condition != plan.baseline and plan.baseline in arms["after"]:
            family = plan.baseline if plan.plans(condition) and condition not in later else UNPLANNED
            against[plan.baseline] = (family, arms["after"][plan.baseline])
        for name, (family, other) in against.items():
            contrast = f"{condition} - {name}"
            unscored = {condition: _without_value(after, other), name: _without_value(other, after)}
            left_out = [seed for seeds in unscored.values() for seed in seeds]
            pair = (after.drop(left_out), other.drop(left_out)) if left_out else (after, other)
            try:
                numbers = _contrast(*pair, plan, not verdicts_only)
            except ValueError as error:
                raise ValueError(f"{contrast} in {key['world']}, {key['split']}: {error}") from error
            found = {**key, "contrast": contrast, "family": family, "condition": condition, **numbers}
            rows.append(found | {UNSCORED: _runs_in_words(unscored)})
    return rows


def _without_value(arm: pd.Series, other: pd.Series) -> list[int]:
    """Seeds of an arm without a value, where both arms have the seed; one that is missing is refused later."""
    empty = arm.index[np.isnan(arm.to_numpy())]
    return [seed for seed in sorted(set(empty)) if seed in other.index]


def _contrast(after: pd.Series, other: pd.Series, plan: Plan, details: bool) -> dict[str, float]:
    """`paired_contrast`; all NaN where no pair has both values."""
    if len(after) or len(other):
        return paired_contrast(after, other, plan.alpha_per_look, plan.margin, details)
    names = (*TESTS, *DETAILS, *WELCH) if details else TESTS
    return {"n": 0, "difference": np.nan} | dict.fromkeys(names, np.nan)


def _runs_in_words(seeds: dict[str, list[int]]) -> str:
    """ "broad, seed 3; narrow, seeds 1, 2": conditions with their seeds; "" for none."""
    return "; ".join(f"{name}, {_seeds_in_words(of_arm)}" for name, of_arm in seeds.items() if of_arm)


def _seeds_in_words(seeds: Collection[int]) -> str:
    """ "seed 3", "seeds 1, 2"."""
    return f"seed{'s' * (len(seeds) > 1)} {', '.join(map(str, sorted(seeds)))}"


def primary(claims: pd.DataFrame, plan: Plan) -> pd.DataFrame:
    """The contrasts with the baseline on the primary endpoint and split, in every world."""
    wanted = (claims["split"] == plan.primary_split) & (claims["endpoint"] == plan.primary_endpoint)
    return claims[wanted & claims["contrast"].str.endswith(f" - {plan.baseline}")]


def notes(
    plan: Plan, runs: pd.DataFrame, made: pd.DataFrame, root: Path | str, out_dir: Path, profile: str
) -> tuple[pd.DataFrame, list[str]]:
    """What readers of the claims must know, one sentence each, and the conditions that came after the first comparison.

    Columns note and departure: did the study leave its plan by it? runs and made: `read_runs` and `read_provenance`.
    """
    axis, planned = plan.axis, plan.digest == plans.plan_digest(plan.axis)
    first = left.first_comparisons(Path(root) / axis / profile, out_dir)
    settings = read_settings(root, axis=axis, profile=profile)
    found = [(note, True) for note in left.departures(plan, made, runs, settings, first, planned)]
    later = left.later_conditions(plan, left.planned_conditions(plan, made["condition"], first), made["condition"])
    if later:
        found.append((f"{', '.join(later)} came after the first comparison: exploratory, in no planned family.", False))
    found += [(note, False) for note in _unscored_notes(runs, read_unscored(root, axis=axis, profile=profile))]
    for other, count in other_profiles(root, axis, profile).items():
        found.append((f"{count} runs of profile {other} are left out: this comparison is of {profile}.", False))
    return pd.DataFrame(found, columns=["note", "departure"]), later


def _unscored_notes(runs: pd.DataFrame, shares: pd.DataFrame) -> list[str]:
    """Which runs have no value of an endpoint, and what share of answers others lack; none where all are scored."""
    long = runs.melt([*CELL, "condition", "seed"], ["before", "after"], "phase")
    lost = long[long["value"].isna()].rename(columns={"seed": "runs"})
    where = ["world", "condition", "phase", "endpoint", "split", "runs"]
    for name, join in (("runs", _seeds_in_words), ("split", ", ".join), ("endpoint", ", ".join)):
        alike = [other for other in where if other != name]  # what is alike in them is told in one sentence
        lost = lost.groupby(alike, sort=False)[name].agg(join).reset_index()
    found = [
        f"No answer of {row.condition}, {row.runs} in {row.world} could be scored {row.phase} training on {row.split}, "
        f"so there is no {row.endpoint}: contrasts that need it are exploratory and of the seeds that are left, if any."
        for row in lost.itertuples()
    ]
    part = shares[shares["share"] < 1]
    if len(part):
        worst = part.loc[part["share"].idxmax()]
        where = ", ".join(f"{name} {worst[name]}" for name in ("world", "condition", "seed"))
        found.append(
            f"Of {len(part[KEYS].drop_duplicates())} runs some answers could not be scored and are in no mean: at most "
            f"{100 * worst['share']:.1f} %, {worst['phase']} training on {worst['split']} ({where})."
        )
    return found


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


def refuse_other_content(root: Path | str, axis: str, profile: str) -> None:
    """Raise ValueError when a name stands for two contents: runs of two models or two judges that one folder held."""
    found: dict[str, dict[str, str]] = {}
    for folder, _ in complete_runs(root, axis, profile):
        config = read_json(folder / "config.json")
        for name in (name for name in config if name.endswith("_content")):
            found.setdefault(name, {}).setdefault(config[name], str(folder))
    for name, contents in found.items():
        if len(contents) > 1:
            one, other = list(contents.values())[:2]
            what = name.removesuffix("_content")
            raise ValueError(
                f"{one} and {other} cannot be compared: the folder of their {what} held another {what} in between; run "
                "one of them again"
            )


def write_tables(
    root: Path | str, out_dir: Path | str, axis: str, profile: str, baseline: str = "", margin: float | None = None
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Writes means.csv, claims.csv, runs.csv and notes.csv in full precision; returns means and claims.

    The plan is that of the axis; a baseline or a margin beside it makes the claims exploratory.
    """
    plan, out_dir = plans.choose_plan(axis, baseline, margin), Path(out_dir)
    refuse_identical(root, axis, profile)
    refuse_other_content(root, axis, profile)
    runs = read_runs(root, axis=axis, profile=profile)
    made = read_provenance(root, axis=axis, profile=profile)
    noted, later = notes(plan, runs, made, root, out_dir, profile)
    tables = means(runs), claims(runs, plan, bool(noted["departure"].any()), later=later)
    if plan.digest == plans.plan_digest(axis):  # another margin or baseline explores, and is no first comparison
        left.remember(Path(root) / axis / profile, out_dir, plan, left.planned_conditions(plan, made["condition"]))
    out_dir.mkdir(parents=True, exist_ok=True)
    for name, table in zip(("means", "claims", "runs", "notes"), (*tables, made, noted), strict=True):
        table.to_csv(out_dir / f"{name}.csv", index=False)
    return tables


def read_tables(out_dir: Path | str) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Means and claims as `write_tables` wrote them."""
    return read_table(out_dir, "means"), read_table(out_dir, "claims")


def read_table(out_dir: Path | str, name: str) -> pd.DataFrame:
    """A table that the comparison wrote; only an empty field is NaN, so a condition may be called "none"."""
    return pd.read_csv(Path(out_dir) / f"{name}.csv", keep_default_na=False, na_values=[""])


def plans_of(claims: pd.DataFrame) -> str:
    """Hash of the plan that a table of claims was made under; its margin and alpha are in the verdicts."""
    return ", ".join(sorted(set(claims["plan"]))) if "plan" in claims else "an older version without plans"


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


def readable(claims: pd.DataFrame, plan: Plan) -> pd.DataFrame:
    """Claims for reading: both intervals as text, the sign-flip p beside the smallest that so many seeds can give.

    Of the primary claims alone split and endpoint are those of the plan, and left out.
    """
    shown = rounded(claims[[name for name in [*SHOWN, "status"] if name in claims]]).drop(columns=["low", "high"])
    shown["difference"] = claims["difference"].map(lambda x: "not estimable" if pd.isna(x) else f"{x:+.3f}")
    place = shown.columns.get_loc("difference") + 1
    for name, alphas in LEVELS.items():
        bounds = zip(claims[name], claims[name.replace("low", "high")], strict=True)
        texts = ["not estimable" if pd.isna(low) else f"[{low:+.3f}, {high:+.3f}]" for low, high in bounds]
        shown.insert(place, f"{100 * (1 - alphas * plan.alpha_per_look):.3g} % interval", texts)
        place += 1
    p = zip(claims["p_signflip"], claims["p_signflip_min"], strict=True)
    texts = ["not estimable" if pd.isna(value) else f"{value:.3f} ({least:.3f})" for value, least in p]
    shown.insert(shown.columns.get_loc("p_holm") + 1, "p_signflip (smallest)", texts)
    return shown if len(claims) > len(primary(claims, plan)) else shown.drop(columns=["split", "endpoint"])


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
    there = all((out / f"{name}.csv").exists() for name in ("means", "claims", "runs"))
    stale = _stale(out, plan, args.profile) if there else ""
    if there and not stale and not args.remake:
        print(f"read from {out} as they were written; --remake makes them from the runs again")
        tables = read_tables(out)
    else:
        if stale and not args.remake:
            print(f"The tables in {out} {stale}: they are made again.")
        try:
            tables = write_tables(args.runs, out, args.axis, args.profile, args.baseline, args.margin)
        except ValueError as error:
            raise ValueError(f"no tables under plan {plan.digest} of axis {args.axis!r}: {error}") from error
        print(f"made from {args.runs}, profile {args.profile}; incomplete runs: {len(incomplete_runs(args.runs))}")
    _print(*tables, plan, out)


def _stale(out: Path, plan: Plan, profile: str) -> str:
    """What makes the tables in a folder those of another plan or profile; "" where they are of these."""
    under = plans_of(read_table(out, "claims"))
    if under != plan.digest:
        return f"were made under {under}, not {plan.digest}"
    others = ", ".join(sorted(profiles_of(read_table(out, "runs")) - {profile}))
    return f"are of profile {others}, not {profile}" if others else ""


def _print(means: pd.DataFrame, claims: pd.DataFrame, plan: Plan, out: Path) -> None:
    print(f"\n{plan.question}\nPlan {plan.digest}: margin ±{plan.margin:g}, alpha {plan.alpha:g}, seeds {plan.seeds}")
    if (out / "notes.csv").is_file():
        print(*read_table(out, "notes")["note"], sep="\n")
    shown = means[(means["split"] == plan.primary_split) & (means["endpoint"] == plan.primary_endpoint)]
    found = primary(claims, plan)
    what = f"Claims about {plan.primary_endpoint} on {plan.primary_split}"
    for title, table in (("Mean over seeds, 95 % t interval", rounded(shown)), (what, readable(found, plan))):
        print(f"\n{title}\n{table.to_string(index=False) if len(table) else 'none'}")
    print("", *(sentence(row, plan.margin, plan.alpha_per_look) for row in found.to_dict("records")), sep="\n")
    print(f"\nAll splits, endpoints and statistics: {out / 'claims.csv'}, {out / 'means.csv'}")
    print("\nFigures", *(sorted(out.glob("*.png")) or ["none yet"]), sep="\n")


if __name__ == "__main__":
    main()
