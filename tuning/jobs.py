"""What a schedule is about to do, and what has become of what it did."""

from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

from apscheduler.jobstores.sqlalchemy import SQLAlchemyJobStore
from sqlalchemy import Engine, select

from tuning.crew import lock_of
from tuning.firing import folder
from tuning.firings import Firing, Firings, Progress, moment, open_database
from tuning.locks import open_locks
from tuning.timetable import read_timetable, trigger_of

_OVERDUE = timedelta(minutes=5)


def print_jobs(path: Path, count: int = 20) -> None:
    """Print when each job is due next, and its newest firings.

    Raises:
        ConfigError: the schedule cannot be read.
        SearchError: its database cannot be reached.
    """
    timetable = read_timetable(path)
    engine = open_database(timetable.storage, folder())
    zone, due, now = ZoneInfo(timetable.timezone), _due(engine), datetime.now(UTC)
    print(f"{'job':<24}{'task':<12}{'cron':<16}next")
    for name, job in timetable.jobs.items():
        at = due.get(name) or trigger_of(job.cron, timetable.timezone).get_next_fire_time(None, now)
        remark = "" if name in due else "   (no scheduler has begun with it yet)"
        remark = "   (overdue: no scheduler runs)" if now - at > _OVERDUE else remark
        print(f"{name:<24}{job.task:<12}{job.cron:<16}{moment(at.astimezone(zone))}{remark}")
    print(f"\n{'due':<24}{'job':<24}{'status':<13}{'took':<10}what")
    for firing in Firings(engine).newest(count):
        took = _span((firing.ended or now) - firing.began) if firing.began else ""
        status = _status(firing, timetable.storage)
        print(f"{moment(firing.at.astimezone(zone)):<24}{firing.job:<24}{status:<13}{took:<10}{_what(firing)}")
    engine.dispose()


def _due(engine: Engine) -> dict[str, datetime]:
    """When each job of the store is due next."""
    store = SQLAlchemyJobStore(engine=engine)
    with engine.begin() as connection:
        rows = connection.execute(select(store.jobs_t.c.id, store.jobs_t.c.next_run_time)).all()
    return {name: datetime.fromtimestamp(at, UTC) for name, at in rows}


def _status(firing: Firing, storage: str) -> str:
    """A firing's status; INTERRUPTED when no process works on it."""
    if firing.status == Progress.RUNNING:
        with closing(open_locks(storage, folder())) as locks:
            if locks.take(lock_of(firing), wait=False):
                return "INTERRUPTED"
    return str(firing.status)


def _what(firing: Firing) -> str:
    run = f"run {firing.run_id}" if firing.run_id else ""
    found = (firing.reason, "" if firing.status == Progress.SKIPPED else f"search {firing.search}", run)
    return ", ".join(each for each in found if each)


def _span(took: timedelta) -> str:
    minutes = int(took.total_seconds() // 60)
    return f"{minutes // 60} h {minutes % 60:02d}" if minutes >= 60 else f"{minutes} min"
