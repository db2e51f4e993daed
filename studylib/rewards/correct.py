"""Rewards that a program can verify: the right answer, and a well-formed response (`text/answers.py` reads both)."""

from studylib.names import REWARDS
from studylib.rewards import per_response
from studylib.scenarios.rows import accepted
from studylib.text.answers import parse, read_answer
from studylib.text.stated import readable

REWARDS.former["verdict"] = "correct"  # its name in the parameters of older runs


@per_response("correct", needs=("options", "answer"), two_valued=True)
def correct(response: str, scenario: dict) -> float | None:
    """1.0 when exactly one option is given and it is right, or one of those that are, else 0.0."""
    return float(read_answer(response, scenario["options"]) in accepted(scenario))


@per_response("format", needs=("options",), two_valued=True)
def format(response: str, scenario: dict) -> float | None:
    """1.0 for a well-formed response with non-empty reasons and one of the options, right or wrong."""
    parsed = parse(response)
    return float(bool(parsed and parsed[0]) and readable(response, scenario["options"], bool(scenario.get("ratings"))))
