"""The floor plan: which room may import which, how large rooms and files may be; what is imported is declared."""

import ast
import re
import sys
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "studylib"
FILES = sorted(PACKAGE.rglob("*.py"))
# each may import what stands before it
ORDER = """names paths processes randomness typed < weights text < axes params cells < runs < scenarios < rewards
< policy < judge < training < evaluation < claims < run compare demo study < instruments command_parts colab address
< commands < __main__"""
RANK = {room: rank for rank, rooms in enumerate(ORDER.split("<")) for room in rooms.split()}
ON_COLAB = {"google", "pip"}  # what colab.py imports is there, or nobody asks for it
OPTIONAL = {"sentence-transformers"}  # of the extra `embeddings`


def room_of(path: Path) -> str:
    """The first part of a module's name below studylib: a package or a single file."""
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imports(path: Path) -> set[str]:
    """Every module that a file imports, at its top and inside functions; `from a import b` gives a.b and a."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: imports are absolute"
            names |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def rooms_imported(path: Path) -> set[str]:
    parts = [name.split(".") for name in imports(path) if name.startswith("studylib.")]
    return {part[1] for part in parts if part[1] != "__version__"} - {room_of(path)}


def lines(paths) -> int:
    return sum(len(path.read_text().splitlines()) for path in paths)


def test_every_room_has_its_place_in_the_order():
    rooms = {room_of(path) for path in FILES} - {"__init__"}
    assert rooms == set(RANK)


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_point_backwards(path):
    if room_of(path) != "__init__":
        forwards = {room for room in rooms_imported(path) if RANK[room] > RANK[room_of(path)]}
        assert not forwards, f"{path.relative_to(ROOT)} imports {', '.join(sorted(forwards))}, which come after it"


def test_no_two_packages_import_each_other():
    packages = {path.name for path in PACKAGE.iterdir() if (path / "__init__.py").exists()}
    pairs = {(room_of(path), room) for path in FILES for room in rooms_imported(path)}
    circles = {(a, b) for a, b in pairs if (b, a) in pairs and {a, b} <= packages}
    assert not circles


def test_no_file_is_longer_than_300_lines():
    assert not {str(path.relative_to(ROOT)): lines([path]) for path in FILES if lines([path]) > 300}


def test_no_room_holds_more_than_a_fifth_of_the_lines():
    rooms = {room: lines(path for path in FILES if room_of(path) == room) for room in RANK}
    assert not {room: count for room, count in rooms.items() if count > lines(FILES) / 5}


def test_no_module_but_the_command_line_is_a_program():
    programs = {path for path in FILES if re.search(r'^if __name__ == "__main__"', path.read_text(), re.MULTILINE)}
    assert programs == {PACKAGE / "__main__.py"}


def test_what_is_imported_is_declared():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    declared = {canonicalize_name(Requirement(line).name) for line in project["dependencies"]} | OPTIONAL
    top = {name.partition(".")[0] for path in FILES for name in imports(path)} - set(sys.stdlib_module_names)
    distributions = packages_distributions()
    for name in sorted(top - {"studylib", *ON_COLAB}):
        assert declared & {canonicalize_name(one) for one in distributions[name]}, name


def test_no_text_speaks_of_a_module_as_a_program():
    """The programs are the commands of `python -m studylib`."""
    texts = [*FILES, *(path for name in ("README.md", "Makefile", "docs", "notebooks", "params", "workflow")
                       for path in (ROOT / name, *(ROOT / name).rglob("*")) if path.is_file())]  # fmt: skip
    assert not [path for path in texts if re.search(r"-m studylib\.\w", path.read_text())]
