"""Shaping one reward and combining several, as pure functions of the rewards of a step's answers.

r: (B,) or (B, R) floats, answers in groups of G to the same prompt, NaN where an answer could not be scored; such an
answer stays NaN and counts in no mean. PAR and LSC compare an answer with reference answers. Here these are the *other
answers of its group*: they come from the present policy, cost nothing and exist for every prompt. The papers sample
them from the untrained policy beforehand; here, therefore, the centre moves with the policy.
"""

import numpy as np
from scipy.optimize import nnls
from scipy.special import expit, log_expit

from studylib.names import SHAPINGS, Shaping
from studylib.rewards.groups import normalised

LSC_FLOOR = -4.0  # log-sigmoid falls without bound; below this an answer cannot get worse
CLIP = 1.0  # standard deviations
MORE_ALPHA = 0.99  # weight of the newest gradient in MORE's moving average


def shaped(r: np.ndarray, g: int, how: str) -> np.ndarray:
    """(B,) rewards after the shaping called `how`."""
    return SHAPINGS.of(how).shape(r, g)


def unshaped(r: np.ndarray, g: int) -> np.ndarray:
    return r


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


def tanh(r: np.ndarray, g: int) -> np.ndarray:
    """tanh of the difference to the mean of the group's other answers."""
    return np.tanh(r - _mean_of_others(r, g))


def _mean_of_others(r: np.ndarray, g: int) -> np.ndarray:
    """(B,) mean of the group's other scored answers; an answer's own reward where there are none."""
    groups = r.reshape(-1, g)
    known = ~np.isnan(groups)
    others = known.sum(1, keepdims=True) - known
    rest = np.nansum(groups, 1, keepdims=True) - np.nan_to_num(groups)
    return np.where(others, rest / np.maximum(others, 1), groups).ravel()


def clip(r: np.ndarray, g: int) -> np.ndarray:
    """Within one standard deviation of the step's mean."""
    if not _any(r):
        return r
    mean, sd = np.nanmean(r), np.nanstd(r)
    return np.clip(r, mean - CLIP * sd, mean + CLIP * sd)


def min_max(r: np.ndarray, g: int) -> np.ndarray:
    """From 0, the worst of the step, to 1, its best."""
    return _ratio(r - np.nanmin(r), np.nanmax(r) - np.nanmin(r)) if _any(r) else r


def mean_std(r: np.ndarray, g: int) -> np.ndarray:
    """Mean 0 and standard deviation 1 over the step."""
    return _ratio(r - np.nanmean(r), np.nanstd(r)) if _any(r) else r


def _ratio(x: np.ndarray, scale: float) -> np.ndarray:
    return x / scale if scale > 1e-9 else x  # rounding is no difference to scale up


def _any(r: np.ndarray) -> bool:
    return not np.isnan(r).all()


for how, shape in {
    "none": unshaped, "par": par, "lsc": lsc, "tanh": tanh, "clip": clip, "min_max": min_max, "mean_std": mean_std,
}.items():  # fmt: skip
    SHAPINGS.add(Shaping(how, shape))


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
