"""Published files as records: where they are, how they are read, and how a source is made of them.

White space is collapsed. Where two texts compete, a hash of the two decides which is (A), so that neither order nor
text gives the answer away.
"""

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import NamedTuple

from studylib.names import SOURCES, Option
from studylib.paths import at_home
from studylib.scenarios import ratings, roles
from studylib.scenarios.choosing import CHOICE
from studylib.scenarios.rows import digest
from studylib.scenarios.sources import source
from studylib.text.files import read_cells, read_objects

ENDS = (".", "!", "?", "…")


class Origin(NamedTuple):
    """Where a source is published: `files` and `hub_files` name the files of a split, locally and on the hub."""

    folder: str
    files: dict[str, tuple[str, ...]]
    columns: tuple[str, ...]
    licence: str
    hub_id: str | None = None
    revision: str | None = None
    hub_files: dict[str, tuple[str, ...]] | None = None
    suffix: str = ".csv"
    header: bool = True  # whether every copy of the file names its columns


class Record(NamedTuple):
    """One row of a published file, with the place that error messages name."""

    path: Path
    line: int
    fields: dict

    @property
    def place(self) -> str:
        return f"{self.path}, line {self.line}"

    def text(self, column: str) -> str:
        """The column on one line; raises ValueError if it is no text or empty."""
        value = self.fields.get(column)
        if not isinstance(value, str):
            raise ValueError(f"column {column!r} is {value!r:.80}, not text, in {self.place}")
        text = " ".join(value.split())
        if not text:
            raise ValueError(f"column {column!r} is empty in {self.place}")
        return text

    def label(self) -> int:
        """0 or 1, stored as number or string; raises ValueError on anything else."""
        value = self.fields["label"]
        if type(value) not in (int, str) or str(value).strip() not in ("0", "1"):
            raise ValueError(f"label {value!r:.80} is neither 0 nor 1 in {self.place}")
        return int(value)


TRAIN_SOURCES = Option(
    "train_sources", 0, "other published sources to train on, the first n in an order of the seed; 0: its own rows",
    lambda value: value >= 0, "0, or at most the number of other published sources with right answers to train on",
    fits=lambda params: params.train_sources <= len(others(params.source)),
)  # fmt: skip
ORIGINS: dict[str, Origin] = {}  # source -> where it is published


def published(
    name: str, origin: Origin, *, read: Callable | None = None, options: bool = True, rated: bool = False
) -> Callable:
    """Register a function of one record -> fields of a scenario row as the source `name`, published at `origin`.

    read: (name, split, data_dir) -> records, where it takes more than reading the split's files. rated: whether its
    scenarios carry people's ratings.
    """
    ORIGINS[name] = origin
    traces = roles.OPTIONS if "train" in origin.files else ()
    parameters = ratings.OPTIONS if rated else (TRAIN_SOURCES, *CHOICE, *traces) if options else ()

    def register(ask: Callable[[Record], dict]):
        @source(name, options=options, rated=rated, splits=tuple(origin.files), parameters=parameters)
        def load(split: str, data_dir: str) -> Iterator[dict]:
            return map(ask, (read or records)(name, split, data_dir))

        return ask

    return register


def others(name: str) -> list[str]:
    """The other published sources with right answers and rows to train on."""
    known = (source for source in SOURCES.values() if source.name in ORIGINS and source.name != name)
    return [source.name for source in known if TRAIN_SOURCES in source.parameters and "train" in source.splits]


def lettered(record: Record, better_column: str, worse_column: str) -> tuple[str, str]:
    """Both texts as (A) and (B), and the letter of the better one; the order is a hash of the unordered pair."""
    better, worse = record.text(better_column), record.text(worse_column)
    if better == worse:
        raise ValueError(f"{better_column} and {worse_column} are the same text in {record.place}: {better!r}")
    first, second = sorted((better, worse), key=lambda text: digest(sorted((better, worse)), text))
    return f"(A) {first} (B) {second}", "A" if first == better else "B"


# --- which files -----------------------------------------------------------------------------------------------------


def records(name: str, split: str, data_dir: str) -> list[Record]:
    """The records of one split of a source before any is dropped, from data_dir or, if that is empty, from the hub."""
    origin = ORIGINS[name]
    if data_dir:
        return local_records(origin, split, data_dir)
    return [record for path in _hub_paths(name, origin, split) for record in _read(path, origin)]


def local_records(origin: Origin, split: str, data_dir: str) -> list[Record]:
    paths = [_existing(candidates(origin, file, data_dir)) for file in origin.files[split]]
    return [record for path in paths for record in _read(path, origin)]


def candidates(origin: Origin, file: str, data_dir: str) -> list[Path]:
    """The places where a file may lie, plain or compressed."""
    base = at_home(data_dir)
    if not base.is_dir():
        raise ValueError(f"data folder {str(base)!r} does not exist")
    folder = base / origin.folder if (base / origin.folder).is_dir() else base
    return [folder / f"{file}{origin.suffix}{packed}" for packed in ("", ".gz")]


def _existing(places: list[Path]) -> Path:
    for path in places:
        if path.is_file():
            return path
    raise ValueError(f"no data file at any of {[str(path) for path in places]}")


def _hub_paths(name: str, origin: Origin, split: str) -> list[Path]:
    """Downloads the files of one split at the pinned commit, or takes them from the hub's own cache."""
    import huggingface_hub

    if origin.revision is None:
        raise ValueError(f"no pinned revision known for {name}; give data_dir")
    fetch = partial(
        huggingface_hub.hf_hub_download, repo_id=origin.hub_id, repo_type="dataset", revision=origin.revision
    )
    return [Path(fetch(filename=file)) for file in origin.hub_files[split]]


# --- what is in them -------------------------------------------------------------------------------------------------


def _read(path: Path, origin: Origin) -> Iterator[Record]:
    return (_read_jsonl if ".jsonl" in path.suffixes else _read_csv)(path, origin)


def _read_csv(path: Path, origin: Origin) -> Iterator[Record]:
    rows, columns = read_cells(path), origin.columns
    header = next(rows, (1, []))[1] if origin.header else list(columns)
    if missing := [column for column in columns if column not in header]:
        raise ValueError(f"no column {missing[0]!r} in {path}; its columns are {header}")
    if twice := [column for column in columns if header.count(column) > 1]:
        raise ValueError(f"column {twice[0]!r} comes twice in {path}; its columns are {header}")
    for number, (line, cells) in enumerate(rows):
        first = number == 0 and not origin.header
        if first and cells == header:
            continue
        if len(cells) != len(header):
            raise ValueError(f"{len(cells)} fields instead of {len(header)} in {path}, line {line}")
        if cells == header or (first and not any(map(_is_sentence, cells))):
            raise ValueError(f"column names instead of texts in {path}, line {line}: {','.join(cells)[:80]!r}")
        yield Record(path, line, dict(zip(header, cells, strict=True)))


def _is_sentence(text: str) -> bool:
    words = text.split()
    return len(words) >= 6 or (len(words) >= 2 and words[-1].rstrip("\"')”’").endswith(ENDS))


def _read_jsonl(path: Path, origin: Origin) -> Iterator[Record]:
    for line, fields in read_objects(path):
        if missing := [column for column in origin.columns if column not in fields]:
            raise ValueError(f"no column {missing[0]!r} in {path}, line {line}; its columns are {sorted(fields)}")
        yield Record(path, line, fields)
