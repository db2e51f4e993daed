"""python -m studylib as a shell or a program calls it: help, exit codes, refusals in one sentence, JSON."""

import json
import os
import re
import subprocess
import sys
import types
from pathlib import Path

import pandas as pd
import pytest

from studylib import study
from studylib.__main__ import OPTIONS, function_of, main, parser

ROOT = Path(__file__).resolve().parents[1]


def shell(*arguments: str, **environment: str) -> subprocess.CompletedProcess:
    command = [sys.executable, "-X", "importtime", "-m", "studylib", *arguments]
    return subprocess.run(command, capture_output=True, text=True, cwd=ROOT, env=os.environ | environment)


@pytest.mark.parametrize("arguments", [("--help",), *((name, "--help") for name in OPTIONS)])
def test_help_teaches_and_imports_nothing_heavy(arguments):
    done = shell(*arguments)
    assert done.returncode == 0 and "python -m studylib " in done.stdout.partition("\n")[2], "an example"
    imported = set(re.findall(r"\|\s+(\w+)$", done.stderr, re.MULTILINE))
    assert not imported & {"torch", "pandas", "numpy", "matplotlib", "transformers"}


def test_every_command_says_what_it_does_and_every_option_what_it_is_for():
    assert list(OPTIONS) == [
        "run", "study", "compare", "report", "audit", "validate", "bench", "baselines", "gpu-check", "judge",
        "notebooks", "address",
    ]  # fmt: skip
    for name, options in OPTIONS.items():
        assert len(function_of(name).__doc__.strip().splitlines()) > 3, name
        assert all(how["help"] for _, how in options), name
    assert "--worker" not in parser().format_help()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("run --sed 3", "python -m studylib: unrecognized arguments: --sed 3"),
        ("run --set seed=abc", "python -m studylib run: parameter seed = 'abc' is not allowed: an integer"),
        (
            "run --set sede=3",
            "python -m studylib run: unknown parameter 'sede'; did you mean seed. .* run --list shows all$",
        ),
        ("run --set seed", "python -m studylib run: --set needs name=value, not 'seed'"),
        ("run --seed -1", "python -m studylib run: parameter seed = -1 is not allowed: an integer >= 0"),
        ("run --condition brod", "python -m studylib run: .*no condition .brod.*did you mean broad"),
        ("run -f nowhere.yaml", "python -m studylib run: .*nowhere.yaml"),
        ("judge --source mars", "python -m studylib judge: parameter source = 'mars' is not allowed"),
        ("run --set rewards=corect=1", "python -m studylib run: .*no reward 'corect'; did you mean correct.$"),
        ("report --axis input", "python -m studylib report: no parameter file .*input.yaml; .*did you mean inputs"),
        ("compare --split nosplit", "python -m studylib compare: no split 'nosplit' in .*known: held_out_domains"),
        ("compare --baseline narow", "python -m studylib compare: no condition 'narow' in .*did you mean narrow"),
        ("validate --study nowhere", "python -m studylib validate: no accuracy.csv in nowhere: .* as figures/inputs"),
        (
            "study --conditions=narow",
            "python -m studylib study: --conditions: .*no condition 'narow'.*did you mean narrow",
        ),
        ("study --worlds local", "python -m studylib study: --worlds: no source 'local'; known: .*local_norms"),
        ("study --axis input", "python -m studylib study: no parameter file .*did you mean inputs"),
        ("audit --judge nowhere", "python -m studylib audit: "),
        ("audit --scenarios 3", "python -m studylib audit: "),
        ("study --cores 0", "python -m studylib study: argument --cores: '0' is not allowed: an integer >= 1"),
        ("validate --studies 1", "python -m studylib validate: studies = 1 is not allowed: 20 or more"),
        ("compare --margin wide", "python -m studylib compare: argument --margin: invalid float value: 'wide'"),
        ("", "python -m studylib: the following arguments are required: COMMAND"),
    ],
)
def test_wrong_use_is_refused_in_one_sentence_with_exit_code_2(capsys, arguments, message):
    try:
        code = main(arguments.split())
    except SystemExit as stop:  # argparse
        code = stop.code
    printed = capsys.readouterr()
    assert code == 2 and re.match(message, printed.err) and len(printed.err.splitlines()) == 1 and not printed.out


def test_an_error_shows_where_it_comes_from_when_asked():
    with pytest.raises(ValueError, match="parameter seed = 'abc'"):
        main(["run", "--set", "seed=abc", "--traceback"])


@pytest.fixture
def trained(monkeypatch, tmp_path):
    """Parameters of the runs that the command asks for; none is trained."""
    asked = []

    def run(params):
        print("a line of progress")
        asked.append(params)
        (tmp_path / "summary.json").write_text('{"splits": {}}')
        return tmp_path

    monkeypatch.setitem(sys.modules, "studylib.run", types.SimpleNamespace(run=run))
    return asked


def test_a_run_takes_its_parameters_from_profile_condition_file_and_options_in_that_order(trained, tmp_path):
    mine = tmp_path / "mine.yaml"
    mine.write_text("steps: 10\nseed: 010\nrun_root: here\n")
    options = ["--condition", "narrow", "--set", "steps=20", "--set", "rewards=format=1.0", "--set", "run_root=a 'b'"]
    assert main(["run", "-f", str(mine), *options]) == 0
    (params,) = trained
    assert (params.condition, params.n_domains, params.steps, params.seed) == ("narrow", 1, 20, 10)
    assert params.rewards == "format=1.0" and params.run_root == "a 'b'"


def test_a_condition_called_as_a_number_is_a_name(trained):
    with pytest.raises(ValueError, match="007"):
        main(["run", "--condition", "007", "--traceback"])


def test_json_stands_alone_on_standard_output(trained, tmp_path, capsys):
    assert main(["run", "--json"]) == 0
    printed = capsys.readouterr()
    assert json.loads(printed.out) == {"run": str(tmp_path), "splits": {}}
    assert "a line of progress" in printed.err


@pytest.mark.parametrize(("high", "code"), [(0.06, 0), (0.04, 1)])
def test_validate_ends_with_1_when_a_rate_misses_its_target(monkeypatch, tmp_path, capsys, high, code):
    row = {"what": "false 'different'", "value": 0.05, "target_low": 0.04, "target_high": high}
    monkeypatch.setattr("studylib.instruments.validate.validate", lambda *given: pd.DataFrame([row]))
    assert main(["validate", "--out", str(tmp_path / "a/table.csv"), "--json"]) == code
    assert json.loads(capsys.readouterr().out) == [row] and (tmp_path / "a/table.csv").is_file()


@pytest.mark.parametrize("worlds", ["m1 m4", "plural_norms", None])
def test_the_worlds_of_a_study_are_those_of_its_axis_and_sources(worlds):
    asked = {"axis": "landscape", "profile": "tiny_cpu", "conditions": "grpo"}
    study.refuse_unknown_names(types.SimpleNamespace(**asked, worlds=worlds))
    with pytest.raises(ValueError, match="--worlds: no source 'm9'"):
        study.refuse_unknown_names(types.SimpleNamespace(**asked, worlds="m1 m9"))


def test_a_study_that_cannot_be_is_refused_before_the_first_run():
    done = shell("study", "--seeds", "0")
    errors = [line for line in done.stderr.splitlines() if not line.startswith("import time")]
    assert done.returncode == 2 and len(errors) == 1
    assert (
        errors[0].startswith("python -m studylib study: --seeds: '0' is not allowed") and "an integer >= 1" in errors[0]
    )


def test_a_reader_who_stops_early_ends_the_command_quietly():
    command = [sys.executable, "-m", "studylib", "run", "--list", "--json"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT) as process:
        process.stdout.close()
        assert process.stderr.read() == "" and process.wait() == 0


def test_a_study_prints_a_line_for_each_finished_run_with_its_number(capsys):
    lines = (
        "print('a broad seed 0: complete after 3 s'); print('a warning'); print('a broad seed 1: complete after 4 s')"
    )
    assert study.wait_for([sys.executable, "-c", lines], 5) == 0
    assert capsys.readouterr().out.splitlines() == [
        "a broad seed 0: complete after 3 s (1 of 5 runs)", "a warning",
        "a broad seed 1: complete after 4 s (2 of 5 runs)",
    ]  # fmt: skip


def test_a_study_does_not_say_of_its_own_tables_that_they_were_there(monkeypatch, capsys):
    monkeypatch.setattr(study, "refuse_what_cannot_be", lambda options: 0)
    monkeypatch.setattr(study, "wait_for", lambda command, runs: 0)
    assert main(["study"]) == 0
    printed = capsys.readouterr().out
    assert "Claims about accuracy_sampled" in printed and "--remake" not in printed
