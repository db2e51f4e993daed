"""The story of one finished run of an embedded world, for somebody who sees the study for the first time."""

import json
import textwrap
from pathlib import Path

import pandas as pd

from studylib.evaluation.diversity import GREEDY
from studylib.evaluation.summary import joined
from studylib.evaluation.table import read_responses, read_scenarios
from studylib.rewards.checks import weighs
from studylib.runs.folder import RESPONSES
from studylib.text.answers import parse
from studylib.text.files import read_object
from studylib.text.spelling import spelt

SPLITS = {  # split -> what it asks for
    "held_out": "new scenarios of the kinds trained on",
    "held_out_styles": "told in a style it never saw",
    "held_out_domains": "from areas of life it never saw",
}
NORMS = {  # world -> what a policy has to learn there
    "local_norms": "which excuses and duties count depends on the kind of community",
    "universal_norms": "the same excuses and duties count in every community",
}
UNSEEN = "held_out_domains"  # the split that the study claims about
WEIGHS = "weighs_circumstance"  # criterion of the rubric
LEARNT, REVERSED = 0.8, 0.2  # share of right answers that counts as learnt, or as learnt the wrong way round
FEW = 4  # kinds with fewer scenarios are left out


def story(run_dir: Path) -> str:
    """What the policy answered before and after training, what it learnt and what not, and where to go from here.

    Reads config.json, summary.json, scenarios.parquet and both tables of answers; raises ValueError for scenarios
    without facts, which only embedded worlds have.
    """
    config, scores = read_object(run_dir / "config.json"), read_object(run_dir / "summary.json")["splits"]
    if config["source"] not in NORMS:
        raise ValueError(f"the story is that of an embedded world, not of source {config['source']!r}")
    before, after = (answers(run_dir, stage) for stage in RESPONSES)
    parts = [
        f"A language model of one million parameters was trained on {config['n_domains']} areas of life in the "
        f"world {config['source']!r} by {config['objective'].upper()}: {config['steps']} steps, and right answers are "
        f"all that is rewarded. In this world, {NORMS[config['source']]}.",
        accuracies(scores),
        "The same scenarios before and after (greedy answers, areas of life it never saw):",
        *(exchange(*pair) for pair in examples(before, after)),
        lesson(before, after),
        f"All of it is in {run_dir}:\n"
        "  metrics.jsonl, responses.parquet (every answer), summary.json, adapter/, manifest.json",
        "One run with one seed shows that training works, and nothing about diversity. Next:\n"
        "  make study         30 runs: narrow against broad training, five seeds, two worlds (half an hour)\n"
        "  notebooks/         3_run_condition is this run step by step; 1_scenarios shows the worlds\n"
        "  python -m studylib run --help",
    ]
    return "\n\n".join(part if "\n" in part else textwrap.fill(part, 100) for part in parts)


def answers(run_dir: Path, stage: str) -> pd.DataFrame:
    """Every answer of one stage, before or after, with its scenario."""
    return joined(read_responses(run_dir / RESPONSES[stage]), read_scenarios(run_dir))


def accuracies(scores: dict) -> str:
    """Sampled accuracy on each split before and after, beside chance."""
    lines = [
        change(what, *(scores[split][stage]["accuracy_sampled"] for stage in ("before", "after")))
        for split, what in SPLITS.items()
    ]
    guess = f"Right answers (chance is {scores[UNSEEN]['before']['base_rate']:.0%})"
    return "\n".join([f"  {guess:38} before -> after", *lines])


def change(what: str, before: float, after: float) -> str:
    return f"  {what:38} {before:6.0%}  -> {after:5.0%}"


def examples(before: pd.DataFrame, after: pd.DataFrame) -> list[tuple]:
    """Three greedy answers (before, after): one that training put right, one right all along, one that is wrong."""
    before, after = (t[(t["k"] == GREEDY) & (t["split"] == UNSEEN)] for t in (before, after))
    pairs = before.merge(after, on="id", suffixes=("_before", "_after"))
    kinds = [
        pairs.query("correct_before == @first and correct_after == @last").head(1)
        for first, last in ((0, 1), (1, 1), (0, 0), (1, 0))
    ]
    chosen = pd.concat([kind for kind in kinds if len(kind)]).head(3)
    columns = ["prompt_after", "response_before", "correct_before", "response_after", "correct_after"]
    return list(chosen[columns].itertuples(index=False, name=None))


def exchange(prompt: str, before: str, right_before: float, after: str, right_after: float) -> str:
    stages = [("before", before, right_before), ("after", after, right_after)]
    lines = [f"    {stage:7}{'right' if right else 'WRONG'}  {answer}" for stage, answer, right in stages]
    return "\n".join([textwrap.fill(prompt, 96, initial_indent="  ", subsequent_indent="  "), *lines])


def lesson(before: pd.DataFrame, after: pd.DataFrame) -> str:
    """Share of right answers by what decides a scenario, before and after training; every split, sampled and greedy."""
    rates = pd.DataFrame({"first": by_kind(before), "last": by_kind(after)}).sort_values("last", ascending=False)
    learnt, reversed_ = rates["last"] >= LEARNT, rates["last"] <= REVERSED
    wrong_way = ["What it learnt the wrong way round:", *changes(rates[reversed_])] if reversed_.any() else []
    silent = f"{breaks_off(after):.0%} (before: {breaks_off(before):.0%})"
    return "\n".join(
        [
            "What it learnt: right answers by what decides the scenario",
            *(changes(rates[learnt]) or ["  nothing of these kinds"]),
            *wrong_way,
            "What it did not learn:",
            *changes(rates[~learnt & ~reversed_]),
            "  to give its reasons in full: the reward pays the answer alone. Where a circumstance decides,",
            f"  {silent} of the reasons do not say whether it counts.",
        ]
    )


def changes(rates: pd.DataFrame) -> list[str]:
    return [change(*row) for row in rates.itertuples(name=None)]


def by_kind(table: pd.DataFrame) -> pd.Series:
    """Share of right answers by circumstance and kind of community, where there are `FEW` scenarios or more."""
    facts = pd.DataFrame([json.loads(text) for text in table["facts"]], index=table.index)
    circumstance = facts["circumstance"].fillna("no circumstance")
    kinds = table.groupby(circumstance + ", " + facts["community"] + " community")
    return kinds["correct"].mean()[kinds["id"].nunique() >= FEW]


def breaks_off(table: pd.DataFrame) -> float:
    """Share of the answers whose reasons do not say, rightly or wrongly, whether the circumstance that decides counts.

    An answer without readable reasons is among them.
    """
    decided = [row for row in table.to_dict("records") if WEIGHS in {criterion["id"] for criterion in row["rubric"]}]
    reasons = [(parse(row["response"]) or ("",))[0] for row in decided]
    return sum(not any(weighs(spelt(text))) for text in reasons) / len(reasons)
