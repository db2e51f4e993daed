"""How diverse is a training set really? Numbers of its scenario rows alone, so that every kept run has them.

Embeddings know words alone, and two of them see different things. *About*: counts times the words' rarity in a
reference, the same for all runs that are compared. *Wording*: counts alone, in which the words that every text of a
style has weigh most. At most `MOST` rows are embedded: a Vendi score grows with their number, so it compares training
sets of one size only.
"""

import json
import math
from collections import Counter
from collections.abc import Iterable

import numpy as np

from studylib.randomness import generator
from studylib.scenarios.facts import NORMS, facts_of, right_answer
from studylib.text.embedding import embed_words, rarity, unit
from studylib.text.spelling import plain
from studylib.text.variety import distinct_n

MOST = 1000  # rows that are embedded, drawn at random where there are more
WORDS = 4000  # of distinct-2: about a hundred scenarios of the embedded worlds
FACETS = ("domain", "framework", "style", "source", "answer")
SIZE = ("prompts", "words", "label_noise")  # what is held the same, or given; the other numbers are of diversity
MEASURES = (
    *(f"{facet}_entropy" for facet in FACETS), "community_entropy", "answer_entropy_in_domain", "distinct_share",
    "distinct_2", "vendi_about", "distance_about", "vendi_wording", "distance_wording", "coverage",
)  # fmt: skip


# --- one number ------------------------------------------------------------------------------------------------------


def entropy(values: Iterable) -> float:
    """Bits of the shares of equal values: 0 where all are equal, log2(m) for m that are equally frequent; NaN where a
    value is missing (None) or there is none."""
    counts = Counter(values)
    if not counts or None in counts:
        return math.nan
    shares = np.array(list(counts.values())) / counts.total()
    return float(-(shares * np.log2(shares)).sum()) + 0.0  # not -0


def vendi(vectors: np.ndarray) -> float:
    """Vendi score of (n, d) vectors of length 1: exp of the entropy of the eigenvalues of their cosines / n.

    1 where all are the same, n where all are orthogonal (Friedman & Dieng 2023, arXiv 2210.02410, definition 3.1). The
    eigenvalues are the squared singular values of the vectors, / n.
    """
    shares = np.linalg.svd(vectors, compute_uv=False) ** 2 / len(vectors)
    shares = shares[shares > 1e-12]
    return float(np.exp(-(shares * np.log(shares)).sum()))


def mean_distance(vectors: np.ndarray) -> float:
    """Mean of 1 - cosine over all pairs of (n, d) vectors of length 1; NaN of fewer than two."""
    n = len(vectors)
    return float(1 - ((vectors.sum(0) ** 2).sum() - n) / (n * (n - 1))) if n > 1 else math.nan


def coverage(vectors: np.ndarray, reference: np.ndarray) -> float:
    """Mean over the (m, d) reference of the largest cosine with one of the (n, d) vectors: facility location / m."""
    return float((reference @ vectors.T).max(1).mean())


# --- one training set ------------------------------------------------------------------------------------------------


def measured(rows: list[dict], reference: list[str]) -> dict[str, float]:
    """`SIZE` and `MEASURES` of the scenarios that a run trains on, in their order; NaN for what they cannot have.

    reference: texts by which words are weighed and whose coverage is told, the same for all sets that are compared:
    the evaluation prompts. words: mean per prompt. distinct_share: 1 - the share of prompts that were there before.
    answer_entropy_in_domain: bits of the answer that the domain leaves open. label_noise: share of answers that are not
    those of the world's rule, which published data do not have.
    """
    told = [plain(row["prompt"]).split() for row in rows]
    return {
        "prompts": len(rows), "words": float(np.mean([len(words) for words in told])), "label_noise": _noise(rows),
        **{f"{facet}_entropy": entropy(row[facet] for row in rows) for facet in FACETS},
        "community_entropy": entropy(_communities(rows)),
        "answer_entropy_in_domain": _joint(rows, "domain", "answer") - entropy(row["domain"] for row in rows),
        "distinct_share": len({row["prompt"] for row in rows}) / len(rows),
        "distinct_2": distinct_n(told, 2, WORDS),
        **_of_texts([row["prompt"] for row in rows], reference),
    }  # fmt: skip


def _of_texts(texts: list[str], reference: list[str]) -> dict[str, float]:
    if len(texts) > MOST:
        texts = [texts[i] for i in generator(0, "measured/texts").permutation(len(texts))[:MOST]]
    counts, of_reference = embed_words(texts), embed_words(reference)
    weighed = unit(np.vstack([counts, of_reference]) * rarity(of_reference))
    about, wording = weighed[: len(texts)], unit(counts)
    return {
        "vendi_about": vendi(about), "distance_about": mean_distance(about), "vendi_wording": vendi(wording),
        "distance_wording": mean_distance(wording), "coverage": coverage(about, weighed[len(texts) :]),
    }  # fmt: skip


def _joint(rows: list[dict], *facets: str) -> float:
    """Entropy of several facets together; NaN where one is missing."""
    return entropy(None if None in values else values for values in (tuple(row[f] for f in facets) for row in rows))


def _communities(rows: list[dict]) -> list[str | None]:
    """The kind of community of each scenario, on which the norm of `local_norms` depends; None where none is told."""
    return [json.loads(row["facts"] or "{}").get("community") for row in rows]


def _noise(rows: list[dict]) -> float:
    if not all(row["source"] in NORMS for row in rows):
        return math.nan
    wrong = [row["answer"] != right_answer(facts_of(row), row["framework"], row["source"]) for row in rows]
    return float(np.mean(wrong))
