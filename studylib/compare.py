"""Compare the conditions of an axis: every table and every figure, from its run folders and its analysis plan alone.

`compare` reads from top to bottom. The cells of notebooks/4_compare_conditions.ipynb call the same stages one by one,
in the same order, and show what each of them returns; each stage writes its own files into the folder of the axis.
"""

import contextlib
from collections.abc import Callable
from pathlib import Path

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.figure import Figure

from studylib.axes import axis_names, read_axis
from studylib.claims import (
    answers,
    fairness,
    items,
    plots,
    plots_held_out,
    plots_seeds,
    power,
    published,
    saturation,
    tables,
)
from studylib.claims.compared import Study, refuse_unknown
from studylib.claims.factorial import write_interactions
from studylib.claims.manipulation import write_manipulation
from studylib.claims.measured import write_measured
from studylib.claims.plan import choose_plan
from studylib.claims.plots_measured import draw_measured
from studylib.claims.rater_groups import write_groups
from studylib.claims.stage import write_stage
from studylib.claims.summary import Summary, read_summary, why_other_runs, why_stale
from studylib.names import ENDPOINTS
from studylib.paths import RUNS, from_root
from studylib.runs.read import incomplete_runs, read_provenance


def compare(
    axis: str,
    profile: str = "tiny_cpu",
    *,
    baseline: str = "",
    margin: float = 0.0,
    split: str = "",
    endpoint: str = "",
    run_root: str = "runs",
    out_root: str = "figures",
) -> Path:
    """Write all tables and figures of an axis into out_root/<axis>, and return that folder.

    baseline, margin: others than the plan's ("" and 0) make every claim exploratory. split, endpoint: what the figures
    draw, the primary ones by default; an endpoint may be one that was written after the runs. Paths are relative to the
    repository. Raises ValueError for an unknown baseline, split or endpoint, and where there are no complete runs or
    they do not compare.
    """
    study = open_study(
        axis, profile, baseline=baseline, margin=margin, split=split, endpoint=endpoint,
        run_root=run_root, out_root=out_root,
    )  # fmt: skip
    with plots.closing():
        _, claims = write_tables(study)
        draw_means(study)
        draw_contrasts(study, claims)
        draw_curves(study)
        draw_held_out(study)
        write_saturation(study)
        write_fairness(study)
        needed = write_power(study)
        draw_power(study, needed)
        write_items(study)
        write_iqm(study)
        draw_seeds(study)
        draw_diversity(study)
        write_reasons(study)
        write_exchanges(study)
        write_manipulation(study)
        write_groups(study)
        write_interactions(study)
        inputs = write_measured(study)
        draw_measured(study, inputs)
        write_stage(study)
        write_published(study)
    return study.out


# --- stages, in the order of the notebook ----------------------------------------------------------------------------


def open_study(
    axis: str, profile: str = "tiny_cpu", *, baseline: str = "", margin: float = 0.0, split: str = "",
    endpoint: str = "", run_root: str = "runs", out_root: str = "figures",
) -> Study:  # fmt: skip
    """The study that `compare` is about; its plan and endpoint are checked, its runs are not read yet."""
    given = {"baseline": baseline, "margin": margin or None}
    plan = choose_plan(axis, **given)
    wanted = ENDPOINTS.of(endpoint or plan.primary_endpoint).name
    if baseline and axis in axis_names():
        file = read_axis(axis)
        refuse_unknown("condition", baseline, file.conditions, file.path)
    return Study(
        axis, profile, plan, from_root(run_root), from_root(out_root) / axis, split or plan.primary_split, wanted, given
    )


def write_tables(study: Study) -> tuple[pd.DataFrame, pd.DataFrame]:
    """means.csv, claims.csv, runs.csv and notes.csv; returns means and claims."""
    _ = study.runs  # what cannot be compared is refused before anything is written
    return tables.write_tables(study.root, study.out, study.axis, study.profile, **study.given, endpoints=study.asked)


def draw_means(study: Study) -> Figure:
    """accuracy: what every condition reaches, every seed of it."""

    def draw(ax, runs):
        chance = study.chance(runs["world"].iloc[0])
        plots.plot_means(runs, ax, split=study.split, endpoint=study.endpoint, chance=chance)

    figure = _row(draw, study.runs, study.worlds, (max(6, 0.8 * study.conditions), 5), sharey=True)
    return _saved(study, figure, "accuracy", study.runs)


def draw_contrasts(study: Study, claims: pd.DataFrame) -> Figure:
    """contrasts: paired differences with their intervals and decisions."""
    drawn = claims[(claims["split"] == study.split) & (claims["endpoint"] == study.endpoint)]
    plan, height = study.plan, plots.forest_height(len(drawn) // len(study.worlds))

    def draw(ax, claims):
        plots.plot_contrasts(claims, ax, study.split, study.endpoint, plan.margin, plan.alpha_per_look)

    return _saved(study, _row(draw, claims, study.worlds, (8, height), sharex=True), "contrasts", drawn)


def draw_curves(study: Study) -> Figure:
    """curves: the training reward of every run."""

    def draw(ax, curves):
        plots.plot_curves(curves, ax)

    figure = _row(draw, study.curves, study.worlds, (max(6, 0.8 * study.conditions), 4.5), sharey=True)
    return _saved(study, figure, "curves", study.curves[["world", "condition", "seed", "step", "reward"]])


def draw_held_out(study: Study) -> Figure | None:
    """held_out: what the policies score on a few held-out scenarios while they are trained; None, and no file, where no
    run was looked at."""
    looks = study.held_out
    if looks.empty:
        return None
    worlds = [world for world in study.worlds if world in set(looks["world"])]
    names = saturation.seen(looks)
    size = max(6, 0.8 * study.conditions) * len(worlds), 4 * len(names)
    figure, axes = _figure(len(names), len(worlds), size, sharex=True, sharey=True)
    for world, column in zip(worlds, axes.T, strict=True):
        plots_held_out.plot_looks(looks[looks["world"] == world], dict(zip(names, column, strict=True)))
    return _saved(study, figure, "held_out", looks)


def write_saturation(study: Study) -> pd.DataFrame | None:
    """saturation.csv: steps until the held-out curve of a run stays where it ends; None, and no file, likewise."""
    if study.held_out.empty:
        return None
    return _written(study, saturation.saturation(study.held_out), "saturation")


def write_fairness(study: Study) -> pd.DataFrame:
    """fairness.csv: what every condition was given in training."""
    return _written(study, fairness.fairness(study.curves), "fairness")


def write_power(study: Study) -> pd.DataFrame:
    """power.csv: what these seeds can tell; no rows without a planned contrast."""
    return _written(study, power.power_table(study.runs, study.plan), "power")


def draw_power(study: Study, needed: pd.DataFrame) -> Figure | None:
    """detectable: the differences that these seeds detect; None, and no file, without a planned contrast."""
    worlds = sorted(needed["world"].unique(), reverse=True)
    if not worlds:
        return None

    def draw(ax, needed):
        plots_seeds.plot_power(needed, ax)

    height = plots.forest_height(len(needed) // len(worlds)) - 1
    return _saved(study, _row(draw, needed, worlds, (7, height), sharex=True), "detectable", needed)


def write_items(study: Study) -> pd.DataFrame:
    """items.csv: the contrasts over single answers; no rows without a planned contrast."""
    return _written(study, items.item_table(study.answers, study.plan), "items")


def write_iqm(study: Study) -> pd.DataFrame:
    """iqm.csv: all tasks in one number, the interquartile mean."""
    return _written(study, items.iqm_table(study.runs, study.endpoint), "iqm")


def draw_seeds(study: Study) -> Figure:
    """seeds: every seed of every condition, and the rank of the conditions in every seed."""
    runs, worlds = study.runs, study.worlds
    size = 7 * len(worlds), 2 * max(4, 1.2 + 0.5 * study.conditions)
    figure, axes = _figure(2, len(worlds), size)
    for world, column in zip(worlds, axes.T, strict=True):
        plots_seeds.plot_seeds(runs[runs["world"] == world], column[0], study.split, study.endpoint)
        plots_seeds.plot_ranks(runs[runs["world"] == world], column[1], study.split, study.endpoint)
    data = runs[(runs["split"] == study.split) & (runs["endpoint"] == study.endpoint)]
    return _saved(study, figure, "seeds", data)


def draw_diversity(study: Study) -> Figure:
    """pareto: quality and diversity of the right answers."""
    endpoint = items.sampled_endpoint(study.answers[study.answers["split"] == study.split])

    def draw(ax, quality):
        plots_seeds.plot_pareto(quality, ax, endpoint=endpoint)

    quality = items.diversity_table(study.answers, study.split)
    return _saved(study, _row(draw, quality, study.worlds, (7.5, 5.5)), "pareto", quality)


def write_reasons(study: Study) -> pd.DataFrame | None:
    """reasons.csv: length, variety and faithfulness of what was said; None of runs that kept no answers before."""
    before = study.answers_before
    return None if before is None else _written(study, answers.reasons(before, study.answers, study.split), "reasons")


def write_exchanges(study: Study, n: int = 20) -> pd.DataFrame | None:
    """exchanges.csv: the answers of each condition to n scenarios before and after training; None likewise."""
    before = study.answers_before
    if before is None:
        return None
    return _written(study, answers.exchanges(before, study.answers, study.split, n), "exchanges")


def write_published(study: Study) -> pd.DataFrame | None:
    """published.csv: published cells beside ours; None, and no file, where no condition is a published method."""
    if not set(published.METHODS) & set(study.runs["condition"]) - {"base"}:
        return None
    mine = published.ours(study.root, axis=study.axis, profile=study.profile)
    return _written(study, published.beside(mine), "published")


def _figure(rows: int, columns: int, size: tuple[float, float], **shared):
    """Figure and (rows, columns) Axes."""
    return plt.subplots(rows, columns, figsize=size, layout="constrained", squeeze=False, **shared)


def _row(draw: Callable, table: pd.DataFrame, worlds: list[str], size: tuple[float, float], **shared) -> Figure:
    """A figure with one Axes of `size` inches per world; draw(ax, rows of that world)."""
    figure, axes = _figure(1, len(worlds), (size[0] * len(worlds), size[1]), **shared)
    for world, ax in zip(worlds, axes[0], strict=True):
        draw(ax, table[table["world"] == world])
    return figure


def _saved(study: Study, figure: Figure, name: str, data: pd.DataFrame) -> Figure:
    plots.save(figure, name, study.out, data)
    return figure


def _written(study: Study, table: pd.DataFrame, name: str) -> pd.DataFrame:
    table.to_csv(study.out / f"{name}.csv", index=False)
    return table


# --- for the command line --------------------------------------------------------------------------------------------


def summarise(axis: str, profile: str = "tiny_cpu", *, remake: bool = False, **options) -> Summary:
    """What the tables of an axis say; `compare`, which takes the options, makes them where they are missing or stale.

    Stale tables are those of another plan or profile, those without the endpoint, and those whose figures are of
    another endpoint or split. Raises ValueError where tables have to be made and cannot be.
    """
    study = open_study(axis, profile, **options)
    there = all((study.out / f"{name}.csv").exists() for name in ("means", "claims", "runs"))
    if there and study.split != study.plan.primary_split:
        refuse_unknown("split", study.split, tables.read_table(study.out, "claims")["split"].unique(), study.out)
    asked = study.plan, study.endpoint, study.split
    stale = why_stale(study.out, study.plan, profile, study.endpoint, study.split) if there and not remake else ""
    if there and not stale and options.get("run_root", RUNS.name) != RUNS.name:  # who names a folder means its runs
        with contextlib.suppress(ValueError):  # tables may be all that is left of a study
            stale = why_other_runs(study.out, read_provenance(study.root, axis=axis, profile=profile))
    if there and not stale and not remake:
        origin = f"read from {study.out} as they were written; --remake makes them from the runs again"
        return read_summary(study.out, *asked, origin)
    which = f"the tables in {study.out} {stale}" if stale else f"tables of axis {axis!r} under plan {study.plan.digest}"
    try:
        compare(axis, profile, **options)
    except ValueError as error:
        cannot = f"{which}, and cannot be made again" if stale else f"{which} cannot be made"
        raise ValueError(f"{cannot}: {error}") from error
    left_out = len(incomplete_runs(study.root))
    again = f"{which[0].upper()}{which[1:]}: they are made again.\n" if stale else ""
    origin = f"{again}made from {study.root}, profile {profile}; incomplete runs: {left_out}"
    return read_summary(study.out, *asked, origin)
