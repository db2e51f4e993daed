"""What verifies a stance and its reasons, and what each evaluator pays for it."""

import pytest

from studylib.names import TRAIN_DOMAINS, TRAIN_STYLES
from studylib.params import RunParams
from studylib.rewards import batch_reward, reward
from studylib.rewards.stances import reasons_hold, stated, supported
from studylib.scenarios.facts import READINGS, facts_of, misreading, reading
from studylib.scenarios.plural import FRAMEWORK_OF, GROUPS, OPTIONS, STANCES, breaches, make_split, response, supports
from studylib.scenarios.rows import accepted, accepted_by_group

ROWS = make_split("train", 40, 0, domains=TRAIN_DOMAINS, styles=TRAIN_STYLES, accepted_stances=3)
ROW = ROWS[0]
FACTS = facts_of(ROW)
RIGHT = list(accepted(ROW))
UNACCEPTED = next(s for f in breaches(facts_of(ROW)) for s in STANCES[f] if s not in RIGHT)
NO_BREACH = next(s for f in STANCES if f not in breaches(facts_of(ROW)) for s in STANCES[f])


def with_reasons(reasons: str, stance: str) -> str:
    return f"<think>{reasons}</think><answer>{stance}</answer>"


def test_an_accepted_stance_is_supported_by_the_breach_that_it_answers_in_every_wording():
    for stance in RIGHT:
        assert supported(response(FACTS, stance), ROW)
        reason, kind = supports(stance).lower(), FACTS.community
        named = f"This is {kind}, and {reason}. Fitting too: {RIGHT[0]}."
        for reasons in (f"{reason} under {kind}.", f"Here {reason}. It is {kind}.", named):
            assert supported(with_reasons(reasons, stance), ROW)


def test_reasons_hold_for_a_stance_that_is_not_accepted_and_it_is_not_supported():
    assert reasons_hold(response(FACTS, UNACCEPTED), ROW) and not supported(response(FACTS, UNACCEPTED), ROW)


@pytest.mark.parametrize("reasons", [
    "", "One.", "Is it so that {}?", "It is false that {}.", "{opposite}.", "{}. {opposite}.", "{prompt}",
    "{everything}", "{other} under {here}.", "{} under {elsewhere}.", "Under covenant or kinship, {}.",
    "{}. This is not {here}.", "{} under {here}, which is false.", "{} under {here}. That is wrong.",
    'Under {here} some say: "{}."',
])  # fmt: skip
def test_right_stances_for_no_or_wrong_reasons_are_not_supported(reasons):
    stance, facts = RIGHT[0], facts_of(ROW)
    others = [supports(s) for s in OPTIONS if FRAMEWORK_OF[s] != FRAMEWORK_OF[stance]]
    text = reasons.format(
        supports(stance).lower(), opposite=READINGS[FRAMEWORK_OF[stance]][False], prompt=ROW["prompt"],
        here=facts.community, elsewhere="kinship" if facts.community == "covenant" else "covenant",
        everything=". ".join(supports(s) for s in OPTIONS), other=next(c for c in others if c in _true(facts)),
    )  # fmt: skip
    assert not supported(with_reasons(text, stance), ROW)


def _true(facts) -> set[str]:
    return {reading(facts, framework) for framework in STANCES}


def test_a_reading_that_is_false_of_the_facts_spoils_true_reasons():
    facts = facts_of(ROW)
    for framework in STANCES:
        assert not supported(with_reasons(f"{supports(RIGHT[0])}. {misreading(facts, framework)}.", RIGHT[0]), ROW)


@pytest.mark.parametrize("answer", ["", "pray", "disclose or assist", "not disclose"])
def test_what_names_no_single_stance_is_not_supported_and_states_nothing(answer):
    text = with_reasons(f"{supports(RIGHT[0])}.", answer)
    assert not supported(text, ROW) and stated(text, ROW) == frozenset()


def test_stated_stances_are_the_answers_own_and_those_listed_once():
    assert stated(response(FACTS, RIGHT[0], RIGHT[1:]), ROW) == set(RIGHT)
    assert stated(response(FACTS, RIGHT[0]), ROW) == {RIGHT[0]}
    assert stated(with_reasons("Fitting too: pray, assist.", RIGHT[0]), ROW) == {RIGHT[0]}, "no option"
    twice = with_reasons("Fitting too: assist. Fitting too: console.", RIGHT[0])
    assert stated(twice, ROW) == {RIGHT[0]}, "two lists state nothing"
    assert stated("Fitting too: assist.", ROW) == frozenset(), "malformed"


@pytest.mark.parametrize("evaluator", ["binary", "graded", "mean", "minimum", "any"])
def test_each_evaluator_pays_what_its_rule_says(evaluator):
    params = RunParams(source="plural_norms", rewards="stance=1", evaluator=evaluator)
    pay = batch_reward("stance", ROWS, params)
    for row in ROWS:
        for stance, level in accepted(row).items():
            votes = [stance in accepted_by_group(row).get(group, ()) for group in GROUPS]
            expected = {"binary": 1.0, "graded": level, "mean": sum(votes) / 3,
                        "minimum": float(all(votes)), "any": 1.0}[evaluator]  # fmt: skip
            assert pay([response(facts_of(row), stance)], [row]) == [pytest.approx(expected)]
            assert pay([with_reasons("One.", stance)], [row]) == [0.0]
    assert pay([response(FACTS, UNACCEPTED), response(FACTS, NO_BREACH)], [ROW, ROW]) == [0.0, 0.0]


def test_the_noisy_evaluator_misjudges_as_often_as_it_says_whatever_the_answer_and_alike_in_a_second_run():
    params = RunParams(source="plural_norms", rewards="stance=1", evaluator="noisy", evaluator_noise=0.2)
    n = 2000
    answers = [response(FACTS, RIGHT[0])] * n + [response(FACTS, UNACCEPTED)] * n
    values = batch_reward("stance", ROWS, params)(answers, [ROW] * 2 * n)
    assert sum(values[:n]) / n == pytest.approx(0.8, abs=0.03) and sum(values[n:]) / n == pytest.approx(0.2, abs=0.03)
    assert values == batch_reward("stance", ROWS, params)(answers, [ROW] * 2 * n)
    assert values != batch_reward("stance", ROWS, RunParams(**{**params.as_dict(), "seed": 1}))(answers, [ROW] * 2 * n)


def test_the_reward_refuses_scenarios_without_accepted_stances():
    with pytest.raises(ValueError, match="reward 'stance' needs the field 'accepted'"):
        reward("stance", [{**ROW, "accepted": None}])


def test_correct_takes_every_accepted_stance_whatever_its_reasons():
    correct = reward("correct", [ROW])
    assert {correct(with_reasons("One.", stance), ROW) for stance in RIGHT} == {1.0}
    assert {correct(with_reasons("One.", stance), ROW) for stance in set(OPTIONS) - set(RIGHT)} == {0.0}
