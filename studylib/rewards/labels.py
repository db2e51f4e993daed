"""Recorded verdicts as labels for a judge. Other labels come from `checks.checks_grader` and from `endpoint.py`."""

import gzip
import json
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd

from studylib.rewards.judge import graded_rows
from studylib.rewards.rubric import read_verdict
from studylib.scenarios.rows import digest

TEXTS = {"thinking_trace": "trace", "model_resp": "answer"}  # the two texts of a model that MoReBench scores


def recorded(path: Path) -> pd.DataFrame:
    """Published verdicts of MoReBench's site (comparison_data.jsonl or .jsonl.gz) as labelled rows.

    A judgement is read strictly; what is not a verdict has the label NaN. Beside `judge.COLUMNS`: `kind`
    (trace or answer) and `score` (the published score of the text, 0..100).
    """
    tables = []
    for entry in _lines(path):
        for model in entry["models"]:
            for field, kind in TEXTS.items():
                text = model[field]
                scenario = {"id": _scenario_id(entry["metadata"]), "rubric": [_criterion(c) for c in text["rubrics"]]}
                verdicts = [read_verdict(str(criterion["judgement"]), "strict") for criterion in text["rubrics"]]
                grades = [None if verdict is None else float(verdict) for verdict in verdicts]
                rows = graded_rows([text["response"]], [scenario], [model["model_name"]], [grades])
                tables.append(rows.assign(kind=kind, score=text["score"]))
    return pd.concat(tables, ignore_index=True)


def _lines(path: Path) -> Iterator[dict]:
    with gzip.open(path, "rt") if path.suffix == ".gz" else path.open() as file:
        yield from map(json.loads, file)


def _scenario_id(metadata: dict) -> str:
    """MoReBench's files have no id: a hash of the dilemma and its theory."""
    return digest("morebench", metadata["dilemma"], metadata["theory"])


def _criterion(entry: dict) -> dict:
    return {
        "id": entry["criterion_id"], "text": entry["criterion"].strip(), "weight": int(entry["weight"]),
        "dimension": entry["dimension"],
    }  # fmt: skip


# --- two declared baselines, which any judge should beat -------------------------------------------------------------


def keyword_overlap(rows: pd.DataFrame) -> pd.Series:
    """A judge that cannot read: the share of the criterion's words of five letters or more that the response has."""

    def words(text: str) -> set[str]:
        return {word for word in re.findall(r"[^\W\d_]+", text.casefold()) if len(word) >= 5}

    asked, said = rows.text.map(words), rows.response.map(words)
    shares = [len(a & s) / len(a) if a else np.nan for a, s in zip(asked, said, strict=True)]
    return pd.Series(shares, rows.index)


def others_share(rows: pd.DataFrame) -> pd.Series:
    """A judge that does not read: the share of yes that the criterion has among the texts of all other models."""
    of_criterion, of_model = ["scenario", "criterion"], ["scenario", "criterion", "model"]
    total, own = (rows.groupby(keys).label.transform("sum") for keys in (of_criterion, of_model))
    n, n_own = (rows.groupby(keys).label.transform("count") for keys in (of_criterion, of_model))
    return (total - own) / (n - n_own).where(n > n_own)
