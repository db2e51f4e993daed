"""Perspectives within one answer: which roles speak, what they conclude, which views of the scenario are taken.

References to perspectives are the openings of roles (`scenarios/roles.py`), which are read word for word, so that the
extractor has no error rate of its own. Answers whose form is lost are read as far as they go.
"""

import math
import re
from collections import Counter

import numpy as np
import pandas as pd

from studylib.evaluation.diversity import diversity
from studylib.evaluation.single import judged, sampled
from studylib.rewards import perspectives
from studylib.scenarios.council import TAKES
from studylib.scenarios.roles import named, parts
from studylib.text.answers import parse
from studylib.text.spelling import spelt


def _reasons(response: str) -> str:
    parsed = parse(response)
    return parsed[0] if parsed else response


def views_taken(answers: pd.DataFrame) -> pd.Series:
    """Of each sampled answer: share of the perspectives that its scenario offers whose readings it states rightly."""
    return judged(sampled(answers), lambda response, row: perspectives.coverage(_reasons(response), row))


def roles_named(answers: pd.DataFrame) -> pd.Series:
    """Of each sampled answer: how many different roles speak in it."""
    return judged(sampled(answers), lambda response, row: len({spelt(role) for role in named(_reasons(response))}))


def decisions_named(answers: pd.DataFrame) -> pd.Series:
    """Of each sampled answer: how many different options its roles conclude; a role that concludes none counts none."""
    return judged(sampled(answers), lambda response, row: len(set(_concluded(_reasons(response), row["options"]))))


def _concluded(reasons: str, options: list[str]) -> list[str]:
    """The option at the end of each role's reasons, after "so"."""
    wanted = "|".join(re.escape(option) for option in sorted(options, key=len, reverse=True))
    found = (re.search(rf"\bso ({wanted})\.?$", part, re.IGNORECASE) for part in parts(reasons))
    return [match[1].casefold() for match in found if match]


def perspective_entropy(counts) -> float:
    """H = - sum_c p_c log p_c / log C of references to C perspectives, in [0, 1]; NaN without a reference.

    WorldView-Bench (arXiv 2505.09595). counts: (C,) references to each perspective of a fixed list; C of 1 gives 0.
    """
    counts = np.asarray(counts, float)
    if not counts.sum():
        return math.nan
    shares = counts[counts > 0] / counts.sum()
    return float(-(shares * np.log(shares)).sum() / math.log(len(counts))) if len(counts) > 1 else 0.0


def entropies(answers: pd.DataFrame) -> pd.Series:
    """Of each sampled answer: `perspective_entropy` over the frameworks that its scenario offers; NaN where no role
    speaks, or none that sees one of them."""
    return judged(sampled(answers), _entropy)


def _entropy(response: str, row: dict) -> float:
    heard = Counter(TAKES[name] for name in named(_reasons(response)) if name in TAKES)
    return perspective_entropy([heard[framework] for framework in perspectives.frameworks(row["facts"], row["prompt"])])


def silent(answers: pd.DataFrame) -> pd.Series:
    """1.0 where no perspective of the scenario is referred to in a sampled answer, else 0.0."""
    return entropies(answers).isna().astype(float)


def distinct_2(answers: pd.DataFrame) -> float:
    """Share of different pairs of neighbouring words in the right sampled answers, cut to a budget (`diversity.py`)."""
    return diversity(answers)["distinct_n"]
