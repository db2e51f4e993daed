"""Supervised training on right answers: the policy's own reasons, and after them the answer as it should have been.

Labels come without reasons. Those that the policy gives itself are on-policy, so the gradient of their log-probability
is 0 in the mean and only noise: they are read and not trained on, and what is taught is the answer alone. A run sees as
many scenarios and samples as many answers as one that is rewarded. An answer whose reasons do not end is left as it is,
and earns nothing.

Rewards, too, can be made to count for the answer alone (`reasons_of`). That is a choice between noise and bias: reasons
are most of the tokens, and so of the gradient's noise, but what they do to the answer is then not learnt.
"""

import re
from bisect import bisect_left

import torch

from studylib.names import OBJECTIVES
from studylib.params import RunParams
from studylib.randomness import generator
from studylib.scenarios.rows import accepted
from studylib.scenarios.scale import levels
from studylib.text.options import TAGS
from studylib.text.tokens import answer_text, answer_texts, opened

REASONS = re.compile(r"\s*<think>(.*?)</think>", re.DOTALL)
ANY_TAG = re.compile("|".join(TAGS))


def right_answers(params: RunParams, rows: list[dict]) -> list[list[str]]:
    """The right options of each scenario, of what people rated each of their ratings; none where the objective does not
    tell them.

    Raises ValueError for a scenario without any where it does.
    """
    if not OBJECTIVES.of(params.objective).told:
        return [[] for _ in rows]
    for row in rows:
        if accepted(row) == {None: 1.0}:
            raise ValueError(f"objective {params.objective!r} needs right answers, and scenario {row['id']} has none")
    rated: dict[str, list[str]] = {}  # all ratings of what is asked in one way, also where each is a row of its own
    for row in rows:
        rated.setdefault(row["prompt"], []).extend(_rated(row))
    return [rated[row["prompt"]] or list(accepted(row)) for row in rows]


def _rated(row: dict) -> list[str]:
    """The options that people chose, as often as they did."""
    return [row["options"][levels(row["options"]).index(r["value"])] for r in row.get("ratings") or ()]


def told(trainer, prompts: list[list[int]], answers: list[list[int]], ids: list[str]) -> list[list[int]]:
    """The answers (token ids) with a right option in place of theirs; where several are right, one by chance. One that
    cannot be told stays.

    ids: the scenario of each answer. `trainer.reasons` gets how many tokens of each the policy chose itself.
    """
    tokenizer, step = trainer.processing_class, trainer.state.global_step
    right = dict(zip(trainer.train_dataset["id"], trainer.train_dataset["right"], strict=True))
    texts = answer_texts(tokenizer, prompts, answers, trainer.eos_token_ids)
    rng = generator(trainer.params.seed, "training/told", step)
    chosen = [right[scenario][int(rng.integers(len(right[scenario])))] for scenario in ids]
    written = [
        _written(tokenizer, own, text, opened(tokenizer, prompt), option)
        for own, text, prompt, option in zip(answers, texts, prompts, chosen, strict=True)
    ]
    trainer.reasons = [n for _, n in written]
    return [tokens for tokens, _ in written]


def _written(tokenizer, answer: list[int], text: str, opened: str, option: str) -> tuple[list[int], int]:
    """Token ids of what is told, and how many of them are the policy's own: all of an answer that cannot be told."""
    told_text = with_answer(text, opened, option)
    if told_text is None:
        return answer, len(answer)
    whole, kept = told_text
    tokens = tokenizer(whole, add_special_tokens=False, return_offsets_mapping=True)
    n = sum(end <= kept for _, end in tokens["offset_mapping"])
    return [*tokens["input_ids"], tokenizer.eos_token_id], n


def reasons_of(trainer, prompts: list[list[int]], answers: list[list[int]]) -> list[int]:
    """How many tokens of each answer are its reasons with their tags; 0 where they do not end, so that it is trained on
    as a whole. A token that begins before the end of the last tag is the reasons'. prompts, answers: token ids.
    """
    tokenizer, stops = trainer.processing_class, trainer.eos_token_ids
    texts = answer_texts(tokenizer, prompts, answers, stops)
    ends = [with_answer(text, opened(tokenizer, prompt), "") for text, prompt in zip(texts, prompts, strict=True)]

    def first(answer: list[int], letters: int) -> int:
        """How many tokens make so many letters."""
        return bisect_left(
            range(len(answer)), letters, key=lambda n: len(answer_text(tokenizer, (), answer[:n], stops))
        )

    return [first(answer, end[1] if end else 0) for answer, end in zip(answers, ends, strict=True)]


def after_reasons(advantages: torch.Tensor, reasons: torch.Tensor, width: int) -> torch.Tensor:
    """(B, T) from (B,): 0 for the first `reasons` (B,) tokens of each answer."""
    return advantages[:, None] * (torch.arange(width, device=reasons.device) >= reasons[:, None])


def with_answer(text: str, opened: str, option: str) -> tuple[str, int] | None:
    """What is written after the tags that the prompt `opened`, so that the whole is well formed and answers `option`,
    and how many of its letters are the policy's own: its reasons with their tags.

    text: an answer with those tags. None where its reasons do not end, or hold tags.
    """
    reasons = REASONS.match(text)
    if reasons and not ANY_TAG.search(reasons[1]):
        own = text[: max(reasons.end(), len(opened))]
    elif "<answer>" in opened:
        own = opened
    else:
        return None
    whole = f"{own}{'' if '<answer>' in own else '<answer>'}{option}</answer>"
    return whole.removeprefix(opened), len(own) - len(opened)
