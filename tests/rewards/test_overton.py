"""OP-GRPO's reward: its steps and its sum against cases by hand."""

import pytest

from studylib.names import TRAIN_DOMAINS, TRAIN_STYLES
from studylib.rewards import reward
from studylib.rewards.overton import HIGHEST, coverage_points, form_points, unique_share, uniqueness_points
from studylib.scenarios import council
from studylib.scenarios.facts import facts_of, misreading
from studylib.scenarios.roles import merged, opening

ROW = council.make_split("train", 2, 0, domains=TRAIN_DOMAINS, styles=TRAIN_STYLES, council="own")[0]
FACTS = facts_of(ROW)
VIEWS = council.told(FACTS, ROW["prompt"])
TRACES = [council.trace(council.takers(one)[0], FACTS, one, council.finding(FACTS, one)) for one in VIEWS]
PAY = reward("op_grpo", [ROW])


def paid(*traces: str, answer: str = "wrong") -> float:
    return PAY(f"<think>{merged(traces)}</think><answer>{answer}</answer>", ROW)


@pytest.mark.parametrize(
    "share, points", [(0, 0), (0.1, 1), (0.2, 2), (1 / 3, 2), (0.4, 3), (0.6, 4), (2 / 3, 4), (0.8, 5), (1, 5)]
)
def test_coverage_is_paid_in_steps(share, points):
    assert coverage_points(share) == points


@pytest.mark.parametrize("share, points", [(1, 1.0), (0.9, 0.75), (0.8, 0.4), (0.7, 0.4), (0.6, 0.0), (0, 0.0)])
def test_uniqueness_is_paid_in_steps(share, points):
    assert uniqueness_points(share) == points


def test_form_is_two_points_less_a_half_for_each_text_and_name_that_comes_again():
    assert form_points([], []) == 0.0 and form_points(["a", "b"], ["x", "y"]) == 2.0
    assert form_points(["a", "a"], ["x", "x"]) == 1.0 and form_points(["a"] * 5, ["x"] * 5) == 0.0


def test_a_segment_that_states_nothing_new_is_not_unique():
    assert (
        unique_share(["somebody was deceived.", "everybody gains."], ["somebody was deceived", "everybody gains"])
        == 1.0
    )
    assert unique_share(["somebody was deceived.", "somebody was deceived."], ["somebody was deceived"]) == 0.5
    assert unique_share(["anything"], []) == 1.0


def test_all_three_views_earn_the_most_and_the_right_answer_earns_nothing():
    assert paid(*TRACES) == pytest.approx(HIGHEST) == paid(*TRACES, answer="permissible") == 2.0


def test_one_view_of_three_and_two():
    """0.3 x 2 + 0.25 + 0.125 x 2 = 1.1; 0.3 x 4 + 0.25 + 0.25 = 1.7."""
    assert paid(TRACES[0]) == pytest.approx(1.1) and paid(*TRACES[:2]) == pytest.approx(1.7)


def test_a_view_that_is_taken_again_loses_uniqueness_and_form():
    """0.3 x 2 + 0 + 0.125 x (2 - 0.5 - 0.5) = 0.725."""
    assert paid(TRACES[0], TRACES[0] + " ") == pytest.approx(0.725)


def test_a_reading_that_is_false_and_reasons_without_roles_cover_nothing():
    false = f"{opening('the public')} {misreading(FACTS, VIEWS[0])}, so wrong."
    assert paid(false) == pytest.approx(0.25 + 0.25) and paid("So it is.") == pytest.approx(0.25)


def test_another_form_of_the_answer_costs_a_fifth_and_no_reward_is_negative():
    assert PAY(merged(TRACES), ROW) == pytest.approx(1.8) and PAY("", ROW) == pytest.approx(0.05)
