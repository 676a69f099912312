"""An ordered map over the workers of a Dask cluster, whichever of them die; the one door to Dask."""

import pickle
import time
import traceback
import uuid
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import CancelledError as Cancelled
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

from distributed import Client, Future, KilledWorker
from distributed.comm.core import CommClosedError

from secondread.errors import ExecutionError
from secondread.execution.environment import differences, environment
from secondread.execution.processes import share_one_heap

Item = TypeVar("Item")
Result = TypeVar("Result")

_CONNECT_S = 20
_WORKERS_S = 120.0  # that a cluster may be without any worker
_LOOK_S = 5  # between two looks at which workers there are
_MOST_KILLED = 3  # times that Dask gives up on a part of the work, each after four dead workers


def map_on_cluster(function: Callable[[Item], Result], items: Sequence[Item], address: str) -> Iterator[Result]:
    """Apply `function` to every item, in order, on the workers of the cluster whose scheduler has this address.

    What a dead worker was at is done again by another. Functions, items and results travel as bytes, so that neither
    the scheduler nor any log of Dask's tells what is in them.

    Raises:
        ExecutionError: no scheduler or worker answers, one runs another version, or all that try an item die.
        Exception: whatever `function` raised.
    """
    with _connected(address) as client:
        work = _Work(client, address)
        ahead: deque[_Task] = deque()
        for item in items:
            ahead.append(work.begin(pickle.dumps((environment(), pickle.dumps((function, item))))))
            if len(ahead) >= work.most_ahead():
                yield work.result(ahead.popleft())
        while ahead:
            yield work.result(ahead.popleft())


@dataclass
class _Task:
    order: bytes
    future: "Future[bytes]"
    killed: int = 0


class _Work:
    """Tasks that were given to a cluster."""

    def __init__(self, client: "Client", address: str) -> None:
        self._client = client
        self._address = address
        self._looked = 0.0
        self._threads = 0

    def begin(self, order: bytes) -> _Task:
        return _Task(order, self._submit(order))

    def most_ahead(self) -> int:
        """Tasks that keep every worker busy; workers come and go."""
        if time.monotonic() - self._looked > _LOOK_S:
            self._threads = sum(self._client.nthreads().values())
            self._looked = time.monotonic()
        return 4 * max(1, self._threads)

    def result(self, task: _Task) -> Any:
        """Wait for a task."""
        while True:
            try:
                result, error = pickle.loads(self._answer(task.future))
            except (RuntimeError, ImportError, AttributeError):  # `do_work` itself raises nothing
                raise ExecutionError(
                    f"{self._address}: its scheduler or a worker cannot load this project's code; install the same "
                    "checkout there"
                ) from None
            except KilledWorker:
                task.killed += 1
                if task.killed > _MOST_KILLED:
                    raise ExecutionError(
                        f"{self._address}: workers die again and again at one part of the work; see their logs, and "
                        "give them more memory"
                    ) from None
                task.future = self._submit(task.order)
                continue
            if error is not None:
                raise error
            return result

    def _submit(self, order: bytes) -> "Future[bytes]":
        future: Future[bytes] = self._client.submit(do_work, order, key=f"secondread-{uuid.uuid4().hex}", pure=False)
        return future

    def _answer(self, future: "Future[bytes]") -> bytes:
        alone_since = None
        while True:
            try:
                answer: bytes = future.result(timeout=_LOOK_S)
                return answer
            except TimeoutError:
                if self._client.nthreads():
                    alone_since = None
                    continue
                alone_since = alone_since or time.monotonic()
                if time.monotonic() - alone_since > _WORKERS_S:
                    raise ExecutionError(
                        f"{self._address}: the cluster has had no worker for {_WORKERS_S:.0f} s; start workers, and "
                        "run the same command again: it goes on where it was"
                    ) from None


@contextmanager
def _connected(address: str) -> Iterator["Client"]:
    try:
        client = Client(address, timeout=_CONNECT_S, set_as_default=False)
    except (OSError, ValueError, TimeoutError):
        raise ExecutionError(
            f"execution.dask={address}: no Dask scheduler answers; start one (`dask scheduler`), or leave the setting "
            "out to work on this machine"
        ) from None
    try:
        _wait_for_workers(client, address)
        _refuse_other_versions(client.get_versions(), address)
        yield client
    except (Cancelled, CommClosedError):
        raise ExecutionError(
            f"{address}: the Dask scheduler went away; start it again, and run the same command: it goes on where "
            "it was"
        ) from None
    finally:
        client.close(timeout=_LOOK_S)


def _wait_for_workers(client: "Client", address: str) -> None:
    try:
        client.wait_for_workers(1, timeout=_CONNECT_S)
    except TimeoutError:
        raise ExecutionError(
            f"{address}: the cluster has no worker; start some: `dask worker {address} --nworkers N --nthreads 1`"
        ) from None


def _refuse_other_versions(versions: Mapping[str, Any], address: str) -> None:
    """What carries the work must agree everywhere; what does it is compared by `do_work`, also where workers join."""
    ours = versions["client"]["packages"]
    for who, found in {"scheduler": versions["scheduler"], **versions["workers"]}.items():
        theirs = found["packages"]
        for name in ("python", "dask", "distributed", "cloudpickle", "msgpack", "tornado"):
            if theirs.get(name) != ours.get(name):
                raise ExecutionError(
                    f"{address}: {who} has {name} {theirs.get(name)}, and this command {ours.get(name)}; install the "
                    "same requirements.txt there"
                )


def do_work(order: bytes) -> bytes:
    """Carry out an order in a worker; an error is a result, or Dask would log what the work was about."""
    share_one_heap()
    try:
        wanted, work = pickle.loads(order)
        differing = differences(wanted, environment())
        if differing:
            raise ExecutionError(differing)
        function, item = pickle.loads(work)  # other code may not have the function
        return pickle.dumps((function(item), None))
    except Exception as error:
        error.add_note(f"in a worker: {''.join(traceback.format_tb(error.__traceback__))}")
        return pickle.dumps((None, error))
