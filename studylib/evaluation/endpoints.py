"""The endpoints of the study, each a function of a table of answers.

A table of answers has a row per answer of one policy on one split: the columns of responses.parquet (id, k, response,
correct, ...) and those of its scenario (prompt, options, answer, rubric, facts).
"""

import pandas as pd

from studylib.evaluation.diversity import GREEDY
from studylib.names import ENDPOINTS, Endpoint


def outcome(column: str, how: str):
    """Function of a table of answers: the column of its greedy answers, or of its sampled ones; empty without one."""

    def item(answers: pd.DataFrame) -> pd.Series:
        wanted = answers[(answers["k"] == GREEDY) == (how == "greedy")]
        return wanted[column] if column in wanted else pd.Series(dtype=float)

    return item


def mean_of(item):
    """The mean over single answers; NaN where none has a value."""
    return lambda answers: float(item(answers).mean())


SHARE = {"range": (0.0, 1.0), "unit": "share right", "chance": 0.5, "needs": ("answer",)}
SCORE = {"range": (-1.0, 1.0), "unit": "mean over answers", "needs": ("score",)}  # P - N at the widest
for _kind, _column, _what in (("accuracy", "correct", SHARE), ("score", "score", SCORE)):
    for _how in ("sampled", "greedy"):
        _item = outcome(_column, _how)
        ENDPOINTS.add(Endpoint(f"{_kind}_{_how}", mean_of(_item), item=_item, **_what))


def value(endpoint: str, answers: pd.DataFrame) -> float:
    """What the answers of one policy on one split are worth by an endpoint, checked against its range."""
    return float(ENDPOINTS.of(endpoint).of(answers))
