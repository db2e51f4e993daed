"""The world told_values: what is right under a message follows from facts and values, and a held-out message is one.

Run: python -m pytest tests/scenarios/test_told_values.py
"""

import itertools
from collections import Counter

import numpy as np
import pytest

from studylib.axes import read_axis
from studylib.names import FRAMEWORKS, HELD_OUT_STYLES, TRAIN_DOMAINS, TRAIN_STYLES
from studylib.params import RunParams
from studylib.paths import ROOT
from studylib.randomness import generator
from studylib.rewards.faithful import faithful
from studylib.scenarios import told_values as t
from studylib.scenarios.facts import OPTIONS, facts_of
from studylib.scenarios.prompts import INSTRUCTIONS, Asking, chat
from studylib.scenarios.rows import scenario_row
from studylib.scenarios.selection import select
from studylib.scenarios.vocabulary import CIRCUMSTANCES, DOMAINS
from studylib.scenarios.worked import worked
from studylib.scenarios.worlds import draw_facts
from studylib.text.answers import read_answer

WORLDS = {"values": t.VALUES, "manner": t.MANNER}
CONDITIONS = list(read_axis("systems", ROOT / "params").conditions)


def params(world: str = "values", condition: str = "many_systems", **given) -> RunParams:
    return RunParams.resolve({"axis": "systems", "world": world, "condition": condition, **given})


def texts(rows: list[dict]) -> set[str]:
    return {row["system"] for row in rows}


@pytest.fixture(scope="module")
def chosen() -> dict:
    """(world, condition) -> splits of a run of the study."""
    return {pair: select(params(*pair)) for pair in itertools.product(WORLDS, CONDITIONS)}


# --- the rules ---


def test_the_right_answer_of_every_combination_of_breaches_circumstance_and_outlook():
    """Brute force over 2^5 breaches, five circumstances and sixteen outlooks, against the rules in words."""
    told, held_out = t.outlooks(t.VALUES)
    for flags, circumstance in itertools.product(itertools.product((False, True), repeat=5), (None, *CIRCUMSTANCES)):
        breaches = dict(zip(FRAMEWORKS, flags, strict=True))
        facts = draw_facts(generator(0, "test"), "medicine", breaches, circumstance)
        for outlook in (*told, *held_out):
            wrong = breaches[t.CONCERNS[outlook["concern"]][0]]
            if wrong and circumstance in ("consent", "need") and outlook["excuses"] == "count":
                wrong = False
            elif not wrong and circumstance in ("promise", "office") and outlook["duties"] == "count":
                wrong = True
            assert t.right_answer(facts, outlook) == ("wrong" if wrong else "permissible")


def test_where_nothing_is_told_honesty_weighs_and_excuses_and_duties_count_and_manner_changes_nothing():
    facts = [draw_facts(generator(i, "test"), "law", {}, [None, *CIRCUMSTANCES][i % 5]) for i in range(50)]
    usual = {"concern": "honesty", "excuses": "count", "duties": "count"}
    for outlook in (*itertools.chain(*t.outlooks(t.MANNER)), {}):
        assert all(t.right_answer(one, outlook) == t.right_answer(one, usual) for one in facts)


# --- messages ---


@pytest.mark.parametrize("dimensions", [*WORLDS.values(), ("concern", "excuses"), ("tone", "concern"),
                                        ("concern", "excuses", "duties", "tone"), ("address", "voice")])  # fmt: skip
def test_every_value_is_told_in_training_and_no_held_out_combination_is(dimensions):
    told, held_out = t.outlooks(dimensions)
    every = list(itertools.product(*(t.DIMENSIONS[dimension] for dimension in dimensions)))
    assert sorted(tuple(o.values()) for o in told + held_out) == sorted(every), "each once, on one side"
    assert told[0] == {dimension: t.USUAL[dimension] for dimension in dimensions} and len(held_out) >= 2
    for dimension in dimensions:
        assert {outlook[dimension] for outlook in told} == set(t.DIMENSIONS[dimension])


def test_of_sixteen_outlooks_one_for_each_concern_is_held_out():
    told, held_out = t.outlooks(t.VALUES)
    assert len(told) == 12 and [outlook["concern"] for outlook in held_out] == list(t.CONCERNS)
    assert len({(outlook["excuses"], outlook["duties"]) for outlook in held_out}) == 4, (
        "and each other combination once"
    )


def test_a_message_tells_its_outlook_and_no_other_in_every_wording():
    for dimensions in WORLDS.values():
        for outlook in itertools.chain(*t.outlooks(dimensions)):
            clauses = itertools.product(*(t.DIMENSIONS[dimension][value] for dimension, value in outlook.items()))
            assert all(t.told_by(" ".join(parts)) == outlook for parts in clauses)
    assert t.told_by(None) == {}


@pytest.mark.parametrize("dimensions, message", [
    (("concern", "mood"), "no dimension 'mood' of messages; known: concern, excuses"),
    (("concern",), "messages of 'concern' leave none to hold out: name two or more"),
    (("tone", "tone"), "leave none to hold out"), (("excuses", "duties"), "name it too"),
])  # fmt: skip
def test_messages_that_cannot_be_composed_are_refused(dimensions, message):
    with pytest.raises(ValueError, match=message):
        t.outlooks(dimensions)
    with pytest.raises(ValueError, match="message_dimensions = .* is not allowed: two or more of concern"):
        params(message_dimensions=" ".join(dimensions))


@pytest.mark.parametrize("given, message", [
    ({"message_outlooks": 13}, "message_outlooks = 13 is not allowed: 0 or more, and no more than message_dimensions"),
    ({"message_dimensions": "concern excuses"}, "message_outlooks = 12 is not allowed: .* as some are held out"),
    ({"message_wordings": 4}, "message_wordings = 4 is not allowed: 1..3"),
    ({"condition": "one_system", "message_shuffled": True}, "message_shuffled = True is not allowed: true only where"),
])  # fmt: skip
def test_choices_that_leave_nothing_are_refused_before_anything_costs(given, message):
    with pytest.raises(ValueError, match=message):
        params(**given)


def test_what_this_world_reads_is_refused_elsewhere_and_an_odd_number_of_scenarios_is_too():
    with pytest.raises(ValueError, match="message_outlooks = 1 is not allowed: 12, because source 'local_norms'"):
        RunParams(message_outlooks=1)
    with pytest.raises(ValueError, match="asks for 6 scenarios of told_values; they come in 4s"):
        select(params(eval_scenarios=6))


# --- conditions ---


@pytest.mark.parametrize("world", WORLDS)
def test_conditions_differ_in_what_their_messages_tell_alone(chosen, world):
    """Prompts, answers and, for conditions with messages, words to within 5 %; no_system lacks those of a message."""
    train = {condition: chosen[world, condition]["train"] for condition in CONDITIONS}
    outlooks = {c: {tuple(t.told_by(row["system"]).values()) for row in rows} - {()} for c, rows in train.items()}
    counts = {c: (len(outlooks[c]), len(texts(rows) - {None})) for c, rows in train.items()}
    assert counts == {
        "no_system": (0, 0), "one_system": (1, 1), "many_wordings": (1, 27),
        "many_systems": (12, counts["many_systems"][1]), "many_systems_shuffled": (12, counts["many_systems"][1]),
    }  # fmt: skip
    assert counts["many_systems"][1] > 200
    for rows in train.values():
        assert len({row["prompt"] for row in rows}) == len(rows) == 1920
        assert Counter(row["answer"] for row in rows) == dict.fromkeys(OPTIONS, 960)
    asked = {c: [chat(row, instruct=False)[0]["content"] for row in rows] for c, rows in train.items()}
    words = {c: np.mean([len(text.split()) for text in texts]) for c, texts in asked.items()}
    assert words.pop("no_system") > 0.75 * max(words.values()) and min(words.values()) > 0.95 * max(words.values())
    settings = {c: params(world, c).as_dict() for c in CONDITIONS}
    differing = {name for name in settings["no_system"] if len({s[name] for s in settings.values()}) > 1}
    assert differing == {"condition", "message_outlooks", "message_wordings", "message_shuffled"}


@pytest.mark.parametrize("world", WORLDS)
def test_a_message_of_many_systems_is_the_lesson_and_a_shuffled_one_is_not(chosen, world):
    def told_right(condition):
        rows = chosen[world, condition]["train"]
        return np.mean([t.right_answer(facts_of(row), t.told_by(row["system"])) == row["answer"] for row in rows])

    assert told_right("many_systems") == told_right("one_system") == told_right("no_system") == 1
    shuffled = told_right("many_systems_shuffled")
    assert shuffled == 1 if world == "manner" else shuffled < 0.7, "by chance, and where the usual outlook is told"


def test_conditions_that_are_judged_alike_tell_the_same_stories(chosen):
    """So that a difference between them is one of messages."""
    alike = [c for c in CONDITIONS if c != "many_systems"]
    for one in alike[1:]:
        assert [row["prompt"] for row in chosen["values", one]["train"]] == [
            row["prompt"] for row in chosen["values", alike[0]]["train"]
        ]


@pytest.mark.parametrize("world", WORLDS)
def test_every_message_of_training_sees_both_answers(chosen, world):
    for condition in CONDITIONS:
        given: dict = {}
        for row in chosen[world, condition]["train"]:
            given.setdefault(tuple(t.told_by(row["system"]).items()), Counter()).update([row["answer"]])
        assert all(counts[OPTIONS[0]] == counts[OPTIONS[1]] for counts in given.values())


def test_fewer_outlooks_are_among_more_and_the_usual_one_is_among_any(chosen):
    few = select(params(message_outlooks=4))["train"]
    told = {tuple(t.told_by(row["system"]).values()) for row in few}
    assert len(told) == 4 and ("honesty", "count", "count") in told
    assert told <= {tuple(t.told_by(row["system"]).values()) for row in select(params(message_outlooks=8))["train"]}


# --- evaluation ---


@pytest.mark.parametrize("world", WORLDS)
def test_held_out_messages_are_in_no_training_prompt_and_in_no_demonstration(chosen, world):
    _, held_out = t.outlooks(WORLDS[world])
    asked = chosen[world, "many_systems"]["held_out_messages"]
    assert {tuple(t.told_by(row["system"]).items()) for row in asked} == {tuple(o.items()) for o in held_out}
    said = t.demonstrations(
        2000, 0, domains=tuple(DOMAINS), styles=TRAIN_STYLES + HELD_OUT_STYLES,
        message_dimensions=" ".join(WORLDS[world]),
    )  # fmt: skip
    trained = set().union(*(texts(chosen[world, condition]["train"]) for condition in CONDITIONS))
    assert not texts(asked) & trained
    told = [t.told_by(prompt) for prompt, _ in said]
    assert all(outlook not in held_out for outlook in told) and 0.7 < np.mean([bool(outlook) for outlook in told]) < 0.8
    words = {word for prompt, _ in said for word in prompt.split()}
    assert all(word in words for row in asked for word in row["system"].split()), "known words, unseen combinations"


@pytest.mark.parametrize("split", t.SPLITS[1:])
@pytest.mark.parametrize("world", WORLDS)
def test_evaluation_is_the_same_for_every_condition_and_seed_and_balanced_under_every_message(chosen, world, split):
    rows = chosen[world, "no_system"][split]
    assert all(chosen[world, condition][split] == rows for condition in CONDITIONS)
    assert select(params(world, seed=3))[split] == rows and len({row["id"] for row in rows}) == len(rows)
    under: dict = {}
    for row in rows:
        under.setdefault(row["system"], Counter()).update([row["answer"]])
    assert all(counts[OPTIONS[0]] == counts[OPTIONS[1]] for counts in under.values())
    assert (texts(rows) == {None}) == (split == "held_out_silent")


@pytest.mark.parametrize("split", ["held_out", "held_out_messages"])
def test_whoever_ignores_messages_scores_one_half_where_they_matter_and_may_score_all_elsewhere(chosen, split):
    """Each story is asked about under two messages; every policy that reads the text alone answers both alike."""
    for world, best in (("values", 0.5), ("manner", 1.0)):
        stories: dict = {}
        for row in chosen[world, "many_systems"][split]:
            stories.setdefault(row["prompt"], []).append(row["answer"])
        assert all(len(answers) == 2 for answers in stories.values())
        scores = [max(Counter(answers).values()) / 2 for answers in stories.values()]
        assert set(scores) == {best}, "the best that any text-only policy can do, story by story"


def test_training_warm_start_and_evaluation_share_no_story(chosen):
    told = t.demonstrations(
        1000, 0, domains=TRAIN_DOMAINS, styles=TRAIN_STYLES, message_dimensions=" ".join(t.VALUES)
    )  # fmt: skip
    splits = chosen["values", "many_systems"]
    stories = {name: {t._key(facts_of(row)) for row in rows} for name, rows in splits.items()}
    assert all(not stories[one] & stories[other] for one, other in itertools.combinations(stories, 2))
    prompts = {row["prompt"] for rows in splits.values() for row in rows}
    assert not any(said.endswith(prompt) for said, _ in told for prompt in prompts)


# --- demonstrations and reasons ---


def test_demonstrations_read_rightly_and_are_not_sure_of_the_message():
    """They go by the concern that is told in about half of the cases, and by each other one in a sixth."""
    said = t.demonstrations(3000, 0, domains=TRAIN_DOMAINS, styles=TRAIN_STYLES, message_dimensions=" ".join(t.VALUES))
    followed = Counter()
    for prompt, response in said:
        assert read_answer(response, list(OPTIONS)) and response.startswith("<think>By ")
        told = t.CONCERNS[(t.USUAL | t.told_by(prompt))["concern"]][1]
        named = response.removeprefix("<think>By ").partition(":")[0]
        followed[named == told] += 1
    assert followed[True] / 3000 == pytest.approx(t.FOLLOWED, abs=0.04)


@pytest.mark.parametrize("world", WORLDS)
def test_a_worked_example_is_right_and_faithful_whatever_the_message(chosen, world):
    for rows in chosen[world, "many_systems"].values():
        for row in rows[:80]:
            response = worked(row)
            assert read_answer(response, row["options"]) == row["answer"] and faithful(response, row)


def test_another_concern_or_circumstance_is_not_faithful(chosen):
    for row in chosen["values", "many_systems"]["held_out_messages"]:
        facts = facts_of(row)
        for framework in t.FRAMEWORKS:
            response = t.response(facts, framework, True)
            assert faithful(response, row) == (framework == row["framework"])
        untold = next(name for name in CIRCUMSTANCES if name != facts.circumstance)
        assert not faithful(worked(row).replace(". ", f". The case of {untold} counts. ", 1), row)


# --- what the model sees ---


def test_the_message_is_in_the_system_turn_of_an_instruct_model_and_at_the_head_of_the_tiny_ones_prompt():
    row = {"system": "Put honesty before the rest.", "prompt": "Ada lied.", "options": ["yes", "no"]}
    plain = row | {"system": None}
    assert chat(row, instruct=False) == [{"role": "user", "content": "Put honesty before the rest. Ada lied."}]
    system, asked = chat(row, instruct=True)
    assert system == {"role": "system", "content": f"{row['system']} {INSTRUCTIONS[0]}"}
    assert [asked] == chat(plain, instruct=True)[1:]
    open_row = row | {"options": None}
    instruction, asked = chat(open_row, True)
    assert instruction["content"].startswith(row["system"]) and asked["content"] == "Ada lied."
    shown = chat(plain, True, Asking(0, ((row, "So."),)))
    assert shown[0] == chat(plain, True)[0] and shown[1]["content"].startswith("Put honesty before the rest. Ada lied.")


def test_a_row_without_a_message_is_asked_and_named_as_before():
    fields = {"source": "mine", "split": "train", "prompt": "Ada lied.", "options": ["yes", "no"], "answer": "no"}
    without, one, other = (scenario_row(**fields, **given) for given in ({}, {"system": "A."}, {"system": "B."}))
    assert len({without["id"], one["id"], other["id"]}) == 3 and without["id"] == "4a792655dbf8da89", "its id of before"
    older = {name: value for name, value in without.items() if name != "system"}
    assert all(chat(older, instruct) == chat(without, instruct) for instruct in (True, False))
