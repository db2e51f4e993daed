"""What commands are given, as text, and how their results are shown."""

import json


def listed(rows: list[tuple]) -> str:
    """(group, name, default, help) of every parameter as text, group by group."""
    lines, last = [], ""
    for group, name, default, help in rows:
        lines += [] if group == last else [f"\n{group}"]
        lines.append(f"  {name:22} {help} [{default if default != '' else 'empty'}]")
        last = group
    return "\n".join(lines).strip()


def setting(text: str) -> tuple[str, str | int | float | bool]:
    """(name, value) of `name=value`, the value read as YAML 1.2 reads it; nothing after the = is the empty text."""
    from studylib.text.files import read_scalar

    name, equals, value = text.partition("=")
    if not (name and equals):
        raise ValueError(f"--set needs name=value, not {text!r}")
    return name, "" if value == "" else read_scalar(value)


def wide(table) -> str:
    """Every row and column of a table, to three digits."""
    return table.round(3).to_string(index=any(table.index.names))


def records(table) -> list[dict]:
    """A row for each line of a table, as JSON has it: null where there is no number."""
    return json.loads(table.to_json(orient="records", double_precision=15))
