"""What holds the project together: pins, provenance, randomness, the workflow, the notebooks as files."""

import ast
import dataclasses
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pandas as pd
import pytest
import torch
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from studylib.claims.plan import read_plan
from studylib.instruments import seed_sets, validate
from studylib.instruments.judge_gap import CHECKER, FLAWED, JUDGE, gap_at_ends
from studylib.params import RunParams, parameters
from studylib.paths import PARAMS
from studylib.randomness import generator, torch_seed
from studylib.runs import provenance

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
    installed = {name: provenance.metadata.version(name).split("+")[0] for name in CARD | {"numpy", "pandas"}}
    assert installed == {name: CONSTRAINTS[name] for name in installed}


# --- provenance and randomness ---


def test_json_is_written_whole_or_not_at_all(tmp_path):
    path = tmp_path / "a" / "x.json"
    provenance.write_json(path, {"a": 1})
    with pytest.raises(TypeError):
        provenance.write_json(path, {"a": object()})
    assert json.loads(path.read_text()) == {"a": 1}


def test_a_run_folder_belongs_to_one_set_of_parameters(tmp_path):
    provenance.open_run(tmp_path, {"seed": 1, "steps": 9})
    provenance.open_run(tmp_path, {"seed": 1, "steps": 2})  # nothing had begun
    (tmp_path / "metrics.jsonl").touch()
    provenance.open_run(tmp_path, {"seed": 1, "steps": 2})
    with pytest.raises(ValueError, match="holds a run with steps = 2, not 3; give another run_root"):
        provenance.open_run(tmp_path, {"seed": 1, "steps": 3})
    (tmp_path / "config.json").write_text('{\n"seed": 1,\n')
    with pytest.raises(ValueError, match=r"not JSON in .*config\.json, line 3"):
        provenance.open_run(tmp_path, {"seed": 1, "steps": 2})


def test_the_manifest_makes_a_run_complete_and_says_what_it_was_made_of(tmp_path):
    assert not provenance.is_complete(tmp_path)
    provenance.write_manifest(tmp_path, {"seed": 1}, started=0.0, data={"train": "abc"})
    assert provenance.is_complete(tmp_path)
    manifest = json.loads((tmp_path / "manifest.json").read_text())
    assert manifest["finished"] and manifest["params"] == {"seed": 1} and manifest["data"] == {"train": "abc"}
    assert manifest["versions"]["trl"] == CONSTRAINTS["trl"]
    assert manifest["git"] == provenance.git_state() and manifest["code"] == provenance.code_hash()
    assert manifest["machine"]["cpus"] and manifest["wall_seconds"] > 0 and manifest["peak_memory_gb"]["cpu"] > 0


NO_COMMIT = {"commit": None, "dirty": None}


def git(folder: Path, *args: str) -> str:
    command = ["git", "-C", folder, "-c", "user.name=a", "-c", "user.email=a@b", "-c", "protocol.file.allow=always"]
    return subprocess.run([*command, *args], capture_output=True, text=True, check=True).stdout.strip()


def commit_all(folder: Path) -> str:
    git(folder, "init", "-q")
    git(folder, "add", "-A")
    git(folder, "commit", "-q", "--allow-empty", "-m", "chapter 1")
    return git(folder, "rev-parse", "HEAD")


@pytest.fixture
def copy(tmp_path, monkeypatch):
    """Puts a small copy of the package below a folder of tmp_path, from which provenance then speaks."""
    for name in [name for name in os.environ if name.startswith("GIT_")]:
        monkeypatch.delenv(name)

    def put(home: str) -> Path:
        package = tmp_path / home / "studylib"
        package.mkdir(parents=True)
        (package / "provenance.py").write_text("x = 1\n")
        monkeypatch.setattr(provenance, "PACKAGE", package.resolve())
        return package.parent

    return put


def test_the_commit_is_that_of_the_packages_own_repository(copy):
    home = copy("study")
    commit = commit_all(home)
    assert provenance.git_state() == {"commit": commit, "dirty": False}
    (home / "studylib/runs/provenance.py").write_text("x = 2\n")
    assert provenance.git_state() == {"commit": commit, "dirty": True}


@pytest.mark.parametrize("place", ["thesis/study", "thesis/a b/étude", "thesis/.venv/lib"])
@pytest.mark.parametrize("tracked", [False, True])
def test_a_copy_inside_another_repository_has_no_commit(copy, tmp_path, place, tracked):
    if not tracked:
        (tmp_path / "thesis").mkdir()
        commit_all(tmp_path / "thesis")
    copy(place)
    if tracked:
        commit_all(tmp_path / "thesis")
    assert provenance.git_state() == NO_COMMIT


def test_a_copy_at_the_top_of_another_repository_that_does_not_track_it_has_no_commit(copy, tmp_path):
    (tmp_path / "thesis").mkdir()
    commit_all(tmp_path / "thesis")
    copy("thesis")
    assert provenance.git_state() == NO_COMMIT


def test_a_linked_worktree_and_a_submodule_have_their_own_commit(copy, tmp_path):
    home = copy("study")
    commit = commit_all(home)
    git(home, "worktree", "add", "-q", tmp_path / "beside")
    (tmp_path / "thesis").mkdir()
    thesis = commit_all(tmp_path / "thesis")
    git(tmp_path / "thesis", "submodule", "--quiet", "add", home, "study")
    for place in ("beside", "thesis/study"):
        assert (tmp_path / place / ".git").is_file() and commit != thesis
        provenance.PACKAGE = tmp_path / place / "studylib"  # the fixture's patch is undone at the end
        assert provenance.git_state() == {"commit": commit, "dirty": False}, place


def test_a_checkout_behind_a_symbolic_link_is_the_checkout(copy, tmp_path):
    commit = commit_all(copy("study"))
    (tmp_path / "link").symlink_to(tmp_path / "study")
    provenance.PACKAGE = tmp_path / "link" / "studylib"
    assert provenance.git_state() == {"commit": commit, "dirty": False}


@pytest.mark.parametrize("place", ["alone", "thesis/study"])
def test_the_environment_of_a_git_hook_does_not_lead_astray(copy, tmp_path, monkeypatch, place):
    (tmp_path / "thesis").mkdir()
    commit_all(tmp_path / "thesis")
    monkeypatch.setenv("GIT_DIR", str(tmp_path / "thesis/.git"))
    monkeypatch.setenv("GIT_WORK_TREE", str(copy(place)))
    monkeypatch.setenv("GIT_INDEX_FILE", str(tmp_path / "thesis/.git/index"))
    assert provenance.git_state() == NO_COMMIT


def test_where_git_refuses_or_is_missing_there_is_no_commit(copy, monkeypatch):
    home = copy("study")
    git(home, "init", "-q")
    assert provenance.git_state() == NO_COMMIT, "nothing is committed yet"
    commit_all(home)
    (home / ".git/HEAD").write_text("gone")
    assert provenance.git_state() == NO_COMMIT
    monkeypatch.setenv("PATH", str(home))
    assert provenance.git_state() == NO_COMMIT


def test_a_copy_without_git_is_known_by_the_content_of_its_files(copy):
    package = copy("study") / "studylib"
    first = provenance.code_hash(package)
    (package / ".ipynb_checkpoints").mkdir()
    (package / ".ipynb_checkpoints/provenance-checkpoint.py").touch()
    (package / ".#provenance.py").symlink_to("an editor's lock")
    assert provenance.code_hash(package) == first
    (package / "claims").mkdir()
    (package / "claims/new.py").touch()
    assert (second := provenance.code_hash(package)) != first
    (package / "provenance.py").write_text("x = 3\n")
    assert provenance.code_hash(package) != second
    assert provenance.code_hash() == provenance.CODE, "of this package"


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


def test_finished_runs_are_not_run_again(tmp_path):
    (tmp_path / "runs/inputs/tiny_cpu").mkdir(parents=True)
    (tmp_path / "runs/inputs/tiny_cpu/warm_start").touch()
    for seed in (0, 1):
        manifest = tmp_path / f"runs/inputs/tiny_cpu/local_norms/broad/seed{seed}/manifest.json"
        manifest.parent.mkdir(parents=True)
        manifest.touch()
    counts = job_counts(dry_run(tmp_path, "--rerun-triggers", "mtime", "params"))
    assert (counts["run"], counts.get("warm_start", 0)) == (28, 0)


def test_the_run_rule_writes_where_the_run_writes(tmp_path):
    output = dry_run(tmp_path, "--config", "seeds=1", "worlds=local_norms", "--printshellcmds")
    params = RunParams.resolve({"condition": "medium", "source": "local_norms", "seed": 0})
    assert str(params.run_dir.relative_to(ROOT) / "manifest.json") in output
    assert "-r profile tiny_cpu -r axis inputs -r condition medium -r source local_norms -p seed 0 2>" in output


def test_an_axis_may_have_its_own_budget_and_a_condition_keeps_its_own(tmp_path):
    output = dry_run(tmp_path, "--config", "axis=objective", "seeds=1", "--printshellcmds")
    assert job_counts(output)["run"] == 14
    assert "-r condition grpo -r source local_norms -p seed 0 -p steps 60 2>" in output
    assert "-r condition base -r source local_norms -p seed 0 2>" in output


def test_fresh_seed_sets_are_a_hundred_runs_beside_the_study(tmp_path):
    rule = re.search(r"^seed-sets:.*?\n\t(.*?)\n\t[^ ]", (ROOT / "Makefile").read_text(), re.DOTALL | re.MULTILINE)[1]
    options = shlex.split(rule.replace("\\\n", " "))
    output = dry_run(tmp_path, *options[options.index("--until") :], "--printshellcmds")
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
        ("axis=plans", "--config axis: 'plans' is not allowed: of inputs, objective"),
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
        provenance.write_json(folder / "config.json", params.as_dict())
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


def test_make_runs_the_study_with_the_environment_of_its_folder_whatever_its_name(tmp_path):
    folder = tmp_path / "Zoë's stüdy $HOME"
    (folder / ".venv/bin").mkdir(parents=True)
    shutil.copy(ROOT / "Makefile", folder)
    python = folder / ".venv/bin/python"
    python.write_text('#!/bin/sh\nprintf "%s\\n" "$*" >> calls; command -v python >> calls\n')
    python.chmod(0o755)
    done = subprocess.run(
        ["make", "-o", ".venv/ready", "study", "AXIS=my axis"], cwd=folder, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
    snakemake, found, tables, _ = (folder / "calls").read_text().splitlines()
    assert snakemake.startswith("-m snakemake --cores 2") and snakemake.endswith("--config axis=my axis")
    assert tables == "-m studylib.claims.tables --axis my axis" and found == str(python)


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
        headings = re.findall(r"^#+ (\d+)(?:\.(\d+))?", "\n".join(
            "".join(cell["source"]) for cell in cells_of(path, "markdown")), re.MULTILINE)  # fmt: skip
        assert headings[0] == (path.stem[0], "")
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

    def test_installs_pinned_versions_on_colab(self, path):
        source = "\n".join("".join(cell["source"]) for cell in cells_of(path, "code"))
        listed = dict(re.findall(r"([\w-]+)==([\w.]+)", source))
        assert listed.keys() >= {"trl", "bitsandbytes", "papermill", "peft", "transformers"}
        assert listed == {name: CONSTRAINTS[name] for name in listed}


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


# --- README ---


def test_the_table_of_the_readme_is_that_of_the_committed_figures():
    readme = (ROOT / "README.md").read_text()
    shown = "split == 'held_out_domains' and endpoint == 'accuracy_sampled'"
    means, claims = (pd.read_csv(ROOT / f"figures/inputs/{name}.csv").query(shown) for name in ("means", "claims"))
    for row in means.itertuples():
        interval = "" if row.condition == "warm_start" else f" [{row.low:.3f}, {row.high:.3f}]"
        assert f"| {row.mean:.3f}{interval} |" in readme
    for row in claims.query("contrast == 'broad - narrow'").itertuples():
        assert f"| {row.difference:+.3f} [{row.low:+.3f}, {row.high:+.3f}] | {row.verdict} |" in readme


def test_what_the_readme_says_of_the_seed_sets_follows_from_their_runs():
    readme, plan = (ROOT / "README.md").read_text(), read_plan("inputs")
    runs = pd.read_csv(ROOT / "figures/inputs/seed_sets_runs.csv")
    sets = seed_sets.set_claims(runs, plan)
    assert sets["verdict"].tolist() == ["equivalent"] * 10 and "all ten are *equivalent*, none is\n" in readme
    assert sets["difference"].tolist() == pytest.approx(
        pd.read_csv(ROOT / "figures/inputs/seed_sets.csv")["difference"]
    )
    whole = seed_sets.set_claims(runs, dataclasses.replace(plan, seeds=50, max_seeds=50)).iloc[0]
    assert f"the difference is {whole.difference:+.3f} [{whole.low:+.3f}, {whole.high:+.3f}]" in readme


def test_the_objective_table_of_the_readme_is_that_of_the_committed_figures():
    readme = (ROOT / "README.md").read_text()
    shown = "split == 'held_out_domains' and endpoint == 'accuracy_sampled'"
    means, claims = (pd.read_csv(ROOT / f"figures/objective/{name}.csv").query(shown) for name in ("means", "claims"))
    given = pd.read_csv(ROOT / "figures/objective/fairness.csv").set_index("condition")
    for row in means[means.condition != "warm_start"].itertuples():
        line = next(line for line in readme.splitlines() if line.startswith(f"| `{row.condition}` | 0."))
        assert f"| {row.mean:.3f} [{row.low:.3f}, {row.high:.3f}] |" in line
        assert row.condition == "base" or f"| {given.loc[row.condition, 'tokens']:,.0f} |" in line
        for claim in claims[claims.contrast == f"{row.condition} - grpo"].itertuples():
            assert f"| {claim.difference:+.3f} [{claim.low:+.3f}, {claim.high:+.3f}] | {claim.verdict} |" in line


def test_the_validation_table_of_the_readme_is_that_of_the_committed_figures():
    readme = (ROOT / "README.md").read_text()
    found = pd.read_csv(ROOT / "figures/validate.csv")
    assert validate.misses(found).empty and len(validate.checks(found)) > 40
    for start in (
        "false 'different' in a study: {} seeds, 14 contrasts, equal",
        "false 'equivalent' at the margin: {} seeds, equal",
        "any false 'equivalent', 12 contrasts at the margin: {} seeds",
    ):
        values = [found[found.what.str.startswith(start.format(n))]["value"].item() for n in (3, 5, 10)]
        assert "| " + " | ".join(f"{value:.3f}" for value in values) + " |" in readme


def test_what_the_readme_says_of_the_judge_is_in_the_committed_figures():
    readme, folder = (ROOT / "README.md").read_text(), ROOT / "figures/judge"
    table = pd.read_csv(folder / "agreement.csv").set_index("group")
    every = table.loc["all"]
    assert f"{every.accuracy:.3f} [{every.accuracy_low:.3f}, {every.accuracy_high:.3f}]" in readme
    assert f"kappa {every.kappa:.3f}, AUROC {every.auroc:.3f}, calibration error {every.ece:.3f} (chance" in readme
    assert f"a calibrated judge {every.ece_calibrated:.3f})" in readme and f"On {every.n:,.0f} held-out" in readme
    assert f"on answers of the policy {table.loc['warm start'].accuracy:.3f}" in readme
    assert f"sentence by sentence {table.loc['variants'].accuracy:.3f}" in readme
    ends = gap_at_ends(pd.read_csv(folder / "gap.csv")).set_index("arm")
    for arm in (JUDGE, FLAWED):
        growth, low, high = ends.loc[arm, ["growth", "low", "high"]]
        assert f"{growth:+.3f} [{low:+.3f}, {high:+.3f}]" in readme, arm
    assert f"({ends.checker_end[JUDGE]:.3f} and {ends.checker_end[CHECKER]:.3f})" in readme
    assert f"true score ends at {ends.checker_end[FLAWED]:.3f}" in readme


def test_the_readme_speaks_of_files_that_are_there():
    readme = (ROOT / "README.md").read_text()
    for name in re.findall(r"`((?:notebooks|studylib|params|tests|figures)/[\w./]+)`", readme):
        assert (ROOT / name).exists(), name


def test_the_benchmark_table_of_the_readme_is_that_of_the_committed_figures():
    readme = (ROOT / "README.md").read_text()
    for row in pd.read_csv(ROOT / "figures/bench/ratio.csv").itertuples():
        spread = f"{row.ratio:.2f} [{row.ratio_low:.2f}, {row.ratio_high:.2f}]"
        assert f"| {row.P}, {row.C}, {row.G} | {spread} | {row.memory_ratio:.2f} |" in readme
