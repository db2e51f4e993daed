"""How far a judge agrees with reference labels, how well it is calibrated, and what it is partial to.

Rows are those of `rewards.judge.graded_rows` (one for each response and criterion, `label` the reference) with `p`, the
judge's probability of yes; NaN is "no label" or "could not be scored", and both are counted, not dropped in silence.
Criteria of one scenario are alike, so intervals come from a bootstrap of scenarios (Field and Welsh 2007): percentiles
of 1000 draws. With fewer than five scenarios they are not estimable and are NaN.

**Agreement is with whoever gave the labels**, a program or another model, not with human judgement.
"""

import itertools
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd

from studylib.randomness import generator
from studylib.rewards.judge import Grader, graded_rows
from studylib.rewards.scores import p_minus_n
from studylib.rewards.variants import padded

PUBLISHED = pd.DataFrame(  # arXiv 2603.10588: a Qwen3-1.7B-Base judge against the labels of GPT-5
    [("published, MoReBench-Public", 0.8707), ("published, MoReBench-Theory", 0.6921)], columns=["group", "accuracy"]
).assign(grouping="published")
MEASURES = ("accuracy", "kappa", "auroc", "ece")
BINS = 10
MIN_SCENARIOS = 5
DRAWS = 1000


# --- measures: labels y and probabilities p, (n,); weights w, (draws, n) -> (draws,) ---------------------------------


def accuracy(y: np.ndarray, p: np.ndarray, w: np.ndarray) -> np.ndarray:
    """Share of verdicts (p > 1/2) that are those of the labels."""
    return w @ ((p > 0.5) == (y > 0.5)) / w.sum(1)


def kappa(y: np.ndarray, p: np.ndarray, w: np.ndarray) -> np.ndarray:
    """Cohen's kappa: agreement beyond that of two raters with these shares of yes; NaN where that is certain."""
    judged, labelled = (w @ (x > 0.5) / w.sum(1) for x in (p, y))
    by_chance = judged * labelled + (1 - judged) * (1 - labelled)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(by_chance < 1, (accuracy(y, p, w) - by_chance) / (1 - by_chance), np.nan)


def auroc(y: np.ndarray, p: np.ndarray, w: np.ndarray) -> np.ndarray:
    """Chance that a met criterion gets a higher p than an unmet one, ties count half; NaN without both."""
    order = np.argsort(p, kind="stable")
    starts = np.flatnonzero(np.r_[True, np.diff(p[order]) > 0])
    yes, no = (np.add.reduceat(w[:, order] * of[order], starts, axis=1) for of in (y > 0.5, y <= 0.5))
    below = no.cumsum(1) - no
    pairs = yes.sum(1) * no.sum(1)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(pairs > 0, (yes * (below + no / 2)).sum(1) / pairs, np.nan)


def ece(y: np.ndarray, p: np.ndarray, w: np.ndarray) -> np.ndarray:
    """Expected calibration error: |mean p - share of yes|, averaged over ten bins of p by their weight."""
    in_bin = np.eye(BINS)[_bin(p)]
    return np.abs((w * (p - y)) @ in_bin).sum(1) / w.sum(1)


def _bin(p: np.ndarray) -> np.ndarray:
    return np.minimum((p * BINS).astype(int), BINS - 1)


# --- intervals -------------------------------------------------------------------------------------------------------


def scenario_weights(scenarios: pd.Series, draws: int = DRAWS, seed: int = 0) -> np.ndarray:
    """(1 + draws, n): the first row is all ones; in the others a scenario counts as often as it was drawn.

    One row alone where there are too few scenarios for an interval.
    """
    codes, names = pd.factorize(scenarios)
    ones = np.ones((1, len(codes)))
    if len(names) < MIN_SCENARIOS:
        return ones
    drawn = generator(seed, "judge_report/bootstrap").multinomial(len(names), [1 / len(names)] * len(names), size=draws)
    return np.concatenate([ones, drawn[:, codes]])


def with_interval(values: np.ndarray, level: float = 0.95) -> tuple[float, float, float]:
    """(value, low, high): the first of `values` and percentiles of the others; NaN bounds without others.

    Bounds are NaN too when more than one draw in twenty has no value.
    """
    value, drawn = float(values[0]), values[1:]
    if not len(drawn) or np.isnan(drawn).mean() > 0.05:
        return value, np.nan, np.nan
    low, high = np.nanquantile(drawn, [(1 - level) / 2, (1 + level) / 2])
    return value, float(low), float(high)


# --- agreement -------------------------------------------------------------------------------------------------------


def agreement(rows: pd.DataFrame, by: str | None = None) -> pd.DataFrame:
    """One line per group: the four measures with their intervals, and what they must be held against.

    n: labelled and scored rows; unlabelled, unscored: rows left out because label or p is NaN; majority: accuracy of
    the best constant verdict.
    """
    groups = rows.groupby(by, sort=False) if by else [("all", rows)]
    lines = [{"grouping": by or "all", "group": str(name), **_agreement(part)} for name, part in groups]
    return pd.DataFrame(lines)


def _agreement(rows: pd.DataFrame) -> dict:
    labelled = rows[rows.label.notna()]
    scored = labelled[labelled.p.notna()]
    line = {
        "n": len(scored), "scenarios": scored.scenario.nunique(), "unlabelled": len(rows) - len(labelled),
        "unscored": len(labelled) - len(scored),
    }  # fmt: skip
    if scored.empty:
        bounds = [f"{name}{end}" for name in MEASURES for end in ("", "_low", "_high")]
        return line | dict.fromkeys(["share_yes", "majority", *bounds], np.nan)
    y, p = scored.label.to_numpy(), scored.p.to_numpy()
    share = float((y > 0.5).mean())
    line |= {"share_yes": share, "majority": max(share, 1 - share)}
    weights = scenario_weights(scored.scenario)
    for measure in (accuracy, kappa, auroc, ece):
        name = measure.__name__
        line |= dict(zip((name, f"{name}_low", f"{name}_high"), with_interval(measure(y, p, weights)), strict=True))
    return line


def with_groups(rows: pd.DataFrame) -> pd.DataFrame:
    """Rows with `sign` (wanted, unwanted) and `length_bin`: thirds of the texts by their characters."""
    texts = rows.drop_duplicates(["scenario", "model", "response"]).length
    edges = np.unique([0, *texts.quantile([1 / 3, 2 / 3]).astype(int), texts.max()])
    names = [f"{low + (low > 0)}-{high} characters" for low, high in itertools.pairwise(edges)]
    bins = pd.cut(rows.length, edges, labels=names, include_lowest=True) if len(edges) > 1 else "all of one length"
    return rows.assign(sign=np.where(rows.weight > 0, "wanted (weight > 0)", "unwanted (weight < 0)"), length_bin=bins)


def agreement_report(rows: pd.DataFrame, groupings=("dimension", "sign", "length_bin", "model")) -> pd.DataFrame:
    """`agreement` over all rows and by each grouping; with the published agreement as the last two lines."""
    rows = with_groups(rows)
    rows = rows.assign(length_bin=rows.length_bin.astype(str))
    return pd.concat([agreement(rows), *(agreement(rows, by) for by in groupings), PUBLISHED], ignore_index=True)


def reliability(rows: pd.DataFrame) -> pd.DataFrame:
    """Ten bins of p: n, mean p, share of yes with its interval."""
    scored = rows[rows.label.notna() & rows.p.notna()]
    of_bin, lines = _bin(scored.p.to_numpy()), []
    for b in np.unique(of_bin):
        part = scored[of_bin == b]
        share, low, high = with_interval(_mean(part.label.to_numpy(), scenario_weights(part.scenario)))
        lines.append((b, len(part), part.p.mean(), share, low, high))
    return pd.DataFrame(lines, columns=["bin", "n", "p", "share_yes", "low", "high"])


def _mean(x: np.ndarray, w: np.ndarray) -> np.ndarray:
    with np.errstate(invalid="ignore"):
        return w @ x / w.sum(1)


# --- what a judge is partial to --------------------------------------------------------------------------------------


def credit_for(rows: pd.DataFrame, x: pd.Series) -> tuple[float, float, float]:
    """Credit that the judge gives for one unit of `x` at the same label, with its interval.

    Credit is p where a criterion is wanted and -p where it is not. It is regressed on x beside the label, the sign of
    the weight and their product: x gets only what labels do not explain. A judge that is unsure in general, so that
    its p shrink towards the middle, is partial to nothing.
    """
    scored = rows.label.notna() & rows.p.notna() & x.notna()
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
    """
    last = rows.groupby(["scenario", "model", "response"]).position.transform("max").clip(lower=1)
    causes = [("twice the length", np.log2(rows.length.clip(lower=1))), ("last in the rubric", rows.position / last)]
    for model in rows.model.unique() if rows.model.nunique() > 1 else ():
        name = f"written by {model}" + (" (the judge's own)" if model == own else "")
        causes.append((name, (rows.model == model).astype(float)))
    lines = [(name, *credit_for(rows, x)) for name, x in causes]
    return pd.DataFrame(lines, columns=["cause", "credit", "low", "high"])


def padding_effect(
    grade: Grader,
    responses: list[str],
    scenarios: list[dict],
    reference: Grader | None = None,
    pad: Callable[[str, str], str] = padded,
) -> pd.DataFrame:
    """What sentences that say nothing earn: change of the judge's p and of P - N by where they stand.

    Longer answers at the same content (length bias); `start` against `end` moves the content within the response
    (position bias). With a `reference`, criteria on which it changes its verdict are left out: `n` tells how many
    stayed. reordered: largest change of p when the criteria come in reverse order; 0 up to rounding, because each is
    asked on its own.
    """
    models = ["-"] * len(responses)
    before = grade(responses, scenarios)
    plain = graded_rows(responses, scenarios, models, before)
    backwards = grade(responses, [{**s, "rubric": s["rubric"][::-1]} for s in scenarios])
    reordered = _largest_change(before, [row[::-1] for row in backwards])
    lines = []
    for where in ("start", "end"):
        longer = [pad(response, where) for response in responses]
        after = grade(longer, scenarios)
        change = plain.assign(p=graded_rows(longer, scenarios, models, after).label - plain.label)
        if reference:
            was, now = (graded_rows(r, scenarios, models, reference(r, scenarios)).label for r in (responses, longer))
            change = change[was == now]
        for sign, part in with_groups(change.dropna(subset=["p"])).groupby("sign"):
            effect = with_interval(_mean(part.p.to_numpy(), scenario_weights(part.scenario)))
            lines.append((where, f"p, {sign}", len(part), *effect, reordered))
        lines.append((where, "P - N", *_score_change(scenarios, before, after), reordered))
    return pd.DataFrame(lines, columns=["padding", "of", "n", "change", "low", "high", "reordered"])


def _largest_change(a: list[list[float | None]], b: list[list[float | None]]) -> float:
    pairs = [(x, y) for p, q in zip(a, b, strict=True) for x, y in zip(p, q, strict=True)]
    return max((abs(x - y) for x, y in pairs if x is not None and y is not None), default=np.nan)


def _score_change(scenarios, before, after) -> tuple[int, float, float, float]:
    """n, mean change of P - N, low, high."""
    weights = [[criterion["weight"] for criterion in scenario["rubric"]] for scenario in scenarios]
    scores = [[p_minus_n(*pair) for pair in zip(weights, grades, strict=True)] for grades in (before, after)]
    change = np.array([np.nan if None in pair else pair[1] - pair[0] for pair in zip(*scores, strict=True)])
    known = ~np.isnan(change)
    ids = pd.Series([scenario["id"] for scenario in scenarios])[known]
    return int(known.sum()), *with_interval(_mean(change[known], scenario_weights(ids)))


def write_report(rows: pd.DataFrame, out: Path, own: str | None = None, groupings=None) -> dict[str, pd.DataFrame]:
    """agreement.csv, partiality.csv, and the figures of both and of the reliability, in `out`; returns the tables."""
    from studylib.claims import judge_plots
    from studylib.claims.plots import save

    more = {"groupings": groupings} if groupings else {}
    tables = {
        "agreement": agreement_report(rows, **more), "partiality": partiality(rows, own),
        "reliability": reliability(rows),
    }  # fmt: skip
    for name, table in tables.items():
        save(getattr(judge_plots, f"plot_{name}")(table).figure, name, out, table)
    return tables
