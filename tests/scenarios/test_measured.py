"""How diverse a training set is: every number against a closed form, brute force or another library."""

import math

import numpy as np
import pytest
from embedded_rows import scenarios
from scipy import stats
from sklearn.feature_extraction.text import TfidfTransformer
from sklearn.metrics.pairwise import cosine_distances

from studylib.scenarios import measured as m
from studylib.scenarios.rows import scenario_row
from studylib.text.embedding import embed_words, rarity, unit


def of(*texts, **fields):
    return [scenario_row(source="mine", split="train", prompt=text, **fields) for text in texts]


def test_entropy_is_that_of_the_shares():
    assert m.entropy("aaaa") == 0 and m.entropy("abcd") == 2
    assert m.entropy("aaab") == pytest.approx(stats.entropy([3, 1], base=2))
    assert math.isnan(m.entropy([])) and math.isnan(m.entropy(["a", None]))


@pytest.mark.parametrize("n", [1, 2, 7])
def test_vendi_score_and_distance_of_the_same_text_and_of_texts_without_a_common_word(n):
    same, apart = np.eye(9)[[3] * n], np.eye(9)[:n]
    assert m.vendi(same) == pytest.approx(1) and m.vendi(apart) == pytest.approx(n)
    if n == 1:
        assert math.isnan(m.mean_distance(same))
    else:
        assert m.mean_distance(same) == pytest.approx(0) and m.mean_distance(apart) == pytest.approx(1)


def test_vendi_score_is_the_entropy_of_the_eigenvalues_and_counts_how_often_a_text_comes():
    vectors = unit(np.random.default_rng(0).random((12, 5)))
    shares = np.linalg.eigvalsh(vectors @ vectors.T / 12).clip(min=0)
    assert m.vendi(vectors) == pytest.approx(math.exp(stats.entropy(shares)))
    apart = np.eye(2)[[0, 0, 0, 1]]
    assert m.vendi(apart) == pytest.approx(math.exp(stats.entropy([0.75, 0.25])))


def test_mean_distance_and_coverage_by_brute_force():
    vectors = unit(np.random.default_rng(1).random((9, 4)))
    distances = cosine_distances(vectors)
    assert m.mean_distance(vectors) == pytest.approx(distances[np.triu_indices(9, 1)].mean())
    nearest = [max(a @ b for b in vectors[:6]) for a in vectors[6:]]
    assert m.coverage(vectors[:6], vectors[6:]) == pytest.approx(np.mean(nearest))
    assert m.coverage(vectors, vectors[:3]) == pytest.approx(1)


def test_rarity_is_scikit_learns_idf_up_to_its_constants():
    counts = embed_words(["a lie", "a truth", "a promise kept"])
    df = (counts > 0).sum(0)
    sklearn = TfidfTransformer(smooth_idf=False).fit(counts[:, df > 0]).idf_ - 1  # log(n / df)
    plain = np.log(3 / df[df > 0])
    assert sklearn == pytest.approx(plain)
    assert rarity(counts)[df > 0] == pytest.approx(np.log(5 / (1 + df[df > 0])))
    assert np.argsort(rarity(counts)[df > 0], kind="stable").tolist() == np.argsort(plain, kind="stable").tolist()


def test_a_text_without_a_word_cannot_be_compared():
    with pytest.raises(ValueError, match="text 1 has no word that could be compared"):
        unit(embed_words(["a lie", "..."]))


def test_rows_that_are_all_the_same_and_rows_that_have_nothing_in_common():
    reference = ["what a day", "who knows"]
    same = m.measured(of(*["a lie is told"] * 4, domain="law", answer="x", options=["x", "y"]), reference)
    assert same["distinct_share"] == 0.25 and same["domain_entropy"] == same["answer_entropy"] == 0
    assert (same["vendi_about"], same["vendi_wording"]) == (pytest.approx(1), pytest.approx(1))
    assert same["distance_about"] == pytest.approx(0, abs=1e-9)
    apart = m.measured(of("one two", "three four", "five six"), reference)
    assert (apart["vendi_about"], apart["vendi_wording"]) == (pytest.approx(3), pytest.approx(3))
    assert apart["distance_wording"] == pytest.approx(1) and apart["coverage"] == pytest.approx(0)
    assert math.isnan(apart["style_entropy"]) and math.isnan(apart["label_noise"]), "of which nothing is known"
    assert math.isnan(apart["distinct_2"]), "fewer words than the budget"


def test_rows_of_a_world_by_hand():
    rows = scenarios(240)
    found = m.measured(rows, [row["prompt"] for row in scenarios(20)])
    assert found.keys() == {*m.SIZE, *m.MEASURES} and found["prompts"] == 240
    assert found["domain_entropy"] == pytest.approx(math.log2(12)), "drawn in turn"
    assert (found["answer_entropy"], found["community_entropy"], found["answer_entropy_in_domain"]) == (1, 1, 1)
    assert found["label_noise"] == 0 and found["distinct_share"] == 1 and found["coverage"] > 0.3
    wrong = [row | {"answer": next(o for o in row["options"] if o != row["answer"])} for row in rows[:60]]
    assert m.measured(wrong + rows[60:], ["what a day"])["label_noise"] == 0.25
    told = [row | {"answer": "wrong" if row["domain"] in ("law", "work") else "permissible"} for row in rows]
    assert m.measured(told, ["what a day"])["answer_entropy_in_domain"] == pytest.approx(0)


def test_at_most_a_thousand_texts_are_compared_whatever_the_number_of_rows(monkeypatch):
    rows, sizes = scenarios(40), []
    monkeypatch.setattr(m, "MOST", 30)
    monkeypatch.setattr(m, "vendi", lambda vectors: sizes.append(len(vectors)) or 1.0)
    assert m.measured(rows, ["what a day"])["prompts"] == 40 and sizes == [30, 30]
