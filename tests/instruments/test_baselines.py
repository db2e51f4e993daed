"""The floors of published data, on rows whose truth is planted."""

import numpy as np
import pandas as pd
import pytest
from hub_models import hub_model

from studylib.instruments.baselines import bag_of_words, base_rate, baselines, compared, linear_probe
from studylib.instruments.overlap import both_texts
from studylib.randomness import generator


def row(text: str, answer: str, options=("yes", "no")) -> dict:
    return {"prompt": text, "options": list(options), "answer": answer}


def about(words: dict[str, str], n: int, seed: int) -> list[dict]:
    """Rows in which one word says the answer, among words that say nothing."""
    draw = generator(seed, "test/baselines")
    noise = [f"word{i}" for i in range(30)]
    answers = [("yes", "no")[i] for i in draw.integers(2, size=n)]
    return [row(" ".join([words[answer], *draw.permutation(noise)[:8]]), answer) for answer in answers]


def pairs(n: int, seed: int) -> list[dict]:
    """The text that says "kind" is the right one; which letter it has is a coin."""
    letters = generator(seed, "test/baselines/pairs").integers(2, size=n)
    texts = [("kind deed", "cruel deed"), ("cruel deed", "kind deed")]
    return [row(f"Which? (A) {texts[i][0]} (B) {texts[i][1]}", "AB"[i], "AB") for i in letters]


def noise_states(rows: list[dict]) -> np.ndarray:
    return generator(len(rows), "test/states").normal(size=(len(rows), 3, 4))


def test_a_word_that_says_the_answer_is_found_and_chance_is_not_beaten_without_one():
    planted = {"yes": "generous", "no": "cruel"}
    found = compared(about(planted, 200, 0), about(planted, 400, 1), noise_states)
    assert found["bag_of_words"].mean() == 1
    assert abs(found["linear_probe"].mean() - 0.5) < 0.09, "four standard errors of 400 coins are 0.1"
    nothing = {"yes": "deed", "no": "deed"}
    none = compared(about(nothing, 200, 0), about(nothing, 400, 1), noise_states)
    assert abs(none["bag_of_words"].mean() - 0.5) < 0.09


def test_where_two_texts_compete_a_word_counts_for_the_text_that_it_stands_in():
    found = compared(pairs(100, 0), pairs(200, 1), noise_states)
    assert found["bag_of_words"].mean() == 1, "both texts have the same words in every row"
    assert both_texts(row("Which? (A) one (B) two Which of the two is better?", "A", "AB")) == ("one", "two")
    assert both_texts(row("An (A) deed. (B) Is it fair?", "yes")) == ("An (A) deed. (B) Is it fair?", "")


def test_the_base_rate_is_that_of_the_most_frequent_answer_in_training():
    assert (base_rate(np.zeros((5, 1)), np.array([1, 1, 1, 0, 0]), np.zeros((4, 1))) == 1).all()
    train, test = [row("deed", "no")] * 15 + [row("deed", "yes")] * 10, [row("deed", "no")] + [row("deed", "yes")] * 3
    found = compared(train, test, noise_states)["base_rate"]
    assert found.tolist() == [True, False, False, False]


def test_a_probe_finds_the_layer_that_knows_the_answer():
    draw = generator(0, "test/probe")
    labels = draw.integers(2, size=300)
    states = draw.normal(size=(300, 4, 8))
    states[:, 2, 5] += 6 * (labels - 0.5)  # the two means are six standard deviations apart
    found = linear_probe(states[:200], labels[:200], states[200:])
    assert (found == labels[200:]).mean() > 0.97
    states[:, 2] = draw.normal(size=(300, 8))
    assert abs((linear_probe(states[:200], labels[:200], states[200:]) == labels[200:]).mean() - 0.5) < 0.2


def test_without_training_rows_every_row_is_read_by_a_fit_to_others():
    """Every row has a word of its own, so a fit that has seen the row itself would know the answer."""
    answers = generator(1, "test/own").integers(2, size=200)
    rows = [row(f"own{i}", ("yes", "no")[answer]) for i, answer in enumerate(answers)]
    found = compared([], rows, noise_states)
    assert found["bag_of_words"].mean() < 0.65
    assert bag_of_words(
        np.array([both_texts(r) for r in rows], dtype=object), answers, np.array([["own3", ""]], dtype=object)
    )
    planted = compared([], about({"yes": "generous", "no": "cruel"}, 200, 2), noise_states)
    assert planted["bag_of_words"].mean() == 1


@pytest.fixture
def published(miniature, tmp_path):
    """A model of random weights and two files of ETHICS, in which one word says the answer."""
    (tmp_path / "ethics").mkdir()
    for part, numbers in (("train", range(60)), ("test", range(60, 90))):
        lines = [f'{i % 2},"I rest number {i} because of {("spite", "work")[i % 2]}."' for i in numbers]
        (tmp_path / "ethics" / f"justice_{part}.csv").write_text("\n".join(["label,scenario", *lines]) + "\n")
    return miniature(
        axis="real", condition="grpo", source="ethics_justice", data_dir=str(tmp_path),
        steps=0, objective="base", model=hub_model(tmp_path / "model"), revision="x",
    )  # fmt: skip


def test_the_table_has_every_baseline_with_its_interval(published):
    table = baselines(published, ["ethics_justice"], train=40, test=20)
    assert table["baseline"].tolist() == ["base_rate", "bag_of_words", "linear_probe"]
    assert set(table["train"]) == {40} and set(table["test"]) == {20}
    of = table.set_index("baseline")
    assert of.loc["bag_of_words", "accuracy"] == 1 and of.loc["base_rate", "accuracy"] == 0.5
    # Wilson's interval of 10 in 20 (Brown, Cai & DasGupta 2001): 0.299 to 0.701
    assert of.loc["base_rate", ["low", "high"]].round(3).tolist() == [0.299, 0.701]
    assert pd.notna(table).all(axis=None)
