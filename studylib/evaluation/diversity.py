"""How diverse are the answers? Counted on what a policy says, gated on quality, at a fixed number of words.

Diversity without quality is noise, so only right answers count; a longer text has more distinct words, so every text is
cut to the same budget, and what has fewer words than the budget is not estimable (NaN), never compared.

An answer whose `correct` is NaN (it could not be scored) is neither right nor wrong, and counted. An answer without its
scenario's id is refused, because it would leave every mean over scenarios without a word.
"""

import re

import numpy as np
import pandas as pd

from studylib.runs.keys import require_keys
from studylib.text.answers import parse
from studylib.text.spelling import folded, spelt
from studylib.text.variety import BUDGET, distinct_n

GREEDY = 0  # index k of the greedy answer; samples are 1..eval_samples
DIVERSITY = ("distinct_n", "words", "decision_entropy", "unscored")
MALFORMED = "\n"  # a decision that no answer can say: folded text holds no line break
_WORD = re.compile(r"\w+")


def words(response: str) -> list[str]:
    """Lower-case words of the reasons; of the whole response where it is malformed. Tags are no words."""
    parsed = parse(response)
    return _WORD.findall(spelt(parsed[0] if parsed else re.sub(r"<[^>]*>", " ", response)))


def decision_entropy(responses: pd.DataFrame) -> float:
    """Mean over scenarios of the entropy, in bits, of the decisions in their sampled answers (columns id, response).

    0: every sample decides alike. Malformed answers are one decision more. With m samples it is at most log2(m) and
    biased towards 0, so compare only policies with the same number of samples.
    """
    require_keys(responses, "id")
    decided = responses["response"].map(_decision)
    shares = decided.groupby(responses["id"]).value_counts(normalize=True)
    return float((-shares * np.log2(shares)).groupby(level="id").sum().mean())


def _decision(response: str) -> str:
    parsed = parse(response)
    return folded(parsed[1]) if parsed else MALFORMED


def diversity(answers: pd.DataFrame, n: int = 2, budget: int = BUDGET) -> dict[str, float]:
    """Of one policy on one split (columns id, k, response, correct), its sampled answers, quality-gated.

    distinct_n: distinct-n of the right answers in order of sample and scenario, so that the budget meets every scenario
    before it meets one twice. words: how many words the right answers have. decision_entropy: of all sampled answers.
    unscored: sampled answers whose `correct` is NaN; where all are, nothing is known of right answers: words is NaN.
    """
    require_keys(answers, "id", "k")
    samples = answers[answers["k"] != GREEDY].sort_values(["k", "id"])
    right = [words(response) for response in samples.loc[samples["correct"] == 1, "response"]]
    unscored = int(samples["correct"].isna().sum())
    known = unscored < len(samples) or not len(samples)
    length = sum(map(len, right)) if known else np.nan
    numbers = distinct_n(right, n, budget), length, decision_entropy(samples), unscored
    return dict(zip(DIVERSITY, numbers, strict=True))
