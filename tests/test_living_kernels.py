"""Notebooks in a kernel that has run them before: what counts is what the parameters cell sets in this pass.

The code cells are executed in one namespace, as a kernel does; test_notebooks.py runs them once, by papermill.
"""

import json
import math
from pathlib import Path

import matplotlib.pyplot as plt
import pytest
from conftest import MINIATURE
from test_claims import write_run

from studylib.instruments.battery import CHEATS

ROOT = Path(__file__).resolve().parents[1]
LISTED = "known parameters: |(did you mean .*)?python -m studylib run --list shows all"  # of a notebook, of a run
NAMES = ("1_scenarios", "2_train_judge", "2b_judge_real_dilemmas", "3_run_condition", "4_compare_conditions")
MADE = ("2_train_judge", "2b_judge_real_dilemmas", "3_run_condition")  # make runs, of `params`


class Kernel:
    """Runs the code cells of one notebook in one namespace. A pass may add lines to the parameters cell."""

    def __init__(self, name: str):
        cells = json.loads((ROOT / "notebooks" / f"{name}.ipynb").read_text())["cells"]
        cells = [cell for cell in cells if cell["cell_type"] == "code"]
        self.sources = ["".join(cell["source"]) for cell in cells]
        self.place = ["parameters" in cell["metadata"].get("tags", []) for cell in cells].index(True)
        self.namespace = {"__name__": "__main__", "display": print}

    def run(self, first: int = 1, last: int | None = None, **parameters) -> dict:
        """The cells from `first` on (0, Colab's, is left out); `last`: how many after the parameters cell."""
        lines = "".join(f"\n{name} = {value!r}" for name, value in parameters.items())
        for i in range(first, len(self.sources) if last is None else self.place + last + 1):
            exec(compile(self.sources[i] + lines * (i == self.place), f"cell {i}", "exec"), self.namespace)
            plt.close("all")
        return self.namespace

    def two_cells(self, **parameters) -> dict:
        """The parameters cell and the one after it."""
        return self.run(self.place, 1, **parameters)


@pytest.fixture
def given(tmp_path):
    """Parameters for a miniature of each notebook below tmp_path."""
    roots = {"run_root": str(tmp_path / "runs"), "out_root": str(tmp_path / "out")}
    for condition, mean in (("narrow", 0.6), ("medium", 0.7), ("broad", 0.8)):
        for seed in range(2):
            write_run(Path(roots["run_root"]), "local_norms", condition, seed, mean + 0.01 * seed * len(condition))
    judge = {"judge_scenarios": 8, "judge_steps": 2, "audit_scenarios": 2}
    return {
        "1_scenarios": {"source": "universal_norms"},
        "2_train_judge": {**MINIATURE, **judge, **roots},
        "2b_judge_real_dilemmas": roots,
        "3_run_condition": {**MINIATURE, "run_root": str(tmp_path / "new")},
        "4_compare_conditions": roots,
    }


@pytest.mark.parametrize("name", NAMES)
def test_a_notebook_runs_from_top_to_bottom_twice_in_one_kernel(given, name, monkeypatch):
    monkeypatch.setattr("studylib.instruments.battery.CHEATS", dict(list(CHEATS.items())[:3]))  # all take a minute
    kernel = Kernel(name)
    for _ in range(2):
        kernel.run(**given[name])
    kernel.two_cells(**given[name])  # in which no name of a later cell passes for a parameter
    if name != "2_train_judge":
        kernel.run(kernel.place + 1)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("unknown", [{"sede": 3}, {"worlds": "mine"}, {"table": None}, {"run_rot": "x"}])
def test_an_unknown_parameter_is_refused_in_every_pass(given, name, unknown):
    kernel, refused = Kernel(name), f"unknown parameter '{next(iter(unknown))}'; ({LISTED})"
    for _ in range(2):
        with pytest.raises(ValueError, match=refused):
            kernel.run(last=1, **given[name], **unknown)
        with pytest.raises(ValueError, match=refused):
            kernel.run(kernel.place + 1, 1)  # the cell after it alone
        assert "params" not in kernel.namespace
        kernel.run(last=1, **given[name])
        for _ in range(2):
            with pytest.raises(ValueError, match=refused):
                kernel.two_cells(**given[name], **unknown)
        kernel.run(kernel.place, 0, **given[name], **unknown)
        with pytest.raises(ValueError, match=refused):
            kernel.two_cells(**given[name], **unknown)
        kernel.two_cells(**given[name])


@pytest.mark.parametrize("name", MADE)
@pytest.mark.parametrize(
    "deleted",
    [{"learning_rate": 1e-3}, {"steps": 2}, {"rewards": "correct=1.0 rubric=0.5"}, {"model": "m", "revision": "c"}],
)
@pytest.mark.parametrize("again", ["all", "two cells", "parameters first"])
def test_a_parameter_that_was_deleted_from_its_cell_is_no_longer_in_force(tmp_path, name, deleted, again):
    kernel, fresh = Kernel(name), Kernel(name)
    kernel.run(last=1, run_root=str(tmp_path / "a"), **deleted)
    assert all(getattr(kernel.namespace["params"], key) == value for key, value in deleted.items())
    if again == "parameters first":
        kernel.run(kernel.place, 0, seed=9, **deleted)
    runs = {"run_root": str(tmp_path / "b")}
    kernel.run(last=1, **runs) if again == "all" else kernel.two_cells(**runs)
    assert kernel.namespace["params"] == fresh.run(last=1, **runs)["params"]


def test_a_line_that_was_deleted_leaves_no_old_value_of_the_notebooks_own_parameters():
    for name, own in (
        ("1_scenarios", "data_dir"),
        ("2_train_judge", "gap_seeds"),
        ("2b_judge_real_dilemmas", "train_on"),
        ("4_compare_conditions", "margin"),
    ):
        kernel = Kernel(name)
        kernel.run(last=0)
        lines = kernel.sources[kernel.place].splitlines()
        kernel.sources[kernel.place] = "\n".join(line for line in lines if not line.startswith(f"{own}:"))
        assert own in kernel.namespace and own not in kernel.run(last=0)


def test_another_seed_in_the_same_kernel_is_the_run_of_a_fresh_one(given, tmp_path):
    used, fresh = Kernel("3_run_condition"), Kernel("3_run_condition")
    given = given["3_run_condition"] | {"steps": 2, "learning_rate": 0.01}
    used.run(**given, seed=0)
    first = used.namespace["trainer"]
    used.run(**given, seed=1)
    fresh.run(**given | {"run_root": str(tmp_path / "fresh")}, seed=1)
    assert used.namespace["trainer"] is not first and used.namespace["params"].seed == 1
    runs = [kernel.namespace["run_dir"] for kernel in (used, fresh)]
    assert runs[0] != runs[1]
    for file in ("summary.json", "metrics.jsonl"):
        lines = [[json.loads(line) for line in (run / file).read_text().splitlines()] if "metrics" in file
                 else json.loads((run / file).read_text()) for run in runs]  # fmt: skip
        assert without_times(lines[0]) == without_times(lines[1]), file
    weights = [(run / "adapter/adapter_model.safetensors").read_bytes() for run in runs]
    assert weights[0] == weights[1]


def without_times(value):
    """Without what a clock or a meter says, and with NaN equal to itself."""
    if isinstance(value, dict):
        return {k: without_times(v) for k, v in value.items() if not any(t in k for t in ("time", "runtime", "second"))}
    if isinstance(value, list):
        return list(map(without_times, value))
    return "NaN" if isinstance(value, float) and math.isnan(value) else value


def test_after_a_failed_first_pass_nothing_of_it_is_used(given):
    kernel, given = Kernel("3_run_condition"), given["3_run_condition"]
    with pytest.raises(ValueError, match="steps = -1 is not allowed"):
        kernel.run(**given | {"steps": -1})
    kernel.run(last=1, **given)
    with pytest.raises(ValueError, match="has no condition .brod.; known: narrow, medium, broad"):
        kernel.run(**given, condition="brod")
    with pytest.raises(NameError, match="params"):
        kernel.run(kernel.place + 2)
    kernel.run(last=1, **given)
    assert kernel.namespace["params"].condition == "broad"


@pytest.mark.parametrize(
    "given, message",
    [
        ({"endpoint_options": "max_tokens=null"}, "endpoint options 'max_tokens=null' are not allowed: a JSON object"),
        ({"endpoint_options": '{"stream": true}'}, "endpoint option 'stream' is not allowed"),
        ({"endpoint_key": "NO_SUCH_KEY"}, "the environment variable 'NO_SUCH_KEY' holds no key"),
        ({"endpoint": "127.0.0.1/v1"}, "endpoint url '127.0.0.1/v1' is not allowed"),
    ],
)
def test_an_endpoint_that_cannot_be_asked_is_refused_before_a_judge_is_trained(tmp_path, given, message):
    kernel, roots = Kernel("2b_judge_real_dilemmas"), {"run_root": str(tmp_path), "out_root": str(tmp_path)}
    with pytest.raises(ValueError, match=message):
        kernel.run(last=1, **roots, **{"endpoint": "http://127.0.0.1:1/v1"} | given)
    kernel.run(last=1, **roots, endpoint="http://127.0.0.1:1/v1", endpoint_options='{"max_tokens": null}')
    assert kernel.namespace["client"].options == {"temperature": 0}
    assert kernel.two_cells(**roots)["client"] is None, "the endpoint of an earlier pass"
