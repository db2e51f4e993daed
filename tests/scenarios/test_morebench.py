"""MoReBench as scenarios: its file format, its parts, its rubric text. The published sample is in another format."""

import csv
import gzip
import json
from collections import Counter
from pathlib import Path

import pytest

from studylib.params import RunParams
from studylib.scenarios import sources
from studylib.scenarios.prompts import chat
from studylib.scenarios.rows import to_dataset
from studylib.scenarios.selection import select
from studylib.scenarios.sources import morebench

RUBRIC = [{"id": "a", "title": "Names who is harmed", "weight": 3, "annotations": {"rubric_dimension": "identifying"}},
          {"id": "b", "title": "Takes bribes", "weight": -2, "annotations": {"rubric_dimension": "other"}}]  # fmt: skip


def dilemma(i: int, theory: str = "neutral", rubric=RUBRIC) -> dict:
    text = f"A clerk finds {i} coins,\n and nobody saw it. What now?"
    values = (text, "daily_dilemmas", "short_case", theory, repr(rubric), "ai_advisor", "Work")
    return dict(zip(morebench.COLUMNS, values, strict=True))


def write(folder: Path, rows: list[dict], name: str = "morebench_public") -> str:
    with (folder / f"{name}.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, morebench.COLUMNS)
        writer.writeheader()
        writer.writerows(rows)
    return str(folder)


def all_rows(source: str, folder: str) -> dict[str, list[dict]]:
    return {split: sources.load_source(source, split, folder) for split in ("train", "held_out", "judge")}


def test_a_dilemma_is_a_scenario_with_a_rubric_and_no_answer(tmp_path):
    row = next(iter(all_rows("morebench_public", write(tmp_path, [dilemma(i) for i in range(40)]))["train"]))
    assert row["rubric"] == [
        {"id": "a", "text": "Names who is harmed", "weight": 3, "dimension": "identifying"},
        {"id": "b", "text": "Takes bribes", "weight": -2, "dimension": "other"},
    ]
    assert row["options"] is row["answer"] is row["framework"] is None and "\n" not in row["prompt"]
    assert json.loads(row["facts"])["dilemma_source"] == "daily_dilemmas"
    assert to_dataset([row])[0]["rubric"][1]["weight"] == -2


def test_a_repeated_dilemma_stays_once_and_one_with_two_rubrics_not_at_all(tmp_path):
    again = [{**RUBRIC[1], "id": "y"}, {**RUBRIC[0], "id": "x"}]  # the same criteria
    stricter = [RUBRIC[0], {**RUBRIC[1], "weight": -3}]
    rows = [dilemma(1), dilemma(1, rubric=again), dilemma(2), dilemma(2, rubric=stricter), dilemma(3)]
    found = all_rows("morebench_public", write(tmp_path, rows + [dilemma(i) for i in range(10, 40)]))
    coins = [int(row["prompt"].split()[3]) for part in found.values() for row in part]
    assert coins.count(1) == coins.count(3) == 1 and 2 not in coins


def test_judge_policy_and_evaluation_share_no_dilemma_over_files_and_theories(tmp_path):
    write(tmp_path, [dilemma(i) for i in range(200)])
    theories = list(morebench.CODES)
    folder = write(tmp_path, [dilemma(i, name) for i in range(30) for name in theories], "morebench_theory")
    seen: dict[str, set] = {}
    for source in ("morebench_public", "morebench_theory"):
        for split, rows in all_rows(source, folder).items():
            for row in rows:
                seen.setdefault(row["prompt"].split("\n\n")[0], set()).add(split)
    assert len(seen) == 200 and all(len(parts) == 1 for parts in seen.values())
    counts = Counter(next(iter(parts)) for parts in seen.values())
    assert 80 < counts["train"] < 120 and 30 < counts["held_out"] < 70 and 30 < counts["judge"] < 70


def test_a_theory_is_named_and_defined_in_the_prompt(tmp_path):
    folder = write(tmp_path, [dilemma(i, "Kantian Deontology") for i in range(20)], "morebench_theory")
    row = all_rows("morebench_theory", folder)["train"][0]
    assert row["framework"] == "kantian_deontology"
    assert "Reason within Kantian Deontology alone. Act only on maxims" in row["prompt"]
    assert set(morebench.DEFINITIONS) == set(morebench.CODES)


def test_an_open_response_is_asked_for_where_there_are_no_options(tmp_path):
    rows = all_rows("morebench_public", write(tmp_path, [dilemma(i) for i in range(20)]))["train"]
    system, user = chat(rows[0], instruct=True)
    assert "<answer>" not in system["content"] and user["content"] == rows[0]["prompt"]


def test_a_run_can_select_it(tmp_path):
    folder = write(tmp_path, [dilemma(i) for i in range(60)])
    params = RunParams(source="morebench_public", data_dir=folder, eval_scenarios=8)
    splits = select(params)
    assert len(splits["train"]) == params.train_prompts and len(splits["held_out"]) == 8
    assert not {row["id"] for row in splits["train"]} & {row["id"] for row in splits["held_out"]}


@pytest.mark.parametrize(
    "old, new, message",
    [("'weight': 3", "'weight': 3, 'weight': -3", "key 'weight' comes twice in one criterion"),
     ("'weight': 3", "'weight': True", "weight True of criterion 'a' is not allowed"),
     ("'weight': 3", "'weight': '3'", "weight '3' of criterion 'a' is not allowed"),
     ("'Takes bribes'", "' '", "id, title and dimension of a criterion must be texts"),
     ("'Takes bribes'", "7", "id, title and dimension of a criterion must be texts"),
     ("'other'", "None", "id, title and dimension of a criterion must be texts")],
)  # fmt: skip
def test_a_criterion_that_says_two_things_or_nothing_is_refused_with_its_place(tmp_path, old, new, message):
    rows = [dilemma(i) for i in range(8)]
    rows[-1]["RUBRIC"] = rows[-1]["RUBRIC"].replace(old, new)
    with pytest.raises(ValueError, match=rf"{message}.* in .*morebench_public\.csv, line 17"):
        all_rows("morebench_public", write(tmp_path, rows))


def test_errors_name_the_place(tmp_path):
    bad = [dilemma(i) | {"RUBRIC": "[1]"} for i in range(20)]
    with pytest.raises(ValueError, match=r"a criterion must have id, .* in .*morebench_public.csv, line \d+"):
        all_rows("morebench_public", write(tmp_path, bad))
    with pytest.raises(ValueError, match="unknown theory 'Stoicism'; known: neutral, Act Utilitarianism"):
        all_rows("morebench_public", write(tmp_path, [dilemma(i, "Stoicism") for i in range(20)]))


def test_the_published_sample_reads_as_scenarios(tmp_path, data_dir):
    path = Path(data_dir) / "morebench_sample" / "comparison_data.jsonl.gz"
    rows = []
    for line in gzip.decompress(path.read_bytes()).decode().splitlines():
        sample = json.loads(line)
        meta, graded = sample["metadata"], sample["models"][0]["model_resp"]["rubrics"]
        rubric = [
            {"id": c["criterion_id"], "title": c["criterion"], "weight": c["weight"],
             "annotations": {"rubric_dimension": c["dimension"]}} for c in graded
        ]  # fmt: skip
        values = (meta["dilemma"], meta["dilemma_source"], meta["case_type"], meta["theory"], repr(rubric),
                  meta["role_domain"], meta["context"])  # fmt: skip
        rows.append(dict(zip(morebench.COLUMNS, values, strict=True)))
    parts = {morebench.part_of(row["DILEMMA"]) for row in rows}
    folder = write(tmp_path, rows + [dilemma(i) for i in range(20)])
    read = [row for split in parts for row in sources.load_source("morebench_public", split, folder)]
    lengths = sorted(len(row["rubric"]) for row in read if json.loads(row["facts"])["context"] != "Work")
    assert lengths == [20, 21]
    assert {c["weight"] for row in read for c in row["rubric"]} <= {-3, -2, -1, 1, 2, 3}
