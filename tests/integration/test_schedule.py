"""A schedule with real processes and a clock that tests move: each firing once, whoever is killed."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property, partial
from itertools import count
from pathlib import Path

import psutil
import pytest
from postgres_server import PASSWORD, PostgresServer
from sqlalchemy import Engine

from integration.command import WAIT_S, Command, started
from tuning.firings import Firing, Firings, Progress, open_database
from tuning.timetable import read_timetable

PROCESS = Path(__file__).with_name("scheduler_process.py")
HOURLY = """
jobs:
  hourly:
    task: pneumonia
    cron: "0 * * * *"
"""


@dataclass
class Place:
    """A folder in which schedulers run."""

    folder: Path

    def __post_init__(self) -> None:
        self._numbers = count()
        self.write(HOURLY)
        self.set_clock("00:30")

    def write(self, text: str) -> None:
        """Write the schedule."""
        (self.folder / "schedule.yaml").write_text(text)

    def set_clock(self, time_of_day: str, day: int = 1) -> None:
        """Move the clock of every process here."""
        aside = self.folder / "clock.aside"
        aside.write_text(f"2026-06-{day:02d}T{time_of_day}:00+00:00")
        aside.replace(self.folder / "clock")

    def scheduler(self, *words: str, home: str = "home") -> AbstractContextManager[Command]:
        """Start a scheduler, whose firings stand in for MLflow's part unless `words` say otherwise.

        Args:
            home: another one is another machine, as far as files tell.
        """
        log = self.folder / f"{next(self._numbers)}.log"
        command = [sys.executable, str(PROCESS), *(words or ("schedule", "stand-in"))]
        return started(command, self.folder, self.environment | {"SECONDREAD_HOME": str(self.folder / home)}, log)

    def run(self, *words: str) -> "subprocess.CompletedProcess[str]":
        """Run a verb to its end."""
        command = [sys.executable, str(PROCESS), *words]
        return subprocess.run(
            command, cwd=self.folder, env=self.environment, capture_output=True, text=True, check=False
        )

    @property
    def environment(self) -> dict[str, str]:
        """Of every process here."""
        python = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
        return {**os.environ, "PATH": python, "SECONDREAD_HOME": str(self.folder / "home")}

    @cached_property
    def engine(self) -> Engine:
        """The database of the schedule that was written first."""
        storage = read_timetable(self.folder / "schedule.yaml").storage
        return open_database(storage, self.folder / "home" / "schedule")

    @cached_property
    def firings(self) -> Firings:
        """The rows."""
        return Firings(self.engine)

    @property
    def rows(self) -> list[tuple[str, str]]:
        """Time of day and status of each firing, the oldest first."""
        return [(f"{each.at:%H:%M}", str(each.status)) for each in reversed(self.firings.newest(100))]

    @property
    def calls(self) -> list[str]:
        """What was launched."""
        path = self.folder / "calls"
        return path.read_text().splitlines() if path.exists() else []

    @property
    def begun(self) -> list[str]:
        """Searches that were launched, in order; a resumed one is there again."""
        words = [line.split() for line in self.calls]
        return [word[1] for word in words if word[0] == "tune" and word[2] == "begins"]

    def wait_for(self, *rows: tuple[str, str]) -> None:
        """Wait until these are the firings."""
        self.wait_until(lambda: self.rows == list(rows), lambda: f"{self.rows} instead of {list(rows)}")

    def wait_until(self, happened: Callable[[], bool], told: Callable[[], str] = str) -> None:
        """Wait until something has happened."""
        until = time.monotonic() + WAIT_S / 2
        while not happened():
            logs = "\n".join(path.read_text() for path in sorted(self.folder.glob("*.log")))
            assert time.monotonic() < until, f"{told()}\n{logs}"
            time.sleep(0.05)


@pytest.fixture
def place(workplace: Path) -> Iterator[Place]:
    place = Place(workplace)
    yield place
    place.engine.dispose()


def ready(command: Command) -> None:
    """Wait until a scheduler has read its schedule."""
    command.wait_until(lambda: True if "next at" in command.said else None)


def stop(command: Command) -> None:
    """End a scheduler as systemd does."""
    command.process.terminate()
    assert command.process.wait(60) == 0, command.said


def test_firings_missed_while_no_scheduler_ran_are_caught_up_by_exactly_one(place: Place) -> None:
    with place.scheduler() as scheduler:
        ready(scheduler)
        stop(scheduler)
    assert place.rows == []
    place.set_clock("05:20")
    with place.scheduler():
        place.wait_for(("05:00", "FINISHED"))
        place.set_clock("06:00")
        place.wait_for(("05:00", "FINISHED"), ("06:00", "FINISHED"))
    assert place.begun == ["hourly-2026-06-01-0500", "hourly-2026-06-01-0600"]
    assert [line.split()[0] for line in place.calls] == ["tune", "tune", "promote", "promote"] * 2


def test_a_firing_during_the_one_before_is_skipped_and_kept(place: Place) -> None:
    (place.folder / "hold").touch()
    with place.scheduler() as scheduler:
        ready(scheduler)
        place.set_clock("01:00")
        place.wait_until(lambda: len(place.begun) == 1)
        place.set_clock("02:00")
        place.wait_for(("01:00", "RUNNING"), ("02:00", "SKIPPED"))
        (place.folder / "hold").unlink()
        place.wait_for(("01:00", "FINISHED"), ("02:00", "SKIPPED"))
        place.set_clock("03:00")
        place.wait_for(("01:00", "FINISHED"), ("02:00", "SKIPPED"), ("03:00", "FINISHED"))
    assert place.begun == ["hourly-2026-06-01-0100", "hourly-2026-06-01-0300"]


def test_of_two_schedulers_each_firing_is_carried_out_once_and_the_other_goes_on_when_one_is_killed(
    place: Place,
) -> None:
    with place.scheduler() as first, place.scheduler() as second:
        ready(first)
        ready(second)
        expected = []
        for hour in range(1, 6):
            place.set_clock(f"{hour:02d}:00")
            expected.append((f"{hour:02d}:00", "FINISHED"))
            place.wait_for(*expected)
        assert place.begun == [f"hourly-2026-06-01-{hour:02d}00" for hour in range(1, 6)]

        (place.folder / "hold").touch()
        place.set_clock("06:00")
        place.wait_until(lambda: len(place.begun) == 6)
        holder = first if "06:00 UTC: begins" in first.said else second
        other = second if holder is first else first
        worker = psutil.Process(int(place.calls[-1].split()[-1]))
        holder.process.kill()
        place.wait_until(lambda: len(place.begun) == 7)
        assert place.begun[5:] == ["hourly-2026-06-01-0600"] * 2
        # It was gone before the search went on.
        assert not worker.is_running() or worker.status() == psutil.STATUS_ZOMBIE
        (place.folder / "hold").unlink()
        place.wait_for(*expected, ("06:00", "FINISHED"))
        assert place.firings.newest(1)[0].attempts == 2
        assert "06:00 UTC: goes on" in other.said
        assert holder.process.wait() == -signal.SIGKILL


@pytest.mark.slow
def test_a_firing_whose_process_is_killed_goes_on(place: Place) -> None:
    (place.folder / "hold").touch()
    with place.scheduler() as scheduler:
        ready(scheduler)
        place.set_clock("01:00")
        place.wait_until(lambda: len(place.begun) == 1)
        os.kill(int(place.calls[-1].split()[-1]), signal.SIGKILL)
        place.wait_until(lambda: len(place.begun) == 2)
        (place.folder / "hold").unlink()
        place.wait_for(("01:00", "FINISHED"))
    assert place.begun == ["hourly-2026-06-01-0100"] * 2


def test_two_machines_share_a_schedule_in_postgres_which_may_start_anew(place: Place, postgres: PostgresServer) -> None:
    place.write(f'storage: "{postgres.url}"\n{HOURLY}')
    with place.scheduler() as first, place.scheduler(home="elsewhere") as second:
        ready(first)
        ready(second)
        place.set_clock("01:00")
        place.wait_for(("01:00", "FINISHED"))
        (place.folder / "hold").touch()
        place.set_clock("02:00")
        place.wait_until(lambda: len(place.begun) == 2)
        postgres.stop()
        time.sleep(1)
        postgres.start()
        (place.folder / "hold").unlink()
        place.wait_for(("01:00", "FINISHED"), ("02:00", "FINISHED"))
        assert place.begun == ["hourly-2026-06-01-0100", "hourly-2026-06-01-0200"]
        (place.folder / "hold").touch()
        place.set_clock("03:00")
        place.wait_until(lambda: len(place.begun) > 2 and place.begun[-1].endswith("-0300"))
        holder = first if "03:00 UTC: begins" in first.said else second
        holder.process.kill()
        place.wait_until(lambda: place.begun.count("hourly-2026-06-01-0300") == 2)
        (place.folder / "hold").unlink()
        place.wait_for(("01:00", "FINISHED"), ("02:00", "FINISHED"), ("03:00", "FINISHED"))
        assert PASSWORD not in first.said + second.said


@pytest.mark.slow
def test_a_firing_whose_process_is_killed_again_and_again_fails(place: Place) -> None:
    (place.folder / "hold").touch()
    with place.scheduler() as scheduler:
        ready(scheduler)
        place.set_clock("01:00")
        for killed in range(1, 6):
            place.wait_until(partial(lambda so_many: len(place.begun) == so_many, killed))
            os.kill(int(place.calls[-1].split()[-1]), signal.SIGKILL)
        place.wait_for(("01:00", "FAILED"))
    assert "died 5 times" in place.firings.newest(1)[0].reason


@pytest.mark.slow
def test_a_stopped_scheduler_leaves_its_firing_to_the_next_one(place: Place) -> None:
    (place.folder / "hold").touch()
    with place.scheduler() as scheduler:
        ready(scheduler)
        place.set_clock("01:00")
        place.wait_until(lambda: len(place.begun) == 1)
        stop(scheduler)
    assert place.rows == [("01:00", "RUNNING")]
    assert place.firings.newest(1)[0].attempts == 0  # who stops it on purpose wears nothing out
    assert "INTERRUPTED" in place.run("jobs").stdout
    (place.folder / "hold").unlink()
    with place.scheduler():
        place.wait_for(("01:00", "FINISHED"))


def test_a_search_that_fails_is_not_promoted(place: Place) -> None:
    (place.folder / "fail").touch()
    with place.scheduler() as scheduler:
        ready(scheduler)
        place.set_clock("01:00")
        place.wait_for(("01:00", "FAILED"))
    assert place.firings.newest(1)[0].reason == "tune failed; the scheduler's log has what it said"
    assert [line.split()[0] for line in place.calls] == ["tune"]


@pytest.mark.slow
def test_a_firing_that_comes_too_late_is_skipped(place: Place) -> None:
    place.write(HOURLY + "    grace_hours: 0.25\n")
    with place.scheduler() as scheduler:
        ready(scheduler)
        stop(scheduler)
    place.set_clock("05:20")
    with place.scheduler():
        place.wait_for(("05:00", "SKIPPED"))
        place.set_clock("06:10")
        place.wait_for(("05:00", "SKIPPED"), ("06:00", "FINISHED"))


def test_a_changed_schedule_is_due_by_its_new_time_and_a_removed_job_not_at_all(place: Place) -> None:
    place.write(HOURLY + HOURLY.partition("jobs:\n")[2].replace("hourly", "also").replace("0 *", "15 *"))
    with place.scheduler() as scheduler:
        ready(scheduler)
        stop(scheduler)
    place.write(HOURLY.replace('"0 *', '"45 *'))
    place.set_clock("05:20")
    with place.scheduler() as scheduler:
        ready(scheduler)
        place.set_clock("05:45")
        place.wait_for(("05:45", "FINISHED"))


def test_an_interrupted_firing_of_a_job_that_was_removed_fails(place: Place) -> None:
    begun = Firing("gone", datetime(2026, 6, 1, tzinfo=UTC), "pneumonia", "gone-0", began=datetime.now(UTC))
    assert place.firings.claim(begun)
    with place.scheduler():
        place.wait_for(("00:00", "FAILED"))
    assert place.firings.newest(1)[0].reason == "interrupted, and no longer in the schedule"


def test_once_carries_out_now_and_goes_on_with_what_was_interrupted(place: Place) -> None:
    assert place.run("once", "stand-in").returncode == 0
    assert place.rows == [("00:30", "FINISHED")]
    place.set_clock("00:31")
    (place.folder / "hold").touch()
    with place.scheduler("once", "stand-in") as interrupted:
        place.wait_until(lambda: len(place.begun) == 2)
        place.set_clock("00:32")
        beside = place.run("once", "stand-in")  # such as a timer's, beside another machine's
        assert beside.returncode == 0
        assert place.rows[1:] == [("00:31", "RUNNING"), ("00:32", "SKIPPED")]
        interrupted.process.kill()
        interrupted.process.wait()
    (place.folder / "hold").unlink()
    place.set_clock("00:33")
    assert place.run("once", "stand-in").returncode == 0
    assert place.rows[1:] == [("00:31", "FINISHED"), ("00:32", "SKIPPED")]
    (place.folder / "hold").touch()
    with place.scheduler("once", "stand-in") as stopped:
        place.wait_until(lambda: len(place.begun) == 4)
        stopped.process.terminate()
        assert stopped.process.wait(60) == 130
    (place.folder / "hold").unlink()
    (place.folder / "fail").touch()
    assert place.run("once", "stand-in").returncode == 1
    assert place.firings.newest(1)[0].status == Progress.FAILED


def test_jobs_are_shown_with_when_they_are_due_and_what_they_did(place: Place) -> None:
    shown = place.run("jobs")
    assert (
        "hourly                  pneumonia   0 * * * *       2026-06-01 01:00 UTC   (no scheduler has" in shown.stdout
    )
    with place.scheduler() as scheduler:
        ready(scheduler)
        place.set_clock("01:00")
        place.wait_for(("01:00", "FINISHED"))
        stop(scheduler)
    shown = place.run("jobs")
    assert shown.returncode == 0, shown.stderr
    assert "hourly                  pneumonia   0 * * * *       2026-06-01 02:00 UTC\n" in shown.stdout
    assert "2026-06-01 01:00 UTC    hourly                  FINISHED" in shown.stdout
    assert "search hourly-2026-06-01-0100, run run of hourly" in shown.stdout
    place.set_clock("05:00")
    assert "02:00 UTC   (overdue: no scheduler runs)" in place.run("jobs").stdout


def test_schedulers_that_start_together_on_an_empty_store_all_run(place: Place) -> None:
    with ExitStack() as stack:
        for scheduler in [stack.enter_context(place.scheduler()) for _ in range(3)]:
            ready(scheduler)
        place.set_clock("01:00")
        place.wait_for(("01:00", "FINISHED"))


def test_a_scheduler_stays_small() -> None:
    code = "import sys, tuning.schedule, tuning.firing; print({'mlflow', 'tensorflow', 'keras'} & sys.modules.keys())"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "set()\n"
