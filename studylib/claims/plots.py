"""Figures of the comparison: one Axes each, one colour, marker and line style per condition everywhere.

Error bars are 95 % t intervals over seeds; where the interval is not estimable the mean stands without one. Every seed
is drawn; nothing is smoothed. Conditions differ in marker and line style too, so that the figures read in grey. A run
of which no answer could be scored has no point, and a condition without any point is called not estimable.
"""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.transforms import ScaledTranslation

from studylib.claims.decisions import ALPHA, MARGIN
from studylib.claims.statistics import t_interval
from studylib.names import ENDPOINTS
from studylib.runs.read import WARM_START, ordered

_COLOURS = sns.color_palette("colorblind").as_hex()
PALETTE = {"narrow": _COLOURS[0], "medium": _COLOURS[1], "broad": _COLOURS[2], WARM_START: _COLOURS[7]}
MARKERS = {"narrow": "o", "medium": "s", "broad": "^", WARM_START: "x"}
DASHES = {"narrow": "-", "medium": "--", "broad": "-.", WARM_START: ":"}
_MORE = [  # further looks; colours come again, so markers that look alike differ in line; pink and yellow are too pale
    (_COLOURS[(3, 4, 5, 9, 0, 1, 2)[i % 7]], *look)
    for i, look in enumerate(
        [
            *(("D", "-"), ("v", "--"), ("P", "-."), ("1", ":"), ("*", "--"), ("<", "-"), (">", "-."), ("h", ":")),
            *(("p", "-"), ("d", "--"), ("8", "-."), ("+", "-"), ("s", ":"), ("^", ":"), ("X", "--"), ("o", "--")),
            *(("2", "-"), ("3", "--"), ("4", "-.")),
        ]
    )
]
FONT = 12
# csv files beside figures
TABLES = (
    "means", "claims", "runs", "notes", "power", "items", "rates", "iqm", "published", "saturation", "manipulation",
    "inputs_measured", "inputs_regression",
)  # fmt: skip


def looks(conditions: Iterable[str]) -> dict[str, dict]:
    """condition -> color, marker, linestyle; conditions without a fixed look get further ones in order of name."""
    conditions = ordered(conditions)
    others = [name for name in conditions if name not in PALETTE]
    if len(others) > len(_MORE):
        raise ValueError(f"{len(_MORE)} looks for {len(others)} conditions: {', '.join(others)}")
    known = {name: (PALETTE[name], MARKERS[name], DASHES[name]) for name in PALETTE}
    known |= dict(zip(others, _MORE, strict=False))
    return {name: dict(zip(("color", "marker", "linestyle"), known[name], strict=True)) for name in conditions}


def plot_means(
    df: pd.DataFrame,
    ax: Axes | None = None,
    split: str = "held_out_domains",
    endpoint: str = "accuracy_sampled",
    chance: float | None = None,
) -> Axes:
    """Every seed and the mean with its 95 % t interval per condition of one world; df is what `read_runs` returns.

    chance: what guessing gets (default: that of the endpoint's record).
    """
    ax, df = new_axes(ax), _one_cell(df, split, endpoint)
    styles = looks(df["condition"])
    for x, (condition, style) in enumerate(styles.items()):
        values = df[df["condition"] == condition].sort_values("seed")["after"].dropna().to_numpy()
        if not values.size:
            not_estimable(ax, (x, 0.5), ("data", "axes fraction"), rotation=90, ha="center")
            continue
        spread = x - 0.12 + np.linspace(-0.14, 0.14, values.size) * (values.size > 1)  # by seed, not at random
        ax.plot(spread, values, style["marker"], color=style["color"], alpha=0.45, markersize=6)
        mean, low, high = t_interval(values)
        error = None if np.isnan(low) else [[mean - low], [high - mean]]
        ax.errorbar(x + 0.16, mean, yerr=error, fmt=style["marker"], color=style["color"], markersize=7, capsize=7)
    warm_start = df.groupby("seed")["before"].mean().mean()
    if not np.isnan(warm_start):
        ax.axhline(warm_start, color=PALETTE[WARM_START], linestyle="--", label=f"warm start ({warm_start:.2f})")
    chance = ENDPOINTS.of(endpoint).chance if chance is None else chance
    if chance is not None:
        ax.axhline(chance, color="black", linestyle=(0, (1, 2)), linewidth=1.2, label=f"chance ({chance:g})")
    gap = condition_ticks(ax, styles)
    label(ax, df["world"].iloc[0], "condition", f"{in_words(endpoint)} ({unit(endpoint)})\n{in_words(split)}")
    return legend_below(ax, 2, gap)


def plot_contrasts(
    df: pd.DataFrame,
    ax: Axes | None = None,
    split: str = "held_out_domains",
    endpoint: str = "accuracy_sampled",
    margin: float = MARGIN,
    alpha: float = ALPHA,
) -> Axes:
    """Forest of paired differences with their 1 - alpha t intervals (thin) and the 1 - 2 alpha intervals of the
    equivalence test (thick), in one world; df is the claims table. `forest_height` says how tall it wants to be."""
    df = _one_cell(df, split, endpoint)
    ax = new_axes(ax, (7, forest_height(len(df))))
    forest(ax, df, margin)
    against = df["contrast"].str.rpartition(" - ")[2].to_numpy()
    for first in 1 + np.flatnonzero(against[1:] != against[:-1]):  # baseline, control, warm start: families apart
        ax.axhline(first - 0.5, color="0.5", linewidth=0.8, linestyle=(0, (4, 3)))
    ax.set_yticks(range(len(df)), df["contrast"].str.replace(WARM_START, "warm start"))
    level = f"{100 * (1 - alpha):.3g} % (thin) and {100 * (1 - 2 * alpha):.3g} % (thick) t intervals"
    label(ax, df["world"].iloc[0], f"difference in {in_words(endpoint)}\n{in_words(split)}; {level}", "")
    return legend_below(ax, 2, 0.75)


def forest(ax: Axes, df: pd.DataFrame, margin: float) -> None:
    """Rows of a claims table from above: difference, both intervals, decision, in the look of the treated condition."""
    ax.axvspan(-margin, margin, color="0.88", zorder=0, label=f"equivalence margin ±{margin:g}")
    ax.axvline(0, color="black", linewidth=1, label="no difference")
    styles = looks(name for contrast in df["contrast"] for name in contrast.split(" - "))
    for y, row in enumerate(df.itertuples()):
        style = styles[row.contrast.split(" - ")[0]]
        error = None if np.isnan(row.low) else [[row.difference - row.low], [row.high - row.difference]]
        ax.errorbar(row.difference, y, xerr=error, fmt=style["marker"], color=style["color"], markersize=7, capsize=4)
        if "low90" in df and not np.isnan(row.low90):
            ax.plot([row.low90, row.high90], [y, y], color=style["color"], linewidth=4, solid_capstyle="butt")
        ax.annotate(row.decision, (1.02, y), xycoords=("axes fraction", "data"), va="center", fontsize=FONT - 1)
    ax.set_ylim(len(df) - 0.5, -0.5)


def forest_height(rows: int) -> float:
    """Inches for a forest of so many contrasts: they stay apart."""
    return max(4.5, 1.6 + 0.34 * rows)


def plot_curves(df: pd.DataFrame, ax: Axes | None = None, metric: str = "reward") -> Axes:
    """Training curve of every seed (thin) and their mean (thick) in one world; df is what `read_curves` returns.

    The mean has only the steps that all seeds of its condition logged: it never jumps because a run ended, or because
    no answer of a step could be scored.
    """
    ax, df = new_axes(ax), one_world(df)
    logged = df.astype({metric: float}).dropna(subset=[metric])
    for place, (condition, style) in enumerate(looks(df["condition"]).items()):
        table = logged[logged["condition"] == condition].pivot(index="step", columns="seed", values=metric)
        name = condition + seeds_in_curve(table, df[df["condition"] == condition])
        for seed in table:
            run = table[seed].dropna()
            ax.plot(run.index, run, color=style["color"], linewidth=0.8, alpha=0.4)
        mean = table.dropna().mean(axis="columns")
        gap = max(len(mean) // 5, 1)  # a few markers on each curve, beside those of the others
        ax.plot(mean.index, mean, **style, linewidth=2, markersize=8, markeredgecolor="black", markeredgewidth=0.8,
                markevery=(place % gap, gap), label=name)  # fmt: skip
    what = "mean per answer" if metric == "reward" else "as logged"
    label(ax, df["world"].iloc[0], "training step", f"{in_words(metric)} ({what})")
    return legend_below(ax, 4)


def seeds_in_curve(table: pd.DataFrame, runs: pd.DataFrame) -> str:
    """What a legend must add where a curve (table: steps x seeds) is not of every seed of its runs; else ""."""
    seeds = runs["seed"].nunique()
    if table.dropna().empty:
        return ": not estimable"
    return f" ({table.shape[1]} of {seeds} seeds)" if table.shape[1] < seeds else ""


def save(fig: Figure, name: str, out_dir: Path | str, data: pd.DataFrame) -> list[Path]:
    """Writes the figure as pdf and png and what it shows as csv; the same data gives the same bytes."""
    if name in TABLES:
        raise ValueError(f"a figure named {name!r} would overwrite the table {name}.csv")
    out_dir = Path(out_dir)
    out_dir.mkdir(parents=True, exist_ok=True)
    paths = [out_dir / f"{name}.{suffix}" for suffix in ("pdf", "png", "csv")]
    fig.savefig(paths[0], bbox_inches="tight", metadata={"CreationDate": None})
    fig.savefig(paths[1], bbox_inches="tight", dpi=160)
    data.to_csv(paths[2], index=False)
    return paths


@contextmanager
def closing() -> Iterator[None]:
    """Close the figures that are made inside; in a notebook the figures of a cell stay open, so that it shows them."""
    before = set(plt.get_fignums())
    try:
        yield
    finally:
        for number in set(plt.get_fignums()) - before:
            plt.close(number)


def new_axes(ax: Axes | None, size: tuple[float, float] = (6, 4.5)) -> Axes:
    return plt.subplots(figsize=size, layout="constrained")[1] if ax is None else ax


def one_world(df: pd.DataFrame) -> pd.DataFrame:
    worlds = sorted(df["world"].unique())
    if len(worlds) != 1:
        raise ValueError(f"one Axes shows one world, not {worlds}")
    return df


def _one_cell(df: pd.DataFrame, split: str, endpoint: str) -> pd.DataFrame:
    cell = df[(df["split"] == split) & (df["endpoint"] == endpoint)]
    if cell.empty:
        raise ValueError(f"nothing to draw for split {split!r} and endpoint {endpoint!r}")
    return one_world(cell)


def not_estimable(ax: Axes, where: tuple[float, float], coordinates: tuple[str, str], **how) -> None:
    """Says in the figure that there is nothing to draw here."""
    ax.annotate("not estimable", where, xycoords=coordinates, va="center", fontsize=FONT - 1, **how)


def label(ax: Axes, world: str, x: str, y: str) -> None:
    ax.set_title(in_words(world), fontsize=FONT + 2)
    ax.set_xlabel(x, fontsize=FONT)
    ax.set_ylabel(y, fontsize=FONT)
    ax.tick_params(labelsize=FONT - 1)
    sns.despine(ax=ax)


def condition_ticks(ax: Axes, conditions: Iterable[str]) -> float:
    """Names the conditions along x, slanted where they are many; returns the height of the names in inches."""
    names = list(conditions)
    crowded = len(names) > 6
    ax.set_xticks(range(len(names)), names, rotation=40 if crowded else 0, ha="right" if crowded else "center")
    ax.set_xlim(-0.5, len(names) - 0.5)
    return 0.6 + (0.06 * max(map(len, names)) if crowded else 0)


def legend_below(ax: Axes, columns: int, gap: float = 0.6) -> Axes:
    """Legend `gap` inches below the axes, under the ticks and the label."""
    if not ax.get_legend_handles_labels()[0]:
        return ax
    below = ax.transAxes + ScaledTranslation(0, -gap, ax.figure.dpi_scale_trans)
    ax.legend(
        loc="upper center",
        bbox_to_anchor=(0.5, 0),
        bbox_transform=below,
        ncols=columns,
        frameon=False,
        handlelength=3.2,
        fontsize=FONT - 1,
    )
    return ax


def in_words(name: str) -> str:
    kind, _, how = name.partition("_")
    if how in ("sampled", "greedy"):
        return f"{kind} of {how} answers"
    return name.replace("_", " ").replace("held out", "held-out")


def unit(endpoint: str) -> str:
    """What the values of an endpoint count, as its record says."""
    return ENDPOINTS.of(endpoint).unit
