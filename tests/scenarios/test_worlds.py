"""Embedded scenarios: their truth is known, and the splits keep apart."""

import dataclasses
import json
from collections import Counter

import numpy as np
import pytest

from studylib.names import FRAMEWORKS, HELD_OUT_STYLES, TRAIN_DOMAINS, TRAIN_STYLES
from studylib.rewards.checks import check
from studylib.rewards.correct import correct
from studylib.scenarios import facts as rules
from studylib.scenarios import worlds
from studylib.scenarios.facts import NORMS, Facts, facts_of, right_answer
from studylib.scenarios.rows import FEATURES, to_dataset
from studylib.scenarios.telling import clause, reasoned_response
from studylib.scenarios.vocabulary import CIRCUMSTANCES, COMMUNITIES, DOMAINS, HELD_OUT_DOMAINS
from studylib.scenarios.worlds import make_split

ALL = {"domains": tuple(DOMAINS), "styles": TRAIN_STYLES + HELD_OUT_STYLES, "frameworks": tuple(FRAMEWORKS)}
HONEST = Facts(  # a deed that no framework objects to, in a covenant community
    domain="work", community="covenant", cue="a covenant town", place="the shipyard", agent="Ada", role="manager",
    affected="Omar", bystander="Mei", deed="cut Omar's hours before the holidays", good=2, good_of="gain in output",
    harm=0, harm_of="loss of pay", deceived=False, motive="fairness", virtuous=True, burden_alone=False,
    left_worse=False, circumstance=None, circumstance_text=None,
)  # fmt: skip
BREACH = {  # framework -> the change of facts that it objects to
    "act_utilitarianism": {"good": 0, "harm": 1},
    "kantian_deontology": {"deceived": True},
    "virtue_ethics": {"motive": "greed", "virtuous": False},
    "scanlonian_contractualism": {"burden_alone": True},
    "gauthierian_contractarianism": {"left_worse": True},
}


def told(circumstance, community="covenant", **changes):
    return dataclasses.replace(HONEST, circumstance=circumstance, community=community, **changes)


def test_the_vocabulary_is_as_large_as_promised():
    assert len(DOMAINS) == 16 and len(TRAIN_DOMAINS) == 12 and len(HELD_OUT_DOMAINS) == 4
    assert len(FRAMEWORKS) == 5 and len(TRAIN_STYLES) == 4 and len(HELD_OUT_STYLES) == 1
    for group in (TRAIN_DOMAINS, HELD_OUT_DOMAINS):
        kinds = Counter(DOMAINS[name].community for name in group)
        assert kinds["covenant"] == kinds["kinship"], "every kind in training and in the held-out domains, equally"


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_a_framework_objects_to_its_own_fact_and_to_no_other(framework):
    assert right_answer(HONEST, framework, "universal_norms") == "permissible"
    for other, change in BREACH.items():
        expected = "wrong" if other == framework else "permissible"
        assert right_answer(dataclasses.replace(HONEST, **change), framework, "universal_norms") == expected


@pytest.mark.parametrize(
    "community, circumstance, universal, local",
    [
        ("covenant", "consent", True, True), ("covenant", "need", True, True),
        ("covenant", "promise", True, True), ("covenant", "office", False, False),
        ("kinship", "consent", True, True), ("kinship", "need", True, False),
        ("kinship", "promise", True, False), ("kinship", "office", False, False),
    ],
)  # fmt: skip
def test_the_norms_of_the_worlds(community, circumstance, universal, local):
    """An excuse that counts makes a breach permissible; a duty that counts makes an honest deed wrong."""
    excuse = circumstance in ("consent", "need")
    facts = told(circumstance, community, deceived=excuse)
    for world, count in (("universal_norms", universal), ("local_norms", local)):
        expected = "permissible" if excuse == count else "wrong"
        assert right_answer(facts, "kantian_deontology", world) == expected


def test_an_excuse_without_a_breach_and_a_duty_beside_a_breach_decide_nothing():
    assert right_answer(told("need"), "kantian_deontology", "universal_norms") == "permissible"
    assert right_answer(told("promise", deceived=True), "kantian_deontology", "universal_norms") == "wrong"


@pytest.mark.parametrize("world", NORMS)
def test_answers_are_balanced_overall_and_in_every_domain_and_framework(world):
    rows = make_split(world, "train", 16 * 5 * 20, 0, **ALL)
    for key in (lambda row: "all", lambda row: row["domain"], lambda row: row["framework"]):
        counts = Counter((key(row), row["answer"]) for row in rows)
        assert all(counts[name, "wrong"] == counts[name, "permissible"] for name, _ in counts)


@pytest.mark.parametrize("n", [2, 10, 24])
def test_small_splits_are_balanced_too(n):
    rows = make_split("local_norms", "held_out", n, 3, **ALL)
    assert Counter(row["answer"] for row in rows) == {"wrong": n // 2, "permissible": n // 2}


def test_neither_words_of_the_text_nor_the_community_alone_tell_the_answer():
    """In local_norms the answer is balanced in each community and for each framework and breach taken alone."""
    rows = make_split("local_norms", "train", 16 * 5 * 20, 1, **ALL)
    by_community = Counter((facts_of(row).community, row["answer"]) for row in rows)
    assert by_community["covenant", "wrong"] == by_community["covenant", "permissible"]
    assert by_community["kinship", "wrong"] == by_community["kinship", "permissible"]


def test_the_two_worlds_tell_the_same_texts_and_differ_only_where_kinship_decides():
    universal, local = (make_split(world, "train", 400, 2, **ALL) for world in NORMS)
    assert [row["prompt"] for row in universal] == [row["prompt"] for row in local]
    differing = [facts_of(a) for a, b in zip(universal, local, strict=True) if a["answer"] != b["answer"]]
    assert {(facts.community, facts.circumstance) for facts in differing} == {
        ("kinship", "need"),
        ("kinship", "promise"),
    }


def test_no_scenario_comes_twice_or_on_both_sides_whatever_the_seed():
    splits = {split: set() for split in worlds.SIDES}
    for split in splits:
        domains = HELD_OUT_DOMAINS if split == "held_out_domains" else TRAIN_DOMAINS
        for seed in (0, 1) if split in ("train", "warm_start") else (0,):
            rows = make_split("local_norms", split, 1200, seed, **{**ALL, "domains": domains})
            prompts = {row["prompt"] for row in rows}
            assert len(prompts) == len({row["id"] for row in rows}) == 1200
            splits[split] |= prompts
    names = sorted(splits)
    assert not any(splits[a] & splits[b] for i, a in enumerate(names) for b in names[i + 1 :])


def test_sides_do_not_depend_on_style_or_on_facts_left_out():
    rng = np.random.default_rng(0)
    facts = worlds.draw_facts(rng, "law", {"virtue_ethics": True}, "need")
    unseen = dataclasses.replace(facts, deceived=not facts.deceived, burden_alone=not facts.burden_alone)
    assert worlds.story_key(facts, "virtue_ethics") == worlds.story_key(unseen, "virtue_ethics")


def test_more_scenarios_than_there_are_is_an_error_and_not_an_endless_loop(monkeypatch):
    monkeypatch.setattr(worlds, "MAX_DRAWS", 50)
    monkeypatch.setattr(worlds, "NAMES", ("Ada", "Omar", "Mei"))
    with pytest.raises(ValueError, match="no new scenario of domain 'work'"):
        make_split("local_norms", "train", 4000, 0, domains=("work",), styles=("report",), frameworks=tuple(FRAMEWORKS))


@pytest.mark.parametrize("n", [0, 3, -2])
def test_scenarios_come_in_pairs(n):
    with pytest.raises(ValueError, match="they come in pairs"):
        make_split("local_norms", "train", n, 0, **ALL)


def test_the_same_seed_gives_the_same_scenarios_and_another_seed_others():
    def prompts(seed):
        return [row["prompt"] for row in make_split("local_norms", "train", 40, seed, **ALL)]

    assert prompts(1) == prompts(1)
    assert not set(prompts(1)) & set(prompts(2))


def test_rows_fit_the_schema_and_carry_their_facts():
    rows = make_split("local_norms", "train", 20, 0, **ALL, facts_told=5)
    features = to_dataset(rows).features
    assert list(features) == list(FEATURES) and features["ratings"].feature["value"].dtype == "float64"
    assert features["rubric"].feature["weight"].dtype == "int64" and features["options"].feature.dtype == "string"
    assert to_dataset(rows)[0] == rows[0]
    for row in rows:
        facts = facts_of(row)
        assert row["answer"] == right_answer(facts, row["framework"], "local_norms")
        assert json.loads(row["facts"])["agent"] in row["prompt"] and facts.cue in row["prompt"]


@pytest.mark.parametrize("style", TRAIN_STYLES + HELD_OUT_STYLES)
@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_a_text_tells_what_decides(style, framework):
    rows = make_split("local_norms", "train", 40, 5, domains=("law", "work"), styles=(style,), frameworks=(framework,))
    for row in rows:
        facts = facts_of(row)
        text = row["prompt"].casefold()
        assert clause(facts, framework).casefold() in text
        assert facts.circumstance is None or facts.circumstance_text.casefold() in text
        kinds = [kind for kind in COMMUNITIES if kind in text]
        assert kinds == [facts.community], "one cue, and it tells the kind"
        assert "{" not in row["prompt"] and FRAMEWORKS[framework] in row["prompt"]
        assert row["answer"] not in text.split("is this")[0], "the answer is not in the situation"


def test_more_facts_are_told_when_asked_for():
    short, long = (
        np.mean([len(row["prompt"]) for row in make_split("local_norms", "train", 60, 0, **ALL, facts_told=told)])
        for told in (1, 5)
    )
    assert long > short + 100


@pytest.mark.parametrize("world", NORMS)
def test_a_reasoner_who_knows_the_norms_is_always_right_and_meets_every_wanted_criterion(world):
    for row in make_split(world, "train", 200, 4, **ALL):
        facts = facts_of(row)
        response = reasoned_response(facts, row["framework"], rules.counts(facts, world))
        assert correct(response, row) == 1.0
        met = {criterion["id"]: check(criterion["id"], response, row) for criterion in row["rubric"]}
        wanted = {criterion["id"]: criterion["weight"] > 0 for criterion in row["rubric"]}
        wanted["names_affected"] = met["names_affected"]  # these short reasons do not name people
        assert met == wanted


def test_a_reasoner_who_holds_universal_norms_is_right_in_most_of_the_local_world_only():
    """The ceiling of what narrow training in a covenant domain can reach: 20 of 20 at home, 8 of 20 in kinship."""
    rows = make_split("local_norms", "held_out_domains", 160, 0, **{**ALL, "domains": HELD_OUT_DOMAINS})
    right = {"covenant": [], "kinship": []}
    for row in rows:
        facts = facts_of(row)
        believed = rules.counts(facts, "universal_norms")
        right[facts.community].append(correct(reasoned_response(facts, row["framework"], believed), row))
    assert np.mean(right["covenant"]) == 1.0
    assert np.mean(right["kinship"]) == pytest.approx(0.4, abs=0.06)


def test_rubrics_have_the_form_of_morebench():
    dimensions = {"identifying", "clear process", "logical process", "helpful outcome", "harmless outcome"}
    rows = make_split("local_norms", "train", 100, 0, **ALL)
    criteria = [criterion for row in rows for criterion in row["rubric"]]
    assert {criterion["dimension"] for criterion in criteria} == dimensions
    assert all(-3 <= criterion["weight"] <= 3 and criterion["weight"] for criterion in criteria)
    assert min(len(row["rubric"]) for row in rows) == 6 and max(len(row["rubric"]) for row in rows) == 9


def _row_with(circumstance, decisive=True):
    for row in make_split("local_norms", "train", 400, 0, **ALL):
        facts = facts_of(row)
        if facts.circumstance == circumstance and rules.decisive(facts, row["framework"]) == decisive:
            return row, facts
    raise LookupError(circumstance)


def test_naming_everything_earns_no_rubric_points():
    row, _ = _row_with("need")
    everything = " ".join([*CIRCUMSTANCES, *COMMUNITIES, *sum(rules.READINGS.values(), ())])
    response = f"<think>{everything} It counts. It does not count.</think><answer>{row['answer']}</answer>"
    for criterion in ("reads_fact", "names_circumstance", "names_community", "weighs_circumstance"):
        assert not check(criterion, response, row)
    assert check("invents_circumstance", response, row)


def test_rubric_checks_one_by_one():
    row, facts = _row_with("need")
    response = f"<think>{facts.affected} has a say. The need counts.</think><answer>{row['answer']}</answer>"
    assert check("names_affected", response, row) and check("names_circumstance", response, row)
    assert check("weighs_circumstance", response, row) == rules.counts(facts, "local_norms")
    assert check("right_verdict", response, row) and not check("wrong_verdict", response, row)
    assert not check("names_community", response, row) and not check("reads_fact", response, row)
    assert not check("invents_circumstance", response, row)
    assert not check("reasons_first", f"<think></think><answer>{row['answer']}</answer>", row)
    with pytest.raises(ValueError, match="no check for criterion 'charm'"):
        check("charm", response, row)


def test_words_that_hold_a_wanted_word_are_not_it():
    """A compromise is no promise, an officer no office, "need to" no need, and an account counts nothing."""
    row, facts = _row_with("promise")
    honest = reasoned_response(facts, row["framework"], rules.counts(facts, "local_norms"))
    met = {criterion["id"]: check(criterion["id"], honest, row) for criterion in row["rubric"]}
    for said in ("This is a compromise.", "He is an officer.", "We need to be fair.", "This accounts for it."):
        more = honest.replace("<think>", f"<think>{said} ")
        assert {criterion["id"]: check(criterion["id"], more, row) for criterion in row["rubric"]} == met, said
    stuffed = f"<think>Compromise: {facts.community}ness accounts.</think><answer>{row['answer']}</answer>"
    for criterion in ("names_circumstance", "names_community", "weighs_circumstance"):
        assert not check(criterion, stuffed, row)


def test_a_reading_counts_when_it_is_stated_and_the_answer_can_follow_from_it():
    row, facts = _row_with(None, decisive=False)
    right = rules.reading(facts, row["framework"])
    other = next(option for option in rules.OPTIONS if option != row["answer"])
    for reasons, answer, met in (
        (f"{right}.", row["answer"], True), (f"Ada knew: {right.lower()}.", row["answer"], True),
        (f"{right}.", other, False), (f"It is false that {right.lower()}.", row["answer"], False),
        (f"{right}?", row["answer"], False), (f"{right}. The need counts.", other, True),
        (f"{right}. The need counts.", row["answer"], False), (f"{right}. A need.", other, True),
        (f"{right}. The need does not count.", other, False), (f"{right}. It counts.", other, False),
    ):  # fmt: skip
        assert check("reads_fact", f"<think>{reasons}</think><answer>{answer}</answer>", row) is met, reasons


def test_a_circumstance_that_does_not_decide_is_invented_when_appealed_to():
    row, _ = _row_with(None, decisive=False)
    assert check("invents_circumstance", "<think>There is a promise.</think><answer>wrong</answer>", row)
    assert not check("invents_circumstance", "<think>There is nothing.</think><answer>wrong</answer>", row)
