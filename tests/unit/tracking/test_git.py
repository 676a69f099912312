"""What the code was when a run began."""

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from secondread.tracking.git import PROJECT, GitState, git_state

Git = Callable[..., str]


@pytest.fixture
def git(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Git:
    """Runs git in a checkout with one committed file, `code.py`; no setting of this machine has a say."""
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", "/dev/null")
    monkeypatch.setenv("GIT_CONFIG_SYSTEM", "/dev/null")

    def run(*arguments: str) -> str:
        person = ["-c", "user.name=A", "-c", "user.email=a@b.example"]
        done = subprocess.run(["git", *person, *arguments], cwd=tmp_path, capture_output=True, text=True, check=True)
        return done.stdout.strip()

    run("init", "--quiet")
    (tmp_path / "code.py").write_text("one = 1\n")
    run("add", "code.py")
    run("commit", "--quiet", "--message", "one")
    return run


def test_a_clean_checkout_is_its_commit(git: Git, tmp_path: Path) -> None:
    assert git_state(tmp_path) == GitState(git("rev-parse", "HEAD"), False, "")


@pytest.mark.parametrize("staged", [False, True])
def test_a_change_makes_it_dirty_and_is_in_the_diff(git: Git, tmp_path: Path, staged: bool) -> None:
    (tmp_path / "code.py").write_text("one = 2\n")
    if staged:
        git("add", "code.py")
    state = git_state(tmp_path)
    assert (state.commit, state.dirty) == (git("rev-parse", "HEAD"), True)
    assert "-one = 1\n+one = 2\n" in state.diff


def test_a_change_of_a_table_makes_it_dirty_and_is_not_told(git: Git, tmp_path: Path) -> None:
    (tmp_path / "labels.csv").write_text("path,pneumonia\n")
    git("add", "labels.csv")
    git("commit", "--quiet", "--message", "labels")
    (tmp_path / "labels.csv").write_text("path,pneumonia\nMustermann_Erika.png,1\n")
    state = git_state(tmp_path)
    assert (state.dirty, state.diff) == (True, "")


def test_a_file_that_git_does_not_track_makes_it_dirty(git: Git, tmp_path: Path) -> None:
    (tmp_path / "new.py").write_text("two = 2\n")
    assert git_state(tmp_path).dirty


def test_an_ignored_file_does_not(git: Git, tmp_path: Path) -> None:
    (tmp_path / ".git/info/exclude").write_text("mlflow.db\n")
    (tmp_path / "mlflow.db").write_text("")
    assert not git_state(tmp_path).dirty


def test_a_change_outside_the_folder_is_not_its_own(git: Git, tmp_path: Path) -> None:
    (tmp_path / "project").mkdir()
    (tmp_path / "code.py").write_text("one = 2\n")
    assert git_state(tmp_path / "project") == GitState(git("rev-parse", "HEAD"), False, "")


def test_a_diff_of_text_that_is_not_utf_8_is_read(git: Git, tmp_path: Path) -> None:
    (tmp_path / "code.py").write_bytes("one = 'é'\n".encode("latin-1"))
    assert "+one = '\N{REPLACEMENT CHARACTER}'" in git_state(tmp_path).diff


def test_outside_a_checkout_the_commit_is_unknown(tmp_path: Path) -> None:
    assert git_state(tmp_path) == GitState("unknown", False, "")
    assert git_state(tmp_path / "nowhere") == GitState("unknown", False, "")


def test_a_checkout_without_a_commit_is_unknown(git: Git, tmp_path: Path) -> None:
    (tmp_path / "fresh").mkdir()
    git("init", "--quiet", "fresh")
    assert git_state(tmp_path / "fresh").commit == "unknown"


def test_without_git_the_commit_is_unknown(git: Git, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert git_state(tmp_path) == GitState("unknown", False, "")


def test_the_project_is_the_folder_that_holds_mlproject() -> None:
    assert (PROJECT / "MLproject").is_file()
