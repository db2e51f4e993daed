"""The judge: a language model that answers each criterion of a rubric with yes or no, read from its two tokens.

The context (scenario and response) is encoded once for all criteria, in training and in grading: its KV cache is
repeated and only the questions are run for each of them, with gradients through the cache. A hub model is an NF4 base
with a LoRA adapter (QLoRA); the embedded judge is a tiny model of its own, trained from nothing, whose tokenizer knows
the words of criteria too. Like a policy, a judge stays in train() mode with every dropout at 0 (see `models.py`).
"""

import dataclasses
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from peft import PeftModel, get_peft_model
from transformers import AutoModelForCausalLM, AutoTokenizer

from studylib.judge.prompts import context, p_yes, question, refuse_shared
from studylib.names import model_of
from studylib.params import RunParams
from studylib.paths import ROOT, at_home
from studylib.policy.models import load_base, lora, sampling_mode
from studylib.policy.precision import precision
from studylib.policy.scoring import repeat_cache
from studylib.policy.supervised import update
from studylib.policy.tiny import tiny_model, tiny_tokenizer
from studylib.randomness import generator, torch_seed
from studylib.runs.folder import write_json
from studylib.scenarios.rows import rubric_of
from studylib.text.files import read_object
from studylib.typed import LARGEST_SEED, LEAST, MOST

FACTS = "judge.json"
TINY_VOCABULARY = 2048


class Judge:
    """A model with its tokenizer. `counts` says how many criteria were graded, and how many were not and why.

    facts: what judge.json holds. sees_scenario, base and revision; trained_on: ids of the scenarios that trained it.
    """

    def __init__(self, model, tokenizer, facts: dict, batch: int = 64):
        self.model, self.tokenizer, self.facts, self.batch = model, tokenizer, facts, batch
        self.yes, self.no = yes_no_tokens(tokenizer)
        self.pad = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else tokenizer.eos_token_id
        self.counts: Counter[str] = Counter()

    def grade(self, responses: list[str], scenarios: list[dict]) -> list[list[float | None]]:
        """The probability that each criterion of `scenario["rubric"]` is met; None where it is not a number.

        Responses of like length are graded together, `batch` at a time. One that the model cannot take whole gets None
        for every criterion. Neither ever becomes a 0; `counts` has both.
        """
        contexts = [self.encode(*pair) for pair in zip(responses, scenarios, strict=True)]
        questions = [self.encode_questions(scenario) for scenario in scenarios]
        grades: list[list[float | None]] = [[None] * len(row) for row in questions]
        fits = [i for i in range(len(contexts)) if self._fits(contexts[i], questions[i])]
        self.counts["too long"] += sum(map(len, questions)) - sum(len(questions[i]) for i in fits)
        order = sorted(fits, key=lambda i: len(contexts[i]))
        with sampling_mode(self.model):
            for start in range(0, len(order), self.batch):
                rows = order[start : start + self.batch]
                asked = [contexts[i] for i in rows], [questions[i] for i in rows]
                logits = question_logits(self.model, *asked, self.pad)
                read = iter([self._read(*pair) for pair in logits[:, [self.yes, self.no]].tolist()])
                for i in rows:
                    grades[i] = [next(read) for _ in questions[i]]
        return grades

    def _read(self, yes: float, no: float) -> float | None:
        p = p_yes(yes, no)
        self.counts["not a number" if p is None else "graded"] += 1
        return p

    def _fits(self, context: list[int], questions: list[list[int]]) -> bool:
        return len(context) + max(map(len, questions)) <= self.model.config.max_position_embeddings

    def encode(self, response: str, scenario: dict) -> list[int]:
        """Token ids of the context; control tokens that a response spells out are read as plain text."""
        text = context(response, scenario, self.facts["sees_scenario"])
        return self.tokenizer(text, split_special_tokens=True)["input_ids"]

    def encode_questions(self, scenario: dict) -> list[list[int]]:
        texts = [question(criterion) for criterion in rubric_of(scenario)]
        return self.tokenizer(texts, add_special_tokens=False)["input_ids"]

    def refuse(self, rows: Sequence[dict], purpose: str = "train a policy") -> None:
        """Raise ValueError when one of `rows` trained this judge."""
        refuse_shared(self.facts["trained_on"], rows, purpose)

    def save(self, folder: Path) -> None:
        """Model (or adapter), tokenizer and, written last, judge.json."""
        self.model.save_pretrained(folder)
        self.tokenizer.save_pretrained(folder)
        write_json(folder / FACTS, self.facts)

    @classmethod
    def load(cls, folder: Path | str, device: str = "cpu", batch: int = 64) -> "Judge":
        folder = at_home(folder)
        if not (folder / FACTS).is_file():
            raise ValueError(f"no judge in {folder}: it has no {FACTS}")
        facts = read_object(folder / FACTS)
        tokenizer = AutoTokenizer.from_pretrained(folder)
        if model_of(facts["base"]).made:
            model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).to(device)
        else:
            base, _ = load_base(_published(RunParams(model=facts["base"], revision=facts["revision"], device=device)))
            model = PeftModel.from_pretrained(base, folder)
        return cls(model, tokenizer, facts, batch)


def judge_of(params: RunParams, rows: Sequence[dict]):
    """The grader of a run whose rubric a judge grades, else None. Refuses a judge that was trained on one of `rows`."""
    if params.rubric_grader != "judge" or "rubric" not in params.reward_weights:
        return None
    judge = Judge.load(ROOT / params.judge, params.device)
    judge.refuse(rows)
    return judge.grade


def yes_no_tokens(tokenizer) -> tuple[int, int]:
    """Ids of " yes" and " no". Raises ValueError where they are not one token each."""
    ids = tokenizer([" yes", " no"], add_special_tokens=False)["input_ids"]
    if [len(row) for row in ids] != [1, 1]:
        raise ValueError(f"' yes' and ' no' must be one token each for a judge, not {ids}")
    return ids[0][0], ids[1][0]


def question_logits(
    model, contexts: Sequence[Sequence[int]], questions: Sequence[Sequence[Sequence[int]]], pad: int
) -> torch.Tensor:
    """(Q, V) logits after each question, in order: all questions of the first context, then of the second, ...

    contexts: token ids; questions: those of each context. Both are padded left, so a question ends in the last column
    and the padding between it and its context is masked.
    """
    ids, mask = _padded_left(contexts, pad, model.device)
    cache = model(
        input_ids=ids, attention_mask=mask, position_ids=(mask.cumsum(1) - 1).clamp(min=0), use_cache=True,
        logits_to_keep=1,
    ).past_key_values  # fmt: skip
    counts = torch.tensor([len(row) for row in questions], device=model.device)
    of_context = torch.repeat_interleave(torch.arange(len(contexts), device=model.device), counts)
    repeat_cache(cache, counts, of_context)
    ids, own = _padded_left([question for row in questions for question in row], pad, model.device)
    seen = torch.cat([mask[of_context], own], dim=1)
    return model(
        input_ids=ids,
        attention_mask=seen,
        position_ids=(seen.cumsum(1) - 1).clamp(min=0)[:, mask.shape[1] :],
        past_key_values=cache,
        logits_to_keep=1,
    ).logits[:, -1]


def _padded_left(rows: Sequence[Sequence[int]], pad: int, device) -> tuple[torch.Tensor, torch.Tensor]:
    """Token ids and their mask, (len(rows), longest)."""
    width = max(map(len, rows))
    ids = torch.tensor([[pad] * (width - len(row)) + list(row) for row in rows], device=device)
    mask = torch.tensor([[0] * (width - len(row)) + [1] * len(row) for row in rows], device=device)
    return ids, mask


# --- making and training ---------------------------------------------------------------------------------------------


class Recipe(NamedTuple):
    """How a judge is trained; the defaults are the embedded judge's."""

    steps: int = 400
    responses_per_step: int = 48
    criteria_per_response: int = 6  # drawn anew each time that a response comes up
    learning_rate: float = 2e-3  # peak; linear warm-up, cosine decay to 0
    seed: int = 0

    def check(self) -> None:
        """Refuse counts below 1, a seed that numpy does not take, and a learning rate that trains nothing."""
        least = {"steps": 1, "responses_per_step": 1, "criteria_per_response": 1, "seed": 0}
        for name, low in least.items():
            value = getattr(self, name)
            if type(value) is not int or not low <= value <= LARGEST_SEED:
                raise ValueError(f"recipe of a judge: {name} = {value!r} is not allowed: an integer >= {low}")
        rate = self.learning_rate
        if not isinstance(rate, float | int) or not LEAST <= rate <= MOST:
            raise ValueError(f"recipe of a judge: learning_rate = {rate!r} is not allowed: {LEAST:g} to {MOST:g}")


def new_tiny_judge(texts: Sequence[str], seed: int = 0, sees_scenario: bool = False) -> Judge:
    """An untrained embedded judge whose tokenizer knows the words of `texts` (contexts and questions)."""
    tokenizer = tiny_tokenizer([*texts, " yes no" * 100], TINY_VOCABULARY)
    with torch_seed(seed, "judge/model"):
        model = tiny_model(tokenizer, TINY_VOCABULARY)
    return Judge(model, tokenizer, _facts("tiny", "", sees_scenario))


def new_hub_judge(params: RunParams, sees_scenario: bool = False) -> Judge:
    """`params.model` as it is published, in NF4 with a LoRA adapter that does nothing yet: also the zero-shot judge."""
    model, tokenizer = load_base(_published(params))
    model = get_peft_model(model, lora(params))
    return Judge(model, tokenizer, _facts(params.model, params.revision, sees_scenario), params.micro_batch)


def _published(params: RunParams) -> RunParams:
    """A judge grades, so it has no use for the form that a policy's warm start teaches."""
    return dataclasses.replace(params, warm_start_steps=0)


def _facts(base: str, revision: str, sees_scenario: bool) -> dict:
    return {"base": base, "revision": revision, "sees_scenario": sees_scenario, "trained_on": []}


def train_judge(
    judge: Judge,
    responses: Sequence[str],
    scenarios: Sequence[dict],
    labels: Sequence[Sequence[float | None]],
    recipe: Recipe,
) -> list[float]:
    """Supervised training on the token yes or no; returns the loss of every step, nats per criterion.

    labels: as a grader gives them, above 0.5 is yes; None is left out. Every response comes up equally often.
    """
    recipe.check()
    data = [row for row in _encoded(judge, responses, scenarios, labels) if row[1]]
    if not data:
        raise ValueError("no label to train a judge on")
    judge.facts["trained_on"] = sorted(set(judge.facts["trained_on"]) | {scenario["id"] for scenario in scenarios})
    weights = [parameter for parameter in judge.model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(weights, lr=recipe.learning_rate, betas=(0.9, 0.98), weight_decay=0.0)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, recipe.learning_rate, total_steps=recipe.steps + 1, pct_start=0.1
    )
    device = judge.model.device.type
    scaler = torch.amp.GradScaler(device, enabled=precision(device).dtype == torch.float16)  # else it does nothing
    judge.model.train()
    losses = []
    for batch in _batches(data, recipe):
        loss = question_loss(judge, batch)
        scaler.scale(loss).backward()
        update(weights, optimizer, schedule, scaler)
        losses.append(float(loss.detach()))
    return losses


def _batches(data: list, recipe: Recipe):
    """`recipe.steps` batches of responses, each with some of its criteria; all responses before any comes again."""
    rng, deck = generator(recipe.seed, "judge/batches"), []
    for _ in range(recipe.steps):
        while len(deck) < recipe.responses_per_step:
            deck = rng.permutation(len(data)).tolist() + deck
        drawn = [data[deck.pop()] for _ in range(recipe.responses_per_step)]
        yield [
            (context, [asked[i] for i in rng.permutation(len(asked))[: recipe.criteria_per_response]])
            for context, asked in drawn
        ]


def _encoded(judge: Judge, responses, scenarios, labels) -> list[tuple[list[int], list[tuple[list[int], int]]]]:
    """(context, [(question, token of its label), ...]) of each response."""
    data = []
    for response, scenario, row in zip(responses, scenarios, labels, strict=True):
        pairs = zip(judge.encode_questions(scenario), row, strict=True)
        asked = [(ids, judge.yes if label > 0.5 else judge.no) for ids, label in pairs if label is not None]
        data.append((judge.encode(response, scenario), asked))
    return data


def question_loss(judge: Judge, batch) -> torch.Tensor:
    """Mean negative log-likelihood of the right token over the criteria of `batch`, see `_encoded`; nats."""
    questions = [[ids for ids, _ in asked] for _, asked in batch]
    targets = torch.tensor([token for _, asked in batch for _, token in asked], device=judge.model.device)
    dtype = precision(judge.model.device.type).dtype
    with torch.autocast(judge.model.device.type, dtype, enabled=dtype != torch.float32):
        logits = question_logits(judge.model, [context for context, _ in batch], questions, judge.pad)
    return torch.nn.functional.cross_entropy(logits.float(), targets)
