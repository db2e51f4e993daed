"""What is in a folder, by content and not by name: a name stays when a judge or a model is trained again."""

import hashlib
from functools import lru_cache
from pathlib import Path

from studylib.params import RunParams
from studylib.paths import from_root


def folder_digest(folder: Path | str) -> str:
    """Short hash of the files below `folder`: their paths in it and their bytes."""
    files = sorted(path for path in Path(folder).rglob("*") if path.is_file())
    if not files:
        raise ValueError(f"no file in {folder}")
    whole = hashlib.sha256()
    for path in files:
        stat = path.stat()
        whole.update(f"{path.relative_to(folder).as_posix()}\0".encode())
        whole.update(_file_digest(path, stat.st_size, stat.st_mtime_ns, stat.st_ino))
    return whole.hexdigest()[:16]


@lru_cache(maxsize=4096)  # a model's weights are read once, unless they change
def _file_digest(path: Path, *state: int) -> bytes:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").digest()


def contents(params: RunParams) -> dict[str, str]:
    """Content hashes of the folders that a run names: `model_content`, `judge_content`, `embedder_content`.

    They are in the run's configuration, so that a run does not go on, and is not compared, with another content.
    """
    found = {}
    if params.model != "tiny" and Path(params.model).is_dir():
        found["model_content"] = folder_digest(params.model)
    if params.rubric_grader == "judge" and "rubric" in params.reward_weights:
        found["judge_content"] = folder_digest(from_root(params.judge))
    if params.embedder != "words" and Path(params.embedder).is_dir():
        found["embedder_content"] = folder_digest(params.embedder)
    return found
