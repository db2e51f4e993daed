"""The folder of a run: its files are written whole or not at all, and it belongs to one set of parameters.

notebook.ipynb             the executed notebook, where a notebook made the run
config.json                parameters (name -> scalar), and the content hashes of folders that they name
scenarios.parquet          what was asked: training and evaluation scenarios
instruction.json           where the best of several instructions is asked with: which, and what each reached
responses_before.parquet   every evaluation answer of the policy before training
traces.parquet, traces.json, supervised/
                           where a run was trained on traces of roles first: what was kept, what it took, the adapter
metrics.jsonl              a line per training step, some with a look at held-out answers; that of step 0 has it alone
responses.parquet          every evaluation answer after training
summary.json               endpoints of both: a cache, made again from the three tables where it is missing
adapter/, checkpoints/     the trained policy; where a stopped run goes on
manifest.json              what the run was made of; written last, so that its presence means that the run is complete
"""

import contextlib
import json
import math
import os
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from studylib.params import RunParams
from studylib.runs.provenance import CODE, git_state, machine, peak_memory_gb, versions
from studylib.text.files import read_object

CONFIG, SUMMARY, MANIFEST, METRICS = "config.json", "summary.json", "manifest.json", "metrics.jsonl"
SCENARIOS = "scenarios.parquet"
NO_DIFFERENCE = {"run_root", "eval_every"}  # parameters on which a run's policy and answers do not depend
RESPONSES = {"before": "responses_before.parquet", "after": "responses.parquet"}


@contextlib.contextmanager
def written_whole(path: Path) -> Iterator[Path]:
    """A scratch file beside `path` to write to, which then takes its place: a reader sees the old file or the new one.

    Where the block raises, the old file stays and nothing else.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    number, name = tempfile.mkstemp(dir=path.parent, suffix=".tmp")
    os.close(number)
    try:
        yield Path(name)
        os.chmod(name, 0o644)  # mkstemp's files are their owner's alone
        os.replace(name, path)
    finally:
        Path(name).unlink(missing_ok=True)


def write_json(path: Path, value) -> None:
    """Write a value whole. Raises ValueError, with the file and the name, for NaN and infinity, which are no JSON and
    which other tools refuse: what is not estimable is null (`nulled`)."""
    for name, number in _not_finite(value):
        raise ValueError(f"{path}: {name} = {number!r} is no number of JSON; null where a value is not estimable")
    text = json.dumps(value, indent=1, sort_keys=True, allow_nan=False)
    with written_whole(path) as scratch:
        scratch.write_text(text)


def nulled(value):
    """The same with null in place of every NaN, however deep: for values that may be not estimable."""
    if isinstance(value, dict):
        return {name: nulled(part) for name, part in value.items()}
    if isinstance(value, list | tuple):
        return [nulled(part) for part in value]
    return None if isinstance(value, float) and math.isnan(value) else value


def _not_finite(value, name: str = "") -> Iterator[tuple[str, float]]:
    """Names, with dots, and values of the numbers that are NaN or infinite."""
    if isinstance(value, float) and not math.isfinite(value):
        yield name or "the value", value
    parts = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list | tuple) else ()
    for key, part in parts:
        yield from _not_finite(part, f"{name}.{key}" if name else str(key))


def open_run(run_dir: Path, config: dict) -> None:
    """Write config.json, or refuse a folder that holds a run, begun or complete, with another configuration.

    A parameter that an older run did not have yet counts as its default; where the folder lies and how often training
    is looked at do not count. The config.json of a complete run stays. Answers that were given under another
    configuration before training began are removed: they are those of another policy.
    """
    path = run_dir / CONFIG
    begun = is_complete(run_dir) or (run_dir / METRICS).is_file()
    changed = _changed(read_object(path), config) if path.is_file() else {}
    for name, (was, now) in changed.items() if begun else ():
        raise ValueError(f"{run_dir} holds a run with {name} = {was!r}, not {now!r}; give another run_root")
    if changed or not path.is_file():
        for answers in () if begun else RESPONSES.values():
            (run_dir / answers).unlink(missing_ok=True)
    if not is_complete(run_dir):
        write_json(path, config)


def _changed(old: dict, config: dict) -> dict[str, tuple]:
    """name -> (was, is) of all that differs between two configurations, by name."""
    old, new = _settings(old), _settings(config)
    names = sorted((new.keys() | old.keys()) - NO_DIFFERENCE)
    return {name: (old.get(name), new.get(name)) for name in names if new.get(name) != old.get(name)}


def _settings(config: dict) -> dict:
    """A configuration with every parameter of a run, by the names of today, and what else it holds."""
    return config | RunParams.of_config(config).as_dict()


def is_complete(run_dir: Path) -> bool:
    """The manifest is written last: its presence means that the run is complete."""
    return (run_dir / MANIFEST).is_file()


def write_manifest(run_dir: Path, params: dict, started: float, **facts) -> dict:
    """The record of a finished run. `facts`: data hashes, warm start, precision, resumed_from, ..."""
    manifest = {
        "finished": True, "params": params, "git": git_state(), "code": CODE, "machine": machine(),
        "versions": versions(), "peak_memory_gb": peak_memory_gb(), "wall_seconds": time.time() - started,
        "randomness": "numpy SeedSequence of (seed, crc32(purpose), index)", **facts,
    }  # fmt: skip
    write_json(run_dir / MANIFEST, manifest)
    return manifest
