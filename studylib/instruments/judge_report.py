"""How far a judge agrees with reference labels, and how well it is calibrated; `judge_bias` says what it is partial to.

Rows are those of `rewards.judge.graded_rows` (one for each response and criterion, `label` the reference) with `p`, the
judge's probability of yes; NaN is "no label" or "could not be scored", and both are counted, not dropped in silence.
Intervals are clustered by scenario (`clustered.py`).

**Agreement is with whoever gave the labels**, a program or another model, not with human judgement.
"""

import itertools
from pathlib import Path

import numpy as np
import pandas as pd

from studylib.instruments.clustered import scenario_weights, weighted_mean, with_interval
from studylib.instruments.judge_bias import SIGNS, partiality, with_unscored
from studylib.randomness import generator
from studylib.runs.keys import require_keys

PUBLISHED = pd.DataFrame(  # arXiv 2603.10588: a Qwen3-1.7B-Base judge against the labels of GPT-5
    [("published, MoReBench-Public", 0.8707), ("published, MoReBench-Theory", 0.6921)], columns=["group", "accuracy"]
).assign(grouping="published")
INTERVALS = ("accuracy", "kappa", "auroc")  # measures with an interval
BINS = 10
CALIBRATED_DRAWS = 200


# --- measures: labels y and probabilities p, (n,); weights w, (draws, n) -> (draws,) ---------------------------------


def accuracy(y: np.ndarray, p: np.ndarray, w: np.ndarray) -> np.ndarray:
    """Share of grades (yes: p > 1/2) that agree with the labels."""
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


def ece_calibrated(p: np.ndarray) -> float:
    """Mean calibration error of a perfectly calibrated judge with these p: labels drawn from p itself.

    An error is never negative, so chance alone makes one, and drawing rows again (a bootstrap) adds to it: its
    percentiles lie above the truth. This floor takes the place of an interval (Vaicenavicius et al. 2019,
    arXiv 1902.06977). Labels are drawn one by one, so where criteria of a scenario are alike it is somewhat too low.
    """
    drawn = generator(0, "judge_report/calibrated").random((CALIBRATED_DRAWS, len(p))) < p
    return float((np.abs((p - drawn) @ np.eye(BINS)[_bin(p)]).sum(1) / len(p)).mean())


def _bin(p: np.ndarray) -> np.ndarray:
    return np.minimum((p * BINS).astype(int), BINS - 1)


# --- agreement -------------------------------------------------------------------------------------------------------


def agreement(rows: pd.DataFrame, by: str | None = None) -> pd.DataFrame:
    """One line per group: the four measures, three with their intervals, and what they must be held against.

    n: labelled and scored rows; unlabelled, unscored: rows left out because label or p is NaN; majority: accuracy of
    the best constant grade; ece_calibrated: calibration error that chance alone gives. Raises ValueError for a p that
    is no probability, and for a row without scenario, model or criterion where that is asked for; rows without another
    group are the group "none".
    """
    require_keys(rows, "scenario", *([by] if by in ("model", "criterion") else []))
    ranked = by and isinstance(rows[by].dtype, pd.CategoricalDtype)  # thirds by length come in their order
    groups = rows.groupby(by, sort=bool(ranked), observed=True, dropna=False) if by else [("all", rows)]
    names = {"grouping": by or "all"}
    lines = [names | {"group": "none" if pd.isna(name) else str(name), **_agreement(part)} for name, part in groups]
    return pd.DataFrame(lines)


def _agreement(rows: pd.DataFrame) -> dict:
    labelled = rows[rows.label.notna()]
    scored = labelled[labelled.p.notna()]
    line = {
        "n": len(scored), "scenarios": scored.scenario.nunique(), "unlabelled": len(rows) - len(labelled),
        "unscored": len(labelled) - len(scored),
    }  # fmt: skip
    if scored.empty:
        bounds = [f"{name}{end}" for name in INTERVALS for end in ("", "_low", "_high")]
        return line | dict.fromkeys(["share_yes", "majority", *bounds, "ece", "ece_calibrated"], np.nan)
    y, p = scored.label.to_numpy(), scored.p.to_numpy()
    if not ((p >= 0) & (p <= 1)).all():
        raise ValueError(f"a judge's p is a probability or NaN, not {p[~((p >= 0) & (p <= 1))][0]!r}")
    share = float((y > 0.5).mean())
    line |= {"share_yes": share, "majority": max(share, 1 - share)}
    weights = scenario_weights(scored.scenario)
    for name, measure in zip(INTERVALS, (accuracy, kappa, auroc), strict=True):
        line |= dict(zip((name, f"{name}_low", f"{name}_high"), with_interval(measure(y, p, weights)), strict=True))
    return line | {"ece": float(ece(y, p, weights[:1])[0]), "ece_calibrated": ece_calibrated(p)}


def with_groups(rows: pd.DataFrame) -> pd.DataFrame:
    """Rows with `sign` (wanted, unwanted) and `length_bin`: thirds of the texts by their characters."""
    require_keys(rows, "scenario", "model")
    texts = rows.drop_duplicates(["scenario", "model", "response"]).length
    edges = np.unique([0, *texts.quantile([1 / 3, 2 / 3]).astype(int), texts.max()])
    names = [f"{low + (low > 0)}-{high} characters" for low, high in itertools.pairwise(edges)]
    bins = pd.cut(rows.length, edges, labels=names, include_lowest=True) if len(edges) > 1 else "all of one length"
    return rows.assign(sign=np.sign(rows.weight).map(SIGNS), length_bin=bins)


def agreement_report(rows: pd.DataFrame, groupings=("dimension", "sign", "length_bin", "model")) -> pd.DataFrame:
    """`agreement` over all rows and by each grouping; with the published agreement as the last two lines."""
    rows = with_groups(rows)
    return pd.concat([agreement(rows), *(agreement(rows, by) for by in groupings), PUBLISHED], ignore_index=True)


def reliability(rows: pd.DataFrame) -> pd.DataFrame:
    """Ten bins of p: n, mean p, share of yes with its interval.

    unscored: rows in no bin because label or p is NaN, the same number in every line; absent where there are none.
    """
    scored = rows[rows.label.notna() & rows.p.notna()]
    of_bin, lines = _bin(scored.p.to_numpy()), []
    for b in np.unique(of_bin):
        part = scored[of_bin == b]
        share, low, high = with_interval(weighted_mean(part.label.to_numpy(), scenario_weights(part.scenario)))
        lines.append((b, len(part), part.p.mean(), share, low, high))
    table = pd.DataFrame(lines, columns=["bin", "n", "p", "share_yes", "low", "high"])
    return with_unscored(table, len(rows) - len(scored))


def write_report(rows: pd.DataFrame, out: Path, own: str | None = None, groupings=None) -> dict[str, pd.DataFrame]:
    """agreement.csv, partiality.csv, and the figures of both and of the reliability, in `out`; returns the tables."""
    from studylib.claims.plots import save
    from studylib.instruments import judge_plots

    more = {"groupings": groupings} if groupings else {}
    tables = {
        "agreement": agreement_report(rows, **more), "partiality": partiality(rows, own),
        "reliability": reliability(rows),
    }  # fmt: skip
    for name, table in tables.items():
        save(getattr(judge_plots, f"plot_{name}")(table).figure, name, out, table)
    return tables
