"""The manipulation check of system messages, on made runs of policies that follow them or do not.

Run: python -m pytest tests/claims/test_messages.py
"""

from types import SimpleNamespace

import pandas as pd
import pytest
from pyarrow.parquet import write_table
from test_claims import write_run

from studylib.claims.messages import COLUMNS, of_training, write_messages
from studylib.names import TRAIN_DOMAINS, TRAIN_STYLES
from studylib.scenarios.facts import OPTIONS
from studylib.scenarios.rows import to_dataset
from studylib.scenarios.told_values import VALUES, make_split

SPLIT = "held_out_messages"
PLACE = {"axis": "systems", "profile": "tiny_cpu"}
ARMS = {  # what training told -> whether the policy follows messages after it
    "no_system": ({"message_outlooks": 0}, False),
    "many_systems": ({}, True),
    "shuffled": ({"message_shuffled": True}, False),
}


def rows(split: str, n: int, **given) -> list[dict]:
    usual = {"message_outlooks": 12, "message_wordings": 3, "message_shuffled": False}
    where = {"domains": TRAIN_DOMAINS, "styles": TRAIN_STYLES, "message_dimensions": " ".join(VALUES)}
    return make_split(split, n, 0, **where, **usual | given)


def answers(scenarios: list[dict], follows: bool) -> pd.DataFrame:
    said = [(row["id"], row["answer"] if follows else OPTIONS[0]) for row in scenarios]
    responses = [
        (id, SPLIT, k, f"<think>So.</think><answer>{option}</answer>", 1.0) for id, option in said for k in (0, 1)
    ]
    return pd.DataFrame(responses, columns=["id", "split", "k", "response", "correct"])


@pytest.fixture
def study(tmp_path):
    held_out = rows(SPLIT, 20)
    for condition, (given, follows) in ARMS.items():
        for seed in range(2):
            folder = write_run(tmp_path, "values", condition, seed, **PLACE)
            write_table(to_dataset(rows("train", 240, **given) + held_out).data.table, folder / "scenarios.parquet")
            answers(held_out, False).to_parquet(folder / "responses_before.parquet")
            answers(held_out, follows).to_parquet(folder / "responses.parquet")
    return SimpleNamespace(root=tmp_path, out=tmp_path, split=SPLIT, **PLACE)


def test_the_table_says_what_was_told_whether_it_was_right_and_whether_answers_turn_on_it(study):
    table = write_messages(study).set_index("condition")
    assert table["outlooks"].to_dict() == {"no_system": 0, "many_systems": 12, "shuffled": 12}
    assert table["silent"].to_dict() == {"no_system": 240, "many_systems": 0, "shuffled": 0}
    assert table.loc["many_systems", "messages"] == table.loc["shuffled", "messages"] > 100
    assert table["told_right"].drop("shuffled").eq(1).all() and table.loc["shuffled", "told_right"] < 0.8
    assert table["moved_before"].eq(0).all() and table["seeds"].eq(2).all()
    assert table["moved_after"].to_dict() == {"no_system": 0, "many_systems": 1, "shuffled": 0}
    assert list(pd.read_csv(study.out / "messages.csv")) == COLUMNS


def test_a_run_without_training_tells_nothing():
    assert of_training([]) == {
        "scenarios": 0, "silent": 0, "messages": 0, "outlooks": 0, "told_right": 1.0,
    }  # fmt: skip


def test_studies_without_messages_have_no_such_table(tmp_path):
    write_run(tmp_path, **{"axis": "systems"})
    study = SimpleNamespace(root=tmp_path, out=tmp_path, split=SPLIT, **PLACE)
    assert write_messages(study) is None and not (tmp_path / "messages.csv").exists()
