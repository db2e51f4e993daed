"""What is compared: the complete runs of one axis and profile under one plan."""

from collections.abc import Collection
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import pandas as pd

from studylib.axes import axis_names
from studylib.claims.plan import Plan
from studylib.evaluation.table import keeps_tables, read_answers, read_runs
from studylib.names import ENDPOINTS, nearest
from studylib.runs.read import complete_runs, read_curves, read_held_out
from studylib.scenarios.rows import accepted


@dataclass(frozen=True)
class Study:
    """The complete runs of one axis and profile, under one plan; its tables are read when they are first needed."""

    axis: str
    profile: str
    plan: Plan
    root: Path  # folder of the run folders
    out: Path  # folder of the tables and figures
    split: str  # that the figures draw
    endpoint: str  # likewise
    given: dict  # baseline and margin beside the plan's

    @property
    def _place(self) -> dict:
        return {"axis": self.axis, "profile": self.profile}

    @property
    def asked(self) -> tuple[str, ...]:
        """Endpoints beside those that every comparison has."""
        wanted = dict.fromkeys((self.plan.primary_endpoint, self.endpoint))
        return tuple(name for name in wanted if not ENDPOINTS.of(name).default)

    @cached_property
    def runs(self) -> pd.DataFrame:
        runs = read_runs(self.root, **self._place, endpoints=self.asked)
        if self.split != self.plan.primary_split:
            refuse_unknown("split", self.split, runs["split"].unique(), "the runs")
        if self.axis not in axis_names():
            refuse_unknown("condition", self.plan.baseline, runs["condition"].unique(), "the runs")
        return runs

    @cached_property
    def curves(self) -> pd.DataFrame:
        return read_curves(self.root, **self._place)

    @cached_property
    def held_out(self) -> pd.DataFrame:
        return read_held_out(self.root, **self._place)

    @cached_property
    def answers(self) -> pd.DataFrame:
        return read_answers(self.root, **self._place)

    @cached_property
    def answers_before(self) -> pd.DataFrame | None:
        """None of an older layout, which did not keep them."""
        if not all(keeps_tables(folder) for folder, _ in complete_runs(self.root, **self._place)):
            return None
        return read_answers(self.root, **self._place, stage="before")

    def chance(self, world: str) -> float | None:
        """What guessing gets of the endpoint in a world: the share of the options that are right; None without one."""
        level = ENDPOINTS.of(self.endpoint).chance
        asked = self.answers[(self.answers["world"] == world) & (self.answers["split"] == self.split)]
        if level is None or "options" not in asked:
            return level
        rows = asked.drop_duplicates("id").to_dict("records")
        return float(np.mean([len(accepted(row)) / len(row["options"]) for row in rows]))

    @property
    def worlds(self) -> list[str]:
        return sorted(self.runs["world"].unique(), reverse=True)

    @property
    def conditions(self) -> int:
        return self.runs["condition"].nunique()


def refuse_unknown(kind: str, name: str, known: Collection[str], place: Path | str) -> None:
    """Raise ValueError with the known names for one that is not among them."""
    if name not in known:
        near = nearest(name, known) or ";"
        raise ValueError(f"no {kind} {name!r} in {place}{near} known: {', '.join(known)}")
