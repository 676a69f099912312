"""One decision at a time about a task, whatever home and folder its process was started in."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from filelock import FileLock, Timeout

from registry.lock import alone, alone_if_free, lock_of_task

HOLD = (
    "import sys; from registry.lock import alone\nwith alone('pneumonia'): print('held', flush=True); sys.stdin.read()"
)


@pytest.fixture
def another(workplace: Path, tmp_path_factory: pytest.TempPathFactory) -> "Iterator[subprocess.Popen[str]]":
    """A process of another home that decides about pneumonia until its input ends."""
    elsewhere = os.environ | {"SECONDREAD_HOME": str(tmp_path_factory.mktemp("home"))}
    command = [sys.executable, "-c", HOLD]
    with subprocess.Popen(command, env=elsewhere, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        yield process
        process.kill()


def test_two_processes_of_different_homes_exclude_each_other(another: "subprocess.Popen[str]") -> None:
    with pytest.raises(Timeout):
        lock_of_task("pneumonia").acquire(timeout=0)
    with alone_if_free("pneumonia") as free, alone_if_free("hemorrhage") as other_task_free:
        assert (free, other_task_free) == (False, True)


def test_who_waits_says_so_and_goes_on_when_the_other_was_killed(
    another: "subprocess.Popen[str]", capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    acquire = FileLock.acquire

    def kill_and_acquire(self: FileLock, timeout: float | None = None) -> object:
        if timeout is None:  # waiting begins
            another.kill()
            another.wait()
        return acquire(self, timeout=timeout)

    monkeypatch.setattr(FileLock, "acquire", kill_and_acquire)
    with alone("pneumonia"):
        assert capsys.readouterr().out == "another process is deciding about pneumonia; waiting for it\n"


def test_the_lock_of_a_sqlite_store_lies_beside_it(workplace: Path) -> None:
    assert Path(lock_of_task("pneumonia").lock_file) == workplace / ".mlflow.db.pneumonia.lock"


def test_the_lock_of_another_store_is_this_users_and_named_by_the_store(
    workplace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TMPDIR", str(workplace))
    monkeypatch.setattr("tempfile.tempdir", None)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://one.example:5000")
    first = Path(lock_of_task("pneumonia").lock_file)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://two.example:5000")
    second = Path(lock_of_task("pneumonia").lock_file)
    assert first.parent == second.parent
    assert first != second
    assert first.parent.stat().st_mode & 0o077 == 0
