"""What a run and a study cost in time, from the notebooks that papermill left in finished run folders."""

import json
from pathlib import Path

import pandas as pd

from studylib.paths import RUNS

PARTS = {  # code of a cell -> what its time is counted as
    "train(trainer, params)": "train", "evaluate_before(": "evaluate", "evaluate_after(": "evaluate",
    "make_policy(": "imports and policy",
    "evaluate(policy": "evaluate", "prepare(params": "imports and policy",  # of runs before run.py
}  # fmt: skip


def price(root: Path = RUNS) -> pd.DataFrame:
    """Median seconds of the parts of a finished run, from the times that papermill left in its notebook.

    The warm start comes once in a study; Snakemake measured it.
    """
    runs = []
    for path in sorted(root.rglob("seed*/notebook.ipynb")):
        if not (path.parent / "manifest.json").is_file():
            continue
        notebook = json.loads(path.read_text())
        spent = dict.fromkeys([*PARTS.values(), "other cells"], 0.0)
        for cell in notebook["cells"]:
            part = next((name for code, name in PARTS.items() if code in "".join(cell["source"])), "other cells")
            spent[part] += cell["metadata"].get("papermill", {}).get("duration") or 0
        total = notebook["metadata"]["papermill"]["duration"]
        runs.append(spent | {"kernel": total - sum(spent.values()), "whole run": total})
    if not runs:
        return pd.DataFrame(columns=["part", "seconds", "share"])
    median = pd.DataFrame(runs).median()
    table = median.rename_axis("part").reset_index(name="seconds")
    table["share"] = table.seconds / median["whole run"]
    once = [pd.read_csv(path, sep="\t").s.iloc[0] for path in sorted(root.rglob("warm_start.tsv"))][:1]
    warm_start = pd.DataFrame({"part": "warm start, once a study", "seconds": once})
    return pd.concat([table, warm_start], ignore_index=True) if once else table


def study_minutes(table: pd.DataFrame) -> pd.DataFrame:
    """Minutes of a study of n runs, two at a time, with its warm start where that was measured."""
    seconds = table.set_index("part").seconds
    run, once = float(seconds["whole run"]), float(seconds.get("warm start, once a study", 0.0))
    rows = [(n, (once + -(-n // 2) * run) / 60) for n in (3, 6, 12, 24, 30, 48)]
    return pd.DataFrame(rows, columns=["runs", "minutes"])
