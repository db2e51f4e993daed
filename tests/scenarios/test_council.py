"""The world council_norms: most of three views decide; what one of them alone can know is known in closed form."""

from collections import Counter
from fractions import Fraction

import pytest

from studylib.names import TRAIN_DOMAINS, TRAIN_STYLES
from studylib.params import RunParams
from studylib.policy.warm_start import warm_start_key
from studylib.randomness import generator
from studylib.rewards.correct import correct
from studylib.rewards.faithful import faithful
from studylib.scenarios import council
from studylib.scenarios.facts import OPTIONS, READINGS, facts_of, reading
from studylib.scenarios.roles import named, parts
from studylib.scenarios.selection import select, trace_rows
from studylib.scenarios.vocabulary import DOMAINS
from studylib.scenarios.worked import worked
from studylib.text.answers import parse, read_answer

ALL = {"domains": TRAIN_DOMAINS, "styles": TRAIN_STYLES}


def rows(kind: str, n: int = 960, split: str = "train", seed: int = 0) -> list[dict]:
    return council.make_split(split, n, seed, **ALL, council=kind)


OWN, SAME = rows("own"), rows("same")


def found(row: dict) -> list[str]:
    facts = facts_of(row)
    return [council.finding(facts, one) for one in council.told(facts, row["prompt"])]


def test_a_text_tells_three_views_and_the_answer_is_what_most_of_them_find():
    for row in OWN + SAME:
        assert len(found(row)) == 3 and found(row).count(row["answer"]) >= 2


def test_one_view_is_right_in_three_of_four_scenarios_where_each_knows_a_fact_of_its_own_and_else_in_all():
    """Exactly: the eight combinations of findings are equally frequent."""
    for kind, expected in (("own", Fraction(3, 4)), ("same", Fraction(1))):
        whole = rows(kind, 2 * 16 * 12)
        votes = [vote == row["answer"] for row in whole for vote in found(row)]
        assert Fraction(sum(votes), len(votes)) == expected


@pytest.mark.parametrize("part", [OWN, SAME], ids=["own", "same"])
def test_answers_are_balanced_in_every_domain(part):
    counts = Counter((row["domain"], row["answer"]) for row in part)
    assert len(counts) == 24 and set(counts.values()) == {len(part) // 24}


def test_roles_are_frameworks_that_are_told_and_persons_who_ask_what_they_ask():
    for row in OWN[:100]:
        here = set(council.told(facts_of(row), row["prompt"]))
        names = [role.name for role in council.roles(row)]
        assert {council.TAKES[name] for name in names} == here
        assert set(names) == {name for name, framework in council.TAKES.items() if framework in here}


def test_worked_examples_are_right_faithful_and_take_every_view():
    for row in OWN[:100]:
        response = worked(row)
        assert correct(response, row) == 1.0 and faithful(response, row)
        assert {council.TAKES[name] for name in named(parse(response)[0])} == set(
            council.told(facts_of(row), row["prompt"])
        )


def test_an_answer_is_faithful_where_it_follows_from_the_views_that_it_takes_right_or_wrong():
    row = next(row for row in OWN if len(set(found(row))) == 2)
    facts, wrong = facts_of(row), next(option for option in OPTIONS if option != row["answer"])
    odd = next(one for one in council.told(facts, row["prompt"]) if council.finding(facts, one) == wrong)
    alone = f"<think>{council.trace(council.takers(odd)[0], facts, odd, wrong)}</think><answer>{{}}</answer>"
    assert faithful(alone.format(wrong), row) and not faithful(alone.format(row["answer"]), row)
    assert not faithful("<think>I cannot tell.</think><answer>wrong</answer>", row)
    assert not faithful(alone, row) and not faithful(f"{worked(row)} And so on.", row), "unreadable"


def test_demonstrations_conclude_from_their_reading_as_often_as_they_should_and_do_not_count_votes():
    implied = {reading: option for pair in READINGS.values() for reading, option in zip(pair, OPTIONS, strict=True)}
    several, followed, split = [], [], []
    for _, response in council.demonstrations(4000, 0, domains=tuple(DOMAINS), styles=TRAIN_STYLES):
        reasons, answer = parse(response)
        said = [part.partition("perspective. ")[2].removesuffix(".").split(", so ") for part in parts(reasons)]
        votes = [vote for _, vote in said]
        assert answer in votes and len(said) in (1, 3) and len(set(named(reasons))) == len(said)
        followed += [implied[reading] == vote for reading, vote in said]
        several.append(len(votes) == 3)
        if len(set(votes)) == 2:
            split.append(votes.count(answer) == 2)
    assert sum(several) / len(several) == pytest.approx(council.SEVERAL, abs=0.03)
    assert sum(followed) / len(followed) == pytest.approx(council.BELIEF, abs=0.03)
    assert sum(split) / len(split) == pytest.approx(2 / 3, abs=0.06), "the vote of one of them, by chance"


def test_demonstrations_read_the_facts_of_their_prompt():
    row = OWN[0]
    facts, told = facts_of(row), council.told(facts_of(row), row["prompt"])
    rng = generator(0, "test")
    for _ in range(50):
        assert all(reading(facts, council.TAKES[name]) in part for part in parts(parse(_said(facts, told, rng))[0])
                   for name in named(part))  # fmt: skip


def _said(facts, told, rng) -> str:
    return council._demonstration(facts, told, rng)


def test_both_councils_share_a_warm_start_and_no_side_shares_a_scenario():
    own, same = (
        RunParams(source="council_norms", council=kind, steps=20, eval_scenarios=40) for kind in council.COUNCILS
    )
    assert warm_start_key(own) == warm_start_key(same)
    splits = select(own)
    prompts = {name: {row["prompt"] for row in part} for name, part in splits.items()}
    warm = {prompt for prompt, _ in council.demonstrations(2000, 0, domains=tuple(DOMAINS), styles=TRAIN_STYLES)}
    assert not prompts["train"] & (prompts["held_out"] | prompts["held_out_domains"]) and not warm & prompts["train"]
    traced = {row["prompt"] for row in trace_rows(RunParams(**own.as_dict() | {"traces": "multi_role"}))}
    assert not traced & (prompts["held_out"] | prompts["held_out_domains"] | prompts["held_out_styles"])


def test_the_same_seed_makes_the_same_scenarios_and_an_odd_number_is_refused():
    assert rows("own", 40) == rows("own", 40) != rows("own", 40, seed=1)
    with pytest.raises(ValueError, match="asks for 3 scenarios; they come in pairs"):
        rows("own", 3)
    with pytest.raises(ValueError, match="council = 'both' is not allowed: one of own, same"):
        RunParams(source="council_norms", council="both")
    assert all(read_answer(worked(row), row["options"]) for row in SAME[:20])
