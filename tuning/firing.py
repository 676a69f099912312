"""`python -m tuning.firing`: one firing of a schedule, in a process of its own: search, then let the best be judged."""

import json
import os
import signal
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from types import FrameType
from typing import Any, TextIO

from secondread.errors import SecondReadError, TrackingError
from secondread.execution import die_with_parent
from secondread.tracking.home import home
from tuning.firings import Firing, Firings, Progress, open_database
from tuning.locks import open_locks
from tuning.timetable import Job


def run_firing(stdin: TextIO) -> None:
    """Do what a scheduler orders, as one line of JSON.

    The order: `name`, `at` and `job` of the firing, `storage`, `project` (folder of the entry points; null: this one)
    and `skipped`, a reason, of a firing that is only to be noted.
    """
    die_with_parent()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _stop)
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    order = json.loads(stdin.readline())
    job, storage = Job.model_validate(order["job"]), order["storage"]
    firings = Firings(open_database(storage, folder()))
    firing = firings.find(Firing(order["name"], datetime.fromisoformat(order["at"]), job.task, ""))
    if firing is None:
        return
    if order["skipped"] is not None:
        _note(firings, firing, job, order["skipped"])
        return
    # A scheduler that was killed leaves a process that is still ending: two never search at once.
    locks = open_locks(storage, folder())
    try:
        locks.take(f"firing-{job.task}-{firing.job}", wait=True)
        if firings.find(firing) in firings.unfinished(firing.job):
            _carry_out(firings, firing, job, order["project"])
    finally:
        locks.close()


def folder() -> Path:
    """Where this machine keeps what schedules need."""
    return home() / "schedule"


def _stop(number: int, frame: FrameType | None) -> None:
    """End as by ctrl-C, which MLflow passes on to the entry point and waits for; a second one changes nothing."""
    for each in (signal.SIGINT, signal.SIGTERM):
        signal.signal(each, signal.SIG_IGN)
    raise KeyboardInterrupt


def _carry_out(firings: Firings, firing: Firing, job: Job, project: str | None) -> None:
    from secondread.tracking.scheduled import open_scheduled

    try:
        with open_scheduled(job.task, firing.job, _at(firing), _parameters(firing, job)) as run:
            firings.link(firing, run.id)
            _work(run, firing, job, project)
    except SecondReadError as error:
        firings.end(firing, Progress.FAILED, str(error), datetime.now(UTC))
        print(f"error: {firing.job} of {_at(firing)}: {error}", file=sys.stderr)
        raise SystemExit(1) from None
    firings.end(firing, Progress.FINISHED, "", datetime.now(UTC))


def _work(run: Any, firing: Firing, job: Job, project: str | None) -> None:
    """Search and promote, each by its entry point; an interrupted firing goes on with the same search."""
    from secondread.tracking.scheduled import decided_already, find_search, link_work

    search: str | None = None
    try:
        search = _launch("tune", {"task": job.task, "name": firing.search, **job.tune}, project)
    finally:
        search = search or find_search(run, firing.search)
        link_work(run, search=search)
    decision = decided_already(run) or _launch("promote", {"task": job.task, **job.promote}, project)
    link_work(run, search=search, decision=decision)


def _launch(entry_point: str, parameters: Mapping[str, str], project: str | None) -> str | None:
    from secondread.tracking.git import PROJECT
    from secondread.tracking.launch import launch

    try:
        return launch(entry_point, dict(parameters), Path(project) if project else PROJECT)
    except TrackingError:
        raise TrackingError(f"{entry_point} failed; the scheduler's log has what it said") from None


def _note(firings: Firings, firing: Firing, job: Job, reason: str) -> None:
    from secondread.tracking.scheduled import note_skipped

    run_id = note_skipped(job.task, firing.job, _at(firing), _parameters(firing, job), reason)
    firings.link(firing, run_id)


def _parameters(firing: Firing, job: Job) -> dict[str, str]:
    """What an MLflow run shows of a firing; paths and addresses stay here."""
    shown = {**{f"tune.{key}": value for key, value in job.tune.items()}, "tune.name": firing.search}
    shown |= {f"promote.{key}": value for key, value in job.promote.items()}
    return {"cron": job.cron} | {key: value for key, value in shown.items() if "/" not in value}


def _at(firing: Firing) -> str:
    return firing.at.astimezone(UTC).isoformat(timespec="seconds")


if __name__ == "__main__":
    try:
        run_firing(sys.stdin)
    except KeyboardInterrupt:
        raise SystemExit(128 + signal.SIGINT) from None
