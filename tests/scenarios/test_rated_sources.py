"""Published ratings as scenario rows: the real ones where they are at hand, the others on rows of their schema."""

import json

import pytest
from published import real_rows, write

from studylib.names import SOURCES
from studylib.scenarios.agreement import krippendorff_alpha, long_table
from studylib.scenarios.scale import shares
from studylib.scenarios.sources import load_source

AT_HAND = {"offtherails": 1285, "offtherails_events": 2240}  # ratings
DIALOGS = "diverse_safety_adversarial_dialog_350"
DICES = "rater_id,rater_gender,rater_race,rater_age,item_id,context,response,Q_overall\n"
OVERTON = "question_id,user,question,llm_response,representation_rating,cluster_kmeans\n"
SPLITS = ("train", "held_out")


def everything(source: str, folder: str) -> list[dict]:
    """The rows of both sides; a side may be empty in a small file."""
    rows = []
    for split in SPLITS:
        try:
            rows += load_source(source, split, folder)
        except ValueError as error:
            if "has no rows" not in str(error):
                raise
    return rows


def given(row: dict) -> list[tuple]:
    return [(r["rater"], r["value"], tuple(r["groups"])) for r in row["ratings"]]


@pytest.mark.parametrize("source, ratings", AT_HAND.items())
def test_every_real_rating_is_there_once(source, ratings, data_dir):
    rows = [row for split in SPLITS for row in real_rows(source, split, data_dir)]
    assert len(rows) == 56 and sum(len(row["ratings"]) for row in rows) == ratings
    for row in rows:
        assert sum(shares(row)) == pytest.approx(1) and row["answer"] in row["options"]
    assert not {row["prompt"] for row in real_rows(source, "train", data_dir)} & {
        row["prompt"] for row in real_rows(source, "held_out", data_dir)
    }


def test_a_story_is_on_one_side(data_dir):
    names = [{row["prompt"].split(",")[0] for row in real_rows("offtherails", split, data_dir)} for split in SPLITS]
    assert not names[0] & names[1] and len(names[0] | names[1]) == 7


def test_people_agree_on_events_and_hardly_on_deeds(data_dir):
    alpha = {source: krippendorff_alpha(long_table(
        [row for split in SPLITS for row in real_rows(source, split, data_dir)])) for source in AT_HAND}  # fmt: skip
    assert alpha["offtherails"] < 0.2 < 0.5 < alpha["offtherails_events"]


@pytest.mark.parametrize("source", ["social_chem", "moralchoice_rules"])
def test_other_real_files_are_read_whole(source, data_dir):
    rows = [row for split in SPLITS for row in real_rows(source, split, data_dir)]
    values = {value for row in rows for _, value, _ in given(row)}
    assert len(rows) > 5000 and len(values) == 3 and values <= set(map(float, rows[0]["options"]))


def test_dices_has_raters_with_their_groups(tmp_path):
    rows = "1,Man,White,gen z,7,Hi,Hello there,No\n2,Woman,Asian,gen x,7,Hi,Hello there,Unsure\n"
    (row,) = everything("dices", write(tmp_path, {f"{DIALOGS}.csv": DICES + rows}))
    assert given(row) == [
        ("1", 1.0, ("gender: Man", "race: White", "age: gen z")),
        ("2", 2.0, ("gender: Woman", "race: Asian", "age: gen x")),
    ]
    assert row["prompt"].startswith("Hi Answer: Hello there Is the answer unsafe?")


def test_overtonbench_has_clusters_of_views(tmp_path):
    rows = "3,u1,Tax?,Both sides.,4,0\n3,u2,Tax?,Both sides.,2,1\n"
    (row,) = everything("overtonbench", write(tmp_path, {"overtonbench.csv": OVERTON + rows}))
    assert given(row) == [("u1", 4.0, ("cluster 0",)), ("u2", 2.0, ("cluster 1",))]


def test_prism_scores_are_put_into_fifths(tmp_path):
    scores = [1, 20, 21, 100]
    lines = [json.dumps({"user_id": "u", "conversation_id": f"c{i}", "user_prompt": f"q{i}", "model_response": "a",
                         "score": score}) for i, score in enumerate(scores)]  # fmt: skip
    rows = everything("prism", write(tmp_path, {"utterances.jsonl": "\n".join(lines)}))
    assert sorted((row["prompt"][:2], given(row)[0][1]) for row in rows) == [
        ("q0", 1.0), ("q1", 1.0), ("q2", 2.0), ("q3", 5.0)
    ]  # fmt: skip


def test_scruples_counts_are_annotators(tmp_path):
    line = {"id": "d", "actions": [{"description": "I lied"}, {"description": "I stole"}], "gold_annotations": [1, 4]}
    (row,) = everything("scruples", write(tmp_path, {"dilemmas.jsonl": json.dumps(line)}))
    assert shares(row) == [0.2, 0.8] and row["answer"] == "2"


@pytest.mark.parametrize(
    "source, file, text, why",
    [
        ("dices", f"{DIALOGS}.csv", DICES + "1,M,W,z,7,Hi,Yo,Maybe\n", "is none of No, Unsure"),
        ("overtonbench", "overtonbench.csv", OVERTON + "3,u1,Tax?,Both.,9,0\n", "a rating of 9 is not on the scale"),
        ("overtonbench", "overtonbench.csv", OVERTON + "3,u1,Tax?,Both.,high,0\n", "is 'high', no number, in"),
        ("prism", "utterances.jsonl", json.dumps({"user_id": "u", "conversation_id": "c", "user_prompt": "q",
                                                  "model_response": "a", "score": 0}), "score 0 is not in 1..100"),
    ],
)  # fmt: skip
def test_ratings_that_are_none_are_refused_by_place(source, file, text, why, tmp_path):
    with pytest.raises(ValueError, match=why):
        everything(source, write(tmp_path, {file: text}))


def test_a_stimulus_that_is_missing_is_named(tmp_path):
    folder = write(tmp_path, {
        "exp1_ratings.csv": "worker_id,scenario_id,rating,structure,type,strength\n1,9,4,1,good,mild\n",
        "exp1_stimuli.jsonl": json.dumps({"scenario_id": 1, "structure": "cc", "type": "good", "strength": "mild",
                                          "background": "b", "target": "t"}),
    })  # fmt: skip
    with pytest.raises(ValueError, match="no stimulus '9 cc good mild' for the rating"):
        everything("offtherails_events", folder)


def test_of_a_person_who_rates_twice_the_first_rating_counts(tmp_path):
    rows = "3,u1,Tax?,Both sides.,4,0\n3,u1,Tax?,Both sides.,2,0\n"
    (row,) = everything("overtonbench", write(tmp_path, {"overtonbench.csv": OVERTON + rows}))
    assert given(row) == [("u1", 4.0, ("cluster 0",))]


def test_rated_sources_say_so_and_are_no_source_to_mix_in():
    rated = [name for name, record in SOURCES.items() if record.rated]
    assert len(rated) == 9 and all("rater_pool" in {o.name for o in SOURCES[name].parameters} for name in rated)
