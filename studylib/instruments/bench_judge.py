"""How many criteria a second a judge answers, with each response encoded once for all of them and encoded for each."""

import time

import pandas as pd

JUDGED = ((128, 16, 8), (512, 24, 23))  # context tokens, question tokens, criteria: as embedded; as in MoReBench


def judge_throughput(model: str, shapes=JUDGED, responses: int = 4, repeats: int = 3) -> pd.DataFrame:
    """Criteria per second with each response encoded once for all its criteria, and encoded again for each.

    One row per shape: context, question, criteria, shared, again (medians of `repeats`), ratio.
    """
    import numpy as np
    import torch
    from transformers import AutoModelForCausalLM

    from studylib.judge.model import question_logits

    torch.set_num_threads(1)
    judge, rng, rows = AutoModelForCausalLM.from_pretrained(model, dtype=torch.float32), np.random.default_rng(0), []
    for p, q, n in shapes:
        contexts = rng.integers(0, 500, (responses, p)).tolist()
        questions = rng.integers(0, 500, (responses, n, q)).tolist()
        whole = torch.tensor([c + ask for c, asked in zip(contexts, questions, strict=True) for ask in asked])
        ways = {
            "shared": lambda c=contexts, qs=questions: question_logits(judge, c, qs, pad=0),
            "again": lambda ids=whole: judge(input_ids=ids, logits_to_keep=1),
        }
        with torch.no_grad():
            speed = {name: responses * n / _median_seconds(run, repeats) for name, run in ways.items()}
        rows.append((p, q, n, speed["shared"], speed["again"], speed["shared"] / speed["again"]))
    return pd.DataFrame(rows, columns=["context", "question", "criteria", "shared", "again", "ratio"])


def _median_seconds(run, repeats: int) -> float:
    """Median time of `repeats` calls, after one that is not counted."""
    seconds = []
    for _ in range(1 + repeats):
        started = time.perf_counter()
        run()
        seconds.append(time.perf_counter() - started)
    return sorted(seconds[1:])[repeats // 2]
