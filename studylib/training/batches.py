"""Micro-batches of a step's answers: whole groups of like length, and nothing that cannot count."""

import torch

MEAN_OVER_ROWS = ("grpo", "dr_grpo", "sapo", "luspo")  # TRL's losses that divide by the rows they are given
SUM_OVER_STEP = ("dapo", "cispo", "vespo")  # and those that divide by the tokens of the whole step


def micro_batches(answers: dict, n: int, loss_type: str, skip_zero: bool) -> list[dict]:
    """The answers of a step in `n` micro-batches, with `share`: what the loss of each is to be multiplied by.

    answers: TRL's tensors, (B, ...), row by row. Answers to one prompt stay together and groups of like length too, so
    that prompts are shared and padding is cut. With `skip_zero`, answers with advantage 0 are left out: their gradient
    is 0. The shares keep the sum over micro-batches what it is with all B answers. A micro-batch that would be empty
    holds one answer with share 0.
    """
    advantages, length = answers["advantages"], answers["completion_mask"].sum(1)
    group = torch.unique(answers["prompt_ids"], dim=0, return_inverse=True)[1]
    longest = torch.zeros_like(length).scatter_reduce(0, group, length, "amax")[group]
    counts = advantages.reshape(len(advantages), -1).any(1) | (not skip_zero)
    keys = zip((~counts).tolist(), longest.tolist(), group.tolist(), strict=True)
    order = [row for _, row in sorted((key, row) for row, key in enumerate(keys))]
    parts = torch.tensor(order[: int(counts.sum())], dtype=torch.long).tensor_split(n)
    return [_micro_batch(answers, part, n, loss_type) for part in parts]


def _micro_batch(answers: dict, rows: torch.Tensor, n: int, loss_type: str) -> dict:
    total, width = answers["completion_mask"].shape
    share = len(rows) * n / total if loss_type in MEAN_OVER_ROWS else float(len(rows) > 0)
    rows = (rows if len(rows) else torch.zeros(1, dtype=torch.long)).to(answers["completion_mask"].device)
    used = int(answers["completion_mask"][rows].sum(1).max())
    batch = {"share": share}
    for name, value in answers.items():
        by_row = isinstance(value, torch.Tensor) and value.dim() and len(value) == total
        value = value[rows] if by_row else value
        by_token = by_row and not name.startswith("prompt") and value.dim() == 2 and value.shape[1] == width
        batch[name] = value[:, :used] if by_token else value
    return batch
