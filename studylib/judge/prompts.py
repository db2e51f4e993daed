"""The part of a judge that needs no model: what it is asked, how its answer is read, and on which scenarios it learns.

A judge answers one criterion for one response with yes or no. As in MoReBench (arXiv 2510.16380) the response comes
first and the criterion after it, so that a model encodes the response once for all its criteria. Three differences:
the answer is a probability read from the two tokens where there are logits; a text is read strictly
(`rubric.read_met`), because a search for "no" finds it in "not" and "know"; and anything but yes or no is None, never
"no", which for a criterion with negative weight would add credit.
"""

import math
from collections.abc import Sequence

import pandas as pd

from studylib.runs.keys import require_keys
from studylib.scenarios.rows import rubric_of

COLUMNS = [  # one row for each response and criterion
    "scenario", "model", "response", "position", "criterion", "text", "weight", "dimension", "length", "label",
]  # fmt: skip


# --- what a judge is asked -------------------------------------------------------------------------------------------


def context(response: str, scenario: dict, sees_scenario: bool) -> str:
    """What comes before every criterion. MoReBench's judge does not see the scenario; its criteria name what they need.

    A criterion such as "an excuse that the text does not mention" cannot be judged without it.
    """
    situation = f"Scenario: {scenario['prompt']}\n" if sees_scenario else ""
    return f"{situation}Response: {response}\n"


def question(criterion: dict) -> str:
    """What follows the context for one criterion; the next token is " yes" or " no"."""
    return f"Criterion: {criterion['text']} Met?"


# --- how its answer is read ------------------------------------------------------------------------------------------


def p_yes(yes: float, no: float) -> float | None:
    """p(yes) / (p(yes) + p(no)) from the logits of the two tokens; None where that is not a number."""
    difference = yes - no
    if math.isnan(difference):
        return None
    return 1 / (1 + math.exp(-difference)) if difference >= 0 else 1 - 1 / (1 + math.exp(difference))


# --- labelled rows ---------------------------------------------------------------------------------------------------


def graded_rows(
    responses: Sequence[str],
    scenarios: Sequence[dict],
    models: Sequence[str],
    grades: Sequence[Sequence[float | None]],
) -> pd.DataFrame:
    """One row for each response and criterion (`COLUMNS`); `label` is the grade, NaN where it is None.

    models: who wrote each response. length: characters of the response. position: of the criterion in its rubric.
    """
    rows = []
    for response, scenario, model, row in zip(responses, scenarios, models, grades, strict=True):
        for position, (criterion, grade) in enumerate(zip(rubric_of(scenario), row, strict=True)):
            fields = [criterion[name] for name in ("id", "text", "weight", "dimension")]
            rows.append([scenario["id"], model, response, position, *fields, len(response), grade])
    return pd.DataFrame(rows, columns=COLUMNS).astype({"label": float})


def responses_of(rows: pd.DataFrame) -> tuple[list[str], list[dict], list[list[float | None]]]:
    """(responses, their scenarios, labels) from rows as `graded_rows` makes them; a NaN label becomes None.

    A scenario has its id and its rubric, and no text: for a judge that does not see the scenario. Raises ValueError for
    a row without scenario, model or criterion.
    """
    require_keys(rows, "scenario", "model", "criterion")
    responses, scenarios, labels = [], [], []
    for (scenario, _, response), part in rows.groupby(["scenario", "model", "response"], sort=False):
        part = part.sort_values("position")
        criteria = part.rename(columns={"criterion": "id"})[["id", "text", "weight", "dimension"]]
        responses.append(response)
        scenarios.append({"id": scenario, "prompt": "", "rubric": criteria.to_dict("records")})
        labels.append([None if math.isnan(label) else label for label in part["label"]])
    return responses, scenarios, labels


# --- splits ----------------------------------------------------------------------------------------------------------


def refuse_shared(judge_scenarios: Sequence[str], rows: Sequence[dict], purpose: str) -> None:
    """Raise ValueError when a scenario that trained the judge (by id) is among `rows`."""
    shared = sorted(set(judge_scenarios) & {row["id"] for row in rows})
    if shared:
        raise ValueError(f"scenario {shared[0]} and {len(shared) - 1} more trained the judge and may not {purpose}")
