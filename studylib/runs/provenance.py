"""What a run was made of: code, versions, machine, data, parameters. Files are written whole or not at all."""

import hashlib
import json
import math
import os
import platform
import re
import resource
import subprocess
import tempfile
import time
from collections.abc import Iterable, Iterator
from functools import lru_cache
from importlib import metadata
from pathlib import Path

from studylib.text.files import read_object

PACKAGE = Path(__file__).resolve().parents[1]
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
    """Commit of the package's own repository and whether tracked files differ from it; else nulls.

    Its own is the one whose top is the folder that holds the package, and that tracks it: a copy without .git inside
    another repository is none of that one's commits. `code_hash` identifies a copy too.
    """
    home = PACKAGE.parent
    here = ["rev-parse", "--is-inside-work-tree", "--show-prefix"]  # no prefix: this is the top of the tree
    if _git(home, *here) != "true" or not _git(home, "ls-files", "--", f"{PACKAGE.name}/{Path(__file__).name}"):
        return {"commit": None, "dirty": None}
    status = _git(home, "status", "--porcelain", "--untracked-files=no")
    return {"commit": _git(home, "rev-parse", "HEAD"), "dirty": None if status is None else bool(status)}


def _git(folder: Path, *args: str) -> str | None:
    """What git says of a folder; None where it refuses. GIT_DIR and its like, as in a hook, speak of another one."""
    own = {name: value for name, value in os.environ.items() if not re.match("GIT_(?!CONFIG_)", name)}
    environment = own | {"GIT_OPTIONAL_LOCKS": "0"}  # runs side by side do not wait for one another
    try:
        command = ["git", "-C", str(folder), *args]
        done = subprocess.run(command, capture_output=True, check=True, env=environment)
    except (OSError, subprocess.CalledProcessError):
        return None
    return done.stdout.decode(errors="replace").strip()


def code_hash(package: Path = PACKAGE) -> str:
    """Content hash of the package's Python files and their names, wherever the package lies.

    Without what editors hide beside them (`.ipynb_checkpoints`, lock files).
    """
    names = sorted(path.relative_to(package).as_posix() for path in package.rglob("*.py"))
    return files_hash(package, [name for name in names if not any(part.startswith(".") for part in name.split("/"))])


def files_hash(folder: Path, names: Iterable[str]) -> str:
    """Short hash of files of a folder: their names in it and their bytes."""
    hashed = hashlib.sha256()
    for name in names:
        stat = (folder / name).stat()
        hashed.update(f"{name} {_file_hash(folder / name, stat.st_size, stat.st_mtime_ns, stat.st_ino)}\n".encode())
    return hashed.hexdigest()[:16]


@lru_cache(maxsize=4096)  # a model's weights are read once, unless they change
def _file_hash(path: Path, *state: int) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


CODE = code_hash()  # of what is imported; files may be edited while a run goes on


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
        "finished": True, "params": params, "git": git_state(), "code": CODE, "machine": machine(),
        "versions": {name: metadata.version(name) for name in PACKAGES}, "peak_memory_gb": peak_memory_gb(),
        "wall_seconds": time.time() - started, "randomness": "numpy SeedSequence of (seed, crc32(purpose), index)",
        **facts,
    }  # fmt: skip
    write_json(run_dir / "manifest.json", manifest)
    return manifest
