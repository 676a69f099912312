"""What a schedule says, checked: which job, when, with which parameters of `tune` and `promote`."""

from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Self
from zoneinfo import ZoneInfo

import yaml
from apscheduler.triggers.cron import CronTrigger
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from secondread.config import load_config
from secondread.errors import ConfigError
from secondread.tasks import task_names
from tuning.database import Database
from tuning.locks import LOCAL
from tuning.settings import SearchSettings, read_settings

_WEEKDAYS = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")  # cron's order; cron also calls Sunday 7
_NAMED_BY_THE_JOB = ("task", "name")
_OF_PROMOTE = ("gates", "manifest")
_A_DAY = datetime(2026, 1, 1, tzinfo=UTC)  # any: a cron expression has no year
Texts = Mapping[str, Annotated[str, Field(coerce_numbers_to_str=True)]]


class Job(BaseModel):
    """One recurring search with its promotion.

    Args:
        cron: minute, hour, day of month, month, weekday, as crontab(5) has them.
        tune: parameters of the entry point `tune`; it gets the task and a name for the search besides.
        promote: parameters of the entry point `promote`.
        grace_hours: a firing that is later than this is skipped; None catches up, however late.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    task: str
    cron: str
    tune: Texts = {}
    promote: Texts = {}
    grace_hours: float | None = Field(None, gt=0)

    @field_validator("tune", "promote", mode="before")
    @classmethod
    def _as_typed(cls, given: object) -> object:
        """What YAML read as true, a list or nothing, as a person would type it behind -P."""
        return {name: _typed(value) for name, value in given.items()} if isinstance(given, dict) else given

    @field_validator("task")
    @classmethod
    def _is_known(cls, task: str) -> str:
        if task not in task_names():
            raise ValueError(f"use {' or '.join(task_names())}")
        return task

    @field_validator("cron")
    @classmethod
    def _is_a_cron_expression(cls, cron: str) -> str:
        trigger_of(cron, "UTC")
        return cron

    @model_validator(mode="after")
    def _can_be_launched(self) -> Self:
        """Ask now what `tune` would ask at night."""
        for name in _NAMED_BY_THE_JOB:
            if name in self.tune:
                raise ValueError(f"tune.{name}: the job says it; leave it out")
        strange = [name for name in self.promote if name not in _OF_PROMOTE]
        if strange:
            raise ValueError(f"promote.{strange[0]}: use {', '.join(_OF_PROMOTE)}")
        of_search = {name: value for name, value in self.tune.items() if name in SearchSettings.model_fields}
        rest = {name: value for name, value in self.tune.items() if name not in of_search and name != "space"}
        try:
            read_settings(of_search)
            load_config(self.task, rest)
        except ConfigError as error:
            raise ValueError(f"tune: {error}") from None
        return self


class Timetable(BaseModel):
    """Everything that a schedule's file says.

    Args:
        storage: `local`, or a database that the schedulers of several machines share: postgresql://...
        timezone: of every cron expression, such as Europe/Berlin.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    storage: str = LOCAL
    timezone: str = "UTC"
    jobs: Mapping[Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_-]{0,40}$")], Job] = Field(min_length=1)

    @field_validator("storage")
    @classmethod
    def _is_an_address(cls, storage: str) -> str:
        try:
            if storage != LOCAL:
                Database(storage)
        except ConfigError as error:
            raise ValueError(str(error).removeprefix("storage: ")) from None
        return storage

    @field_validator("timezone")
    @classmethod
    def _exists(cls, timezone: str) -> str:
        try:
            ZoneInfo(timezone)
        except (KeyError, OSError, ValueError):
            raise ValueError("no such time zone; use one such as UTC or Europe/Berlin") from None
        return timezone


def read_timetable(path: Path) -> Timetable:
    """Read a schedule.

    Raises:
        ConfigError: the file is not there, or a setting is unknown, missing or out of range.
    """
    try:
        return Timetable.model_validate(yaml.safe_load(path.read_text()))
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}; tuning/schedule.yaml is the one to copy") from None
    except (ValidationError, ValueError, yaml.YAMLError) as error:
        raise ConfigError(f"{path}: {_first_line(error)}; tuning/schedule.yaml shows every setting") from None


def trigger_of(cron: str, timezone: str) -> CronTrigger:
    """Read a cron expression as crontab(5) does; APScheduler alone would count weekdays from Monday.

    Raises:
        ValueError: it is none, or cron and APScheduler would understand it differently.
    """
    words = cron.split()
    if len(words) != 5:
        raise ValueError("expected minute, hour, day of month, month and weekday, such as 0 2 * * sat")
    minute, hour, day, month, weekday = words
    if day != "*" and weekday != "*":
        raise ValueError("a day of the month and a weekday: cron means either, others mean both; use one of them")
    days = _weekdays(weekday)
    fields = {"minute": minute, "hour": hour, "day": day, "month": month.lower(), "day_of_week": days}
    try:
        trigger = CronTrigger(**fields, timezone=ZoneInfo(timezone))
    except ValueError as error:
        raise ValueError(f"no cron expression ({error})") from None
    if trigger.get_next_fire_time(None, _A_DAY) is None:
        raise ValueError("no such day ever comes")
    return trigger


def _typed(value: object) -> object:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list):
        return ",".join(str(each) for each in value)
    return "none" if value is None else value


def _weekdays(field: str) -> str:
    """The weekdays of a cron field, by name."""
    if field == "*":
        return field
    found: set[int] = set()
    for part in field.lower().split(","):
        span, slash, step = part.partition("/")
        first, dash, last = span.partition("-")
        if slash and not dash and span != "*":
            raise ValueError(f"weekday {part}: a step needs a range, such as mon-fri/2")
        begin, end = (0, 6) if span == "*" else (_weekday(first), _weekday(last) if dash else _weekday(first))
        if dash and end == 0 and begin > 0:
            end = 7  # until Sunday
        if begin > end:
            raise ValueError(f"weekday {part}: a range goes from the earlier to the later day")
        if slash and not (step.isdecimal() and int(step) > 0):
            raise ValueError(f"weekday {part}: a step is a number above 0")
        found |= {day % 7 for day in range(begin, end + 1, int(step) if slash else 1)}
    return ",".join(_WEEKDAYS[day] for day in sorted(found))


def _weekday(word: str) -> int:
    if word in _WEEKDAYS:
        return _WEEKDAYS.index(word)
    if word in tuple("01234567"):
        return int(word) % 7
    raise ValueError(f"weekday {word}: use sun, mon, ... or 0 to 7, which begin and end with Sunday")


def _first_line(error: ValidationError | ValueError | yaml.YAMLError) -> str:
    if not isinstance(error, ValidationError):
        return "it is not YAML"
    first = error.errors(include_url=False)[0]
    place = ".".join(str(part) for part in first["loc"]) or "the file"
    said = first["msg"].removeprefix("Value error, ")
    shown = isinstance(first["input"], str | int | float) and place != "storage"  # which may hold a password
    received = f". Received: {first['input']!r}" if shown else ""
    return f"{place}: {said}{received}"
