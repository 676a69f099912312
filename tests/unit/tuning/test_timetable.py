"""A schedule is read as crontab means it, and refused before the first night where it could not run."""

from datetime import UTC, datetime
from pathlib import Path

import pytest

from secondread.errors import ConfigError
from tuning.timetable import read_timetable, trigger_of

MONDAY = datetime(2026, 6, 1, tzinfo=UTC)  # a Monday
JOB = """
jobs:
  weekly:
    task: pneumonia
    cron: "0 2 * * sat"
"""


def days(cron: str, count: int = 7) -> str:
    """Weekdays of the first firings from that Monday on."""
    trigger = trigger_of(cron, "UTC")
    found: list[str] = []
    at = MONDAY
    while len(found) < count:
        at = trigger.get_next_fire_time(at if found else None, at)
        found.append(f"{at:%a}")
    return " ".join(found)


@pytest.mark.parametrize(
    ("weekday", "expected"),
    [
        ("0", "Sun Sun"),
        ("7", "Sun Sun"),
        ("1", "Mon Mon"),
        ("1-5", "Mon Tue Wed Thu Fri Mon"),
        ("fri-sun", "Fri Sat Sun Fri"),
        ("5-7", "Fri Sat Sun Fri"),
        ("sun-mon", "Mon Sun Mon"),
        ("1-5/2", "Mon Wed Fri Mon"),
        ("*/3", "Wed Sat Sun Wed"),
        ("Sat,3", "Wed Sat Wed"),
        ("*", "Mon Tue Wed Thu Fri Sat Sun Mon"),
    ],
)
def test_weekdays_count_from_sunday_as_crontab_does(weekday: str, expected: str) -> None:
    assert days(f"0 2 * * {weekday}", len(expected.split())) == expected


def test_a_time_is_that_of_the_time_zone() -> None:
    at = trigger_of("0 3 * * *", "Europe/Berlin").get_next_fire_time(None, MONDAY)
    assert at.astimezone(UTC) == datetime(2026, 6, 1, 1, tzinfo=UTC)


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("0 2 * * sat", "0 2 * *", "expected minute, hour, day of month, month and weekday"),
        ("0 2 * * sat", "61 2 * * *", "no cron expression"),
        ("0 2 * * sat", "0 2 31 2 *", "no such day ever comes"),
        ("0 2 * * sat", "0 2 1 * mon", "a day of the month and a weekday"),
        ("0 2 * * sat", "0 2 * * 8", "weekday 8"),
        ("0 2 * * sat", "0 2 * * fri-mon", "weekday fri-mon"),
        ("0 2 * * sat", "0 2 * * 1/2", "weekday 1/2: a step needs a range"),
        ("0 2 * * sat", "0 2 * * 1-5/0", "weekday 1-5/0: a step is a number above 0"),
        ("pneumonia", "flu", "jobs.weekly.task: use hemorrhage or pneumonia. Received: 'flu'"),
        ("  weekly", "  Every week", "jobs.Every week"),
        ("jobs:", "timezone: Mars/Olympus\njobs:", "timezone: no such time zone"),
        ("jobs:", "storage: mysql://db\njobs:", "storage: use local, or postgresql://"),
        ("cron:", "corn:", "jobs.weekly.cron: Field required"),
        ("cron:", "tune: {trials: 0}\n    cron:", "tune: trials: Input should be greater than or equal to 1"),
        ("cron:", "tune: {train.epoch: 3}\n    cron:", "train.epochs"),
        ("cron:", "tune: {name: mine}\n    cron:", "tune.name: the job says it"),
        ("cron:", "promote: {gate: demo}\n    cron:", "promote.gate: use gates, manifest"),
        ("cron:", "grace_hours: 0\n    cron:", "grace_hours: Input should be greater than 0"),
        ("jobs:", "jobs: [", "it is not YAML"),
    ],
)
def test_what_could_not_run_is_refused_when_it_is_read(old: str, new: str, said: str, tmp_path: Path) -> None:
    path = tmp_path / "schedule.yaml"
    path.write_text(JOB.replace(old, new, 1))
    with pytest.raises(ConfigError) as refused:
        read_timetable(path)
    assert said in str(refused.value)
    assert str(refused.value).startswith(f"{path}: ")


def test_a_schedule_that_is_absent_is_said_so(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"No such file or directory; tuning/schedule\.yaml is the one to copy"):
        read_timetable(tmp_path / "absent.yaml")


def test_parameters_are_as_a_person_types_them(tmp_path: Path) -> None:
    path = tmp_path / "schedule.yaml"
    given = (
        "tune: {trials: 20, warm_start: false, objectives: [auroc, latency], minutes: null, train.learning_rate: 1e-4}"
    )
    path.write_text(f"{JOB}    {given}\n")
    assert read_timetable(path).jobs["weekly"].tune == {
        "trials": "20",
        "warm_start": "false",
        "objectives": "auroc,latency",
        "minutes": "none",
        "train.learning_rate": "1e-4",
    }


def test_a_database_s_password_is_in_no_message(tmp_path: Path) -> None:
    path = tmp_path / "schedule.yaml"
    path.write_text(f"storage: postgres://tuner:s3cret@host/db/with@sign\n{JOB}")
    with pytest.raises(ConfigError) as refused:
        read_timetable(path)
    assert "s3cret" not in str(refused.value)
