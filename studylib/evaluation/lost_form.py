"""Runs that lost the form of their answers: the strict reader, reward and metric in one, sees lost judgement there.

Where the lenient reader reads no more either, the answers are lost and not their form alone.
"""

from pathlib import Path

import pandas as pd
import pyarrow.parquet

from studylib.evaluation.single import leniently_readable, right_leniently
from studylib.evaluation.summary import joined
from studylib.evaluation.table import keeps_tables, read_responses, read_scenarios
from studylib.paths import RUNS
from studylib.runs.folder import RESPONSES
from studylib.runs.read import KEYS, complete_runs

KEPT = 0.5  # the share of its readable answers that a run may come down to without having lost the form
LOST = [*KEYS, "split", "before", "after", "leniently_readable", "lenient"]


def read_lost_form(root: Path | str = RUNS, *, axis: str, profile: str, split: str) -> pd.DataFrame:
    """One row per complete run whose readable answers fell below `KEPT` of what they were: world, condition, seed,
    split, the readable share of its sampled answers before and after training, the share that the lenient reader reads
    after it, and the share that is right when read so. `form_alone` says what such a run lost.

    It is told from `readable`, which every run has kept; runs that kept no scenarios are passed over.
    """
    rows = []
    for folder, key in complete_runs(root, axis, profile):
        if not keeps_tables(folder):
            continue
        before, after = (_readable(folder / RESPONSES[phase], split) for phase in ("before", "after"))
        if after < KEPT * before:  # not where either is NaN
            rows.append({**key, "split": split, "before": before, "after": after, **_leniently(folder, split)})
    return pd.DataFrame(rows, columns=LOST)


def form_alone(leniently_readable: float) -> bool:
    """Whether most answers can still be read, if not strictly."""
    return leniently_readable > KEPT


def _readable(path: Path, split: str) -> float:
    """Share of the sampled answers on a split that the strict reader can read; NaN where there are none."""
    if not {"split", "k", "readable"} <= set(pyarrow.parquet.read_schema(path).names):
        return float("nan")
    answers = pd.read_parquet(path, columns=["split", "k", "readable"])
    return float(answers.loc[(answers["split"] == split) & (answers["k"] > 0), "readable"].astype(float).mean())


def _leniently(folder: Path, split: str) -> dict[str, float]:
    answers = read_responses(folder / RESPONSES["after"])
    answers = joined(answers[answers["split"] == split], read_scenarios(folder))
    return {"leniently_readable": leniently_readable(answers).mean(), "lenient": right_leniently(answers).mean()}
