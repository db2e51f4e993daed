"""Parameters in the cells of a notebook: what counts is what the parameters cell sets in this pass.

Run: python -m pytest tests/test_cells.py
"""

import dataclasses

import pytest

from studylib.cells import begin_parameters, given_parameters, refuse_other_parameters
from studylib.params import RunParams


def test_notebook_parameters_are_those_of_the_two_cells():
    before = {"started"}
    assert given_parameters(before, {"started": 1.0, "seed": 3, "_": 5, "len": len}) == {"seed": 3}


@pytest.mark.parametrize("unknown", [{"sede": 4}, {"learning_rat": 1e-3}, {"row": "text"}, {"data": None}, {"x": (1,)}])
def test_an_unknown_notebook_parameter_is_refused_in_every_pass_and_poisons_none(unknown):
    before, namespace = {"started"}, {"started": 1.0, "seed": 3}
    for _ in range(3):
        assert given_parameters(before, namespace) == {"seed": 3}
        namespace |= unknown
        with pytest.raises(ValueError, match=f"unknown parameter '{next(iter(unknown))}'"):
            RunParams.resolve(given_parameters(before, namespace))


def parameters_cell(namespace: dict, own: str = "", **values) -> None:
    begin_parameters(namespace, own)
    namespace |= values


def test_a_parameter_counts_in_the_pass_that_sets_it_and_what_was_made_of_it_goes_too():
    namespace = {"started": 1.0}
    parameters_cell(namespace, seed=3, learning_rate=1e-3)
    assert given_parameters(namespace["before"], namespace) == {"seed": 3, "learning_rate": 1e-3}
    namespace |= {"params": "made of them", "trainer": [], "row": "a later cell's"}
    parameters_cell(namespace, seed=4)
    assert given_parameters(namespace["before"], namespace) == {"seed": 4}
    assert set(namespace) == {"started", "trainer", "row", "before", "seed"}


def test_a_name_of_a_later_cell_is_no_parameter_until_the_parameters_cell_sets_it():
    namespace = {}
    for number in range(3):
        parameters_cell(namespace, seed=number)
        assert given_parameters(namespace["before"], namespace) == {"seed": number}
        namespace |= {"row": f"row {number}", "data": {}, "total": number}
        assert given_parameters(namespace["before"], namespace) == {"seed": number}, "the cell after it alone, again"
    parameters_cell(namespace, data="/data")
    assert given_parameters(namespace["before"], namespace) == {"data": None}


def test_a_parameters_cell_that_is_run_several_times_before_anyone_reads_it():
    namespace = {}
    parameters_cell(namespace, sede=4, steps=7)
    parameters_cell(namespace, seed=4)
    assert given_parameters(namespace["before"], namespace) == {"seed": 4}, "corrected"
    for _ in range(2):
        parameters_cell(namespace, seed=4, sede=4)
    for _ in range(2):
        assert given_parameters(namespace["before"], namespace) == {"seed": 4, "sede": None}, "and stays refused"


def test_a_notebook_may_have_parameters_of_its_own():
    namespace = {}
    parameters_cell(namespace, "gap_seeds out_root", gap_seeds=1, seed=2)
    assert given_parameters(namespace["before"], namespace) == {"seed": 2}
    parameters_cell(namespace, gap_seed=1)
    assert given_parameters(namespace["before"], namespace) == {"gap_seed": None} and "gap_seeds" not in namespace
    parameters_cell(namespace, "axis out_root", axis="inputs", out_root="x")
    refuse_other_parameters(namespace["before"], namespace)
    for others in ({"seed": 1}, {"outroot": "x"}):
        parameters_cell(namespace, axis="inputs", **others)
        with pytest.raises(ValueError, match=f"unknown parameter '{next(iter(others))}'; .*: axis, out_root$"):
            refuse_other_parameters(namespace["before"], namespace)


def test_a_module_of_a_parameters_name_is_refused_as_its_value():
    import profile

    namespace = {}
    parameters_cell(namespace, profile=profile, json=dataclasses, seed=1)
    with pytest.raises(ValueError, match="profile"):
        RunParams.resolve(given_parameters(namespace["before"], namespace))
