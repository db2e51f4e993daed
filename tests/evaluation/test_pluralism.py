"""How well answers fit what people said, by hand and against a population whose truth is known."""

import numpy as np
import pandas as pd
import pytest

from studylib.evaluation import pluralism
from studylib.names import ENDPOINTS


def answers(*responses: str, ratings=((1.0, "a"), (1.0, "a"), (3.0, "b"), (3.0, "b"))) -> pd.DataFrame:
    """Samples to one scenario with these ratings on a scale of three, and a greedy answer that must not count."""
    given = [{"rater": f"r{i}", "value": value, "groups": [group] if group else []} for i, (value, group) in
             enumerate(ratings)]  # fmt: skip
    said = ["<think>x</think><answer>2</answer>", *(f"<think>x</think><answer>{text}</answer>" for text in responses)]
    return pd.DataFrame([
        {"id": "s", "k": k, "response": text, "options": ["1", "2", "3"], "ratings": given}
        for k, text in enumerate(said)
    ])  # fmt: skip


@pytest.mark.parametrize(
    "said, fit, agreed",
    [
        (["1: 0.5, 2: 0, 3: 0.5"], 1.0, 0.5),
        (["1", "3"], 1.0, 0.5),
        (["1", "1"], 0.5, 0.5),
        (["2", "2"], 0.0, 0.0),
        (["1", "no idea"], 0.5, 0.25),
        (["1: 0.5, 2: 0.5, 3: 0"], 0.5, 0.25),
    ],
)
def test_fit_and_agreement_by_hand(said, fit, agreed):
    assert pluralism.rating_fit(answers(*said)) == pytest.approx(fit)
    assert pluralism.rating_agreement(answers(*said)) == pytest.approx(agreed)


def test_groups_are_fitted_by_their_own_ratings():
    found = pluralism.fit_by_group(answers("1: 0.8, 2: 0, 3: 0.2"))
    assert found == pytest.approx({"everybody": 0.7, "a": 0.8, "b": 0.2})
    assert pluralism.worst_group_fit(answers("1: 0.8, 2: 0, 3: 0.2")) == pytest.approx(0.2)
    assert pluralism.group_gap(answers("1: 0.8, 2: 0, 3: 0.2")) == pytest.approx(0.6)
    assert pluralism.group_gap(answers("1", "3")) == pytest.approx(0)


def test_raters_of_no_group_have_no_gap():
    table = answers("1", ratings=((1.0, ""), (2.0, "")))
    assert np.isnan(pluralism.group_gap(table)) and np.isnan(pluralism.worst_group_fit(table))
    assert pluralism.rating_fit(table) == 0.5


def test_fit_is_one_minus_total_variation_of_any_two_distributions():
    rng = np.random.default_rng(0)
    for q, p in zip(rng.dirichlet([1] * 5, 20), rng.dirichlet([1] * 5, 20), strict=True):
        assert pluralism.overlap(q, p) == pytest.approx(1 - np.abs(q - p).sum() / 2)


def test_they_are_endpoints_of_what_people_rated():
    for name in ("rating_fit", "decided_fit", "rating_agreement", "worst_group_fit", "group_gap"):
        assert ENDPOINTS[name].needs == ("options", "ratings")


def test_scales_are_compared_on_two_levels():
    """The middle counts below, as it does where two levels are trained on."""
    assert pluralism.decided(np.array([0.1, 0.2, 0.3, 0.25, 0.15])) == pytest.approx([0.6, 0.4])
    assert pluralism.decided(np.array([0.1, 0.5, 0.4])) == pytest.approx([0.6, 0.4])
    assert pluralism.decided(np.array([0.6, 0.4])) == pytest.approx([0.6, 0.4])
    assert pluralism.decided_fit(answers("2")) == pytest.approx(0.5), "half of the raters are above the middle"
