"""Ratings: the closed forms on small scales, and strict reading of what an answer states."""

import pytest

from studylib.names import REWARDS
from studylib.params import RunParams
from studylib.rewards import batch_reward
from studylib.rewards.ratings import levels, shares, stated


def scenario(values, options=("1", "2", "3", "4", "5")):
    return {
        "id": "x",
        "options": list(options),
        "ratings": [{"rater": str(i), "value": v} for i, v in enumerate(values)],
    }


ROW = scenario([1, 2, 2, 2, 5])  # p = .2, .6, 0, 0, .2; mean 2.4


def earns(name, answer, row=ROW, **params):
    return batch_reward(f"rating_{name}", [row], RunParams(**params))(
        [f"<think>So.</think><answer>{answer}</answer>"], [row]
    )[0]


@pytest.mark.parametrize(
    "name, one, two, five",
    [
        ("majority", 0.0, 1.0, 0.0),
        ("expected", 0.2, 0.6, 0.2),
        ("soft_label", 0.2, 0.6, 0.2),
        ("total_variation", 0.2, 0.6, 0.2),
        ("brier", 1 - (0.64 + 0.36 + 0.04), 1 - (0.04 + 0.16 + 0.04), 1 - (0.04 + 0.36 + 0.64)),
        ("ordinal", 1 - 1.4 / 4, 1 - 0.4 / 4, 1 - 2.6 / 4),
        ("any_of", 0.0, 1.0, 0.0),
    ],
)
def test_one_level_earns_its_closed_form(name, one, two, five):
    assert [earns(name, answer) for answer in "125"] == pytest.approx([one, two, five])


@pytest.mark.parametrize("name, at_p", [("total_variation", 1.0), ("brier", 1.0), ("soft_label", 0.44)])
def test_a_stated_distribution_is_compared_with_the_raters(name, at_p):
    assert earns(name, "1: 0.2, 2: 0.6, 3: 0, 4: 0, 5: 0.2") == pytest.approx(at_p)
    even = {"total_variation": 1 - 0.4, "brier": 1 - (0.4**2 + 2 * 0.2**2), "soft_label": 0.2}[name]
    assert earns(name, "5:.2; 4:.2; 3:.2; 2:.2; 1:.2") == pytest.approx(even)


LOWEST = {"brier": -1.0}
MALFORMED = ["", "6", "1 or 2", "1: 1", "1: 0.2, 2: 0.6, 3: 0, 4: 0", "1: 1, 2: 1, 3: 0, 4: 0, 5: 0",
             "1: -1, 2: 2, 3: 0, 4: 0, 5: 0", "1: 1, 1: 0, 3: 0, 4: 0, 5: 0", "1: nan, 2: 1, 3: 0, 4: 0, 5: 0",
             "1: 1e0, 2: 0, 3: 0, 4: 0, 5: 0", "1: ., 2: 1, 3: 0, 4: 0, 5: 0", "1, 2, 3, 4, 5", "1:" * 500_000,
             " " * 1_000_000]  # fmt: skip


@pytest.mark.parametrize("answer", MALFORMED, ids=lambda answer: answer[:30])
@pytest.mark.parametrize("name", [name.removeprefix("rating_") for name in REWARDS if name.startswith("rating_")])
def test_what_states_no_rating_earns_the_lowest_value(name, answer):
    assert earns(name, answer) == LOWEST.get(name, 0.0)


def test_a_distribution_is_no_single_answer():
    for name in ("majority", "expected", "ordinal", "any_of"):
        assert earns(name, "1: 0.2, 2: 0.6, 3: 0, 4: 0, 5: 0.2") == 0.0


def test_several_answers_may_be_acceptable():
    row = scenario([1, 1, 2, 2, 2, 3, 3, 3, 3, 3], ("keep", "tell", "ask"))
    assert [earns("any_of", answer, row) for answer in row["options"]] == [0.0, 1.0, 1.0]
    assert [earns("any_of", answer, row, rater_share=0.2) for answer in row["options"]] == [1.0, 1.0, 1.0]


def test_ties_have_several_majorities():
    assert [earns("majority", answer, scenario([1, 5])) for answer in "15"] == [1.0, 1.0]


@pytest.mark.parametrize("options", [["2", "1"], ["1"], ["word"], ["1", "nan"], ["1", "inf"], ["a", "b", "a"], []])
def test_words_are_levels_in_their_order_and_numbers_rise(options):
    assert levels(["wrong", "unsure", "fine"]) == [1.0, 2.0, 3.0] and levels(["-1", "0", "1"]) == [-1.0, 0.0, 1.0]
    with pytest.raises(ValueError, match="are not a scale: it takes two or more different words, or rising numbers"):
        levels(options)


@pytest.mark.parametrize(
    "options",
    [["1", "2", "3", "Don't know"], ["n/a", "0", "1"], ["0", "5", "10+"], ["½", "1"], ["1", "2", "３"], ["１", "２"],
     ["1e3", "2e3"], ["Ⅳ", "Ⅴ"], ["low", "inf"], ["a", "NaN"], ["1 (never)", "2", "3"], ["1_0", "2_0"],
     ["0 - never", "1 - often"], ["2 - often", "1 - never"], ["<5", "5 to 10", ">10"], ["½ of us", "all"]],
)  # fmt: skip
def test_a_scale_that_is_partly_numbers_or_numbers_in_disguise_is_refused(options):
    row = {"id": "x", "options": options, "ratings": [{"rater": "a", "value": 1.0}]}
    with pytest.raises(
        ValueError, match="scenario x cannot be scored by ratings: options .* are not a scale: .* not both"
    ):
        batch_reward("rating_ordinal", [row])


@pytest.mark.parametrize(
    "options, scale",
    [(["-0.5", "+1", "2."], [-0.5, 1.0, 2.0]), ([" 1", "3 "], [1.0, 3.0]), (["1 - never", "2 - often"], [1.0, 2.0]),
     (["(1) no", "(2) yes"], [1.0, 2.0]), (["less than 5", "more than 5"], [1.0, 2.0]), (["一般", "很好"], [1.0, 2.0])],
)  # fmt: skip
def test_plain_numbers_and_words_are_scales_and_a_word_may_open_with_its_place(options, scale):
    assert levels(options) == scale


@pytest.mark.parametrize(
    "options, answer",
    [
        (["yes, of course", "no; never"], "yes, of course: 0.3, no; never: 0.7"),
        (["yes, of course", "no; never"], "NO; never :.7;Yes,  of course: .3"),
        (["It is fine.", "It is wrong."], "It is fine.: 0.3, it is wrong: 0.7"),
        (["a: 1", "b: 2"], "B: 2: .7, A: 1: .3"),
        (["0.5", "1.5"], "0.5: 0.3, 1.5: 0.7"),
        (["zulässig", "unzulässig"], "zula\u0308ssig: 0.3; unzulässig: 0.7"),
    ],
)
def test_a_distribution_is_read_by_the_options_whatever_marks_they_have(options, answer):
    assert stated(f"<think>a</think><answer>{answer}</answer>", options) == pytest.approx([0.3, 0.7])


@pytest.mark.parametrize("answer", ["a: .3 b: .7", "a: .3, b: .7,", "a: .3,, b: .7", "a: .3, b: .7.", "a .3, b .7",
                                    "a: 0.3, a: 0.7", "а: .3, b: .7", "a: .3, b: .7, c: 0", "a: ３, b: 7"])  # fmt: skip
def test_what_is_no_statement_of_each_option_once_states_no_distribution(answer):
    assert stated(f"<think>a</think><answer>{answer}</answer>", ["a", "b"]) is None


def test_ratings_off_the_scale_and_none_at_all_are_refused():
    with pytest.raises(ValueError, match="scenario x cannot be scored by ratings: a rating of 2.5 is not on its"):
        shares(scenario([2.5]))
    with pytest.raises(ValueError, match="it has no ratings"):
        shares(scenario([]))
    with pytest.raises(ValueError, match="reward 'rating_brier' needs the field 'ratings', which scenario x lacks"):
        batch_reward("rating_brier", [{"id": "x", "options": ["1", "2"], "ratings": None}])


def test_rounding_of_a_stated_distribution_is_forgiven():
    assert stated("<think>a</think><answer>1: 0.333, 2: 0.333, 3: 0.333</answer>", ["1", "2", "3"]) == pytest.approx(
        [1 / 3] * 3
    )
