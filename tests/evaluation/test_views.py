"""Perspectives within an answer: closed forms of the entropy, and answers whose roles and views are known."""

import math

import pytest
from scripted import table

from studylib.evaluation.views import perspective_entropy
from studylib.names import ENDPOINTS, TRAIN_DOMAINS, TRAIN_STYLES
from studylib.scenarios import council
from studylib.scenarios.facts import facts_of
from studylib.scenarios.roles import merged, opening

ROWS = council.make_split("held_out", 8, 0, domains=TRAIN_DOMAINS, styles=TRAIN_STYLES, council="own")


def worth(endpoint: str, *views: int, option=None) -> float:
    """The endpoint of answers that take the views of these numbers rightly, as often as they are there."""
    said = {}
    for row in ROWS:
        facts = facts_of(row)
        told = council.told(facts, row["prompt"])
        traces = [council.trace(council.takers(told[i])[0], facts, told[i], option or council.finding(facts, told[i]))
                  for i in views]  # fmt: skip
        reasons = merged(traces) or "So it is."
        said[row["id"]] = ["greedy", *[f"<think>{reasons}</think><answer>{row['answer']}</answer>"] * 2]
    return ENDPOINTS[endpoint].of(table(ROWS, said))


@pytest.mark.parametrize("counts, expected", [
    ([1, 1, 1], 1.0), ([3, 0, 0], 0.0), ([1, 1, 0], math.log(2) / math.log(3)), ([5], 0.0),
    ([2, 1, 1, 0], -(0.5 * math.log(0.5) + 0.5 * math.log(0.25)) / math.log(4)),
])  # fmt: skip
def test_the_entropy_of_references_is_a_share_of_the_highest(counts, expected):
    assert perspective_entropy(counts) == pytest.approx(expected)


def test_without_a_reference_there_is_no_entropy():
    assert math.isnan(perspective_entropy([0, 0, 0]))


@pytest.mark.parametrize("views, covered, roles, entropy", [
    ((0, 1, 2), 1.0, 3, 1.0), ((0,), 1 / 3, 1, 0.0), ((0, 0, 0), 1 / 3, 1, 0.0),
    ((2, 1), 2 / 3, 2, math.log(2) / math.log(3)),
])  # fmt: skip
def test_coverage_of_views_is_one_for_all_of_them_and_a_third_for_one_however_often_it_speaks(
    views, covered, roles, entropy
):
    assert worth("perspectives_covered", *views) == pytest.approx(covered)
    assert worth("roles_named", *views) == roles and worth("no_perspective", *views) == 0.0
    assert worth("perspective_entropy", *views) == pytest.approx(entropy)


def test_answers_in_which_no_role_speaks_have_no_entropy_and_are_counted():
    assert math.isnan(worth("perspective_entropy")) and worth("no_perspective") == 1.0
    assert worth("roles_named") == worth("decisions_named") == worth("perspectives_covered") == 0.0


def test_decisions_are_counted_as_they_differ():
    both = [
        len({council.finding(facts_of(row), one) for one in council.told(facts_of(row), row["prompt"])}) for row in ROWS
    ]
    assert worth("decisions_named", 0, 1, 2) == pytest.approx(sum(both) / len(both))
    assert worth("decisions_named", 0, 1, 2, option="wrong") == 1.0 == worth("decisions_named", 1)


def test_a_role_of_no_known_view_is_a_role_and_no_reference():
    said = f"<think>{opening('my aunt')} It was rude, so wrong.</think><answer>wrong</answer>"
    answers = table(ROWS, [said] * 3)
    assert ENDPOINTS["roles_named"].of(answers) == 1.0 and ENDPOINTS["no_perspective"].of(answers) == 1.0


def test_distinct_pairs_of_words_are_those_of_right_answers_within_the_budget():
    said = {row["id"]: [f"<think>{' '.join(f'w{i}' for i in range(60))}</think><answer>{row['answer']}</answer>"] * 6
            for row in ROWS}  # fmt: skip
    assert ENDPOINTS["distinct_2"].of(table(ROWS, said)) == pytest.approx(59 / (33 * 59 + 19))
    assert math.isnan(ENDPOINTS["distinct_2"].of(table(ROWS[:1], said))), "too few words"
