"""The scenario row: one moral situation, whatever its source."""

import hashlib
import json

from studylib.text.options import check_options

FEATURES = {  # field -> type; [type]: a list; {name: type}: a record. A field that a source does not have is None
    "id": "string",  # hash of source, system message and prompt
    "source": "string",
    "split": "string",
    "domain": "string",
    "framework": "string",
    "style": "string",
    "system": "string",  # what a system message tells of the values by which to judge
    "prompt": "string",
    "options": ["string"],
    "answer": "string",  # one of the options; where several are right, a best one
    "accepted": [{"option": "string", "level": "float64", "groups": ["string"]}],  # where several are: all of them
    "rubric": [{"id": "string", "text": "string", "weight": "int64", "dimension": "string"}],
    "ratings": [{"rater": "string", "value": "float64", "groups": ["string"]}],
    "facts": "string",  # JSON
}


def digest(*parts) -> str:
    """Short content hash of JSON-able parts; the same on every machine."""
    text = json.dumps(parts, sort_keys=True, ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def scenario_row(*, source: str, split: str, prompt: str, **fields) -> dict:
    """A complete row: fields that are not given are None; the id is a hash of source, system message and prompt.

    Raises ValueError for an unknown field, for options that cannot be told apart, and for an answer or an accepted
    option that is none of them.
    """
    unknown = set(fields) - set(FEATURES)
    if unknown:
        raise ValueError(f"unknown scenario fields {sorted(unknown)}; known: {sorted(FEATURES)}")
    row = dict.fromkeys(FEATURES) | fields
    asked = (row["system"], prompt) if row["system"] else (prompt,)  # those without a message keep the id they had
    row |= {"id": digest(source, *asked), "source": source, "split": split, "prompt": prompt}
    check_options(row)
    return row


def after_message(row: dict, text: str) -> str:
    """A text with the scenario's system message at its head; where it has none, in a table of several, that is NaN."""
    message = row.get("system")
    return f"{message} {text}" if isinstance(message, str) else text


def accepted(row: dict) -> dict[str, float]:
    """The options that are right -> their level in (0, 1]; where a scenario has one answer, that at level 1."""
    if isinstance(row.get("accepted"), list):
        return {stance["option"]: stance["level"] for stance in row["accepted"]}
    return {row["answer"]: 1.0}


def accepted_by_group(row: dict) -> dict[str, frozenset[str]]:
    """Group of evaluators -> the options that it accepts; where a scenario has one answer, one group of everybody."""
    if not isinstance(row.get("accepted"), list):
        return {"everybody": frozenset(accepted(row))}
    groups = sorted({group for stance in row["accepted"] for group in stance["groups"]})
    return {g: frozenset(s["option"] for s in row["accepted"] if g in s["groups"]) for g in groups}


def rubric_of(scenario: dict) -> list[dict]:
    """The criteria of a scenario; raises ValueError where it has none."""
    if not scenario.get("rubric"):
        raise ValueError(f"scenario {scenario['id']} has no rubric, so there is nothing to judge")
    return scenario["rubric"]


def to_dataset(rows: list[dict]):
    """The rows as a `datasets.Dataset` with the types of `FEATURES`, also where a field is None in every row."""
    import datasets  # takes seconds to import

    def feature(kind):
        if isinstance(kind, list):
            return datasets.List(feature(kind[0]))
        if isinstance(kind, dict):
            return {name: feature(of) for name, of in kind.items()}
        return datasets.Value(kind)

    return datasets.Dataset.from_list(rows, features=datasets.Features(feature(FEATURES)))
