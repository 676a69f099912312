"""A lock has one holder, and is free again when that holder dies."""

import os
import signal
import subprocess
import sys
from pathlib import Path

from tuning.locks import open_locks

_HOLD = """
import sys, time
from pathlib import Path
from tuning.locks import open_locks
locks = open_locks(sys.argv[1], Path(sys.argv[2]))
lock = locks.take("trial-0", wait=False)
print("taken" if lock else "refused", flush=True)
time.sleep(600)
"""


def holder(storage: str, folder: Path) -> "subprocess.Popen[str]":
    """Another process that tries to take `trial-0` at once."""
    command = [sys.executable, "-c", _HOLD, storage, str(folder)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def said(process: "subprocess.Popen[str]") -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def test_a_lock_has_one_holder_and_is_free_when_that_is_killed(tmp_path: Path) -> None:
    locks = open_locks("local", tmp_path)
    with holder("local", tmp_path) as other:
        assert said(other) == "taken"
        assert locks.take("trial-0", wait=False) is None
        os.kill(other.pid, signal.SIGKILL)
        other.wait()
        lock = locks.take("trial-0", wait=False)
    assert lock is not None
    assert lock.held()


def test_waiting_ends_when_the_holder_is_killed(tmp_path: Path) -> None:
    with holder("local", tmp_path) as other:
        assert said(other) == "taken"
        other.kill()
        lock = open_locks("local", tmp_path).take("trial-0", wait=True)
    assert lock is not None
    assert lock.held()


def test_this_process_too_takes_a_name_once(tmp_path: Path) -> None:
    locks = open_locks("local", tmp_path)
    lock = locks.take("schedule-pneumonia-a/b", wait=False)
    assert lock is not None
    assert locks.take("schedule-pneumonia-a/b", wait=False) is None
    assert locks.take("schedule-pneumonia-b", wait=False) is not None
    lock.release()
    assert locks.take("schedule-pneumonia-a/b", wait=False) is not None


def test_closing_releases_all(tmp_path: Path) -> None:
    locks = open_locks("local", tmp_path)
    taken = [locks.take(f"trial-{number}", wait=False) for number in range(3)]
    locks.close()
    assert not any(lock.held() for lock in taken if lock)
    assert open_locks("local", tmp_path).take("trial-2", wait=False) is not None


def test_a_lock_whose_folder_was_deleted_is_lost(tmp_path: Path) -> None:
    lock = open_locks("local", tmp_path).take("trial-0", wait=False)
    assert lock is not None
    (tmp_path / "locks" / "trial-0.lock").unlink()
    assert not lock.held()
