"""A wheel of the package, installed in a folder of its own and used outside the repository, without a network.

Run: python -m pytest tests/test_package.py
"""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
FOLDERS = ("studylib", "params", "notebooks", "workflow")
PARTS = (*FOLDERS, "pyproject.toml", "constraints.txt", "setup.py", "README.md", "LICENSE")
HIDDEN = shutil.ignore_patterns("__pycache__", "*.egg-info", ".*")
SHORT = ("steps=2", "answers_per_step=8", "warm_start_steps=2", "eval_scenarios=4", "eval_samples=1", "eval_every=0")


@pytest.fixture(scope="module")
def installed(tmp_path_factory) -> Path:
    """Where a wheel was installed that pip built of a copy of the repository."""
    folder = tmp_path_factory.mktemp("package")
    for name in PARTS:
        if name in FOLDERS:
            shutil.copytree(ROOT / name, folder / "copy" / name, ignore=HIDDEN)
        else:
            shutil.copy(ROOT / name, folder / "copy" / name)
    pip = [sys.executable, "-m", "pip", "-q", "--disable-pip-version-check"]
    offline = ["--no-deps", "--no-index"]
    subprocess.run([*pip, "wheel", *offline, "--no-build-isolation", "-w", folder, folder / "copy"], check=True)
    (wheel,) = folder.glob("studylib-*.whl")
    subprocess.run([*pip, "install", *offline, "--target", folder / "site", wheel], check=True)
    return folder / "site"


@pytest.fixture
def place(tmp_path) -> Path:
    """A working folder whose name has a space and a letter beyond ASCII."""
    folder = tmp_path / "my study é"
    folder.mkdir()
    return folder


def studylib(installed: Path, place: Path, *arguments: str) -> subprocess.CompletedProcess:
    own = {name: value for name, value in os.environ.items() if not name.startswith("STUDYLIB_")}
    environment = own | {"PYTHONPATH": str(installed), "STUDYLIB_CACHE": str(place / "cache")}
    command = [sys.executable, "-m", "studylib", *arguments]
    return subprocess.run(command, cwd=place, env=environment, capture_output=True, text=True)


def test_a_run_is_made_where_python_was_started(installed, place):
    done = studylib(installed, place, "run", "--condition", "narrow", *(f"--set={given}" for given in SHORT))
    assert done.returncode == 0, done.stderr
    manifest = json.loads((place / "runs/inputs/tiny_cpu/local_norms/narrow/seed0/manifest.json").read_text())
    assert manifest["finished"] and manifest["git"] == {"commit": None, "dirty": None}
    assert not list(installed.glob("runs*")) and not (installed / "studylib/home/runs").exists()


def test_a_study_is_planned_from_the_workflow_in_the_package(installed, place):
    workflow = installed / "studylib/home/workflow/Snakefile"
    own = {name: value for name, value in os.environ.items() if not name.startswith("STUDYLIB_")}
    command = [sys.executable, "-m", "snakemake", "-n", "-s", workflow, "--directory", place, "--config", "seeds=1"]
    environment = own | {"PYTHONPATH": str(installed)}
    done = subprocess.run(command, cwd=place, env=environment, capture_output=True, text=True)
    assert done.returncode == 0 and "home/notebooks/3_run_condition.ipynb" in done.stdout, done.stderr


def test_notebooks_are_copied_where_they_are_wanted(installed, place):
    done = studylib(installed, place, "notebooks", "mine", "--json")
    names = [Path(path).name for path in json.loads(done.stdout)["copied"]]
    assert names == sorted(path.name for path in (ROOT / "notebooks").glob("*.ipynb"))
    assert json.loads(studylib(installed, place, "notebooks", "mine", "--json").stdout)["copied"] == []
