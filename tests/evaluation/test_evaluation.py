"""Evaluation: strict reading, rates with intervals, and answers that do not depend on their batch."""

import unicodedata

import numpy as np
import pandas as pd
import pytest
from peft import get_peft_model

from studylib.evaluation.answers import respond, scored
from studylib.evaluation.diversity import decision_entropy, words
from studylib.evaluation.rates import wilson
from studylib.evaluation.summary import summarise, summary
from studylib.policy.models import load_base, lora
from studylib.rewards import batch_reward
from studylib.scenarios.selection import select


def rows(*answers):
    return pd.DataFrame([{"id": str(i), "split": "held_out", "answer": a} for i, a in enumerate(answers)])


def answers(table):
    """id -> (k, correct, format, readable) lists, k counted from 0."""
    return pd.DataFrame(
        [(i, "held_out", k, "", *values) for i, row in table.items() for k, values in enumerate(row)],
        columns=["id", "split", "k", "response", "correct", "format", "readable"],
    )


RIGHT, WRONG, UNREADABLE = (1.0, 1.0, True), (0.0, 1.0, True), (0.0, 0.0, False)


def test_endpoints_by_hand():
    table = answers({"0": [RIGHT, RIGHT, WRONG], "1": [WRONG, UNREADABLE, RIGHT], "2": [RIGHT, WRONG, WRONG]})
    result = summarise(table, rows("a", "a", "b"))
    assert result["accuracy_greedy"] == pytest.approx(2 / 3)
    assert (result["accuracy_greedy_low"], result["accuracy_greedy_high"]) == wilson(2, 3)
    assert result["accuracy_sampled"] == pytest.approx(2 / 6)
    assert result["unscorable"] == pytest.approx(1 / 6)
    assert result["format"] == pytest.approx(5 / 6)
    assert result["base_rate"] == pytest.approx(2 / 3)
    assert result["scenarios"] == 3


def test_the_summary_has_before_and_after_for_every_evaluation_split():
    before, after = answers({"0": [WRONG, WRONG]}), answers({"0": [RIGHT, RIGHT]})
    train = rows("a").assign(split="train", id="t")
    result = summary(before, after, pd.concat([train, rows("a")]))
    assert list(result["splits"]) == ["held_out"]
    scores = {stage: values["accuracy_sampled"] for stage, values in result["splits"]["held_out"].items()}
    assert scores == {"before": 0.0, "after": 1.0}


def test_a_run_that_is_rewarded_by_a_rubric_scores_its_answers_with_the_same_grader(miniature):
    evaluated = select(miniature())["held_out"]
    said = [f"<think>x.</think><answer>{row['answer']}</answer>" for row in evaluated]
    table = pd.DataFrame({"id": [row["id"] for row in evaluated], "split": "held_out", "k": 0, "response": said})
    assert "score" not in scored(table, evaluated, miniature())
    by_checks = scored(table, evaluated, miniature(rewards="verdict=1 rubric=0"))
    expected = batch_reward("rubric", evaluated)(said, evaluated)
    assert by_checks["score"].tolist() == expected and len(set(expected)) >= 1
    judged = miniature(rewards="rubric=1", rubric_grader="judge", judge="somewhere")
    silent = scored(table, evaluated, judged, lambda said, rows: [[None] * len(row["rubric"]) for row in rows])
    assert silent["score"].isna().all(), "what could not be graded is no 0"


def test_open_responses_have_scores_and_no_accuracy():
    table = answers({"0": [(np.nan, np.nan, True)] * 3, "1": [(np.nan, np.nan, True)] * 3})
    result = summarise(table.assign(score=[0.5, 0.2, 0.4, 0.1, np.nan, 0.6]), rows(None, None))
    assert "accuracy_sampled" not in result and result["scenarios"] == 2
    assert result["score_greedy"] == pytest.approx(0.3)
    assert result["score_sampled"] == pytest.approx(0.4) and result["unscored"] == pytest.approx(1 / 6)


@pytest.fixture(scope="module")
def policy(tmp_path_factory):
    from conftest import MINIATURE

    from studylib.params import RunParams

    params = RunParams.resolve({**MINIATURE, "run_root": str(tmp_path_factory.mktemp("runs"))})
    model, tokenizer = load_base(params)
    return get_peft_model(model, lora(params)).train(), tokenizer, params


def test_samples_differ_from_each_other_and_repeat_with_the_seed(policy):
    model, tokenizer, params = policy
    evaluated = select(params)["held_out"]
    first, again, other = (respond(model, tokenizer, evaluated, params, seed, "test") for seed in (0, 0, 1))
    assert first.equals(again)
    sampled = [table[table.k > 0].response.tolist() for table in (first, other)]
    assert sampled[0] != sampled[1] and len(set(sampled[0])) > 1
    greedy = [table[table.k == 0].response.tolist() for table in (first, other)]
    assert greedy[0] == greedy[1]


def test_every_scenario_is_answered_once_greedily_and_n_times_sampled(policy):
    model, tokenizer, params = policy
    evaluated = select(params)["held_out"]
    table = respond(model, tokenizer, evaluated, params, 0, "test")
    assert sorted(table.groupby("id").k.apply(list).tolist()) == [list(range(1 + params.eval_samples))] * len(evaluated)


def test_wilson_of_nothing_is_unknown():
    assert np.isnan(wilson(0, 0)).all()


@pytest.mark.parametrize(
    "first, second, bits",
    [("Wrong.", "wrong", 0.0), ("größer", "gro\u0308ßer", 0.0), ("keep\n quiet", "Keep quiet", 0.0),
     ("wrong", "wr\u200bong", 1.0), ("fine", "ﬁne", 1.0), ("etc..", "etc.", 1.0)],
)  # fmt: skip
def test_decisions_are_told_apart_as_answers_are(first, second, bits):
    said = [f"<think>a</think><answer>{answer}</answer>" for answer in (first, second)]
    assert decision_entropy(pd.DataFrame({"id": "x", "response": said})) == pytest.approx(bits)


@pytest.mark.parametrize("spelling", ["NFC", "NFD"])
def test_words_are_counted_alike_however_their_letters_are_composed(spelling):
    said = unicodedata.normalize(spelling, "<think>Überlegt, wägt ab</think><answer>a</answer>")
    assert words(said) == ["überlegt", "wägt", "ab"]


def test_a_malformed_answer_is_a_decision_of_its_own_whatever_others_say():
    said = ["<think>a</think><answer>malformed</answer>", "no tags"]
    assert decision_entropy(pd.DataFrame({"id": "x", "response": said})) == pytest.approx(1.0)
