"""What the answers of a run are worth, computed from its tables alone: summary.json is a cache of it."""

from collections.abc import Iterable

import pandas as pd

from studylib.evaluation.diversity import GREEDY
from studylib.evaluation.rates import wilson
from studylib.names import ENDPOINTS
from studylib.runs.folder import nulled
from studylib.runs.keys import require_keys
from studylib.scenarios.rows import accepted

KEY = ["split", "id"]  # of a scenario


def joined(answers: pd.DataFrame, scenarios: pd.DataFrame) -> pd.DataFrame:
    """Answers, in their order, with the columns of their scenarios; refuses an answer without its scenario."""
    require_keys(scenarios, *KEY)
    facts = scenarios.drop_duplicates(KEY)[[*KEY, *(name for name in scenarios if name not in answers)]]
    asked = pd.MultiIndex.from_frame(answers[KEY]).isin(pd.MultiIndex.from_frame(facts[KEY]))
    if not asked.all():
        first, count = answers.loc[~asked].iloc[0], int((~asked).sum())
        raise ValueError(f"{count} answers have no scenario; the first is to {first['id']} of split {first['split']}")
    return answers.merge(facts, on=KEY, how="left", validate="many_to_one")


def values(answers: pd.DataFrame, scenarios: pd.DataFrame, more: Iterable[str] = ()) -> dict[str, float]:
    """Name -> value of the endpoints that one policy has on one split: the default ones and `more`, in their order."""
    table, more = joined(answers, scenarios), set(more)
    there = {name for name in table if name in answers or scenarios[name].notna().all()}
    wanted = [record for name, record in ENDPOINTS.items() if record.default or name in more]
    return {record.name: float(record.of(table)) for record in wanted if there.issuperset(record.needs)}


def summarise(answers: pd.DataFrame, scenarios: pd.DataFrame, more: Iterable[str] = ()) -> dict:
    """Endpoints of one policy on one split, and what belongs to them.

    Rates are shares of answers, means are over the answers that have a value, and null where none has; `base_rate` is
    what the best constant answer scores; `unscored` the share of answers without a score, beside the numbers of answers
    with and without one.
    """
    summary: dict = {"scenarios": len(scenarios)} | values(answers, scenarios, more)
    if scenarios["answer"].notna().all():
        summary |= _of_right_answers(answers, scenarios)
    if "score" in answers:
        without = int(answers["score"].isna().sum())
        counts = {"answers_scored": len(answers) - without, "answers_unscored": without}
        summary |= {"unscored": float(answers["score"].isna().mean()), **counts}
    return nulled(summary)


def _of_right_answers(answers: pd.DataFrame, scenarios: pd.DataFrame) -> dict[str, float]:
    greedy, samples = answers[answers["k"] == GREEDY], answers[answers["k"] != GREEDY]
    low, high = wilson(greedy["correct"].sum(), greedy["correct"].count())
    return {
        "accuracy_greedy_low": low,
        "accuracy_greedy_high": high,
        "format": float(samples["format"].mean()),
        "unscorable": float(1 - samples["readable"].mean()),
        "base_rate": base_rate(scenarios),
    }


def base_rate(scenarios: pd.DataFrame) -> float:
    """Share of scenarios that the best constant answer gets right."""
    right = [option for row in scenarios.to_dict("records") for option in accepted(row)]
    return float(pd.Series(right).value_counts().max() / len(scenarios))


def summary(before: pd.DataFrame, after: pd.DataFrame, scenarios: pd.DataFrame, more: Iterable[str] = ()) -> dict:
    """{"splits": {split: {"before": endpoints, "after": endpoints}}}, without train: the content of summary.json."""
    stages = {"before": before, "after": after}
    return {
        "splits": {
            name: {stage: summarise(answers[answers["split"] == name], part, more) for stage, answers in stages.items()}
            for name, part in scenarios.groupby("split", sort=False)
            if name != "train"
        }
    }
