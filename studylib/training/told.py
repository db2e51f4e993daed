"""Supervised training on right answers: the policy's own reasons, and after them the answer as it should have been.

Labels come without reasons. Those that the policy gives itself keep their length and variety, so what is taught is the
answer alone, and a run sees as many scenarios and samples as many answers as one that is rewarded. An answer whose
reasons do not end is told without any.
"""

import re

from studylib.names import OBJECTIVES
from studylib.params import RunParams
from studylib.randomness import generator
from studylib.scenarios.rows import accepted
from studylib.text.options import TAGS
from studylib.text.tokens import answer_texts, opened

REASONS = re.compile(r"\s*<think>(.*?)</think>", re.DOTALL)
ANY_TAG = re.compile("|".join(TAGS))


def right_answers(params: RunParams, rows: list[dict]) -> list[list[str]]:
    """The right options of each scenario; none where the objective does not tell them.

    Raises ValueError for a scenario without any where it does.
    """
    if not OBJECTIVES.of(params.objective).told:
        return [[] for _ in rows]
    for row in rows:
        if accepted(row) == {None: 1.0}:
            raise ValueError(f"objective {params.objective!r} needs right answers, and scenario {row['id']} has none")
    return [list(accepted(row)) for row in rows]


def told(trainer, prompts: list[list[int]], answers: list[list[int]], ids: list[str]) -> list[list[int]]:
    """The answers (token ids) with a right option in place of theirs; where several are right, one by chance.

    ids: the scenario of each answer.
    """
    tokenizer, step = trainer.processing_class, trainer.state.global_step
    right = dict(zip(trainer.train_dataset["id"], trainer.train_dataset["right"], strict=True))
    texts = answer_texts(tokenizer, prompts, answers, trainer.eos_token_ids)
    rng = generator(trainer.params.seed, "training/told", step)
    chosen = [right[scenario][int(rng.integers(len(right[scenario])))] for scenario in ids]
    written = [with_answer(*of) for of in zip(texts, [opened(tokenizer, p) for p in prompts], chosen, strict=True)]
    return [tokenizer(text, add_special_tokens=False)["input_ids"] + [tokenizer.eos_token_id] for text in written]


def with_answer(text: str, opened: str, option: str) -> str:
    """What is written after the tags that the prompt `opened`, so that the whole is well formed and answers `option`.

    text: an answer with those tags.
    """
    reasons = REASONS.match(text)
    usable = reasons and not ANY_TAG.search(reasons[1])
    head = text[: max(reasons.end(), len(opened))] if usable else opened or "<think>"
    for tag in ("</think>", "<answer>"):
        head += "" if tag in head or "<answer>" in head else tag
    return f"{head}{option}</answer>".removeprefix(opened)
