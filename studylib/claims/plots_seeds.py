"""Figures of how seeds differ, and of quality beside diversity; looks and labels are those of `plots`."""

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from scipy import stats

from studylib.claims.plots import (
    FONT,
    in_words,
    label,
    legend_below,
    looks,
    new_axes,
    not_estimable,
    one_world,
    unit,
)
from studylib.claims.statistics import NO_SPREAD, t_interval
from studylib.names import ENDPOINTS
from studylib.runs.read import ordered

CLOUD = 5  # seeds from which a density is drawn; of fewer it would show the kernel, not the data


def plot_seeds(df: pd.DataFrame, ax: Axes | None = None, split: str = "held_out_domains",
               endpoint: str = "accuracy_sampled") -> Axes:  # fmt: skip
    """Raincloud of one world: every seed (rain), the mean with its 95 % t interval, and from five seeds on a density.

    Rows are conditions; the seeds of a condition lie in order, so that a seed that is bad everywhere shows.
    """
    df = _cell(df, split, endpoint)
    styles = looks(df["condition"])
    ax = new_axes(ax, (6.5, max(4, 1.2 + 0.6 * len(styles))))
    for y, (condition, style) in enumerate(styles.items()):
        values = df[df["condition"] == condition].sort_values("seed")["after"].dropna().to_numpy()
        if not values.size:
            not_estimable(ax, (0.02, y), ("axes fraction", "data"))
            continue
        rain = y + 0.12 + 0.22 * np.linspace(0, 1, values.size)
        ax.plot(values, rain, style["marker"], color=style["color"], alpha=0.5, markersize=6)
        mean, low, high = t_interval(values)
        error = None if np.isnan(low) else [[mean - low], [high - mean]]
        ax.errorbar(mean, y, xerr=error, fmt=style["marker"], color=style["color"], markersize=8, capsize=5)
        if values.size >= CLOUD and np.ptp(values) > NO_SPREAD:
            reach, limits = 2 * values.std(), ENDPOINTS.of(endpoint).range
            grid = np.linspace(*np.clip([values.min() - reach, values.max() + reach], *limits), 200)
            height = stats.gaussian_kde(values)(grid)
            ax.fill_between(grid, y - 0.08, y - 0.08 - 0.34 * height / height.max(), color=style["color"], alpha=0.3)
    ax.set_yticks(range(len(styles)), styles)
    ax.set_ylim(len(styles) - 0.5, -0.6)
    what = f"{in_words(endpoint)} ({unit(endpoint)}), {in_words(split)}"
    label(ax, df["world"].iloc[0], f"{what}\nevery seed, the first on top; mean with 95 % t interval", "")
    return ax


def plot_pareto(df: pd.DataFrame, ax: Axes | None = None, quality: str = "accuracy", diversity: str = "distinct_n",
                name: str = "distinct bigrams among right answers (share)", endpoint: str = "accuracy_sampled"
                ) -> Axes:  # fmt: skip
    """Quality against diversity in one world: every seed faint, means strong, and the front of the means.

    df has one row per run: world, condition, seed and the two columns (`items.diversity_table`). A mean is on the front
    when no other is at least as good in both and better in one. Conditions whose diversity is not estimable in some
    seed (too few right answers for the budget) are left out and named below. endpoint: the sampled one that `quality`
    is (`items.sampled_endpoint`).
    """
    ax = new_axes(ax, (7.5, 5.5))
    means = one_world(df).groupby("condition")[[quality, diversity]].agg(lambda x: x.mean(skipna=False))
    drawn, styles = means.dropna(), looks(df["condition"])
    for condition, style in styles.items():
        if condition not in drawn.index:
            continue
        runs, mean = df[df["condition"] == condition], drawn.loc[condition]
        ax.plot(runs[quality], runs[diversity], style["marker"], color=style["color"], alpha=0.35, markersize=5)
        ax.plot(mean[quality], mean[diversity], style["marker"], color=style["color"], markersize=10, label=condition)
    front = pareto_front(drawn, quality, diversity)
    ax.plot(front[quality], front[diversity], color="0.4", linewidth=1.2, zorder=0, label="front of the means")
    missing = ordered(set(means.index) - set(drawn.index))
    left_out = f"\nnot estimable: {', '.join(missing)}" if missing else ""
    what = endpoint.removesuffix("_sampled")
    label(ax, df["world"].iloc[0], f"{what} ({unit(endpoint)}){left_out}", name)
    return legend_below(ax, 4, 0.6 + 0.2 * bool(missing))


def pareto_front(means: pd.DataFrame, quality: str, diversity: str) -> pd.DataFrame:
    """The rows that no other row beats, by quality."""
    points = means[[quality, diversity]].to_numpy()
    beaten = [bool(((points >= p).all(axis=1) & (points > p).any(axis=1)).any()) for p in points]
    return means[~np.array(beaten, dtype=bool)].sort_values(quality)


def plot_ranks(df: pd.DataFrame, ax: Axes | None = None, split: str = "held_out_domains",
               endpoint: str = "accuracy_sampled") -> Axes:  # fmt: skip
    """Would another seed rank the conditions alike? Rank of every condition in every seed (1 is best), in one world.

    Conditions by mean rank; the bar goes from the best to the worst rank. Kendall's W in the title is 1 when all seeds
    rank alike and about 1 / seeds when ranks are chance. A condition without any scored run, and a seed in which
    another one has none, are left out and named: their ranks would be among fewer.
    """
    df = _cell(df, split, endpoint)
    scores = df.pivot(index="seed", columns="condition", values="after")
    whole = scores.dropna(axis="columns", how="all").dropna()
    ranks = whole.rank(axis=1, ascending=False)
    names = ranks.mean().sort_values(kind="stable").index
    ax = new_axes(ax, (6.5, max(4, 1.2 + 0.4 * len(names))))
    if not len(names):
        not_estimable(ax, (0.02, 0.5), ("axes fraction", "axes fraction"))
    styles = looks(df["condition"])
    for y, (name, style) in enumerate((name, styles[name]) for name in names):
        ax.plot([ranks[name].min(), ranks[name].max()], [y, y], color=style["color"], linewidth=3, alpha=0.4)
        ax.plot(ranks[name], y + np.linspace(-0.15, 0.15, len(ranks)), style["marker"], color=style["color"], alpha=0.6)
        ax.plot(ranks[name].mean(), y, "|", color="black", markersize=16, markeredgewidth=2)
    ax.set_yticks(range(len(names)), names)
    ax.set_xticks(range(1, len(names) + 1))
    ax.set_ylim(max(len(names), 1) - 0.5, -0.5)
    left_out = [*(set(scores) - set(whole)), *(f"seed {seed}" for seed in scores.index.difference(whole.index))]
    what = f"\nleft out, not scored: {', '.join(sorted(left_out))}" if left_out else ""
    label(ax, df["world"].iloc[0], f"rank in each seed, 1 is best; bar: range, black: mean rank{what}", "")
    ax.set_title(f"{in_words(df['world'].iloc[0])}, Kendall's W = {kendall_w(ranks):.2f}", fontsize=FONT + 2)
    return ax


def kendall_w(ranks: pd.DataFrame) -> float:
    """Concordance of seeds (rows) in ranking conditions (columns), with Kendall's correction for ties; NaN for one."""
    m, k = ranks.shape
    if m < 2 or k < 2:
        return np.nan
    ties = sum(float((count**3 - count).sum()) for count in (row.value_counts() for _, row in ranks.iterrows()))
    spread = float(((ranks.sum() - m * (k + 1) / 2) ** 2).sum())
    most = m**2 * (k**3 - k) - m * ties
    return 12 * spread / most if most else np.nan


def plot_power(df: pd.DataFrame, ax: Axes | None = None) -> Axes:
    """Detectable difference of every planned contrast with its uncertainty; df is `power.power_table`, one world.

    The bar is the range that the 95 % interval of the seed-to-seed standard deviation leaves.
    """
    ax = new_axes(ax, (6.5, max(3.5, 1.4 + 0.34 * len(df))))
    if df.empty:
        ax.set_axis_off()
        ax.set_title("no planned contrast", fontsize=FONT + 2)
        return ax
    styles = looks(name for contrast in df["contrast"] for name in contrast.split(" - "))
    for y, row in enumerate(one_world(df).itertuples()):
        if np.isnan(row.sd):
            not_estimable(ax, (0.02, y), ("axes fraction", "data"))
            continue
        style, factor = styles[row.contrast.split(" - ")[0]], row.detectable / row.sd
        ax.plot([factor * row.sd_low, factor * row.sd_high], [y, y], color=style["color"], linewidth=2)
        ax.plot(row.detectable, y, style["marker"], color=style["color"], markersize=8, clip_on=False)
    ax.set_yticks(range(len(df)), df["contrast"])
    ax.set_ylim(len(df) - 0.5, -0.5)
    ax.set_xlim(left=0)
    what = "difference found with 80 % power, in units of the endpoint"
    label(ax, df["world"].iloc[0], f"{what}\nbar: what the 95 % interval of the seed-to-seed SD leaves", "")
    return ax


def _cell(df: pd.DataFrame, split: str, endpoint: str) -> pd.DataFrame:
    return one_world(df[(df["split"] == split) & (df["endpoint"] == endpoint)])
