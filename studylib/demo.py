"""The story of one finished run of an embedded world, for somebody who sees the study for the first time."""

import json
import textwrap
from pathlib import Path

import pandas as pd

from studylib.evaluation.diversity import GREEDY
from studylib.text.files import read_object

SPLITS = {  # split -> what it asks for
    "held_out": "new scenarios of the kinds trained on",
    "held_out_styles": "told in a style it never saw",
    "held_out_domains": "from areas of life it never saw",
}
UNSEEN = "held_out_domains"  # the split that the study claims about
LEARNT, FEW = 0.8, 4  # share of right answers that counts as learnt; fewer scenarios of a kind are not spoken of


def story(run_dir: Path) -> str:
    """What the policy answered before and after training, what it learnt and what not, and where to go from here.

    Reads config.json, summary.json, scenarios.parquet and both tables of answers; raises ValueError for scenarios
    without facts, which only embedded worlds have.
    """
    config, scores = read_object(run_dir / "config.json"), read_object(run_dir / "summary.json")["splits"]
    if not set(SPLITS) <= set(scores):
        raise ValueError(f"the story is that of an embedded world, not of source {config['source']!r}")
    before, after = (answers(run_dir, name) for name in ("responses_before", "responses"))
    parts = [
        f"A language model of one million parameters was trained on {config['n_domains']} areas of life in the world "
        f"{config['source']!r}, with {config['objective'].upper()}: {config['steps']} steps, rewarded for right answers "
        "alone. In this world it depends on the kind of community which excuses and duties count.",
        accuracies(scores),
        "The same scenarios before and after (greedy answers, areas of life it never saw):",
        *(exchange(*pair) for pair in examples(before, after)),
        lesson(after),
        f"All of it is in {run_dir}:\n"
        "  metrics.jsonl, responses.parquet (every answer), summary.json, adapter/, manifest.json",
        "One run with one seed shows that training works, and nothing about diversity. Next:\n"
        "  make study         30 runs: narrow against broad training, five seeds, two worlds (half an hour)\n"
        "  notebooks/         3_run_condition is this run step by step; 1_scenarios shows the worlds\n"
        "  python -m studylib run --help",
    ]
    return "\n\n".join(part if "\n" in part else textwrap.fill(part, 100) for part in parts)


def answers(run_dir: Path, name: str) -> pd.DataFrame:
    """The answers of one stage on areas of life that were not trained on, with their scenarios."""
    scenarios = pd.read_parquet(run_dir / "scenarios.parquet").query("split == @UNSEEN")
    table = pd.read_parquet(run_dir / f"{name}.parquet")
    return table.merge(scenarios.drop(columns="split"), on="id")


def accuracies(scores: dict) -> str:
    """Sampled accuracy on each split before and after, beside chance."""
    lines = [
        f"  {what:38} {part['before']['accuracy_sampled']:6.0%}  -> {part['after']['accuracy_sampled']:5.0%}"
        for part, what in ((scores[name], what) for name, what in SPLITS.items())
    ]
    head = f"  {'Right answers (a guess is right in 50 %)':38} before -> after"
    return "\n".join([head, *lines])


def examples(before: pd.DataFrame, after: pd.DataFrame) -> list[tuple]:
    """Three greedy answers (before, after): one that training put right, one right all along, one that is wrong."""
    pairs = before.query("k == @GREEDY").merge(after.query("k == @GREEDY"), on="id", suffixes=("_before", "_after"))
    kinds = [
        pairs.query("correct_before == @first and correct_after == @last").head(1)
        for first, last in ((0, 1), (1, 1), (0, 0), (1, 0))
    ]
    chosen = pd.concat([kind for kind in kinds if len(kind)]).head(3)
    return list(chosen[["prompt_after", "response_before", "correct_before", "response_after", "correct_after"]].values)


def exchange(prompt: str, before: str, right_before: float, after: str, right_after: float) -> str:
    said = [("before", before, right_before), ("after", after, right_after)]
    lines = [f"    {when:7}{'right' if right else 'WRONG'}  {text}" for when, text, right in said]
    return "\n".join([textwrap.fill(prompt, 96, initial_indent="  ", subsequent_indent="  "), *lines])


def lesson(after: pd.DataFrame) -> str:
    """Which kinds of scenario are answered rightly after training: by circumstance and kind of community."""
    facts = pd.DataFrame([json.loads(text) for text in after["facts"]])
    kinds = after.assign(kind=facts["circumstance"].fillna("none") + " in a " + facts["community"] + " community")
    rates = kinds.groupby("kind").agg(right=("correct", "mean"), scenarios=("id", "nunique")).query("scenarios >= @FEW")
    rates = rates.sort_values("right", ascending=False)["right"]
    return "\n".join(
        [
            "What it learnt (share of right answers, by what decides the scenario):",
            *(f"  {rate:5.0%}  {kind}" for kind, rate in rates[rates >= LEARNT].items()),
            "What it did not learn:",
            *([f"  {rate:5.0%}  {kind}" for kind, rate in rates[rates < LEARNT].items()] or ["  nothing of these kinds"]),
            f"  and to give its reasons in full: in {breaks_off(after):.0%} of its answers they do not say whether the "
            "circumstance counts.\n  The reward pays the answer and not the reasons.",
        ]
    )


def breaks_off(table: pd.DataFrame) -> float:
    """Share of the answers whose reasons miss the criterion that weighs the circumstance, where there is one."""
    from studylib.rewards.checks import checks_grader

    rows = table[["prompt", "options", "answer", "rubric", "facts", "framework", "source"]].to_dict("records")
    grades = checks_grader(table["response"].tolist(), rows)
    met = [
        grade
        for row, grades_of in zip(rows, grades, strict=True)
        for criterion, grade in zip(row["rubric"], grades_of, strict=True)
        if criterion["id"] == "weighs_circumstance"
    ]
    return 1 - sum(met) / len(met)
