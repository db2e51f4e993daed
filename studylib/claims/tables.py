"""The tables of the comparison: what each condition reaches, and what may be claimed about their contrasts."""

from collections.abc import Collection
from pathlib import Path

import numpy as np
import pandas as pd

from studylib.claims import departures as left
from studylib.claims import plan as plans
from studylib.claims.decisions import decide
from studylib.claims.notes import notes, refuse_identical, refuse_other_content, seeds_in_words
from studylib.claims.plan import Plan
from studylib.claims.statistics import DETAILS, TESTS, WELCH, holm, paired_contrast, t_interval
from studylib.evaluation.table import read_runs
from studylib.names import ENDPOINTS
from studylib.runs.keys import require_keys
from studylib.runs.read import KEYS, SPLITS, WARM_START, ordered, read_provenance

CELL = ["world", "split", "endpoint"]
LEVELS = {"low": 1, "low90": 2}  # lower bound -> alphas that its interval leaves out
UNPLANNED = "unplanned "  # and a condition: the family of those against it that the plan does not mean
MEAN_COLUMNS = ["world", "condition", "split", "endpoint", "mean", "low", "high", "seeds"]
MAIN = ["world", "contrast", "split", "endpoint", "difference", "low", "high", "p_holm", "hedges_g", "bf10", "decision"]
MORE = ["status", "plan", "n", "p", "low90", "high90", "p_tost", *DETAILS, *WELCH]
UNSCORED = "unscored"  # column of claims that lack a run because none of its answers could be scored; else absent
CLAIM_COLUMNS = [*MAIN, *(name for name in MORE if name not in MAIN), UNSCORED]


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
    runs: pd.DataFrame, plan: Plan, departed: bool = False, decisions_only: bool = False, later: Collection[str] = ()
) -> pd.DataFrame:
    """Contrasts paired by seed, per world x split x endpoint, with one decision each.

    Conditions against the plan's baseline, against its control where it has one, and against their own warm start (is
    anything learned at all?). Each is a family of its own in every group of the plan's `family`, corrected by Holm: a
    plan that names a control asks another question of it, and no answer to one costs the other. Intervals, p and
    decision are at the plan's alpha per look. status is confirmatory for planned contrasts of a study that kept to its
    plan, else exploratory. decisions_only: contrasts with the baseline alone, and of them only what the decision needs.
    later: conditions that came after the first comparison; they are exploratory and leave the planned family as it was.

    A run of which no answer could be scored leaves its pair out of that contrast alone. The contrast then has fewer
    pairs than planned (`n`), names the runs (`unscored`, a column that is there where any contrast lacks a run) and is
    exploratory. In its family it counts as a test that failed, so that no other contrast gains by it.
    """
    require_keys(runs, *KEYS, "split", "endpoint")
    _need_baseline(runs, plan)
    rows = []
    for key, cell in runs.groupby(CELL):
        rows += _contrasts(_key(key), cell, plan, decisions_only, later)
    table = pd.DataFrame(rows)
    lacks = table[UNSCORED] != ""
    p = table["p"].mask(lacks & table["p"].isna(), 1.0)
    families = [table[name] for name in (*plan.family.split(), "family")]
    table["p_holm"] = p.groupby(families).transform(lambda p: holm(p)).where(table["p"].notna())
    bounds = table[["low", "high", "low90", "high90", "p_holm"]].itertuples(index=False)
    table["decision"] = [decide(*values, plan.margin, plan.alpha_per_look) for values in bounds]
    planned = pd.Series([plan.is_planned(*key) for key in table[CELL].itertuples(index=False)], index=table.index)
    planned &= table["family"].isin(plan.held_against) & ~lacks
    table["status"] = (planned & (not departed)).map({True: "confirmatory", False: "exploratory"})
    table["plan"] = plan.digest
    columns = [name for name in CLAIM_COLUMNS if name in table and (name != UNSCORED or lacks.any())]
    return _reading_order(table, "family", "condition", family=plan.held_against)[columns]


def _need_baseline(runs: pd.DataFrame, plan: Plan) -> None:
    for world, conditions in runs.groupby("world")["condition"]:
        if plan.baseline not in set(conditions):
            others = ", ".join(ordered(conditions))
            raise ValueError(f"{world} has no runs of the baseline {plan.baseline!r}, only of {others}")


def _contrasts(
    key: dict, cell: pd.DataFrame, plan: Plan, decisions_only: bool, later: Collection[str] = ()
) -> list[dict]:
    """One cell of the study: every condition against the baseline, the control and its own warm start.

    The baseline may lack the endpoint, such as a rubric's score where only some conditions are rewarded by a rubric.
    """
    by_condition = cell.set_index("seed").groupby("condition")
    before, after = (dict(list(by_condition[phase])) for phase in ("before", "after"))
    pairs = [pair for pair in plan.pairs(after) if not decisions_only or pair[1] == plan.baseline]
    pairs += [] if decisions_only else [(condition, WARM_START) for condition in after]
    rows = []
    for condition, name in pairs:
        other = before[condition] if name == WARM_START else after[name]
        planned = name == WARM_START or (plan.plans(condition) and condition not in later)
        numbers = _paired(key, condition, after[condition], name, other, plan, not decisions_only)
        rows.append(key | {"family": name if planned else UNPLANNED + name, "condition": condition} | numbers)
    return rows


def _paired(
    key: dict, condition: str, after: pd.Series, name: str, other: pd.Series, plan: Plan, details: bool
) -> dict:
    """One contrast of the seeds that have a value in both arms, and the runs that lack one."""
    contrast = f"{condition} - {name}"
    unscored = {condition: _without_value(after, other), name: _without_value(other, after)}
    left_out = [seed for seeds in unscored.values() for seed in seeds]
    pair = (after.drop(left_out), other.drop(left_out)) if left_out else (after, other)
    try:
        numbers = _contrast(*pair, plan, details)
    except ValueError as error:
        raise ValueError(f"{contrast} in {key['world']}, {key['split']}: {error}") from error
    return {"contrast": contrast} | numbers | {UNSCORED: _runs_in_words(unscored)}


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
    return "; ".join(f"{name}, {seeds_in_words(of_arm)}" for name, of_arm in seeds.items() if of_arm)


def primary(claims: pd.DataFrame, plan: Plan) -> pd.DataFrame:
    """The contrasts with the baseline on the primary endpoint and split, in every world."""
    return against_baseline(claims, plan, plan.primary_endpoint)


def against_baseline(claims: pd.DataFrame, plan: Plan, endpoint: str, split: str = "") -> pd.DataFrame:
    """The contrasts with the baseline, of any endpoint, on one split ("": the primary one)."""
    wanted = (claims["split"] == (split or plan.primary_split)) & (claims["endpoint"] == endpoint)
    return claims[wanted & claims["contrast"].str.endswith(f" - {plan.baseline}")]


def beside_primary(claims: pd.DataFrame, plan: Plan) -> dict[str, pd.DataFrame]:
    """What else the plan asks -> its claims on the primary split: contrasts with the control, secondary endpoints.

    An endpoint that the tables do not have, because they are older than it, has no claims.
    """
    asked = {}
    if plan.control:
        on = (claims["split"] == plan.primary_split) & (claims["endpoint"] == plan.primary_endpoint)
        asked[f"above {plan.control}"] = claims[on & claims["contrast"].str.endswith(f" - {plan.control}")]
    return asked | {name: against_baseline(claims, plan, name) for name in plan.secondary.split()}


def write_tables(
    root: Path | str,
    out_dir: Path | str,
    axis: str,
    profile: str,
    baseline: str = "",
    margin: float | None = None,
    endpoints: Collection[str] = (),
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Writes means.csv, claims.csv, runs.csv and notes.csv in full precision; returns means and claims.

    The plan is that of the axis; a baseline or a margin beside it makes the claims exploratory. endpoints: those to
    compare beside the default ones and the secondary ones of the plan, of which runs may lack some.
    """
    plan, out_dir = plans.choose_plan(axis, baseline, margin), Path(out_dir)
    refuse_identical(root, axis, profile)
    refuse_other_content(root, axis, profile)
    runs = read_runs(root, axis=axis, profile=profile, endpoints=endpoints, secondary=plan.secondary.split())
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
    """Hash of the plan that a table of claims was made under; its margin and alpha are in the decisions."""
    return ", ".join(sorted(set(claims["plan"]))) if "plan" in claims else "an older version without plans"


def _key(values: tuple, *more: str) -> dict:
    return dict(zip([*CELL, *more], values, strict=True))


def _reading_order(table: pd.DataFrame, *names: str, **first: tuple[str, ...]) -> pd.DataFrame:
    """Rows by split (primary first), world, endpoint, then by the condition-like columns `names`.

    first: the values of such a column that come before all others.
    """
    first |= {"split": SPLITS, "endpoint": tuple(ENDPOINTS)}
    columns = ["split", "world", "endpoint", *names]
    order = {c: ordered(table[c], first[c]) if c in first else ordered(table[c]) for c in columns}
    ranks = pd.DataFrame({c: table[c].map({name: rank for rank, name in enumerate(order[c])}) for c in columns})
    return table.loc[ranks.sort_values(columns).index].reset_index(drop=True)


def rounded(table: pd.DataFrame, missing: str = "not estimable") -> pd.DataFrame:
    """Three decimals, none from 1,000 on, for reading; a p value is never printed as 0."""
    texts = table.select_dtypes("float").map(
        lambda x: missing if pd.isna(x) else f"{x:.3f}" if abs(x) < 1000 else f"{x:,.0f}"
    )
    for name in texts:
        if name == "p" or name.startswith("p_"):
            texts[name] = texts[name].where(~(table[name] < 0.001), "< .001")
    return table.assign(**texts)


def readable(claims: pd.DataFrame, plan: Plan) -> pd.DataFrame:
    """Claims for reading: decision first, both intervals as text, sign-flip p beside the smallest that is possible.

    Of the primary claims alone split and endpoint are those of the plan, and left out.
    """
    table = rounded(claims[[name for name in [*MAIN, "status"] if name in claims]]).drop(columns=["low", "high"])
    for name in [name for name in ("status", "decision") if name in table]:
        table.insert(table.columns.get_loc("difference") + 1, name, table.pop(name))
    table["difference"] = claims["difference"].map(lambda x: "not estimable" if pd.isna(x) else f"{x:+.3f}")
    place = table.columns.get_loc("p_holm")
    for name, alphas in LEVELS.items():
        bounds = zip(claims[name], claims[name.replace("low", "high")], strict=True)
        texts = ["not estimable" if pd.isna(low) else f"[{low:+.3f}, {high:+.3f}]" for low, high in bounds]
        table.insert(place, f"{100 * (1 - alphas * plan.alpha_per_look):.3g} % interval", texts)
        place += 1
    p = zip(claims["p_signflip"], claims["p_signflip_min"], strict=True)
    texts = ["not estimable" if pd.isna(value) else f"{value:.3f} ({least:.3f})" for value, least in p]
    table.insert(table.columns.get_loc("p_holm") + 1, "p_signflip (smallest)", texts)
    return table if len(claims) > len(primary(claims, plan)) else table.drop(columns=["split", "endpoint"])


def checks(validation: pd.DataFrame) -> pd.DataFrame:
    """The rows of figures/validate.csv that have a target; the others are reported only."""
    return validation[validation["target_low"].notna()]


def misses(validation: pd.DataFrame) -> pd.DataFrame:
    """The rows whose value is outside its target."""
    value = validation["value"]
    return validation[(value < validation["target_low"]) | (value > validation["target_high"])]
