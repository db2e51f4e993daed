"""The manipulation check of the system messages: what did training tell, was it right, and do answers turn on it?"""

from pathlib import Path

import pandas as pd

from studylib.evaluation.messages import moved_by_message
from studylib.evaluation.summary import joined
from studylib.evaluation.table import keeps_tables, read_responses, read_scenarios, read_trained_on
from studylib.runs.folder import RESPONSES
from studylib.runs.read import KEYS, complete_runs
from studylib.scenarios import told_values
from studylib.scenarios.facts import facts_of

OF_TRAINING = ["scenarios", "silent", "messages", "outlooks", "told_right"]
COLUMNS = ["world", "condition", "seeds", *OF_TRAINING, "moved_before", "moved_after"]


def of_training(rows: list[dict]) -> dict[str, float]:
    """`OF_TRAINING` of the training rows of one run, of the source `told_values`.

    silent: how many have no message; messages, outlooks: how many different ones they have and those tell; told_right:
    share whose right answer is the one that the message calls for, or the usual outlook where there is none.
    """
    told = [told_values.told_by(row["system"]) for row in rows]
    right = [told_values.right_answer(facts_of(row), of) == row["answer"] for row, of in zip(rows, told, strict=True)]
    return {
        "scenarios": len(rows), "silent": sum(not of for of in told),
        "messages": len({row["system"] for row in rows if row["system"]}),
        "outlooks": len({tuple(of.items()) for of in told if of}),
        "told_right": sum(right) / len(rows) if rows else 1.0,
    }  # fmt: skip


def of_run(folder: Path, split: str) -> dict[str, float]:
    """What one run's training told, and how much its answers on a split turned on messages before and after it."""
    scenarios = read_scenarios(folder)
    asked = scenarios[scenarios["split"] == split]
    moved = {}
    for stage, name in RESPONSES.items():
        answers = read_responses(folder / name)
        moved[f"moved_{stage}"] = moved_by_message(joined(answers[answers["split"] == split], asked))
    return of_training(read_trained_on(folder)) | moved


def write_messages(study) -> pd.DataFrame | None:
    """messages.csv: means over seeds, a row per world and condition; None, and no file, where no run has messages."""
    rows = []
    for folder, key in complete_runs(study.root, study.axis, study.profile):
        if keeps_tables(folder) and (read_scenarios(folder)["source"] == told_values.WORLD).all():
            rows.append({name: key[name] for name in KEYS} | of_run(folder, study.split))
    if not rows:
        return None
    table = pd.DataFrame(rows).groupby(["world", "condition"], sort=False)
    means = table[[*OF_TRAINING, "moved_before", "moved_after"]].mean().assign(seeds=table.size()).reset_index()
    means[COLUMNS].to_csv(study.out / "messages.csv", index=False)
    return means[COLUMNS]
