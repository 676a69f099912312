"""`python scheduler_process.py`: a scheduler in a process of its own, with a clock that tests move.

The clock is the file `clock` in the current folder. With `stand-in`, a firing's process is this file too: everything is
real but MLflow and the entry points, of which `calls` gets a line each; `tune` lasts while a file `hold` is there, and
fails where a file `fail` is.
"""

import os
import sys
import time
import types
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime, tzinfo
from pathlib import Path

import apscheduler.executors.base
import apscheduler.schedulers.base

import tuning.crew
import tuning.firing
import tuning.jobs
import tuning.schedule
from secondread.errors import SecondReadError, TrackingError
from tuning.crew import Pace


class MovedDatetime(datetime):
    """A datetime whose `now` is what the clock's file says."""

    @classmethod
    def now(cls, tz: tzinfo | None = None) -> "MovedDatetime":
        return cls.fromisoformat(Path("clock").read_text()).astimezone(tz)


def move_the_clock() -> None:
    """Let the scheduler, here and in APScheduler, ask that clock."""
    modules = (apscheduler.schedulers.base, apscheduler.executors.base, tuning.crew, tuning.firing, tuning.jobs)
    for module in (*modules, tuning.schedule):
        vars(module).update(datetime=MovedDatetime)


def stand_in_for_mlflow() -> None:
    """Replace what a firing's process would import MLflow for, which takes seconds."""
    scheduled, launch = types.ModuleType("scheduled"), types.ModuleType("launch")

    @contextmanager
    def open_scheduled(task: str, job: str, at: str, parameters: Mapping[str, str]) -> Iterator[types.SimpleNamespace]:
        yield types.SimpleNamespace(id=f"run of {job}")

    def call(entry_point: str, parameters: Mapping[str, str], project: Path) -> None:
        name = parameters.get("name", "")
        note(f"{entry_point} {name} begins {os.getpid()}")
        while entry_point == "tune" and Path("hold").exists():
            time.sleep(0.01)
        if entry_point == "tune" and Path("fail").exists():
            raise TrackingError("what it said is above")
        note(f"{entry_point} {name} ends")

    vars(scheduled).update(
        open_scheduled=open_scheduled,
        note_skipped=lambda *of: "a run",
        find_search=lambda *of: None,
        decided_already=lambda *of: None,
        link_work=lambda *of, **work: None,
    )
    vars(launch).update(launch=call)
    sys.modules["secondread.tracking.scheduled"] = scheduled
    sys.modules["secondread.tracking.launch"] = launch


def note(line: str) -> None:
    """Add a line to `calls`, whole."""
    with Path("calls").open("a") as calls:
        calls.write(f"{line}\n")


def main() -> None:
    """Do the verb that is named."""
    verb, *words = sys.argv[1:]
    move_the_clock()
    path, pace = Path("schedule.yaml"), Pace(look_s=0.1, again_s=0.1)
    if verb == "firing":
        stand_in_for_mlflow()
        tuning.firing.run_firing(sys.stdin)
        return
    if "stand-in" in words:
        vars(tuning.crew).update(_COMMAND=(sys.executable, __file__, "firing"))
    try:
        if verb == "jobs":
            tuning.jobs.print_jobs(path)
        else:
            project = None if "stand-in" in words else Path("project")
            tuning.schedule.schedule(path, once=verb == "once", project=project, pace=pace)
    except SecondReadError as error:
        raise SystemExit(f"error: {error}") from None


if __name__ == "__main__":
    main()
