"""Which commit and which files made a run, wherever the package lies."""

import os
import subprocess
from pathlib import Path

import pytest

from studylib.runs import provenance

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
        (package / "runs").mkdir()
        (package / "runs/provenance.py").write_text("x = 1\n")
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
    (package / "runs/provenance.py").write_text("x = 3\n")
    assert provenance.code_hash(package) != second
    assert provenance.code_hash() == provenance.CODE, "of this package"
