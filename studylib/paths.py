"""Where things lie, whatever the working directory: notebooks run from their own folder, papermill from the root."""

import os
from pathlib import Path

ROOT = Path(os.environ.get("STUDYLIB_ROOT", Path(__file__).resolve().parents[1]))
PARAMS = ROOT / "params"
RUNS = ROOT / "runs"
FIGURES = ROOT / "figures"
CACHE = Path(os.environ.get("STUDYLIB_CACHE", ROOT / ".cache"))
