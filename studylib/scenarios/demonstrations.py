"""Demonstrations for a model that takes instructions: the form of an answer and free reasons, but no answers.

Each scenario comes once with each of its options, for other reasons, so that what is demonstrated
is exactly undecided given what is asked. Reasons name true facts of the text in wordings that say nothing for or
against an option. Texts are those of the embedded worlds, from the warm start's own side; a part of them is asked about
in the world's words and the rest in others, down to single letters, so that a model learns to give one of the options
that it is shown and not two words. So one set of demonstrations serves every source: published data have no side of
their own for it, and conditions that differ in source start alike.
"""

from typing import NamedTuple

from studylib.names import FRAMEWORKS, HELD_OUT_STYLES, TRAIN_STYLES
from studylib.randomness import generator
from studylib.scenarios.facts import Facts, facts_of
from studylib.scenarios.telling import clause, question
from studylib.scenarios.vocabulary import DOMAINS
from studylib.scenarios.worlds import make_split, pick

WORLD = "universal_norms"  # whose texts are those of every world
FACTS_TOLD = 2
Pair = tuple[dict, str]  # scenario, response


class Question(NamedTuple):
    """{0} and {1}: facts of the text; {a}: the agent."""

    text: str
    options: tuple[str, str]


QUESTIONS = (  # in place of the world's own, for every second scenario
    Question("Is this reasonable or unreasonable?", ("reasonable", "unreasonable")),
    Question("Is what {a} did acceptable or unacceptable?", ("acceptable", "unacceptable")),
    Question("Was {a} right to do so, yes or no?", ("yes", "no")),
    Question('Does the word "fair" fit, yes or no?', ("yes", "no")),
    Question("Which weighs more, A or B? (A) {0}. (B) {1}.", ("A", "B")),
    Question("(A) {1}. (B) {0}. Which of the two is to be named first, A or B?", ("A", "B")),
    Question("Which word describes how this stands to what one expects, agrees or violates?", ("agrees", "violates")),
    Question("What should {a} do now?", ("apologise", "explain")),
    Question("What is called for?", ("make amends", "wait and see")),
)
WORDINGS = (  # {0}: a fact; {1}: the same with a capital
    "{1}.", "What weighs here is that {0}.", "I notice that {0}.", "{1}, and that matters most to me.",
    "It counts that {0}.", "Above all, {0}.", "One thing stands out: {0}.", "The heart of it is that {0}.",
    "I keep coming back to this: {0}.", "Think of it: {0}.", "The text says that {0}.", "{1}, which is hard to ignore.",
)  # fmt: skip
CLOSINGS = (*[""] * 6, "That settles it for me.", "So I come to my answer.", "Nothing else changes this.")


def demonstrations(n: int, seed: int) -> list[Pair]:
    """`n` pairs of scenario and well-formed response; `n` is a multiple of 4.

    Scenarios come in random order, each once with each of its two options, one right after the other: so a batch of an
    even number is undecided, too, or the last ones would leave a leaning.
    """
    rows = _asked(n, seed)
    rng = generator(seed, "demonstrations/reasons")
    in_turn = [(rows[i], option) for i in rng.permutation(len(rows)) for option in rng.permutation(rows[i]["options"])]
    return [(row, f"<think>{reasons(facts_of(row), row['framework'], rng)}</think><answer>{option}</answer>")
            for row, option in in_turn]  # fmt: skip


def _asked(n: int, seed: int) -> list[dict]:
    """Scenarios from the warm start's side, every second one with another question than its world's."""
    rows = make_split(
        WORLD, "warm_start", n // 2, seed, domains=tuple(DOMAINS), styles=TRAIN_STYLES + HELD_OUT_STYLES,
        frameworks=tuple(FRAMEWORKS), facts_told=FACTS_TOLD,
    )  # fmt: skip
    rng = generator(seed, "demonstrations/questions")
    return [_asked_otherwise(row, QUESTIONS[i // 2 % len(QUESTIONS)], rng) if i % 2 else row
            for i, row in enumerate(rows)]  # fmt: skip


def _asked_otherwise(row: dict, other: Question, rng) -> dict:
    of_row = facts_of(row)
    told = rng.permutation(told_facts(of_row, row["framework"])).tolist()
    text = row["prompt"].removesuffix(question(row["framework"]))
    return row | {
        "prompt": text + other.text.format(*told, a=of_row.agent), "options": list(other.options), "answer": None,
    }  # fmt: skip


def told_facts(facts: Facts, framework: str) -> list[str]:
    """Clauses, without capital or full stop where they begin with no name, that every text about these facts tells."""
    told = [f"{facts.agent} {facts.deed}", clause(facts, framework), facts.circumstance_text]
    return [text for text in told if text]


def reasons(facts: Facts, framework: str, rng) -> str:
    """A fact of the text in one of many wordings, none of which leans to an option.

    One sentence as a rule: rewards pay an answer as a whole, so every token of the reasons adds noise to what is learnt
    about the option, and time.
    """
    fact = pick(rng, told_facts(facts, framework))
    return f"{_worded(pick(rng, WORDINGS), fact)} {pick(rng, CLOSINGS)}".strip()


def _worded(wording: str, fact: str) -> str:
    return wording.format(fact, fact[0].upper() + fact[1:])
