"""The run folder: written whole, one set of parameters, complete with its manifest."""

import json
from importlib import metadata

import pytest

from studylib.params import RunParams
from studylib.runs.folder import RESPONSES, is_complete, open_run, write_json, write_manifest, written_whole
from studylib.runs.provenance import code_hash, git_state


def test_json_is_written_whole_or_not_at_all(tmp_path):
    path = tmp_path / "a" / "x.json"
    write_json(path, {"a": 1})
    with pytest.raises(TypeError):
        write_json(path, {"a": object()})
    assert json.loads(path.read_text()) == {"a": 1}


def test_a_run_folder_belongs_to_one_set_of_parameters(tmp_path):
    open_run(tmp_path, {"seed": 1, "steps": 9})
    open_run(tmp_path, {"seed": 1, "steps": 2})  # nothing had begun
    (tmp_path / "metrics.jsonl").touch()
    open_run(tmp_path, {"seed": 1, "steps": 2})
    with pytest.raises(ValueError, match="holds a run with steps = 2, not 3; give another run_root"):
        open_run(tmp_path, {"seed": 1, "steps": 3})
    (tmp_path / "config.json").write_text('{\n"seed": 1,\n')
    with pytest.raises(ValueError, match=r"not JSON in .*config\.json, line 3"):
        open_run(tmp_path, {"seed": 1, "steps": 2})


def test_a_parameter_that_an_older_run_lacks_counts_as_its_default(tmp_path):
    params = RunParams(condition="narrow", n_domains=1, n_styles=1)
    older = {name: value for name, value in params.as_dict().items() if name not in ("combination", "dpo_nll")}
    (tmp_path / "config.json").write_text(json.dumps(older | {"rewards": "verdict=1.0 format=0.0"}))
    (tmp_path / "manifest.json").touch()
    kept = (tmp_path / "config.json").read_bytes()
    open_run(tmp_path, params.as_dict())
    assert (tmp_path / "config.json").read_bytes() == kept, "that of a complete run stays"
    with pytest.raises(ValueError, match="holds a run with combination = 'sum', not 'lsc'"):
        open_run(tmp_path, params.as_dict() | {"combination": "lsc"})


@pytest.mark.parametrize("old, new", [({}, {"judge_content": "a"}), ({"judge_content": "a"}, {"judge_content": "b"})])
def test_a_run_with_another_judge_is_refused_also_where_an_older_one_did_not_keep_it(tmp_path, old, new):
    open_run(tmp_path, {"seed": 1} | old)
    (tmp_path / "metrics.jsonl").touch()
    with pytest.raises(ValueError, match="holds a run with judge_content = .*; give another run_root"):
        open_run(tmp_path, {"seed": 1} | new)


def test_a_folder_of_runs_may_be_moved(tmp_path):
    open_run(tmp_path, RunParams(run_root="runs").as_dict())
    (tmp_path / "metrics.jsonl").touch()
    open_run(tmp_path, RunParams(run_root="elsewhere").as_dict())


def test_a_run_that_was_looked_at_otherwise_or_never_stays_and_goes_on(tmp_path):
    older = {name: value for name, value in RunParams().as_dict().items() if name != "eval_every"}
    open_run(tmp_path, older)
    for answers in RESPONSES.values():
        (tmp_path / answers).touch()
    open_run(tmp_path, RunParams(eval_every=20).as_dict())
    assert all((tmp_path / answers).is_file() for answers in RESPONSES.values()), "they are of the same policy"
    (tmp_path / "metrics.jsonl").touch()
    open_run(tmp_path, RunParams(eval_every=5).as_dict())
    (tmp_path / "manifest.json").touch()
    open_run(tmp_path, RunParams().as_dict())
    assert json.loads((tmp_path / "config.json").read_text())["eval_every"] == 5, "that of a complete run stays"


def test_a_file_that_breaks_off_leaves_the_old_one_and_nothing_else(tmp_path):
    path = tmp_path / "table.txt"
    path.write_text("old")
    with pytest.raises(OSError), written_whole(path) as scratch:
        scratch.write_text("ne")
        raise OSError("the disk is full")
    assert path.read_text() == "old" and list(tmp_path.iterdir()) == [path]


def test_the_manifest_makes_a_run_complete_and_says_what_it_was_made_of(tmp_path):
    assert not is_complete(tmp_path)
    write_manifest(tmp_path, {"seed": 1}, started=0.0, data={"train": "abc"})
    assert is_complete(tmp_path)
    manifest = json.loads((tmp_path / "manifest.json").read_text())
    assert manifest["finished"] and manifest["params"] == {"seed": 1} and manifest["data"] == {"train": "abc"}
    assert manifest["versions"]["trl"] == metadata.version("trl")
    assert manifest["git"] == git_state() and manifest["code"] == code_hash()
    assert manifest["machine"]["cpus"] and manifest["wall_seconds"] > 0 and manifest["peak_memory_gb"]["cpu"] > 0


def test_answers_given_under_other_parameters_before_training_are_not_taken(tmp_path):
    open_run(tmp_path, {"seed": 1, "eval_samples": 4})
    before = tmp_path / RESPONSES["before"]
    before.touch()
    open_run(tmp_path, {"seed": 1, "eval_samples": 4})
    assert before.exists(), "the same run goes on with them"
    open_run(tmp_path, {"seed": 1, "eval_samples": 2})
    assert not before.exists()
