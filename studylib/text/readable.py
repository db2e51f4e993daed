"""Can the answers be read at all? A policy whose answers cannot earn anything learns nothing, and should say so."""

from collections import Counter
from collections.abc import Iterable, Sequence

from studylib.text.answers import ANSWER, THINK
from studylib.text.stated import readable

FEW = 0.05  # share of readable answers up to which a run says that it cannot learn
PROBLEMS = ("cut off", "no opening tag", "no answer", "no option")


def problems(response: str, options: Sequence[str] | None, cut: bool, rated: bool = False) -> set[str]:
    """What keeps an answer from being read. `no answer`: no answer tag; `no option`: it names none of the options, nor,
    of what people `rated`, shares of all."""
    present = {"cut off"} if cut else set()
    if not options:
        return present
    if not response.lstrip().startswith(THINK):
        present.add("no opening tag")
    if ANSWER not in response:
        present.add("no answer")
    return present if readable(response, options, rated) else present | {"no option"}


def shares(answers: Iterable[tuple[str, Sequence[str] | None, bool]], rated: bool = False) -> dict[str, float]:
    """Share of answers (response, options, whether cut off) with each of `PROBLEMS`; 0 where there are no answers."""
    of_each = [problems(*answer, rated) for answer in answers]
    counts = Counter(problem for row in of_each for problem in row)
    return {problem: counts[problem] / max(len(of_each), 1) for problem in PROBLEMS}


def in_words(of_answers: dict[str, float], max_new_tokens: int) -> str:
    """The shares in words: how many answers were cut off, and what the others lack."""
    cut, tag, answer, option = (f"{of_answers[problem]:.0%}" for problem in PROBLEMS)
    return (
        f"{cut} were cut off at max_new_tokens = {max_new_tokens}, {tag} lack the opening tag, {answer} have no answer "
        f"and {option} name no option"
    )


def unreadable_note(of_answers: dict[str, float], max_new_tokens: int) -> str | None:
    """One sentence when (nearly) no answer can be read, else None."""
    if of_answers["no option"] < 1 - FEW:
        return None
    return (
        f"{of_answers['no option']:.0%} of the warm start's answers cannot be read, so training has next to "
        f"nothing to learn from: {in_words(of_answers, max_new_tokens)}"
    )
