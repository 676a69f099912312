"""Processes and threads here: ordered parallel maps, and children that end with their parent."""

import ctypes
import multiprocessing
import os
import platform
import signal
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, ThreadPoolExecutor
from functools import cache
from itertools import chain, islice
from typing import TypeAlias, TypeVar

from tqdm import tqdm

Item = TypeVar("Item")
Result = TypeVar("Result")
# So many processes here; or those of the Dask cluster whose scheduler has this address; None is one process a core.
Workers: TypeAlias = int | str | None

_THREADS = 4
_PR_SET_PDEATHSIG = 1  # prctl(2)
_M_ARENA_MAX = -8  # mallopt(3)


def die_with_parent(by: signal.Signals = signal.SIGTERM) -> None:
    """Ask the kernel to end this process when its parent ends (Linux; elsewhere nothing happens).

    Args:
        by: SIGTERM lets it end its run; SIGKILL is for whoever leaves that to others, and cannot be missed.
    """
    if platform.system() == "Linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, by)


@cache
def share_one_heap() -> None:
    """Let all threads of this process, a worker, share a heap: each that fetches files would keep what it once needed.

    Not for a process that trains, whose threads would wait for each other. Elsewhere than on glibc nothing happens.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_M_ARENA_MAX, 1)


def refresh_s() -> float:
    """Seconds between two states of a progress bar: a terminal is redrawn, a log file grows."""
    return 0.2 if sys.stderr.isatty() else 10


def core_count() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0))


def map_in_processes(
    function: Callable[[Item], Result], items: Sequence[Item], workers: Workers, description: str
) -> Iterator[Result]:
    """Apply `function` to every item, in order, with a progress bar.

    Args:
        function: a module-level function; it and the items are pickled.
        workers: see `Workers`.
        description: what the progress bar says.
    Raises:
        ExecutionError: the cluster cannot be used.
    """
    yield from _with_bar(_mapped(function, items, workers), len(items), description)


def map_in_threads(function: Callable[[Item], Result], items: Sequence[Item], description: str) -> Iterator[Result]:
    """Apply `function`, which waits for a disk or a network, to every item, in order, with a progress bar."""
    with ThreadPoolExecutor(_THREADS) as threads:
        yield from _with_bar(threads.map(function, items), len(items), description)


def _with_bar(results: Iterator[Result], count: int, description: str) -> Iterator[Result]:
    return iter(tqdm(results, total=count, desc=description, mininterval=refresh_s()))


def _mapped(function: Callable[[Item], Result], items: Sequence[Item], workers: Workers) -> Iterator[Result]:
    if isinstance(workers, str):
        from secondread.execution.cluster import map_on_cluster  # Dask takes a second to import

        return map_on_cluster(function, items, workers)
    return _results(function, items, min(workers or core_count(), max(1, len(items))))


def map_ahead(function: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[Result]:
    """Apply `function` to every item, in order: to the next one in a thread, while the caller works on the last."""
    others = iter(items)
    first = list(islice(others, 2))
    if len(first) < 2:
        yield from map(function, first)
        return
    with ThreadPoolExecutor(1) as thread:
        ahead = thread.submit(function, first[0])
        for item in chain(first[1:], others):
            result = ahead.result()
            ahead = thread.submit(function, item)
            yield result
        yield ahead.result()


def _results(function: Callable[[Item], Result], items: Iterable[Item], workers: int) -> Iterator[Result]:
    if workers == 1:
        yield from map(function, items)
        return
    # A forked child would inherit TensorFlow's and MLflow's threads and locks; a fork server never has them.
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([function.__module__])  # imported once, not once a worker
    surroundings = dict(os.environ)  # the fork server has those of when it was started
    with ProcessPoolExecutor(workers, context, _begin_worker, (surroundings,)) as pool:
        waiting: deque[Future[Result]] = deque()
        for item in items:
            waiting.append(pool.submit(function, item))
            if len(waiting) > 4 * workers:  # a bounded queue, so that results do not pile up in memory
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


def _begin_worker(surroundings: Mapping[str, str]) -> None:
    """Share one heap, and end when the process that maps is killed; the fork server between them would not notice.

    Args:
        surroundings: environment variables.
    """
    os.environ.clear()
    os.environ.update(surroundings)
    share_one_heap()
    threading.Thread(target=_wait_for_the_end, daemon=True).start()


def _wait_for_the_end() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
