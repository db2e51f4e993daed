"""On Colab: install what is missing under the versions that are loaded already, and keep runs in a folder of Drive.

The first cell of every notebook fetches the package and calls `prepare`. This file needs pip and the standard library
alone, because nothing else may be there yet. torch is never installed: Colab's is built for its GPU.
"""

import os
import re
import shutil
import site
import subprocess
import sys
import threading
import time
from importlib import metadata
from pathlib import Path

from pip._vendor.packaging.requirements import Requirement

NEVER = ("torch",)  # installed by nobody but Colab
TRAINS = ("transformers", "trl", "peft", "bitsandbytes", "papermill")  # exact versions, if not of all then of these
ON_DRIVE, EVERY = "/content/drive", 60  # where Drive is mounted; seconds between two copies
SCRATCH = ".tmp"  # files that are not whole yet
MANIFEST = "manifest.json"  # copied last: its presence means that a run is complete


def prepare(top: Path | str, drive: str = "") -> str:
    """Make the package in the folder `top` importable, with what it needs; returns what was done, in words.

    drive: a folder of Drive to keep runs in; "": none. Raises RuntimeError, in one sentence, where Colab's torch does
    not fit or pip cannot install something.
    """
    top = Path(top)
    said = [install(top)]
    for place in site.getsitepackages()[:1]:
        Path(place, "studylib_colab.pth").write_text(f"{top}\n")  # for other processes, such as papermill's kernel
    if str(top) not in sys.path:
        sys.path.insert(0, str(top))
    if token := secret("HF_TOKEN"):
        os.environ.setdefault("HF_TOKEN", token)
    if drive:
        from studylib.paths import RUNS

        said.append(keep_on_drive(RUNS, drive))
    return "\n".join(said)


# --- what is missing -------------------------------------------------------------------------------------------------


def needed(top: Path) -> list[Requirement]:
    """What the package in a folder needs: of a copy of the repository, or of a wheel that was unpacked there."""
    if (top / "pyproject.toml").is_file():
        import tomllib

        return list(map(Requirement, tomllib.loads((top / "pyproject.toml").read_text())["project"]["dependencies"]))
    (of_wheel,) = top.glob("studylib-*.dist-info/METADATA")
    lines = re.findall(r"^Requires-Dist: (.+)$", of_wheel.read_text(), re.MULTILINE)
    return [one for one in map(Requirement, lines) if not one.marker]


def found(name: str) -> str | None:
    """The version of a package that is installed, however it came there; None without one."""
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def fits(one: Requirement) -> bool:
    """Whether an installed version is in the range; of `2.9.0+cu126` the part before the plus counts."""
    version = found(one.name)
    return version is not None and one.specifier.contains(version.partition("+")[0], prereleases=True)


def install(top: Path) -> str:
    """Install what is missing or out of range, and nothing else; returns what was done."""
    wanted = needed(top)
    missing = [one for one in wanted if not fits(one)]
    for one in missing:
        if one.name in NEVER:
            have = found(one.name) or "none"
            raise RuntimeError(f"this runtime has {one.name} {have} and the study needs {one}: choose a newer runtime")
    if not missing:
        return "everything the study needs is here already"
    held = [f"{one.name}=={found(one.name)}" for one in wanted if one not in missing]
    constraints = top / "held.txt"
    constraints.write_text("\n".join(held) + "\n")
    exact = pins(top)
    some = {name: exact[name] for name in TRAINS if name in exact}
    for pinned in (exact, some, {}):  # a pin may not fit what is held
        words = [f"{one.name}=={pinned[one.name]}" if one.name in pinned else str(one) for one in missing]
        command = [sys.executable, "-m", "pip", "install", "-q", "-c", str(constraints), *words]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode == 0:
            now = ", ".join(f"{one.name} {found(one.name)}" for one in missing)
            return f"installed {now}; kept {', '.join(name.replace('==', ' ') for name in held)}"
    last = [line for line in done.stderr.splitlines() if line.strip()] or ["pip said nothing"]
    raise RuntimeError(f"pip could not install {', '.join(one.name for one in missing)}: {last[-1]}")


def pins(top: Path) -> dict[str, str]:
    """Package -> the version that the study is tested with."""
    places = [top / "constraints.txt", top / "studylib/home/constraints.txt"]
    text = next((place.read_text() for place in places if place.is_file()), "")
    return dict(re.findall(r"^([\w.-]+)==(\S+)", text, re.MULTILINE))


def secret(name: str) -> str:
    """A secret of the notebook's owner; "" where there is none, or this notebook may not read it."""
    from google.colab import userdata

    try:
        return userdata.get(name) or ""
    except Exception:  # userdata's own errors, one for each reason
        return ""


# --- runs on Drive ---------------------------------------------------------------------------------------------------


def keep_on_drive(runs: Path, folder: str) -> str:
    """Mount Drive, bring back what an earlier session kept, and copy runs there every minute from now on.

    Runs are written on the machine's own disk, because a run writes many small files and Drive is slow to take them.
    """
    from google.colab import drive

    drive.mount(ON_DRIVE)
    kept = Path(ON_DRIVE, "MyDrive", folder)
    kept.mkdir(parents=True, exist_ok=True)
    back = mirror(kept, runs)
    threading.Thread(target=_copy_on, args=(runs, kept), daemon=True).start()
    return f"runs are kept in MyDrive/{folder}; {back} files of an earlier session are back"


def _copy_on(runs: Path, kept: Path) -> None:
    while True:
        time.sleep(EVERY)
        mirror(runs, kept)


def mirror(source: Path, target: Path) -> int:
    """Copy every file that is new or newer in `source`; returns how many. Each is whole or not there.

    Files go in the order in which they were written, manifests last, so that the marks of a complete run and of a
    complete checkpoint arrive after all that they speak for. Checkpoints that `source` has cleared away go too.
    """
    files = [path for path in source.rglob("*") if path.is_file() and path.suffix != SCRATCH]
    copied = 0
    for path in sorted(files, key=lambda path: (path.name == MANIFEST, path.stat().st_mtime)):
        to = target / path.relative_to(source)
        if to.is_file() and to.stat().st_mtime >= path.stat().st_mtime:
            continue
        to.parent.mkdir(parents=True, exist_ok=True)
        scratch = to.with_name(to.name + SCRATCH)
        try:
            shutil.copy2(path, scratch)
            os.replace(scratch, to)
            copied += 1
        except FileNotFoundError:  # a checkpoint that was cleared away meanwhile
            scratch.unlink(missing_ok=True)
    for old in target.rglob("checkpoint-*"):
        run = source / old.relative_to(target).parent
        if old.is_dir() and any(run.glob("checkpoint-*/complete")) and not (run / old.name).exists():
            shutil.rmtree(old)
    return copied
