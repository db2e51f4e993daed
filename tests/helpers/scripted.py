"""Scripted policies: tables of answers, with the columns of their scenarios, whose endpoints theory knows."""

import pandas as pd

from studylib.evaluation.summary import joined
from studylib.rewards.correct import correct, format
from studylib.scenarios.rows import scenario_row
from studylib.text.answers import read_answer

STANCES = ["assist", "comfort", "disclose", "forgive", "resign", "wait"]


def plural_row(m: int, number: int = 0, groups: dict | None = None) -> dict:
    """A scenario of which the first m stances are accepted, by everybody or by these groups (group -> stances)."""
    groups = groups or {"everybody": STANCES[:m]}
    stances = [
        {"option": option, "level": 1.0, "groups": [g for g, own in groups.items() if option in own]}
        for option in STANCES[:m]
    ]
    return scenario_row(
        source="hand_made", split="held_out", prompt=f"What should be done in case {number}?",
        options=STANCES, answer=STANCES[0], accepted=stances,
    )  # fmt: skip


def says(option: str, reasons: str = "So it is.") -> str:
    return f"<think>{reasons}</think><answer>{option}</answer>"


def table(rows: list[dict], said: dict[str, list[str]] | list[str]) -> pd.DataFrame:
    """The answers (responses, the first of them greedy) to each row, as endpoints see them; said: by id, or of all."""
    answers = []
    for row in rows:
        for k, response in enumerate(said if isinstance(said, list) else said[row["id"]]):
            readable = read_answer(response, row["options"]) is not None
            judged = correct(response, row), format(response, row), readable
            answers.append((row["id"], row["split"], k, response, *judged))
    columns = ["id", "split", "k", "response", "correct", "format", "readable"]
    return joined(pd.DataFrame(answers, columns=columns), pd.DataFrame(rows))
