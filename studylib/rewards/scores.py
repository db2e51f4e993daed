"""Scores of a response from the verdicts on its criteria."""

import math
from collections.abc import Sequence


def p_minus_n(weights: Sequence[float], verdicts: Sequence[float | None]) -> float | None:
    """Weighted share of met positive criteria minus that of met negative ones (arXiv 2603.10588), in [-1, 1].

    verdicts: probabilities or 0 / 1. None where one of them is None or where no weight is positive; N is 0 without
    negative weights.
    """
    if len(weights) != len(verdicts):
        raise ValueError(f"{len(weights)} weights for {len(verdicts)} verdicts")
    positive = sum(w for w in weights if w > 0)
    if not positive or any(v is None or math.isnan(v) for v in verdicts):
        return None
    negative = -sum(w for w in weights if w < 0)
    p = sum(w * v for w, v in zip(weights, verdicts, strict=True) if w > 0) / positive
    return p + (sum(w * v for w, v in zip(weights, verdicts, strict=True) if w < 0) / negative if negative else 0.0)
