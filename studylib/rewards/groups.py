"""What an answer is worth beside the other answers to its prompt: rewards (B,), rows in groups of G -> (B,).

The only implementation, in tensor methods alone: the objectives take their advantages from here, the shapings and the
check of idle ones (`training/idle.py`) call it on arrays through `normalised`. An answer whose reward is NaN could not
be scored: it is worth 0 and stands in no mean and no variance.
"""

import math

import numpy as np

EPS = 1e-4  # TRL's, added to standard deviations
ROUNDING = 1e-9  # a standard deviation up to this is none


def n_scored(r, g: int):
    """(B / G, 1) scored answers of each group."""
    return (~r.view(-1, g).isnan()).sum(1, keepdim=True)


def group_centred(r, g: int):
    """r - mean over the group. Dr. GRPO, arXiv 2503.20783."""
    groups = r.view(-1, g)
    return (groups - groups.nansum(1, keepdim=True) / n_scored(r, g).clamp(min=1)).nan_to_num().flatten()


def group_normalised(r, g: int, eps: float = EPS):
    """(r - mean) / (sd + eps) over the group, sd with n - 1 of its n scored answers. GRPO, arXiv 2402.03300.

    eps 0: exactly, and 0 where answers differ by rounding alone.
    """
    centred = group_centred(r, g).view(-1, g)
    sd = ((centred**2).sum(1, keepdim=True) / (n_scored(r, g) - 1).clamp(min=1)).sqrt()
    return (centred / (sd + eps if eps else sd.masked_fill(sd <= ROUNDING, math.inf))).flatten()


def leave_one_out(r, g: int):
    """r minus the mean of the group's other scored answers; 0 where there are none. RLOO, arXiv 2402.14740."""
    n = n_scored(r, g)
    return (group_centred(r, g).view(-1, g) * n / (n - 1).clamp(min=1)).flatten()


def best_of_group(r, g: int):
    """1 for the best answers of a group in which answers differ, else 0: supervised training on them (RFT)."""
    groups = r.view(-1, g)
    best, worst = _extremes(groups)
    return ((groups == best) & (best > worst)).float().flatten()


def as_paid(r, g: int):
    """What each answer is paid, and 0 for one that could not be scored: supervised training weighed by it."""
    return r.nan_to_num()


def best_minus_worst(r, g: int):
    """1 for a group's first best and -1 for its first worst answer, where answers differ: the pair DPO learns from."""
    groups = r.view(-1, g)
    best, worst = _extremes(groups)
    first = [(groups == extreme).cumsum(1).eq(1) & (groups == extreme) for extreme in (best, worst)]
    return ((first[0].float() - first[1].float()) * (best > worst)).flatten()


def _extremes(groups) -> tuple:
    """(B / G, 1) best and worst reward of each group; -inf and inf where none could be scored."""
    best = groups.nan_to_num(nan=-math.inf).amax(1, keepdim=True)
    return best, groups.nan_to_num(nan=math.inf).amin(1, keepdim=True)


def normalised(r: np.ndarray, g: int) -> np.ndarray:
    """`group_normalised` of an array, without TRL's epsilon; an answer that could not be scored stays NaN."""
    import torch

    worth = group_normalised(torch.from_numpy(np.ascontiguousarray(r)), g, eps=0).numpy()
    return np.where(np.isnan(r), np.nan, worth)
