"""What is asked of single sampled answers beside whether they are right: are the reasons those that decide, what does
an answer state, and what did it mean where its form was lost?"""

from collections.abc import Callable

import numpy as np
import pandas as pd

from studylib.evaluation.diversity import GREEDY
from studylib.rewards.faithful import faithful
from studylib.rewards.stances import stated
from studylib.scenarios.rows import accepted
from studylib.text.lenient import read_leniently

SCENARIO = ("id", "source", "framework", "prompt", "options", "answer", "accepted", "rubric", "facts")


def sampled(answers: pd.DataFrame) -> pd.DataFrame:
    """The sampled answers of a table of answers, without its greedy ones."""
    return answers[answers["k"] != GREEDY]


def judged(answers: pd.DataFrame, judge: Callable[[str, dict], float]) -> pd.Series:
    """What `judge` says of each answer (response, scenario), by the index of the answers.

    A field that a table of several runs lacks for some is None, as in a scenario row.
    """
    asked = answers[[name for name in SCENARIO if name in answers]].drop_duplicates("id").to_dict("records")
    rows = {row["id"]: {name: None if _missing(value) else value for name, value in row.items()} for row in asked}
    given = list(zip(answers["id"], answers["response"], strict=True))
    worth = {pair: judge(pair[1], rows[pair[0]]) for pair in dict.fromkeys(given)}  # most answers come more than once
    return pd.Series([worth[pair] for pair in given], index=answers.index, dtype=float)


def _missing(value) -> bool:
    return value is None or (isinstance(value, float) and np.isnan(value))


def faithful_answers(answers: pd.DataFrame) -> pd.Series:
    """1.0 or 0.0 of each sampled answer: are its reasons those that decide?"""
    return judged(sampled(answers), faithful)


def right_and_faithful(answers: pd.DataFrame) -> pd.Series:
    """1.0 where a sampled answer is right and its reasons are those that decide; NaN where it could not be scored."""
    return faithful_answers(answers) * sampled(answers)["correct"]


def unfaithful_of_right(answers: pd.DataFrame) -> pd.Series:
    """1.0 where a right sampled answer is not faithful, 0.0 where it is; NaN of an answer that is not right."""
    right = sampled(answers)["correct"] == 1
    return (1 - faithful_answers(answers)).where(right)


def right_leniently(answers: pd.DataFrame) -> pd.Series:
    """1.0 or 0.0 of each sampled answer: is what the lenient reader reads one of the accepted options?"""
    return judged(sampled(answers), lambda response, row: read_leniently(response, row["options"]) in accepted(row))


def leniently_readable(answers: pd.DataFrame) -> pd.Series:
    """1.0 or 0.0 of each sampled answer: does the lenient reader read one of the options?"""
    return judged(sampled(answers), lambda response, row: read_leniently(response, row["options"]) is not None)


def stated_overlap(answers: pd.DataFrame) -> pd.Series:
    """Of each sampled answer: options that it states as fitting and that are accepted, over those that are either.

    This is Jaccard's index: 1 where exactly the accepted ones are stated, 1/m where one of m is, 0 where none is.
    """
    return judged(sampled(answers), _overlap)


def _overlap(response: str, row: dict) -> float:
    said, right = stated(response, row), set(accepted(row))
    return len(said & right) / len(said | right)
