"""What readers of a comparison must know: how it left its plan, which answers lack a score, and what is refused."""

from collections.abc import Collection
from pathlib import Path

import pandas as pd

from studylib.claims import departures as left
from studylib.claims import plan as plans
from studylib.claims.plan import Plan
from studylib.evaluation.lost_form import form_alone, read_lost_form
from studylib.evaluation.table import read_unscored
from studylib.runs.read import KEYS, complete_runs, other_profiles, read_json, read_settings
from studylib.training.idle import identical_conditions


def notes(
    plan: Plan, runs: pd.DataFrame, made: pd.DataFrame, root: Path | str, out_dir: Path, profile: str
) -> tuple[pd.DataFrame, list[str]]:
    """What readers of the claims must know, one sentence each, and the conditions that came after the first comparison.

    Columns note and departure: did the study leave its plan by it? runs and made: `read_runs` and `read_provenance`.
    """
    axis, planned = plan.axis, plan.digest == plans.plan_digest(plan.axis)
    first = left.first_comparisons(Path(root) / axis / profile, out_dir)
    settings = read_settings(root, axis=axis, profile=profile)
    noted = [(note, True) for note in left.departures(plan, made, runs, settings, first, planned)]
    later = left.later_conditions(plan, left.planned_conditions(plan, made["condition"], first), made["condition"])
    if later:
        noted.append((f"{', '.join(later)} came after the first comparison: exploratory, in no planned family.", False))
    noted += [(note, False) for note in left.other_settings(settings, axis)]
    noted += [(note, False) for note in _unscored_notes(runs, read_unscored(root, axis=axis, profile=profile))]
    lost = read_lost_form(root, axis=axis, profile=profile, split=plan.primary_split)
    noted += [(_lost_form_note(run), False) for run in lost.itertuples()]
    for other, count in other_profiles(root, axis, profile).items():
        noted.append((f"{count} runs of profile {other} are left out: this comparison is of {profile}.", False))
    return pd.DataFrame(noted, columns=["note", "departure"]), later


def _unscored_notes(runs: pd.DataFrame, shares: pd.DataFrame) -> list[str]:
    """Which runs have no value of an endpoint, and what share of answers others lack; none where all are scored."""
    long = runs.melt(["world", "split", "endpoint", "condition", "seed"], ["before", "after"], "phase")
    lost = long[long["value"].isna()].rename(columns={"seed": "runs"})
    where = ["world", "condition", "phase", "endpoint", "split", "runs"]
    for name, join in (("runs", seeds_in_words), ("split", ", ".join), ("endpoint", ", ".join)):
        alike = [other for other in where if other != name]  # what is alike in them goes into one sentence
        lost = lost.groupby(alike, sort=False)[name].agg(join).reset_index()
    sentences = [
        f"No answer of {row.condition}, {row.runs} in {row.world} could be scored {row.phase} training on {row.split}, "
        f"so there is no {row.endpoint}: contrasts that need it are exploratory and of the seeds that are left, if any."
        for row in lost.itertuples()
    ]
    part = shares[shares["share"] < 1]
    if len(part):
        worst = part.loc[part["share"].idxmax()]
        where = ", ".join(f"{name} {worst[name]}" for name in ("world", "condition", "seed"))
        sentences.append(
            f"Of {len(part[KEYS].drop_duplicates())} runs some answers could not be scored and are in no mean: at most "
            f"{100 * worst['share']:.1f} %, {worst['phase']} training on {worst['split']} ({where})."
        )
    return sentences


def _lost_form_note(run) -> str:
    name, after, before = f"{run.condition}, seed {run.seed} in {run.world}", 100 * run.after, 100 * run.before
    if form_alone(run.leniently_readable):
        return (
            f"{name} lost the form of its answers: on {run.split} {after:.1f} % can be read, {before:.1f} % before "
            f"training; read leniently {100 * run.lenient:.1f} % are right."
        )
    return (
        f"{name} lost its answers: on {run.split} {after:.1f} % can be read and {100 * run.leniently_readable:.1f} % "
        f"leniently, {before:.1f} % before training."
    )


def refuse_identical(root: Path | str, axis: str, profile: str) -> None:
    """Raise ValueError when two conditions differ in their rewards by name alone: their advantages are the same."""
    configs = {
        key["condition"]: read_json(folder / "config.json") for folder, key in complete_runs(root, axis, profile)
    }
    pairs = identical_conditions(configs)
    if pairs:
        one, other = pairs[0]
        raise ValueError(
            f"{one} and {other} cannot be compared: whatever the rewards, their advantages are identical, so that only "
            f"the random numbers differ ({len(pairs)} such pairs)"
        )


def refuse_other_content(root: Path | str, axis: str, profile: str) -> None:
    """Raise ValueError when a name stands for two contents: runs of two models or two judges that one folder held."""
    contents_of: dict[str, dict[str, str]] = {}
    for folder, _ in complete_runs(root, axis, profile):
        config = read_json(folder / "config.json")
        for name in (name for name in config if name.endswith("_content")):
            contents_of.setdefault(name, {}).setdefault(config[name], str(folder))
    for name, contents in contents_of.items():
        if len(contents) > 1:
            one, other = list(contents.values())[:2]
            what = name.removesuffix("_content")
            raise ValueError(
                f"{one} and {other} cannot be compared: the folder of their {what} held another {what} in between; run "
                "one of them again"
            )


def seeds_in_words(seeds: Collection[int]) -> str:
    """ "seed 3", "seeds 1, 2"."""
    return f"seed{'s' * (len(seeds) > 1)} {', '.join(map(str, sorted(seeds)))}"
