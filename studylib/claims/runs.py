"""Run folders as long tables: the only way in which the comparison sees a run.

A run folder is the first folder on the way down that holds one of `MARKS`; what lies deeper (adapter, checkpoints)
belongs to it. It is complete when its manifest, written last, says so.
"""

import json
import math
import os
from collections.abc import Iterable, Iterator
from pathlib import Path

import pandas as pd

from studylib.paths import RUNS

MARKS = {"config.json", "manifest.json", "metrics.jsonl", "summary.json"}
ENDPOINTS = ("accuracy_sampled", "accuracy_greedy", "score_sampled", "score_greedy")
SPLITS = ("held_out_domains", "held_out", "held_out_styles")  # reading order: the primary split first
CONDITIONS = ("narrow", "medium", "broad")  # reading order; other conditions follow by name, warm_start last
WARM_START = "warm_start"
KEYS = ["world", "condition", "seed"]
RUN_COLUMNS = [*KEYS, "split", "endpoint", "before", "after"]


def read_runs(root: Path | str = RUNS, *, axis: str, profile: str) -> pd.DataFrame:
    """One row per complete run x split x endpoint: world, condition, seed, split, endpoint, before, after."""
    rows, splits = [], {}
    for folder, key in complete_runs(root, axis, profile):
        scores = read_json(folder / "summary.json").get("splits") or {}
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
    last line of a step counts.
    """
    tables = []
    for folder, key in complete_runs(root, axis, profile):
        path = folder / "metrics.jsonl"
        lines = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
        lines = [line for line in lines if "reward" in line]  # a trainer's closing line has times only
        if not lines and read_json(folder / "config.json").get("steps") == 0:
            continue  # a condition without training
        if not lines:
            raise ValueError(f"no training step with a reward in {path}")
        table = pd.DataFrame(lines).drop_duplicates("step", keep="last").sort_values("step")
        tables.append(table.assign(**key)[[*KEYS, "step", *table.columns.drop("step")]])
    return pd.concat(tables, ignore_index=True)


def read_provenance(root: Path | str = RUNS, *, axis: str, profile: str) -> pd.DataFrame:
    """One row per complete run: world, condition, seed, `plan` (hash of the analysis plan when it was made, "" for
    none), commit, whether tracked files differed from it, versions, device, wall time in seconds, and its folder."""
    rows = []
    for folder, key in complete_runs(root, axis, profile):
        made = read_json(folder / "manifest.json")
        git, versions = made.get("git") or {}, made.get("versions") or {}
        rows.append({
            **key, "plan": made.get("plan") or "", "commit": (git.get("commit") or "")[:12], "dirty": git.get("dirty"),
            "torch": versions.get("torch"), "trl": versions.get("trl"), "gpu": (made.get("machine") or {}).get("gpu"),
            "wall_seconds": made.get("wall_seconds"), "folder": str(folder.relative_to(root)),
        })  # fmt: skip
    return pd.DataFrame(rows).sort_values(KEYS, ignore_index=True)


def read_answers(root: Path | str = RUNS, *, axis: str, profile: str) -> pd.DataFrame:
    """One row per evaluation answer after training: world, condition, seed, and the columns of responses.parquet.

    Refuses a run without answers, and an answer that is there twice.
    """
    tables = []
    for folder, key in complete_runs(root, axis, profile):
        path = folder / "responses.parquet"
        if not path.is_file():
            raise ValueError(f"{folder} has no responses.parquet: no analysis of its answers")
        answers = pd.read_parquet(path)
        twice = answers[answers.duplicated(["split", "id", "k"])]
        if len(twice):
            first = twice.iloc[0]
            raise ValueError(
                f"{path}: {len(twice)} answers are there twice; the first is {first['id']}, k = {first['k']}"
            )
        if answers["verdict"].isna().all() and "score" in answers:
            answers["verdict"] = answers["score"]  # open responses: what a rubric gives is their outcome
        if answers["verdict"].isna().any():
            raise ValueError(f"{path}: {int(answers['verdict'].isna().sum())} answers have no verdict")
        tables.append(answers.assign(**key)[[*KEYS, *answers.columns]])
    return pd.concat(tables, ignore_index=True)


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
    return [folder for folder in run_folders(root) if not _finished(folder)]


def ordered(names: Iterable[str], first: tuple[str, ...] = CONDITIONS) -> list[str]:
    """Distinct names in reading order: those of `first`, then the others by name, then the warm start."""
    names = set(names)
    rest = sorted(names.difference(first, {WARM_START}))
    return [name for name in first if name in names] + rest + [WARM_START] * (WARM_START in names)


def complete_runs(root: Path | str, axis: str, profile: str) -> Iterator[tuple[Path, dict]]:
    """Folder and key of each complete run of one axis and profile; refuses a key that occurs twice, and none at all."""
    seen = {}
    for folder in filter(_finished, run_folders(root)):
        config = read_json(folder / "config.json")
        missing = [name for name in ("axis", "profile", "source", "condition", "seed") if name not in config]
        if missing:
            raise ValueError(f"{folder / 'config.json'} lacks {', '.join(missing)}")
        if (config["axis"], config["profile"]) != (axis, profile):
            continue
        key = {"world": config["source"], "condition": config["condition"], "seed": int(config["seed"])}
        other = seen.setdefault(tuple(key.values()), folder)
        if other != folder:
            raise ValueError(f"two runs of {_words(key)}: {other} and {folder}")
        yield folder, key
    if not seen:
        raise ValueError(f"no complete run of axis {axis!r} with profile {profile!r} below {root}")


def _finished(folder: Path) -> bool:
    manifest = folder / "manifest.json"
    return manifest.exists() and read_json(manifest).get("finished") is True


def _endpoints(phases: dict) -> list[str]:
    """Those that a split of a run has: accuracies, or scores by a rubric, or both."""
    present = [name for name in ENDPOINTS if any(name in endpoints for endpoints in phases.values())]
    return present or list(ENDPOINTS[:1])


def _score(folder: Path, split: str, phases: dict, phase: str, endpoint: str) -> float:
    value = phases.get(phase, {}).get(endpoint)
    if not isinstance(value, int | float) or math.isnan(value):
        raise ValueError(f"{folder}: {endpoint} {phase} training on {split} is {value!r}, not a number")
    return float(value)


def _same_splits(splits: dict[Path, list[str]]) -> None:
    """Runs compare only on the same evaluation splits."""
    reference, expected = next(iter(splits.items()))
    for folder, names in splits.items():
        if not names or names != expected:
            raise ValueError(f"{folder} has the splits {names}, {reference} has {expected}")


def read_json(path: Path) -> dict:
    return json.loads(path.read_text(encoding="utf-8"))


def _words(key: dict) -> str:
    return ", ".join(f"{name} {value}" for name, value in key.items())
