"""Where things lie, whatever the working directory: notebooks run from their own folder, papermill from the root.

In a copy of the repository everything lies there. A package that was installed from a wheel brings params, notebooks
and the workflow along (`HOME`); its runs and figures are written below the folder in which Python was started, and its
cache lies in the user's.
"""

import contextlib
import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path


def at_home(path: Path | str) -> Path:
    """The path with a leading ~ or ~user written out; raises ValueError for a user without a home folder."""
    try:
        return Path(path).expanduser()
    except RuntimeError:
        raise ValueError(f"path {str(path)!r} is not allowed: there is no home folder {Path(path).parts[0]}") from None


PACKAGE = Path(__file__).resolve().parent
INSTALLED = (PACKAGE / "home").is_dir()  # from a wheel
ROOT = at_home(os.environ.get("STUDYLIB_ROOT", Path.cwd() if INSTALLED else PACKAGE.parent))
HOME = PACKAGE / "home" if INSTALLED else ROOT
PARAMS = at_home(os.environ.get("STUDYLIB_PARAMS", HOME / "params"))
RUNS = ROOT / "runs"
FIGURES = ROOT / "figures"
CACHE = at_home(os.environ.get("STUDYLIB_CACHE", "~/.cache/studylib" if INSTALLED else ROOT / ".cache"))


def from_root(path: Path | str) -> Path:
    """A path as a parameter gives it: relative ones are below the repository, ~ is the home folder."""
    return ROOT / at_home(path)


def cached(kind: str, key: str, build: Callable[[Path], None]) -> Path:
    """Folder of what `build` writes into a folder, kept in the cache; `key` is a hash of all that it depends on."""
    folder = CACHE / kind / key
    if not folder.is_dir():
        folder.parent.mkdir(parents=True, exist_ok=True)
        scratch = Path(tempfile.mkdtemp(dir=folder.parent))
        try:
            build(scratch)
            with contextlib.suppress(OSError):  # another process built the same content meanwhile
                os.rename(scratch, folder)  # atomic: a folder under this name is complete
        finally:
            shutil.rmtree(scratch, ignore_errors=True)
    return folder
