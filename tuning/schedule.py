"""Recurring searches: APScheduler says when, `crew` sees to it that each firing is carried out once."""

import signal
import sys
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from apscheduler.events import EVENT_SCHEDULER_STARTED
from apscheduler.executors.base import BaseExecutor
from apscheduler.jobstores.base import JobLookupError
from apscheduler.jobstores.sqlalchemy import SQLAlchemyJobStore
from apscheduler.schedulers.blocking import BlockingScheduler
from sqlalchemy import Engine
from sqlalchemy.exc import SQLAlchemyError

from secondread.errors import ConfigError
from tuning.crew import Crew, Pace
from tuning.firing import folder
from tuning.firings import Firing, Firings, Progress, moment, open_database
from tuning.timetable import Job, Timetable, read_timetable, trigger_of

_INTERRUPTED = 128 + signal.SIGINT


def schedule(
    path: Path, *, once: bool = False, job: str | None = None, project: Path | None = None, pace: Pace | None = None
) -> None:
    """Carry out a schedule until ctrl-C or SIGTERM; what is interrupted goes on when a scheduler starts again.

    Args:
        path: of a YAML file such as tuning/schedule.yaml.
        once: let another scheduler (systemd, Kubernetes) say when: carry out each job now, and return.
        job: with `once`, this one alone.
        project: folder of the MLproject whose `tune` and `promote` are launched; by default this one.
    Raises:
        ConfigError: the schedule cannot be read.
        SearchError: its database cannot be reached.
        SystemExit: with `once`: 1 when a job failed, 130 when it was interrupted.
    """
    timetable = read_timetable(path)
    if job is not None and (job not in timetable.jobs or not once):
        raise ConfigError(f"--job {job}: takes --once and one of {', '.join(timetable.jobs)}")
    engine = open_database(timetable.storage, folder())
    crew = Crew(timetable.storage, Firings(engine), project, pace or Pace())
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # both end it alike
    try:
        if once:
            _carry_out_now([job] if job else list(timetable.jobs), timetable, crew)
        else:
            _carry_on(timetable, crew, engine)
    except KeyboardInterrupt:
        print("\nstopping; what is interrupted goes on when the same command starts again", flush=True)
        crew.stop()
        if once:  # whoever started it shall not take it for done
            raise SystemExit(_INTERRUPTED) from None
    finally:
        engine.dispose()


def never_called(name: str, job: dict[str, Any]) -> None:
    """What APScheduler keeps as a job's function; `_Threads` carries it out, and knows when it was due."""


class _Threads(BaseExecutor):  # type: ignore[misc]  # apscheduler ships no types
    """Gives each firing a thread, and tells it when it was due, which APScheduler's own executors do not."""

    def __init__(self, crew: Crew) -> None:
        super().__init__()
        self._crew = crew
        self._pool = ThreadPoolExecutor(64)
        self._here: set[tuple[str, datetime]] = set()  # firings that a thread here has

    def go_on(self, firing: Firing, job: Job | None) -> None:
        """Go on with a firing that was interrupted, unless a thread here has it."""
        key = (firing.job, firing.at)
        if key not in self._here:
            self._here.add(key)
            self._pool.submit(self._crew.go_on, firing, job).add_done_callback(lambda done: self._end(key, done))

    def shutdown(self, wait: bool = True) -> None:
        """Wait for the threads; the crew has ended their processes."""
        self._pool.shutdown(wait, cancel_futures=True)

    def _do_submit_job(self, job: Any, run_times: Sequence[datetime]) -> None:
        name, given = job.args
        at = run_times[-1].astimezone(UTC)
        self._here.add((name, at))

        def end(done: "Future[Firing | None]") -> None:
            self._end((name, at), done)
            self._run_job_success(job.id, [])

        self._pool.submit(self._crew.take_up, name, Job.model_validate(given), at).add_done_callback(end)

    def _end(self, key: tuple[str, datetime], done: "Future[Firing | None]") -> None:
        self._here.discard(key)
        if not done.cancelled() and done.exception() is not None:
            # Its row is there, and some scheduler goes on with it. The text of the error may hold an address.
            name = type(done.exception()).__name__
            print(f"{moment(datetime.now(UTC))}  {key[0]} of {moment(key[1])}: {name}", file=sys.stderr, flush=True)


class _Scheduler(BlockingScheduler):  # type: ignore[misc]  # apscheduler ships no types
    """Looks at the clock often, outlives a database that goes away, and goes on with what was interrupted."""

    def __init__(self, crew: Crew, store: SQLAlchemyJobStore, threads: _Threads, timezone: ZoneInfo) -> None:
        super().__init__(jobstores={"default": store}, executors={"default": threads}, timezone=timezone)
        self._crew = crew
        self._threads = threads

    def _process_jobs(self) -> float:
        wait = None
        try:
            wait = super()._process_jobs()
            for firing in self._crew.firings.unfinished():
                kept = self.get_job(firing.job)
                self._threads.go_on(firing, None if kept is None else Job.model_validate(kept.args[1]))
        except (SQLAlchemyError, JobLookupError) as error:  # another scheduler may have removed a job meanwhile
            said = f"{moment(datetime.now(UTC))}  the schedule's database: {type(error).__name__}"
            print(said, file=sys.stderr, flush=True)
        return min(self._crew.pace.look_s, self._crew.pace.look_s if wait is None else float(wait))


def _carry_on(timetable: Timetable, crew: Crew, engine: Engine) -> None:
    store = SQLAlchemyJobStore(engine=engine)
    threads = _Threads(crew)
    scheduler = _Scheduler(crew, store, threads, ZoneInfo(timetable.timezone))
    store.start(scheduler, "default")  # the jobs of former schedulers can be read from now on
    for kept in store.get_all_jobs():
        if kept.id not in timetable.jobs:
            store.remove_job(kept.id)
    for name, job in timetable.jobs.items():
        _add(scheduler, store, name, job, timetable.timezone)
    scheduler.add_listener(lambda _: _tell(scheduler), EVENT_SCHEDULER_STARTED)
    try:
        scheduler.start()
    finally:
        crew.stop()
        threads.shutdown()


def _add(scheduler: _Scheduler, store: SQLAlchemyJobStore, name: str, job: Job, timezone: str) -> None:
    """Put a job into the store; one whose time is unchanged keeps what it is due for, so that it can catch up."""
    trigger = trigger_of(job.cron, timezone)
    former = store.lookup_job(name)
    due = {"next_run_time": former.next_run_time} if former and repr(former.trigger) == repr(trigger) else {}
    scheduler.add_job(
        never_called,
        trigger,
        args=(name, job.model_dump()),
        id=name,
        replace_existing=True,
        coalesce=True,
        # APScheduler's default drops, silently, whatever comes a second late; `take_up` says what is too late.
        misfire_grace_time=None,
        max_instances=1000,  # what overlaps is for the locks to find, also between two schedulers
        **due,
    )


def _tell(scheduler: _Scheduler) -> None:
    for job in scheduler.get_jobs():
        print(f"{job.id}: next at {moment(job.next_run_time)}", flush=True)


def _carry_out_now(names: Sequence[str], timetable: Timetable, crew: Crew) -> None:
    """Carry out jobs in turn; one that was interrupted goes on instead of beginning anew."""
    ended = []
    for name in names:
        job = timetable.jobs[name]
        begun = crew.firings.unfinished(name)
        ended.append(
            (begun and crew.go_on(begun[0], job)) or crew.take_up(name, job, datetime.now(UTC).replace(microsecond=0))
        )
    if any(firing is None or firing.status == Progress.FAILED for firing in ended):
        raise SystemExit(1)
