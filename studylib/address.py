"""Where this copy of the repository is published: said once, in pyproject.toml, and written into all that name it.

The first cell of the notebooks clones from there on Colab, the badge of the README opens a notebook there, and
CITATION.cff names it.
"""

import json
import re
from pathlib import Path

PLACE = re.compile(r'^repository = "(.*)"$', re.MULTILINE)  # in [tool.studylib] of pyproject.toml
CELL = re.compile(r'ADDRESS = "(.*?)"')  # in the first cell of a notebook
CITED = re.compile(r"^repository-code: .*\n", re.MULTILINE)
BADGE = re.compile(r"(<!-- badge -->).*?(<!-- end of badge -->)", re.DOTALL)
ALLOWED = re.compile(r"https://[\w.-]+/[\w.~-]+(/[\w.~-]+)+")
COLAB = "https://colab.research.google.com"
OPENED = "notebooks/3_run_condition.ipynb"


def address(root: Path) -> str:
    """What pyproject.toml says; "" where nobody has published this copy yet."""
    return PLACE.search((root / "pyproject.toml").read_text())[1]


def badge(url: str) -> str:
    """Opens a notebook on Colab; "" of an address that Colab cannot open notebooks from."""
    at = re.fullmatch(r"https://github\.com/([\w.-]+/[\w.-]+)", url)
    opened = f"{COLAB}/github/{at[1]}/blob/main/{OPENED}" if at else ""
    return f"[![Open in Colab]({COLAB}/assets/colab-badge.svg)]({opened})" if at else ""


def write_address(url: str, root: Path) -> list[Path]:
    """Write an address into pyproject.toml, README.md, CITATION.cff and the notebooks; returns the files that changed.

    Raises ValueError for anything else than the https address of a repository, or "" for none.
    """
    url = url.removesuffix("/").removesuffix(".git")
    if url and not ALLOWED.fullmatch(url):
        raise ValueError(f"address {url!r} is not allowed: the https address of a repository, or '' for none")
    changes = {
        root / "pyproject.toml": lambda text: PLACE.sub(f'repository = "{url}"', text),
        root / "README.md": lambda text: BADGE.sub(lambda mark: mark[1] + badge(url) + mark[2], text),
        root / "CITATION.cff": lambda text: CITED.sub("", text) + f"repository-code: {json.dumps(url)}\n" * bool(url),
        **{path: lambda text: _in_cell(text, url) for path in sorted((root / "notebooks").glob("*.ipynb"))},
    }  # fmt: skip
    changed = []
    for path, change in changes.items():
        text = path.read_text(encoding="utf-8")
        if (new := change(text)) != text:
            path.write_text(new, encoding="utf-8")
            changed.append(path)
    return changed


def _in_cell(text: str, url: str) -> str:
    """A notebook with the address in its first cell of code."""
    notebook = json.loads(text)
    for cell in notebook["cells"]:
        if cell["cell_type"] == "code":
            cell["source"] = [CELL.sub(f'ADDRESS = "{url}"', line) for line in cell["source"]]
            break
    return json.dumps(notebook, indent=1, ensure_ascii=False) + "\n"
