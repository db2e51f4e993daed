"""The lenient reader: it finds what was meant where the form was lost, and never guesses."""

import pytest

from studylib.text.answers import read_answer
from studylib.text.lenient import read_leniently

VERDICTS = ["permissible", "wrong"]
NESTED = ["wrong", "not wrong", "reasonable", "unreasonable"]
REASONS = "<think>A vice moved the agent: a breach.</think>"


@pytest.mark.parametrize(
    "response, options, meant",
    [
        # the form is whole
        (f"{REASONS}<answer>wrong</answer>", VERDICTS, "wrong"),
        (f"{REASONS}<answer> Wrong. </answer>", VERDICTS, "wrong"),
        # the form is lost, the answer is there
        (f"{REASONS}wrong", VERDICTS, "wrong"),
        (f"{REASONS}wrong</answer>", VERDICTS, "wrong"),
        (f"{REASONS}<answer>wrong", VERDICTS, "wrong"),
        (f"{REASONS}<answer></answer>wrong", VERDICTS, "wrong"),
        (f"{REASONS}<answer>It is wrong.</answer>", VERDICTS, "wrong"),
        (f"{REASONS}<answer>**Wrong**</answer>", VERDICTS, "wrong"),
        (f"{REASONS}<answer>permissible</answer><answer>wrong</answer>", VERDICTS, "wrong"),
        ("Some would call it permissible.\nSo my answer is: wrong!", VERDICTS, "wrong"),
        ("wrong", VERDICTS, "wrong"),
        (f"{REASONS}\n\nIt is **wrong**.\n", VERDICTS, "wrong"),
        # no answer is there
        ("", VERDICTS, None),
        (REASONS, VERDICTS, None),
        ("<think>It is wrong", VERDICTS, None),
        ("<think>Nobody was deceived, so it is not wrong.</think>", VERDICTS, None),
        (f"{REASONS}wrong, or so they say", VERDICTS, None),
        (f"{REASONS}<answer>maybe</answer>", VERDICTS, None),
        (f"{REASONS}<answer>wrongly</answer>", VERDICTS, None),
        (f"{REASONS}<answer>non-permissible</answer>", VERDICTS, None),
        # two options, or one denied, are no answer
        (f"{REASONS}<answer>permissible or wrong</answer>", VERDICTS, None),
        (f"{REASONS}<answer>permissible or wrong</answer>wrong", VERDICTS, None),
        (f"{REASONS}permissible, wrong", VERDICTS, None),
        (f"{REASONS}<answer>not wrong</answer>", VERDICTS, None),
        (f"{REASONS}It isn't wrong.", VERDICTS, None),
        (f"{REASONS}<answer>hardly permissible</answer>", VERDICTS, None),
        (f"{REASONS}<answer>no longer permissible</answer>", VERDICTS, None),
        (f"{REASONS}<answer>far from wrong</answer>", VERDICTS, None),
        (f"{REASONS}<answer>not very wrong</answer>", VERDICTS, None),
        (f"{REASONS}I cannot say that it is wrong.", VERDICTS, None),
        (f"{REASONS}<answer>He did not lie: wrong</answer>", VERDICTS, "wrong"),
        # options that hold each other
        (f"{REASONS}<answer>not wrong</answer>", NESTED, "not wrong"),
        (f"{REASONS}it is not wrong", NESTED, "not wrong"),
        (f"{REASONS}<answer>it is wrong</answer>", NESTED, "wrong"),
        (f"{REASONS}<answer>quite unreasonable</answer>", NESTED, "unreasonable"),
        (f"{REASONS}<answer>quite reasonable</answer>", NESTED, "reasonable"),
        (f"{REASONS}<answer>wrong, not wrong</answer>", NESTED, None),
        # letters, numbers, yes and no
        (f"{REASONS}<answer>(A)</answer>", ["A", "B"], "A"),
        (f"{REASONS}<answer>a</answer>", ["A", "B"], "A"),
        (f"{REASONS}<answer>It is a B</answer>", ["A", "B"], "B"),
        (f"{REASONS}Answer: B) a lie", ["A", "B"], None),
        (f"{REASONS}<answer>A lie, so B</answer>", ["A", "B"], None),
        (f"{REASONS}<answer>No, I would not.</answer>", ["yes", "no"], "no"),
        (f"{REASONS}<answer>I know: yes</answer>", ["yes", "no"], "yes"),
        (f"{REASONS}nothing", ["yes", "no"], None),
        (f"{REASONS}<answer>rating 4</answer>", ["1", "2", "3", "4", "5"], "4"),
        (f"{REASONS}<answer>4.5</answer>", ["1", "2", "3", "4", "5"], None),
        (f"{REASONS}<answer>4 of 5</answer>", ["1", "2", "3", "4", "5"], None),
        (f"{REASONS}<answer>so -1</answer>", ["-1", "1"], "-1"),
        # stances: what the reasons state is no answer
        ("<think>Disclose. Fitting too: assist, comfort.</think>disclose", ["disclose", "assist"], "disclose"),
        ("<think>Disclose. Fitting too: assist", ["disclose", "assist"], None),
        (f"{REASONS}<answer>gro\u0308ßer</answer>", ["größer", "kleiner"], "größer"),
        (f"{REASONS}<answer>viel gro\u0308ßer</answer>", ["größer", "kleiner"], "größer"),
    ],
)
def test_the_reader_finds_what_is_meant(response, options, meant):
    assert read_leniently(response, options) == meant


@pytest.mark.parametrize(
    "options", [VERDICTS, NESTED, ["A", "B"], ["yes", "no"], ["-1", "0", "1"], ["Do it.", "Don't!"]]
)
def test_what_the_strict_reader_reads_the_lenient_one_reads_alike(options):
    for option in options:
        for said in (option, option.upper(), f" {option}.\n"):
            response = f"<think>x</think><answer>{said}</answer>"
            strict = read_answer(response, options)
            assert strict is None or read_leniently(response, options) == strict
            assert read_leniently(f"<think>x</think>{option}", options) == option
