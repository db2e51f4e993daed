"""What the policies said: reasons in numbers, answers side by side."""

import math

import pandas as pd
import pytest
from embedded_rows import scenarios

from studylib.claims.answers import EXCHANGES, exchanges, page, reasons
from studylib.runs.read import WARM_START
from studylib.scenarios.facts import facts_of
from studylib.scenarios.telling import reasoned_response

ROWS = scenarios(6)
WELL, WORDY = "<think>{}</think><answer>{}</answer>", "one two three four five six seven eight"


def answered(world: str, condition: str, seed: int, says, k=(0, 1, 2), rows=ROWS) -> pd.DataFrame:
    """What a policy says to every scenario; says: (row, k) -> response."""
    table = pd.DataFrame([
        {**row, "split": "held_out", "k": i, "response": says(row, i), "correct": float(row["answer"] in says(row, i))}
        for row in rows for i in k
    ])  # fmt: skip
    return table.assign(world=world, condition=condition, seed=seed)


def alike(row, k):
    return WELL.format("so it is", "wrong")


def wordy(row, k):
    return WELL.format(f"{WORDY} {row['id']} {k}", ("wrong", "permissible")[k % 2])


def reasoned(row, k):
    return reasoned_response(facts_of(row), row["framework"], True)


def repeating(row, k):
    return WELL.format("a b " * 300, "wrong")


def unlike(row, k):
    return WELL.format(" ".join(f"{row['id']}x{k}x{i}" for i in range(600)), "wrong")


def both(before, after) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The answers of two conditions with two seeds."""
    runs = [("narrow", 0), ("narrow", 1), ("broad", 0), ("broad", 1)]
    return tuple(pd.concat([answered("local_norms", *run, says) for run in runs]) for says in (before, after))


def test_reasons_of_every_run_and_of_the_warm_start_once_per_world():
    table = reasons(*both(alike, wordy), "held_out").set_index(["condition", "seed"])
    assert list(table.index) == [("broad", 0), ("broad", 1), ("narrow", 0), ("narrow", 1), (WARM_START, -1)]
    assert table.loc[(WARM_START, -1), "words"] == 3 and table.loc[("broad", 0), "words"] == 10
    assert table.loc[(WARM_START, -1), "decision_entropy"] == 0, "every sample decides alike"
    assert table.loc[("broad", 0), "decision_entropy"] == 1, "one bit: two samples, two decisions"
    assert (table["readable"] == 1).all() and (table["readable_leniently"] == 1).all()
    assert table["distinct_2"].isna().all(), "too few words for the budget"


def test_distinct_pairs_of_words_are_counted_at_a_fixed_budget():
    table = reasons(*both(repeating, unlike), "held_out").set_index("condition")
    assert table.loc[WARM_START, "distinct_2"] == pytest.approx(2 / 1996), "a b, b a; texts of 600, 600, 600 and 200"
    assert (table.loc["broad", "distinct_2"] == 1).all()


def test_faithful_reasons_are_told_from_others():
    table = reasons(*both(alike, reasoned), "held_out").set_index("condition")
    assert table.loc[WARM_START, "faithful"] == 0 and (table.loc["broad", "faithful"] == 1).all()


def test_answers_that_lost_their_form_are_read_by_the_lenient_reader_alone():
    table = reasons(*both(alike, lambda row, k: "It is wrong."), "held_out").set_index("condition")
    assert (table.loc["broad", "readable"] == 0).all() and (table.loc["broad", "readable_leniently"] == 1).all()


def test_nothing_is_known_of_what_decides_published_questions():
    rows = [row | {"source": "ethics_virtue", "facts": '{"line": 3}'} for row in ROWS]
    before, after = (answered("ethics_virtue", "grpo", 0, says, rows=rows) for says in (alike, wordy))
    assert reasons(before, after, "held_out")["faithful"].isna().all()


def test_the_same_scenarios_are_read_in_every_condition_before_and_after():
    table = exchanges(*both(alike, wordy), "held_out", n=4)
    assert list(table.columns) == EXCHANGES and len(table) == 8 and set(table["seed"]) == {0}
    ids = table.groupby("condition")["id"].apply(list)
    assert ids["broad"] == ids["narrow"] == [row["id"] for row in ROWS[:4]]
    assert set(table["before"]) == {alike(None, 1)} and all(text.count("1</think>") for text in table["after"])
    truth = {row["id"]: row["answer"] for row in ROWS}
    assert all(row.right == truth[row.id] and row.before_right == (row.right == "wrong") for row in table.itertuples())


def test_what_is_shown_is_text_whatever_it_says():
    planted = "<script>alert(1)</script>"
    before, after = both(alike, lambda row, k: planted)
    html = page(exchanges(before.assign(prompt=planted), after.assign(prompt=planted), "held_out", n=2))
    assert "<script" not in html and html.count("&lt;script&gt;") == 2 * 2 * 2, "prompt and answer, twice, of two"
    assert html.count("<details>") == 2 and "local_norms, narrow: 2 answers" in html


def test_an_answer_that_could_not_be_scored_is_neither_right_nor_wrong():
    before, after = both(alike, wordy)
    html = page(exchanges(before, after.assign(correct=math.nan), "held_out", n=1))
    assert "after –" in html and "0 after" in html
