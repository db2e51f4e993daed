"""What a run was made by: the code and its commit, the versions of libraries, the machine and its memory."""

import hashlib
import os
import platform
import re
import resource
import subprocess
from collections.abc import Iterable
from functools import lru_cache
from importlib import metadata
from pathlib import Path

PACKAGE = Path(__file__).resolve().parents[1]
MODULE = Path(__file__).resolve().relative_to(PACKAGE).as_posix()
PACKAGES = (
    "torch", "transformers", "trl", "peft", "bitsandbytes", "datasets", "accelerate", "papermill", "numpy", "pandas",
)  # fmt: skip


def git_state() -> dict:
    """Commit of the package's own repository and whether tracked files differ from it; else nulls.

    Its own is the one whose top is the folder that holds the package, and that tracks it: a copy without .git inside
    another repository is none of that one's commits. `code_hash` identifies a copy too.
    """
    home = PACKAGE.parent
    here = ["rev-parse", "--is-inside-work-tree", "--show-prefix"]  # no prefix: this is the top of the tree
    if _git(home, *here) != "true" or not _git(home, "ls-files", "--", f"{PACKAGE.name}/{MODULE}"):
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


def versions() -> dict[str, str]:
    return {name: metadata.version(name) for name in PACKAGES}
