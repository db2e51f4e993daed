"""The example of docs/extend.md for a source: fifteen lines in one file, and everything knows it."""

import pandas as pd
import pytest
from extend import add_example, example

from studylib.names import SOURCES
from studylib.params import RunParams
from studylib.run import run
from studylib.scenarios.selection import describe, select
from studylib.scenarios.sources import load_source


@pytest.fixture(autouse=True)
def promises(tmp_path, monkeypatch):
    add_example("source", tmp_path, monkeypatch)


def test_a_source_takes_fifteen_lines_in_one_file():
    assert len(example("source").splitlines()) <= 15 and "promises" in SOURCES


def test_its_rows_are_scenarios_of_which_none_is_in_both_splits():
    train, held_out = (load_source("promises", split) for split in ("train", "held_out"))
    assert len(train) == len(held_out) == 4 and not {r["id"] for r in train} & {r["id"] for r in held_out}
    assert {(row["source"], row["split"], row["answer"]) for row in train} == {
        ("promises", "train", "right"), ("promises", "train", "wrong"),
    }  # fmt: skip
    with pytest.raises(ValueError, match="promises sets no part aside for a judge"):
        load_source("promises", "judge")


def test_a_run_selects_from_it_and_is_refused_what_it_has_not():
    params = RunParams(source="promises", eval_scenarios=4)
    splits = select(params)
    assert not params.is_world and params.has_options and len(splits["train"]) == params.train_prompts
    assert describe(splits).set_index("split").loc["held_out", "base rate"] == 0.5
    with pytest.raises(ValueError, match="n_domains = 3 is not allowed: 12, because source 'promises' has none"):
        RunParams(source="promises", n_domains=3)
    with pytest.raises(ValueError, match="did you mean promises"):
        RunParams(source="promise")


def test_a_run_is_trained_and_evaluated_on_it(miniature):
    folder = run(miniature(source="promises"))
    assert set(pd.read_parquet(folder / "scenarios.parquet").source) == {"promises"}
