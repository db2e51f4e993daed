"""What is in a folder, by content and not by name: a name stays when a judge or a model is trained again."""

from pathlib import Path

from studylib.names import model_of
from studylib.params import RunParams
from studylib.paths import from_root
from studylib.runs.provenance import files_hash


def folder_digest(folder: Path | str) -> str:
    """Short hash of the files below `folder`: their names in it and their bytes."""
    folder = Path(folder)
    names = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
    if not names:
        raise ValueError(f"no file in {folder}")
    return files_hash(folder, names)


def contents(params: RunParams) -> dict[str, str]:
    """Content hashes of the folders that a run names: `model_content`, `judge_content`, `embedder_content`.

    They are in the run's configuration, so that a run does not go on, and is not compared, with another content. A
    model of the package index is such a folder too, and is fetched where it is not in the cache.
    """
    kept = {}
    fetch = model_of(params.model).fetch
    if fetch or Path(params.model).is_dir():
        kept["model_content"] = folder_digest(fetch() if fetch else params.model)
    if params.rubric_grader == "judge" and "rubric" in params.reward_weights:
        kept["judge_content"] = folder_digest(from_root(params.judge))
    if params.embedder != "words" and Path(params.embedder).is_dir():
        kept["embedder_content"] = folder_digest(params.embedder)
    return kept
