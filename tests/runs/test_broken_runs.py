"""Broken run folders: one sentence each, which names the file and says what to do, and no other study stops.

Run: python -m pytest tests/test_broken_runs.py
"""

import json
import math

import pytest
from test_claims import STUDY, write_run

from studylib.claims import tables
from studylib.evaluation.table import read_answers, read_runs
from studylib.runs import read as runs

AGAIN = "; delete the folder and make the run again"


@pytest.fixture
def root(tmp_path):
    for condition in ("narrow", "broad"):
        for seed in (0, 1):
            write_run(tmp_path, condition=condition, seed=seed, after=0.6 + seed / 10)
    return tmp_path


@pytest.fixture
def run(root):
    """The run that is broken: the others are whole."""
    return root / "inputs/tiny_cpu/local_norms/broad/seed1"


def compare(root, out=None):
    return tables.write_tables(root, out or root / "out", **STUDY)


def refused(path, what: str) -> str:
    """The whole sentence, as a pattern."""
    return f"^{path} {what}{AGAIN}$"


def cut(path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def empty(path) -> None:
    path.write_bytes(b"")


BROKEN = {
    "empty": (empty, "cannot be read: it is empty, cut or damaged"),
    "cut": (cut, "cannot be read: it is empty, cut or damaged"),
    "a list": (lambda path: path.write_text("[1]"), "holds a list, not a mapping"),
    "missing": (lambda path: path.unlink(), "is missing"),
}


@pytest.mark.parametrize("breaks, what", BROKEN.values(), ids=BROKEN)
@pytest.mark.parametrize("name", ["config.json", "summary.json", "manifest.json"])
def test_a_broken_file_is_named(root, run, name, breaks, what):
    breaks(run / name)
    if (name, what) == ("manifest.json", "is missing"):
        assert runs.incomplete_runs(root) == [run], "a run that did not finish is none"
        return
    with pytest.raises(ValueError, match=refused(run / name, what)):
        compare(root)


@pytest.mark.parametrize("breaks", [empty, cut, lambda path: path.write_text("[1]")], ids=["empty", "cut", "a list"])
@pytest.mark.parametrize("name", ["config.json", "summary.json", "manifest.json", "metrics.jsonl"])
@pytest.mark.parametrize("place", [{"axis": "objective"}, {"profile": "colab_t4"}], ids=["axis", "profile"])
def test_a_broken_run_of_another_study_stops_only_its_own(root, place, name, breaks):
    other = write_run(root, **place)
    breaks(other / name)
    assert len(read_runs(root, **STUDY)) == 24 and len(runs.read_curves(root, **STUDY)) == 40
    if name == "manifest.json":
        assert runs.incomplete_runs(root) == [other]


@pytest.mark.parametrize(
    "content, what",
    [
        ("", "cannot be read: it is empty, cut or damaged"),
        ('{"step": 1, "reward": 0.5}\n{"step": 2, "rew', "cannot be read: it is empty, cut or damaged"),
        ("[1]\n", "has a line that is no mapping"),
    ],
)
def test_a_cut_log_is_named(root, run, content, what):
    path = run / "metrics.jsonl"
    path.write_text(content)
    message = refused(path, what) if content else f"no training step with a reward in {path}{AGAIN}"
    with pytest.raises(ValueError, match=message):
        runs.read_curves(root, **STUDY)


@pytest.mark.parametrize("breaks, what", [BROKEN["empty"], BROKEN["cut"], BROKEN["missing"]])
def test_broken_answers_are_named(root, run, breaks, what):
    breaks(run / "responses.parquet")
    with pytest.raises(ValueError, match=refused(run / "responses.parquet", what)):
        read_answers(root, **STUDY)


def edit_score(run, value, endpoint="accuracy_sampled") -> None:
    path = run / "summary.json"
    summary = json.loads(path.read_text())
    summary["splits"]["held_out"]["after"][endpoint] = value
    summary["splits"]["held_out"]["before"].setdefault(endpoint, 0.0)
    path.write_text(json.dumps(summary))


@pytest.mark.parametrize(
    "endpoint, value, wrong",
    [
        ("accuracy_sampled", math.inf, "inf, not a number"),
        ("accuracy_sampled", True, "True, not a number"),
        ("accuracy_sampled", "0.9", "'0.9', not a number"),
        ("accuracy_sampled", 91.5, "91.5, outside 0..1"),
        ("accuracy_sampled", -0.1, "-0.1, outside 0..1"),
        ("score_sampled", -1.5, "-1.5, outside -1..1"),
    ],
)
def test_a_score_that_cannot_be_names_its_run(root, run, endpoint, value, wrong):
    edit_score(run, value, endpoint)
    with pytest.raises(ValueError, match=f"^{run}: {endpoint} after training on held_out is {wrong}{AGAIN}$"):
        compare(root)


def test_a_score_by_a_rubric_may_be_below_0(root, run):
    edit_score(run, -0.5, "score_sampled")
    assert read_runs(root, **STUDY)["after"].min() == -0.5


@pytest.mark.parametrize("splits", [[1], {"held_out": [1]}, {"held_out": {"after": 0.5}}])
def test_a_summary_without_a_table_of_splits(root, run, splits):
    (run / "summary.json").write_text(json.dumps({"splits": splits}))
    with pytest.raises(
        ValueError, match=refused(run / "summary.json", "has no table of splits, before and after training")
    ):
        compare(root)


@pytest.mark.parametrize(
    "change, said",
    [
        ({"profile": "colab_t4"}, "profile 'colab_t4', its folder 'tiny_cpu'"),
        ({"axis": "objective"}, "axis 'objective', its folder 'inputs'"),
        ({"condition": "narrow"}, "condition 'narrow', its folder 'broad'"),
        ({"seed": 3}, "seed 3, its folder 1"),
    ],
)
def test_a_config_that_contradicts_its_folder(root, run, change, said):
    config = json.loads((run / "config.json").read_text())
    (run / "config.json").write_text(json.dumps(config | change))
    with pytest.raises(ValueError, match=f"^{run}: its config.json says {said}{AGAIN}$"):
        compare(root)


@pytest.mark.parametrize("seed", ["1", 1.0, True, None])
def test_a_seed_that_is_no_integer(root, run, seed):
    config = json.loads((run / "config.json").read_text())
    (run / "config.json").write_text(json.dumps(config | {"seed": seed}))
    with pytest.raises(ValueError, match=f"config.json: seed = {seed!r} is no integer{AGAIN}$"):
        compare(root)
