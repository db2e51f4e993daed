"""Run folders as long tables of logs, settings and provenance, and which folders are runs.

A run folder is the first folder on the way down that holds one of `MARKS`; what lies deeper (adapter, checkpoints)
belongs to it. It is complete when its manifest, written last, says so. A broken file stops the comparison of the axis
and profile that its folder lies in, with a sentence that names it, and no other comparison.

What the answers are worth is read by `evaluation/table.py`. null in a log is no fault: no answer could be scored there,
and the value is NaN (which older runs wrote themselves).
"""

import json
import os
from collections.abc import Iterable, Iterator
from pathlib import Path

import pandas as pd

from studylib.names import of_today
from studylib.paths import RUNS
from studylib.runs.folder import CONFIG, MANIFEST, METRICS, SUMMARY, is_complete

LAYOUT = ("axis", "profile", "source", "condition", "seed")  # folders from the root down to a run, as it writes them
MARKS = {CONFIG, MANIFEST, METRICS, SUMMARY}
AGAIN = "delete the folder and make the run again"
SPLITS = (  # reading order: the primary split first
    "held_out_messages", "held_out_domains", "held_out", "held_out_silent", "held_out_styles",
)  # fmt: skip
CONDITIONS = ("narrow", "medium", "broad")  # reading order; other conditions follow by name, warm_start last
WARM_START = "warm_start"
PREFIX, SEEN = "held_out/", ("accuracy", "faithful")  # of columns with what a look sees; the first is always there
KEYS = ["world", "condition", "seed"]


def read_curves(root: Path | str = RUNS, *, axis: str, profile: str) -> pd.DataFrame:
    """One row per complete run x logged step: world, condition, seed, step and the columns of metrics.jsonl.

    A run resumed from a checkpoint logs the steps after it a second time; the model went on from the last one, so the
    last line of a step counts. NaN: no answer of the step could be scored.
    """
    tables = []
    for folder, key in complete_runs(root, axis, profile):
        path = folder / METRICS
        lines = [line for line in _read_lines(path) if "reward" in line]  # a trainer's closing line has times only
        if not lines and read_json(folder / CONFIG).get("steps") == 0:
            continue  # a condition without training
        if not lines:
            raise ValueError(f"no training step with a reward in {path}; {AGAIN}")
        table = _numbers(path, pd.DataFrame(lines)).drop_duplicates("step", keep="last").sort_values("step")
        tables.append(table.assign(**key)[[*KEYS, "step", *table.columns.drop("step")]])
    return pd.concat(tables, ignore_index=True)


def read_held_out(root: Path | str = RUNS, *, axis: str, profile: str) -> pd.DataFrame:
    """One row per complete run x look at its held-out answers: world, condition, seed, step, and a column of shares for
    each of `SEEN`, NaN where a run has none. Step 0 is before training. No rows of runs that were not looked at."""
    tables = []
    for folder, key in complete_runs(root, axis, profile):
        if lines := [line for line in _read_lines(folder / METRICS) if PREFIX + SEEN[0] in line]:
            tables.append(looks(_numbers(folder / METRICS, pd.DataFrame(lines)).assign(**key)))
    return pd.concat(tables or [pd.DataFrame(columns=[*KEYS, "step", *SEEN])], ignore_index=True)


def looks(logged: pd.DataFrame) -> pd.DataFrame:
    """The looks among the lines of metrics.jsonl, in order: `KEYS`, step and a column for each of `SEEN`."""
    table = logged.rename(columns={PREFIX + name: name for name in SEEN}).reindex(columns=[*KEYS, "step", *SEEN])
    return table.dropna(subset=[SEEN[0]]).drop_duplicates("step", keep="last").sort_values("step")


def read_provenance(root: Path | str = RUNS, *, axis: str, profile: str) -> pd.DataFrame:
    """One row per complete run: world, condition, seed, `plan` (hash of the analysis plan when it was made, "" for
    none), commit, whether tracked files differed from it, `code` (hash of the package's files, "" where none was
    kept), versions, device, wall time in seconds of all its sittings, and its folder."""
    rows = []
    for folder, key in complete_runs(root, axis, profile):
        made = read_json(folder / MANIFEST)
        git, versions = made.get("git") or {}, made.get("versions") or {}
        rows.append({
            **key, "plan": made.get("plan") or "", "commit": (git.get("commit") or "")[:12], "dirty": git.get("dirty"),
            "code": made.get("code") or "", "torch": versions.get("torch"), "trl": versions.get("trl"),
            "gpu": (made.get("machine") or {}).get("gpu"), "wall_seconds": _seconds(folder, made),
            "folder": str(folder.relative_to(root)),
        })  # fmt: skip
    return pd.DataFrame(rows).sort_values(KEYS, ignore_index=True)


def _seconds(folder: Path, made: dict) -> float | None:
    """Wall time of a run; of one that was resumed, the steps before its last start as long as they took."""
    seconds, resumed_from = made.get("wall_seconds"), made.get("resumed_from") or 0
    if seconds is None or not resumed_from:
        return seconds
    earlier = {line.get("step") or 0: line.get("step_time") or 0.0 for line in _read_lines(folder / METRICS)}
    return seconds + sum(taken for step, taken in earlier.items() if step <= resumed_from)


def profiles_of(made: pd.DataFrame) -> set[str]:
    """Profiles of the runs in a table of `read_provenance`, as their folders tell; none of a table without folders."""
    place = LAYOUT.index("profile")
    return {Path(folder).parts[place] for folder in made.get("folder", [])}


def read_settings(root: Path | str = RUNS, *, axis: str, profile: str) -> pd.DataFrame:
    """One row per complete run: world, condition, seed, and what its config.json holds (NaN where it lacks it), the
    objective by its name of today."""
    settings = [{**of_today(read_json(folder / CONFIG)), **key} for folder, key in complete_runs(root, axis, profile)]
    return pd.DataFrame(settings, dtype=object)


def run_folders(root: Path | str = RUNS) -> list[Path]:
    """Every run folder below root, complete or not, sorted."""
    if not Path(root).is_dir():
        raise ValueError(f"no folder of runs at {root}")
    folders = []
    for folder, below, files in os.walk(root):
        if MARKS.intersection(files):
            folders.append(Path(folder))
            below.clear()  # a checkpoint of a model has a config.json of its own
    return sorted(folders)


def incomplete_runs(root: Path | str = RUNS) -> list[Path]:
    """Run folders that the comparison leaves out because they did not finish, of every axis and profile."""
    return [folder for folder in run_folders(root) if not _seems_finished(folder)]


def other_profiles(root: Path | str, axis: str, profile: str) -> pd.Series:
    """Complete runs of the same axis under other profiles, which a comparison leaves out: profile -> number of runs."""
    places = (_place(folder, root) for folder in run_folders(root) if _seems_finished(folder))
    names = [place["profile"] for place in places if place and place["axis"] == axis]
    return pd.Series([name for name in names if name != profile], dtype=object).value_counts().sort_index()


def ordered(names: Iterable[str], first: tuple[str, ...] = CONDITIONS) -> list[str]:
    """Distinct names in reading order: those of `first`, then the others by name, then the warm start."""
    names = set(names)
    rest = sorted(names.difference(first, {WARM_START}))
    return [name for name in first if name in names] + rest + [WARM_START] * (WARM_START in names)


def complete_runs(root: Path | str, axis: str, profile: str) -> Iterator[tuple[Path, dict]]:
    """Folder and key of each complete run of one axis and profile; refuses a key that occurs twice, and none at all."""
    seen, remedy = {}, f"python -m studylib study --axis {axis} --profile {profile} trains them"
    if not Path(root).is_dir():
        raise ValueError(f"no folder of runs at {root}: {remedy}")
    for folder in run_folders(root):
        key = _key(folder, root, axis, profile)
        if key is None:
            continue
        other = seen.setdefault(tuple(key.values()), folder)
        if other != folder:
            raise ValueError(f"two runs of {_words(key)}: {other} and {folder}")
        yield folder, key
    if not seen:
        raise ValueError(f"no complete run of axis {axis!r} with profile {profile!r} below {root}: {remedy}")


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
    path = folder / CONFIG
    config = read_json(path)
    if config.get("world"):
        config |= {"source": config["world"]}  # its folder, and in every table the world, bear that name
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
        apart = f"{wrong[0]} {config[wrong[0]]!r}, its folder {place[wrong[0]]!r}"
        raise ValueError(f"{folder}: its config.json says {apart}; {AGAIN}")


def _finished(folder: Path) -> bool:
    """Has it a manifest that says so? Refuses one that cannot be read."""
    return is_complete(folder) and read_json(folder / MANIFEST).get("finished") is True


def _seems_finished(folder: Path) -> bool:
    """The same where a broken manifest must not stop us: it does not say so."""
    try:
        return _finished(folder)
    except ValueError:
        return False


def read_json(path: Path) -> dict:
    """A mapping; a file that is missing, cut or holds something else is refused by name."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise broken(path, error) from error
    if not isinstance(content, dict):
        raise ValueError(f"{path} holds a {type(content).__name__}, not a mapping; {AGAIN}")
    return content


def _read_lines(path: Path) -> list[dict]:
    try:
        lines = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    except (OSError, ValueError) as error:
        raise broken(path, error) from error
    if not all(isinstance(line, dict) for line in lines):
        raise ValueError(f"{path} has a line that is no mapping; {AGAIN}")
    return lines


def _numbers(path: Path, logged: pd.DataFrame) -> pd.DataFrame:
    """Logged steps with null as NaN; refuses a line without a step, and a reward that is no number."""
    if "step" not in logged or logged["step"].isna().any():
        raise ValueError(f"{path} has a line without a step; {AGAIN}")
    others = logged.select_dtypes(exclude="number")  # columns with null alone, or with a text
    wrong = {name: [value for value in others[name].dropna() if type(value) not in (int, float)] for name in others}
    for name in ("reward", *(PREFIX + seen for seen in SEEN)):
        if wrong.get(name):
            raise ValueError(f"{path}: {name} = {wrong[name][0]!r} is no number; {AGAIN}")
    return logged.assign(**{name: others[name].astype(float) for name in others if not wrong[name]})


def broken(path: Path, error: Exception) -> ValueError:
    what = "is missing" if isinstance(error, FileNotFoundError) else "cannot be read: it is empty, cut or damaged"
    return ValueError(f"{path} {what}; {AGAIN}")


def _words(key: dict) -> str:
    return ", ".join(f"{name} {value}" for name, value in key.items())
