"""Carries out firings: each once, in a process of its own, however many schedulers share them, and whoever dies."""

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from tuning.firing import folder
from tuning.firings import Firing, Firings, Progress, moment
from tuning.locks import Lock, Locks, open_locks
from tuning.timetable import Job

_ATTEMPTS = 5  # processes a firing gets; what kills five of them would kill the sixth
_LAUNCHERS = ("MLFLOW_RUN_ID", "MLFLOW_EXPERIMENT_ID")  # `mlflow run`'s own run is the scheduler's, not a firing's
_COMMAND = (sys.executable, "-m", "tuning.firing")


@dataclass(frozen=True)
class Pace:
    """Seconds that a scheduler waits.

    Args:
        look_s: between two looks at the clock and the database: a machine that slept, or another scheduler's death, is
            noticed after so long.
        again_s: before a firing whose process died is gone on with.
        stop_s: for a process that was asked to end.
    """

    look_s: float = 15
    again_s: float = 30
    stop_s: float = 120


class Crew:
    """Carries out firings, each in a process of its own that a thread waits for.

    Args:
        project: see `schedule`; None is this one.
    """

    def __init__(self, storage: str, firings: Firings, project: Path | None, pace: Pace) -> None:
        self.firings = firings
        self.pace = pace
        self._storage = storage
        self._project = project
        self._children: set[subprocess.Popen[str]] = set()
        self._stopping = threading.Event()

    def take_up(self, name: str, job: Job, at: datetime) -> Firing | None:
        """Carry out a firing that is due.

        Returns:
            the firing as it ended; None when another scheduler has taken it up.
        """
        now = datetime.now(UTC)
        firing = Firing(name, at, job.task, _search_of(name, at), began=now)
        late = job.grace_hours is not None and now - at > timedelta(hours=job.grace_hours)
        with closing(open_locks(self._storage, folder())) as locks:
            # Nobody who looks for interrupted firings may come between the claim and the lock.
            with _held(locks, f"claim-{name}"):
                if not self.firings.claim(firing):
                    return None
                others = [each for each in self.firings.unfinished(name) if each.at != at]
                # Where no other firing runs, whoever holds the lock has ended one, and is about to let go.
                work = None if late else locks.take(lock_of(firing), wait=not others)
                if work is None:
                    reason = f"more than grace_hours={job.grace_hours:g} late" if late else "the one before still ran"
                    self.firings.end(firing, Progress.SKIPPED, reason, now)
            if work is None:
                self._note(firing, job, reason)
            else:
                self._carry_out(firing, job, work)
        return self.firings.find(firing)

    def go_on(self, firing: Firing, job: Job | None) -> Firing | None:
        """Carry out a firing that was begun, and whose process died.

        Args:
            job: None: it is no longer in the schedule, and the firing is given up.
        Returns:
            the firing as it ended; None when a scheduler works on this job.
        """
        with closing(open_locks(self._storage, folder())) as locks:
            with _held(locks, f"claim-{firing.job}"):
                work = locks.take(lock_of(firing), wait=False)
            if work is None:
                return None
            if job is not None and job.task == firing.task:
                self._carry_out(firing, job, work)
            elif self.firings.find(firing) in self.firings.unfinished(firing.job):  # nobody ended it meanwhile
                self.firings.end(firing, Progress.FAILED, "interrupted, and no longer in the schedule", _now())
        return self.firings.find(firing)

    def stop(self) -> None:
        """End every process, and wait until each is gone; their firings stay begun."""
        self._stopping.set()
        until = time.monotonic() + self.pace.stop_s
        for child in list(self._children):
            child.terminate()
        for child in list(self._children):
            try:
                child.wait(max(0.0, until - time.monotonic()))
            except subprocess.TimeoutExpired:
                child.kill()

    def _carry_out(self, firing: Firing, job: Job, lock: Lock) -> None:
        """Give a firing one process after another until it has ended."""
        while not self._stopping.is_set() and lock.held():
            begun = self.firings.begin(firing)
            if begun is None:
                return
            if begun.attempts > _ATTEMPTS:
                reason = f"its process died {_ATTEMPTS} times; the scheduler's log has what it said"
                self.firings.end(firing, Progress.FAILED, reason, _now())
                return
            _say(firing, "begins" if begun.attempts == 1 else "goes on")
            try:
                self._work(begun, job, lock)
            except KeyboardInterrupt:
                self.firings.spare(firing)
                raise
            ended = self.firings.find(firing)
            if ended is not None and ended.status != Progress.RUNNING:
                _say(firing, f"{ended.status} {ended.reason}".strip())
                return
            if self._stopping.is_set():
                self.firings.spare(firing)
            else:
                _say(firing, "was interrupted")
            self._stopping.wait(self.pace.again_s)

    def _work(self, firing: Firing, job: Job, lock: Lock) -> None:
        with self._process(firing, job, None) as child:
            while child.poll() is None and not self._stopping.is_set():
                try:
                    child.wait(self.pace.look_s)
                except subprocess.TimeoutExpired:
                    if not lock.held():  # its database was away, and another scheduler took the firing up
                        break
            if child.poll() is None:
                child.terminate()

    def _note(self, firing: Firing, job: Job, reason: str) -> None:
        _say(firing, f"SKIPPED {reason}")
        with self._process(firing, job, reason):
            pass

    @contextmanager
    def _process(self, firing: Firing, job: Job, skipped: str | None) -> "Iterator[subprocess.Popen[str]]":
        """A process of `tuning.firing`, waited for at the end."""
        environment = {name: value for name, value in os.environ.items() if name not in _LAUNCHERS}
        order = {"name": firing.job, "at": firing.at.isoformat(), "job": job.model_dump(), "skipped": skipped}
        order |= {"storage": self._storage, "project": None if self._project is None else str(self._project)}
        with subprocess.Popen(_COMMAND, stdin=subprocess.PIPE, env=environment, text=True) as child:
            self._children.add(child)
            try:
                with suppress(BrokenPipeError):  # it died at once: whoever waits for it sees that
                    print(json.dumps(order), file=child.stdin, flush=True)
                yield child
                child.wait()
            except BaseException:  # ctrl-C, where this is the main thread
                child.terminate()
                child.wait()
                raise
            finally:
                self._children.discard(child)


def lock_of(firing: Firing) -> str:
    return f"schedule-{firing.task}-{firing.job}"


@contextmanager
def _held(locks: Locks, name: str) -> Iterator[None]:
    lock = locks.take(name, wait=True)
    assert lock is not None
    with lock:
        yield


def _search_of(name: str, at: datetime) -> str:
    return f"{name}-{at:%Y-%m-%d-%H%M}" + (f"{at:%S}" if at.second else "")


def _say(firing: Firing, what: str) -> None:
    print(f"{moment(_now())}  {firing.job} of {moment(firing.at)}: {what}", flush=True)


def _now() -> datetime:
    return datetime.now(UTC)
