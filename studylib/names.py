"""All names that parameters may take, and the records behind them: one registry for each kind of thing.

A record is registered where the thing is defined, and everything that must know of it (rules of parameters, idle
shapings, heads, the known target, tables, figures) asks the record. A registry imports the modules of its home when it
is first asked, as a plugin host does: so a name is known wherever it is used, nobody keeps a second list, and rooms
that come before the home do not import it. No home may import torch at its top: reading parameters must stay cheap.
"""

import difflib
import importlib
import pkgutil
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any


def nearest(name: str, known: Iterable[str]) -> str:
    """The end of a refusal: the known names that are most like an unknown one; empty where none is like it."""
    near = difflib.get_close_matches(name, list(known), n=3, cutoff=0.6)
    return f"; did you mean {' or '.join(near)}?" if near else ""


def import_all(package: str, path: Iterable[str]) -> None:
    """Import every module of a package by name, so that its records have one order, whichever was asked for first."""
    for module in pkgutil.iter_modules(path):
        importlib.import_module(f"{package}.{module.name}")


class Registry(Mapping):
    """name -> record, in the order of definition."""

    def __init__(self, kind: str, home: str):
        self.kind, self.home = kind, home
        self.former: dict[str, str] = {}  # a name that users' files and old runs may still give -> the name of today
        self._records: dict[str, Any] = {}
        self._loaded = False

    def add(self, record):
        """Register a record by its `name`; one that is defined anew, as by a cell that runs again, takes its place."""
        self._load()  # first, or the home would later put its own record in the place of this one
        if record.name in self.former:
            present = self.former[record.name]
            raise ValueError(f"{record.name!r} is a former name of {self.kind} {present!r}; give another name")
        self._records[record.name] = record
        return record

    def of(self, name: str):
        """The record called `name`; raises ValueError that names the nearest known ones."""
        if name in self:
            return self[name]
        raise ValueError(f"no {self.kind} {name!r}; known: {', '.join(self)}{nearest(name, self)}")

    def _load(self) -> None:
        if self._loaded:
            return
        self._loaded = True  # first: the modules of the home ask the registry while they are imported
        try:
            importlib.import_module(self.home)
        except BaseException:
            self._loaded = False  # or the next question would be answered from half a list
            raise

    def __getitem__(self, name: str):
        self._load()
        return self._records[self.former.get(name, name)]

    def __iter__(self) -> Iterator[str]:
        self._load()
        return iter(self._records)

    def __len__(self) -> int:
        self._load()
        return len(self._records)


@dataclass(frozen=True)
class Option:
    """A parameter of a run. One that only some objectives, rewards or sources read is declared by them.

    An objective refuses an option that only others read; what only rewards read may stand there unread.
    """

    name: str
    default: str | int | float | bool
    help: str
    holds: Callable[[Any], bool] = lambda value: True
    allowed: str = ""  # what `holds` allows, in words
    unread_if: tuple[str, Any] = ("", None)  # another parameter and its value at which nobody reads this one
    needed: Callable[[Any], bool] = lambda params: False  # whether a run with these parameters must set it
    fits: Callable[[Any], bool] = lambda params: True  # whether it goes with the run's other parameters
    path: bool = False  # a place in the file system, in which ~ is the home folder
    former: Mapping = field(default_factory=dict)  # a value that users' files and old runs may give -> the one of today


@dataclass(frozen=True)
class Objective:
    """A training objective; `training/objectives.py` says what the functions get and give."""

    name: str
    trl: Mapping = field(default_factory=dict)  # entries of TRL's GRPOConfig
    advantages: Callable | None = None  # replaces TRL's, from (r, G)
    kind: str = "policy"  # policy, tokens (token-level advantages), ppo, flow, dpg, dpo or none
    reference: bool = False  # needs beta > 0 and with it the reference's log-probabilities
    plain: bool = False  # TRL alone can train it as the study means it
    samples: bool = True  # at every step
    released: bool = False  # of a flow: as FlowRL's released code weighs answers and learns log Z
    raw: bool = False  # of a flow: it is fed the rewards themselves, and not the group-normalised ones
    answer_only: bool = False  # only what comes after the policy's own reasons is trained on
    told: bool = False  # a right answer is put after the policy's own reasons, whatever the policy answered
    gap: bool = False  # of a flow: GFlowRL's clipped gap on token sums
    promise: str = "none"  # where its name has it end: best, tempered, filtered, or none known
    heads: tuple[str, ...] = ()  # trained functions of the hidden state (`training/heads.py`)
    options: tuple[Option, ...] = ()

    @property
    def normalised(self) -> bool:
        """Whether its advantages are TRL's, divided by the group's standard deviation."""
        scaled = self.trl.get("scale_rewards", "group") == "group"
        return scaled and self.advantages is None and self.kind in ("policy", "flow") and not self.raw


@dataclass(frozen=True)
class Reward:
    """What an answer is worth; `rewards/records.py` says how one is made and registered."""

    name: str
    make: Callable  # (params, grader or None) -> function of (responses, scenarios) -> list of float or None
    needs: tuple[str, ...] | Callable = ()  # scenario fields without which it cannot score, or a function of params
    check: Callable = lambda row: None  # raises ValueError for a scenario that has these fields and still has no score
    options: tuple[Option, ...] = ()
    two_valued: bool = False  # it has two values in a group of answers
    agreement: bool = False  # on a scale of two levels it is affine in agreeing with the majority of raters
    distributions: bool = False  # it takes a stated distribution as an answer, so an even hedge earns something
    compares: bool = False  # what an answer earns depends on the other answers to its scenario
    constant: bool = False  # it is the same for all answers to a scenario
    control: bool = False  # it pays wrong answers by design, to show what training does without a lesson


@dataclass(frozen=True)
class Source:
    """Where scenarios come from; `scenarios/sources/` has a file for each family."""

    name: str
    load: Callable  # (split, data_dir) -> fields of scenario rows; of a world: (split, n, seed, **inputs) -> rows
    world: bool = False  # embedded: made from facts, with domains and styles to choose from
    inputs: tuple[str, ...] = ()  # parameters that `load` of a world takes beside domains and styles
    demonstrations: Callable | None = None  # (n, seed, domains, styles, **demonstrated) -> pairs for a warm start
    demonstrated: tuple[str, ...] = ()  # of `inputs`, those that `demonstrations` takes
    roles: Callable | None = None  # scenario row -> the roles (`scenarios/roles.py`) that its world offers
    parameters: tuple[Option, ...] = ()  # that this source alone reads
    options: bool = True  # scenarios are answered with one of their options, else openly
    rated: bool = False  # scenarios carry people's ratings, and their options are the levels of a scale
    splits: tuple[str, ...] = ("train", "held_out")  # of a world: in the order in which they are evaluated


@dataclass(frozen=True)
class Model:
    """A model with a name of its own; `policy/origins.py` has them. Any other name is a hub id or a folder."""

    name: str
    made: bool = False  # from nothing, by its warm start: it knows a form of answers, and no instructions
    fetch: Callable | None = None  # () -> folder of its published weights; None: they are where the name says


@dataclass(frozen=True)
class Shaping:
    """A change of the summed reward before the advantage: (B,) rewards and G -> (B,)."""

    name: str
    shape: Callable


@dataclass(frozen=True)
class Endpoint:
    """A number that a policy is compared by: what a table of its answers on one split is worth."""

    name: str
    of: Callable  # table of answers with the columns of their scenarios -> float, NaN where nothing could be scored
    range: tuple[float, float] = (0.0, 1.0)
    unit: str = "share of answers"
    chance: float | None = None  # what a policy gets that guesses one of two options, where guessing gets anything
    item: Callable | None = None  # table of answers -> Series: the answers that it is the mean of; None: no mean
    needs: tuple[str, ...] = ()  # columns without which it is no endpoint of a run
    default: bool = False  # compared, and kept in every summary, without being asked for


OBJECTIVES = Registry("objective", "studylib.training.objectives")
REWARDS = Registry("reward", "studylib.rewards")
SHAPINGS = Registry("shaping", "studylib.rewards.shaping")
SOURCES = Registry("source", "studylib.scenarios.sources")
MODELS = Registry("model", "studylib.policy.origins")
ENDPOINTS = Registry("endpoint", "studylib.evaluation.endpoints")


def model_of(name: str) -> Model:
    return MODELS[name] if name in MODELS else Model(name)


DECLARED = ((OBJECTIVES, "options"), (REWARDS, "options"), (SOURCES, "parameters"))  # fields that hold options


def of_today(config: Mapping) -> Mapping:
    """A finished run's configuration by the names of today: `gflowrl` was VarGrad before it had its own beta."""
    was_vargrad = config.get("objective") == "gflowrl" and "gflow_beta" not in config
    return {**config, "objective": "vargrad"} if was_vargrad else config


def options() -> dict[str, Option]:
    """name -> option, of all objectives, rewards and sources; raises ValueError where two declare one differently."""
    declared: dict[str, Option] = {}
    for registry, held in DECLARED:
        for record in registry.values():
            for option in getattr(record, held):
                if declared.setdefault(option.name, option) != option:
                    raise ValueError(
                        f"option {option.name!r} of {record.name!r} is declared differently by another record"
                    )
    return declared


def readers(option: str) -> str:
    """Who reads an option, as a help text has it: `objective dpo`, or `rewards diversity, coverage, ...`."""
    parts = []
    for registry, held in DECLARED:
        named = [record.name for record in registry.values() if option in (o.name for o in getattr(record, held))]
        more = [f"{len(named) - 3} more"] if len(named) > 4 else []
        if named:
            parts.append(f"{registry.kind}{'s' * (len(named) > 1)} {', '.join(named[:3] + more if more else named)}")
    return "; ".join(parts)


# --- names that no record stands behind ------------------------------------------------------------------------------

FRAMEWORKS = {
    "act_utilitarianism": "Act Utilitarianism",
    "kantian_deontology": "Kantian Deontology",
    "virtue_ethics": "Aristotelian Virtue Ethics",
    "scanlonian_contractualism": "Scanlonian Contractualism",
    "gauthierian_contractarianism": "Gauthierian Contractarianism",
}
TRAIN_DOMAINS = (
    "work", "family", "medicine", "law", "school", "sport", "online life", "neighbourhood", "business", "friendship",
    "science", "travel",
)  # fmt: skip
TRAIN_STYLES = ("report", "letter", "dialogue", "news")
HELD_OUT_STYLES = ("minutes",)
