"""Roles: how they are proposed, drawn, read and merged, each by hand."""

import math

import numpy as np
import pytest

from studylib.names import OBJECTIVES, SOURCES
from studylib.params import RunParams
from studylib.randomness import generator
from studylib.scenarios import roles
from studylib.scenarios.council import ASKS, TAKES
from studylib.scenarios.roles import (
    Role,
    choose,
    majority,
    merged,
    merged_answer,
    named,
    opening,
    parts,
    read_proposals,
)
from studylib.text.embedding import embed_words

RNG = generator(0, "test")


def test_probabilities_are_the_softmax_of_quality_and_mean_distance():
    """Two roles: e^(0.5 + 2 x 0.5) and e^(1 + 2 x 0)."""
    one, other = math.exp(0.5 + 2 * (0.25 + 0.75) / 2), math.exp(1.0)
    cosine = np.array([[0.75, 0.25], [1.0, 1.0]])
    expected = [one / (one + other), other / (one + other)]
    assert roles.role_probabilities(np.array([0.5, 1.0]), cosine, 2.0) == pytest.approx(expected)
    assert roles.role_probabilities(np.array([3.0, 3.0, 3.0]), np.eye(3), 0.0) == pytest.approx([1 / 3] * 3)


def test_the_first_role_is_drawn_by_these_probabilities():
    vectors = np.array([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
    cosine = np.array([[1.0, 0.0], [1.0, 0.0], [0.0, 0.0]])  # each to the two others
    expected = roles.role_probabilities(np.zeros(3), cosine, 1.0)
    rng = generator(0, "test/draws")
    drawn = [choose(np.zeros(3), vectors, 1, 1.0, rng)[0] for _ in range(4000)]
    assert [drawn.count(i) / 4000 for i in range(3)] == pytest.approx(expected, abs=0.03)


def test_roles_that_ask_the_same_are_not_taken_together_where_distance_counts():
    names = list(TAKES)
    vectors = embed_words([f"{name}: {ASKS[TAKES[name]]}" for name in names])
    rng = generator(0, "test/twins")
    for alpha, least in ((100.0, 1.0), (0.0, 0.0)):
        drawn = [choose(np.ones(len(names)), vectors, 3, alpha, rng) for _ in range(100)]
        assert all(len(set(one)) == 3 for one in drawn)
        apart = [len({TAKES[names[i]] for i in one}) == 3 for one in drawn]
        assert sum(apart) / 100 >= least and (alpha or sum(apart) < 90)


def test_a_role_that_agrees_with_itself_is_drawn_more_often():
    rng = generator(0, "test/quality")
    drawn = [choose(np.array([5.0, 0.0]), np.eye(2), 1, 1.0, rng)[0] for _ in range(200)]
    assert drawn.count(0) > 190


def test_openings_are_read_word_for_word_and_parts_begin_with_them():
    traces = [
        f"{opening('the public')} The harm outweighs the good, so wrong.",
        f"{opening('Kant')} No lie, so permissible.",
    ]
    assert named(merged(traces)) == ["the public", "Kant"] and merged(traces).count("Wait, I need to think from") == 1
    assert parts("Hm. " + merged(traces)) == traces
    assert named("I think from the public's perspective.") == [] == parts("It is wrong.")


def test_the_majority_is_kept_and_ties_are_drawn():
    assert majority(["a", "b", "a", None, None, None], RNG) == "a" and majority([None], RNG) is None
    assert {majority(["a", "b"], generator(0, "test", i)) for i in range(20)} == {"a", "b"}


def test_a_convergent_merge_answers_as_most_and_a_divergent_one_as_the_last():
    answers = ["wrong", "wrong", "permissible"]
    assert (
        merged_answer(answers, "convergent", RNG) == "wrong"
        and merged_answer(answers, "divergent", RNG) == "permissible"
    )


@pytest.mark.parametrize("reply, names", [
    ("- a nurse: the patients\n- a judge: the law", ["a nurse", "a judge"]),
    ("\n - a nurse: the patients \n\n- a judge: the law\n", ["a nurse", "a judge"]),
    ("- a nurse: the patients\n- A Nurse: the staff\n- a judge: the law", ["a nurse", "a judge"]),
    ("\n".join(f"- role {i}: what it sees" for i in range(9)), [f"role {i}" for i in range(5)]),
    ("- a nurse: the patients", []), ("- a nurse: the patients\n- a nurse: the staff", []),
    ("Here they are:\n- a nurse: the patients\n- a judge: the law", []), ("", []),
    ("- a nurse\n- a judge: the law", []), ("1. a nurse: the patients\n2. a judge: the law", []),
    ("- a <b>: the patients\n- a judge: the law", []),
])  # fmt: skip
def test_proposals_are_read_strictly(reply, names):
    assert [role.name for role in read_proposals(reply)] == names


def test_a_proposal_asks_for_the_form_that_is_read():
    (message,) = roles.proposal_chat({"prompt": "Was it right?"})
    assert message["content"].endswith("Was it right?") and "\n- role: what this role looks at\n" in message["content"]
    assert read_proposals("- role: what this role looks at\n- Kant: whether anybody was deceived")[0] == Role(
        "role", "what this role looks at"
    )


HUB = {"model": "some/model", "revision": "0" * 40}


@pytest.mark.parametrize("given, message", [
    ({"source": "local_norms"}, "traces = 'multi_role' is not allowed: none, because source 'local_norms' has none"),
    ({"source": "morebench_public", **HUB}, "traces = 'multi_role' is not allowed: none, .* 'morebench_public'"),
    ({"source": "moralchoice", **HUB}, "traces = 'multi_role' is not allowed: none, because source 'moralchoice'"),
    ({"source": "ethics_justice"}, "traces = 'multi_role' is not allowed: one of .*none for the tiny model"),
    ({"source": "council_norms", "trace_roles": 1}, "trace_roles = 1 is not allowed: 1..5, and 2 or more"),
    ({"source": "council_norms", "traces": "many"}, "traces = 'many' is not allowed: one of none, multi_role"),
    ({"source": "council_norms", "trace_scenarios": 7}, "trace_scenarios = 7 is not allowed: an even number"),
])  # fmt: skip
def test_what_cannot_be_is_refused_in_one_sentence(given, message):
    with pytest.raises(ValueError, match=message):
        RunParams(**{"traces": "multi_role", **given})


def test_one_role_is_enough_for_the_controls_and_a_hub_model_proposes_for_published_questions():
    assert RunParams(source="council_norms", traces="single_role", trace_roles=1).trace_roles == 1
    assert RunParams(source="ethics_justice", traces="multi_role", **HUB).traces == "multi_role"
    assert SOURCES["ethics_justice"].roles is None and "base" in OBJECTIVES
