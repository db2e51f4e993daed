"""The scenario row: one moral situation, whatever its source."""

import hashlib
import json

import datasets

from studylib.text.options import check_options

FEATURES = datasets.Features(
    {
        "id": datasets.Value("string"),
        "source": datasets.Value("string"),
        "split": datasets.Value("string"),
        "domain": datasets.Value("string"),
        "framework": datasets.Value("string"),
        "style": datasets.Value("string"),
        "prompt": datasets.Value("string"),
        "options": datasets.List(datasets.Value("string")),
        "answer": datasets.Value("string"),
        "rubric": datasets.List(
            {
                "id": datasets.Value("string"),
                "text": datasets.Value("string"),
                "weight": datasets.Value("int64"),
                "dimension": datasets.Value("string"),
            }
        ),
        "ratings": datasets.List(
            {
                "rater": datasets.Value("string"),
                "value": datasets.Value("float64"),
                "groups": datasets.List(datasets.Value("string")),
            }
        ),
        "facts": datasets.Value("string"),
    }
)


def digest(*parts) -> str:
    """Short content hash of JSON-able parts; the same on every machine."""
    text = json.dumps(parts, sort_keys=True, ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def scenario_row(*, source: str, split: str, prompt: str, **fields) -> dict:
    """A complete row: fields that the source does not have are None; the id is a hash of source and prompt.

    Refuses options that cannot be told apart, and an answer that is none of them.
    """
    unknown = set(fields) - set(FEATURES)
    if unknown:
        raise ValueError(f"unknown scenario fields {sorted(unknown)}; known: {sorted(FEATURES)}")
    row = dict.fromkeys(FEATURES) | fields
    row |= {"id": digest(source, prompt), "source": source, "split": split, "prompt": prompt}
    check_options(row)
    return row


def to_dataset(rows: list[dict]) -> datasets.Dataset:
    return datasets.Dataset.from_list(rows, features=FEATURES)
