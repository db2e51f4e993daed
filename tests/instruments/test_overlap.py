"""What published data bring along: by hand on a few rows, and on the real files, whose figures the README has."""

import json
from pathlib import Path

import pytest
from published import real_rows, write

from studylib.instruments.overlap import competing, longer_is_right, overlap, ranked_before, scene, seen_scenes
from studylib.scenarios.sources import load_source

README = " ".join((Path(__file__).resolve().parents[2] / "docs/data.md").read_text().split())


def utilitarianism(folder: Path, train: str, test: str) -> list[list[dict]]:
    header = "baseline,less_pleasant\n"
    write(folder, {"utilitarianism_train.csv": header + train, "utilitarianism_test.csv": header + test})
    return [load_source("ethics_utilitarianism", split, str(folder)) for split in ("train", "held_out")]


def test_the_two_texts_of_a_question_come_back_right_one_first(tmp_path):
    _, rows = utilitarianism(tmp_path, "x,y\n", "Tea.,No tea.\nb,a\n")
    assert [competing(row) for row in rows] == [("Tea.", "No tea."), ("b", "a")]
    text = "scenario_id,generation_rule,context,action1,action2\nC_1,Do not kill,It is late.,I swim.,I wait.\n"
    write(tmp_path, {"low_ambiguity.csv": text})
    (row,) = load_source("moralchoice", "held_out", str(tmp_path))
    assert competing(row) == ("I swim.", "I wait.")


def test_a_pair_is_shared_when_training_ranks_one_of_its_texts(tmp_path):
    train = "rest,work\nsun,rain\nrain,hail\n"
    test = (
        "work,fall\n"  # worse in training, better here
        "jump,rest\n"  # better there, worse here
        "sun,hail\n"  # as there
        "rain,storm\n"  # both in training: it says nothing
        "run,swim\n"
    )
    assert ranked_before(*utilitarianism(tmp_path, train, test)) == {
        "pairs": 5, "shared": 4, "inverted": 2, "right": 1,
    }  # fmt: skip


def test_a_scene_is_seen_when_training_asks_it_with_another_trait(tmp_path):
    write(tmp_path, {
        "virtue_train.csv": "label,scenario\n0,Ada paid. [SEP] mean\n1,Ada paid. [SEP] fair\n0,Bo hid. [SEP] bold\n",
        "virtue_test.csv": "label,scenario\n1,Ada paid. [SEP] just\n0,Ada paid. [SEP] rude\n0,Bo hid. [SEP] calm\n"
                           "1,Cy sang. [SEP] glad\n",
    })  # fmt: skip
    splits = [load_source("ethics_virtue", split, str(tmp_path)) for split in ("train", "held_out")]
    assert scene(splits[0][0]) == "Ada paid."
    assert seen_scenes(*splits) == {
        "rows": 4, "rows_seen": 3, "scenes": 3, "scenes_seen": 2, "scenes_fitting": 1,
    }  # fmt: skip


def test_the_longer_text_is_right_in_a_share_of_those_that_differ(tmp_path):
    _, rows = utilitarianism(tmp_path, "x,y\n", "long one,short\nbig one,tiny\nno,never\nab,cd\n")
    assert longer_is_right(rows) == pytest.approx(2 / 3)


def test_the_table_has_every_count_of_a_folder_of_data(tmp_path):
    utilitarianism(tmp_path, "rest,work\n", "big one,rest\nno,never\n")
    virtue = "label,scenario\n1,Ada paid. [SEP] {}\n"
    write(tmp_path, {"virtue_train.csv": virtue.format("fair"), "virtue_test.csv": virtue.format("just")})
    header = "scenario_id,generation_rule,context,action1,action2\n"
    write(tmp_path, {"low_ambiguity.csv": f"{header}C_1,Do not kill,It is late.,I swim fast.,I wait.\n"})
    table = overlap(str(tmp_path)).set_index(["source", "measure"]).value
    assert table["ethics_utilitarianism", "pairs"] == 2 and table["ethics_utilitarianism", "inverted"] == 1
    assert table["ethics_virtue", "scenes_seen"] == 1 and table["moralchoice", "longer_is_right"] == 1.0
    assert table["ethics_utilitarianism", "longer_is_right"] == 0.5


def test_what_the_readme_says_of_the_real_data(data_dir):
    def both(source):
        return [real_rows(source, split, data_dir) for split in ("train", "held_out")]

    pairs = ranked_before(*both("ethics_utilitarianism"))
    assert pairs == {"pairs": 4802, "shared": 1633, "inverted": 1308, "right": 270}
    assert "1,633 of 4,802 held-out pairs share a text with training, and in 1,308 of them" in README
    assert seen_scenes(*both("ethics_virtue")) == {
        "rows": 4975, "rows_seen": 4380, "scenes": 995, "scenes_seen": 876, "scenes_fitting": 0,
    }  # fmt: skip
    assert "876 of 995 held-out scenes (4,380 of 4,975 rows) are in training with other traits" in README
    rows = real_rows("moralchoice", "held_out", data_dir)
    rules = {}
    for row in rows:
        rules.setdefault(json.loads(row["facts"])["rule"], []).append(row)
    by_rule = sorted(map(longer_is_right, rules.values()))
    assert longer_is_right(rows) == pytest.approx(0.543, abs=5e-4)
    assert (by_rule[0], by_rule[-1]) == pytest.approx((0.203, 0.873), abs=5e-4)
    assert "the longer text is right in 54 %, by rule in 20 to 87 %" in README
