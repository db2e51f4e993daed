"""The examples of docs/extend.md, added to the study as a user would: by one file that is imported."""

import re
import runpy
from pathlib import Path

from studylib import names

PAGE = Path(__file__).resolve().parents[2] / "docs" / "extend.md"
REGISTRIES = (names.OBJECTIVES, names.REWARDS, names.SHAPINGS, names.SOURCES, names.ENDPOINTS)


def example(kind: str) -> str:
    """The code that the page shows for a reward, a source, ..."""
    (code,) = re.findall(rf"<!-- code: {kind} -->\n```\w+\n(.*?)```", PAGE.read_text(), re.DOTALL)
    return code


def add_example(kind: str, folder: Path, monkeypatch) -> None:
    """Writes the example to a file of the user's own and runs it; what it registers is gone when the test ends."""
    for registry in REGISTRIES:
        monkeypatch.setattr(registry, "_records", dict(registry.items()))
    path = folder / f"{kind}.py"
    path.write_text(example(kind))
    runpy.run_path(str(path))
