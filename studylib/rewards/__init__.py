"""Rewards: what a response is worth. None means: cannot be scored; it is counted and never becomes a number.

A `Reward` is a pure function of one response and its scenario. A `BatchReward` sees a batch, because it grades in
batches, or compares the answers to one scenario. `batch_reward` gives either by name in the batched form.
"""

import math
from collections.abc import Callable
from functools import partial

from studylib.params import DIVERSITY_REWARDS, LENGTH_MATCHED, PERSPECTIVE_REWARDS, SURFACE_REWARDS, RunParams
from studylib.rewards import perspectives, ratings
from studylib.rewards.checks import checks_grader
from studylib.rewards.correct import format, verdict
from studylib.rewards.diversity import BatchReward, dispersion, embedder, gated, length_matched, of_reasons, of_texts
from studylib.rewards.rubric import Grader, rubric_reward
from studylib.rewards.surface import surfaces
from studylib.text.options import check_options

Reward = Callable[[str, dict], float | None]
RATED = ("options", "ratings")
REWARDS: dict[str, tuple[Reward, tuple[str, ...]]] = {  # name -> (function, scenario fields that it needs)
    "verdict": (verdict, ("options", "answer")),
    "format": (format, ("options",)),
    "rating_majority": (ratings.majority, RATED),
    "rating_expected": (ratings.expected, RATED),
    "rating_soft_label": (ratings.soft_label, RATED),
    "rating_total_variation": (ratings.total_variation, RATED),
    "rating_brier": (ratings.brier, RATED),
    "rating_ordinal": (ratings.ordinal, RATED),
    "rating_any_of": (ratings.any_of, RATED),
}


def reward(name: str, rows: list[dict]) -> Reward:
    """The reward called `name` of one response; refuses scenarios that it cannot score."""
    function, needs = REWARDS[name]
    _require(name, needs, rows)
    return function


def batch_reward(
    name: str, rows: list[dict], params: RunParams | None = None, grader: Grader | None = None
) -> BatchReward:
    """The reward called `name` of batches of responses to `rows`; refuses scenarios that it cannot score.

    `params` sets how it is computed (default: the defaults); `grader` is the judge of
    `rubric_grader: judge`. A value that is not finite counts as None.
    """
    params = params or RunParams()
    if name in REWARDS:
        return _finite(_one_by_one(_with_params(name, reward(name, rows), params)))
    if name == "rubric":
        _require(name, ("rubric",) if params.rubric_grader == "judge" else ("rubric", "facts", "options"), rows)
        return _finite(rubric_reward(_grader(params, grader), params.rubric_score))
    if name.removeprefix(LENGTH_MATCHED) not in DIVERSITY_REWARDS:
        raise ValueError(f"no reward {name!r}; known: {', '.join((*REWARDS, 'rubric', *DIVERSITY_REWARDS))}")
    _require(name, _diversity_needs(name.removeprefix(LENGTH_MATCHED), params), rows)
    return _finite(gated(_diversity(name, params), params.diversity_gate))


def _require(name: str, needs: tuple[str, ...], rows: list[dict]) -> None:
    """Refuse scenarios that lack a field, whose options read alike, or whose ratings are off their scale."""
    for row in rows:
        missing = [field for field in needs if row.get(field) is None]
        if missing:
            raise ValueError(f"reward {name!r} needs the field {missing[0]!r}, which scenario {row['id']} lacks")
        check_options(row)
        if "ratings" in needs:
            ratings.shares(row)


def _with_params(name: str, function: Reward, params: RunParams) -> Reward:
    return partial(function, accepted_share=params.rater_share) if name == "rating_any_of" else function


def _one_by_one(function: Reward) -> BatchReward:
    return lambda responses, rows: [function(response, row) for response, row in zip(responses, rows, strict=True)]


def _finite(function: BatchReward) -> BatchReward:
    def rewards(responses: list[str], scenarios: list[dict]) -> list[float | None]:
        values = function(responses, scenarios)
        return [value if value is not None and math.isfinite(value) else None for value in values]

    return rewards


def _grader(params: RunParams, judge: Grader | None) -> Grader:
    if params.rubric_grader == "checks":
        return checks_grader
    if judge is None:
        raise ValueError(f"rubric_grader 'judge' needs the judge of {params.judge!r}, and none was passed in")
    return judge


def _diversity_needs(name: str, params: RunParams) -> tuple[str, ...]:
    needs = ("facts", "prompt", "options") if name in PERSPECTIVE_REWARDS else ()
    return (*needs, "options", "answer") if params.diversity_gate == "verdict" else needs


def _diversity(name: str, params: RunParams) -> BatchReward:
    base = name.removeprefix(LENGTH_MATCHED)
    if base == "dispersion":
        function, unit = dispersion(embedder(params.embedder, params.embedder_revision)), "sentences"
    elif base in SURFACE_REWARDS:
        statistic, window = base.removeprefix("diversity").removeprefix("_") or "mean", params.diversity_window
        function, unit = of_texts(lambda reasons: surfaces(reasons, window)[statistic]), "words"
    else:
        function, unit = of_reasons(getattr(perspectives, base)), "sentences"
    return length_matched(function, unit, apart=base == "dispersion") if name != base else function
