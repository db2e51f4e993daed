"""What the policies said: answers to the same scenarios before and after training, and what became of their reasons.

An average hides how a number came about, so answers are read, too, with one's own eyes.
"""

from collections.abc import Iterator

import numpy as np
import pandas as pd
from markupsafe import Markup

from studylib.evaluation.diversity import GREEDY, decision_entropy, distinct_n, words
from studylib.evaluation.single import faithful_answers, leniently_readable, sampled
from studylib.names import SOURCES
from studylib.runs.read import KEYS, WARM_START, ordered
from studylib.scenarios.rows import accepted, after_message
from studylib.text.answers import read_answer

REASONS = ("words", "distinct_2", "decision_entropy", "readable", "readable_leniently", "faithful")
EXCHANGES = [*KEYS, "id", "prompt", "right", "before", "before_right", "after", "after_right"]
FIRST_SAMPLE = GREEDY + 1


def reasons(before: pd.DataFrame, after: pd.DataFrame, split: str) -> pd.DataFrame:
    """One row per run, and one per world of its warm start: `KEYS` and `REASONS`, of the sampled answers on one split.

    before, after: tables of answers with their scenarios. words: mean number of words of the reasons. distinct_2: share
    of distinct pairs of words in the first 2,000 words, NaN of fewer. decision_entropy: bits between the samples of a
    scenario. readable, readable_leniently: shares in which the strict and the lenient reader read an option, NaN of
    open responses. faithful: share whose reasons are those that decide, NaN where nothing is known of that.
    """
    rows = [dict(zip(KEYS, key, strict=True)) | _reasons(run) for key, run in _policies(before, after, split)]
    return pd.DataFrame(rows, columns=[*KEYS, *REASONS])


def _policies(before: pd.DataFrame, after: pd.DataFrame, split: str) -> Iterator[tuple[tuple, pd.DataFrame]]:
    """(key, sampled answers) of every run after training, and of one run of each world before it."""
    yield from sampled(after[after["split"] == split]).groupby(KEYS)
    for world, runs in sampled(before[before["split"] == split]).groupby("world"):
        _, first = next(iter(runs.groupby(KEYS)))
        yield (world, WARM_START, -1), first  # before training all runs of a world are one policy


def _reasons(answers: pd.DataFrame) -> dict[str, float]:
    said = [words(response) for response in answers.sort_values(["k", "id"])["response"]]
    closed = answers["options"].notna().all()
    read = [read_answer(row.response, row.options) is not None for row in answers.itertuples()] if closed else np.nan
    return {
        "words": np.mean([len(text) for text in said]), "distinct_2": distinct_n(said),
        "decision_entropy": decision_entropy(answers), "readable": np.mean(read),
        "readable_leniently": leniently_readable(answers).mean() if closed else np.nan,
        "faithful": faithful_answers(answers).mean() if _made_of_facts(answers) else np.nan,
    }  # fmt: skip


def _made_of_facts(answers: pd.DataFrame) -> bool:
    """Whether the scenarios are those of an embedded world, whose facts say what decides."""
    return answers["facts"].notna().all() and all(SOURCES.of(source).world for source in answers["source"].unique())


def exchanges(before: pd.DataFrame, after: pd.DataFrame, split: str, n: int = 20) -> pd.DataFrame:
    """`EXCHANGES`: what each condition's first seed said before and after training, the first sample to each of the
    first `n` scenarios of a split; the same scenarios for all."""
    first = after.groupby(["world", "condition"])["seed"].transform("min") == after["seed"]
    key = [*KEYS, "id"]
    now, then = (_first_samples(answers, split) for answers in (after[first], before))
    table = now.merge(then[[*key, "response", "correct"]], on=key, suffixes=("", "_before"), validate="one_to_one")
    table["prompt"] = [after_message(row, row["prompt"]) for row in table.to_dict("records")]
    table["right"] = [" or ".join(accepted(row)) if row["answer"] else "" for row in table.to_dict("records")]
    table = table.rename(columns={
        "response": "after", "correct": "after_right", "response_before": "before", "correct_before": "before_right",
    })  # fmt: skip
    return table.groupby(KEYS, sort=False).head(n)[EXCHANGES].reset_index(drop=True)


def _first_samples(answers: pd.DataFrame, split: str) -> pd.DataFrame:
    return answers[(answers["split"] == split) & (answers["k"] == FIRST_SAMPLE)]


PAGE = Markup(
    "<details><summary>{world}, {condition}: {n} answers, {before} right before and {after} after</summary>"
    "{all}</details>"
)
ENTRY = Markup(
    "<p style='margin:.8em 0 .2em'><b>{prompt}</b> <i>{right}</i></p>"
    "<p style='margin:0'>before {before_right}: {before}</p><p style='margin:0'>after {after_right}: {after}</p>"
)


def page(table: pd.DataFrame) -> str:
    """`exchanges` as HTML to be opened condition by condition; what scenarios and policies say is shown as text."""
    parts = []
    for world in sorted(table["world"].unique(), reverse=True):
        of_world = table[table["world"] == world]
        for condition in ordered(of_world["condition"]):
            of = of_world[of_world["condition"] == condition]
            entries = Markup("").join(ENTRY.format(**_shown(row)) for row in of.to_dict("records"))
            right = {stage: _count(of[f"{stage}_right"]) for stage in ("before", "after")}
            parts.append(PAGE.format(world=world, condition=condition, n=len(of), all=entries, **right))
    return str(Markup("").join(parts))


def _shown(row: dict) -> dict:
    marks = {stage: {1.0: "✓", 0.0: "✗"}.get(row[f"{stage}_right"], "–") for stage in ("before", "after")}
    return row | {f"{stage}_right": mark for stage, mark in marks.items()}


def _count(right: pd.Series) -> str:
    return f"{int((right == 1).sum())}"
