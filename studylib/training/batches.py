"""Micro-batches of a step's answers: whole groups of like length, and nothing that cannot count."""

import torch

MEAN_OVER_ROWS = ("grpo", "dr_grpo", "sapo", "luspo")  # TRL's losses that divide by the rows they are given
SUM_OVER_STEP = ("dapo", "cispo", "vespo")  # and those that divide by the tokens of the whole step


def with_prompts(answers: dict, rows: torch.Tensor | slice = slice(None)) -> tuple[torch.Tensor, torch.Tensor]:
    """(B, P + C) token ids and mask of prompts and answers, as a model reads them; of some rows where asked."""
    return tuple(torch.cat([answers[f"{of}_{name}"][rows] for of in ("prompt", "completion")], 1)
                 for name in ("ids", "mask"))  # fmt: skip


def micro_batches(answers: dict, n: int, loss_type: str, skip_zero: bool, updates: int = 1) -> list[dict]:
    """The answers of a step in `n` micro-batches, with `share`: what the loss of each is to be multiplied by.

    answers: TRL's tensors, (B, ...), row by row. Answers to one prompt stay together and groups of like length too, so
    that prompts are shared and padding is cut. Answers without an unmasked token are left out, and with `skip_zero`
    those with advantage 0 too: their gradient is 0. The shares keep the sum over micro-batches what it is with all B
    answers. A micro-batch that would be empty holds one answer with share 0. With several `updates` per step, the
    groups are dealt to them in turn, and each gets n / updates of the micro-batches.
    """
    # An advantage of 0 leaves a policy loss no gradient. In a group without reward differences all of them are 0, and
    # training makes such groups more frequent (DAPO, arXiv 2503.14476, section 3.2).
    advantages, length = answers["advantages"], answers["completion_mask"].sum(1)
    group = torch.unique(answers["prompt_ids"], dim=0, return_inverse=True)[1]
    longest = torch.zeros_like(length).scatter_reduce(0, group, length, "amax")[group]
    counts = (advantages.reshape(len(advantages), -1).any(1) | (not skip_zero)) & (length > 0)
    keys = zip((~counts).tolist(), longest.tolist(), group.tolist(), strict=True)
    order = [row for _, row in sorted((key, row) for row, key in enumerate(keys))]  # those that count come first
    kept = torch.tensor(order[: int(counts.sum())], dtype=torch.long, device=group.device)
    turn = torch.unique_consecutive(group[kept], return_inverse=True)[1] % updates
    parts = [part for i in range(updates) for part in kept[turn == i].tensor_split(n // updates)]
    return [_micro_batch(answers, part, n, loss_type) for part in parts]


def _micro_batch(answers: dict, rows: torch.Tensor, n: int, loss_type: str) -> dict:
    total, width = answers["completion_mask"].shape
    # TRL takes the mean over a micro-batch's rows and averages the n micro-batches, as if each had total / n rows. It
    # has fewer or more here, so its mean counts in proportion. Sums over the step's tokens need no such weight.
    share = len(rows) * n / total if loss_type in MEAN_OVER_ROWS else float(len(rows) > 0)
    rows = rows if len(rows) else rows.new_zeros(1)
    used = max(1, int(answers["completion_mask"][rows].sum(1).max()))
    batch = {"share": share}
    for name, value in answers.items():
        by_row = _by_row(value, total)
        value = value[rows] if by_row else value
        by_token = by_row and not name.startswith("prompt") and value.dim() == 2 and value.shape[1] == width
        batch[name] = value[:, :used] if by_token else value
    return batch


def _by_row(value, total: int) -> bool:
    """Whether a value of TRL's has a row for each of the `total` answers; others hold for the whole step."""
    return isinstance(value, torch.Tensor) and value.dim() > 0 and len(value) == total


def idle_groups(advantages: torch.Tensor, g: int) -> torch.Tensor:
    """Indices of the groups in which no answer is better than another."""
    return (~advantages.view(-1, g).any(1)).nonzero().squeeze(1)


def refill(answers: dict, more: dict, idle: torch.Tensor, g: int, pad: int) -> dict:
    """`answers` with idle groups replaced by those of `more` in which answers differ: DAPO's dynamic sampling."""
    useful = torch.tensor([i for i in range(len(idle)) if i not in idle_groups(more["advantages"], g).tolist()]).long()
    to, of = _rows(idle[: len(useful)], g), _rows(useful, g)
    merged = dict(answers)
    for name, value in answers.items():
        if not _by_row(value, len(answers["advantages"])):
            continue
        new = more[name]
        if value.dim() == 2:
            fill = pad if name.endswith("_ids") else 0
            left = name.startswith("prompt")
            width = max(value.shape[1], new.shape[1])
            value, new = (_padded(x, width, fill, left) for x in (value, new))
        value = value.clone()
        value[to] = new[of]
        merged[name] = value
    merged["num_items_in_batch"] = merged["completion_mask"].sum()
    return merged


def _rows(groups: torch.Tensor, g: int) -> torch.Tensor:
    return (groups[:, None] * g + torch.arange(g, device=groups.device)).flatten()


def _padded(x: torch.Tensor, width: int, fill, left: bool) -> torch.Tensor:
    missing = width - x.shape[1]
    return torch.nn.functional.pad(x, (missing, 0) if left else (0, missing), value=fill)
