"""How a study left its plan, one sentence each; none, and its planned claims are confirmatory.

The plan of the first comparison is kept twice: beside the runs, and beside the tables, which are in git, because runs
can be deleted and made again (their seeds give the same numbers, so nothing about them is new). A study with another
plan is another study: it needs an axis of its own.
"""

import dataclasses
from collections import Counter
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path

import pandas as pd

from studylib.axes import axis_names, read_axis
from studylib.claims.plan import ANY, Plan
from studylib.params import RunParams, parameters
from studylib.paths import PARAMS
from studylib.runs.folder import write_json
from studylib.runs.keys import require_keys
from studylib.runs.read import KEYS, LAYOUT, WARM_START, ordered, profiles_of, read_json
from studylib.typed import typed
from studylib.weights import present_rewards

FIRST_PLAN = "first_plan.json"  # beside the runs; beside the tables, where profiles share a folder, with their names
TECHNICAL = {  # parameters that cost or save time and memory, and a place
    "device", "min_gpu_gb", "micro_batch", "rollout_batch", "rollout_compile", "rollout_weights", "engine",
    "gradient_checkpointing", "judge",
}  # fmt: skip
# What a run is called, where files lie, how often it is saved and looked at.
NO_SETTINGS = {*LAYOUT, "world", "run_root", "data_dir", "save_every", "eval_every"}


# --- the first comparison ---


def _records(study: Path, out_dir: Path) -> tuple[Path, Path]:
    return study / FIRST_PLAN, out_dir / f"first_plan_{study.name}.json"


def first_comparisons(study: Path, out_dir: Path) -> list[dict]:
    """digest and conditions of the first comparison, as recorded beside the runs (`study`) and beside the tables."""
    beside_runs, beside_tables = _records(study, out_dir)
    records = [read_json(path) for path in (beside_runs, beside_tables) if path.is_file()]
    return records if beside_tables.is_file() else [*records, *_of_claims(study.name, out_dir)]


def _of_claims(profile: str, out_dir: Path) -> list[dict]:
    """The same from confirmatory claims of this profile that came without a record."""
    if not all((out_dir / f"{name}.csv").is_file() for name in ("claims", "runs")):
        return []
    claims, runs = (pd.read_csv(out_dir / f"{name}.csv", keep_default_na=False) for name in ("claims", "runs"))
    if profiles_of(runs) != {profile} or not {"plan", "status"} <= set(claims):
        return []
    conditions = {name for contrast in claims["contrast"] for name in contrast.split(" - ")} - {WARM_START}
    planned = claims.loc[claims["status"] == "confirmatory", "plan"].unique()
    return [{"digest": digest, "conditions": sorted(conditions)} for digest in planned]


def remember(study: Path, out_dir: Path, plan: Plan, conditions: list[str]) -> None:
    """Keeps the first comparison where it is not kept yet; the first one stays."""
    now = datetime.now(UTC).isoformat(timespec="seconds")
    new = {"digest": plan.digest, "first_comparison": now, "plan": dataclasses.asdict(plan)}
    record = {"conditions": conditions, **next(iter(first_comparisons(study, out_dir)), new)}
    for path in _records(study, out_dir):
        if not path.is_file():
            write_json(path, record)


# --- conditions ---


def planned_conditions(plan: Plan, run: Iterable[str], first: list[dict] = (), folder: Path = PARAMS) -> list[str]:
    """Baseline, control and conditions that the plan compares, in reading order.

    `contrasts: all` means those of the first comparison: until there is one, every row of the axis, and what has runs.
    """
    if plan.contrasts != "all":
        return ordered({*plan.held_against, *plan.contrasts.split()})
    fixed = next((set(record["conditions"]) for record in first if "conditions" in record), None)
    return ordered({*plan.held_against, *({*_rows(plan.axis, folder), *run} if fixed is None else fixed)})


def later_conditions(plan: Plan, conditions: list[str], run: Iterable[str]) -> list[str]:
    """Conditions that `contrasts: all` did not mean, because they came after the first comparison."""
    return ordered(set(run) - set(conditions)) if plan.contrasts == "all" else []


# --- departures ---


def departures(
    plan: Plan, made: pd.DataFrame, runs: pd.DataFrame, settings: pd.DataFrame, first: list[dict], planned: bool
) -> list[str]:
    """One sentence per way in which the study left its plan.

    made: one row per run with world, condition, seed and `plan`, the hash in its manifest ("" for none). runs: what
    `read_runs` gives. settings: one row per run with its parameters. first: `first_comparisons`. planned: is this the
    plan of the file?
    """
    require_keys(made, *KEYS)
    require_keys(runs, *KEYS)
    if plan.worlds == ANY:
        return [f"Axis {plan.axis} has no analysis plan: every claim is exploratory."]
    digests = {record["digest"] for record in first} or {plan.digest if planned else "(none)"}
    sentences = [
        f"The first comparison was made under plan {digest}, this one is {plan.digest}."
        for digest in sorted(digests - {plan.digest})
    ]
    made = made.assign(plan=made["plan"].fillna(""))  # a run without a plan would leave the grouping
    for digest, of_plan in made[made["plan"] != plan.digest].groupby("plan"):
        under = f"under plan {digest}" if digest else "under no plan"
        sentences.append(f"{len(of_plan)} of {len(made)} runs were made {under}, not {plan.digest}; {_first(of_plan)}.")
    missing = sorted(set(plan.worlds.split()) - set(made["world"]))
    if missing:
        sentences.append(f"The plan has the worlds {plan.worlds}; there are no runs of {', '.join(missing)}.")
    conditions = planned_conditions(plan, made["condition"], first)
    return [
        *sentences, *_missing_conditions(plan, made, conditions), *_unplanned_seeds(plan, made),
        *_missing_endpoint(plan, runs), *_unlike_settings(settings, _rows(plan.axis), _of_worlds(plan.axis)),
        *_unlike_file(settings, _rows(plan.axis), _of_worlds(plan.axis)),
    ]  # fmt: skip


def _first(runs: pd.DataFrame) -> str:
    return "the first is " + ", ".join(f"{name} {runs[name].iloc[0]}" for name in KEYS)


def _missing_conditions(plan: Plan, made: pd.DataFrame, conditions: list[str]) -> list[str]:
    """A contrast that is left out softens the Holm correction of the others."""
    if made["condition"].nunique() == 1:
        return [f"There is one condition only, {made['condition'].iloc[0]}: nothing to compare it with."]
    sentences = []
    for world in sorted(set(made["world"]) & set(plan.worlds.split())):
        there = set(made.loc[made["world"] == world, "condition"])
        missing = ordered(set(conditions) - there)
        if len(there) == 1:
            sentences.append(f"{world} has runs of {next(iter(there))} only: nothing to compare it with.")
        elif missing:
            sentences.append(f"The plan compares {', '.join(conditions)}; {world} has no runs of {', '.join(missing)}.")
    return sentences


def _unplanned_seeds(plan: Plan, made: pd.DataFrame) -> list[str]:
    seeds = made.groupby(["world", "condition"])["seed"].agg(lambda values: tuple(sorted(values)))
    wrong = seeds[~seeds.isin([tuple(range(n)) for n in plan.look_sizes])]
    if wrong.empty and seeds.map(len).nunique() <= 1:
        return []
    if wrong.empty:
        return [f"Conditions are at different looks: {dict(Counter(seeds.map(len)))} (seeds: conditions)."]
    (world, condition), seeds_run = wrong.index[0], wrong.iloc[0]
    planned = " or ".join(f"0..{n - 1}" for n in plan.look_sizes)
    return [f"The plan fixes the seeds {planned}; {condition} in {world} has {', '.join(map(str, seeds_run))}."]


def _missing_endpoint(plan: Plan, runs: pd.DataFrame) -> list[str]:
    """Runs that no planned contrast can use."""
    wanted = (runs["split"] == plan.primary_split) & (runs["endpoint"] == plan.primary_endpoint)
    has = pd.MultiIndex.from_frame(runs.loc[wanted, KEYS])
    every = runs[KEYS].drop_duplicates()
    lack = every[~pd.MultiIndex.from_frame(every).isin(has)].sort_values(KEYS)
    if lack.empty:
        return []
    endpoint = f"the primary endpoint {plan.primary_endpoint} on {plan.primary_split}"
    if len(lack) == len(every):
        return [f"No run has {endpoint}: there is no planned claim."]
    return [f"{len(lack)} of {len(every)} runs lack {endpoint}; {_first(lack)}."]


def _rows(axis: str, folder: Path = PARAMS) -> dict[str, dict]:
    """condition -> what its row sets, in which it may differ from the others; of an axis without a file, none."""
    return read_axis(axis, folder).conditions if axis in axis_names(folder) else {}


def _of_worlds(axis: str, folder: Path = PARAMS) -> dict[str, dict]:
    """world -> what the axis sets in it; of an axis without a file, none."""
    return read_axis(axis, folder).settings_by_world if axis in axis_names(folder) else {}


def _unlike_settings(settings: pd.DataFrame, own: dict[str, dict], worlds: dict[str, dict]) -> list[str]:
    """Parameters in which runs differ although no condition sets them, or within one condition; in each world where
    the axis sets them by world.

    A condition without a row may differ from the others in anything; a parameter that a run does not tell is no
    difference, because it was added later.
    """
    sentences = []
    if "rewards" in settings:  # older runs have the names of their time
        settings = settings.assign(rewards=settings["rewards"].map(present_rewards, na_action="ignore"))
    for name in sorted(set(settings) - set(KEYS) - NO_SETTINGS):
        known = settings.dropna(subset=[name])
        apart = any(name in own_settings for own_settings in worlds.values())
        by_world = known["world"] if apart else known["world"].map(lambda world: "")
        free = known["condition"].map(lambda condition, name=name: condition not in own or name in own[condition])
        groups = (known[~free].groupby(by_world), known[free].groupby(["condition", by_world]))
        for group in (runs for part in groups for _, runs in part):
            counts = Counter(group[name])
            if len(counts) > 1:
                usual = counts.most_common(1)[0][0]
                odd = group[group[name] != usual]
                sentences.append(
                    f"{len(odd)} of {len(group)} runs have {name} {odd[name].iloc[0]}, not {usual}, which no condition "
                    f"sets; {_first(odd)}."
                )
    return sentences


def _unlike_file(settings: pd.DataFrame, own: dict[str, dict], worlds: dict[str, dict]) -> list[str]:
    """Conditions and worlds whose runs are not what the file says of them: it was changed after them, or a name in it
    meant another thing."""
    sentences, paths = [], {name for name, option in parameters().items() if option.path}  # ~ stands for a folder there
    for column, said in (("condition", own), ("world", worlds)):
        for place, row in said.items():
            runs = settings[settings[column] == place]
            for name in sorted((row.keys() & set(settings)) - TECHNICAL - paths):
                wins = runs["condition"].map(lambda condition, name=name: name in own.get(condition, {}))
                known = runs[~wins.astype(bool) | (column == "condition")].dropna(subset=[name])
                sentences += _other_than(row[name], name, place, known)
    return sentences


def _other_than(wanted, name: str, place: str, runs: pd.DataFrame) -> list[str]:
    """One sentence where runs of a condition or world have another value than its own."""
    wanted = _of_today(name, typed(name, wanted, type(parameters()[name].default)))
    odd = runs[runs[name].map(lambda value: _of_today(name, value)) != wanted]
    if odd.empty:
        return []
    found = f"{len(odd)} of {len(runs)} runs of {place} have {name} {odd[name].iloc[0]}, not {wanted}"
    return [f"{found} as the axis sets it there; {_first(odd)}."]


# --- settings of a whole study ---


def other_settings(settings: pd.DataFrame, axis: str) -> list[str]:
    """Parameters in which all runs differ from what profile, axis and condition give, one sentence each.

    As where a whole study was cut short. It is no departure, because a plan does not fix them and runs stay alike.
    """
    pairs = [(config, given) for config in settings.to_dict("records") if (given := _given(axis, config))]
    sentences = []
    for name in sorted((set(settings) & set(parameters())) - set(LAYOUT) - NO_SETTINGS - TECHNICAL):
        values = [(_of_today(name, config[name]), given[name]) for config, given in pairs]
        if values and all(pd.notna(value) and value != wanted for value, wanted in values):
            value, wanted = values[0]
            sentences.append(f"All runs have {name} {value}, not {wanted} as profile, axis and condition give.")
    return sentences


def _of_today(name: str, value):
    """A parameter of an older run with the names of today."""
    if name == "rewards" and isinstance(value, str):
        return present_rewards(value)
    return parameters()[name].former.get(value, value)


def _given(axis: str, config: dict) -> dict:
    """The parameters that the files give a run; none where there are no such files."""
    try:
        named = {name: config[name] for name in (*LAYOUT[1:-1], "world")}
        if named["world"] not in _of_worlds(axis):
            del named["world"]  # it is the source
        return RunParams.resolve({"axis": axis} | named).as_dict()
    except ValueError:
        return {}
