"""Parameter files. A profile is flat; an axis holds its plan, shared settings, and a row for each condition:

    question: Does ...?                             # the plan, flat (claims/plan.py); an axis may have none
    settings: {updates_per_batch: 2}                # of every condition
    settings_by_profile: {tiny_cpu: {steps: 60}}    # of every condition in one profile
    settings_by_world: {m1: {accepted_stances: 1}}  # of every condition in one world that the axis makes of a source
    conditions:
      broad: {n_domains: 12}                        # the row: what sets this condition apart

What comes later wins: defaults, profile, settings, those of the profile, those of the world, row, what a run is given.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

import yaml

from studylib.names import SOURCES, nearest
from studylib.paths import PARAMS
from studylib.text.files import read_mapping, read_text

SECTIONS = ("settings", "settings_by_profile", "settings_by_world", "conditions")
CHOOSE = ("profile", "axis", "world", "condition")  # they choose files and their parts, so no file sets them
NAME = re.compile(r"(?!\.+\Z)[^\s/\\{}]+")  # of a folder, of a wildcard, and one word in a list


@dataclass(frozen=True)
class Axis:
    """An axis file. Settings are parameters by name, as they are written."""

    path: Path
    plan: dict
    settings: dict
    settings_by_profile: dict[str, dict]
    settings_by_world: dict[str, dict]
    conditions: dict[str, dict]  # in the order of the file

    def shared(self, profile: str) -> dict:
        """Settings of every condition in a profile."""
        return self.settings | self.settings_by_profile.get(profile, {})

    def of(self, condition: str, profile: str, world: str = "") -> dict:
        """Settings of one condition in a profile and, where it is not that of the source alone, a world."""
        if condition not in self.conditions:
            known = ", ".join(self.conditions)
            raise ValueError(
                f"{self.path} has no condition {condition!r}; known: {known}{nearest(condition, self.conditions)}"
            )
        if world and world not in self.settings_by_world:
            known = ", ".join(self.settings_by_world) or "none"
            raise ValueError(f"{self.path} has no world {world!r} in settings_by_world; known: {known}")
        return self.shared(profile) | self.settings_by_world.get(world, {}) | self.conditions[condition]

    def places(self) -> Iterator[tuple[str, dict]]:
        """(where in the file, its settings) of every mapping of parameters."""
        yield f"{self.path}, settings", self.settings
        for section in SECTIONS[1:]:
            for name, values in getattr(self, section).items():
                yield f"{self.path}, {section}, {name}", values


def axis_names(folder: Path = PARAMS) -> list[str]:
    return _stems(folder)


def profile_names(folder: Path = PARAMS) -> list[str]:
    return _stems(folder / "profiles")


def _stems(folder: Path) -> list[str]:
    return sorted(path.stem for path in folder.glob("*.yaml"))


def read_axis(name: str, folder: Path = PARAMS) -> Axis:
    """The axis called `name`; a file that is missing or holds anything but the above is refused by file and name."""
    path = _file(folder, name)
    content = read_mapping(path)
    nested = [key for key, value in content.items() if key not in SECTIONS and isinstance(value, dict)]
    if nested:
        known = ", ".join(SECTIONS)
        raise ValueError(f"{path}: unknown section {nested[0]!r}; known: {known}{nearest(str(nested[0]), SECTIONS)}")
    plan = _flat(str(path), {key: value for key, value in content.items() if key not in SECTIONS})
    tables = {key: _named(f"{path}, {key}", content.get(key)) for key in SECTIONS[1:]}
    axis = Axis(path, plan, _mapping(f"{path}, settings", content.get("settings")), **tables)
    for profile in axis.settings_by_profile:
        _file(folder / "profiles", profile, f"{path}, settings_by_profile: ")
    for place, values in axis.places():
        _flat(place, values)
        chosen = sorted(set(values) & set(CHOOSE))
        if chosen:
            raise ValueError(f"{place}: {chosen[0]} is given to a run, and its name is that of the file, part or row")
    if not axis.conditions:
        raise ValueError(f"{path} has no conditions, a row for each below 'conditions:'")
    return axis


def read_profile(name: str, folder: Path = PARAMS, given: Mapping = MappingProxyType({})) -> dict:
    """The parameters of a profile, which holds its own name too; refuses what papermill misread of it in `given`."""
    path = _file(folder / "profiles", name)
    _refuse_misread(path, given)
    return read_yaml(path)


def refuse_other_source(axis: str, world: str, source: str, given: Mapping) -> None:
    """A world that an axis makes is made of one source, and none of it passes for another source."""
    if world and given.get("source", source) != source:
        raise ValueError(f"world {world!r} of axis {axis!r} is made of source {source!r}, not {given['source']!r}")
    if world in SOURCES and world != source:
        raise ValueError(f"world {world!r} of axis {axis!r} is made of source {source!r}: give it a name of its own")


def _file(folder: Path, name: str, place: str = "") -> Path:
    path = folder / f"{name}.yaml"
    if not NAME.fullmatch(name) or not path.is_file():
        known = _stems(folder)
        raise ValueError(f"{place}no parameter file {path}; known: {', '.join(known)}{nearest(name, known)}")
    return path


def _named(place: str, value) -> dict[str, dict]:
    """A mapping of names to mappings of parameters."""
    rows = _mapping(place, value)
    for name in rows:
        if not isinstance(name, str) or not NAME.fullmatch(name):
            raise ValueError(f"{place}: {name!r} is no name; one word of text, in quotes where it looks like a number")
    return {name: _mapping(f"{place}, {name}", row) for name, row in rows.items()}


def _mapping(place: str, value) -> dict:
    if value is None:  # a key with nothing after it
        return {}
    if not isinstance(value, dict):
        raise ValueError(f"{place}: {value!r} must be a mapping, name: value")
    return value


def read_yaml(path: Path) -> dict:
    """A flat mapping of scalars, as YAML 1.2 reads them; anything else is refused by file and line."""
    if not path.is_file():
        raise ValueError(f"no parameter file {path}")
    return _flat(str(path), read_mapping(path))


def _flat(place: str, values: dict) -> dict:
    """The same; papermill would replace a nested value as a whole, so none is allowed."""
    nested = [name for name, value in values.items() if not isinstance(value, str | int | float | None)]
    if nested:
        raise ValueError(f"{place}: parameter {nested[0]!r} is nested; parameters are flat scalars")
    unnamed = [name for name in values if not isinstance(name, str)]
    if unnamed:
        raise ValueError(f"{place}: {unnamed[0]!r} is no name of a parameter")
    return values


def _refuse_misread(path: Path, given: Mapping) -> None:
    """Refuse what papermill's -f made of a flat file, where YAML 1.1 reads another value than is written there."""
    try:
        old = yaml.safe_load(read_text(path))
    except (yaml.YAMLError, ValueError):  # then it is not from there
        return
    for name, value in read_yaml(path).items():
        if not isinstance(old[name], str) and old[name] != value and given.get(name) == old[name]:
            raise ValueError(
                f"{path}: {name} is {value!r} in YAML 1.2, and papermill's -f reads {old[name]!r}; write it another way"
            )
