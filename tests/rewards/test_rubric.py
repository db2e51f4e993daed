"""Rubrics: literals are read and never run, grades are never guessed, scores are those that were published.

The published judgements are looked for in `data_dir` (conftest.py), and the tests skipped where they are missing.
"""

import gzip
import json
import math
import time
from pathlib import Path

import numpy as np
import pytest

from studylib.params import RunParams
from studylib.randomness import generator
from studylib.rewards import batch_reward
from studylib.rewards.rubric import (
    length_corrected,
    morebench_score,
    p_minus_n,
    read_met,
)  # fmt: skip
from studylib.scenarios.sources.morebench import MAX_RUBRIC, parse_rubric

ROW = {
    "id": "x", "options": ["permissible", "wrong"], "answer": "wrong",
    "rubric": [{"id": i, "text": i, "weight": w, "dimension": "d"} for i, w in (("a", 3), ("b", 1), ("c", -2))],
}  # fmt: skip
GOOD = "<think>It was a lie.</think><answer>wrong</answer>"
JUDGED = RunParams(rewards="rubric=1", rubric_grader="judge", judge="folder")


def judged(*met):
    """A grader that grades each response alike."""
    return lambda responses, scenarios: [list(met) for _ in responses]


# --- scores ---


@pytest.fixture(scope="module")
def published(data_dir):
    path = Path(data_dir) / "morebench_sample" / "comparison_data.jsonl.gz"
    with gzip.open(path, "rt") as file:
        rows = [json.loads(line) for line in file]
    return [
        (row["task_id"], model["model_name"] + "/" + part, model[part])
        for row in rows for model in row["models"] for part in ("thinking_trace", "model_resp")
    ]  # fmt: skip


def score(text, mode):
    weights = [c["weight"] for c in text["rubrics"]]
    found = [read_met(c["judgement"], mode, c["weight"]) for c in text["rubrics"]]
    return morebench_score(weights, found)


def test_the_official_rule_reproduces_all_56_published_scores(published):
    assert len(published) == 56
    assert all(abs(score(text, "official") - text["score"]) <= 0.02 for *_, text in published)


def test_the_strict_rule_scores_texts_whose_judgements_it_reads_and_reports_the_rest(published):
    strict = {(task, name): (score(text, "strict"), text["score"]) for task, name, text in published}
    unscored = sorted(name for (_, name), (found, _) in strict.items() if found is None)
    assert unscored == [
        "gpt-oss-120b_reasoning_medium/thinking_trace", "gpt-oss-20b_reasoning_medium/thinking_trace",
        "gpt-oss-20b_reasoning_medium/thinking_trace",
    ]  # fmt: skip
    assert all(abs(found - score) <= 0.02 for found, score in strict.values() if found is not None)


def test_an_answer_that_starts_with_yes_is_the_rule_that_reproduces_54(published):
    def starts(text):
        weights = [c["weight"] for c in text["rubrics"]]
        return morebench_score(weights, [c["judgement"].casefold().startswith("yes") for c in text["rubrics"]])

    off = [name for _, name, text in published if abs(starts(text) - text["score"]) > 0.02]
    assert off == ["gpt-oss-20b_reasoning_medium/thinking_trace"] * 2


def by_hand(weights, grades):
    """(morebench, P - N) straight from the definitions, criterion by criterion."""
    gained = everything = met = wanted = triggered = unwanted = 0.0
    for weight, present in zip(weights, grades, strict=True):
        everything += abs(weight)
        if weight > 0:
            wanted += weight
            if present:
                met += weight
                gained += weight
        else:
            unwanted += -weight
            if present:
                triggered += -weight
            else:
                gained += -weight
    n = triggered / unwanted if unwanted else 0.0
    return 100 * gained / everything, (met / wanted if wanted else 0.0) - n


def test_ten_thousand_random_sets_of_grades_score_as_by_hand():
    rng = generator(0, "test/verdicts")
    for _ in range(10_000):
        n = int(rng.integers(1, 30))
        weights = rng.choice([-3, -2, -1, 1, 2, 3], size=n).tolist()
        grades = (rng.random(n) < 0.5).tolist()
        expected = by_hand(weights, grades)
        assert (morebench_score(weights, grades), p_minus_n(weights, grades)) == pytest.approx(expected, abs=1e-9)


def test_the_two_scores_are_tied_by_the_weight_masses():
    """S/100 = (P W+ + (1 - N) W-) / (W+ + W-)."""
    weights, grades = [3, 1, -2], [True, False, True]
    p, n = 3 / 4, 1.0
    assert p_minus_n(weights, grades) == p - n
    assert morebench_score(weights, grades) == pytest.approx(100 * (p * 4 + (1 - n) * 2) / 6)


def test_probabilities_give_the_mean_score_of_independent_grades():
    weights, sure = [2, -1], [0.25, 0.5]
    expected = sum(
        (0.25 if a else 0.75) * 0.5 * morebench_score(weights, [a, b]) for a in (True, False) for b in (True, False)
    )
    assert morebench_score(weights, sure) == pytest.approx(expected)


def test_sides_without_criteria_count_nothing():
    assert p_minus_n([2, 1], [True, False]) == pytest.approx(2 / 3), "no unwanted criteria: P"
    assert p_minus_n([-2, -1], [True, False]) == pytest.approx(-2 / 3), "no wanted ones: -N"


@pytest.mark.parametrize("missing", [None, math.nan, np.float32("nan")])
def test_a_missing_grade_leaves_no_score(missing):
    assert morebench_score([1, -1], [True, missing]) is None
    assert p_minus_n([1, -1], [missing, False]) is None


@pytest.mark.parametrize(
    "weights, grades, message",
    [
        ([1, 0], [True, True], r"weights \[1, 0\] are not allowed: numbers other than 0"),
        ([1, math.nan], [True, True], "weights"),
        ([], [], "0 grades for 0 criteria"),
        ([1], [True, False], "2 grades for 1 criteria"),
        ([1], [1.5], "grade 1.5 is not allowed"),
    ],
)
def test_impossible_weights_and_grades_are_refused(weights, grades, message):
    for function in (morebench_score, p_minus_n):
        with pytest.raises(ValueError, match=message):
            function(weights, grades)


def test_length_correction_is_a_ratio_of_means():
    assert length_corrected([50.0, 100.0], [1000, 2000]) == 50.0
    for scores, lengths in (([], []), ([None], [3]), ([1.0], [0]), ([1.0], [1, 2])):
        with pytest.raises(ValueError):
            length_corrected(scores, lengths)


# --- reading ---


@pytest.mark.parametrize("text", ["yes", "Yes", "YES.", " yes \n", "**Yes**", "**Yes.**", "No", "no.", "**No**"])
def test_a_bare_yes_or_no_says_whether_a_criterion_is_met(text):
    assert read_met(text, "strict") is ("yes" in text.casefold())


@pytest.mark.parametrize(
    "text",
    ["", "maybe", "yes and no", "not", "know", "Yes, because", "I cannot", "yesno", "yes yes", "y", "否"],
)
def test_anything_else_is_none_and_not_a_no(text):
    assert read_met(text, "strict") is None


def test_the_official_rule_finds_no_in_know():
    assert read_met("I do not know", "official", weight=-1) is False
    assert read_met("Yes and no", "official", weight=1) is True and read_met("?", "official", weight=-1) is True
    with pytest.raises(ValueError, match="parsing mode 'lax' is not allowed: one of official, strict"):
        read_met("yes", "lax")


def literal(**change):
    entry = {"id": "1", "title": "Names her.", "weight": 2, "annotations": {"rubric_dimension": "identifying"}} | change
    return repr([entry])


def test_a_rubric_is_a_python_literal():
    assert parse_rubric(literal()) == [{"id": "1", "text": "Names her.", "weight": 2, "dimension": "identifying"}]


def test_a_rubric_is_read_and_never_run(tmp_path):
    trap = tmp_path / "trap"
    with pytest.raises(ValueError, match="written as a Python literal"):
        parse_rubric(f"[open({str(trap)!r}, 'w')]")
    assert not trap.exists()


@pytest.mark.parametrize(
    "text, message",
    [
        ("", "Python literal"), ("not a list", "Python literal"), ("[1, ", "Python literal"), ("{}", "at least one"),
        ("[]", "at least one"), ("[1]", "id, title, weight"), ("[{'id': 'a'}]", "id, title, weight"),
        ("[" * 5000 + "]" * 5000, "Python literal"), ("9" * (MAX_RUBRIC + 1), "at most 200000 characters"),
        (None, "not NoneType"), (literal(weight=0), "weight 0 of criterion '1' is not allowed: -3..3, not 0"),
        (literal(weight=4), "weight 4"), (literal(weight=True), "weight True"), (literal(weight="2"), "weight '2'"),
        (literal(weight=1.5), "weight 1.5"), (literal(title=""), "must be texts"), (literal(id=3), "must be texts"),
        (f"{literal()} + {literal()}", "Python literal"), (f"[*{literal()}]", "Python literal"),
        (literal()[:-1] + "," + literal()[1:], "criterion '1' comes twice"),
    ],
)  # fmt: skip
def test_what_is_no_rubric_text_is_refused_in_one_sentence(text, message):
    with pytest.raises(ValueError, match=message):
        parse_rubric(text)


# --- the reward ---


def test_a_judges_probabilities_are_rewards():
    rubric = batch_reward("rubric", [ROW], JUDGED, judged(1.0, 0.5, 0.25))
    assert rubric([GOOD], [ROW]) == [pytest.approx(3.5 / 4 - 0.25)]
    official = RunParams(**vars(JUDGED) | {"rubric_score": "morebench"})
    assert batch_reward("rubric", [ROW], official, judged(True, True, False))([GOOD], [ROW]) == [1.0]


@pytest.mark.parametrize("missing", [None, math.nan])
def test_a_judge_that_abstains_leaves_the_response_unscored(missing):
    assert batch_reward("rubric", [ROW], JUDGED, judged(True, missing, False))([GOOD], [ROW]) == [None]


def test_a_malformed_response_gets_the_lowest_value_and_is_not_shown_to_the_judge():
    def grade(responses, scenarios):
        assert responses == [GOOD]
        return [[True, True, False]]

    rubric = batch_reward("rubric", [ROW], JUDGED, grade)
    assert rubric(["", GOOD, GOOD + "!"], [ROW] * 3) == [-1.0, 1.0, -1.0]


def test_where_no_option_is_asked_for_every_response_is_judged():
    free = {**ROW, "options": None, "answer": None}
    assert batch_reward("rubric", [free], JUDGED, judged(True, True, False))(["Tell her."], [free]) == [1.0]


def test_a_judge_that_fails_stops_the_run_and_is_no_score():
    def broken(responses, scenarios):
        raise RuntimeError("out of memory")

    with pytest.raises(RuntimeError):
        batch_reward("rubric", [ROW], JUDGED, broken)([GOOD], [ROW])
    with pytest.raises(ValueError, match="the grader graded 0 of 1 responses"):
        batch_reward("rubric", [ROW], JUDGED, lambda responses, rows: [])([GOOD], [ROW])
    with pytest.raises(ValueError, match="2 grades for 3 criteria"):
        batch_reward("rubric", [ROW], JUDGED, judged(True, False))([GOOD], [ROW])


def test_what_a_rubric_reward_needs():
    with pytest.raises(ValueError, match="needs the judge of 'folder', and none was passed in"):
        batch_reward("rubric", [ROW], JUDGED)
    with pytest.raises(ValueError, match="reward 'rubric' needs the field 'facts', which scenario x lacks"):
        batch_reward("rubric", [ROW])
    with pytest.raises(ValueError, match="reward 'rubric' needs the field 'rubric'"):
        batch_reward("rubric", [{**ROW, "rubric": None}], JUDGED, judged(True))
    with pytest.raises(ValueError, match="judge = '' is not allowed: the folder of a trained judge"):
        RunParams(rewards="rubric=1", rubric_grader="judge")


def test_a_megabyte_is_read_in_linear_time():
    start = time.perf_counter()
    for text in ("no " * 350_000, "y" * 1_000_000, "*" * 1_000_000):
        assert read_met(text, "strict") is None
    assert batch_reward("rubric", [ROW], JUDGED, judged(True))(["<think>" * 150_000], [ROW]) == [-1.0]
    assert time.perf_counter() - start < 2
