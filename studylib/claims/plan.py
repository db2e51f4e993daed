"""The analysis plan of an axis, fixed before its runs: the flat values of `params/<axis>.yaml`, above its conditions.

A claim is confirmatory when it is about the primary endpoint on the primary split, in a planned contrast and world,
and when the study kept to the plan: every run was made under the plan that is read now (its hash is in the manifest),
the first comparison was made under it too, and worlds, conditions and seeds are those that it fixes (`departures`).
Every other claim is exploratory.
"""

import dataclasses
import hashlib
import json
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from studylib.axes import axis_names, read_axis
from studylib.claims.decisions import ALPHA, MARGIN
from studylib.names import ENDPOINTS, nearest
from studylib.paths import PARAMS
from studylib.runs.read import WARM_START

FAMILIES = ("world endpoint", "world split endpoint")
ANY = "any"  # worlds of an axis without a plan


@dataclass(frozen=True)
class Plan:
    """Flat scalars; `contrasts`, `worlds` and `secondary` are names by spaces."""

    axis: str
    question: str
    worlds: str
    baseline: str
    contrasts: str = "all"  # conditions that are compared with the baseline; all: those of the first comparison
    primary_split: str = "held_out_domains"
    primary_endpoint: str = "accuracy_sampled"
    margin: float = MARGIN  # of equivalence, in units of the endpoint
    alpha: float = ALPHA  # of each family (below), over all looks
    family: str = FAMILIES[0]  # p values that share all of these columns are corrected together (Holm)
    seeds: int = 5  # seeds 0 .. seeds - 1
    max_seeds: int = 5  # seeds of the last look
    looks: int = 1  # comparisons at most, from `seeds` to `max_seeds` seeds; each at alpha / looks (Bonferroni)
    control: str = ""  # a condition that every other one is held against too, in a family of its own
    factors: str = ""  # run parameters that the conditions cross, two values of each (`factorial.py`)
    secondary: str = ""  # endpoints that are compared beside the primary one; their claims are exploratory

    def __post_init__(self):
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if field.type is float and type(value) is int:
                object.__setattr__(self, field.name, float(value))
            elif type(value) is not field.type:
                raise ValueError(f"plan: {field.name} = {value!r} must be of type {field.type.__name__}")
        for name, (holds, allowed) in self._rules().items():
            if not holds:
                raise ValueError(f"plan: {name} = {getattr(self, name)!r} is not allowed: {allowed}")

    def _rules(self) -> dict[str, tuple[bool, str]]:
        named = {name: (bool(getattr(self, name).split()), "not empty") for name in ("axis", "question", "worlds")}
        return named | {
            "baseline": (len(self.baseline.split()) == 1 and self.baseline != WARM_START, "the name of one condition"),
            "contrasts": (
                bool(self.contrasts.split()) and self.baseline not in self.contrasts.split(),
                "'all', or names of conditions other than the baseline",
            ),
            "primary_split": (bool(self.primary_split), "not empty"),
            "primary_endpoint": (self.primary_endpoint in ENDPOINTS, f"one of {', '.join(ENDPOINTS)}"),
            "control": (
                len(self.control.split()) <= (self.control not in (self.baseline, WARM_START)),
                "the name of one condition other than the baseline, or empty",
            ),
            "secondary": (
                set(self.secondary.split()) <= set(ENDPOINTS) - {self.primary_endpoint},
                f"endpoints other than the primary one, of {', '.join(ENDPOINTS)}",
            ),
            "margin": (0 < self.margin < 1, "between 0 and 1, the range of an accuracy"),
            "alpha": (0 < self.alpha < 0.5, "between 0 and 0.5"),
            "family": (self.family in FAMILIES, " or ".join(map(repr, FAMILIES))),
            "seeds": (self.seeds >= 2, "at least 2, or there is no spread between seeds"),
            "looks": (self.looks >= 1, "at least 1"),
            "max_seeds": (
                self.max_seeds - self.seeds >= self.looks - 1 and (self.max_seeds > self.seeds) == (self.looks > 1),
                "as many as seeds with one look, more with more looks",
            ),
        }

    @property
    def digest(self) -> str:
        """Short hash of the values; comments, the order of lines and the conditions in the file do not count.

        Neither do secondary endpoints, whose claims are exploratory whenever they are named, nor a control and factors
        where there are none: plans that were written before these fields have the hash that they always had.
        """
        left_out = {"secondary", *(name for name in ("control", "factors") if not getattr(self, name))}
        values = {name: value for name, value in dataclasses.asdict(self).items() if name not in left_out}
        text = json.dumps(values, sort_keys=True, ensure_ascii=False)
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    @property
    def look_sizes(self) -> list[int]:
        """Seeds at each look."""
        return [round(n) for n in np.linspace(self.seeds, self.max_seeds, self.looks)]

    @property
    def alpha_per_look(self) -> float:
        """Bonferroni over the looks holds whatever the looks have in common."""
        return self.alpha / self.looks

    def is_planned(self, world: str, split: str, endpoint: str) -> bool:
        primary = (split, endpoint) == (self.primary_split, self.primary_endpoint)
        return primary and world in self.worlds.split()

    def plans(self, condition: str) -> bool:
        """Does the plan compare this condition?"""
        return self.contrasts == "all" or condition in self.contrasts.split()

    @property
    def held_against(self) -> tuple[str, ...]:
        """The baseline, and the control where there is one: the planned contrasts with each are a family."""
        return (self.baseline, self.control) if self.control else (self.baseline,)

    def pairs(self, conditions: Collection[str]) -> list[tuple[str, str]]:
        """(condition, what it is held against) of all pairs among the conditions, those with the baseline first.

        The baseline is not held against the control: that is their contrast again with the other sign.
        """
        return [
            (condition, other)
            for other in self.held_against
            for condition in conditions
            if other in conditions and condition not in (other, self.baseline)
        ]

    def planned_pairs(self, conditions: Collection[str]) -> list[tuple[str, str]]:
        """Those of `pairs` that the plan means."""
        return [pair for pair in self.pairs(conditions) if self.plans(pair[0])]


def read_plan(axis: str, folder: Path = PARAMS) -> Plan:
    """The plan of an axis. Refuses an axis without one, unknown and missing names, and another axis' plan, by file."""
    if not has_plan(axis, folder):
        near = nearest(axis, set(axis_names(folder)) - {axis})
        raise ValueError(
            f"axis {axis!r} has no analysis plan in {folder}; write one, or name a baseline to explore{near}"
        )
    file, fields = read_axis(axis, folder), {field.name: field for field in dataclasses.fields(Plan)}
    values = {"axis": axis} | file.plan
    unknown = sorted(set(values) - set(fields))
    missing = sorted(n for n, field in fields.items() if field.default is dataclasses.MISSING and n not in values)
    if unknown or missing:
        wrong = f"unknown {unknown[0]!r}" if unknown else f"no {missing[0]!r}"
        hint = nearest(unknown[0], fields) if unknown else ""
        raise ValueError(f"{file.path}: {wrong}; the names of a plan are {', '.join(fields)}{hint}")
    if values["axis"] != axis:
        raise ValueError(f"{file.path} is the plan of axis {values['axis']!r}")
    try:
        return Plan(**values)
    except ValueError as error:
        raise ValueError(f"{file.path}: {error}") from error


def has_plan(axis: str, folder: Path = PARAMS) -> bool:
    return axis in axis_names(folder) and bool(read_axis(axis, folder).plan)


def plan_digest(axis: str, folder: Path = PARAMS) -> str:
    """Hash of the axis' plan for the manifest of a run; "" where the axis has none."""
    return read_plan(axis, folder).digest if has_plan(axis, folder) else ""


def choose_plan(axis: str, baseline: str = "", margin: float | None = None, folder: Path = PARAMS) -> Plan:
    """The plan of the file; another baseline or margin makes another plan, whose claims are exploratory."""
    given = {"baseline": baseline, "margin": margin}
    changes = {name: value for name, value in given.items() if value not in ("", None)}
    if baseline and not has_plan(axis, folder):
        return Plan(axis=axis, question="exploratory: no plan was written", worlds=ANY, **changes)
    plan = read_plan(axis, folder)
    return dataclasses.replace(plan, **_without(plan, baseline), **changes)


def _without(plan: Plan, baseline: str) -> dict[str, str]:
    """What a plan must change to be held against another baseline, which is neither control nor contrast then."""
    if baseline in ("", plan.baseline):
        return {}
    others = [name for name in plan.contrasts.split() if name != baseline]
    contrasts = " ".join(others if plan.contrasts == "all" else [plan.baseline, *others])
    return {"contrasts": contrasts, "control": "" if baseline == plan.control else plan.control}
