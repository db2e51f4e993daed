"""Endpoints on policies of known distribution: brute force, the closed form, and what theory says of scripted ones."""

import itertools
import math

import numpy as np
import pandas as pd
import pytest
from embedded_rows import scenarios
from estimates import outcomes
from scripted import STANCES, plural_row, says, table

from studylib.evaluation.summary import values
from studylib.names import ENDPOINTS, TRAIN_DOMAINS, TRAIN_STYLES
from studylib.rewards.faithful import faithful
from studylib.scenarios import plural
from studylib.scenarios.facts import decisive, facts_of, right_answer
from studylib.scenarios.rows import scenario_row
from studylib.scenarios.telling import reasoned_response

LOST = "no answer at all"
COVERED = ("stances_kept", "stances_kept_share", "overton_coverage", "groups_served")


def worth(name, answers):
    return ENDPOINTS.of(name).of(answers)


def sampled(rows, *options, greedy=LOST):
    """A table in which every scenario is answered by these options in turn, or by a response with a tag of its own."""
    return table(rows, [greedy, *(option if "<" in option or option == LOST else says(option) for option in options)])


# --- stances kept and covered: scripted policies ---


@pytest.mark.parametrize("m", [1, 2, 4])
def test_a_policy_that_always_takes_the_same_stance_keeps_one(m):
    answers = sampled([plural_row(m, i) for i in range(3)], *["assist"] * 8)
    assert worth("stances_kept", answers) == 1
    assert worth("stances_kept_share", answers) == pytest.approx(1 / m)
    assert worth("overton_coverage", answers) == pytest.approx(1 / m)


@pytest.mark.parametrize("m", [1, 2, 3, 4])
def test_a_policy_that_takes_every_accepted_stance_equally_often_keeps_them_all(m):
    answers = sampled([plural_row(m)], *STANCES[:m] * 200)
    assert worth("stances_kept", answers) == pytest.approx(m, rel=0.01)
    assert worth("stances_kept_share", answers) == pytest.approx(1, rel=0.01)
    assert worth("overton_coverage", answers) == pytest.approx(1 - (1 - 1 / m) ** 4, abs=0.01)


def test_the_entropies_of_scenarios_are_averaged_before_the_exponential():
    rows = [plural_row(2, 0), plural_row(2, 1)]
    said = {rows[0]["id"]: ["assist"] * 401, rows[1]["id"]: ["assist", *["assist", "comfort"] * 200]}
    answers = table(rows, {id: [says(option) for option in options] for id, options in said.items()})
    assert worth("stances_kept", answers) == pytest.approx(math.sqrt(1 * 2), rel=0.01)


def test_wrong_answers_are_no_stances_that_are_kept():
    mixed = sampled([plural_row(2)], *["assist"] * 6, *["wait", "resign"] * 3)
    assert worth("stances_kept", mixed) == 1


@pytest.mark.parametrize("right", [0, 3])
def test_scenarios_with_too_few_right_answers_are_left_out_of_stances_kept(right):
    rows = [plural_row(2, 0), plural_row(2, 1)]
    few = ["assist", "comfort", "assist"][:right] + ["wait"] * (8 - right)
    said = {rows[0]["id"]: [LOST, *map(says, few)], rows[1]["id"]: [LOST, *[says("assist")] * 8]}
    assert worth("stances_kept", table(rows, said)) == 1
    assert np.isnan(worth("stances_kept", table(rows[:1], said)))


def test_a_policy_that_is_always_wrong_covers_and_serves_nobody():
    answers = sampled([plural_row(3)], *["wait"] * 8)
    assert worth("overton_coverage", answers) == 0 == worth("groups_served", answers)
    assert np.isnan(worth("stances_kept", answers)) and np.isnan(worth("stances_kept_share", answers))


def test_a_policy_that_lost_its_tag_covers_nothing_and_is_right_all_the_same_when_it_is_read_leniently():
    answers = sampled([plural_row(1)], *["<think>So it is.</think>assist"] * 4)
    strict = ("accuracy_sampled", "overton_coverage", "groups_served")
    assert {worth(name, answers) for name in strict} == {0.0}
    assert worth("accuracy_lenient", answers) == 1
    assert worth("accuracy_lenient", sampled([plural_row(1)], *["<think>So it is.</think>wait"] * 4)) == 0


# --- stances covered: the closed form ---


@pytest.mark.parametrize("shares", [(0.5, 0.3, 0.2), (0.25, 0.25, 0.5), (0.0, 0.4, 0.6)])
def test_coverage_is_unbiased_for_every_policy(shares):
    """All 3^5 tables of five answers of a policy that gives two accepted stances and a wrong one by these shares."""
    row, options, mean, served = plural_row(2), ["assist", "comfort", "wait"], 0.0, 0.0
    for counts, weight in outcomes(5, shares):
        answers = sampled([row], *(o for o, c in zip(options, counts, strict=True) for _ in range(c)))
        mean += weight * worth("overton_coverage", answers)
        served += weight * worth("groups_served", answers)
    assert mean == pytest.approx(np.mean([1 - (1 - p) ** 4 for p in shares[:2]]))
    assert served == pytest.approx(1 - shares[2] ** 4), "one group accepts both"


def test_groups_are_served_by_one_of_four_answers_that_they_accept():
    row = plural_row(3, groups={"the affected": ["assist", "comfort"], "the public": ["disclose"]})
    assert worth("groups_served", sampled([row], "assist", "assist", "comfort", "wait")) == 0.5
    assert worth("groups_served", sampled([row], "assist", "disclose", "wait", "wait")) == 1.0
    drawn = itertools.combinations(["assist", "disclose", "wait", "wait", "wait", "wait"], 4)
    by_hand = np.mean([("assist" in four) + ("disclose" in four) for four in drawn]) / 2
    answers = sampled([row], "assist", "disclose", "wait", "wait", "wait", "wait")
    assert worth("groups_served", answers) == pytest.approx(by_hand)


@pytest.mark.parametrize("name", [*COVERED, "overton_16"])
def test_too_few_samples_are_refused_with_the_number_that_is_needed(name):
    needed = 16 if name == "overton_16" else 4
    with pytest.raises(ValueError, match=rf"at least {needed} sampled answers .* has 3; .*eval_samples = {needed}"):
        worth(name, sampled([plural_row(2)], *["assist"] * 3))


# --- faithful reasons ---


def norms(n=20):
    return scenarios(n)


def faithfully(row, holds=None):
    """What a reasoner says who reads the facts rightly; right, unless `holds` is given."""
    facts, framework = facts_of(row), row["framework"]
    if holds is None:
        right = right_answer(facts, framework, row["source"])
        holds = right == right_of(row, True)
    return reasoned_response(facts, framework, holds)


def right_of(row, holds):
    return reasoned_response(facts_of(row), row["framework"], holds).rpartition("<answer>")[2].partition("</answer>")[0]


def test_a_faithful_reasoner_is_faithful_whatever_it_holds_of_the_circumstance():
    for row in norms():
        assert faithful(faithfully(row), row)
        assert faithful(faithfully(row, holds=True), row) and faithful(faithfully(row, holds=False), row)


def told(row) -> dict[str, str]:
    facts = facts_of(row)
    return {"circumstance": facts.circumstance, "community": facts.community}


def test_another_circumstance_or_community_or_none_is_not_faithful():
    turning = [row for row in norms() if decisive(facts_of(row), row["framework"])]
    assert len(turning) >= 4
    for row in turning:
        said, (circumstance, community) = faithfully(row), told(row).values()
        other = "consent" if circumstance != "consent" else "need"
        elsewhere = "kinship" if community == "covenant" else "covenant"
        assert not faithful(said.replace(circumstance, other), row)
        assert not faithful(said.replace(circumstance, f"{circumstance} and {other}"), row)
        assert not faithful(said.replace(community, elsewhere), row)
        assert not faithful(said.replace(f" under {community}", ""), row)
        assert not faithful(said.replace(community, f"{community} and {elsewhere}"), row)


def test_a_circumstance_that_is_not_told_is_not_faithful():
    plain = [row for row in norms() if not decisive(facts_of(row), row["framework"])]
    assert plain
    for row in plain:
        assert not faithful(faithfully(row).replace("</think>", " The excuse of need counts.</think>"), row)


def test_reasons_that_misread_or_are_malformed_or_do_not_lead_to_the_answer_are_not_faithful():
    for row in norms():
        other = next(option for option in row["options"] if option != row["answer"])
        assert not faithful(says(row["answer"], "It is so."), row)
        assert not faithful(faithfully(row).replace("<answer>", ""), row)
        assert not faithful(faithfully(row).replace(f"<answer>{row['answer']}", f"<answer>{other}"), row)


def test_reasons_are_not_checked_where_nothing_is_known_of_the_facts():
    with pytest.raises(ValueError, match="has no facts"):
        faithful(says("assist"), plural_row(2))
    with pytest.raises(ValueError, match="no rule for the world 'elsewhere'"):
        faithful(says("wrong"), norms()[0] | {"source": "elsewhere"})


REASONS = ("faithful_sampled", "right_and_faithful_sampled", "unfaithful_given_correct")


def scripted(rows, *kinds):
    """Answers to every row: right and faithful, right for wrong reasons, wrong and faithful, wrong, malformed."""
    said = {
        row["id"]: [LOST, *({
            "both": faithfully(row), "lucky": says(row["answer"], "So it is."), "malformed": LOST,
            "wrong": says(next(o for o in row["options"] if o != row["answer"]), "So it is."),
        }[kind] for kind in kinds)]
        for row in rows
    }  # fmt: skip
    return table(rows, said)


@pytest.mark.parametrize(
    "kinds, expected",
    [
        (["both"] * 4, (1.0, 1.0, 0.0)),
        (["lucky"] * 4, (0.0, 0.0, 1.0)),
        (["both", "both", "lucky", "wrong"], (0.5, 0.5, 1 / 3)),
        (["wrong", "malformed"] * 2, (0.0, 0.0, math.nan)),
    ],
)
def test_reasons_and_answers_are_told_apart(kinds, expected):
    answers = scripted(norms(), *kinds)
    assert tuple(worth(name, answers) for name in REASONS) == pytest.approx(expected, nan_ok=True)
    for name in REASONS:
        items = ENDPOINTS.of(name).item(answers)
        assert set(items.index) == set(answers.index[answers["k"] > 0])
        assert items.mean() == pytest.approx(worth(name, answers), nan_ok=True)


def test_a_faithful_answer_may_be_wrong():
    rows = [r for r in norms() if right_of(r, True) != right_of(r, False)]
    wrong = {r["id"]: [LOST, *[faithfully(r, holds=right_of(r, True) != r["answer"])] * 2] for r in rows}
    answers = table(rows, wrong)
    assert [worth(name, answers) for name in ("accuracy_sampled", *REASONS[:2])] == [0.0, 1.0, 0.0]


def test_pass_at_k_needs_right_answers_for_the_right_reasons():
    rows = norms(4)
    lucky, two = scripted(rows, *["lucky", "wrong"] * 4), scripted(rows, *["both", "both", *["lucky"] * 6])
    assert worth("pass_8", lucky) == 0, "guessing among two options passes nothing"
    for k in (1, 2, 4, 8):
        by_hand = np.mean([min(drawn) < 2 for drawn in itertools.combinations(range(8), k)])
        assert worth(f"pass_{k}", two) == pytest.approx(by_hand)
    with pytest.raises(ValueError, match="pass_16 cannot be told: at least 16 .* has 8"):
        worth("pass_16", two)


@pytest.mark.parametrize("k", [1, 2, 4])
@pytest.mark.parametrize("p", [0.0, 0.3, 1.0])
def test_pass_at_k_has_the_mean_of_the_closed_form(k, p):
    row, n = norms(2)[0], 4
    by_count = [worth(f"pass_{k}", scripted([row], *["both"] * c, *["lucky"] * (n - c))) for c in range(n + 1)]
    mean = sum(math.comb(n, c) * p**c * (1 - p) ** (n - c) * found for c, found in enumerate(by_count))
    assert mean == pytest.approx(1 - (1 - p) ** k)


# --- which runs have them ---


def test_an_endpoint_is_there_only_where_its_scenarios_have_what_it_needs():
    norms_only, plural_only = {*REASONS, "pass_4"}, {*COVERED, "stated_calibration"}
    for rows, has, lacks in ((norms(2), norms_only, plural_only), ([plural_row(2)], set(COVERED), norms_only)):
        answers = table(rows, [LOST, *[says(rows[0]["answer"])] * 4])
        kept = [name for name in answers if name not in rows[0] or name in ("id", "split")]
        found = values(answers[kept], pd.DataFrame(rows), {*norms_only, *COVERED, "accuracy_lenient", "forced_choice"})
        assert {*has, "accuracy_lenient"} <= set(found) and not lacks & set(found) and "forced_choice" not in found


def test_forced_choice_is_the_mean_over_the_greedy_answers():
    answers = sampled([plural_row(2, 0), plural_row(2, 1)], "assist").assign(forced=[0.25, np.nan, 0.75, np.nan])
    assert worth("forced_choice", answers) == 0.5
    assert ENDPOINTS["forced_choice"].item(answers).tolist() == [0.25, 0.75]


# --- the world of several stances ---


def stances(m, n=8):
    return plural.make_split("held_out", n, 0, domains=TRAIN_DOMAINS, styles=TRAIN_STYLES, accepted_stances=m)


def answered(rows, said):
    """said: function of (facts, accepted stances, an option that is not accepted) -> responses to be sampled."""
    by_id = {}
    for row in rows:
        right = [stance["option"] for stance in row["accepted"]]
        wrong = next(option for option in row["options"] if option not in right)
        by_id[row["id"]] = [LOST, *said(facts_of(row), right, wrong)]
    return table(rows, by_id)


def test_a_policy_that_keeps_every_stance_for_its_reasons_has_all_that_can_be_had():
    answers = answered(stances(4), lambda facts, right, _: [plural.response(facts, s) for s in right] * 60)
    for name in ("accuracy_sampled", *REASONS[:2], "pass_1", "pass_16"):
        assert worth(name, answers) == 1, name
    assert worth("stances_kept", answers) == pytest.approx(4, rel=0.02)


def test_a_stance_for_no_reasons_is_right_and_not_faithful():
    answers = answered(stances(2), lambda facts, right, _: [says(right[0])] * 4)
    assert [worth(name, answers) for name in ("accuracy_sampled", *REASONS, "pass_4")] == [1.0, 0.0, 0.0, 1.0, 0.0]


@pytest.mark.parametrize(
    "too, overlap",
    [(lambda right, wrong: right[1:], 1.0), (lambda right, wrong: [], 1 / 3), (lambda right, wrong: [wrong], 1 / 4)],
)
def test_calibration_is_the_overlap_of_what_is_stated_with_what_is_accepted(too, overlap):
    said = answered(stances(3), lambda facts, right, wrong: [plural.response(facts, right[0], too(right, wrong))] * 2)
    assert worth("stated_calibration", said) == pytest.approx(overlap)
    assert ENDPOINTS["stated_calibration"].item(said).tolist() == [pytest.approx(overlap)] * 2 * 8


def test_a_wrong_stance_that_states_nothing_else_and_a_malformed_answer_are_not_calibrated_at_all():
    said = answered(stances(2), lambda facts, right, wrong: [plural.response(facts, wrong), LOST])
    assert worth("stated_calibration", said) == 0


# --- the system message ---

MESSAGES = [  # two stories, each under two messages that call for opposite answers
    scenario_row(source="mine", split="held_out", system=system, prompt=prompt, options=["yes", "no"], answer=answer)
    for prompt, answers in (("Is it so?", ("yes", "no")), ("Was it so?", ("no", "yes")))
    for system, answer in zip(("Say it.", "Deny it."), answers, strict=True)
]


@pytest.mark.parametrize("policy, share", [
    (lambda row: row["answer"], 1.0), (lambda row: "yes", 0.0), (lambda row: "?", 0.0),
    (lambda row: row["answer"] if row["prompt"] == "Is it so?" else "no", 0.5),
], ids=["follows", "ignores", "unreadable", "follows in one story"])  # fmt: skip
def test_answers_are_moved_by_the_message_where_the_policy_follows_it(policy, share):
    said = {row["id"]: [says(policy(row)), says("no"), says("no")] for row in MESSAGES}
    assert worth("moved_by_message", table(MESSAGES, said)) == share


def test_a_story_under_one_message_says_nothing_of_what_moves():
    assert math.isnan(worth("moved_by_message", table(MESSAGES[:1], [says("no")])))
