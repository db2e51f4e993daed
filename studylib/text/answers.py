"""Reading an answer: exactly one, from a well-formed response.

Strict on purpose. A response is well formed when it is `<think>reasons</think><answer>option</answer>` and nothing
else: one pair of each tag, reasons before the answer, only white space around. Exactly one answer is read.
"""

from functools import lru_cache

from studylib.text.options import TAGS, named

THINK, END_THINK, ANSWER, END_ANSWER = TAGS


@lru_cache(maxsize=8)  # a response is asked about by one check after the other
def parse(response: str) -> tuple[str, str] | None:
    """(reasons, answer) of a well-formed response, else None. Linear in the length of the response."""
    if any(response.count(tag) != 1 for tag in TAGS):
        return None
    before, _, after = response.strip().partition(END_THINK)
    after = after.strip()
    if not (before.startswith(THINK) and after.startswith(ANSWER) and after.endswith(END_ANSWER)):
        return None
    return before.removeprefix(THINK).strip(), after.removeprefix(ANSWER).removesuffix(END_ANSWER).strip()


def read_answer(response: str, options: list[str]) -> str | None:
    """The option that a well-formed response gives; None when it is malformed or names no option.

    Word for word, or with another case, white space, composed letters or one closing full stop more or less, because
    these do not change which option is named (`scenarios.options`).
    """
    parsed = parse(response)
    return None if parsed is None else named(parsed[1], options)
