"""Machines that share one Postgres: each has folders of its own, and each, or the database, may go at any time."""

import logging
import os
import signal
import threading
import time
from contextlib import ExitStack
from pathlib import Path
from urllib.parse import quote

import pytest
from engine_suite import Searcher, done, in_order, opened, plan_of
from postgres_server import PASSWORD, PostgresServer

import tuning.database
from secondread.errors import ConfigError, SearchError
from tuning.engine import Status
from tuning.locks import Lock, open_locks
from tuning.plan import Plan


def machine(tmp_path: Path, name: str) -> Path:
    """The folder of one search on a machine of that name; the search's name is the test's."""
    return tmp_path / name / tmp_path.name


def planned(tmp_path: Path, name: str, postgres: PostgresServer) -> Plan:
    return plan_of(machine(tmp_path, name), storage=postgres.url)


def cut(postgres: PostgresServer) -> None:
    """End every session, as a lost network does."""
    postgres.ask(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
        "WHERE application_name = 'secondread' AND pid <> pg_backend_pid()"
    )


def taken(lock: Lock | None) -> Lock:
    assert lock is not None
    return lock


def test_a_lock_has_one_holder_among_machines(postgres: PostgresServer, tmp_path: Path) -> None:
    here, there = (open_locks(postgres.url, machine(tmp_path, name)) for name in ("here", "there"))
    lock = taken(here.take("trial-0", wait=False))
    assert there.take("trial-0", wait=False) is None
    assert here.take("trial-0", wait=False) is None
    assert taken(there.take("trial-1", wait=False)).held()
    other_search = open_locks(postgres.url, tmp_path / "there" / f"{tmp_path.name} too")
    assert taken(other_search.take("trial-0", wait=False)).held()
    lock.release()
    assert not lock.held()
    assert taken(there.take("trial-0", wait=True)).held()
    lock.release()  # again: it is the other's by now
    assert here.take("trial-0", wait=False) is None
    there.close()
    assert taken(here.take("trial-0", wait=False)).held()
    here.close()
    other_search.close()


def test_waiting_ends_when_the_holder_lets_go(postgres: PostgresServer, tmp_path: Path) -> None:
    here, there = (open_locks(postgres.url, machine(tmp_path, name)) for name in ("here", "there"))
    lock = taken(here.take("ask", wait=True))
    threading.Timer(0.5, lock.release).start()
    assert taken(there.take("ask", wait=True)).held()
    here.close()
    there.close()


def test_either_side_notices_within_a_minute_that_the_other_is_gone(postgres: PostgresServer) -> None:
    connection = tuning.database.Database(postgres.url).connect()
    asked = "SELECT name, setting FROM pg_settings WHERE name LIKE 'tcp%' ORDER BY name"
    of_the_server = {str(name): str(setting) for name, setting in connection.execute(asked).fetchall()}
    of_the_client = connection.info.get_parameters()
    connection.close()
    assert of_the_server == {
        "tcp_keepalives_count": "3",
        "tcp_keepalives_idle": "30",
        "tcp_keepalives_interval": "10",
        "tcp_user_timeout": "60000",
    }
    assert {name: of_the_client[name] for name in ("keepalives_idle", "keepalives_interval", "keepalives_count")} == {
        "keepalives_idle": "30",
        "keepalives_interval": "10",
        "keepalives_count": "3",
    }
    assert of_the_client["tcp_user_timeout"] == "60000"


def test_a_lost_connection_is_opened_again_with_its_locks(postgres: PostgresServer, tmp_path: Path) -> None:
    here, there = (open_locks(postgres.url, machine(tmp_path, name)) for name in ("here", "there"))
    lock = taken(here.take("trial-0", wait=False))
    cut(postgres)
    assert lock.held()
    assert there.take("trial-0", wait=False) is None
    here.close()
    there.close()


def test_after_a_restart_locks_are_their_former_holders(postgres: PostgresServer, tmp_path: Path) -> None:
    here, there = (open_locks(postgres.url, machine(tmp_path, name)) for name in ("here", "there"))
    lock = taken(here.take("trial-0", wait=False))
    postgres.stop()
    postgres.start()
    assert there.take("trial-0", wait=False) is None  # although it may have been connected first
    assert lock.held()
    here.close()
    there.close()


def test_another_machine_takes_over_from_one_that_was_killed(postgres: PostgresServer, tmp_path: Path) -> None:
    with (
        Searcher(planned(tmp_path, "there", postgres), "hang") as other,
        opened(planned(tmp_path, "here", postgres)) as engine,
    ):
        lost = other.said()
        other.kill()
        trial = engine.ask("one", 3)
        assert trial is not None
        assert (trial.number, trial.sampled, trial.taken_over) == (0, lost["sampled"], True)
        assert engine.tell(trial, done(trial.sampled))


def test_a_machine_that_slept_has_lost_its_trial_and_hears_so(postgres: PostgresServer, tmp_path: Path) -> None:
    with (
        Searcher(planned(tmp_path, "there", postgres), "hang") as other,
        opened(planned(tmp_path, "here", postgres)) as engine,
    ):
        other.said()
        os.kill(other.process.pid, signal.SIGSTOP)
        cut(postgres)  # the server gave the sleeper up
        trial = engine.ask("one", 3)
        assert trial is not None
        assert trial.taken_over
        os.kill(other.process.pid, signal.SIGCONT)
        other.go()
        assert other.said() == {"stop": True, "told": False}
        assert engine.tell(trial, done(trial.sampled))
        assert engine.records()[0].outcome == done(trial.sampled)
        assert engine.records()[0].reported == {0: 0.5}  # nothing of the sleeper's after it woke


def test_a_search_outlives_a_restart_of_its_database(
    postgres: PostgresServer, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    plans = [planned(tmp_path, name, postgres) for name in ("here", "here", "there")]
    with ExitStack() as stack:
        searchers = [
            stack.enter_context(Searcher(plan, "pause", worker=f"worker {index}", trials=15, slowness=0.2))
            for index, plan in enumerate(plans)
        ]
        lines = [searcher.said() for searcher in searchers]
        for searcher in searchers:  # all are at work
            searcher.go()
        time.sleep(0.3)
        postgres.stop()
        time.sleep(1)
        postgres.start()
        lines += [line for searcher in searchers for line in searcher.rest()]
    assert sorted(line["number"] for line in lines if line["told"]) == list(range(15))
    assert [each["status"] for each in in_order(plans[0])] == [Status.FINISHED] * 15
    assert not any(line["taken_over"] for line in lines)  # each went on with its own
    warned = capfd.readouterr().err
    assert "does not answer" in warned
    assert PASSWORD not in warned
    assert quote(PASSWORD, safe="") not in warned


def test_machines_that_come_first_together_make_the_tables_once(postgres: PostgresServer, tmp_path: Path) -> None:
    postgres.ask("CREATE DATABASE fresh")
    try:
        with ExitStack() as stack:
            searchers = []
            for name in ("here", "there", "elsewhere"):
                plan = plan_of(machine(tmp_path, name), storage=postgres.url.replace("/postgres", "/fresh"))
                searchers.append(stack.enter_context(Searcher(plan, "finish", trials=6)))
            lines = [line for searcher in searchers for line in searcher.rest()]
        assert sorted(line["number"] for line in lines) == list(range(6))
    finally:
        postgres.ask("DROP DATABASE fresh WITH (FORCE)")


@pytest.mark.parametrize(
    ("part", "replaced", "said"),
    [
        (quote(PASSWORD, safe=""), "wrong%20w", "password authentication failed"),
        ("/postgres", "/nowhere", "does not exist"),
        ("{port}", "1", "has not answered"),
    ],
)
def test_what_cannot_be_reached_is_named_without_its_password(
    part: str,
    replaced: str,
    said: str,
    postgres: PostgresServer,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(tuning.database, "_OPENING_S", 0.5)
    part = part.format(port=postgres.port) if part == "{port}" else part
    head, tail = postgres.url.rsplit(part, 1)
    with caplog.at_level(logging.DEBUG), pytest.raises(SearchError, match=said) as error:
        opened(plan_of(tmp_path, storage=f"{head}{replaced}{tail}")).__enter__()
    shown = f"{error.getrepr(style='short')} {caplog.text}"
    assert str(tuning.database.Database(f"{head}{replaced}{tail}")) in shown
    for secret in (PASSWORD, quote(PASSWORD, safe=""), "wrong w", "wrong%20w"):
        assert secret not in shown


@pytest.mark.parametrize(
    "storage",
    [
        "mysql://me:se/cr@t@machine/name",
        "postgresql://me:se/cr@t@machine:5432/name",
        "postgresql://me:secr@t@machine:port/name",
        "postgresql://",
        "se/cr@t",
    ],
)
def test_what_is_no_address_is_refused_and_not_repeated(storage: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="use local, or postgresql://USER:PASSWORD@HOST:PORT/NAME") as error:
        open_locks(storage, tmp_path)
    assert "cr@t" not in str(error.value)


def test_a_database_that_stays_away_ends_the_search_with_the_next_step(
    postgres: PostgresServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with opened(planned(tmp_path, "here", postgres)) as engine:
        trial = engine.ask("one", 1)
        assert trial is not None
        postgres.stop()
        monkeypatch.setattr(tuning.database, "_PATIENCE_S", 0.5)
        with pytest.raises(SearchError, match="start the same command again"):
            engine.tell(trial, done(trial.sampled))
        postgres.start()
        monkeypatch.undo()
        assert engine.tell(trial, done(trial.sampled))
