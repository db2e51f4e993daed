"""Figure of the comparison: what every run scores against how diverse its training set is, measured in several ways."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from studylib.claims import plots
from studylib.claims.compared import Study
from studylib.claims.measured import slopes, varying

DRAWN = {  # measure -> its axis; three that vary are drawn
    "source_entropy": "entropy of sources (bits)",
    "domain_entropy": "entropy of domains (bits)",
    "vendi_about": "Vendi score, by what texts are about",
    "distance_wording": "mean distance, by wording (1 - cosine)",
    "style_entropy": "entropy of styles (bits)",
}


def draw_measured(study: Study, table: pd.DataFrame | None) -> Figure | None:
    """measured: every run, and the regression with its interval, by world and measure. table: what `write_measured`
    returned; None, and no file, without one."""
    names = [] if table is None else [name for name in DRAWN if name in varying(table)][:3]
    if not names:
        return None
    worlds, fitted = list(dict.fromkeys(table["world"])), slopes(table, study.endpoint)
    size = 6 * len(worlds), 4 * len(names) + 1
    figure, axes = plt.subplots(len(names), len(worlds), figsize=size, layout="constrained", squeeze=False)
    for world, column in zip(worlds, axes.T, strict=True):
        for name, ax in zip(names, column, strict=True):
            fit = fitted[(fitted["world"] == world) & (fitted["measure"] == name)]
            plot_measured(table[table["world"] == world], fit, ax, name, study.endpoint)
    handles, labels = axes[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=4, frameon=False, fontsize=plots.FONT - 1)
    plots.save(figure, "measured", study.out, table)
    return figure


def plot_measured(runs: pd.DataFrame, fit: pd.DataFrame, ax: Axes, measure: str, endpoint: str) -> Axes:
    """Every run of one world, a look per condition.

    The line has the slope of `slopes` and goes through the mean of all runs; the band is the slope's 95 % interval.
    """
    for condition, style in plots.looks(runs["condition"]).items():
        own = runs[runs["condition"] == condition]
        ax.plot(own[measure], own[endpoint], style["marker"], color=style["color"], markersize=7, label=condition)
    for row in fit.to_dict("records"):
        x = np.linspace(runs[measure].min(), runs[measure].max(), 50)
        z, middle = (x - runs[measure].mean()) / row["sd"], runs[endpoint].mean()
        ax.plot(x, middle + row["slope"] * z, color="black", linewidth=1.2)
        ax.fill_between(x, middle + row["low"] * z, middle + row["high"] * z, color="0.85", zorder=0)
    low, high = runs[endpoint].min(), runs[endpoint].max()
    ax.set_ylim(low - 0.1 * (high - low) - 0.01, high + 0.1 * (high - low) + 0.01)  # the band may leave it
    plots.label(ax, runs["world"].iloc[0], DRAWN[measure], f"{plots.in_words(endpoint)}\n({plots.unit(endpoint)})")
    return ax
