"""Evaluation: one greedy answer and several samples per scenario, read by the same strict rules as the reward."""

import os
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from studylib.evaluation.rates import wilson
from studylib.params import RunParams
from studylib.paths import CACHE
from studylib.randomness import torch_seed
from studylib.rewards.verdict import format, read_answer, verdict
from studylib.scenarios.prompts import chat
from studylib.scenarios.rows import digest
from studylib.scenarios.selection import Splits
from studylib.training.models import sampling_mode
from studylib.training.warm_start import warm_start_key

GREEDY = 0  # index of the greedy answer; samples are 1..eval_samples


def generate(model, tokenizer, prompts: list[str], *, greedy: bool, max_new_tokens: int, batch: int) -> list[str]:
    """One answer to each prompt, in the order given; prompts of like length share a batch. T = 1 unless greedy."""
    sampling = {"do_sample": False} if greedy else {"do_sample": True, "temperature": 1.0, "top_k": 0, "top_p": 1.0}
    order = sorted(range(len(prompts)), key=lambda i: len(prompts[i]))
    answers = [""] * len(prompts)
    with sampling_mode(model):
        for start in range(0, len(order), batch):
            chosen = order[start : start + batch]
            encoded = tokenizer(
                [prompts[i] for i in chosen], return_tensors="pt", padding=True, add_special_tokens=False
            )
            output = model.generate(**encoded.to(model.device), max_new_tokens=max_new_tokens, **sampling)
            new = output[:, encoded["input_ids"].shape[1] :]
            for i, answer in zip(chosen, tokenizer.batch_decode(new, skip_special_tokens=True), strict=True):
                answers[i] = answer
    return answers


def respond(model, tokenizer, rows: list[dict], params: RunParams, seed: int, purpose: str) -> pd.DataFrame:
    """One row per answer: id, split, k (0 greedy, then samples), response, verdict, format, readable."""
    prompts = tokenizer.apply_chat_template(
        [chat(row, params.model != "tiny") for row in rows], add_generation_prompt=True, tokenize=False
    )
    how = {"max_new_tokens": params.max_new_tokens, "batch": params.eval_batch}
    with torch_seed(seed, purpose):
        greedy = generate(model, tokenizer, prompts, greedy=True, **how)
        samples = generate(model, tokenizer, prompts * params.eval_samples, greedy=False, **how)
    table = [
        (row["id"], row["split"], k, response, verdict(response, row), format(response, row),
         read_answer(response, row["options"]) is not None)
        for k, responses in enumerate([greedy, *np.array_split(np.array(samples, object), params.eval_samples)])
        for row, response in zip(rows, responses, strict=True)
    ]  # fmt: skip
    return pd.DataFrame(table, columns=["id", "split", "k", "response", "verdict", "format", "readable"])


def evaluate(model, tokenizer, splits: Splits, params: RunParams, stage: str) -> pd.DataFrame:
    """Answers on every split but train. `stage`: 'before' or 'after' training. Written once and read back after.

    Before training the policy is the same for every condition and seed, so its answers are kept in the cache.
    """
    rows = [row for name, split in splits.items() if name != "train" for row in split]
    path = _before_path(params, rows) if stage == "before" else params.run_dir / "responses.parquet"
    if not path.is_file():
        answers = respond(model, tokenizer, rows, params, 0 if stage == "before" else params.seed, f"evaluate/{stage}")
        path.parent.mkdir(parents=True, exist_ok=True)
        scratch = path.with_suffix(f".{os.getpid()}.tmp")
        answers.to_parquet(scratch)
        os.replace(scratch, path)
    return pd.read_parquet(path)


def _before_path(params: RunParams, rows: list[dict]) -> Path:
    base = warm_start_key(params) if params.model == "tiny" else [params.model, params.revision]
    how = [params.eval_samples, params.eval_batch, params.max_new_tokens, torch.__version__]
    key = digest(base, [(row["id"], row["answer"]) for row in rows], how, params.device)
    return CACHE / "before" / f"{key}.parquet"


def summarise(answers: pd.DataFrame, rows: list[dict]) -> dict:
    """Endpoints of one split. Rates are shares of answers; `base_rate` is what the best constant answer scores."""
    greedy, samples = answers[answers.k == GREEDY], answers[answers.k != GREEDY]
    low, high = wilson(greedy.verdict.sum(), len(greedy))
    gold = pd.Series([row["answer"] for row in rows])
    return {
        "accuracy_greedy": float(greedy.verdict.mean()),
        "accuracy_greedy_low": low,
        "accuracy_greedy_high": high,
        "accuracy_sampled": float(samples.verdict.mean()),
        "format": float(samples["format"].mean()),
        "unscorable": float(1 - samples.readable.mean()),
        "base_rate": float(gold.value_counts(normalize=True).max()),
        "scenarios": len(rows),
    }


def summary(before: pd.DataFrame, after: pd.DataFrame, splits: Splits) -> dict:
    """{"splits": {split: {"before": endpoints, "after": endpoints}}}, the content of summary.json."""
    stages = {"before": before, "after": after}
    return {
        "splits": {
            name: {stage: summarise(answers[answers.split == name], rows) for stage, answers in stages.items()}
            for name, rows in splits.items()
            if name != "train"
        }
    }
