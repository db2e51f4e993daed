"""Finished runs as long tables of endpoints and of answers: how the comparison sees what their policies are worth.

A run keeps what was asked and all answers before and after training, so that every endpoint can be computed of it,
also one that was thought of later. Runs of an older layout kept the answers after training and a summary alone: of
them the endpoints of that summary are known and no other. null in a summary is no fault: no answer could be scored
there, and the value is NaN (which older runs wrote themselves). It stops nothing; `claims/tables.py` says which
contrasts lack a run because of it.
"""

import math
from collections.abc import Collection
from pathlib import Path

import pandas as pd
import pyarrow.parquet

from studylib.evaluation.summary import joined, summary
from studylib.names import ENDPOINTS
from studylib.paths import RUNS
from studylib.runs.folder import RESPONSES, SCENARIOS, SUMMARY, write_json
from studylib.runs.keys import require_keys
from studylib.runs.read import AGAIN, KEYS, broken, complete_runs, read_json

ANSWER_COLUMNS = {"split", "id", "k", "correct", "response"}
RUN_COLUMNS = [*KEYS, "split", "endpoint", "before", "after"]


def read_runs(
    root: Path | str = RUNS,
    *,
    axis: str,
    profile: str,
    endpoints: Collection[str] = (),
    secondary: Collection[str] = (),
) -> pd.DataFrame:
    """One row per complete run x split x endpoint: world, condition, seed, split, endpoint, before, after.

    Endpoints are those that are compared by default and `secondary` ones, where a run has them, and `endpoints`, which
    some run must have. A condition some of whose runs lack a secondary one, because they are older than it, has none of
    it in that world. NaN: no answer of the run could be scored.
    """
    needs = {name: ENDPOINTS.of(name).needs for name in endpoints}
    rows, splits = [], {}
    for folder, key in complete_runs(root, axis, profile):
        scores = read_scores(folder, (*endpoints, *(secondary if keeps_tables(folder) else ())))
        splits[folder] = sorted(scores)
        for split, phases in scores.items():
            for endpoint in _present(phases):
                pair = {phase: _score(folder, split, phases, phase, endpoint) for phase in RESPONSES}
                rows.append({**key, "split": split, "endpoint": endpoint, **pair})
    _same_splits(splits)
    table = pd.DataFrame(rows, columns=RUN_COLUMNS)
    for missing in sorted(set(needs) - set(table["endpoint"])):
        raise ValueError(f"no run of axis {axis!r} has the endpoint {missing!r}; it needs {', '.join(needs[missing])}")
    return _whole_arms(table, {name for name in secondary if not ENDPOINTS.of(name).default} - set(endpoints))


def _whole_arms(table: pd.DataFrame, secondary: Collection[str]) -> pd.DataFrame:
    """Without the secondary endpoints of arms in which only some runs have them: such arms have no pairs by seed."""
    arm = ["world", "condition", "split"]
    runs = table.groupby(arm)["seed"].transform("nunique")
    those_with_it = table.groupby([*arm, "endpoint"])["seed"].transform("nunique")
    return table[~table["endpoint"].isin(secondary) | (those_with_it == runs)].reset_index(drop=True)


def read_unscored(root: Path | str = RUNS, *, axis: str, profile: str) -> pd.DataFrame:
    """One row per complete run x split x phase with answers that could not be scored: world, condition, seed, split,
    phase, and their share of the answers."""
    rows = []
    for folder, key in complete_runs(root, axis, profile):
        for split, phases in read_scores(folder).items():
            for phase, endpoints in phases.items():
                share = endpoints.get("unscored")  # accuracies have none
                if isinstance(share, float | int) and share > 0:
                    rows.append({**key, "split": split, "phase": phase, "share": share})
    return pd.DataFrame(rows, columns=[*KEYS, "split", "phase", "share"])


def read_answers(root: Path | str = RUNS, *, axis: str, profile: str, stage: str = "after") -> pd.DataFrame:
    """One row per evaluation answer `before` or `after` training: world, condition, seed, the columns of its table and,
    where the run kept them, those of its scenario.

    correct is 1 or 0; of open responses it is the score of their rubric, NaN where the grader gave none. Refuses a run
    without answers, an answer that is there twice, and one without id, split or k.
    """
    tables = []
    for folder, key in complete_runs(root, axis, profile):
        path = folder / RESPONSES[stage]
        answers = read_responses(path)
        answers["correct"] = _outcome(path, answers)
        if keeps_tables(folder):
            answers = joined(answers, read_scenarios(folder))
        tables.append(answers.assign(**key)[[*KEYS, *answers.columns]])
    return pd.concat(tables, ignore_index=True)


def _outcome(path: Path, answers: pd.DataFrame) -> pd.Series:
    """Is it correct? Of a split of open responses what a rubric gives; refuses a closed one without either."""
    correct = answers["correct"].astype(float)
    of_open = correct.isna().groupby(answers["split"]).transform("all") & ("score" in answers)
    lacks = int((correct.isna() & ~of_open).sum())
    if lacks:
        raise ValueError(f"{path}: {lacks} answers are neither correct nor wrong; {AGAIN}")
    return correct.mask(of_open, answers["score"].astype(float)) if of_open.any() else correct


# --- one run ---


def read_scores(folder: Path, more: Collection[str] = ()) -> dict[str, dict]:
    """split -> before and after -> endpoint -> value: computed from the tables of a run, else as its summary has them.

    more: endpoints beside the default ones. Writes summary.json again where it is missing.
    """
    if not keeps_tables(folder):
        for name in (name for name in more if not ENDPOINTS.of(name).default):
            raise ValueError(f"{folder} lacks {' and '.join(_lacks(folder))}, which {name} is computed from; {AGAIN}")
        return _kept_scores(folder / SUMMARY)
    scenarios = read_scenarios(folder)
    before, after = (read_responses(folder / name) for name in RESPONSES.values())
    if not (folder / SUMMARY).is_file():
        write_json(folder / SUMMARY, summary(before, after, scenarios))
    return summary(before, after, scenarios, more)["splits"]


def keeps_tables(folder: Path) -> bool:
    """Can every endpoint be computed of this run? Those of an older layout kept no scenarios and no answers before."""
    return not _lacks(folder)


def _lacks(folder: Path) -> list[str]:
    return [name for name in (SCENARIOS, RESPONSES["before"]) if not (folder / name).is_file()]


def _kept_scores(path: Path) -> dict[str, dict]:
    splits = read_json(path).get("splits") or {}
    cells = [splits, *splits.values()] if isinstance(splits, dict) else [splits]
    cells += [phase for cell in cells[1:] if isinstance(cell, dict) for phase in cell.values()]
    if not all(isinstance(cell, dict) for cell in cells):
        raise ValueError(f"{path} has no table of splits, before and after training; {AGAIN}")
    return splits


def read_responses(path: Path) -> pd.DataFrame:
    """The answers of a run; refuses a broken file, an answer without split, id or k, and one that is there twice.

    `correct` was called `verdict` in older runs.
    """
    try:
        answers = pd.read_parquet(path).rename(columns={"verdict": "correct"})
    except (OSError, ValueError) as error:  # what pyarrow raises is a ValueError
        raise broken(path, error) from error
    missing = sorted(ANSWER_COLUMNS - set(answers))
    if missing:
        raise ValueError(f"{path} lacks the columns {', '.join(missing)}; {AGAIN}")
    try:
        require_keys(answers, "split", "id", "k")
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
    twice = answers[answers.duplicated(["split", "id", "k"])]
    if len(twice):
        first = twice.iloc[0]
        raise ValueError(f"{path}: {len(twice)} answers are there twice; the first is {first['id']}, k = {first['k']}")
    return answers


def read_scenarios(folder: Path, training: bool = False) -> pd.DataFrame:
    """The evaluation scenarios of a run, or those that it trained on, a row each as `scenarios/rows.py` has them; lists
    are lists, not arrays."""
    path = folder / SCENARIOS
    try:
        rows = pyarrow.parquet.read_table(path, filters=[("split", "==" if training else "!=", "train")]).to_pylist()
    except (OSError, ValueError) as error:
        raise broken(path, error) from error
    return pd.DataFrame(rows)


def _present(phases: dict) -> list[str]:
    """The endpoints that a split of a run has: accuracies, or scores by a rubric, or both, and what was asked for."""
    present = [name for name in ENDPOINTS if any(name in endpoints for endpoints in phases.values())]
    return present or list(ENDPOINTS)[:1]


def _score(folder: Path, split: str, phases: dict, phase: str, endpoint: str) -> float:
    """NaN for null, or NaN in older runs: no answer could be scored. Anything else that is no score is refused."""
    where = f"{folder}: {endpoint} {phase} training on {split}"
    if endpoint not in phases.get(phase, {}):
        raise ValueError(f"{where} is missing; {AGAIN}")
    value = phases[phase][endpoint]
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return math.nan
    remedy = f"mend the function or the range of {endpoint}" if keeps_tables(folder) else AGAIN
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise ValueError(f"{where} is {value!r}, not a number; {remedy}")
    low, high = ENDPOINTS.of(endpoint).range
    if not low <= value <= high:
        raise ValueError(f"{where} is {value!r}, outside {low:g}..{high:g}; {remedy}")
    return float(value)


def _same_splits(splits: dict[Path, list[str]]) -> None:
    """Runs compare only on the same evaluation splits."""
    reference, expected = next(iter(splits.items()))
    for folder, names in splits.items():
        if not names or names != expected:
            raise ValueError(f"{folder} has the splits {names}, {reference} has {expected}")
