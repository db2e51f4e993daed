"""The story of a run: told of a folder made by hand, in which every number is known."""

import json
from pathlib import Path

import pandas as pd
import pytest

from studylib.demo import story
from studylib.scenarios import worlds
from studylib.scenarios.vocabulary import HELD_OUT_DOMAINS

SPLITS = ("held_out", "held_out_domains", "held_out_styles")


def answer(row: dict, right: bool, reasons: str) -> str:
    wrong = next(option for option in row["options"] if option != row["answer"])
    return f"<think>{reasons}</think><answer>{row['answer'] if right else wrong}</answer>"


def circumstance(row: dict) -> str | None:
    return json.loads(row["facts"])["circumstance"]


def run_folder(folder: Path, source: str = "local_norms", reasons: str = "{name} {k}.", reversed_: str = "") -> Path:
    """Before training every answer is wrong; after it all are right but those on the first scenario of each split.

    reversed_: a circumstance in which the answers stay wrong.
    """
    rows = [
        row | {"split": split}
        for split in SPLITS
        for row in worlds.make_split(
            source,
            "held_out_domains",
            80,
            0,
            domains=HELD_OUT_DOMAINS,
            styles=("report",),
            frameworks=("kantian_deontology",),
        )
    ]
    firsts = {split: next(row["id"] for row in rows if row["split"] == split) for split in SPLITS}
    table = pd.DataFrame(rows)
    table.to_parquet(folder / "scenarios.parquet")
    for name, better in (("responses_before", False), ("responses", True)):
        right = [better and row["id"] != firsts[row["split"]] and circumstance(row) != reversed_ for row in rows]
        answers = [
            (row["id"], row["split"], k, answer(row, good, reasons.format(name=name, k=k)), float(good))
            for row, good in zip(rows, right, strict=True)
            for k in range(2)
        ]
        pd.DataFrame(answers, columns=["id", "split", "k", "response", "correct"]).to_parquet(
            folder / f"{name}.parquet"
        )
    stages = {
        "before": {"accuracy_sampled": 0.0, "base_rate": 0.5},
        "after": {"accuracy_sampled": 0.95, "base_rate": 0.5},
    }
    (folder / "summary.json").write_text(json.dumps({"splits": dict.fromkeys(SPLITS, stages)}))
    config = {"source": source, "n_domains": 12, "objective": "grpo", "steps": 120}
    (folder / "config.json").write_text(json.dumps(config))
    return folder


def test_the_story_has_accuracies_beside_chance_and_answers_right_and_wrong(tmp_path):
    text = story(run_folder(tmp_path))
    assert "In this world, which excuses and duties count depends on the kind of community." in " ".join(text.split())
    assert text.count(" 0%  ->   95%") == 3 and "chance is 50%" in text
    assert "before WRONG  <think>responses_before 0." in text and "after  right  <think>responses 0." in text
    assert "after  WRONG  <think>responses 0." in text, "one answer that training did not put right"


def test_the_story_says_what_was_learnt_and_what_was_not(tmp_path):
    learnt, _, rest = story(run_folder(tmp_path)).partition("What it did not learn:")
    assert "no circumstance, " in learnt.partition("What it learnt")[2]
    assert "100% (before: 100%) of the reasons do not say whether it counts" in rest
    assert str(tmp_path) in rest and "make study" in rest


def test_kinds_that_ended_well_below_chance_stand_as_learnt_the_wrong_way_round(tmp_path):
    text = story(run_folder(tmp_path, reversed_="need"))
    learnt, _, rest = text.partition("What it learnt the wrong way round:\n")
    reversed_, _, others = rest.partition("What it did not learn:")
    assert reversed_.splitlines() and all("  need, " in line for line in reversed_.splitlines())
    assert "need, " not in learnt.partition("What it learnt:")[2] and "need, " not in others
    assert "the wrong way round" not in story(run_folder(tmp_path))


@pytest.mark.parametrize("weight", ["counts", "does not count"])
def test_reasons_that_weigh_the_circumstance_wrongly_are_given_in_full(tmp_path, weight):
    text = story(run_folder(tmp_path, reasons=f"The excuse of need {weight}."))
    assert " 0% (before: 0%) of the reasons do not say whether it counts" in text


def test_a_run_on_real_scenarios_has_no_story(tmp_path):
    folder = run_folder(tmp_path)
    (folder / "config.json").write_text(json.dumps({"source": "ethics_justice"}))
    with pytest.raises(ValueError, match="the story is that of an embedded world, not of source 'ethics_justice'"):
        story(folder)
