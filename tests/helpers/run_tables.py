"""Made run folders of today's layout: with what was asked, and with the answers before training."""

from pathlib import Path

import pandas as pd
import pyarrow.parquet

from studylib.scenarios.rows import FEATURES, to_dataset

DOMAINS = ("family", "medicine")


def scenario(id: str, split: str, number: int, **fields) -> dict:
    row = dict.fromkeys(FEATURES) | {"id": id, "split": split, "source": "local_norms", "prompt": f"What of {id}?"}
    return row | {"options": ["right", "wrong"], "answer": "right", "domain": DOMAINS[number % 2]} | fields


def keep_tables(folder: Path, **fields) -> Path:
    """Give a made run (`test_claims.write_run`) the files of today, with before = after but for the samples.

    fields: of every scenario. There is no summary.json: it is to be made of the tables.
    """
    answers = pd.read_parquet(folder / "responses.parquet").rename(columns={"verdict": "correct"})
    answers.to_parquet(folder / "responses.parquet")
    wrong = answers.assign(correct=answers["correct"].mask(answers["k"] > 0, 0.0))
    wrong.to_parquet(folder / "responses_before.parquet")
    asked = answers.drop_duplicates(["split", "id"]).reset_index()
    rows = [scenario(row.id, row.split, row.Index, **fields) for row in asked.itertuples()]
    rows += [scenario("asked in training", "train", 0)] * 2
    pyarrow.parquet.write_table(to_dataset(rows).data.table, folder / "scenarios.parquet")
    (folder / "summary.json").unlink()
    return folder
