"""Ratings by a model of raters in the place of people's. Run: python -m pytest tests/scenarios/test_modelled.py"""

import numpy as np
import pytest

from studylib.params import RunParams
from studylib.scenarios import modelled
from studylib.scenarios.facts import facts_of
from studylib.scenarios.raters import POPULATIONS, distribution
from studylib.scenarios.ratings import with_ratings
from studylib.scenarios.scale import shares
from studylib.scenarios.selection import select, training_side


def params(**given) -> RunParams:
    defaults = {"source": "rated_norms", "rewards": "rating_brier=1.0", "steps": 8, "eval_scenarios": 16}
    return RunParams(**defaults | given)


def ask(kind: str, **given) -> list[dict]:
    run = params(**given)
    rows = training_side(run, 240)
    return modelled.modelled(rows[160:], rows[:160], kind)


def true_shares(row: dict, population: str) -> np.ndarray:
    """What ratings of the whole population are drawn from."""
    parts = [(POPULATIONS[population][name].raters, of) for name, of in distribution(facts_of(row), population).items()]
    return sum(n * chances for n, chances in parts) / sum(n for n, _ in parts)


def off(rows: list[dict], population: str = "opposed") -> float:
    """Mean total variation to what the ratings were drawn from."""
    return np.mean([np.abs(np.array(shares(row)) - true_shares(row, population)).sum() / 2 for row in rows])


def test_a_mixture_predicts_how_people_differ_about_scenarios_that_nobody_rated_and_pooled_raters_do_not():
    pal, pooled = ask("pal"), ask("pooled")
    assert off(pal) < 0.3 and off(pooled) > off(pal) + 0.1
    assert all(len({r["value"] for r in row["ratings"]}) == 1 for row in pooled)


def test_every_rater_of_the_survey_rates_and_stays_in_its_group():
    row = ask("pal")[0]
    assert len(row["ratings"]) == 40
    assert all(r["groups"] == [r["rater"].rsplit(" ", 1)[0]] for r in row["ratings"])


def test_a_run_is_paid_by_the_model_of_raters_and_evaluated_by_people():
    people, model = (select(params(rater_model=kind)) for kind in ("none", "pal"))
    assert model["held_out"] == people["held_out"]
    assert [row["prompt"] for row in model["train"]] == [row["prompt"] for row in people["train"]]
    assert [row["ratings"] for row in model["train"]] != [row["ratings"] for row in people["train"]]
    asked = select(params(rater_model="pal", rater_pool="truth-minded"))["train"][0]
    assert {r["groups"][0] for r in asked["ratings"]} == {"truth-minded"}


def test_pooled_raters_agree_and_that_is_no_reason_to_refuse_them():
    rows = select(params(rater_model="pooled"))["train"]
    assert all(len({r["value"] for r in row["ratings"]}) == 1 for row in rows)


def test_scenarios_on_two_scales_have_no_common_model():
    row = {"id": "a", "prompt": "one", "options": ["1", "2"]}
    other = {"id": "b", "prompt": "two", "options": ["1", "2", "3"]}
    given = [{"rater": "r", "value": 1.0, "groups": []}]
    with pytest.raises(ValueError, match="takes scenarios on one scale, and these have 2"):
        modelled.modelled([with_ratings(row, given)], [with_ratings(other, given)], "pal")


def test_a_survey_of_one_opinion_ends_in_one_sentence():
    rows = [with_ratings({"id": str(i), "prompt": f"deed {i}", "options": ["1", "2"]},
                         [{"rater": "r", "value": 1.0, "groups": []}]) for i in range(4)]  # fmt: skip
    with pytest.raises(ValueError, match="a rater who rates two items differently, and there is none"):
        modelled.modelled(rows, rows, "pooled")
