"""The endpoints of the study, each a function of a table of answers.

A table of answers has a row per answer of one policy on one split: the columns of responses.parquet (id, k, response,
correct, ...) and those of its scenario (prompt, options, answer, rubric, facts).
"""

import pandas as pd

from studylib.evaluation.diversity import GREEDY
from studylib.names import ENDPOINTS, Endpoint


def mean_of(column: str, greedy: bool):
    """The mean of a column over the greedy answers, or over the sampled ones; NaN where no answer has a value."""
    return lambda answers: float(answers.loc[(answers["k"] == GREEDY) == greedy, column].mean())


SHARE = {"range": (0.0, 1.0), "unit": "share right", "chance": 0.5, "needs": ("answer",)}
SCORE = {"range": (-1.0, 1.0), "unit": "mean over answers", "needs": ("score",)}  # P - N at the widest
for _how in ("sampled", "greedy"):
    ENDPOINTS.add(Endpoint(f"accuracy_{_how}", mean_of("verdict", _how == "greedy"), **SHARE))
for _how in ("sampled", "greedy"):
    ENDPOINTS.add(Endpoint(f"score_{_how}", mean_of("score", _how == "greedy"), **SCORE))


def value(endpoint: str, answers: pd.DataFrame) -> float:
    """What the answers of one policy on one split are worth by an endpoint, checked against its range."""
    return float(ENDPOINTS.of(endpoint).of(answers))
