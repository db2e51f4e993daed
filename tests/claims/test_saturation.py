"""Steps to saturation: curves whose answer is known. Run: pytest tests/claims/test_saturation.py"""

import math

import pandas as pd
import pytest

from studylib.claims.saturation import LAST, TOLERANCE, by_condition, saturation, steps_to_saturation


def curve(*values: float, every: int = 10) -> pd.Series:
    return pd.Series(values, index=[every * i for i in range(len(values))])


def test_a_jump_is_over_at_the_first_look_after_it():
    assert steps_to_saturation(curve(0.5, 0.5, 0.9, 0.9, 0.9, 0.9)) == 20
    assert steps_to_saturation(curve(0.5, 0.9, 0.9, 0.9)) == 10, "the fewest looks that tell"


@pytest.mark.parametrize("tau", [3.0, 7.5, 20.0])
def test_an_exponential_rise_is_over_where_its_rest_is_the_tolerance(tau):
    steps = range(0, 401)
    rise = pd.Series([0.5 + 0.4 * (1 - math.exp(-step / tau)) for step in steps], index=steps)
    assert steps_to_saturation(rise) == math.ceil(tau * math.log(0.4 / TOLERANCE))


def test_an_excursion_begins_the_count_again_and_a_small_one_does_not():
    assert steps_to_saturation(curve(0.5, 0.9, 0.7, 0.9, 0.9, 0.9)) == 30
    assert steps_to_saturation(curve(0.5, 0.9, 0.87, 0.9, 0.9, 0.9)) == 10


@pytest.mark.parametrize(
    "values",
    [
        (0.6, 0.6, 0.6, 0.6, 0.6),  # flat
        (0.9, 0.8, 0.5, 0.5, 0.5),  # a fall
        (0.6, 0.64, 0.64, 0.64, 0.64),  # a rise that is none
        (0.1, 0.3, 0.5, 0.7, 0.9),  # still rising
        (0.5, 0.9, 0.9, 0.9, 0.6),  # it falls at the end
        (0.5, 0.9, 0.9),  # too few looks
        (),
    ],
)
def test_there_is_no_number_where_a_curve_does_not_rise_or_does_not_settle(values):
    assert math.isnan(steps_to_saturation(curve(*values)))


def test_a_curve_without_a_look_before_training_has_no_rise_to_speak_of():
    assert math.isnan(steps_to_saturation(curve(0.5, 0.9, 0.9, 0.9, 0.9).iloc[1:]))


def looks(condition: str, seed: int, *values: float) -> pd.DataFrame:
    run = curve(*values).rename_axis("step").rename("accuracy").reset_index()
    return run.assign(world="local_norms", condition=condition, seed=seed, faithful=math.nan)


def test_the_table_has_every_run_and_a_condition_the_median_of_those_that_settled():
    runs = [
        looks("broad", 0, 0.5, 0.9, 0.9, 0.9),
        looks("broad", 1, 0.5, 0.5, 0.9, 0.9, 0.9),
        looks("broad", 2, 0.5, 0.5, 0.5, 0.9, 0.9, 0.9),
        looks("broad", 3, 0.5, 0.5, 0.5, 0.5),
        looks("base", 0, 0.5),
    ]
    table = saturation(pd.concat(runs[::-1]).sample(frac=1, random_state=0))
    broad = table[table["condition"] == "broad"].sort_values("seed")
    assert broad["steps_to_saturation"].tolist()[:3] == [10, 20, 30] and math.isnan(broad["steps_to_saturation"].iat[3])
    assert set(table["seen"]) == {"accuracy"}, "a world whose reasons cannot be told has no row of them"
    found = by_condition(table).loc["local_norms"]
    assert found.loc[("broad", "accuracy"), ["seeds", "settled", "steps_to_saturation"]].tolist() == [4, 3, 20]
    assert found.loc[("base", "accuracy"), ["seeds", "settled", "first", "level"]].tolist() == [1, 0, 0.5, 0.5]
    assert LAST == 3
