"""Rewards that a program can verify: the right answer, and a well-formed response (`text/answers.py` reads both)."""

from studylib.text.answers import parse, read_answer


def verdict(response: str, scenario: dict) -> float | None:
    """1.0 when exactly the right option is given, else 0.0. Needs `options` and `answer`."""
    return float(read_answer(response, scenario["options"]) == scenario["answer"])


def format(response: str, scenario: dict) -> float | None:
    """1.0 for a well-formed response with non-empty reasons and one of the options, right or wrong. Needs `options`."""
    parsed = parse(response)
    return float(bool(parsed and parsed[0]) and read_answer(response, scenario["options"]) is not None)
