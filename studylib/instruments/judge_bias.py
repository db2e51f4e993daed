"""What a judge is partial to: length, place in the rubric, who wrote the response, and sentences that say nothing."""

from collections.abc import Callable

import numpy as np
import pandas as pd

from studylib.instruments.clustered import scenario_weights, weighted_mean, with_interval
from studylib.judge.prompts import graded_rows
from studylib.judge.variants import padded
from studylib.rewards.rubric import Grader, p_minus_n
from studylib.runs.keys import require_keys

SIGNS = {1: "wanted (weight > 0)", -1: "unwanted (weight < 0)"}


def credit_for(rows: pd.DataFrame, x: pd.Series) -> tuple[float, float, float]:
    """Credit that the judge gives for one unit of `x` at the same label, with its interval.

    Credit is p where a criterion is wanted and -p where it is not. It is regressed on x beside the label, the sign of
    the weight and their product: x gets only what labels do not explain. A judge that is unsure in general, so that
    its p shrink towards the middle, is partial to nothing. Rows without label or p are left out.
    """
    scored = rows.label.notna() & rows.p.notna()
    if x[scored].isna().any():
        raise ValueError(f"{int(x[scored].isna().sum())} of {int(scored.sum())} scored rows have no value of the cause")
    rows, x = rows[scored], x[scored].to_numpy(float)
    sign, y = np.sign(rows.weight.to_numpy(float)), rows.label.to_numpy()
    if not len(x):
        return np.nan, np.nan, np.nan
    columns = np.stack([x - x.mean(), np.ones_like(x), sign, y, sign * y], axis=1)
    if not np.ptp(x) or np.linalg.matrix_rank(columns[:, 1:]) == np.linalg.matrix_rank(columns):
        return np.nan, np.nan, np.nan  # x does not vary beyond the others
    columns = columns[:, _independent(columns)]
    w = scenario_weights(rows.scenario)
    gram = np.einsum("bn,ni,nj->bij", w, columns, columns, optimize=True)
    moment = np.einsum("bn,ni,n->bi", w, columns, sign * rows.p.to_numpy(), optimize=True)
    solved = np.linalg.pinv(gram, hermitian=True) @ moment[:, :, None]
    return with_interval(solved[:, 0, 0])


def _independent(columns: np.ndarray) -> list[int]:
    """Indices of columns none of which is a combination of earlier ones (one sign only, say)."""
    kept: list[int] = []
    for i in range(columns.shape[1]):
        if np.linalg.matrix_rank(columns[:, [*kept, i]]) == len(kept) + 1:
            kept.append(i)
    return kept


def partiality(rows: pd.DataFrame, own: str | None = None) -> pd.DataFrame:
    """Credit at the same label for a doubling of the length, for the last place in the rubric against the first, and
    for each model against all others; `own` marks the judge's own model (self-preference).

    Where every rubric has the same order, as in the embedded worlds, the place stands for the kind of criterion; then
    `reordered` of `padding_effect` is the check of the place itself. unscored: rows without label or p, which are left
    out, the same number in every line; absent where there are none. Raises ValueError for a row without scenario or
    model.
    """
    require_keys(rows, "scenario", "model")
    last = rows.groupby(["scenario", "model", "response"], dropna=False).position.transform("max").clip(lower=1)
    causes = [("twice the length", np.log2(rows.length.clip(lower=1))), ("last in the rubric", rows.position / last)]
    for model in rows.model.unique() if rows.model.nunique() > 1 else ():
        name = f"written by {model}" + (" (the judge's own)" if model == own else "")
        causes.append((name, (rows.model == model).astype(float)))
    lines = [(name, *credit_for(rows, x)) for name, x in causes]
    table = pd.DataFrame(lines, columns=["cause", "credit", "low", "high"])
    return with_unscored(table, int((rows.label.isna() | rows.p.isna()).sum()))


def with_unscored(table: pd.DataFrame, rows: int) -> pd.DataFrame:
    """The table with the number of rows that it leaves out, where there are any."""
    return table.assign(unscored=rows) if rows else table


def padding_effect(
    grade: Grader,
    responses: list[str],
    scenarios: list[dict],
    reference: Grader | None = None,
    pad: Callable[[str, str], str] = padded,
) -> pd.DataFrame:
    """What sentences that say nothing earn: change of the judge's p and of P - N by where they stand.

    Longer answers at the same content (length bias); `start` against `end` moves the content within the response
    (position bias). Responses that cannot be padded, and with a `reference` those on which it changes a grade, are
    left out. n: criteria or responses that stayed. unscored: those that could not be scored before or after, absent
    where there are none. reordered: largest change of p when the criteria come in reverse order; 0 up to rounding for a
    judge that is asked each on its own.
    """
    backwards = grade(responses, [{**s, "rubric": s["rubric"][::-1]} for s in scenarios])
    before = grade(responses, scenarios)
    reordered = _largest_change(before, [row[::-1] for row in backwards])
    right = reference(responses, scenarios) if reference else None
    tables = []
    for where in ("start", "end"):
        longer = [pad(response, where) for response in responses]
        still = reference(longer, scenarios) if reference else None
        same = [i for i, text in enumerate(longer) if text != responses[i] and (right is None or right[i] == still[i])]
        texts, rows, was = ([values[i] for i in same] for values in (longer, scenarios, before))
        tables.append(_changes(rows, was, grade(texts, rows)).assign(padding=where, reordered=reordered))
    table = pd.concat(tables, ignore_index=True)
    left_out = ["unscored"] if table["unscored"].any() else []
    return table[["padding", "of", "n", "change", "low", "high", "reordered", *left_out]]


def _largest_change(a: list[list[float | None]], b: list[list[float | None]]) -> float:
    pairs = [(x, y) for p, q in zip(a, b, strict=True) for x, y in zip(p, q, strict=True)]
    return max((abs(x - y) for x, y in pairs if x is not None and y is not None), default=np.nan)


def _changes(scenarios: list[dict], before, after) -> pd.DataFrame:
    """Mean change of p by the sign of the weight, and of P - N: of, n, change, low, high, unscored."""
    blank = [""] * len(scenarios)
    was, now = (graded_rows(blank, scenarios, blank, grades) for grades in (before, after))
    p = now.assign(change=now.label - was.label, of="p, " + np.sign(now.weight).map(SIGNS))
    weights = [[criterion["weight"] for criterion in scenario["rubric"]] for scenario in scenarios]
    scores = [[p_minus_n(*pair) for pair in zip(weights, grades, strict=True)] for grades in (before, after)]
    change = [np.nan if None in pair else pair[1] - pair[0] for pair in zip(*scores, strict=True)]
    whole = pd.DataFrame({"scenario": [s["id"] for s in scenarios], "change": change, "of": "P - N"})
    lines = []
    for of, group in pd.concat([p, whole]).groupby("of", dropna=False):
        part = group.dropna(subset=["change"])
        mean = weighted_mean(part.change.to_numpy(), scenario_weights(part.scenario))
        lines.append((of, len(part), *with_interval(mean), len(group) - len(part)))
    return pd.DataFrame(lines, columns=["of", "n", "change", "low", "high", "unscored"])
