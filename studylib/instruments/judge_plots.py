"""Figures of a judge: agreement by group, reliability, what it is partial to, and reward against check over training.

Bars are 95 % intervals clustered by scenario, or over seeds where a figure says so; where one is not estimable the
point stands alone.
"""

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes

from studylib.claims.plots import FONT, new_axes, seeds_in_curve

_BLUE, _ORANGE, _GREEN, _RED = sns.color_palette("colorblind").as_hex()[:4]
RUNNING = 9  # steps of the running mean
WORDS = {"all": "all", "dimension": "dimension", "sign": "weight", "length_bin": "length", "model": "written by",
         "criterion": "criterion"}  # fmt: skip


def plot_agreement(df: pd.DataFrame, ax: Axes | None = None) -> Axes:
    """Accuracy by group with its interval, that of the best constant grade, and the published agreement."""
    ours = df[df.grouping != "published"].reset_index(drop=True)
    ax = _tall(len(ours)) if ax is None else ax
    for row in ours.itertuples():
        _point(ax, row.accuracy, row.accuracy_low, row.accuracy_high, row.Index)
    ax.plot(ours.majority, ours.index, "|", color="black", markersize=13, label="best constant verdict")
    for row, dashes in zip(df[df.grouping == "published"].itertuples(), ("--", ":"), strict=False):
        words = f"published: Qwen3-1.7B on {row.group.replace('published, ', '')} against GPT-5 ({row.accuracy:.2f})"
        ax.axvline(row.accuracy, color=_ORANGE, linestyle=dashes, linewidth=1.8, label=words)
    _names(ax, [_name(row) for row in ours.itertuples()], "agreement with the labels (share of verdicts)")
    low = float(np.nanmin([*ours.accuracy_low, *ours.accuracy, *ours.majority, *df.accuracy]))
    ax.set_xlim(min(0.5, low) - 0.03, 1.01)
    return _legend(ax)


def _name(row) -> str:
    return row.group if row.grouping == "all" else f"{WORDS.get(row.grouping, row.grouping)}: {row.group}"


def plot_reliability(df: pd.DataFrame, ax: Axes | None = None) -> Axes:
    """Share of yes against the judge's probability, in ten bins; the number of grades stands at each point."""
    ax = new_axes(ax)
    ax.plot([0, 1], [0, 1], color="black", linestyle="--", linewidth=1.2, label="perfectly calibrated")
    for row in df.itertuples():
        error = None if np.isnan(row.low) else [[max(row.share_yes - row.low, 0)], [max(row.high - row.share_yes, 0)]]
        ax.errorbar(row.p, row.share_yes, yerr=error, fmt="o", color=_BLUE, capsize=4,
                    label="ten bins, each with its number of verdicts" if row.Index == 0 else None)  # fmt: skip
        above = row.share_yes < 0.5
        ax.annotate(f"{row.n}", (row.p, row.share_yes), xytext=(7, 7 if above else -13), textcoords="offset points",
                    fontsize=FONT - 4)  # fmt: skip
    ax.set(xlim=(-0.04, 1.08), ylim=(-0.04, 1.06))
    ax.set_xlabel("probability of yes that the judge gives", fontsize=FONT)
    ax.set_ylabel("share of yes in the labels", fontsize=FONT)
    sns.despine(ax=ax)
    ax.legend(frameon=False, fontsize=FONT - 2, loc="upper left")
    return ax


def plot_partiality(df: pd.DataFrame, ax: Axes | None = None) -> Axes:
    """Credit at the same label for each cause; an impartial judge has 0 everywhere."""
    df = df.reset_index(drop=True)
    ax = _tall(len(df)) if ax is None else ax
    ax.axvline(0, color="black", linewidth=1)
    for row in df.itertuples():
        _point(ax, row.credit, row.low, row.high, row.Index)
    _names(ax, list(df.cause), "credit given at the same label (probability)")
    return ax


def plot_gap(df: pd.DataFrame, ax: Axes | None = None) -> Axes:
    """Judge's minus checker's score of the same answers over training: each seed thin; thick, the running
    mean over seeds and nine steps, of the steps that every seed has a score of.

    df: arm, seed, step, gap. Above 0 the judge pays for what the checker does not find.
    """
    ax = new_axes(ax)
    ax.axhline(0, color="black", linewidth=1)
    looks = zip(df.arm.unique(), (_BLUE, _ORANGE, _GREEN, _RED), ("-", "--", "-.", ":"), strict=False)
    for arm, colour, dashes in looks:
        runs = df[df.arm == arm]
        table = runs.pivot(index="step", columns="seed", values="gap").dropna(axis="columns", how="all")
        ax.plot(table.index, table, color=colour, linewidth=0.5, alpha=0.35)
        mean = table.dropna().mean(axis="columns").rolling(RUNNING, center=True, min_periods=1).mean()
        ax.plot(
            mean.index, mean, color=colour, linestyle=dashes, linewidth=2.8, label=arm + seeds_in_curve(table, runs)
        )
    ax.set_xlabel(f"training step\nthin: every seed; thick: mean over seeds and {RUNNING} steps", fontsize=FONT)
    ax.set_ylabel("P - N by the judge, or flawed checker,\nminus P - N by the checker", fontsize=FONT)
    sns.despine(ax=ax)
    ax.legend(frameon=False, fontsize=FONT - 2, title="trained against")
    return ax


def _tall(n: int) -> Axes:
    import matplotlib.pyplot as plt

    return plt.subplots(figsize=(8, 1.6 + 0.3 * n), layout="constrained")[1]


def _point(ax: Axes, value: float, low: float, high: float, y: float) -> None:
    error = None if np.isnan(low) else [[max(value - low, 0)], [max(high - value, 0)]]
    ax.errorbar(value, y, xerr=error, fmt="o", color=_BLUE, markersize=6, capsize=4)


def _names(ax: Axes, names: list[str], x: str) -> None:
    ax.set_yticks(range(len(names)), names)
    ax.set_ylim(len(names) - 0.5, -0.5)
    ax.set_xlabel(x, fontsize=FONT)
    sns.despine(ax=ax)


def _legend(ax: Axes) -> Axes:
    below = 0.75 / ax.figure.get_figheight()  # inches, whatever the height
    ax.legend(loc="upper center", bbox_to_anchor=(0.3, -below), frameon=False, fontsize=FONT - 2)
    return ax
