"""What a run was made of: code, versions, machine, data, parameters. Files are written whole or not at all."""

import json
import math
import os
import platform
import resource
import subprocess
import tempfile
import time
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

from studylib.paths import ROOT
from studylib.reading import read_object

PACKAGES = (
    "torch", "transformers", "trl", "peft", "bitsandbytes", "datasets", "accelerate", "papermill", "numpy", "pandas",
)  # fmt: skip


def write_json(path: Path, value) -> None:
    """Atomic: a reader sees the old file or the new one, never half of it.

    Raises ValueError, with the file and the name, for NaN and infinity, which are no JSON and which other tools refuse:
    what is not estimable is null (`nulled`).
    """
    for name, number in _not_finite(value):
        raise ValueError(f"{path}: {name} = {number!r} is no number of JSON; null where a value is not estimable")
    text = json.dumps(value, indent=1, sort_keys=True, allow_nan=False)
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile("w", dir=path.parent, suffix=".tmp", delete=False) as file:
        file.write(text)
    os.chmod(file.name, 0o644)
    os.replace(file.name, path)


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


def open_run(run_dir: Path, params: dict) -> None:
    """Write config.json, or refuse a folder that holds a run, begun or complete, with other parameters."""
    path = run_dir / "config.json"
    begun = (run_dir / "metrics.jsonl").is_file() or is_complete(run_dir)
    if path.is_file() and begun:
        old = read_object(path)
        changed = sorted(name for name in params.keys() | old.keys() if params.get(name) != old.get(name))
        if changed:
            was, now = old.get(changed[0]), params.get(changed[0])
            raise ValueError(f"{run_dir} holds a run with {changed[0]} = {was!r}, not {now!r}; give another run_root")
    write_json(path, params)


def git_state() -> dict:
    """Commit and whether tracked files differ from it; nulls outside a git checkout."""

    def git(*args: str) -> str | None:
        try:
            done = subprocess.run(["git", "-C", str(ROOT), *args], capture_output=True, text=True, check=True)
        except (OSError, subprocess.CalledProcessError):
            return None
        return done.stdout.strip()

    status = git("status", "--porcelain", "--untracked-files=no")
    return {"commit": git("rev-parse", "HEAD"), "dirty": None if status is None else bool(status)}


def machine() -> dict:
    import torch

    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else None
    return {
        "platform": platform.platform(), "python": platform.python_version(), "cpus": os.cpu_count(),
        "threads": torch.get_num_threads(), "gpu": gpu, "cuda": torch.version.cuda if gpu else None,
    }  # fmt: skip


def peak_memory_gb() -> dict:
    """Peak resident memory of the process and, on a GPU, peak allocated memory; GiB."""
    import torch

    peak = {"cpu": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20}
    if torch.cuda.is_available():
        peak["gpu"] = torch.cuda.max_memory_allocated() / 2**30
    return peak


def is_complete(run_dir: Path) -> bool:
    """The manifest is written last: its presence means that the run is complete."""
    return (run_dir / "manifest.json").is_file()


def write_manifest(run_dir: Path, params: dict, started: float, **facts) -> dict:
    """The record of a finished run. `facts`: data hashes, warm start, precision, resumed_from, ..."""
    manifest = {
        "finished": True, "params": params, "git": git_state(), "machine": machine(),
        "versions": {name: metadata.version(name) for name in PACKAGES}, "peak_memory_gb": peak_memory_gb(),
        "wall_seconds": time.time() - started, "randomness": "numpy SeedSequence of (seed, crc32(purpose), index)",
        **facts,
    }  # fmt: skip
    write_json(run_dir / "manifest.json", manifest)
    return manifest
