"""Rewards against answers that try to cheat."""

import math
import time
import unicodedata

import pytest
from embedded_rows import perspective_row
from replaced import replace_rewards

from studylib.names import REWARDS
from studylib.params import RunParams
from studylib.rewards import batch_reward, reward
from studylib.rewards.checks import check, checks_grader
from studylib.rewards.correct import correct, format
from studylib.scenarios.facts import facts_of
from studylib.scenarios.rows import scenario_row
from studylib.scenarios.vocabulary import NAMES as PEOPLE
from studylib.text.answers import parse, read_answer

ROW = {"id": "x", "options": ["permissible", "wrong"], "answer": "wrong"}
GOOD = "<think>It was a lie.</think><answer>wrong</answer>"


@pytest.mark.parametrize(
    "response",
    [
        GOOD,
        f"  {GOOD}\n",
        "<think>It was a lie.</think>\n\n<answer> wrong </answer>",
        GOOD.replace("wrong<", "Wrong.<"),
    ],
)
def test_one_right_answer_in_its_place_earns_the_reward(response):
    assert correct(response, ROW) == 1.0
    assert format(response, ROW) == 1.0


def test_a_wrong_answer_in_good_form():
    response = GOOD.replace("wrong", "permissible")
    assert (correct(response, ROW), format(response, ROW)) == (0.0, 1.0)


CHEATS = {
    "empty": "",
    "blank": " \n",
    "two answers": "<think>a</think><answer>permissible</answer><answer>wrong</answer>",
    "two answers, right one first": "<think>a</think><answer>wrong</answer><answer>permissible</answer>",
    "the same answer twice": "<think>a</think><answer>wrong</answer><answer>wrong</answer>",
    "both options in one answer": "<think>a</think><answer>permissible or wrong</answer>",
    "options joined": "<think>a</think><answer>permissible wrong</answer>",
    "answer in the reasoning only": "<think>It is wrong.</think>",
    "answer tag in the reasoning": "<think><answer>wrong</answer></think>",
    "nested answer": "<think>a</think><answer><answer>wrong</answer></answer>",
    "answer before the reasoning": "<answer>wrong</answer><think>a</think>",
    "no reasoning tags": "<answer>wrong</answer>",
    "bare word": "wrong",
    "text after the end": GOOD + " wrong",
    "text after the end, another answer": GOOD + "<answer>permissible</answer>",
    "text before": "Sure! " + GOOD,
    "text between": "<think>a</think> so <answer>wrong</answer>",
    "unclosed answer": "<think>a</think><answer>wrong",
    "unclosed reasoning": "<think>a<answer>wrong</answer>",
    "two reasonings": "<think>a</think><think>b</think><answer>wrong</answer>",
    "other tag case": "<THINK>a</THINK><ANSWER>wrong</ANSWER>",
    "quoted": '<think>a</think><answer>"wrong"</answer>',
    "negated": "<think>a</think><answer>not wrong</answer>",
    "two full stops": "<think>a</think><answer>wrong..</answer>",
    "exclamation": "<think>a</think><answer>wrong!</answer>",
    "bold": "<think>a</think><answer>**wrong**</answer>",
    "letters apart": "<think>a</think><answer>w r o n g</answer>",
    "zero width space": "<think>a</think><answer>wr\u200bong</answer>",
    "empty answer": "<think>a</think><answer></answer>",
    "full stop only": "<think>a</think><answer>.</answer>",
    "prefix": "<think>a</think><answer>wron</answer>",
    "sentence": "<think>a</think><answer>It is wrong.</answer>",
}


@pytest.mark.parametrize("response", CHEATS.values(), ids=CHEATS.keys())
def test_cheats_earn_nothing(response):
    assert correct(response, ROW) == 0.0
    assert format(response, ROW) == 0.0


def test_other_case_and_one_full_stop_do_not_change_the_option_named():
    assert read_answer("<think>a</think><answer>WRONG</answer>", ROW["options"]) == "wrong"
    assert read_answer("<think>a</think><answer>Permissible.</answer>", ROW["options"]) == "permissible"


def said(answer: str, *options: str) -> str | None:
    return read_answer(f"<think>a</think><answer>{answer}</answer>", list(options))


@pytest.mark.parametrize(
    "options",
    [("Yes, always.", "No."), ("Tell her; then leave.", "Keep quiet"), ("i.e. it is so.", "i.e. it is not"),
     ("wait...", "go"), ("größer", "kleiner"), ("1.5", "15."), (" Yes", " No"), ("two  spaces", "one")],
)  # fmt: skip
def test_an_option_said_word_for_word_is_that_option_whatever_marks_it_has(options):
    assert [said(option, *options) for option in options] == list(options)


@pytest.mark.parametrize(
    "answer, option",
    [("It is fine", "It is fine."), ("it is FINE.", "It is fine."), ("Über alles", "über alles."),
     (unicodedata.normalize("NFD", "überlegt"), "Überlegt"), ("naïve.", unicodedata.normalize("NFD", "Naïve")),
     ("STRASSE", "Straße"), ("keep\n  quiet", "Keep quiet")],
)  # fmt: skip
def test_what_is_forgiven_is_forgiven_in_the_answer_and_in_the_option(answer, option):
    assert said(answer, option, "another") == option


@pytest.mark.parametrize(
    "answer, option",
    [("ﬁne", "fine"), ("ｗrong", "wrong"), ("wroոg", "wrong"), ("permiſſible", "permissible"), ("уes", "yes"),
     ("yes\u200b", "yes"), ("yes\u0301", "yes"), ("fine..", "fine"), ("fine..", "fine."), ("fine .", "fine"),
     ("fine!", "fine"), ("1", "１"), ("Ⅳ", "iv")],
)  # fmt: skip
def test_look_alikes_and_other_marks_name_no_option(answer, option):
    assert said(answer, option, "another") is None


def test_an_answer_that_could_be_either_of_two_options_is_neither():
    assert said("ETC.", "etc.", "etc") is None and said("etc", "etc.", "etc") == "etc"


@pytest.mark.parametrize(
    "options, answer, message",
    [
        (
            ["Yes.", "yes"],
            None,
            "options .*'Yes.', 'yes'.* of scenario x are not allowed: they differ only in what an answer is forgiven",
        ),
        (["é", "e\u0301", "no"], None, "they differ only in what"),
        (["keep quiet", "Keep  quiet", "tell"], None, "they differ only in what"),
        (["no", "no"], None, "they differ only in what"),
        (["yes", " . "], None, "are not allowed: texts, none of them empty"),
        (["yes", 3], None, "are not allowed: texts, none of them empty"),
        ([], None, "are not allowed: texts, none of them empty"),
        (["yes", "<answer>no"], None, "option '<answer>no' of scenario x is not allowed: no answer can hold a tag"),
        (["yes", "no"], "Yes", "answer 'Yes' of scenario x is not allowed: it is not one of its options"),
    ],
)
def test_options_that_cannot_be_told_apart_or_said_are_refused_before_any_answer(options, answer, message):
    with pytest.raises(ValueError, match=message):
        batch_reward("format", [{"id": "x", "options": options, "answer": answer}])
    with pytest.raises(ValueError, match=message.replace("scenario x", "scenario [0-9a-f]{16}")):
        scenario_row(source="own", split="train", prompt="So?", options=options, answer=answer)


def test_reasons_may_mention_options_and_the_word_answer():
    assert correct("<think>permissible? wrong? My answer: wrong.</think><answer>wrong</answer>", ROW) == 1.0


def test_empty_reasons_are_badly_formed_but_the_answer_is_read():
    response = "<think> </think><answer>wrong</answer>"
    assert (correct(response, ROW), format(response, ROW)) == (1.0, 0.0)


@pytest.mark.parametrize(
    "response",
    ["wrong " * 10_000, "<answer>wrong</answer>" * 10_000, "<think>" * 10_000, "<think>" + "a " * 10_000,
     "<think>" + "</think" * 10_000 + "</think><answer>" + " " * 10_000],
)  # fmt: skip
def test_ten_thousand_tokens_are_read_quickly_and_earn_nothing(response):
    start = time.perf_counter()
    assert correct(response, ROW) == 0.0 and format(response, ROW) == 0.0
    assert time.perf_counter() - start < 0.1


def test_ten_thousand_tokens_of_reasons_are_allowed():
    assert correct(f"<think>{'because ' * 10_000}</think><answer>wrong</answer>", ROW) == 1.0


def test_parse_gives_reasons_and_answer():
    assert parse("<think> r\ns </think> <answer> a </answer>") == ("r\ns", "a")


def test_a_reward_refuses_scenarios_that_lack_what_it_needs():
    assert reward("correct", [ROW])(GOOD, ROW) == 1.0
    with pytest.raises(ValueError, match="reward 'correct' needs the field 'answer', which scenario x lacks"):
        reward("correct", [{**ROW, "answer": None}])


def test_parameters_know_every_reward():
    row = perspective_row() | {"ratings": [{"rater": "a", "value": 1.0, "groups": []}]}
    row["accepted"] = [{"option": row["answer"], "level": 1.0, "groups": ["everybody"]}]
    for name in REWARDS:
        assert RunParams(rewards=f"{name}=1").reward_weights == {name: 1.0}
        assert len(batch_reward(name, [row])([""], [row])) == 1
    with pytest.raises(ValueError, match="no reward 'charm'; known: .*correct"):
        batch_reward("charm", [row])
    with pytest.raises(ValueError, match="no reward 'rating_bier'; .*did you mean rating_brier"):
        batch_reward("rating_bier", [row])


def test_the_former_name_of_a_reward_still_gives_it():
    """Parameter files and finished runs call the reward of the right answer `verdict`."""
    assert REWARDS["verdict"] is REWARDS["correct"] and "verdict" not in list(REWARDS)
    assert RunParams(rewards="verdict=0.5 format=0.5").reward_weights == {"correct": 0.5, "format": 0.5}
    assert batch_reward("verdict", [ROW])([GOOD, ""], [ROW] * 2) == [1.0, 0.0]
    old = {"rewards": "verdict=1.0", "diversity_gate": "verdict"}
    assert RunParams.of_config(old) == RunParams(rewards="correct=1.0", diversity_gate="correct")


@pytest.mark.parametrize("value", [None, math.nan, math.inf])
def test_a_value_that_is_no_number_is_none_and_not_zero(monkeypatch, value):
    replace_rewards(monkeypatch, {"format": (lambda response, scenario: value, ())})
    assert batch_reward("format", [ROW])([GOOD], [ROW]) == [None]


def test_copied_text_meets_no_criterion():
    row = perspective_row()
    for reasons in (" ".join(c["text"] for c in row["rubric"]), row["prompt"], row["prompt"].upper()):
        response = f"<think>{reasons}</think><answer>{row['answer']}</answer>"
        met = {c["id"] for c, v in zip(row["rubric"], checks_grader([response], [row])[0], strict=True) if v}
        assert met == {"right_verdict"}


def test_naming_everybody_names_nobody():
    row = perspective_row()
    affected = facts_of(row).affected
    for reasons, met in ((f"{affected} was asked.", True), (" ".join(PEOPLE), False), (f"{affected}x", False)):
        assert check("names_affected", f"<think>{reasons}</think><answer>wrong</answer>", row) is met


def test_an_embedded_world_alone_can_be_graded_by_checks():
    row = perspective_row()
    foreign = {**row, "rubric": [{"id": "charm", "text": "Is charming.", "weight": 1, "dimension": "x"}]}
    with pytest.raises(
        ValueError, match="no check for criterion 'charm': a program can grade only the embedded worlds"
    ):
        batch_reward("rubric", [foreign])([GOOD], [foreign])


@pytest.mark.parametrize("name", ["correct", "format", "rubric", "diversity", "coverage", "uniqueness"])
def test_responses_of_300_tokens_are_scored_quickly(name):
    """A fifth of what a free core is to do, 5,000 a second, because tests share their cores."""
    row = perspective_row()
    reasons = " ".join(f"It was said that word{i % 90} mattered to them, and so it did." for i in range(20))
    responses = [f"<think>{reasons} {i}</think><answer>{row['answer']}</answer>" for i in range(300)]
    score = batch_reward(name, [row])
    score(responses[:10], [row] * 10)
    started = time.process_time()
    values = score(responses, [row] * 300)
    assert None not in values and 300 / (time.process_time() - started) > 1000
