"""Recorded judgements as labels for a judge. Other labels come from `checks.checks_grader` and from `endpoint.py`."""

import math
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd

from studylib.judge.prompts import graded_rows
from studylib.rewards.rubric import MODES, morebench_score, read_met
from studylib.runs.keys import require_keys
from studylib.scenarios.sources import JUDGE
from studylib.scenarios.sources.morebench import part_of, row_id
from studylib.text.files import read_objects
from studylib.text.spelling import spelt

TEXTS = {"thinking_trace": "trace", "model_resp": "answer"}  # the two texts of a model that MoReBench scores


def recorded(path: Path) -> pd.DataFrame:
    """Published judgements of MoReBench's site (comparison_data.jsonl or .jsonl.gz) as labelled rows.

    A judgement is read strictly; one that is neither yes nor no has the label NaN. Beside `prompts.COLUMNS`: `kind`
    (trace or answer), `score` (the published score of the text, 0..100), `judgement` (the judge's text) and `part` (of
    MoReBench that the dilemma is in, see `sources/morebench.py`). Raises ValueError, with the line, for any other file.
    """
    tables = []
    for number, entry in read_objects(path):
        try:
            tables += list(_tables(entry))
        except (KeyError, TypeError, AttributeError, ValueError) as error:
            problem = f"{type(error).__name__}: {error}"
            raise ValueError(f"{path}, line {number} is not a published comparison ({problem})") from error
    if not tables:
        raise ValueError(f"{path} is empty: it holds no judgements")
    return pd.concat(tables, ignore_index=True)


def _tables(entry: dict) -> Iterator[pd.DataFrame]:
    """The rows of each text of each model on one dilemma."""
    dilemma, theory = _text(entry["metadata"], "dilemma"), _text(entry["metadata"], "theory")
    names = [_text(model, "model_name") for model in entry["models"]]
    if twice := [name for name in names if names.count(name) > 1]:
        raise ValueError(f"model {twice[0]!r} comes twice")
    for name, model in zip(names, entry["models"], strict=True):
        for field, kind in TEXTS.items():
            text = model[field]
            scenario = {"id": row_id(dilemma, theory), "rubric": list(map(_criterion, text["rubrics"]))}
            judgements = [_text(criterion, "judgement") for criterion in text["rubrics"]]
            met = [read_met(judgement, "strict") for judgement in judgements]
            grades = [None if value is None else float(value) for value in met]
            rows = graded_rows([_text(text, "response")], [scenario], [name], [grades])
            yield rows.assign(kind=kind, score=_score(text["score"]), judgement=judgements, part=part_of(dilemma))


def _criterion(entry: dict) -> dict:
    weight = entry["weight"]
    if type(weight) is not int or not 1 <= abs(weight) <= 3:
        raise ValueError(f"weight {weight!r} is not allowed: -3..3, not 0")
    return {
        "id": _text(entry, "criterion_id"), "text": _text(entry, "criterion").strip(), "weight": weight,
        "dimension": _text(entry, "dimension"),
    }  # fmt: skip


def _text(entry: dict, name: str) -> str:
    """A field as the text that it is: a number or null would be another text once it is written out."""
    if not isinstance(entry[name], str):
        raise ValueError(f"{name} is {entry[name]!r:.80}, not text")
    return entry[name]


def _score(value) -> float:
    """A published score, NaN for null."""
    if value is not None and (type(value) not in (int, float) or not 0 <= value <= 100):
        raise ValueError(f"score {value!r:.80} is not allowed: 0..100 or null")
    return math.nan if value is None else float(value)


def rescored(rows: pd.DataFrame) -> pd.DataFrame:
    """One line per text of `recorded`: its published score and ours, 0..100, in both parsing modes; NaN: no score.

    Raises ValueError for a row without scenario, model or kind.
    """
    require_keys(rows, "scenario", "model", "kind")
    lines = []
    for key, text in rows.groupby(["scenario", "model", "kind"], sort=False):
        line = dict(zip(("scenario", "model", "kind"), key, strict=True))
        line |= {"characters": text.length.iloc[0], "published": text.score.iloc[0]}
        for mode in MODES:
            pairs = zip(text.judgement, text.weight, strict=True)
            line[mode] = morebench_score(list(text.weight), [read_met(judgement, mode, w) for judgement, w in pairs])
        lines.append(line)
    return pd.DataFrame(lines).astype(dict.fromkeys(("published", *MODES), float))


def for_a_judge(rows: pd.DataFrame) -> pd.DataFrame:
    """Labelled rows of dilemmas that are set aside for a judge; policies train and are evaluated on the others."""
    require_keys(rows, "scenario", "part")
    aside = rows[(rows.part == JUDGE) & rows.label.notna()]
    if aside.empty:
        there = rows.groupby("part").scenario.nunique().to_dict()
        raise ValueError(f"no dilemma in the file is set aside for a judge; its dilemmas by part: {there}")
    return aside


def held_out(rows: pd.DataFrame, one_in: int = 5) -> tuple[pd.DataFrame, pd.DataFrame]:
    """(rows to train a judge on, rows to report it on): one scenario in so many, at least one, is held out whole."""
    require_keys(rows, "scenario")
    scenarios = sorted(rows.scenario.unique())
    if len(scenarios) < 2:
        raise ValueError("a judge needs at least two scenarios: one to learn from and one to be reported on")
    out = rows.scenario.isin(scenarios[::one_in])
    return rows[~out], rows[out]


# --- two declared baselines, which any judge should beat -------------------------------------------------------------


def keyword_overlap(rows: pd.DataFrame) -> pd.Series:
    """A judge that cannot read: the share of the criterion's words of five letters or more that the response has."""

    def words(text: str) -> set[str]:
        return {word for word in re.findall(r"[^\W\d_]+", spelt(text)) if len(word) >= 5}

    asked, given = rows.text.map(words), rows.response.map(words)
    shares = [len(a & g) / len(a) if a else np.nan for a, g in zip(asked, given, strict=True)]
    return pd.Series(shares, rows.index)


def others_share(rows: pd.DataFrame) -> pd.Series:
    """A judge that does not read: the share of yes that the criterion has among the texts of all other models."""
    require_keys(rows, "scenario", "criterion", "model")
    of_criterion, of_model = ["scenario", "criterion"], ["scenario", "criterion", "model"]
    total, own = (rows.groupby(keys).label.transform("sum") for keys in (of_criterion, of_model))
    n, n_own = (rows.groupby(keys).label.transform("count") for keys in (of_criterion, of_model))
    return (total - own) / (n - n_own).where(n > n_own)
