"""Diversity rewards: closed forms of their statistics, what passes a gate, and what a length-matched control sees."""

import itertools
import math
import os
import subprocess
import sys
import time
import unicodedata
from collections import Counter

import numpy as np
import pytest
from embedded_rows import perspective_row

from studylib.names import FRAMEWORKS, REWARDS
from studylib.params import RunParams
from studylib.rewards import batch_reward
from studylib.rewards.diversity import (
    GATE,
    LENGTH_MATCHED,
    dispersion,
    embed_words,
    embedder,
    gated,
    length_matched,
    of_reasons,
)
from studylib.rewards.perspectives import coverage, matched, offered, perspective_format, uniqueness
from studylib.rewards.surface import FUNCTION_WORDS, STATISTICS, sentences, surface, surfaces, words
from studylib.scenarios.facts import READINGS, facts_of, reading

ROW = {"id": "x", "options": ["permissible", "wrong"], "answer": "wrong"}
UNGATED = RunParams(diversity_gate="form")


def answer(reasons, option="wrong"):
    return f"<think>{reasons}</think><answer>{option}</answer>"


# --- the eight statistics ---


def test_four_different_words_are_as_diverse_as_words_can_be():
    found = surface("red green blue black", window=4)
    assert {name: found[name] for name in ("lexical", "token_entropy", "yule", "distinct_ngram")} == pytest.approx(
        {"lexical": 1, "token_entropy": 1, "yule": 1, "distinct_ngram": 1}
    )
    assert found["sentence_length"] == found["sentence_pattern"] == found["adjacent_sentence"] == 0


def test_statistics_of_words_by_hand():
    found = surface("a b a b", window=4)
    assert found["lexical"] == 2 / 4
    assert found["token_entropy"] == pytest.approx(math.log(2) / math.log(4))
    assert found["yule"] == pytest.approx(1 / (1 + 1e4 * (8 - 4) / 16))  # sum of squares 2^2 + 2^2, N = 4
    assert found["distinct_ngram"] == pytest.approx(2 / 3)  # ab, ba, ab


def test_function_words_by_hand():
    """the, of and the again: shares 2/3 and 1/3 of the function words in a window of five."""
    entropy = -(2 / 3 * math.log(2 / 3) + 1 / 3 * math.log(1 / 3))
    assert surface("the end of the world", window=5)["function_word"] == pytest.approx(entropy / math.log(5))
    assert surface("kind people help friends often", window=5)["function_word"] == 0


def test_statistics_of_sentences_by_hand():
    found = surface("Is it so? It is. No! It is.", window=4)
    lengths = [3, 2, 1, 2]
    assert found["sentence_length"] == pytest.approx(np.std(lengths) / np.mean(lengths))
    shares = [1 / 4, 2 / 4, 1 / 4]
    assert found["sentence_pattern"] == pytest.approx(-sum(p * math.log(p) for p in shares) / math.log(3))
    assert found["adjacent_sentence"] == pytest.approx((1 / 3 + 1 + 1) / 3)
    assert surface("a. " + "b " * 99, window=4)["sentence_length"] <= 1, "the coefficient of variation is clipped"


def test_words_are_counted_in_windows_so_that_repeating_a_text_later_costs_nothing_and_short_texts_are_scaled_down():
    assert surface("a b c d " * 9, window=4)["lexical"] == 1
    assert surface("a b c d " * 9, window=8)["lexical"] == 1 / 2
    assert surface("a b", window=8)["lexical"] == pytest.approx(2 / 8)
    assert surface("a b c d d d", window=4)["lexical"] == pytest.approx((1 + 2 / 4) / 2), (
        "the last window ends the text"
    )


def test_the_mean_is_that_of_all_eight_in_unit_range():
    for text in ("So it was. But why? No! " * 7, "x", "", "...", "ß İ ﬁ", "a\n\nb?!"):
        found = surface(text, window=16)
        assert found["mean"] == pytest.approx(sum(found[name] for name in STATISTICS) / 8)
        assert all(0 <= value <= 1 for value in found.values())


def plainly(text, window):
    """The statistics again, one window and one sentence at a time."""
    parts = [(tokens, part[-1]) for part in sentences(text) if (tokens := words(part))]
    spoken = [word for tokens, _ in parts for word in tokens]
    size, entropies = min(window, len(spoken)), {"token_entropy": [], "function_word": []}
    starts = sorted({*range(0, len(spoken) - size + 1, size), len(spoken) - size})
    means = {"lexical": [], "yule": [], "distinct_ngram": []}
    for tile in (spoken[start : start + size] for start in starts):
        counts = Counter(tile)
        means["lexical"].append(len(counts) / size)
        means["yule"].append(1 / (1 + 1e4 * (sum(n * n for n in counts.values()) - size) / size**2))
        means["distinct_ngram"].append(len(set(itertools.pairwise(tile))) / (size - 1))
        for name, some in (("token_entropy", tile), ("function_word", [w for w in tile if w in FUNCTION_WORDS])):
            shares = [n / len(some) for n in Counter(some).values()]
            entropies[name].append(-sum(p * math.log(p) for p in shares) / math.log(size))
    lengths = [len(tokens) for tokens, _ in parts]
    kinds = [sum(mark == "?" for _, mark in parts), sum(mark == "!" for _, mark in parts)]
    moods = [n / len(parts) for n in (len(parts) - sum(kinds), *kinds) if n]
    bags = [set(tokens) for tokens, _ in parts]
    apart = [1 - len(a & b) / len(a | b) for a, b in itertools.pairwise(bags)]
    of_sentences = {
        "sentence_length": min(1, np.std(lengths) / np.mean(lengths)),
        "sentence_pattern": -sum(p * math.log(p) for p in moods) / math.log(3),
        "adjacent_sentence": np.mean(apart) if apart else 0,
    }
    found = {name: np.mean(values) for name, values in (means | entropies).items()} | of_sentences
    return {name: min(1, len(spoken) / window) * value for name, value in found.items()}


@pytest.mark.parametrize("window", [2, 5, 16])
def test_all_texts_at_once_give_what_a_plain_reading_of_each_gives(window):
    rng = np.random.default_rng(0)
    pieces = ["the", "of", "she", "dog,", "Dog", "cat", "...", "no!", "why?!", "so? !", "e.g.", "x.y", "\n", "it.", "-"]
    texts = [" ".join(rng.choice(pieces, n)) + " a dog" for n in (*range(12), 40, 41, 80, 300)]
    found = surfaces(texts, window)
    for i, text in enumerate(texts):
        assert {name: found[name][i] for name in STATISTICS} == pytest.approx(plainly(text, window)), text
    assert surfaces([], window)["mean"].tolist() == []


def test_the_last_digit_is_the_same_in_every_process():
    """Words with as many different counts as there are words: the order of a sum shows in its rounding."""
    text = " ".join(f"w{i} " * (i + 1) for i in range(14))
    code = f"from studylib.rewards.surface import surface; print(surface({text!r}, 105))"
    found = [
        subprocess.run([sys.executable, "-c", code], env={**os.environ, "PYTHONHASHSEED": seed}, capture_output=True)
        for seed in ("1", "3")
    ]
    assert found[0].stdout == found[1].stdout != b""


def test_many_long_texts_are_read_in_parts(monkeypatch):
    texts = ["It was so. Was it?", "a b c d e f", "", "No! " * 9]
    whole = surfaces(texts, 4)["mean"].tolist()
    monkeypatch.setattr(sys.modules["studylib.rewards.surface"], "AT_ONCE", 5)
    assert surfaces(texts, 4)["mean"].tolist() == whole == [surface(text, 4)["mean"] for text in texts]


def test_sentences_end_with_their_marks():
    assert sentences("One. Two?! Three\nfour") == ["One.", "Two?!", "Three", "four"]


# --- gates ---


@pytest.mark.parametrize("name", ["diversity", "diversity_yule", "dispersion"])
def test_gates(name):
    texts = [answer("It was a lie."), answer("Nobody asked her.", "permissible"), "Nobody asked her.", answer("")]
    rows = [ROW] * 4
    right = batch_reward(name, rows)(texts, rows)
    formed = batch_reward(name, rows, UNGATED)(texts, rows)
    assert right[1:] == [0, 0, 0] and formed[2:] == [0, 0] and formed[1] > 0


def test_a_gate_needs_to_know_the_answer():
    open_row = {"id": "x", "options": None, "answer": None}
    with pytest.raises(ValueError, match="reward 'diversity' needs the field 'options', which scenario x lacks"):
        batch_reward("diversity", [open_row])
    assert batch_reward("diversity_lexical", [open_row], UNGATED)(["a " * 16], [open_row]) == [1 / 16]


# --- perspectives ---


def test_a_scenario_offers_the_readings_of_the_facts_that_it_tells():
    for facts_told in (1, 3, 5):
        row = perspective_row(facts_told)
        pairs = offered(row["facts"], row["prompt"])
        assert len(pairs) == facts_told
        assert {right for right, _ in pairs} <= {reading(facts_of(row), f).casefold() for f in FRAMEWORKS}


def test_each_perspective_counts_once_and_repeats_lower_uniqueness():
    row = perspective_row(3)
    rights = [right for right, _ in offered(row["facts"], row["prompt"])]
    assert coverage(". ".join(rights), row) == 1 and uniqueness(". ".join(rights), row) == 1
    assert coverage(f"{rights[0]}. " * 9, row) == pytest.approx(1 / 3)
    assert uniqueness(f"{rights[0]}. " * 9, row) == pytest.approx(1 / 9)
    assert coverage(" and ".join(rights), row) == pytest.approx(1 / 3), "one sentence takes one perspective"
    assert coverage("Hm.", row) == uniqueness("Hm.", row) == 0


def test_a_reading_that_is_denied_or_asked_takes_no_perspective():
    row = perspective_row(5)
    rights = [right for right, _ in offered(row["facts"], row["prompt"])]
    assert coverage(". ".join(f"So {right}" for right in rights), row) == 1
    assert coverage(". ".join(f"It is false that {right}" for right in rights), row) == 0
    assert coverage(" ".join(f"{right}?" for right in rights), row) == 0


def test_saying_a_reading_and_its_opposite_takes_no_perspective():
    row = perspective_row(5)
    assert coverage(". ".join(sum(READINGS.values(), ())), row) == 0


def test_matching_is_the_largest_one_to_one():
    """A greedy reader would give the first segment the first reference and leave the second segment with none."""
    assert matched(["a, b", "a"], ["a", "b"]) == (2, 2)
    assert matched(["a", "a", "a"], ["a", "b"]) == (1, 3)
    assert matched([], ["a"]) == matched(["c"], ["a"]) == matched(["c"], []) == (0, 0)


SIX = [f"From the perspective of {name}, it is so." for name in ("duty", "care", "law", "gain", "virtue", "need")]
NAMED = "\nSummary: duty care law gain virtue need"


@pytest.mark.parametrize(
    "text, points",
    [
        ("\n".join(SIX) + NAMED, 2.0),
        ("\n".join(SIX), 1.0),
        ("\n".join(SIX) + "\nSummary: duty care law", 1.5),
        ("\n".join(SIX) + "\nSummary: duty care", 1.25),
        ("\n".join(["Well.", *SIX[:1]]) + NAMED, 1.0),
        ("\n".join([*SIX, SIX[0].replace("so", "not so")]) + NAMED, 1.5),
        ("\n".join([*SIX, SIX[0]]) + NAMED, 1.0),
        ("\n".join(SIX * 4) + NAMED, 0.0),
        ("It is so.", 0.0),
        ("", 0.0),
    ],
)
def test_the_form_of_op_grpo_by_hand(text, points):
    assert perspective_format(text, {}) == points / 2


# --- dispersion ---

ANGLES = {"east": (1, 0), "north": (0, 1), "west": (-1, 0), "nowhere": (0, 0), "broken": (math.nan, 0)}


def embed(texts):
    return np.array([ANGLES[text] for text in texts], float)


def dispersed(*texts, ids=None):
    rows = [{**ROW, "id": i} for i in ids or "x" * len(texts)]
    return dispersion(embed)([answer(text) for text in texts], rows)


def test_dispersion_is_one_minus_the_mean_cosine_with_the_others():
    assert dispersed("east", "east") == pytest.approx([0, 0])
    assert dispersed("east", "north") == pytest.approx([1, 1])
    assert dispersed("east", "north", "west") == pytest.approx([1.5, 1, 1.5])
    assert dispersed("east") == [0.0] and dispersed() == []


def test_dispersion_is_within_the_answers_to_one_scenario():
    assert dispersed("east", "west", "east", "east", ids="xyxy") == pytest.approx([0, 2, 0, 2])


def test_no_content_earns_nothing_and_a_broken_embedding_is_no_score():
    assert dispersed("east", "north", "nowhere") == pytest.approx([1, 1, 0])
    assert dispersed("east", "broken") == [None, None]


def test_the_embedding_by_words_knows_words_and_not_their_order():
    a, b, c = embed_words(["a lie is a lie", "lie a is lie a", "the truth"])
    assert (a == b).all() and a @ c == 0 and a.sum() == 5


def test_dispersion_by_a_sentence_transformers_model(tmp_path):
    """A small random one, saved as such models are: right answers that say the same are near to each other."""
    import torch
    from sentence_transformers import SentenceTransformer
    from transformers import BertConfig, BertModel, BertTokenizerFast

    texts = ["it was a lie", "it was a lie", "she knew nothing"]
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *" ".join(texts[1:]).split()]
    (tmp_path / "vocab.txt").write_text("\n".join(words))
    BertTokenizerFast(str(tmp_path / "vocab.txt")).save_pretrained(tmp_path / "bert")
    sizes = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 4, "intermediate_size": 32}
    torch.manual_seed(0)
    BertModel(BertConfig(vocab_size=len(words), **sizes)).save_pretrained(tmp_path / "bert")
    SentenceTransformer(str(tmp_path / "bert")).save(str(tmp_path / "model"))

    params = RunParams(embedder=str(tmp_path / "model"), embedder_revision="local")
    same, again, other = batch_reward("dispersion", [ROW], params)([answer(text) for text in texts], [ROW] * 3)
    vectors = SentenceTransformer(str(tmp_path / "model")).encode(texts)
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    assert other == pytest.approx(1 - unit[2] @ unit[0], abs=1e-5) and other > 0
    assert same == pytest.approx(again, abs=1e-6) and same == pytest.approx(other / 2, abs=1e-5)


def test_a_missing_package_is_said_in_one_sentence(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "sentence_transformers", None)
    with pytest.raises(ValueError, match="needs the package sentence-transformers, which is not installed"):
        embedder("sentence-transformers/all-MiniLM-L6-v2", "c9745ed1")
    with pytest.raises(ValueError, match="embedder_revision = '' is not allowed: a commit that pins"):
        RunParams(embedder="sentence-transformers/all-MiniLM-L6-v2")


# --- controls ---


def lengths_seen(texts, unit="words"):
    seen = []
    control = length_matched(of_reasons(lambda reasons, row: seen.append(reasons) or 0.0), unit)
    control([answer(text) for text in texts], [ROW] * len(texts))
    return seen


@pytest.mark.parametrize("unit", ["words", "sentences"])
def test_a_control_sees_random_texts_of_the_same_length_from_the_groups_own_words(unit):
    texts = ["It was a lie. She knew.", "Nobody asked her", "So? " * 9]
    seen = lengths_seen(texts, unit)
    assert [len(words(text)) for text in seen] == [6, 3, 9] * 4
    assert set(words(" ".join(seen))) <= set(words(" ".join(texts)))
    assert len(set(seen)) > 6, "four draws"


def test_a_control_pays_two_answers_of_the_same_length_alike_whatever_they_say():
    control = length_matched(of_reasons(lambda reasons, row: surface(reasons, 4)["mean"]), "words")
    one, other = answer("a a a a a"), answer("all five of them differ")
    first, second = control([one, other], [ROW] * 2)
    assert first == second
    shuffled = control([answer("differ them of five all"), one], [ROW] * 2)
    assert shuffled == [first, second]


def test_controls_are_the_same_again_and_pay_nothing_for_nothing():
    rows = [ROW] * 3
    texts = [answer("It was a lie. She knew it."), answer("No."), answer("?!")]
    for name in ("diversity", "dispersion"):
        control = batch_reward(LENGTH_MATCHED + name, rows)
        assert control(texts, rows) == control(texts, rows)
        assert control(texts, rows)[2] == 0


DIVERSITY = [name for name, reward in REWARDS.items() if GATE in reward.options and LENGTH_MATCHED not in name]


def test_every_diversity_reward_has_a_control_that_declares_the_same_options():
    assert {"diversity", "diversity_yule", "coverage", "perspective_format", "dispersion"} < set(DIVERSITY)
    row = perspective_row(3)
    texts = [answer("Somebody was deceived. It counts.", row["answer"]), "no form"]
    for name in DIVERSITY:
        assert REWARDS[LENGTH_MATCHED + name].options == REWARDS[name].options
        for reward in (name, LENGTH_MATCHED + name):
            right, malformed = batch_reward(reward, [row])(texts, [row] * 2)
            assert 0 <= right <= 1 and malformed == 0


def test_gated_rewards_keep_their_places():
    reward = gated(of_reasons(lambda reasons, row: float(len(reasons))), "form")
    assert reward(["bad", answer("ab"), "", answer("a")], [ROW] * 4) == [0, 2, 0, 1]


def test_a_megabyte_is_read_in_linear_time():
    """Ten times the text takes about ten times as long: room for a slow machine, none for a square."""
    row = perspective_row(3)

    def seconds(n):
        started = time.process_time()
        for text in ("a? " * n, "From the perspective of a\n" * (n // 8), "x" * n, "." * n):
            surface(text, 16), coverage(text, row), perspective_format(text, row), embed_words([text])
        return time.process_time() - started

    seconds(100)
    assert seconds(300_000) < 40 * seconds(30_000) + 0.5


@pytest.mark.parametrize("name", ["diversity", "diversity_lexical", "diversity_distinct_ngram", "dispersion"])
def test_another_spelling_of_the_same_letters_is_no_diversity(name):
    """Composed and decomposed letters look alike and are the same text."""
    again = "Zoë wägt ab, und Zoë wägt ab, und Zoë wägt ab, und Zoë wägt ab, und Zoë wägt ab, und Zoë wägt ab."
    half = len(again) // 2
    mixed = unicodedata.normalize("NFD", again[:half]) + again[half:]
    same, varied = (batch_reward(name, [ROW])([answer(again), answer(text)], [ROW] * 2)[1] for text in (again, mixed))
    assert varied == pytest.approx(same)
