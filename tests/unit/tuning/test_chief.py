"""Keras Tuner's chief in a process of its own, workers here and elsewhere, and either of them killed."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from engine_suite import MIXED, Planned, Searcher, done, opened, plan_of, search

from secondread.errors import ConfigError, SearchError
from tuning.chief import open_keras_tuner, refuse, role, serve_oracle
from tuning.engine import Outcome, Status, Trial
from tuning.space import Parameter, SearchSpace

RANDOM: dict[str, Any] = {"engine": "keras_tuner", "algorithm": "random"}
SLOWEST_S = 120  # of a machine that is busy with other tests

# A machine of its own: another home, and Keras Tuner's environment says where the chief is.
ELSEWHERE = """
import sys
from pathlib import Path
from engine_suite import plan_of
from tuning.chief import open_keras_tuner
plan = plan_of(Path(sys.argv[1]), engine="keras_tuner", algorithm="random")
trial = open_keras_tuner(plan).ask("elsewhere", 10)
print(trial.number, trial.taken_over, flush=True)
sys.stdin.read()
"""

COORDINATOR = """
import sys
from pathlib import Path
from engine_suite import plan_of
from tuning.chief import open_keras_tuner, serve_oracle
plan = plan_of(Path(sys.argv[1]), engine="keras_tuner", algorithm="random")
with serve_oracle(plan):
    open_keras_tuner(plan).ask("one", 10)
    print("asked", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def planned(tmp_path: Path) -> Iterator[Planned]:
    """Plans random searches, whose chief is in this process."""
    planned = Planned(tmp_path, RANDOM)
    yield planned
    planned.close()


@pytest.fixture(autouse=True)
def no_cluster(monkeypatch: pytest.MonkeyPatch) -> None:
    """No environment of Keras Tuner but a test's own."""
    for name in ("KERASTUNER_TUNER_ID", "KERASTUNER_ORACLE_IP", "KERASTUNER_ORACLE_PORT"):
        monkeypatch.delenv(name, raising=False)


def begun(trial: Trial | None) -> Trial:
    assert trial is not None
    return trial


def run(script: str, *arguments: str, **environment: str) -> "subprocess.Popen[str]":
    path = os.pathsep.join([*sys.path, str(Path(__file__).parent)])
    return subprocess.Popen(
        [sys.executable, "-c", script, *arguments],
        env={**os.environ, "PYTHONPATH": path, **environment},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def line_of(process: "subprocess.Popen[str]") -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def end(process: "subprocess.Popen[str]") -> None:
    process.kill()
    process.wait()
    for pipe in (process.stdin, process.stdout):
        assert pipe is not None
        pipe.close()


def chiefs(of: int) -> list[int]:
    """Chiefs' processes below a process, whichever of its threads began them."""
    found = []
    for task in Path(f"/proc/{of}/task").iterdir():
        for child in (task / "children").read_text().split():
            if "tuning.chief" in Path(f"/proc/{child}/cmdline").read_text():
                found.append(int(child))
    return found


def wait_until(true: Any) -> None:
    until = time.monotonic() + SLOWEST_S
    while not true():
        assert time.monotonic() < until
        time.sleep(0.05)


@pytest.mark.slow
def test_a_chief_that_is_killed_begins_again_and_its_workers_do_not_notice(tmp_path: Path) -> None:
    plan = plan_of(tmp_path / "search", **RANDOM)
    with serve_oracle(plan) as address, opened(plan) as engine, opened(plan) as other:
        first, second = begun(engine.ask("one", 4)), begun(other.ask("two", 4))
        engine.report(first, 0, 0.25)
        [chief] = chiefs(os.getpid())
        os.kill(chief, signal.SIGKILL)
        assert not engine.report(first, 1, 0.5)  # waits for the new one
        assert chiefs(os.getpid()) not in ([], [chief])
        assert engine.tell(first, done(first.sampled))
        third = begun(engine.ask("one", 4))
        assert (third.number, third.taken_over) == (2, False)  # the other one lives, and keeps its trial
        assert other.tell(second, done(second.sampled))
        assert engine.tell(third, Outcome(Status.FAILED, reason="out of memory in epoch 1"))
        assert [trial.number for trial in search(engine, "one", 4)] == [3]
        assert engine.records()[0].reported == {0: 0.25, 1: 0.5}
        assert engine.records()[2].outcome.reason == "out of memory in epoch 1"
        assert address.startswith("127.0.0.1:")
    wait_until(lambda: not chiefs(os.getpid()))


@pytest.mark.slow
def test_chiefs_and_workers_that_are_killed_cost_no_trial_and_add_none(tmp_path: Path) -> None:
    plan = plan_of(tmp_path / "search", engine="keras_tuner", algorithm="hyperband")
    with serve_oracle(plan), ExitStack() as stack:

        def another() -> Searcher:
            return stack.enter_context(Searcher(plan, "finish", trials=40, slowness=0.1))

        searchers = [another() for _ in range(3)]
        for kill in range(3):
            searchers[kill].said()  # the search goes on
            wait_until(lambda: chiefs(os.getpid()))
            os.kill(chiefs(os.getpid())[0], signal.SIGKILL)
            searchers[kill].kill()
            searchers[kill] = another()
        for searcher in searchers:
            searcher.rest()
        with opened(plan) as engine:
            records = engine.records()
    assert [record.trial.number for record in records] == list(range(40))
    assert [record for record in records if record.outcome != done(record.trial.sampled)] == []


@pytest.mark.slow
def test_a_coordinator_that_is_killed_takes_its_chief_along_and_the_next_one_goes_on(tmp_path: Path) -> None:
    plan = plan_of(tmp_path / "search", **RANDOM)
    coordinator = run(COORDINATOR, str(plan.folder))
    try:
        assert line_of(coordinator) == "asked"
        [chief] = chiefs(coordinator.pid)
    finally:
        end(coordinator)
    with serve_oracle(plan), opened(plan) as engine:
        assert not Path(f"/proc/{chief}").exists()
        trial = begun(engine.ask("one", 10))
        assert (trial.number, trial.taken_over) == (0, True)


def test_workers_of_other_machines_are_told_by_the_environment_and_lose_their_trial_with_their_connection(
    tmp_path: Path, planned: Planned
) -> None:
    plan = planned()
    with opened(plan) as engine:
        host, port = (plan.folder / "keras_tuner" / "chief.json").read_text().split('"')[3].split(":")
        elsewhere = tmp_path / "elsewhere" / plan.key
        worker = run(
            ELSEWHERE,
            str(elsewhere),
            KERASTUNER_TUNER_ID="worker-1",
            KERASTUNER_ORACLE_IP=host,
            KERASTUNER_ORACLE_PORT=port,
        )
        try:
            assert line_of(worker) == "0 False"
            assert begun(engine.ask("one", 10)).number == 1
        finally:
            end(worker)
        wait_until(lambda: begun(engine.ask("one", 100)).taken_over)
        assert not elsewhere.exists() or not list(elsewhere.rglob("*.json"))


def test_a_restarted_chief_waits_for_workers_of_other_machines(tmp_path: Path, planned: Planned) -> None:
    plan = planned()
    address = (plan.folder / "keras_tuner" / "chief.json").read_text().split('"')[3]
    away = plan_of(tmp_path / "elsewhere" / plan.key, **RANDOM)
    engine = open_keras_tuner(away, address)
    trial = begun(engine.ask("elsewhere", 10))
    planned.restart()  # at another address: the worker is lost for good
    with opened(plan) as here:
        assert begun(here.ask("one", 2)).number == 1
        assert begun(here.ask("one", 2)).number == trial.number  # it waited, as there is nothing else to try
    engine.close()


def test_a_vanished_chief_is_given_up_with_what_to_do_next(tmp_path: Path, planned: Planned) -> None:
    plan = planned()
    engine = open_keras_tuner(plan, patience_s=0.3)
    assert begun(engine.ask("one", 2)).number == 0
    planned.close()
    with pytest.raises(SearchError, match=r"a search: no chief has answered for .* start the search again"):
        engine.ask("one", 2)
    engine.close()
    never = open_keras_tuner(plan_of(tmp_path / "never", **RANDOM), patience_s=0.1)
    with pytest.raises(SearchError, match="any address"):
        never.records()
    never.close()


def test_a_worker_of_another_search_is_refused(tmp_path: Path, planned: Planned) -> None:
    plan = planned()
    address = (plan.folder / "keras_tuner" / "chief.json").read_text().split('"')[3]
    stranger = open_keras_tuner(plan_of(tmp_path / "another", **RANDOM), address)
    with pytest.raises(SearchError, match="another search's chief is at this address"):
        stranger.ask("one", 2)
    stranger.close()


@pytest.mark.slow
def test_a_chief_that_cannot_begin_says_why(tmp_path: Path, planned: Planned) -> None:
    plan = planned()
    host, port = (plan.folder / "keras_tuner" / "chief.json").read_text().split('"')[3].split(":")
    taken = {"KERASTUNER_TUNER_ID": "chief", "KERASTUNER_ORACLE_IP": host, "KERASTUNER_ORACLE_PORT": port}
    with (
        pytest.raises(SearchError, match=f"{host}:{port}: cannot be served on"),
        serve_oracle(plan_of(tmp_path / "another", **RANDOM), taken),
    ):
        pass


def test_the_environment_makes_a_chief_a_worker_or_neither() -> None:
    cluster = {"KERASTUNER_ORACLE_IP": "10.0.0.1", "KERASTUNER_ORACLE_PORT": "8000"}
    assert role({}) == "alone"
    assert role({**cluster, "KERASTUNER_TUNER_ID": "chief"}) == "chief"
    assert role({**cluster, "KERASTUNER_TUNER_ID": "tuner0"}) == "worker"
    with pytest.raises(ConfigError, match="KERASTUNER_TUNER_ID: is not set"):
        role(cluster)


def test_hyperband_is_refused_what_it_decides_itself(planned: Planned) -> None:
    settings = planned(algorithm="hyperband").settings
    refuse(MIXED, settings)
    space = SearchSpace("epochs", "", ("pneumonia",), (Parameter("train.epochs", 1, 4),))
    with pytest.raises(ConfigError, match=r"leave train\.epochs out"):
        refuse(space, settings)
    refuse(space, planned().settings)
    with pytest.raises(ConfigError, match="folds=0"):
        refuse(MIXED, settings.model_copy(update={"folds": 5}))


def test_only_the_chief_loads_keras_tuner_and_tensorflow() -> None:
    script = "import sys, tuning.chief; print([each for each in ('keras_tuner', 'tensorflow') if each in sys.modules])"
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert result.stdout == "[]\n", result.stderr
