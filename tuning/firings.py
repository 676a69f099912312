"""What has become of every firing of a schedule: one row each, in the database that its schedulers share."""

import time
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import Any, TypeVar

from apscheduler.jobstores.sqlalchemy import SQLAlchemyJobStore
from sqlalchemy import (
    Column,
    Connection,
    Engine,
    Integer,
    MetaData,
    Select,
    String,
    Table,
    create_engine,
    select,
    update,
)
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import IntegrityError, OperationalError

from tuning.locks import LOCAL, open_locks

_BUSY_S = 60  # how long a writer of sqlite waits for another
_AWAY_S = 600  # how long a database may be away
_TABLE = Table(
    "secondread_firings",
    MetaData(),
    Column("job", String(64), primary_key=True),
    Column("at", String(32), primary_key=True),
    Column("task", String(64), nullable=False),
    Column("search", String(128), nullable=False),
    Column("status", String(16), nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("began", String(32), nullable=False),
    Column("ended", String(32)),
    Column("run_id", String(64)),
    Column("reason", String(512), nullable=False),
)


_RUNNING = _TABLE.c.status == "RUNNING"
Result = TypeVar("Result")


class Progress(StrEnum):
    """What has become of a firing."""

    RUNNING = "RUNNING"
    FINISHED = "FINISHED"
    FAILED = "FAILED"
    SKIPPED = "SKIPPED"


@dataclass(frozen=True)
class Firing:
    """One firing of a job.

    Args:
        at: when it was due.
        search: name of its search, which an interrupted firing goes on with.
        attempts: processes that were started for it.
        began: when a scheduler took it up; `ended` is None while it runs.
        run_id: in MLflow.
        reason: why it FAILED or was SKIPPED.
    """

    job: str
    at: datetime
    task: str
    search: str
    status: Progress = Progress.RUNNING
    attempts: int = 0
    began: datetime | None = None
    ended: datetime | None = None
    run_id: str | None = None
    reason: str = ""


class Firings:
    """The table of firings; a row is claimed by whoever inserts it. A database that goes away is waited for."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def claim(self, firing: Firing) -> bool:
        """Remember a firing as taken up; false when another scheduler, or an earlier process, did."""
        try:
            self._ask(lambda connection: connection.execute(_TABLE.insert().values(**_row(firing))))
        except IntegrityError:
            return False
        return True

    def begin(self, firing: Firing) -> Firing | None:
        """Count another attempt; None when the firing is over."""
        more = update(_TABLE).where(*_is(firing), _RUNNING).values(attempts=_TABLE.c.attempts + 1)
        return self.find(firing) if self._ask(lambda connection: connection.execute(more).rowcount) else None

    def spare(self, firing: Firing) -> None:
        """Take an attempt back that was stopped on purpose."""
        self._set(firing, attempts=_TABLE.c.attempts - 1)

    def end(self, firing: Firing, status: Progress, reason: str, at: datetime) -> None:
        """End a firing."""
        self._set(firing, status=status, reason=reason[:512], ended=_text(at))

    def link(self, firing: Firing, run_id: str) -> None:
        """Remember a firing's run in MLflow."""
        self._set(firing, run_id=run_id)

    def find(self, firing: Firing) -> Firing | None:
        """A firing as it stands now."""
        found = self._read(select(_TABLE).where(*_is(firing)))
        return found[0] if found else None

    def unfinished(self, job: str | None = None) -> list[Firing]:
        """Those that run or were interrupted, of a job or of all, the oldest first."""
        of_job = () if job is None else (_TABLE.c.job == job,)
        return self._read(select(_TABLE).where(_RUNNING, *of_job).order_by(_TABLE.c.at))

    def newest(self, count: int) -> list[Firing]:
        """The last ones, the newest first."""
        return self._read(select(_TABLE).order_by(_TABLE.c.at.desc(), _TABLE.c.job).limit(count))

    def _read(self, query: Select[Any]) -> list[Firing]:
        return self._ask(lambda connection: [_firing(row) for row in connection.execute(query).mappings()])

    def _set(self, firing: Firing, **values: object) -> None:
        changed = update(_TABLE).where(*_is(firing)).values(**values)
        self._ask(lambda connection: connection.execute(changed))

    def _ask(self, work: Callable[[Connection], Result]) -> Result:
        until = time.monotonic() + _AWAY_S
        pause = 0.1
        while True:
            try:
                with self._engine.begin() as connection:
                    return work(connection)
            except OperationalError:
                if time.monotonic() > until:
                    raise
            time.sleep(pause)
            pause = min(10.0, pause * 2)


def open_database(storage: str, folder: Path) -> Engine:
    """Connect to what the schedulers share: sqlite in `folder`, or Postgres; its tables are there.

    Raises:
        ConfigError: `storage` is no address.
        SearchError: the database cannot be reached.
    """
    with closing(open_locks(storage, folder)) as locks:  # it says soon when nobody answers there
        alone = locks.take("tables", wait=True)  # two that start together would both make them
        engine = _engine(storage, folder)
        try:
            _TABLE.metadata.create_all(engine)
            SQLAlchemyJobStore(engine=engine).start(None, "default")
        finally:
            if alone:
                alone.release()
    return engine


def _engine(storage: str, folder: Path) -> Engine:
    if storage == LOCAL:
        url = URL.create("sqlite", database=str(folder / "schedule.db"))
        return create_engine(url, connect_args={"timeout": _BUSY_S})
    # A connection that Postgres closed is noticed before it is used.
    return create_engine(make_url(storage).set(drivername="postgresql+psycopg"), pool_pre_ping=True)


def moment(at: datetime) -> str:
    """A time as a person reads it, in its own zone."""
    return f"{at:%Y-%m-%d %H:%M %Z}"


def _is(firing: Firing) -> tuple[Any, ...]:
    return _TABLE.c.job == firing.job, _TABLE.c.at == _text(firing.at)


def _row(firing: Firing) -> dict[str, object]:
    times = {name: _text(getattr(firing, name)) for name in ("at", "began", "ended")}
    return {**vars(firing), **times, "status": str(firing.status)}


def _firing(row: Mapping[Any, Any]) -> Firing:
    times = {name: None if row[name] is None else datetime.fromisoformat(row[name]) for name in ("began", "ended")}
    return Firing(**{**row, **times, "at": datetime.fromisoformat(row["at"]), "status": Progress(row["status"])})


def _text(time: datetime | None) -> str | None:
    return None if time is None else time.astimezone(UTC).isoformat(timespec="seconds")
