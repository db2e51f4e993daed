"""Error rates of the claims by simulation, short; `make validate` is the long one."""

import dataclasses
import math

import pandas as pd
import pytest

from studylib.claims import tables
from studylib.instruments import error_rates, seed_sets, simulate, validate
from studylib.paths import FIGURES


def test_run_folders_and_tables_give_the_same_claims():
    runs = simulate.simulate(5, 3, 2, shift=0.05, unequal=True)
    direct, read = error_rates.decisions(runs), error_rates.decisions(simulate.from_folders(runs))
    pd.testing.assert_frame_equal(direct, read)


@pytest.mark.parametrize("seeds, contrasts, unequal", [(3, 1, True), (5, 14, False)])
def test_the_whole_pipeline_rarely_calls_a_null_different(seeds, contrasts, unequal):
    table = pd.DataFrame(error_rates.null_studies(150, seeds, contrasts, unequal))
    assert table["value"].iloc[0] <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / 150)


def test_equivalence_and_sequential_looks_rarely_err():
    table = pd.DataFrame([*error_rates.at_the_margin(300, 5, False), *error_rates.sequential(150)])
    assert (table["value"] <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / 150)).all() and len(table) == 3


def test_a_wrong_statistic_would_not_pass_the_simulation():
    """The instrument can fail: intervals that take single answers for independent cover far too rarely."""
    table = pd.DataFrame(error_rates.item_level(60, 3)).set_index("what")["value"]
    assert table.iloc[0] > 0.85 > table.iloc[1]


def test_misses_names_what_is_outside_its_target():
    rows = [["good", 0.95, 0.9, 0.99, 0.93, 0.97], ["bad", 0.5, 0.4, 0.6, 0.93, 0.97]]
    assert validate.misses(pd.DataFrame(rows, columns=error_rates.COLUMNS))["what"].tolist() == ["bad"]


def test_rows_without_a_target_are_reported_and_no_checks(monkeypatch, tmp_path, capsys):
    rows = [["good", 0.95, 0.9, 0.99, 0.93, 0.97], ["known", 0.5, 0.4, 0.6, math.nan, math.nan]]
    made = [(lambda *row: [dict(zip(error_rates.COLUMNS, row, strict=True))], *row) for row in rows]
    monkeypatch.setattr(validate, "cases", lambda studies, study: made)
    table = validate.write_validation(tmp_path / "validate.csv", workers=1)
    printed = capsys.readouterr().out
    assert "0.9500 in 0.930..0.970  good" in printed and "0.5000 reported          known" in printed
    assert validate.in_words(table) == "1 checks, 0 outside their target; 1 reported"
    assert pd.read_csv(tmp_path / "validate.csv")["what"].tolist() == ["good", "known"]
    assert validate.misses(pd.DataFrame(rows, columns=error_rates.COLUMNS)).empty


def test_what_cannot_fail_is_no_check():
    for rows in (error_rates.item_level(10, 3), error_rates.single_rates(20), error_rates.many_at_the_margin(10, 3)):
        table = pd.DataFrame(rows)
        assert not ((table["target_low"] <= 0) & (table["target_high"] >= 1)).any()
        assert len(validate.checks(table)) < len(table)


def test_many_contrasts_at_the_margin_have_a_false_equivalent_more_often_than_one():
    one, many = error_rates.at_the_margin(300, 5, False)[0], error_rates.many_at_the_margin(300, 5)[0]
    assert many["value"] > 3 * one["value"] and many["low"] > 0.2


@pytest.mark.parametrize("correlation", [0.0, 0.5])
def test_the_interval_of_hedges_g_covers_a_large_effect_with_few_seeds(correlation):
    """The bias correction is for the estimate: an interval shrunken with it covered 0.90 here."""
    (row,) = error_rates.standardised(1000, 3, 1.0, correlation)
    assert row["value"] == pytest.approx(0.95, abs=0.02)


def test_the_embedded_study_at_its_measured_spread():
    measured = tables.read_table(FIGURES / "inputs", "accuracy")
    table = pd.DataFrame(error_rates.embedded(10, measured)).drop_duplicates("what").set_index("what")["value"]
    different = table[~table.index.str.contains("trivial")]
    assert different[different.index.str.startswith("local")].tolist() == [1.0], "always found"
    assert different[different.index.str.startswith("universal")].tolist() == [0.0], "never claimed"


def test_the_validation_reads_no_study_but_the_one_that_it_is_given():
    alone, named = validate.cases(20), validate.cases(20, FIGURES / "inputs")
    assert [case for case in named if case[0] in (error_rates.embedded, error_rates.trained)] == [
        case for case in named if case[0] not in {case[0] for case in alone}
    ]
    assert not any(isinstance(argument, pd.DataFrame) for case in alone for argument in case)


def test_seed_sets_are_claimed_one_by_one():
    runs, plan = simulate.simulate(1, 6, shift=0.05), dataclasses.replace(simulate.PLAN, seeds=3, max_seeds=3)
    found = seed_sets.set_claims(runs, plan)
    assert found["seeds"].tolist() == ["0..2", "3..5"] and found["set"].tolist() == [1, 2]
    for row, first in zip(found.itertuples(), (0, 3), strict=True):
        alone = error_rates.decisions(runs[runs["seed"].between(first, first + 2)], plan).iloc[0]
        assert (row.difference, row.low, row.p_holm, row.decision) == tuple(
            alone[["difference", "low", "p_holm", "decision"]]
        )
    with pytest.raises(ValueError, match="6 seeds make no sets of 4"):
        seed_sets.in_sets(runs, 4)
