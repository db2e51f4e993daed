"""Reading files: one function for each format, gzipped or not; errors name the file and the line.

Text is UTF-8, with or without a byte order mark. Lines are counted as an editor counts them, so blank lines, which are
skipped, count too.
"""

import gzip
import io
import json
import re
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar

import yaml

from studylib.paths import at_home

GZIP = b"\x1f\x8b"  # first bytes of a gzip file
UTF_16 = (b"\xff\xfe", b"\xfe\xff")
FIELD = re.compile(r'(?:"([^"]*+(?:""[^"]*+)*+)"|([^",\r\n]*+))(,|\r\n|\n|\r|\Z)')  # RFC 4180: quotes around or nowhere
SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")


# --- text ------------------------------------------------------------------------------------------------------------


def read_text(path: Path | str) -> str:
    """The text of a file. Raises ValueError where it is missing, cut off or damaged (gzip), not UTF-8, or holds NUL."""
    path = at_home(path)
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise ValueError(f"{path} cannot be read: {error.strerror or error}") from error
    raw = _unpacked(raw, path) if raw.startswith(GZIP) or (raw and path.suffix == ".gz") else raw
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        kind = "it is UTF-16" if raw.startswith(UTF_16) else f"{error.reason} {error.object[error.start]:#04x}"
        raise ValueError(f"not UTF-8 text in {path}, line {_line(raw[: error.start])}: {kind}") from error
    if "\0" in text:
        raise ValueError(f"not text in {path}, line {_line(text[: text.index(chr(0))].encode())}: it holds a NUL")
    return text


def _unpacked(raw: bytes, path: Path) -> bytes:
    text = bytearray()
    try:
        with gzip.open(io.BytesIO(raw)) as file:
            while chunk := file.read1():
                text += chunk
    except (EOFError, OSError, zlib.error):
        raise ValueError(f"{path} is not a complete gzip file: it can be read up to line {_line(text)}") from None
    return bytes(text)


def _line(before: bytes) -> int:
    """Number, from 1, of the line that follows these bytes."""
    return 1 + before.count(b"\n") + before.count(b"\r") - before.count(b"\r\n")


def read_lines(path: Path | str) -> Iterator[tuple[int, str]]:
    """(line number, line) of every line that is not blank."""
    for number, line in enumerate(io.StringIO(read_text(path), newline=None), start=1):
        if line.strip():
            yield number, line


# --- JSON ------------------------------------------------------------------------------------------------------------


def read_object(path: Path | str) -> dict:
    """The object of a JSON file. Raises ValueError, with file and line, for anything else and for a repeated key."""
    text = read_text(path)
    try:
        content = json.loads(text, object_pairs_hook=_once)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"not JSON in {path}, line {getattr(error, 'lineno', 1)}: {error}") from error
    if not isinstance(content, dict):
        raise ValueError(f"not a JSON object in {path}, line 1: it holds a {type(content).__name__}")
    return content


def read_objects(path: Path | str) -> Iterator[tuple[int, dict]]:
    """(line number, object) of every line of a JSON-lines file. Raises ValueError as `read_object` does."""
    for number, line in read_lines(path):
        try:
            content = json.loads(line, object_pairs_hook=_once)
            if SURROGATE.search(line):
                json.dumps(content, ensure_ascii=False).encode()  # half a character, which no file can hold
        except (ValueError, RecursionError) as error:
            raise ValueError(f"not a JSON object in {path}, line {number}: {line[:80]!r} ({error})") from error
        if not isinstance(content, dict):
            raise ValueError(f"not a JSON object in {path}, line {number}: {line[:80]!r}")
        yield number, content


def _once(pairs: list[tuple[str, object]]) -> dict:
    content = dict(pairs)
    if len(content) < len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f"key {next(name for name in names if names.count(name) > 1)!r} comes twice")
    return content


# --- csv -------------------------------------------------------------------------------------------------------------


def read_cells(path: Path | str) -> Iterator[tuple[int, list[str]]]:
    """(number of its last line, cells) of every record of a csv file (RFC 4180: commas, quotes doubled in quotes).

    Raises ValueError, with file and line, for a quote that is never closed or that stands in an unquoted cell: it would
    swallow or spoil records.
    """
    text, start, line, cells = read_text(path), 0, 0, []
    while start < len(text) or cells:
        field = FIELD.match(text, start)
        if field is None:
            place = f"{path}, line {line + 1}"
            raise ValueError(
                f"a quote in {place} is not closed, or stands inside an unquoted cell: {text[start:][:40]!r}"
            )
        quoted, bare, end = field.groups()
        cells.append(bare if quoted is None else quoted.replace('""', '"'))
        start, line = field.end(), line + _line(field[0].encode()) - 1
        if end != ",":
            if cells != [cells[0]] or cells[0].strip():
                yield line + (not end), cells
            cells = []


# --- YAML ------------------------------------------------------------------------------------------------------------


class CoreLoader(yaml.SafeLoader):
    """Scalars as in the core schema of YAML 1.2, where 010 is ten, and 1:30, yes and 2026-01-01 are text.

    PyYAML reads YAML 1.1, where they are eight, ninety, true and a date. Repeated keys are refused.
    """

    yaml_implicit_resolvers: ClassVar[dict] = {}

    def construct_mapping(self, node, deep=False):
        names = [key.value for key, _ in node.value]
        for i, (key, _) in enumerate(node.value):
            if key.value in names[:i]:
                raise yaml.constructor.ConstructorError(
                    problem=f"key {key.value!r} comes twice", problem_mark=key.start_mark
                )
        return super().construct_mapping(node, deep)


def _integer(loader: CoreLoader, node) -> int:
    text = loader.construct_scalar(node)
    base = {"0o": 8, "0x": 16}.get(text[:2], 10)
    return int(text if base == 10 else text[2:], base)


def _float(loader: CoreLoader, node) -> float:
    return float(loader.construct_scalar(node).replace(".inf", "inf").replace(".nan", "nan").lower())


for _tag, _pattern in {
    "null": r"~|null|Null|NULL|",
    "bool": r"true|True|TRUE|false|False|FALSE",
    "int": r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+",
    "float": r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)",
}.items():
    CoreLoader.add_implicit_resolver(f"tag:yaml.org,2002:{_tag}", re.compile(rf"(?:{_pattern})\Z"), None)
CoreLoader.add_constructor("tag:yaml.org,2002:int", _integer)
CoreLoader.add_constructor("tag:yaml.org,2002:float", _float)


def read_mapping(path: Path | str) -> dict:
    """The mapping of a YAML file. Raises ValueError, with file and line, for anything else and for a repeated key."""
    text = read_text(path)
    try:
        content = yaml.load(text, Loader=CoreLoader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        raise ValueError(f"not YAML in {path}, line {mark.line + 1}: {error.problem or error.context}") from error
    except yaml.reader.ReaderError as error:
        line = _line(text[: error.position].encode())
        raise ValueError(f"not YAML in {path}, line {line}: {error.reason}") from error
    except (ValueError, RecursionError) as error:
        raise ValueError(f"not YAML in {path}: {error}") from error
    if not isinstance(content, dict):
        kind = "nothing" if content is None else f"a {type(content).__name__}"
        raise ValueError(f"{path}, line 1: must hold a mapping, name: value, not {kind}")
    return content


def read_scalar(text: str) -> str | int | float | bool | None:
    """What `text` means after `name: ` in a YAML file; raises ValueError where it is not one scalar."""
    try:
        value = yaml.load(text, Loader=CoreLoader)
    except (yaml.YAMLError, ValueError) as error:
        raise ValueError(f"{text!r} is not a YAML scalar; put quotes around it") from error
    if not isinstance(value, str | int | float | None):
        raise ValueError(f"{text!r} is a {type(value).__name__}; parameters are flat scalars")
    return value
