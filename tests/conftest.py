"""What the tests share: a cache and parameter files of their own, and a run so small that training takes seconds."""

import os
import shutil
import tempfile
from pathlib import Path

# Before studylib is imported: kernels of executed notebooks inherit it, and no test touches the user's cache.
os.environ["STUDYLIB_CACHE"] = tempfile.mkdtemp(prefix="studylib-cache-")
os.environ["STUDYLIB_PARAMS"] = tempfile.mkdtemp(prefix="studylib-params-")
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("MPLBACKEND", "Agg")

import pytest

from studylib.params import RunParams
from studylib.paths import PARAMS

# Those of the repository, but for the axes whose conditions the tests count: a row more in those is nobody's mistake.
for folder in (Path(__file__).parents[1] / "params", Path(__file__).parent / "params"):
    shutil.copytree(folder, PARAMS, dirs_exist_ok=True)

MINIATURE = {  # every step of a run, at a size that learns nothing
    "warm_start_steps": 2, "steps": 4, "answers_per_step": 8, "generations": 4, "micro_batch": 4, "max_new_tokens": 8,
    "eval_scenarios": 4, "eval_samples": 2, "rollout_batch": 16, "save_every": 2,
}  # fmt: skip


@pytest.fixture
def miniature(tmp_path):
    """Parameters of a miniature run below tmp_path; keyword arguments override."""

    def make(**given) -> RunParams:
        return RunParams.resolve({**MINIATURE, "run_root": str(tmp_path / "runs"), **given})

    return make


@pytest.fixture(scope="session")
def data_dir() -> str:
    """Folder of the published data ($STUDYLIB_DATA or ../shared/data); tests are skipped where it is missing."""
    beside = Path(__file__).resolve().parents[2] / "shared" / "data"
    folder = Path(os.environ.get("STUDYLIB_DATA", beside))
    if not folder.is_dir():
        pytest.skip(f"REAL DATA NOT CHECKED: no folder {folder}; set STUDYLIB_DATA")
    return str(folder)


@pytest.fixture
def gpu(monkeypatch):
    """A pretended CUDA device (tests/pretended_gpu.py): `gpu.card` is settable."""
    from pretended_gpu import pretended_gpu

    with pretended_gpu(monkeypatch) as device:
        yield device
