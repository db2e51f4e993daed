"""Embedded raters and what a policy is given of their ratings. Run: python -m pytest tests/scenarios/test_raters.py"""

from collections import Counter

import numpy as np
import pytest

from studylib.names import TRAIN_DOMAINS, TRAIN_STYLES
from studylib.params import RunParams
from studylib.rewards import reward
from studylib.scenarios import rated, raters, ratings
from studylib.scenarios.facts import breach, facts_of
from studylib.scenarios.scale import shares
from studylib.scenarios.selection import select
from studylib.text.stated import stated
from studylib.training.told import right_answers

GROUPS = list(raters.POPULATIONS["opposed"])


def params(**given) -> RunParams:
    return RunParams(source="rated_norms", rewards="rating_brier=1.0", **{"steps": 4, "eval_scenarios": 16} | given)


def train(**given) -> list[dict]:
    return select(params(**given))["train"]


def world(n: int, population: str = "opposed", scale: str = "own", form: str = "shares") -> list[dict]:
    return rated.make_split(
        "train", n, 0, domains=TRAIN_DOMAINS, styles=TRAIN_STYLES, population=population, rating_form=form,
        rating_scale=scale,
    )  # fmt: skip


def rated_row(*values: float, levels: int = 5) -> dict:
    given = [{"rater": f"r{i}", "value": float(value), "groups": []} for i, value in enumerate(values)]
    row = {"id": "a", "options": [str(k) for k in range(1, levels + 1)]}
    return ratings.with_ratings(row, given)


def values(row: dict) -> list[float]:
    return [r["value"] for r in row["ratings"]]


# --- the population --------------------------------------------------------------------------------------------------


def test_ratings_are_drawn_from_the_distribution_that_is_said():
    """Every level of every group is as frequent as its chance, over many scenarios: four standard errors at most."""
    rows, found = world(400), {}
    for row in rows:
        for group, chances in raters.distribution(facts_of(row), "opposed").items():
            own = [r["value"] for r in row["ratings"] if r["groups"] == [group]]
            seen, expected = found.setdefault(group, (np.zeros(5), np.zeros(5)))
            seen += [own.count(level) for level in range(1, 6)]
            expected += len(own) * chances
    for seen, expected in found.values():
        assert (np.abs(seen - expected) <= 4 * np.sqrt(expected) + 1e-9).all()


def test_opposed_groups_go_by_different_facts_and_alike_ones_by_the_same():
    for row in world(16):
        told = [breach(facts_of(row), fact) for fact in raters.FACTS]
        levels = [raters.judged(facts_of(row), group.weights) for group in raters.POPULATIONS["opposed"].values()]
        assert [level <= 2 for level in levels] == told, "each group goes by its own fact"
        same = raters.distribution(facts_of(row), "alike").values()
        assert len({tuple(chances) for chances in same}) == 1


def test_every_set_of_breaches_is_as_frequent():
    sets = Counter(tuple(breach(facts_of(row), fact) for fact in raters.FACTS) for row in world(80))
    assert set(sets.values()) == {10} and len(sets) == 8


def test_no_scenario_is_in_training_and_evaluation():
    splits = select(params(steps=40))
    seen = [{row["prompt"] for row in rows} for rows in splits.values()]
    assert sum(map(len, seen)) == len(set().union(*seen))


def test_a_demonstration_is_well_formed_and_says_what_can_be_scored():
    for form in rated.QUESTIONS:
        for scale in ("own", "three", "two"):
            row = world(2, scale=scale, form=form)[0]
            question = "".join(row["prompt"].rpartition("How do ")[1:])
            said = [answer for prompt, answer in rated.demonstrations(60, 0, domains=TRAIN_DOMAINS, styles=TRAIN_STYLES)
                    if prompt.endswith(question)]  # fmt: skip
            assert said and all(stated(answer, row["options"]) for answer in said)


def test_stating_the_true_shares_is_worth_most():
    row = world(8)[0]
    p = shares(row)
    best = rated.response(facts_of(row), rated.statement(row["options"], p))
    of = reward("rating_brier", [row])
    assert of(best, row) == pytest.approx(1.0)
    assert all(of(rated.response(facts_of(row), option), row) < 1 for option in row["options"])


# --- scale -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "scale, expected",
    [
        ("own", [1, 2, 3, 4, 5]),
        ("three", [1, 1, 2, 3, 3]),
        ("two", [1, 1, 1, 2, 2]),
        ("two_decided", [1, 1, 2, 2]),
    ],
)
def test_a_coarser_scale_parts_five_levels_at_the_middle(scale, expected):
    row = ratings.rescaled(rated_row(1, 2, 3, 4, 5), scale)
    assert values(row) == expected and len(row["options"]) == max(expected)


def test_seven_levels_are_parted_at_their_own_middle():
    assert values(ratings.rescaled(rated_row(*range(1, 8), levels=7), "three")) == [1, 1, 1, 2, 3, 3, 3]


@pytest.mark.parametrize("levels, scale, why", [(2, "three", "has fewer"), (4, "three", "no middle"),
                                                (4, "two_decided", "no middle")])  # fmt: skip
def test_a_scale_that_does_not_fit_is_refused(levels, scale, why):
    with pytest.raises(ValueError, match=f"rating_scale = '{scale}' does not fit scenario a: .*{why}"):
        ratings.rescaled(rated_row(1, 2, levels=levels), scale)


# --- whose ratings ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("pool", ["all", "balanced", *GROUPS, *(f"without {group}" for group in GROUPS)])
def test_every_pool_has_equal_numbers_of_its_own_raters(pool):
    rows = train(rater_pool=pool, raters_each=6)
    assert {len(row["ratings"]) for row in rows} == {6} and len(rows) == 64
    asked = {r["groups"][0] for row in rows for r in row["ratings"]}
    if pool in GROUPS:
        assert asked == {pool}
    elif pool.startswith("without"):
        assert asked == set(GROUPS) - {pool.removeprefix("without ")}
    else:
        assert asked == set(GROUPS)
    if pool == "balanced":
        assert all(set(Counter(r["groups"][0] for r in row["ratings"]).values()) == {2} for row in rows)


def test_nobody_is_asked_twice_about_a_scenario():
    for row in train(raters_each=8):
        assert len({r["rater"] for r in row["ratings"]}) == 8


@pytest.mark.parametrize(
    "given, why",
    [
        ({"rater_pool": "the young"}, "its groups are fairness-minded, motive-minded, truth-minded"),
        ({"rater_pool": "without the young"}, "its groups are"),
        ({"rater_pool": "fairness-minded", "raters_each": 9}, "no scenario with raters_each = 9"),
        ({"rater_pool": "balanced", "raters_each": 40}, "no scenario with raters_each = 40"),
        ({"raters_each": 1}, "2 or more: one rating has no disagreement"),
    ],
)
def test_a_pool_that_cannot_be_had_is_refused(given, why):
    with pytest.raises(ValueError, match=why):
        train(**given)


def test_raters_of_no_group_cannot_be_parted():
    with pytest.raises(ValueError, match="its raters are of no known group"):
        ratings.check_pool([rated_row(1, 2)], "balanced")


# --- disagreement ----------------------------------------------------------------------------------------------------


def labels(kind: str, *given: float) -> list[float]:
    rng = np.random.default_rng(0)
    return [r["value"] for r in ratings.LABELS[kind](rated_row(*given)["ratings"], [1.0, 2.0, 3.0, 4.0, 5.0], rng)]


def test_labels_by_hand():
    assert labels("majority", 1, 1, 5) == [1] and labels("majority", 1, 1, 5, 5) == [1, 5]
    assert labels("mean", 1, 1, 5) == [2] and labels("mean", 1, 2) == [2], "halves go up"
    assert labels("median", 1, 1, 5) == [1] and labels("median", 1, 5) == [3]
    assert labels("soft_label", 1, 5, 5) == [1, 5, 5]
    assert labels("random_one", 1, 5)[0] in (1, 5)


@pytest.mark.parametrize("kind", ratings.LABELS)
def test_every_treatment_has_as_many_rows_of_like_prompts_and_balance_of_facts(kind):
    """Of those that drop no scenarios, the same scenarios as often and in the same order."""
    rows = train(disagreement=kind, steps=40)
    reference = train(disagreement="soft_label", steps=40)
    assert len(rows) == len(reference) == 640
    if not kind.startswith("consensus"):
        assert [row["prompt"] for row in rows] == [row["prompt"] for row in reference]


def test_keeping_all_has_a_row_for_every_rating():
    rows, whole = train(disagreement="keep_all", steps=40), train(disagreement="soft_label", steps=40)
    assert len({row["id"] for row in rows}) == len(rows) == 640
    kept = {}
    for row in rows:
        kept.setdefault(row["prompt"], []).extend(values(row))
    assert all(sorted(kept[row["prompt"]]) == sorted(values(row)) for row in whole)


def test_consensus_has_agreed_scenarios_and_its_match_as_many():
    agreed, matched = (train(disagreement=f"consensus_{kind}", steps=40) for kind in ("only", "matched"))
    whole = {row["prompt"]: row for row in train(disagreement="soft_label", steps=40)}
    distinct = [{row["prompt"] for row in rows} for rows in (agreed, matched)]
    assert len(distinct[0]) == len(distinct[1]) < len(whole) and distinct[0] != distinct[1]
    assert all(ratings.unanimous(whole[prompt]["ratings"]) for prompt in distinct[0])
    assert not all(ratings.unanimous(whole[prompt]["ratings"]) for prompt in distinct[1])


def test_ratings_that_are_all_equal_are_refused():
    with pytest.raises(ValueError, match="can make no difference: all ratings of each scenario are equal"):
        ratings.training_rows([rated_row(3, 3, 3)], params(raters_each=2, disagreement="majority"))


def test_no_consensus_is_refused():
    with pytest.raises(ValueError, match="leaves nothing: no scenario has 2 ratings that agree"):
        ratings.training_rows([rated_row(1, 2)], params(raters_each=2, disagreement="consensus_only"))


def test_options_of_ratings_are_refused_where_nobody_rates():
    with pytest.raises(ValueError, match="rater_pool"):
        RunParams(source="local_norms", rater_pool="balanced")


def test_no_fact_goes_with_a_form_or_a_scale_in_the_demonstrations():
    """Else the warm start teaches to state another scale where a fact is told."""
    pairs = rated.demonstrations(2400, 0, domains=TRAIN_DOMAINS, styles=TRAIN_STYLES)
    asked = Counter((prompt[prompt.rindex("How do") :], "One person bears" in said) for prompt, said in pairs)
    assert len(asked) == 12 and all(abs(count - 200) < 60 for count in asked.values()), asked


# --- what comes of real ratings, of which there are few -------------------------------------------------------------


def test_published_ratings_come_as_often_as_embedded_ones(data_dir):
    """Forty stimuli are fewer than a run asks for: kept all, each comes with every rating, and none with one alone."""
    given = {"source": "offtherails", "data_dir": data_dir, "rewards": "rating_expected=1.0", "steps": 20}
    rows = select(RunParams(disagreement="keep_all", raters_each=8, **given))["train"]
    assert len(rows) == 320 and len({row["prompt"] for row in rows}) == 40
    assert len({row["id"] for row in rows}) == 320 and set(Counter(row["prompt"] for row in rows).values()) == {8}


def test_what_is_told_of_ratings_is_all_of_them():
    """Supervised training takes one by chance; where each is a row of its own, still one of all."""
    whole = train(disagreement="soft_label", objective="sft", steps=8)
    alone = train(disagreement="keep_all", objective="sft", steps=8)
    told = {row["prompt"]: sorted(options) for row, options in zip(
        whole, right_answers(params(objective="sft"), whole[:16]), strict=False)}  # fmt: skip
    again = dict(zip([row["prompt"] for row in alone], right_answers(params(objective="sft"), alone), strict=True))
    assert len(told) == 16 and all(len(options) == 8 for options in told.values())
    assert all(sorted(again[prompt]) == options for prompt, options in told.items())
