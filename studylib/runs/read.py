"""Run folders as long tables: the only way in which the comparison sees a run.

A run folder is the first folder on the way down that holds one of `MARKS`; what lies deeper (adapter, checkpoints)
belongs to it. It is complete when its manifest, written last, says so. A broken file stops the comparison of the axis
and profile that its folder lies in, with a sentence that names it, and no other comparison.

null in a summary or in a log is no fault: no answer could be scored there, and the value is NaN (which older runs wrote
themselves). It stops nothing; `tables` says which contrasts lack a run because of it.
"""

import json
import math
import os
from collections.abc import Iterable, Iterator
from pathlib import Path

import pandas as pd

from studylib.paths import RUNS
from studylib.runs.keys import require_keys
from studylib.runs.provenance import is_complete

LAYOUT = ("axis", "profile", "source", "condition", "seed")  # folders from the root down to a run, as it writes them
MARKS = {"config.json", "manifest.json", "metrics.jsonl", "summary.json"}
AGAIN = "delete the folder and make the run again"
ENDPOINTS = ("accuracy_sampled", "accuracy_greedy", "score_sampled", "score_greedy")
RANGES = {"accuracy": (0, 1), "score": (-1, 1)}  # a share of answers; what a rubric gives, P - N at the widest
ANSWER_COLUMNS = {"split", "id", "k", "verdict", "response"}
SPLITS = ("held_out_domains", "held_out", "held_out_styles")  # reading order: the primary split first
CONDITIONS = ("narrow", "medium", "broad")  # reading order; other conditions follow by name, warm_start last
WARM_START = "warm_start"
KEYS = ["world", "condition", "seed"]
RUN_COLUMNS = [*KEYS, "split", "endpoint", "before", "after"]


def read_runs(root: Path | str = RUNS, *, axis: str, profile: str) -> pd.DataFrame:
    """One row per complete run x split x endpoint: world, condition, seed, split, endpoint, before, after.

    NaN: no answer of the run could be scored.
    """
    rows, splits = [], {}
    for folder, key in complete_runs(root, axis, profile):
        scores = _scores(folder / "summary.json")
        splits[folder] = sorted(scores)
        for split, phases in scores.items():
            for endpoint in _endpoints(phases):
                pair = {phase: _score(folder, split, phases, phase, endpoint) for phase in ("before", "after")}
                rows.append({**key, "split": split, "endpoint": endpoint, **pair})
    _same_splits(splits)
    return pd.DataFrame(rows, columns=RUN_COLUMNS)


def read_curves(root: Path | str = RUNS, *, axis: str, profile: str) -> pd.DataFrame:
    """One row per complete run x logged step: world, condition, seed, step and the columns of metrics.jsonl.

    A run resumed from a checkpoint logs the steps after it a second time; the model went on from the last one, so the
    last line of a step counts. NaN: no answer of the step could be scored.
    """
    tables = []
    for folder, key in complete_runs(root, axis, profile):
        path = folder / "metrics.jsonl"
        lines = [line for line in _read_lines(path) if "reward" in line]  # a trainer's closing line has times only
        if not lines and read_json(folder / "config.json").get("steps") == 0:
            continue  # a condition without training
        if not lines:
            raise ValueError(f"no training step with a reward in {path}; {AGAIN}")
        table = _numbers(path, pd.DataFrame(lines)).drop_duplicates("step", keep="last").sort_values("step")
        tables.append(table.assign(**key)[[*KEYS, "step", *table.columns.drop("step")]])
    return pd.concat(tables, ignore_index=True)


def read_provenance(root: Path | str = RUNS, *, axis: str, profile: str) -> pd.DataFrame:
    """One row per complete run: world, condition, seed, `plan` (hash of the analysis plan when it was made, "" for
    none), commit, whether tracked files differed from it, `code` (hash of the package's files, "" where none was
    kept), versions, device, wall time in seconds, and its folder."""
    rows = []
    for folder, key in complete_runs(root, axis, profile):
        made = read_json(folder / "manifest.json")
        git, versions = made.get("git") or {}, made.get("versions") or {}
        rows.append({
            **key, "plan": made.get("plan") or "", "commit": (git.get("commit") or "")[:12], "dirty": git.get("dirty"),
            "code": made.get("code") or "", "torch": versions.get("torch"), "trl": versions.get("trl"),
            "gpu": (made.get("machine") or {}).get("gpu"), "wall_seconds": made.get("wall_seconds"),
            "folder": str(folder.relative_to(root)),
        })  # fmt: skip
    return pd.DataFrame(rows).sort_values(KEYS, ignore_index=True)


def profiles_of(made: pd.DataFrame) -> set[str]:
    """Profiles of the runs in a table of `read_provenance`, as their folders tell; none of a table without folders."""
    place = LAYOUT.index("profile")
    return {Path(folder).parts[place] for folder in made.get("folder", [])}


def read_settings(root: Path | str = RUNS, *, axis: str, profile: str) -> pd.DataFrame:
    """One row per complete run: world, condition, seed, and what its config.json holds (NaN where it lacks it)."""
    found = [{**read_json(folder / "config.json"), **key} for folder, key in complete_runs(root, axis, profile)]
    return pd.DataFrame(found, dtype=object)


def read_answers(root: Path | str = RUNS, *, axis: str, profile: str) -> pd.DataFrame:
    """One row per evaluation answer after training: world, condition, seed, and the columns of responses.parquet.

    correct is 1 or 0; of open responses it is the score of their rubric, NaN where the grader gave none. Refuses a run
    without answers, an answer that is there twice, and one without id, split or k.
    """
    tables = []
    for folder, key in complete_runs(root, axis, profile):
        path = folder / "responses.parquet"
        answers = _read_parquet(path)
        _refuse_wrong_answers(path, answers)
        answers["correct"] = _outcome(path, answers)
        tables.append(answers.assign(**key)[[*KEYS, *answers.columns]])
    return pd.concat(tables, ignore_index=True)


def _outcome(path: Path, answers: pd.DataFrame) -> pd.Series:
    """Verdicts; of a split of open responses, which have none, what a rubric gives. Refuses a closed one without."""
    verdicts = answers["verdict"].astype(float)
    of_open = verdicts.isna().groupby(answers["split"]).transform("all") & ("score" in answers)
    lacks = int((verdicts.isna() & ~of_open).sum())
    if lacks:
        raise ValueError(f"{path}: {lacks} answers have no verdict; {AGAIN}")
    return verdicts.mask(of_open, answers["score"].astype(float)) if of_open.any() else verdicts


def _refuse_wrong_answers(path: Path, answers: pd.DataFrame) -> None:
    try:
        require_keys(answers, "split", "id", "k")
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
    twice = answers[answers.duplicated(["split", "id", "k"])]
    if len(twice):
        first = twice.iloc[0]
        raise ValueError(f"{path}: {len(twice)} answers are there twice; the first is {first['id']}, k = {first['k']}")


def read_unscored(root: Path | str = RUNS, *, axis: str, profile: str) -> pd.DataFrame:
    """One row per complete run x split x phase with answers that could not be scored: world, condition, seed, split,
    phase, and their share of the answers."""
    rows = []
    for folder, key in complete_runs(root, axis, profile):
        for split, phases in _scores(folder / "summary.json").items():
            for phase, endpoints in phases.items():
                share = endpoints.get("unscored")  # accuracies have none
                if isinstance(share, float | int) and share > 0:
                    rows.append({**key, "split": split, "phase": phase, "share": share})
    return pd.DataFrame(rows, columns=[*KEYS, "split", "phase", "share"])


def run_folders(root: Path | str = RUNS) -> list[Path]:
    """Every run folder below root, complete or not, sorted."""
    if not Path(root).is_dir():
        raise ValueError(f"no folder of runs at {root}")
    found = []
    for folder, below, files in os.walk(root):
        if MARKS.intersection(files):
            found.append(Path(folder))
            below.clear()  # a checkpoint of a model has a config.json of its own
    return sorted(found)


def incomplete_runs(root: Path | str = RUNS) -> list[Path]:
    """Run folders that the comparison leaves out because they did not finish, of every axis and profile."""
    return [folder for folder in run_folders(root) if not _seems_finished(folder)]


def other_profiles(root: Path | str, axis: str, profile: str) -> pd.Series:
    """Complete runs of the same axis under other profiles, which a comparison leaves out: profile -> number of runs."""
    places = (_place(folder, root) for folder in run_folders(root) if _seems_finished(folder))
    found = [place["profile"] for place in places if place and place["axis"] == axis]
    return pd.Series([name for name in found if name != profile], dtype=object).value_counts().sort_index()


def ordered(names: Iterable[str], first: tuple[str, ...] = CONDITIONS) -> list[str]:
    """Distinct names in reading order: those of `first`, then the others by name, then the warm start."""
    names = set(names)
    rest = sorted(names.difference(first, {WARM_START}))
    return [name for name in first if name in names] + rest + [WARM_START] * (WARM_START in names)


def complete_runs(root: Path | str, axis: str, profile: str) -> Iterator[tuple[Path, dict]]:
    """Folder and key of each complete run of one axis and profile; refuses a key that occurs twice, and none at all."""
    seen = {}
    for folder in run_folders(root):
        key = _key(folder, root, axis, profile)
        if key is None:
            continue
        other = seen.setdefault(tuple(key.values()), folder)
        if other != folder:
            raise ValueError(f"two runs of {_words(key)}: {other} and {folder}")
        yield folder, key
    if not seen:
        raise ValueError(f"no complete run of axis {axis!r} with profile {profile!r} below {root}")


def _key(folder: Path, root: Path | str, axis: str, profile: str) -> dict | None:
    """World, condition and seed of a complete run of this axis and profile; None for any other folder.

    A broken file stops the study whose folder it lies in; a run elsewhere is none of ours.
    """
    place = _place(folder, root)
    ours = place is None or (place["axis"], place["profile"]) == (axis, profile)
    try:
        if not _finished(folder):
            return None
        config = _config(folder)
    except ValueError:
        if ours:
            raise
        return None
    if ours and place:
        _same_place(folder, place, config)
    if (config["axis"], config["profile"]) != (axis, profile):
        return None
    return {"world": config["source"], "condition": config["condition"], "seed": config["seed"]}


def _config(folder: Path) -> dict:
    path = folder / "config.json"
    config = read_json(path)
    missing = [name for name in LAYOUT if name not in config]
    if missing:
        raise ValueError(f"{path} lacks {', '.join(missing)}; {AGAIN}")
    nameless = [name for name in LAYOUT[:-1] if not isinstance(config[name], str) or not config[name].strip()]
    if nameless:
        raise ValueError(f"{path}: {nameless[0]} = {config[nameless[0]]!r} is no name; {AGAIN}")
    if type(config["seed"]) is not int:
        raise ValueError(f"{path}: seed = {config['seed']!r} is no integer; {AGAIN}")
    return config


def _place(folder: Path, root: Path | str) -> dict | None:
    """What a run folder's path says of its run, where it lies in the order of `LAYOUT`."""
    parts = folder.relative_to(root).parts[-len(LAYOUT) :]
    seed = parts[-1].removeprefix("seed") if parts else ""
    if len(parts) < len(LAYOUT) or not seed.isdecimal() or not parts[-1].startswith("seed"):
        return None
    return dict(zip(LAYOUT, (*parts[:-1], int(seed)), strict=True))


def _same_place(folder: Path, place: dict, config: dict) -> None:
    """A run that was copied or edited by hand: which of the two is it?"""
    wrong = [name for name in LAYOUT if config[name] != place[name]]
    if wrong:
        said = f"{wrong[0]} {config[wrong[0]]!r}, its folder {place[wrong[0]]!r}"
        raise ValueError(f"{folder}: its config.json says {said}; {AGAIN}")


def _finished(folder: Path) -> bool:
    """Has it a manifest that says so? Refuses one that cannot be read."""
    return is_complete(folder) and read_json(folder / "manifest.json").get("finished") is True


def _seems_finished(folder: Path) -> bool:
    """The same where a broken manifest must not stop us: it does not say so."""
    try:
        return _finished(folder)
    except ValueError:
        return False


def _scores(path: Path) -> dict[str, dict]:
    """split -> before and after -> endpoint -> value, as a run writes them."""
    splits = read_json(path).get("splits") or {}
    cells = [splits, *splits.values()] if isinstance(splits, dict) else [splits]
    cells += [phase for cell in cells[1:] if isinstance(cell, dict) for phase in cell.values()]
    if not all(isinstance(cell, dict) for cell in cells):
        raise ValueError(f"{path} has no table of splits, before and after training; {AGAIN}")
    return splits


def range_of(endpoint: str) -> tuple[int, int]:
    """Lowest and highest value that an endpoint can have."""
    return RANGES[endpoint.split("_")[0]]


def _endpoints(phases: dict) -> list[str]:
    """Those that a split of a run has: accuracies, or scores by a rubric, or both."""
    present = [name for name in ENDPOINTS if any(name in endpoints for endpoints in phases.values())]
    return present or list(ENDPOINTS[:1])


def _score(folder: Path, split: str, phases: dict, phase: str, endpoint: str) -> float:
    """NaN for null, or NaN in older runs: no answer could be scored. Anything else that is no score is refused."""
    where = f"{folder}: {endpoint} {phase} training on {split}"
    if endpoint not in phases.get(phase, {}):
        raise ValueError(f"{where} is missing; {AGAIN}")
    value = phases[phase][endpoint]
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return math.nan
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise ValueError(f"{where} is {value!r}, not a number; {AGAIN}")
    low, high = range_of(endpoint)
    if not low <= value <= high:
        raise ValueError(f"{where} is {value!r}, outside {low}..{high}; {AGAIN}")
    return float(value)


def _same_splits(splits: dict[Path, list[str]]) -> None:
    """Runs compare only on the same evaluation splits."""
    reference, expected = next(iter(splits.items()))
    for folder, names in splits.items():
        if not names or names != expected:
            raise ValueError(f"{folder} has the splits {names}, {reference} has {expected}")


def read_json(path: Path) -> dict:
    """A mapping; a file that is missing, cut or holds something else is refused by name."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise _broken(path, error) from error
    if not isinstance(content, dict):
        raise ValueError(f"{path} holds a {type(content).__name__}, not a mapping; {AGAIN}")
    return content


def _read_lines(path: Path) -> list[dict]:
    try:
        lines = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    except (OSError, ValueError) as error:
        raise _broken(path, error) from error
    if not all(isinstance(line, dict) for line in lines):
        raise ValueError(f"{path} has a line that is no mapping; {AGAIN}")
    return lines


def _numbers(path: Path, logged: pd.DataFrame) -> pd.DataFrame:
    """Logged steps with null as NaN; refuses a line without a step, and a reward that is no number."""
    if "step" not in logged or logged["step"].isna().any():
        raise ValueError(f"{path} has a line without a step; {AGAIN}")
    others = logged.select_dtypes(exclude="number")  # columns with null alone, or with a text
    wrong = {name: [value for value in others[name].dropna() if type(value) not in (int, float)] for name in others}
    if wrong.get("reward"):
        raise ValueError(f"{path}: reward = {wrong['reward'][0]!r} is no number; {AGAIN}")
    return logged.assign(**{name: others[name].astype(float) for name in others if not wrong[name]})


def _read_parquet(path: Path) -> pd.DataFrame:
    try:
        answers = pd.read_parquet(path)
    except (OSError, ValueError) as error:  # what pyarrow raises is a ValueError
        raise _broken(path, error) from error
    missing = sorted(ANSWER_COLUMNS - set(answers))
    if missing:
        raise ValueError(f"{path} lacks the columns {', '.join(missing)}; {AGAIN}")
    return answers


def _broken(path: Path, error: Exception) -> ValueError:
    what = "is missing" if isinstance(error, FileNotFoundError) else "cannot be read: it is empty, cut or damaged"
    return ValueError(f"{path} {what}; {AGAIN}")


def _words(key: dict) -> str:
    return ", ".join(f"{name} {value}" for name, value in key.items())
