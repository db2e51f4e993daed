"""Shaping one reward and combining several, as pure functions of the rewards of a step's answers.

r: (B,) or (B, R) floats, answers in groups of G to the same prompt, NaN where an answer could not be scored; such an
answer stays NaN and counts in no mean. The references that PAR and LSC compare an answer with are here the *group's
other answers*: they come from the policy as it is, cost nothing and exist for every prompt, where the papers take
answers of the untrained policy, sampled beforehand. So the centre moves with the policy.
"""

import numpy as np
from scipy.optimize import nnls
from scipy.special import expit, log_expit

LSC_FLOOR = -4.0  # log-sigmoid falls without bound; below this an answer cannot get worse
CLIP = 1.0  # standard deviations
MORE_ALPHA = 0.99  # weight of the newest gradient in MORE's moving average


def shaped(r: np.ndarray, g: int, how: str) -> np.ndarray:
    """(B,) rewards after one of the shapings of `params.SHAPINGS`."""
    return {
        "none": lambda: r, "par": lambda: par(r, g), "lsc": lambda: lsc(r, g),
        "tanh": lambda: np.tanh(r - _mean_of_others(r, g)), "clip": lambda: _clip(r), "min_max": lambda: _min_max(r),
        "mean_std": lambda: _ratio(r - np.nanmean(r), np.nanstd(r)) if _any(r) else r,
    }[how]()  # fmt: skip


def par(r: np.ndarray, g: int) -> np.ndarray:
    """mean_j sigmoid(r_i - r_j) over the group's other answers, in (0, 1). PAR, arXiv 2502.18770, eq. 6."""
    groups = r.reshape(-1, g)
    wins = expit(groups[:, :, None] - groups[:, None, :])
    wins[:, np.arange(g), np.arange(g)] = np.nan
    known = (~np.isnan(wins)).sum(2)
    mean = np.where(known, np.nansum(wins, 2) / np.maximum(known, 1), 0.5)  # alone: as good as its like
    return np.where(np.isnan(groups), np.nan, mean).ravel()


def lsc(r: np.ndarray, g: int) -> np.ndarray:
    """log sigmoid(r - r_ref), r_ref the mean of the group's other answers, not below LSC_FLOOR. arXiv 2402.00742."""
    return np.maximum(log_expit(r - _mean_of_others(r, g)), LSC_FLOOR)


def _mean_of_others(r: np.ndarray, g: int) -> np.ndarray:
    """(B,) mean of the group's other scored answers; an answer's own reward where there are none."""
    groups = r.reshape(-1, g)
    known = ~np.isnan(groups)
    others = known.sum(1, keepdims=True) - known
    rest = np.nansum(groups, 1, keepdims=True) - np.nan_to_num(groups)
    return np.where(others, rest / np.maximum(others, 1), groups).ravel()


def _clip(r: np.ndarray) -> np.ndarray:
    """Within one standard deviation of the step's mean."""
    if not _any(r):
        return r
    mean, sd = np.nanmean(r), np.nanstd(r)
    return np.clip(r, mean - CLIP * sd, mean + CLIP * sd)


def _min_max(r: np.ndarray) -> np.ndarray:
    return _ratio(r - np.nanmin(r), np.nanmax(r) - np.nanmin(r)) if _any(r) else r


def _ratio(x: np.ndarray, scale: float) -> np.ndarray:
    return x / scale if scale > 1e-9 else x  # rounding is no difference to scale up


def _any(r: np.ndarray) -> bool:
    return not np.isnan(r).all()


def total(r: np.ndarray, weights: np.ndarray, g: int, shaping: str = "none", combination: str = "sum") -> np.ndarray:
    """(B,) one reward from (B, R): the shaped weighted sum, or with combination lsc sum_k w_k log sigmoid(r_k - ref_k).

    An answer of which one reward with a weight is missing has no total. Rewards of weight 0 are left out.
    """
    trained = weights != 0
    r, weights = np.where(np.isnan(r[:, trained]).any(1, keepdims=True), np.nan, r[:, trained]), weights[trained]
    if combination == "lsc":
        return np.stack([lsc(column, g) for column in r.T], 1) @ weights
    if combination == "normalise_then_sum":
        return np.stack([normalised(column, g) for column in r.T], 1) @ weights
    return shaped(r @ weights, g, shaping)


# --- advantages, without the epsilon that trainers add to the standard deviation -------------------------------------


def centred(r: np.ndarray, g: int) -> np.ndarray:
    """r minus the mean of its group."""
    groups = r.reshape(-1, g)
    known = ~np.isnan(groups)
    mean = np.nansum(groups, 1, keepdims=True) / np.maximum(known.sum(1, keepdims=True), 1)
    return (groups - mean).ravel()


def normalised(r: np.ndarray, g: int) -> np.ndarray:
    """`centred` over the group's standard deviation (G - 1); 0 where a group does not differ by more than rounding."""
    groups = centred(r, g).reshape(-1, g)
    n = (~np.isnan(groups)).sum(1, keepdims=True)
    sd = np.sqrt(np.nansum(groups**2, 1, keepdims=True) / np.maximum(n - 1, 1))
    return np.where(sd > 1e-9, groups / np.where(sd > 1e-9, sd, 1), groups * 0).ravel()


def best(r: np.ndarray, g: int) -> np.ndarray:
    """1 for the best of a group in which answers differ: what supervised training on the best learns from."""
    groups = r.reshape(-1, g).round(9)
    top = groups.max(1, keepdims=True)
    return ((groups == top) & (groups.min(1, keepdims=True) < top)).astype(float).ravel()


def best_minus_worst(r: np.ndarray, g: int) -> np.ndarray:
    """1 for a group's first best, -1 for its first worst answer: the pair that DPO learns from."""
    groups = r.reshape(-1, g).round(9)
    pair = np.zeros_like(groups)
    rows = np.flatnonzero(groups.max(1) > groups.min(1))
    pair[rows, groups.argmax(1)[rows]], pair[rows, groups.argmin(1)[rows]] = 1, -1
    return pair.ravel()


# --- MORE ------------------------------------------------------------------------------------------------------------


def min_norm_weights(gradients: np.ndarray) -> np.ndarray:
    """(R,) weights >= 0 of sum 1 that make |sum_k w_k g_k|^2 least; gradients (R, D). MGDA, arXiv 1810.04650.

    Exact: non-negative least squares of the gradients, each with a constant 1 appended, onto (0, ..., 0, 1) finds
    the point of their convex hull that is nearest to the origin, up to its scale. A gradient of 0 is no conflict and
    no goal: it gets weight 0, and if all are 0 the weights are equal.
    """
    gradients = np.asarray(gradients, float)
    norms = np.linalg.norm(gradients, axis=1)
    weights, moving = np.zeros(len(gradients)), norms > 0
    if not moving.any():
        return np.full(len(gradients), 1 / len(gradients))
    kept = gradients[moving] / norms.max()
    gram = np.linalg.cholesky(kept @ kept.T + 1e-12 * np.eye(len(kept)))  # same inner products, R dimensions
    solution, _ = nnls(np.vstack([gram.T, np.ones(len(kept))]), np.append(np.zeros(len(kept)), 1.0))
    weights[moving] = solution / solution.sum()
    return weights


def moved(average: np.ndarray | None, gradients: np.ndarray) -> np.ndarray:
    """MORE's moving average of each reward's gradient, (R, D): 0.01 of the old one and 0.99 of the new one."""
    return gradients if average is None else (1 - MORE_ALPHA) * average + MORE_ALPHA * gradients


def unit_rows(gradients: np.ndarray) -> np.ndarray:
    """Gradients of length 1; those of length 0 stay."""
    norms = np.linalg.norm(gradients, axis=1, keepdims=True)
    return gradients / np.where(norms > 0, norms, 1)
