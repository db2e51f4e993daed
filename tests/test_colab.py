"""What the first cell of the notebooks does on Colab, by a stand-in of google.colab.

Run: python -m pytest tests/test_colab.py
Nothing is installed here: pip is recorded. `make test-colab` builds an environment with Colab's versions instead.
"""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from pip._vendor.packaging.requirements import Requirement

from studylib import colab
from studylib.address import address, badge, write_address

ROOT = Path(__file__).resolve().parents[1]
CELL = "".join(next(cell for cell in json.loads((ROOT / "notebooks/1_scenarios.ipynb").read_text())["cells"]
                    if cell["cell_type"] == "code")["source"])  # fmt: skip
COLABS = {"torch": "2.13.0+cu126", "numpy": "2.1.3", "pandas": "2.2.3"}  # loaded already; the rest is missing


# --- what is installed -----------------------------------------------------------------------------------------------


@pytest.fixture
def pip(monkeypatch):
    """What pip was asked for, call by call; it fails as often as `refuses` says."""
    calls, state = [], {"refuses": 0, "here": dict(COLABS)}

    def run(command, **how):
        held = Path(command[command.index("-c") + 1]).read_text().split()
        calls.append((held, command[command.index("-c") + 2 :]))
        failed = len(calls) <= state["refuses"]
        if not failed:
            state["here"] |= {Requirement(word).name: "1.0" for word in calls[-1][1]}
        return subprocess.CompletedProcess(command, failed, "", "ERROR: no versions fit\n" * failed)

    monkeypatch.setattr(colab.subprocess, "run", run)
    monkeypatch.setattr(colab, "found", lambda name: state["here"].get(name))
    return calls, state


@pytest.fixture
def top(tmp_path) -> Path:
    needs = ["torch>=2.11,<3", "numpy>=2.1,<3", "pandas>=2.2,<4", "trl>=1.16,<1.17", "pingouin>=0.6.1,<0.8"]
    (tmp_path / "pyproject.toml").write_text(f"[project]\ndependencies = {json.dumps(needs)}\n")
    (tmp_path / "constraints.txt").write_text("# exact\ntrl==1.16.0\npingouin==0.7.0\ntorch==2.13.0\n")
    return tmp_path


def test_only_what_is_missing_is_installed_under_what_is_loaded(pip, top):
    said = colab.install(top)
    ((held, words),) = pip[0]
    assert held == ["torch==2.13.0+cu126", "numpy==2.1.3", "pandas==2.2.3"]
    assert words == ["trl==1.16.0", "pingouin==0.7.0"]
    assert said == "installed trl 1.0, pingouin 1.0; kept torch 2.13.0+cu126, numpy 2.1.3, pandas 2.2.3"


@pytest.mark.parametrize("refuses, trl", [(1, "trl==1.16.0"), (2, "trl<1.17,>=1.16")])
def test_a_pin_that_does_not_fit_what_is_loaded_gives_way_to_its_range(pip, top, refuses, trl):
    """First of what does not train, such as pingouin 0.7, which asks for a later pandas than Colab's."""
    pip[1]["refuses"] = refuses
    colab.install(top)
    assert sorted(pip[0][-1][1]) == ["pingouin<0.8,>=0.6.1", trl]


def test_what_pip_cannot_install_is_said_in_one_sentence(pip, top):
    pip[1]["refuses"] = 3
    with pytest.raises(RuntimeError, match=r"^pip could not install trl, pingouin: ERROR: no versions fit$"):
        colab.install(top)


@pytest.mark.parametrize("version", ["2.4.1", None])
def test_torch_is_never_installed(pip, top, version):
    pip[1]["here"]["torch"] = version
    with pytest.raises(RuntimeError, match=f"this runtime has torch {version or 'none'} and the study needs torch"):
        colab.install(top)
    assert not pip[0]


def test_nothing_is_installed_where_nothing_is_missing(pip, top):
    pip[1]["here"] |= {"trl": "1.16.2", "pingouin": "0.6.1"}
    assert colab.install(top) == "everything the study needs is here already" and not pip[0]


def test_a_torch_that_came_from_a_url_counts_as_installed(tmp_path, monkeypatch):
    """Older images have `torch @ https://...`, which names no version where packages are listed."""
    info = tmp_path / "torch-2.12.0+cu124.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: torch\nVersion: 2.12.0+cu124\n")
    (info / "direct_url.json").write_text('{"url": "https://example.org/torch.whl", "archive_info": {}}')
    monkeypatch.syspath_prepend(str(tmp_path))
    assert colab.found("torch") == "2.12.0+cu124" and colab.fits(Requirement("torch>=2.11,<3"))


def test_a_wheel_that_was_unpacked_says_what_it_needs(tmp_path):
    info = tmp_path / "studylib-0.1.0.dist-info"
    info.mkdir()
    needs = ["torch<3,>=2.11", "snakemake<10,>=9.27; extra == 'study'"]
    (info / "METADATA").write_text("".join(f"Requires-Dist: {one}\n" for one in needs))
    assert [one.name for one in colab.needed(tmp_path)] == ["torch"]


# --- runs on Drive ---------------------------------------------------------------------------------------------------


def write(folder: Path, files: dict[str, str], at: float) -> None:
    for i, (name, text) in enumerate(files.items()):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        os.utime(path, (at + i, at + i))


def test_what_is_new_is_copied_once_and_the_manifest_last(tmp_path, monkeypatch):
    order, replace = [], os.replace
    monkeypatch.setattr(colab.os, "replace", lambda a, b: (order.append(Path(b).name), replace(a, b)))
    runs, kept = tmp_path / "runs", tmp_path / "kept"
    write(runs, {"r/manifest.json": "{}", "r/metrics.jsonl": "1\n", "r/half.tmp": "x"}, 1000)
    assert colab.mirror(runs, kept) == 2 and order == ["metrics.jsonl", "manifest.json"]
    assert colab.mirror(runs, kept) == 0
    write(runs, {"r/metrics.jsonl": "1\n2\n"}, 2000)
    assert colab.mirror(runs, kept) == 1 and (kept / "r/metrics.jsonl").read_text() == "1\n2\n"
    assert not list(kept.rglob("*.tmp"))


def test_a_session_goes_on_from_what_the_last_one_kept(tmp_path):
    """The machine is gone; what is older on it, or not there, comes back, and what is newer stays."""
    runs, kept = tmp_path / "runs", tmp_path / "kept"
    write(kept, {"r/checkpoints/checkpoint-40/complete": "grpo", "r/metrics.jsonl": "old"}, 1000)
    write(runs, {"r/metrics.jsonl": "new"}, 2000)
    assert colab.mirror(kept, runs) == 1
    assert (runs / "r/metrics.jsonl").read_text() == "new"
    assert (runs / "r/checkpoints/checkpoint-40/complete").read_text() == "grpo"


def test_checkpoints_that_were_cleared_away_do_not_fill_drive(tmp_path):
    runs, kept = tmp_path / "runs", tmp_path / "kept"
    write(runs, {"r/checkpoint-20/complete": "", "r/checkpoint-20/model": "a"}, 1000)
    colab.mirror(runs, kept)
    shutil.rmtree(runs / "r/checkpoint-20")
    colab.mirror(runs, kept)
    assert (kept / "r/checkpoint-20/complete").exists(), "the only one there is"
    write(runs, {"r/checkpoint-40/model": "b", "r/checkpoint-40/complete": ""}, 2000)
    colab.mirror(runs, kept)
    assert [path.name for path in (kept / "r").iterdir()] == ["checkpoint-40"]


# --- the cell --------------------------------------------------------------------------------------------------------

STAND_IN = """
import pathlib, site, sys, types
content, cell = pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2]).read_text()
site.getsitepackages = lambda: [str(content)]
google, colab = types.ModuleType("google"), types.ModuleType("google.colab")
colab.drive = types.SimpleNamespace(mount=lambda folder: pathlib.Path(folder, "MyDrive").mkdir(parents=True))
colab.userdata = types.SimpleNamespace(get=lambda name: {"HF_TOKEN": "a token"}[name])
google.colab = colab
sys.modules |= {"google": google, "google.colab": colab}
from IPython.core.interactiveshell import InteractiveShell
shell = InteractiveShell.instance()
result = shell.run_cell(cell)
shell.run_cell("import studylib.colab, os; print('from', studylib.colab.__file__, os.environ.get('HF_TOKEN'))")
"""


def on_colab(tmp_path: Path, address: str = "", drive: str = "", elsewhere: bool = False) -> str:
    """What the cell prints where `/content` is a folder of the test, with a google.colab or `elsewhere`."""
    content = tmp_path / "content"
    content.mkdir(exist_ok=True)
    cell = CELL.replace('ADDRESS = ""', f'ADDRESS = "{address}"').replace('DRIVE = ""', f'DRIVE = "{drive}"')
    (tmp_path / "cell.py").write_text(cell.replace("/content", str(content)))
    (tmp_path / "colab.py").write_text(STAND_IN.replace("sys.modules |=", "_ =") if elsewhere else STAND_IN)
    own = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "HF_TOKEN")}
    command = [sys.executable, tmp_path / "colab.py", content, tmp_path / "cell.py"]
    done = subprocess.run(command, cwd=content, env=own | {"IPYTHONDIR": str(tmp_path)}, capture_output=True, text=True)
    return done.stdout + done.stderr


def archive(folder: Path) -> None:
    """A copy of the package below one folder, as GitHub packs a branch."""
    shutil.copytree(ROOT / "studylib", folder / "studylib-main/studylib", ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "constraints.txt"):
        shutil.copy(ROOT / name, folder / "studylib-main" / name)


def test_the_cell_does_nothing_elsewhere(tmp_path):
    said = on_colab(tmp_path, elsewhere=True)
    assert "upload its archive" not in said and "ADDRESS" not in said


def test_without_an_address_the_cell_says_what_to_do(tmp_path):
    said = on_colab(tmp_path).replace(str(tmp_path), "")
    assert "no package: upload its archive or wheel to /content, or fill in ADDRESS, and run this again" in said


def test_the_cell_takes_an_archive_that_was_uploaded(tmp_path):
    archive(tmp_path / "packed")
    (tmp_path / "content").mkdir()
    shutil.make_archive(str(tmp_path / "content/studylib-main"), "zip", tmp_path / "packed")
    said = on_colab(tmp_path)
    assert "everything the study needs is here already" in said
    assert f"from {tmp_path}/content/study/studylib-main/studylib/colab.py a token" in said
    assert (tmp_path / "content/studylib_colab.pth").read_text() == f"{tmp_path}/content/study/studylib-main\n"


def test_the_cell_clones_the_repository_from_its_address(tmp_path):
    archive(tmp_path / "packed")
    at = tmp_path / "packed/studylib-main"
    git = ["git", "-C", at, "-c", "user.name=a", "-c", "user.email=a@b"]
    for words in (["init", "-q"], ["add", "-A"], ["commit", "-q", "-m", "x"]):
        subprocess.run([*git, *words], check=True)
    said = on_colab(tmp_path, address=f"file://{at}")
    assert f"from {tmp_path}/content/study/studylib/colab.py a token" in said


# --- where the repository is published -------------------------------------------------------------------------------


@pytest.fixture
def copy(tmp_path) -> Path:
    for name in ("pyproject.toml", "README.md", "CITATION.cff"):
        shutil.copy(ROOT / name, tmp_path)
    shutil.copytree(ROOT / "notebooks", tmp_path / "notebooks", ignore=shutil.ignore_patterns(".*"))
    write_address("", tmp_path)
    return tmp_path


def test_an_address_is_said_once_and_written_into_all_that_name_it(copy):
    url, before = (
        "https://github.com/a-b/studylib",
        {path: path.read_text() for path in copy.rglob("*.*") if path.is_file()},
    )
    changed = write_address(f"{url}.git", copy)
    assert len(changed) == 3 + len(list((copy / "notebooks").glob("*.ipynb"))) and address(copy) == url
    assert all(url in path.read_text() for path in changed if path.name != "README.md")
    opened = "colab.research.google.com/github/a-b/studylib/blob/main/notebooks/3_run_condition.ipynb"
    assert opened in (copy / "README.md").read_text()
    assert not write_address(url, copy)
    write_address("", copy)
    assert {path: path.read_text() for path in before} == before


@pytest.mark.parametrize(
    "url", ["github.com/a/b", "http://a.org/b/c", 'https://a.org/b/c"; x', "https://a.org", "git@a:b"]
)
def test_what_is_no_address_is_refused(copy, url):
    with pytest.raises(ValueError, match="is not allowed: the https address of a repository, or '' for none"):
        write_address(url, copy)


def test_only_github_has_a_badge():
    assert badge("https://gitlab.com/a/b") == "" == badge("")


def test_all_that_name_the_address_agree_in_this_copy(copy, tmp_path_factory):
    for name in ("pyproject.toml", "README.md", "CITATION.cff", "notebooks/1_scenarios.ipynb"):
        (copy / name).write_text((ROOT / name).read_text())
    assert not [path for path in write_address(address(ROOT), copy) if path.parent == copy]
