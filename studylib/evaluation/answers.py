"""Evaluation: one greedy answer and several samples per scenario, read by the same strict rules as the reward.

Where the run is rewarded by a rubric, every answer also has a `score` from the same grader.
"""

import math
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import torch

from studylib.evaluation.asking import asking_of
from studylib.evaluation.diversity import GREEDY
from studylib.evaluation.table import read_responses
from studylib.names import SOURCES
from studylib.params import RunParams
from studylib.paths import CACHE
from studylib.policy.forced import option_shares
from studylib.policy.models import require_positions
from studylib.policy.precision import precision
from studylib.policy.products import layers_dtype
from studylib.policy.rollout import Sampling, rollout, sampler
from studylib.policy.warm_start import start_key
from studylib.rewards import Grader, batch_reward
from studylib.rewards.correct import correct, format
from studylib.runs.contents import contents
from studylib.runs.folder import RESPONSES, is_complete, written_whole
from studylib.runs.provenance import CODE
from studylib.scenarios.prompts import USUAL, Asking, chat
from studylib.scenarios.rows import accepted, digest
from studylib.scenarios.selection import Splits
from studylib.text.readable import shares, unreadable_note
from studylib.text.stated import readable
from studylib.text.tokens import answer_texts, cut_off, end_tokens, prompt_tokens

COLUMNS = ["id", "split", "k", "response", "correct", "format", "readable", "cut_off", "forced"]


def respond(
    policy, tokenizer, rows: list[dict], params: RunParams, seed: int, stage: str, asking: Asking = USUAL
) -> pd.DataFrame:
    """One row per answer: id, split, k (0 greedy, then samples at temperature 1), response, correct, format, readable,
    cut_off (whether it reached max_new_tokens before its end), forced (of greedy answers: the mass that a forced choice
    gives to the options that are right; NaN of samples and of open responses).

    The k-th answer to a scenario has its own random stream, so it does not depend on what else is evaluated.
    """
    chats = [chat(row, params.instructed, asking) for row in rows]
    prompts = prompt_tokens(tokenizer, chats)
    require_positions(policy, prompts, params.max_new_tokens)
    model = sampler(params, policy)
    ends = end_tokens(policy, tokenizer)
    table = []
    for k in range(1 + params.eval_samples):
        how = Sampling(params.max_new_tokens, ends, temperature=float(k != GREEDY))
        keys = [(seed, stage, row["id"], k) for row in rows]
        answers = rollout(
            model, prompts, keys, how, tokenizer.pad_token_id, params.rollout_batch, params.rollout_compile
        )
        texts = answer_texts(tokenizer, prompts, answers, ends)
        forced = _forced(model, tokenizer, rows, prompts, texts, params) if k == GREEDY else [math.nan] * len(rows)
        for row, answer, response, mass in zip(rows, answers, texts, forced, strict=True):
            table.append((*_judged(row, k, response), cut_off(answer, ends), mass))
    return pd.DataFrame(table, columns=COLUMNS)


def _forced(model, tokenizer, rows: list[dict], prompts, texts: list[str], params: RunParams) -> list[float]:
    """The mass of each row's right options after the reasons of its answer; NaN where there are none."""
    closed = [i for i, row in enumerate(rows) if row["answer"] is not None]
    shares = option_shares(
        model, tokenizer, [prompts[i] for i in closed], [texts[i] for i in closed],
        [rows[i]["options"] for i in closed], params.max_new_tokens, params.rollout_batch,
    )  # fmt: skip
    mass = [math.nan] * len(rows)
    for i, of_options in zip(closed, shares, strict=True):
        right = accepted(rows[i])
        by_option = zip(rows[i]["options"], of_options, strict=True)
        mass[i] = sum(share for option, share in by_option if option in right)
    return mass


def _judged(row: dict, k: int, response: str) -> tuple:
    if row["answer"] is None:  # an open response, for a rubric alone
        return row["id"], row["split"], k, response, math.nan, math.nan, True
    read = readable(response, row["options"], bool(row.get("ratings")))
    return row["id"], row["split"], k, response, correct(response, row), format(response, row), read


def scored(answers: pd.DataFrame, rows: list[dict], params: RunParams, judge: Grader | None = None) -> pd.DataFrame:
    """`answers` with the rubric's `score` where the run is rewarded by one; NaN: could not be scored."""
    if "rubric" not in params.reward_weights:
        return answers
    by_id = {row["id"]: row for row in rows}
    score = batch_reward("rubric", rows, params, judge)
    values = score(answers["response"].tolist(), [by_id[i] for i in answers["id"]])
    return answers.assign(score=pd.array(values, dtype="float64"))


def evaluate(
    model, tokenizer, splits: Splits, params: RunParams, stage: str, judge: Grader | None = None
) -> pd.DataFrame:
    """Answers on every split but train, kept in the run folder. `stage`: 'before' or 'after' training.

    `judge` grades where `rubric_grader` is 'judge'. Answers that the run has already are read, not made again, and a
    complete run is left as it is. Before training the policy is the same for every condition and seed, so its answers
    are made once and kept in the cache too.
    """
    rows = [row for name, split in splits.items() if name != "train" for row in split]
    asking = asking_of(params, lambda *asked: _sampled_accuracy(model, tokenizer, params, *asked))

    def made() -> pd.DataFrame:
        answers = respond(model, tokenizer, rows, params, 0 if stage == "before" else params.seed, stage, asking)
        return scored(answers, rows, params, judge)

    path = params.run_dir / RESPONSES[stage]
    if path.is_file():
        answers = read_responses(path)
    else:
        answers = _kept(_before_path(params, rows, asking), made) if stage == "before" else made()
        if not is_complete(params.run_dir):
            answers = _kept(path, lambda: answers)
    if stage == "before" and params.steps:
        _say_if_unreadable(answers, rows, params)
    return answers


def _sampled_accuracy(model, tokenizer, params: RunParams, asking: Asking, rows: list[dict]) -> float:
    """Share of right ones, strictly read, of the sampled answers to scenarios that are asked so."""
    answers = respond(model, tokenizer, rows, params, 0, "instruction", asking)
    return answers.loc[answers["k"] != GREEDY, "correct"].mean()


def _kept(path: Path, make: Callable[[], pd.DataFrame]) -> pd.DataFrame:
    """The table of a file, which is made where it is not there."""
    if not path.is_file():
        with written_whole(path) as scratch:
            make().to_parquet(scratch)
    return pd.read_parquet(path)


def _say_if_unreadable(answers: pd.DataFrame, rows: list[dict], params: RunParams) -> None:
    options = {row["id"]: row["options"] for row in rows}
    read = ((a.response, options[a.id], a.cut_off) for a in answers.itertuples())
    if message := unreadable_note(shares(read, SOURCES.of(params.source).rated), params.max_new_tokens):
        print(f"note: {message}")


def _before_path(params: RunParams, rows: list[dict], asking: Asking) -> Path:
    """Cache of the answers before training, by the content of all that they and their scores depend on."""
    base = start_key(params)
    truths = [(row["options"], row["answer"], row["accepted"]) for row in rows]
    chats = [chat(row, params.instructed, asking) for row in rows]
    asked = [(row["id"], *of_row) for row, *of_row in zip(rows, chats, truths, strict=True)]
    how = [
        params.eval_samples, params.max_new_tokens, params.engine, params.rollout_weights, params.rollout_compile,
        params.device, str(precision(params.device).dtype), str(layers_dtype()), torch.__version__,
    ]  # fmt: skip
    if "rubric" in params.reward_weights:
        how += [params.rubric_grader, params.rubric_score, [row["rubric"] for row in rows]]
    key = digest(base, asked, how, contents(params), CODE)
    return CACHE / "before" / f"{key}.parquet"
