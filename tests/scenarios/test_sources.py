"""Published data sets as scenario rows. Run: python -m pytest tests/scenarios/test_sources.py

The tests of the real files look for them in $STUDYLIB_DATA or in ../shared/data and are skipped where there are none.
"""

import gzip
import json
from collections import Counter
from pathlib import Path

import pytest
from published import real_rows, write

from studylib.names import SOURCES
from studylib.scenarios import sources
from studylib.scenarios.rows import to_dataset
from studylib.scenarios.sources.records import ORIGINS
from studylib.scenarios.sources.stories import STORIES

REAL_SOURCES = [name for name, record in SOURCES.items() if not record.world and not record.rated]
ETHICS = [source for source in REAL_SOURCES if source.startswith("ethics_")]
REAL_SPLITS = [
    (source, split)
    for source in REAL_SOURCES
    if not source.startswith("morebench")  # a sample of it is at hand, in another form: test_morebench.py
    for split in SOURCES[source].splits
]
README_ROWS = {
    ("ethics_justice", "train"): 21_791,
    ("ethics_justice", "held_out"): 2_704,
    ("ethics_deontology", "train"): 18_164,
    ("ethics_deontology", "held_out"): 3_596,
    ("ethics_virtue", "train"): 28_245,
    ("ethics_virtue", "held_out"): 4_975,
    ("ethics_utilitarianism", "train"): 13_738,
    ("ethics_utilitarianism", "held_out"): 4_808,
    ("moralchoice", "held_out"): 550,
}
MORALCHOICE_HEADER = "scenario_id,generation_rule,context,action1,action2\n"


def justice(folder: Path, test: str, train: str = "1,I rest.\n") -> str:
    return write(
        folder, {"justice_train.csv": f"label,scenario\n{train}", "justice_test.csv": f"label,scenario\n{test}"}
    )


def story(story_id: str, norm: str, action: str, label: int | str, kind: str = "moral_action") -> str:
    return json.dumps({"ID": story_id, "norm": norm, kind: action, "label": label}) + "\n"


def stories(folder: Path, original: str, optional: str = "", anti: str = "", part: str = "dev") -> str:
    texts = {"original_ms": original, "optional_ms": optional, "anti_ms_llama": anti}
    return write(folder, {f"{norms}_{part}.jsonl": text for norms, text in texts.items()})


def dev_rows(folder: str) -> list[dict]:
    """All dev stories: beside a train file, even an empty one, dev is held out as a whole."""
    (Path(folder) / "original_ms_train.jsonl").touch()
    return sources.load_source(STORIES, "held_out", folder)


# What a label means.


def test_justice_1_is_reasonable(tmp_path):
    folder = justice(tmp_path, "1,I was paid because I worked.\n0,I was paid because it rained.\n")
    first, second = sources.load_source("ethics_justice", "held_out", folder)
    assert first["prompt"] == "I was paid because I worked. Is this reasonable or unreasonable?"
    assert (first["options"], first["framework"]) == (["reasonable", "unreasonable"], "justice")
    assert (first["answer"], second["answer"]) == ("reasonable", "unreasonable")


def test_deontology_judges_the_excuse_after_the_scenario(tmp_path):
    folder = write(tmp_path, {"deontology_test.csv": "label,scenario,excuse\n0,Can you cook?,No because I am tall.\n"})
    (row,) = sources.load_source("ethics_deontology", "held_out", folder)
    assert row["prompt"].startswith("First: Can you cook? Second: No because I am tall. Is the second statement")
    assert (row["answer"], row["framework"]) == ("unreasonable", "deontology")


def test_virtue_1_is_that_the_trait_fits(tmp_path):
    text = "label,scenario\n1,Ann gave. [SEP] generous\n0,Ann gave. [SEP] cruel\n"
    first, second = sources.load_source("ethics_virtue", "held_out", write(tmp_path, {"virtue_test.csv": text}))
    assert first["prompt"] == 'Ann gave. Does the trait "generous" fit, yes or no?'
    assert (first["answer"], second["answer"]) == ("yes", "no")


@pytest.mark.parametrize("header", ["", "baseline,less_pleasant\n"])
def test_utilitarianism_column_1_is_more_pleasant_with_or_without_header(tmp_path, header):
    folder = write(tmp_path, {"utilitarianism_test.csv": f"{header}I won.,I lost.\nI ate.,I starved.\n"})
    rows = sources.load_source("ethics_utilitarianism", "held_out", folder)
    assert all(
        f"({row['answer']}) {better}" in row["prompt"] for row, better in zip(rows, ("I won.", "I ate."), strict=True)
    )
    assert len(rows) == 2


def test_moralchoice_action1_is_the_right_one(tmp_path):
    text = f"{MORALCHOICE_HEADER}C_1,Do not kill,You swim.,I save her.,I leave her.\n"
    (row,) = sources.load_source("moralchoice", "held_out", write(tmp_path, {"low_ambiguity.csv": text}))
    assert f"({row['answer']}) I save her." in row["prompt"] and row["framework"] is None
    assert json.loads(row["facts"]) == {"scenario_id": "C_1", "rule": "Do not kill"}


def test_the_same_action_agrees_with_a_norm_and_violates_its_contrary(tmp_path):
    help_him, do_not = ("You should help.", "I help."), ("You should not help.", "I help.")
    anti = story("S1", *do_not, 0, kind="immoral_action")
    optional = story("S1", "It's ok to help.", "I help.", 1)
    rows = dev_rows(stories(tmp_path, story("S1", *help_him, "1"), optional, anti))
    assert {row["prompt"].split(" Action:")[0]: row["answer"] for row in rows} == {
        "Norm: You should help.": "agrees",
        "Norm: It's ok to help.": "agrees",
        "Norm: You should not help.": "violates",
    }


# The label shows nowhere but in the answer.


@pytest.mark.parametrize(
    ("source", "name", "text"),
    [
        ("ethics_justice", "justice_test.csv", "label,scenario\n{},I was paid.\n"),
        ("ethics_deontology", "deontology_test.csv", "label,scenario,excuse\n{},Can you cook?,No.\n"),
        ("ethics_virtue", "virtue_test.csv", "label,scenario\n{},Ann gave. [SEP] kind\n"),
    ],
)
def test_another_label_changes_only_the_answer(tmp_path, source, name, text):
    zero, one = (
        sources.load_source(source, "held_out", write(tmp_path, {name: text.format(label)}))[0] for label in (0, 1)
    )
    assert {key for key in zero if zero[key] != one[key]} == {"answer"}


def test_a_story_says_nothing_of_the_label_that_its_id_line_and_column_tell(tmp_path):
    lines = {1: story("S1", "Help.", "I help.", 1), 0: story("S0", "Help.", "I help.", 0, kind="immoral_action")}
    (one,) = dev_rows(stories(tmp_path, lines[1]))
    _, zero = dev_rows(stories(tmp_path, story("T1", "Help.", "I run.", 1) + lines[0]))
    assert (one["answer"], zero["answer"]) == ("agrees", "violates")
    assert {key for key in zero if zero[key] != one[key]} == {"answer"}


@pytest.mark.parametrize(
    ("source", "name", "line"),
    [
        ("ethics_utilitarianism", "utilitarianism_test.csv", "{},{}\n"),
        ("moralchoice", "low_ambiguity.csv", MORALCHOICE_HEADER + "C_1,Do not kill,You swim.,{},{}\n"),
    ],
)
def test_swapping_the_two_texts_swaps_the_answer_and_leaves_the_prompt(tmp_path, source, name, line):
    rows = []
    for pair in (("I win.", "I lose."), ("I lose.", "I win.")):
        folder = write(tmp_path, {name: line.format(*pair)})
        rows += sources.load_source(source, "held_out", folder)
    assert rows[0]["prompt"] == rows[1]["prompt"]
    assert {rows[0]["answer"], rows[1]["answer"]} == {"A", "B"}


# Repeated prompts and splits.


def test_a_repeated_prompt_stays_once_and_a_contradictory_one_not_at_all(tmp_path):
    folder = justice(tmp_path, "1,I rest.\n1,I  rest. \n0,I steal.\n1,I steal.\n0,I lie.\n")
    rows = sources.load_source("ethics_justice", "held_out", folder)
    assert [row["prompt"].split(" Is")[0] for row in rows] == ["I rest.", "I lie."]


def test_train_leaves_out_what_is_held_out_even_if_that_contradicts_itself(tmp_path):
    folder = justice(tmp_path, "1,I rest.\n0,I steal.\n1,I steal.\n", "1,I rest.\n0,I steal.\n0,I lie.\n")
    (row,) = sources.load_source("ethics_justice", "train", folder)
    assert row["prompt"].startswith("I lie.")


def test_dev_stories_are_parted_whole_when_there_are_no_train_files(tmp_path):
    actions = [story(f"S{n:02}{end}", "Help.", f"I do {n} {end}.", 1) for n in range(40) for end in (0, 1)]
    stories(tmp_path, "".join(actions))
    sides = [sources.load_source(STORIES, split, str(tmp_path)) for split in sources.SPLITS]
    train, held_out = ({json.loads(row["facts"])["story"] for row in side} for side in sides)
    assert not train & held_out and len(train | held_out) == 40
    assert sum(map(len, sides)) == 80 and 3 <= len(held_out) <= 20


def test_the_authors_train_stories_are_used_when_they_are_there(tmp_path):
    stories(tmp_path, story("S10", "Help.", "I help.", 1), part="dev")
    stories(tmp_path, story("S11", "Help.", "I run.", 0) + story("S20", "Help.", "I wait.", 0), part="train")
    (train,) = sources.load_source(STORIES, "train", str(tmp_path))
    (held_out,) = sources.load_source(STORIES, "held_out", str(tmp_path))
    assert "I wait." in train["prompt"] and "I help." in held_out["prompt"]


def test_moralchoice_is_for_evaluation_only(tmp_path):
    with pytest.raises(ValueError, match="moralchoice has no 'train' split.*evaluation only"):
        sources.load_source("moralchoice", "train", str(tmp_path))


# Files: plain or compressed, in the folder or one below, from the hub.


def test_compressed_and_plain_files_in_either_folder_give_the_same_rows(tmp_path):
    text = 'label,scenario\n1,"I was\npaid."\n'
    (tmp_path / "ethics").mkdir()
    (tmp_path / "ethics" / "justice_test.csv.gz").write_bytes(gzip.compress(text.encode()))
    (tmp_path / "plain").mkdir()
    plain = write(tmp_path / "plain", {"justice_test.csv": text})
    folders = (str(tmp_path), str(tmp_path / "ethics"), plain)
    first, *others = (sources.load_source("ethics_justice", "held_out", folder) for folder in folders)
    assert first[0]["prompt"].startswith("I was paid.") and others == [first, first]


def test_the_folder_may_be_given_by_the_home_folder_and_bear_any_name(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "Zoë's dáta {x}").mkdir()
    write(tmp_path / "Zoë's dáta {x}", {"justice_test.csv": "label,scenario\n1,I rest.\n"})
    assert len(sources.load_source("ethics_justice", "held_out", "~/Zoë's dáta {x}")) == 1
    with pytest.raises(ValueError, match="path '~nobody-there' is not allowed: there is no home folder ~nobody-there"):
        sources.load_source("ethics_justice", "held_out", "~nobody-there")


@pytest.mark.parametrize(
    ("source", "hub_id", "name", "text"),
    [
        ("ethics_virtue", "hendrycks/ethics", "data/virtue/test.csv", "label,scenario\n1,Ann gave. [SEP] kind\n"),
        (
            "moralchoice",
            "ninoscherrer/moralchoice",
            "scenarios/moralchoice_low_ambiguity.csv",
            MORALCHOICE_HEADER + "C_1,Do not kill,You swim.,I save.,I leave.\n",
        ),
    ],
)
def test_without_a_folder_the_pinned_files_of_the_hub_are_read(tmp_path, monkeypatch, source, hub_id, name, text):
    calls = []

    def fake_download(**request):
        calls.append(request)
        return str(Path(write(tmp_path, {"file.csv": text})) / "file.csv")

    monkeypatch.setattr("huggingface_hub.hf_hub_download", fake_download)
    assert len(sources.load_source(source, "held_out")) == 1
    revision = ORIGINS[source].revision
    assert calls == [{"repo_id": hub_id, "repo_type": "dataset", "revision": revision, "filename": name}]


def test_every_hub_revision_is_a_full_commit():
    revisions = {origin.revision for origin in ORIGINS.values() if origin.hub_id}
    assert all(len(revision) == 40 and int(revision, 16) for revision in revisions)


def test_stories_without_a_folder_say_where_they_are():
    with pytest.raises(ValueError, match="nkiehne/contrastive_moral_stories at commit 2c782d48.*data_dir"):
        sources.load_source(STORIES, "train")


def test_an_unpinned_source_is_refused(monkeypatch):
    unpinned = ORIGINS["moralchoice"]._replace(revision=None)
    monkeypatch.setitem(ORIGINS, "moralchoice", unpinned)
    with pytest.raises(ValueError, match="no pinned revision known for moralchoice; give data_dir"):
        sources.load_source("moralchoice", "held_out")


# What is wrong is named.


@pytest.mark.parametrize(
    ("source", "split", "message"),
    [
        ("delphi", "train", "no source 'delphi'; known: .*moralchoice"),
        ("etics_virtue", "train", "no source 'etics_virtue'; .*did you mean ethics_virtue"),
        ("local_norms", "train", "local_norms is an embedded world: its scenarios are made"),
        ("moralchoice", "test", "unknown split 'test'"),
    ],
)
def test_unknown_names_are_refused(source, split, message):
    with pytest.raises(ValueError, match=message):
        sources.load_source(source, split)


def test_a_missing_folder_and_a_missing_file_are_named(tmp_path):
    with pytest.raises(ValueError, match="data folder '.*nowhere' does not exist"):
        sources.load_source("ethics_justice", "train", str(tmp_path / "nowhere"))
    with pytest.raises(ValueError, match=r"no data file at any of .*justice_test\.csv'.*justice_test\.csv\.gz"):
        sources.load_source("ethics_justice", "held_out", str(tmp_path))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "label,story\n1,I rest.\n",
            r"no column 'scenario' in .*justice_test\.csv; its columns are \['label', 'story'\]",
        ),
        ("label,scenario\n1,I rest.\n2,I lie.\n", r"label '2' is neither 0 nor 1 in .*justice_test\.csv, line 3"),
        ("label,scenario\n1,I rest.,more\n", r"3 fields instead of 2 in .*justice_test\.csv, line 2"),
        ("label,scenario\n1, \n", r"column 'scenario' is empty in .*justice_test\.csv, line 2"),
        ("label,scenario\n", "ethics_justice has no rows in split 'held_out' of"),
        ("", r"no column 'label' in .*justice_test\.csv"),
    ],
)
def test_a_faulty_csv_is_named_with_its_place(tmp_path, text, message):
    with pytest.raises(ValueError, match=message):
        sources.load_source("ethics_justice", "held_out", write(tmp_path, {"justice_test.csv": text}))


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('{"ID": "S1", "norm": "Help."}\n', r"no column 'label' in .*original_ms_dev\.jsonl, line 1"),
        ("{oops\n", r"not a JSON object in .*original_ms_dev\.jsonl, line 1: '\{oops"),
        (story("S1", "Help.", "I help.", 1, kind="action"), r"instead of one moral_action .*dev\.jsonl, line 1"),
        (story("S1", "Help.", "I help.", "yes"), r"label 'yes' is neither 0 nor 1 in .*dev\.jsonl, line 1"),
    ],
)
def test_a_faulty_story_is_named_with_its_place(tmp_path, line, message):
    with pytest.raises(ValueError, match=message):
        dev_rows(stories(tmp_path, line))


@pytest.mark.parametrize(
    "first",
    ["more_pleasant,less_pleasant", "0,1", "Baseline,Less_Pleasant", "baseline, less_pleasant", "label,scenario",
     "less_pleasant,baseline", "more pleasant scenario,less pleasant scenario", "Text A,Text B"],
)  # fmt: skip
def test_names_of_columns_are_no_question_where_a_file_may_lack_a_header(tmp_path, first):
    folder = write(tmp_path, {"utilitarianism_test.csv": f"{first}\nI won.,I lost.\n"})
    with pytest.raises(ValueError, match=rf"column names .*utilitarianism_test\.csv, line 1: '{first}'"):
        sources.load_source("ethics_utilitarianism", "held_out", folder)


def test_a_header_that_comes_again_in_the_middle_is_no_question(tmp_path):
    text = f"{MORALCHOICE_HEADER}C_1,Do not kill,You swim.,I save.,I leave.\n{MORALCHOICE_HEADER}"
    with pytest.raises(ValueError, match=r"column names instead of texts in .*low_ambiguity\.csv, line 3"):
        sources.load_source("moralchoice", "held_out", write(tmp_path, {"low_ambiguity.csv": text}))
    with pytest.raises(ValueError, match=r"column 'label' comes twice in .*justice_test\.csv"):
        sources.load_source(
            "ethics_justice", "held_out", write(tmp_path, {"justice_test.csv": "label,scenario,label\n1,I rest.,0\n"})
        )


@pytest.mark.parametrize(
    ("row", "line"),
    [('1,I said "no" twice.\n', 3), ('1,"I rest.\n0,I lie.\n', 3), ('1,"I rest." now\n', 3), ('"1""0",I rest."\n', 3)],
)
def test_a_stray_quote_never_swallows_or_spoils_a_record(tmp_path, row, line):
    folder = write(tmp_path, {"justice_test.csv": f"label,scenario\n1,I nap.\n{row}"})
    with pytest.raises(
        ValueError, match=rf"a quote in .*justice_test\.csv, line {line} is not closed, or stands inside"
    ):
        sources.load_source("ethics_justice", "held_out", folder)


def test_blank_lines_are_skipped_and_lines_keep_their_numbers(tmp_path):
    write(tmp_path, {"justice_test.csv": '\nlabel,scenario\n\n1,"I\n\nrest."\n \n0,I lie.\n\n'})
    rows = sources.load_source("ethics_justice", "held_out", str(tmp_path))
    assert [json.loads(row["facts"])["line"] for row in rows] == [6, 8]
    lines = "\n" + story("S1", "Help.", "I help.", 1) + " \t\n" + story("S2", "Help.", "I help.", "no")
    with pytest.raises(ValueError, match=r"label 'no' is neither 0 nor 1 in .*dev\.jsonl, line 4"):
        dev_rows(stories(tmp_path, lines))


@pytest.mark.parametrize(
    ("field", "value"),
    [("norm", 5), ("norm", None), ("ID", 17), ("moral_action", ["I help."]), ("norm", {"text": "x"}),
     ("moral_action", True), ("ID", None), ("moral_action", 0)],
)  # fmt: skip
def test_what_is_no_text_is_refused_and_not_turned_into_text(tmp_path, field, value):
    fields = {"ID": "S1", "norm": "Help.", "moral_action": "I help.", "label": 1} | {field: value}
    with pytest.raises(ValueError, match=rf"column '{field}' is .*, not text, in .*original_ms_dev\.jsonl, line 1"):
        dev_rows(stories(tmp_path, json.dumps(fields)))


@pytest.mark.parametrize("label", [True, 1.0, [1], None, "01", "yes"])
def test_a_label_is_the_number_or_the_text_0_or_1(tmp_path, label):
    with pytest.raises(ValueError, match=r"label .* is neither 0 nor 1 in .*original_ms_dev\.jsonl, line 1"):
        dev_rows(stories(tmp_path, story("S1", "Help.", "I help.", label)))


def test_a_virtue_row_without_trait_and_a_pair_of_equal_texts_are_refused(tmp_path):
    write(tmp_path, {"virtue_test.csv": "label,scenario\n1,Ann gave.\n", "utilitarianism_test.csv": "I won.,I won.\n"})
    with pytest.raises(ValueError, match=r"no ' \[SEP\] ' .*virtue_test\.csv, line 2"):
        sources.load_source("ethics_virtue", "held_out", str(tmp_path))
    with pytest.raises(ValueError, match=r"same text in .*utilitarianism_test\.csv, line 1: 'I won\.'"):
        sources.load_source("ethics_utilitarianism", "held_out", str(tmp_path))


# The real files.


@pytest.mark.parametrize(("source", "split"), README_ROWS)
def test_real_rows_are_those_of_the_files_less_about_a_percent(data_dir, source, split):
    published = README_ROWS[source, split]
    assert 0.985 * published <= len(real_rows(source, split, data_dir)) <= published


def test_real_stories_are_all_used_and_a_quarter_is_held_out(data_dir):
    train, held_out = (real_rows(STORIES, split, data_dir) for split in sources.SPLITS)
    assert 0.99 * 5_990 <= len(train) + len(held_out) <= 5_990
    assert 0.2 < len(held_out) / (len(train) + len(held_out)) < 0.3


@pytest.mark.parametrize(("source", "split"), REAL_SPLITS)
def test_real_rows_are_scenario_rows_with_one_of_two_answers(data_dir, source, split):
    rows = real_rows(source, split, data_dir)
    assert len({row["prompt"] for row in rows}) == len({row["id"] for row in rows}) == len(rows)
    assert {row["answer"] for row in rows} == set(rows[0]["options"]) and len(rows[0]["options"]) == 2
    assert {(row["source"], row["split"]) for row in rows} == {(source, split)}
    assert to_dataset(rows[:2])[0] == rows[0]


@pytest.mark.parametrize("source", [*ETHICS, STORIES])
def test_real_train_and_held_out_share_no_prompt(data_dir, source):
    train, held_out = ({row["prompt"] for row in real_rows(source, split, data_dir)} for split in sources.SPLITS)
    assert not train & held_out


def test_real_train_and_held_out_share_no_story(data_dir):
    train, held_out = (
        {json.loads(row["facts"])["story"] for row in real_rows(STORIES, split, data_dir)} for split in sources.SPLITS
    )
    assert len(train | held_out) >= 990 and not train & held_out


@pytest.mark.parametrize(
    ("source", "split"), [pair for pair in REAL_SPLITS if pair[0] in ("ethics_utilitarianism", "moralchoice")]
)
def test_real_pairs_are_balanced_between_a_and_b(data_dir, source, split):
    rows = real_rows(source, split, data_dir)
    assert 0.45 < Counter(row["answer"] for row in rows)["A"] / len(rows) < 0.55


def test_the_same_files_give_the_same_rows(data_dir):
    assert sources.load_source("moralchoice", "held_out", data_dir) == real_rows("moralchoice", "held_out", data_dir)
