"""The only file that imports pingouin (GPL-3.0): two functions that are the same in 0.6.1 and 0.7.

Not used, on purpose: `ttest` rounds its interval to two decimals, gives the Bayes factor as text and, for pairs, the
power of another design; `tost` has no interval and a default margin of 1; `bayesfactor_ttest` loses the peak of its
integral at large t. Its tables renamed columns in 0.6.0.
pingouin is imported where it is used, so that importing this file is cheap.
"""

import numpy as np


def holm(p_values: np.ndarray) -> np.ndarray:
    """Holm-adjusted p values of one family (Holm 1979)."""
    import pingouin

    return np.asarray(pingouin.multicomp(p_values, method="holm")[1], dtype=float)


def hedges_g(treatment: np.ndarray, baseline: np.ndarray) -> float:
    """Cohen's d_av of pairs, mean difference / sqrt((s1^2 + s2^2) / 2), times 1 - 3 / (4 * 2n - 9).

    That is the correction for two groups; of correlated pairs it leaves g too large (`statistics.noncentrality`).
    """
    import pingouin

    return float(pingouin.compute_effsize(treatment, baseline, paired=True, eftype="hedges"))
