"""What holds the project together: pins, provenance, randomness, the workflow, the notebooks as files."""

import ast
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from importlib import metadata
from pathlib import Path

import pytest
import torch
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from studylib.__main__ import parser as command_line
from studylib.params import RunParams, parameters
from studylib.paths import PARAMS
from studylib.randomness import generator, torch_seed
from studylib.runs.folder import write_json

ROOT = Path(__file__).resolve().parents[1]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
CARD = {"jupyterlab", "papermill", "torch", "transformers", "trl", "peft", "bitsandbytes", "datasets", "seaborn",
        "pingouin"}  # fmt: skip


def pins(lines) -> dict[str, str]:
    found = [line.strip() for line in lines if "==" in line and not line.strip().startswith("#")]
    return {canonicalize_name(name): version for name, version in (line.split("==") for line in found)}


CONSTRAINTS = pins((ROOT / "constraints.txt").read_text().splitlines())


# --- environment ---


def test_the_conda_environment_and_the_constraints_agree():
    environment = yaml.safe_load((ROOT / "environment.yml").read_text())
    assert "python=3.12" in environment["dependencies"] and environment["name"] and environment["channels"]
    pip = environment["dependencies"][-1]["pip"]
    assert pip[-1] == "-e ."
    listed = pins(pip)
    assert listed.keys() >= CARD
    assert listed == {name: CONSTRAINTS[name] for name in listed}


def test_the_ranges_of_the_project_hold_the_pins():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    wanted = [*project["dependencies"], *extras["study"], *extras["dev"]]
    for requirement in map(Requirement, wanted):
        assert requirement.specifier.contains(CONSTRAINTS[canonicalize_name(requirement.name)]), requirement
    assert {canonicalize_name(Requirement(r).name) for r in project["dependencies"]} >= CARD


def test_what_is_installed_is_what_is_pinned():
    installed = {name: metadata.version(name).split("+")[0] for name in CARD | {"numpy", "pandas"}}
    assert installed == {name: CONSTRAINTS[name] for name in installed}


# --- randomness ---


def test_streams_depend_on_seed_purpose_and_index_and_on_nothing_else():
    base = generator(3, "sampling", 0).random(4).tolist()
    generator(9, "other").random(4)
    assert generator(3, "sampling", 0).random(4).tolist() == base
    for other in (generator(4, "sampling"), generator(3, "selection"), generator(3, "sampling", 1)):
        assert other.random(4).tolist() != base


def test_torch_draws_leave_the_global_state_alone():
    before = torch.random.get_rng_state()
    with torch_seed(1, "test"):
        first = torch.rand(2)
    with torch_seed(1, "test"):
        assert torch.equal(torch.rand(2), first)
    assert torch.equal(torch.random.get_rng_state(), before)


# --- workflow ---


def workflow(folder: Path, *options: str, python: str | Path = sys.executable) -> subprocess.CompletedProcess:
    """A dry run in a folder that has the repository's parameters and notebooks, unless it has its own."""
    for name, place in {"params": PARAMS, "notebooks": ROOT / "notebooks"}.items():
        if not (folder / name).exists():
            (folder / name).symlink_to(place)
    command = [python, "-m", "snakemake", "-n", "-s", ROOT / "workflow/Snakefile", "--directory", folder, *options]
    environment = os.environ | {"STUDYLIB_ROOT": str(folder), "STUDYLIB_PARAMS": str(folder / "params")}
    return subprocess.run(list(map(str, command)), capture_output=True, text=True, env=environment)


def dry_run(folder: Path, *options: str, **how) -> str:
    done = workflow(folder, *options, **how)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def job_counts(output: str) -> dict[str, int]:
    return {name: int(n) for name, n in re.findall(r"^(\w+)\s+(\d+)$", output, re.MULTILINE)}


def test_the_embedded_study_is_thirty_runs_and_one_comparison(tmp_path):
    counts = job_counts(dry_run(tmp_path))
    assert counts == {"all": 1, "compare": 1, "run": 30, "warm_start": 1, "total": 33}


def test_tables_that_came_with_the_repository_do_not_pass_for_a_finished_study(tmp_path):
    (tmp_path / "figures/inputs").mkdir(parents=True)
    for name in ("claims", "means"):
        (tmp_path / f"figures/inputs/{name}.csv").touch()
    assert job_counts(dry_run(tmp_path))["run"] == 30


@pytest.mark.parametrize("by_workflow", [True, False], ids=["of the workflow", "of the command line"])
def test_finished_runs_are_not_run_again(tmp_path, by_workflow):
    (tmp_path / "runs/inputs/tiny_cpu").mkdir(parents=True)
    if by_workflow:
        (tmp_path / "runs/inputs/tiny_cpu/warm_start").touch()
    for seed in (0, 1):
        manifest = tmp_path / f"runs/inputs/tiny_cpu/local_norms/broad/seed{seed}/manifest.json"
        manifest.parent.mkdir(parents=True)
        manifest.touch()
    counts = job_counts(dry_run(tmp_path, "--rerun-triggers", "mtime", "params"))
    assert (counts["run"], counts.get("warm_start", 0)) == (28, 0 if by_workflow else 1)


def test_the_run_rule_writes_where_the_run_writes(tmp_path):
    output = dry_run(tmp_path, "--config", "seeds=1", "worlds=local_norms", "--printshellcmds")
    params = RunParams.resolve({"condition": "medium", "source": "local_norms", "seed": 0})
    assert str(params.run_dir.relative_to(ROOT) / "manifest.json") in output
    assert "-r profile tiny_cpu -r axis inputs -r condition medium -r source local_norms -p seed 0 2>" in output


def test_a_world_that_an_axis_makes_of_a_source_is_given_by_its_name(tmp_path):
    chosen = ("--config", "axis=landscape", "seeds=1", "worlds=m1", "conditions=grpo", "--printshellcmds")
    output = dry_run(tmp_path, *chosen)
    assert "runs/landscape/tiny_cpu/m1/grpo/seed0/manifest.json" in output
    assert (
        "-r condition grpo -r world m1 -p seed 0" in output and "--axis landscape --condition grpo --world m1" in output
    )
    refused = workflow(tmp_path, "--config", "axis=landscape", "worlds=m9")
    assert refused.returncode and "worlds: 'm9' is not allowed" in refused.stdout + refused.stderr
    mixed = workflow(tmp_path, "--config", "axis=landscape", "worlds=m1 local_norms")
    assert mixed.returncode and "sources, or worlds that the axis makes of one, not both" in mixed.stdout + mixed.stderr


def test_an_axis_may_have_its_own_budget_and_a_condition_keeps_its_own(tmp_path):
    output = dry_run(tmp_path, "--config", "axis=objective", "seeds=1", "--printshellcmds")
    assert job_counts(output)["run"] == 14
    assert "-r condition grpo -r source local_norms -p seed 0 -p steps 60 2>" in output
    assert "-r condition base -r source local_norms -p seed 0 2>" in output


def test_a_study_is_of_the_conditions_that_its_plan_names_and_others_are_asked_for(tmp_path):
    shutil.copytree(PARAMS, tmp_path / "params")
    file, text = tmp_path / "params/inputs.yaml", (PARAMS / "inputs.yaml").read_text()
    file.write_text(text.replace("contrasts: all", "contrasts: broad\ncontrol: medium") + "  wide: {n_domains: 11}\n")
    assert job_counts(dry_run(tmp_path))["run"] == 2 * 3 * 5, "baseline, control and contrast, not the row beside them"
    assert job_counts(dry_run(tmp_path, "--config", "conditions=narrow wide"))["run"] == 2 * 2 * 5


def test_a_world_that_sets_its_own_steps_has_them_unless_the_study_is_given_some(tmp_path):
    shutil.copytree(PARAMS, tmp_path / "params")
    worlds = (
        "worlds: short long\nbaseline: b\nquestion: q\nsettings_by_world: {short: {steps: 20}, long: {lora_r: 8}}\n"
    )
    (tmp_path / "params/own.yaml").write_text(worlds + "settings: {steps: 60}\nconditions: {b: , c: }\n")
    study = ("--printshellcmds", "--config", "axis=own", "seeds=1")
    output = dry_run(tmp_path, *study)
    assert "-r world long -p seed 0 -p steps 60" in output and "-r world short -p seed 0 2>" in output
    assert dry_run(tmp_path, *study, "steps=40").count("-p seed 0 -p steps 40") == 4


@pytest.mark.parametrize("folder", ["my data", "données", "it's"])
def test_published_data_of_a_study_lie_where_it_is_told(tmp_path, folder):
    shutil.copytree(PARAMS, tmp_path / "params")
    (tmp_path / "params/own.yaml").write_text("conditions: {b: , c: {train_sources: 2}}\n")
    study = ("axis=own", "seeds=1", "worlds=ethics_virtue", f"data_dir={tmp_path / folder}")
    output = dry_run(tmp_path, "--printshellcmds", "--config", *study)
    place = shlex.quote(str(tmp_path / folder))
    assert output.count(f"-p data_dir {place} 2>") == 2, "for every run"
    assert shlex.quote(f"data_dir={tmp_path / folder}") in output, "and for the warm start"


def test_fresh_seed_sets_are_a_hundred_runs_beside_the_study(tmp_path):
    options = (
        "worlds=universal_norms",
        "conditions=narrow broad",
        "first_seed=5",
        "seeds=50",
        "run_root=runs_seed_sets",
    )
    output = dry_run(tmp_path, "--until", "run", "--config", *options, "--printshellcmds")
    assert job_counts(output) == {"run": 100, "warm_start": 1, "total": 101}, "and no comparison"
    params = RunParams.resolve(
        {"condition": "broad", "source": "universal_norms", "seed": 54, "run_root": "runs_seed_sets"}
    )
    assert str(params.run_dir.relative_to(ROOT) / "manifest.json") in output and "seed55" not in output
    assert "-r source universal_norms -p seed 5 -p run_root runs_seed_sets 2>" in output


@pytest.mark.parametrize(
    "option, message",
    [
        (
            "condition=broad",
            "--config condition: 'broad' is not allowed: the names are axis, profile, worlds, conditions",
        ),
        ("conditions=brod", "--config conditions: 'brod' is not allowed: of broad, medium, narrow"),
        ("worlds=mars", "--config worlds: 'mars' is not allowed: of universal_norms, local_norms"),
        ("axis=plans", "--config axis: 'plans' is not allowed: of controls, (.*, )?inputs, (.*, )?objective"),
        ("profile=laptop", "--config profile: 'laptop' is not allowed: of colab_t4"),
        ("seeds=0", "--config seeds: '0' is not allowed: an integer >= 1"),
        ("seeds=1000000000", "--config seeds: '1000000000' is not allowed: an integer >= 1, at most 10000"),
        ("seeds=two", "--config seeds: 'two' is not allowed: an integer >= 1"),
        ("first_seed=-1", "--config first_seed: '-1' is not allowed: an integer >= 0"),
        ("steps=1:30", "--config steps: '1:30' is not allowed: an integer >= 0"),
        ("run_root=2026", "--config run_root: '2026' is not allowed: a folder"),
        ("run_root=a{seed}", r"--config run_root: 'a{seed}' is not allowed: a folder"),
        ("run_root=~nobody-there/runs", "path '~nobody-there/runs' is not allowed: there is no home folder"),
    ],
)
def test_a_workflow_that_cannot_be_is_refused_in_one_sentence(tmp_path, option, message):
    done = workflow(tmp_path, "--config", option)
    assert done.returncode and re.search(f"^({message})", done.stdout + done.stderr, re.MULTILINE)


def test_a_condition_may_be_called_as_a_number_and_a_plan_is_read_as_yaml_1_2(tmp_path):
    shutil.copytree(PARAMS, tmp_path / "params")
    file = tmp_path / "params/inputs.yaml"
    file.write_text(file.read_text() + '  "123": {}\n')
    output = dry_run(tmp_path, "--config", "conditions=123", "worlds=local_norms", "seeds=1", "first_seed=7")
    assert job_counts(output)["run"] == 1 and "runs/inputs/tiny_cpu/local_norms/123/seed7/manifest.json" in output
    file.write_text(file.read_text().replace("seeds: 5", "seeds: 003"))
    assert job_counts(dry_run(tmp_path))["run"] == 2 * 4 * 3, "worlds, conditions and seeds"
    file.write_text(file.read_text() + "seeds: 4\n")
    assert "key 'seeds' comes twice" in workflow(tmp_path).stdout


def test_parameters_that_cannot_be_are_refused_before_the_first_job(tmp_path):
    shutil.copytree(PARAMS, tmp_path / "params")
    path, text = tmp_path / "params/inputs.yaml", (PARAMS / "inputs.yaml").read_text()
    for row, message in (
        ("  wide: {seed: 1, seed: 2}\n", r"inputs\.yaml, line \d+: key 'seed' comes twice"),
        ("  wide: {n_domain: 1}\n", r"inputs\.yaml, conditions, wide: unknown parameter 'n_domain'; .* n_domains"),
        ("  wide: {n_domains: 13}\n", "parameter n_domains = 13 is not allowed"),
    ):
        path.write_text(text + row)
        done = workflow(tmp_path)
        assert done.returncode and re.search(message, done.stdout + done.stderr)


def test_a_row_more_or_another_plan_makes_no_finished_run_again_and_another_row_is_refused(tmp_path):
    shutil.copytree(PARAMS, tmp_path / "params")
    for condition, seed in (("broad", 0), ("narrow", 1)):
        params = RunParams.resolve({"condition": condition, "seed": seed})
        folder = tmp_path / params.run_dir.relative_to(ROOT)
        write_json(folder / "config.json", params.as_dict())
        (folder / "manifest.json").touch()
    (tmp_path / "runs/inputs/tiny_cpu/warm_start").touch()
    file, text = tmp_path / "params/inputs.yaml", (PARAMS / "inputs.yaml").read_text()
    file.write_text(text.replace("margin: 0.10", "margin: 0.2") + "  wide: {n_domains: 11}\n")
    assert job_counts(dry_run(tmp_path, "--rerun-triggers", "mtime", "params"))["run"] == 2 * 4 * 5 - 2
    file.write_text(text.replace("n_domains: 12", "n_domains: 11"))
    done = workflow(tmp_path)
    message = "local_norms/broad/seed0 holds a finished run with n_domains = 12, not 11; give another run_root"
    assert done.returncode and message in done.stdout + done.stderr


@pytest.mark.parametrize("name", ["my study", "stüdien", "Zoë's $HOME & {more}"])
def test_repository_interpreter_and_runs_may_lie_in_folders_of_any_name(tmp_path, name):
    folder = tmp_path / name
    folder.mkdir()
    (folder / ".venv").symlink_to(sys.prefix)
    python = folder / ".venv/bin" / Path(sys.executable).name
    options = ("seeds=1", "worlds=local_norms", "conditions=broad", "run_root=my 'rüns' & more")
    output = dry_run(folder, "--printshellcmds", "--config", *options, python=python)
    commands = [
        line.removeprefix("Shell command:") for line in output.splitlines() if " -m " in line and "python" in line
    ]
    said = [shlex.split(command) for command in commands]
    assert len(said) == 3 and all(words[:2] == [str(python), "-m"] for words in said)
    run = next(words for words in said if "notebooks/3_run_condition.ipynb" in words)
    assert "my 'rüns' & more/inputs/tiny_cpu/local_norms/broad/seed0/notebook.ipynb" in run
    assert run[run.index("run_root") + 1] == "my 'rüns' & more"
    compare = next(words for words in said if "notebooks/4_compare_conditions.ipynb" in words)
    assert compare[compare.index("out_root") + 1] == "my 'rüns' & more/figures"


RECORDER = """#!/bin/sh
command -v python >> calls
for word in "$@"; do printf "'%s' " "$word" >> calls; done
echo >> calls
"""


def make(folder: Path, *arguments: str) -> tuple[list[list[str]], str]:
    """(the words that make calls python with, call by call; which python) in a folder with a recorder as python."""
    (folder / ".venv/bin").mkdir(parents=True)
    shutil.copy(ROOT / "Makefile", folder)
    python = folder / ".venv/bin/python"
    python.write_text(RECORDER)
    python.chmod(0o755)
    done = subprocess.run(["make", "-o", ".venv/ready", *arguments], cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    lines = (folder / "calls").read_text().splitlines()
    return [shlex.split(line) for line in lines[1::2]], lines[0]


def test_make_runs_the_study_with_the_environment_of_its_folder_whatever_its_name(tmp_path):
    folder = tmp_path / "Zoë's stüdy $HOME"
    calls, python = make(folder, "study", "AXIS=my axis")
    assert calls == [["-m", "studylib", "study", "--axis", "my axis", "--cores", "2"]]
    assert python == str(folder / ".venv/bin/python")


TARGETS = ("demo", "study", "seed-sets", "report", "results", "validate", "bench", "bench-gpu", "gpu-check")


@pytest.mark.parametrize("target", TARGETS)
def test_make_calls_commands_that_are_there(tmp_path, target):
    calls, _ = make(tmp_path, target)
    for dash, program, *words in calls:
        assert (dash, program) == ("-m", "studylib") and command_line().parse_args(words)


def test_runs_of_a_workflow_may_lie_in_the_home_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    output = dry_run(tmp_path, "--config", "seeds=1", "worlds=local_norms", "run_root=~/runs")
    assert f"{tmp_path}/home/runs/inputs/tiny_cpu/local_norms/broad/seed0/manifest.json" in output


# --- notebooks as files ---


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
class TestNotebookFiles:
    def test_has_one_parameters_cell_with_a_comment_on_every_line(self, path):
        cells = [cell for cell in cells_of(path) if "parameters" in cell["metadata"].get("tags", [])]
        assert len(cells) == 1
        for line in "".join(cells[0]["source"]).splitlines():
            assert re.fullmatch(r"\w+: (str|int|float|bool) = .+  # .+", line), line

    def test_is_stored_without_output_and_with_the_kernel_python3(self, path):
        notebook = json.loads(path.read_text())
        assert notebook["metadata"]["kernelspec"]["name"] == "python3"
        assert not [cell for cell in cells_of(path, "code") if cell["outputs"] or cell["execution_count"]]

    def test_tells_a_story_in_short_cells(self, path):
        assert all(len("".join(cell["source"]).splitlines()) <= 20 for cell in cells_of(path, "code"))
        headings = re.findall(r"^#+ (\d+b?)(?:\.(\d+))?", "\n".join(
            "".join(cell["source"]) for cell in cells_of(path, "markdown")), re.MULTILINE)  # fmt: skip
        assert headings[0] == (path.stem.partition("_")[0], "")
        assert [int(minor) for _, minor in headings[1:]] == list(range(1, len(headings)))

    def test_defines_no_function_or_class(self, path):
        assert not [
            cell for cell in cells_of(path, "code") if re.search(r"^(def|class) ", "".join(cell["source"]), re.M)
        ]

    def test_begins_a_pass_before_its_parameters_and_knows_their_names(self, path):
        tagged = ["parameters" in cell["metadata"].get("tags", []) for cell in cells_of(path, "code")]
        sources = ["".join(cell["source"]) for cell in cells_of(path, "code")]
        place, namespace = tagged.index(True), {}
        exec(sources[place - 1], namespace)
        first, *others = sources[place].splitlines()
        assert re.fullmatch(r"_\w+: bool = begin_parameters\(globals\(\)\)  # .+", first)
        set_here, of_a_run = {line.split(":")[0] for line in others}, set(parameters())
        makes_runs = "given_parameters(before, globals())" in sources[place + 1]
        assert makes_runs or "refuse_other_parameters(before, globals())" in sources[place + 1]
        assert set(namespace["before"].own) == (set_here - of_a_run if makes_runs else set_here)

    def test_no_variable_bears_the_name_of_a_parameter(self, path):
        tagged = [cell for cell in cells_of(path, "code") if "parameters" in cell["metadata"].get("tags", [])]
        names = set(re.findall(r"^([a-z]\w*):", "".join(tagged[0]["source"]), re.MULTILINE))
        names |= set(parameters())
        for cell in cells_of(path, "code"):
            assert cell in tagged or not names & bound("".join(cell["source"]))

    def test_begins_with_the_cell_for_colab_which_is_the_same_in_all(self, path):
        first = [cell["source"] for cell in cells_of(path)[:8] if "google.colab" in "".join(cell["source"])]
        others = ["".join(cells_of(other, "code")[0]["source"]) for other in NOTEBOOKS]
        assert "".join(first[0]) == "".join(cells_of(path, "code")[0]["source"]) and len(set(others)) == 1


def bound(source: str) -> set[str]:
    """Every name that a cell binds: assignments, loops, comprehensions, `as`, imports, functions, arguments."""
    tree = ast.parse(re.sub(r"^(\s*)[!%].*$", r"\1pass", source, flags=re.MULTILINE))
    names = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name) and not isinstance(node.ctx, ast.Load)}
    for node in ast.walk(tree):
        for kind, field in (
            (ast.alias, "asname"), (ast.ExceptHandler, "name"), (ast.arg, "arg"), (ast.FunctionDef, "name"),
            (ast.ClassDef, "name"), (ast.MatchAs, "name"), (ast.MatchStar, "name"), (ast.MatchMapping, "rest"),
        ):  # fmt: skip
            if isinstance(node, kind):
                names.add(getattr(node, field) or getattr(node, "name", "").split(".")[0])
    return names


def test_every_way_to_bind_a_name_is_seen():
    cell = "for a, *b in c:\n    d = [e for e in f]\nwith g as h: i += 1\nimport j.k, l as m\nfrom n import o as p"
    assert bound(cell) == {"a", "b", "d", "e", "h", "i", "j", "m", "p"}
    assert bound("def f(g, *h, i=1):\n    try: (k := 1)\n    except E as l: del m\nlambda n: o\n%pip x\n!y") == {
        "f", "g", "h", "i", "k", "l", "m", "n",
    }  # fmt: skip


def cells_of(path: Path, kind: str | None = None) -> list[dict]:
    return [cell for cell in json.loads(path.read_text())["cells"] if kind in (None, cell["cell_type"])]
