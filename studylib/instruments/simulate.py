"""Simulated studies whose truth is known: as the table that `read_runs` gives, and as run folders.

Many studies come in one table, each a world of its own. A score is 0.5 + a seed's effect on all conditions (sd 0.03) +
noise (sd 0.03, or three times that in every other condition: unequal variances), rounded to a share of 320 answers like
a real one.
"""

import json
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd

from studylib.claims.plan import Plan
from studylib.evaluation.table import RUN_COLUMNS, read_runs
from studylib.randomness import generator
from studylib.runs.folder import nulled

SD, ANSWERS = 0.03, 320
PLAN = Plan(axis="simulated", question="simulated", worlds="any", baseline="c00", family="world split endpoint")


def simulate(
    studies: int, seeds: int, contrasts: int = 1, shift: float = 0.0, unequal: bool = False, case: int = 0
) -> pd.DataFrame:
    """Runs of so many studies; c00 is the baseline, every other condition is better by `shift`."""
    rng = generator(seeds * 1000 + contrasts, "simulated studies", case)
    sd = SD * np.where(np.arange(contrasts + 1) % 2, 3 if unequal else 1, 1)
    truth = 0.5 + shift * (np.arange(contrasts + 1) > 0)
    shape = (studies, contrasts + 1, seeds)
    scores = truth[:, None] + sd[:, None] * rng.standard_normal(shape) + SD * rng.standard_normal((studies, 1, seeds))
    names = [f"study{i:05d}" for i in range(studies)], [f"c{i:02d}" for i in range(contrasts + 1)], range(seeds)
    index = pd.MultiIndex.from_product(names, names=["world", "condition", "seed"])
    table = pd.DataFrame(
        {"after": (np.round(scores * ANSWERS) / ANSWERS).clip(0, 1).ravel()}, index=index
    ).reset_index()
    cell = {"split": PLAN.primary_split, "endpoint": PLAN.primary_endpoint, "before": 0.5}
    return table.assign(**cell)[RUN_COLUMNS]


def write_folders(runs: pd.DataFrame, root: Path, axis: str = "simulated", profile: str = "simulated") -> None:
    """A complete run folder for every row of a simulated study: config, summary, and the manifest last.

    NaN becomes null, as in a run of which no answer could be scored.
    """
    for row in runs.to_dict("records"):
        folder = root / axis / profile / row["world"] / row["condition"] / f"seed{row['seed']}"
        folder.mkdir(parents=True)
        config = {"axis": axis, "profile": profile, "source": row["world"], "condition": row["condition"]}
        phases = {
            phase: dict.fromkeys(("accuracy_sampled", "accuracy_greedy"), row[phase]) for phase in ("before", "after")
        }
        files = {
            "config": config | {"seed": row["seed"]},
            "summary": {"splits": {row["split"]: phases}},
            "manifest": {"finished": True, "plan": PLAN.digest},
        }
        for name, content in files.items():
            (folder / f"{name}.json").write_text(json.dumps(nulled(content)))


def from_folders(runs: pd.DataFrame) -> pd.DataFrame:
    """The same runs, written as folders and read back; the endpoint of the plan."""
    with tempfile.TemporaryDirectory() as root:
        write_folders(runs, Path(root))
        read = read_runs(root, axis="simulated", profile="simulated")
    return read[read["endpoint"] == PLAN.primary_endpoint]
