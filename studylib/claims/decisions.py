"""One word for a contrast, and one sentence for its readers.

|                     | 90 % interval inside the margin | 90 % interval not inside |
| ------------------- | ------------------------------- | ------------------------ |
| Holm p < .05        | both (trivial)                  | different                |
| Holm p >= .05       | equivalent                      | inconclusive             |

"No difference" is a finding only when equivalence was tested: the 90 % interval inside +-margin is the two one-sided
tests at 5 % (TOST). The margin is fixed before the runs. Equivalence is not corrected for the number of contrasts: each
"equivalent" errs in at most 5 % of studies, a list of many of them more often. With another alpha read 1 - alpha and
1 - 2 alpha for 95 % and 90 %.
"""

import math
from collections.abc import Mapping

MARGIN = 0.10
ALPHA = 0.05
MEANING = {
    "different": "the two differ",
    "equivalent": "the two are equivalent",
    "both (trivial)": "the two differ, by less than matters",
    "inconclusive": "these runs cannot tell",
    "not estimable": "too few seeds, or no spread between them, for any test",
}


def decide(
    low: float, high: float, low90: float, high90: float, p_holm: float, margin: float = MARGIN, alpha: float = ALPHA
) -> str:
    """Decision from the 1 - alpha and the 1 - 2 alpha interval of the difference and its Holm-adjusted p."""
    if not margin > 0:
        raise ValueError(f"the equivalence margin must be above 0, not {margin!r}")
    if any(math.isnan(value) for value in (low, high, low90, high90, p_holm)):
        return "not estimable"
    if not low <= low90 <= high90 <= high:
        raise ValueError(f"the 90 % interval [{low90}, {high90}] is not inside the 95 % interval [{low}, {high}]")
    different = p_holm < alpha
    equivalent = -margin < low90 and high90 < margin
    if different and equivalent:
        return "both (trivial)"
    return "different" if different else "equivalent" if equivalent else "inconclusive"


def sentence(row: Mapping, margin: float = MARGIN, alpha: float = ALPHA) -> str:
    """One row of the claims table in words; the 1 - 2 alpha interval is given where it decided."""
    if row["decision"] not in MEANING:
        raise ValueError(f"unknown decision {row['decision']!r}; allowed: {', '.join(MEANING)}")
    difference = "" if math.isnan(row["difference"]) else f" = {row['difference']:+.3f}"
    where = f"{row['world']}, {row['split']}, {row['endpoint']}: {row['contrast']}{difference}"
    status = f"{_lost(row)} This claim is {row['status']}." if "status" in row else _lost(row)
    if row["decision"] == "not estimable":
        return f"{where}; {MEANING['not estimable']} (not estimable).{status}"
    interval = f"{100 * (1 - alpha):.3g} % interval [{row['low']:+.3f}, {row['high']:+.3f}]"
    if row["decision"] in ("equivalent", "both (trivial)"):
        interval += f", {100 * (1 - 2 * alpha):.3g} % [{row['low90']:+.3f}, {row['high90']:+.3f}]"
    words = f"{MEANING[row['decision']]} ({row['decision']}, margin {margin:g})"
    return f"{where}, {interval}, Holm {_p(row['p_holm'])}; {words}.{status}"


def _lost(row: Mapping) -> str:
    """Which runs a contrast lacks because none of their answers could be scored; "" for none."""
    runs = row.get("unscored")
    if not isinstance(runs, str) or not runs:
        return ""
    if row["n"] == 0:
        return f" No answer could be scored in {runs}, so no pair is left."
    left = "1 pair is" if row["n"] == 1 else f"{row['n']} pairs are"
    return f" No answer could be scored in {runs}, so {left} left; runs without a score may be unlike the others."


def _p(value: float) -> str:
    return "p < .001" if value < 0.001 else f"p = {value:.3f}"
