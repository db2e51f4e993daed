"""The held-out curve: what a policy scores on a few held-out scenarios while it is trained."""

from collections.abc import Mapping

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from studylib.claims.plots import label, legend_below, plot_curves
from studylib.claims.saturation import seen

WORDS = {"accuracy": "right answers", "faithful": "answers whose reasons hold"}  # what is seen at a look
LOOKS = {  # colour-blind safe, and apart in grey
    "accuracy": {"color": "#0173b2", "marker": "o", "linestyle": "-"},
    "faithful": {"color": "#de8f05", "marker": "s", "linestyle": "--"},
}


def plot_run(logged: pd.DataFrame, looks: pd.DataFrame) -> Figure:
    """One run: its reward at every step, and beside it what was seen of held-out scenarios where it was looked at.

    logged: lines of metrics.jsonl; looks: what `runs/read.py` finds of looks in them.
    """
    panels = 1 + (len(looks) > 0)
    figure, axes = plt.subplots(1, panels, figsize=(6 * panels, 4.5), layout="constrained", squeeze=False)
    plot_curves(logged, axes[0, 0])
    if len(looks):
        plot_run_looks(looks, axes[0, 1])
    return figure


def plot_run_looks(looks: pd.DataFrame, ax: Axes) -> Axes:
    """All that was seen of one run."""
    for name in seen(looks):
        ax.plot(looks["step"], looks[name].astype(float), **LOOKS[name], linewidth=2, markersize=7, label=WORDS[name])
    label(ax, looks["world"].iloc[0], "training step", "share of sampled answers,\nheld-out scenarios")
    ax.set_ylim(-0.02, 1.02)
    return legend_below(ax, 2)


def plot_looks(looks: pd.DataFrame, axes: Mapping[str, Axes]) -> None:
    """Every seed and the mean of each condition of one world; looks is what `read_held_out` returns.

    axes: what was seen -> its Axes, from above; the first names the world, the last has steps and legend.
    """
    for place, (name, ax) in enumerate(axes.items(), 1):
        plot_curves(looks, ax, name)
        last = place == len(axes)
        world, steps = looks["world"].iloc[0] if place == 1 else "", "training step" if last else ""
        label(ax, world, steps, f"{WORDS[name]} (share),\nheld-out scenarios")
        ax.set_ylim(-0.02, 1.02)
        if not last:
            ax.get_legend().remove()
