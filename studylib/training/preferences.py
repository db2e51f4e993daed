"""DPO on the study's scenarios: pairs of the untrained policy's own answers, ranked by the study's reward."""

from collections.abc import Sequence

import numpy as np
import torch
from datasets import Dataset, disable_progress_bars
from transformers import PrinterCallback, ProgressCallback
from trl import DPOConfig, DPOTrainer

from studylib import processes
from studylib.rewards.groups import best_minus_worst
from studylib.rewards.shaping import total
from studylib.text.tokens import answer_texts, prompt_tokens
from studylib.training.config import shared_config


def best_and_worst(rewards: Sequence[float], g: int) -> list[tuple[int, int]]:
    """(index of a best, index of a worst answer) of every group of `g` in which answers differ; first ones on ties.

    An answer whose reward is NaN could not be scored and is in no pair.
    """
    worth = best_minus_worst(torch.tensor(rewards, dtype=torch.float64), g)
    best, worst = ((worth == sign).nonzero().flatten().tolist() for sign in (1, -1))
    return list(zip(best, worst, strict=True))


def sample_pairs(trainer) -> tuple[Dataset, float, int]:
    """Pairs (token ids of prompt, chosen and rejected) from G answers to every training scenario, their mean reward,
    and the tokens they took.

    As many scenarios, answers and at most as many tokens as a GRPO run of the same parameters generates.
    """
    g, rows = trainer.params.generations, list(trainer.train_dataset)
    asked = [row["prompt"] for row in rows for _ in range(g)]
    ids = [row["id"] for row in rows for _ in range(g)]
    trainer.generated = 0
    prompts = prompt_tokens(trainer.processing_class, asked)
    answers = trainer.sample(prompts, ids)
    texts = answer_texts(trainer.processing_class, prompts, answers, trainer.eos_token_ids)
    chats = [[{"role": "assistant", "content": text}] for text in texts]
    functions = trainer.reward_funcs[: len(trainer.params.reward_weights)]
    scored = processes.of_first(
        lambda: [function(completions=chats, id=ids, log_metric=lambda *_: None) for function in functions]
    )
    p, columns = trainer.params, np.array(scored, dtype=float).T
    rewards = total(columns, np.array(list(p.reward_weights.values())), g, p.shaping, p.combination).tolist()
    pairs = [
        {"prompt_ids": prompts[best], "chosen_ids": answers[best], "rejected_ids": answers[worst]}
        for best, worst in best_and_worst(rewards, g)
    ]
    if not pairs:
        raise ValueError("no group of answers has two different rewards, so DPO has no pairs to learn from")
    return Dataset.from_list(pairs), float(np.nanmean(rewards)), trainer.generated


def dpo_trainer(trainer, pairs: Dataset, kind: type[DPOTrainer]) -> DPOTrainer:
    """TRL's DPO on the policy of `trainer`, every pair once; the reference is the policy with its adapter switched off.

    More than one pass over the pairs pushes both answers of a pair down until no answer can be read any more. Of
    several processes each trains on all pairs: only the sampling, which takes longer, is dealt out.
    """
    disable_progress_bars()
    p = trainer.params
    pairs_per_update = max(1, p.answers_per_step // p.updates_per_batch // 2)  # a pair is two answers
    half = min(pairs_per_update, max(1, p.rows_per_pass // 2))
    terms = {"sigmoid": 1.0} | ({"sft": p.dpo_nll} if p.dpo_nll else {})
    config = DPOConfig(
        **shared_config(p), beta=p.beta, loss_type=list(terms), loss_weights=list(terms.values()),
        per_device_train_batch_size=half, gradient_accumulation_steps=max(1, pairs_per_update // half),
        num_train_epochs=1, logging_first_step=True, max_length=None,
    )  # fmt: skip
    dpo = kind(model=trainer.model, args=config, train_dataset=pairs, processing_class=trainer.processing_class)
    for parameter in dpo.model.parameters():
        if parameter.requires_grad:
            parameter.data = parameter.data.float()  # TRL casts LoRA to bf16 on quantised models
    dpo.remove_callback(PrinterCallback)
    dpo.remove_callback(ProgressCallback)
    return dpo
