"""Supervised training on right answers: the policy's own reasons, and after them the answer as it should have been.

Labels come without reasons. Those that the policy gives itself are on-policy, so the gradient of their log-probability,
summed over tokens, is 0 in the mean, and what is taught is the answer alone. (A mean over tokens would weigh short
reasons more, and did: in a trial no reasons were left after 24 steps.) A run sees as many scenarios and samples as many
answers as one that is rewarded. An answer whose reasons do not end is left as it is, and earns nothing.
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
    """The answers (token ids) with a right option in place of theirs; where several are right, one by chance. One that
    cannot be told stays.

    ids: the scenario of each answer.
    """
    tokenizer, step = trainer.processing_class, trainer.state.global_step
    right = dict(zip(trainer.train_dataset["id"], trainer.train_dataset["right"], strict=True))
    texts = answer_texts(tokenizer, prompts, answers, trainer.eos_token_ids)
    rng = generator(trainer.params.seed, "training/told", step)
    chosen = [right[scenario][int(rng.integers(len(right[scenario])))] for scenario in ids]
    written = [with_answer(*of) for of in zip(texts, [opened(tokenizer, p) for p in prompts], chosen, strict=True)]
    return [
        own if text is None else tokenizer(text, add_special_tokens=False)["input_ids"] + [tokenizer.eos_token_id]
        for own, text in zip(answers, written, strict=True)
    ]


def with_answer(text: str, opened: str, option: str) -> str | None:
    """What is written after the tags that the prompt `opened`, so that the whole is well formed and answers `option`.

    text: an answer with those tags. None where its reasons do not end, or hold tags.
    """
    reasons = REASONS.match(text)
    if reasons and not ANY_TAG.search(reasons[1]):
        head = text[: max(reasons.end(), len(opened))]
    elif "<answer>" in opened:
        head = opened
    else:
        return None
    return f"{head}{'' if '<answer>' in head else '<answer>'}{option}</answer>".removeprefix(opened)
