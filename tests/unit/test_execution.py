"""Ordered maps over processes and a thread, and children that do not outlive their parent."""

import ctypes
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from secondread.errors import ImageRejected
from secondread.execution import core_count, map_ahead, map_in_processes

PARENT = """
import subprocess, sys, time
child = [sys.executable, "-c", "import time; from secondread.execution import die_with_parent; "
         "die_with_parent(); print('ready', flush=True); time.sleep(60)"]
started = subprocess.Popen(child, stdout=subprocess.PIPE)
started.stdout.readline()
print(started.pid, flush=True)
time.sleep(60)
"""


def square_late(number: int) -> int:
    """The first items take longest, so that results would come in the wrong order."""
    time.sleep(0.02 * max(0, 3 - number))
    return number**2


def process_id(number: int) -> int:
    return os.getpid()


def heaps(number: int) -> int:
    """Heaps of this process once four threads have asked for memory at the same time; glibc tells them on stderr."""
    barrier = threading.Barrier(4)

    def ask() -> None:
        held = [bytearray(5000) for _ in range(100)]
        barrier.wait()
        del held

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with tempfile.TemporaryFile() as said:
        stderr = os.dup(2)
        os.dup2(said.fileno(), 2)
        ctypes.CDLL(None).malloc_stats()
        os.dup2(stderr, 2)
        os.close(stderr)
        said.seek(0)
        return said.read().count(b"Arena ")


def variable(name: str) -> str | None:
    return os.environ.get(name)


def loaded(number: int) -> list[str]:
    """Heavy libraries that a worker has."""
    return [name for name in ("tensorflow", "keras", "mlflow") if name in sys.modules]


def reject_three(number: int) -> int:
    if number == 3:
        raise ImageRejected("odd", "three is refused")
    return number


@pytest.mark.parametrize("workers", [1, 2])
def test_results_come_in_the_items_order(workers: int) -> None:
    # more than the queue of four a worker
    assert list(map_in_processes(square_late, range(30), workers, "square")) == [number**2 for number in range(30)]


def test_one_worker_works_here_and_two_elsewhere() -> None:
    assert set(map_in_processes(process_id, range(4), 1, "here")) == {os.getpid()}
    assert os.getpid() not in set(map_in_processes(process_id, range(4), 2, "elsewhere"))


def test_nothing_to_do_is_done() -> None:
    assert list(map_in_processes(square_late, [], None, "nothing")) == []


def test_one_item_needs_no_other_process() -> None:
    assert list(map_in_processes(process_id, [1], None, "one")) == [os.getpid()]


def test_workers_start_without_the_heavy_libraries_of_their_parent() -> None:
    assert list(map_in_processes(loaded, range(2), 2, "look")) == [[], []]


@pytest.mark.parametrize("workers", [1, 2])
def test_an_error_of_a_worker_arrives_as_it_was(workers: int) -> None:
    results: Iterator[int] = map_in_processes(reject_three, range(9), workers, "reject")
    assert [next(results) for _ in range(3)] == [0, 1, 2]
    with pytest.raises(ImageRejected, match="three is refused") as caught:
        next(results)
    assert caught.value.rule == "odd"


def test_the_progress_bar_says_what_is_done(capsys: pytest.CaptureFixture[str]) -> None:
    list(map_in_processes(square_late, range(5), 1, "squares of five"))
    bar = capsys.readouterr().err
    assert "squares of five" in bar
    assert "5/5" in bar


def test_as_many_cores_as_this_process_may_use() -> None:
    assert core_count() == len(os.sched_getaffinity(0)) >= 1


def test_no_worker_outlives_a_killed_parent() -> None:
    script = "import time; from secondread.execution import map_in_processes as m; list(m(time.sleep, [60] * 4, 2, ''))"
    with subprocess.Popen([sys.executable, "-c", script], stderr=subprocess.DEVNULL) as parent:
        family: list[psutil.Process] = []
        while len(family) < 4:  # two workers, the server that forked them, and Python's tracker of resources
            time.sleep(0.02)
            family = psutil.Process(parent.pid).children(recursive=True)
        parent.send_signal(signal.SIGKILL)
    assert psutil.wait_procs(family, timeout=20)[1] == []


def test_a_child_ends_with_its_killed_parent() -> None:
    with subprocess.Popen([sys.executable, "-c", PARENT], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        child = int(parent.stdout.readline())
        assert is_running(child)
        parent.send_signal(signal.SIGKILL)
    until = time.monotonic() + 10
    while is_running(child) and time.monotonic() < until:
        time.sleep(0.02)
    assert not is_running(child)


def is_running(process: int) -> bool:
    """Not gone, and not a zombie that nobody waits for."""
    try:
        status = Path(f"/proc/{process}/stat").read_text()
    except OSError:
        return False
    return status.rpartition(")")[2].split()[0] != "Z"


@pytest.mark.parametrize("count", [0, 1, 2, 5])
def test_a_map_ahead_keeps_the_order(count: int) -> None:
    assert list(map_ahead(square_late, range(count))) == [number**2 for number in range(count)]


def test_the_next_item_is_worked_on_while_the_caller_works_on_the_last() -> None:
    begun = [threading.Event() for _ in range(4)]

    def begin(number: int) -> int:
        begun[number].set()
        return number

    for number in map_ahead(begin, range(3)):
        if number < 2:
            assert begun[number + 1].wait(10)
        assert not (number == 0 and begun[2].is_set())  # no further ahead than one


def test_an_error_ahead_reaches_the_caller_in_its_turn() -> None:
    results = map_ahead(lambda number: 1 // number, [1, 0])
    assert next(results) == 1
    with pytest.raises(ZeroDivisionError):
        next(results)


def test_threads_of_a_worker_share_a_heap() -> None:
    assert list(map_in_processes(heaps, [0, 1], 2, "heaps")) == [1, 1]


def test_workers_see_the_environment_of_now(monkeypatch: pytest.MonkeyPatch) -> None:
    for value in ("one", "two"):
        monkeypatch.setenv("AWS_PROFILE", value)
        assert list(map_in_processes(variable, ["AWS_PROFILE"] * 2, 2, "variables")) == [value] * 2
