"""The world plural_norms: which stances are accepted, by whom and at what level follows from the facts alone."""

import math
from collections import Counter

import pandas as pd
import pytest

from studylib.names import TRAIN_DOMAINS, TRAIN_STYLES
from studylib.params import RunParams
from studylib.paths import FIGURES
from studylib.randomness import generator
from studylib.rewards.stances import reasons_hold, stated, supported
from studylib.scenarios import plural
from studylib.scenarios.facts import facts_of
from studylib.scenarios.plural import FRAMEWORK_OF, OPTIONS, STANCES, demonstrations, make_split
from studylib.scenarios.rows import accepted, accepted_by_group
from studylib.scenarios.selection import select
from studylib.scenarios.vocabulary import DOMAINS, HELD_OUT_DOMAINS
from studylib.scenarios.worlds import draw_facts
from studylib.text.answers import read_answer

ALL = {"domains": TRAIN_DOMAINS, "styles": TRAIN_STYLES}


def story(community: str, *breaches: str):
    """Facts of a domain of this community with these breaches and no other."""
    domain = next(name for name, words in DOMAINS.items() if words.community == community)
    return draw_facts(generator(0, "test"), domain, {name: name in breaches for name in STANCES}, None)


def rows(m: int, n: int = 60, split: str = "train", seed: int = 0) -> list[dict]:
    return make_split(split, n, seed, **ALL, accepted_stances=m)


def test_there_are_ten_stances_two_for_each_breach():
    assert len(set(OPTIONS)) == 10 and all(len(pair) == 2 for pair in STANCES.values())


@pytest.mark.parametrize("community, expected", [
    ("covenant", {"disclose": (1.0, 3), "censure": (0.9, 1)}), ("kinship", {"confess": (0.95, 2), "forgive": (1.0, 3)}),
])  # fmt: skip
def test_a_community_accepts_one_kind_of_stance_to_each_breach_at_a_level_by_the_groups_that_accept_it(
    community, expected
):
    facts = story(community, "kantian_deontology", "virtue_ethics")
    stances = plural.accepted_stances(facts)
    assert {s["option"]: (s["level"], len(s["groups"])) for s in stances} == expected


def test_the_two_communities_never_accept_the_same_stance():
    both = [{s["option"] for s in plural.accepted_stances(story(kind, *STANCES))} for kind in ("covenant", "kinship")]
    assert len(both[0]) == len(both[1]) == 5 and not both[0] & both[1]


@pytest.mark.parametrize("m", [1, 2, 3, 4])
def test_each_scenario_accepts_as_many_stances_as_it_is_asked_to_and_the_best_is_its_answer(m):
    for row in rows(m):
        levels = accepted(row)
        assert len(levels) == m and levels[row["answer"]] == max(levels.values()) and row["options"] == list(OPTIONS)
        assert plural.accepted_stances(facts_of(row)) == row["accepted"]
        assert {FRAMEWORK_OF[stance] for stance in levels} == set(plural.breaches(facts_of(row)))
        assert set().union(*accepted_by_group(row).values()) == set(levels), "some group accepts each of them"


def test_breaches_are_balanced_so_that_no_stance_is_right_everywhere():
    for m in (1, 4):
        counts = Counter(stance for row in rows(m, 600) for stance in accepted(row))
        assert max(counts.values()) / 600 < 1.2 * m / 10, "ten stances share m of every scenario"


def test_no_groups_agree_and_no_text_names_a_stance():
    row = rows(4)[0]
    accepting = list(accepted_by_group(row).values())
    assert len(set(accepting)) > 1 and all(accepting)
    assert not any(stance in row["prompt"].casefold().split() for row in rows(4) for stance in OPTIONS)


def test_training_warm_start_and_evaluation_share_no_scenario():
    params = RunParams(source="plural_norms", accepted_stances=2, steps=20, eval_scenarios=40)
    splits = select(params)
    prompts = {name: {row["prompt"] for row in part} for name, part in splits.items()}
    warm = {prompt for prompt, _ in demonstrations(400, 0, domains=tuple(DOMAINS), styles=TRAIN_STYLES)}
    assert all(len(prompts[name]) == len(splits[name]) for name in splits)
    assert not prompts["train"] & (prompts["held_out"] | prompts["held_out_domains"]) and not warm & prompts["train"]
    assert {row["domain"] for row in splits["held_out_domains"]} == set(HELD_OUT_DOMAINS)


def test_the_same_seed_makes_the_same_scenarios_and_another_one_others():
    assert rows(3) == rows(3) and {r["id"] for r in rows(3)}.isdisjoint(r["id"] for r in rows(3, seed=1))


def test_demonstrations_read_rightly_are_unsure_of_the_norm_and_prefer_no_accepted_stance():
    """So the entropy over accepted stances is log m at the start: of 4 breaches each is taken equally often."""
    drawn = generator(0, "test/demonstrations")
    kept, right, n = Counter(), 0, 4000
    facts = story("covenant", *list(STANCES)[:4])
    row = {**rows(4)[0], "facts": plural.json.dumps(plural.dataclasses.asdict(facts))}
    row["accepted"] = plural.accepted_stances(facts)
    for _ in range(n):
        response = plural._demonstration(facts, drawn)
        stance = read_answer(response, row["options"])
        assert reasons_hold(response, row) and stance in stated(response, row)
        assert {FRAMEWORK_OF[s] for s in stated(response, row)} == set(plural.breaches(facts))
        right += supported(response, row)
        kept.update([stance] if stance in accepted(row) else [])
    entropy = -sum(c / right * math.log(c / right) for c in kept.values())
    assert right / n == pytest.approx(plural.BELIEF, abs=0.03) and entropy == pytest.approx(math.log(4), abs=0.01)


def test_the_warm_start_of_the_study_keeps_nearly_all_accepted_stances():
    """Its entropy over four accepted stances is near log 4, as the tables of the study have it."""
    means = pd.read_csv(FIGURES / "landscape/means.csv", keep_default_na=False, na_values=[""])
    kept = means[(means["condition"] == "warm_start") & (means["endpoint"] == "stances_kept_share")]
    kept = kept[kept["world"] == "m4"].set_index("split")["mean"]
    assert len(kept) == 3 and kept.min() > 0.9, "exp(entropy) / 4, on every split"


def test_demonstrations_word_their_reasons_in_several_ways():
    reasons = {response.partition("</think>")[0] for _, response in
               demonstrations(200, 0, domains=TRAIN_DOMAINS, styles=TRAIN_STYLES)}  # fmt: skip
    openings = {wording.partition("{")[0] for wording in plural.WORDINGS}
    assert all(any(text.startswith(f"<think>{opening}") for text in reasons) for opening in openings - {""})
    assert len(reasons) > 120


def test_what_the_world_reads_is_refused_elsewhere_and_out_of_range():
    with pytest.raises(ValueError, match="accepted_stances = 5 is not allowed: 1..4"):
        RunParams(source="plural_norms", accepted_stances=5)
    with pytest.raises(ValueError, match="accepted_stances = 2 is not allowed: 4, because source 'local_norms'"):
        RunParams(source="local_norms", accepted_stances=2)
