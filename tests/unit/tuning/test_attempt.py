"""What a worker makes of its trial's process: told epochs, stops, deaths."""

import signal
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

import pytest

from secondread.config import RunConfig, load_config
from tuning import attempt
from tuning.engine import Outcome, Status, Trial
from tuning.plan import Plan
from tuning.settings import SearchSettings
from tuning.space import SearchSpace
from tuning.trial_process import TrialOrder

Message = dict[str, Any]
DONE: Message = {"done": {"values": [0.9], "metrics": {"val/loss": 0.3}, "epochs": 2}}


def epoch(number: int, auroc: float = 0.5) -> Message:
    return {"epoch": number, "values": {"objective/auroc": auroc, "objective/log_loss": 0.6}}


class ScriptedProcess:
    """A trial's process that says what it is told to, and then ends."""

    scripts: Sequence[tuple[list[Message], int]] = ()
    orders: list[TrialOrder]
    answers: list[str]

    def __init__(self, messages: list[Message], returncode: int) -> None:
        self._messages = messages
        self.returncode = returncode

    @classmethod
    def start(cls, order: TrialOrder) -> "ScriptedProcess":
        cls.orders.append(order)
        return cls(*cls.scripts[min(len(cls.orders), len(cls.scripts)) - 1])

    def __iter__(self) -> Iterator[Message]:
        for message in self._messages:
            yield message
            if self.answers and self.answers[-1] == "stop":
                yield {"stopped": message["epoch"]}
                return

    def answer(self, word: str) -> None:
        self.answers.append(word)

    def __enter__(self) -> "ScriptedProcess":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        return


class Reports:
    """What is reported to an engine that stops a trial below .4."""

    def __init__(self) -> None:
        self.kept: list[tuple[int, float]] = []

    def __call__(self, trial: Trial, step: int, value: float) -> bool:
        self.kept.append((step, value))
        return value < 0.4


class KeptRun:
    """A trial's run that keeps the epochs that it is told."""

    def __init__(self) -> None:
        self.epochs: list[int] = []

    def log_epoch(self, values: object, epoch: int) -> None:
        self.epochs.append(epoch)


def tried(
    monkeypatch: pytest.MonkeyPatch, *scripts: tuple[list[Message], int], objective: str = "auroc"
) -> tuple[Outcome, Reports, KeptRun]:
    """Attempt a trial whose processes say so, one after the other; the last one again and again."""
    monkeypatch.setattr(ScriptedProcess, "scripts", scripts)
    monkeypatch.setattr(ScriptedProcess, "orders", [], raising=False)
    monkeypatch.setattr(ScriptedProcess, "answers", [], raising=False)
    monkeypatch.setattr(attempt, "TrialProcess", ScriptedProcess)
    space = SearchSpace("space", "", ("pneumonia",), ())
    settings = SearchSettings(objectives=(objective,))
    plan = Plan("key", "name", "pneumonia", {}, space, settings, Path("search"), "run", "0")
    reports, run = Reports(), KeptRun()
    config: RunConfig = load_config("pneumonia", {})
    outcome, _ = attempt.attempt(plan, reports, Trial(3, {}), config, run)  # type: ignore[arg-type]  # a double
    return outcome, reports, run


def killed(*messages: Message) -> tuple[list[Message], int]:
    return list(messages), -signal.SIGKILL


def test_a_measured_trial_is_finished_and_its_epochs_are_logged_and_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    outcome, reports, run = tried(monkeypatch, ([epoch(1, 0.6), epoch(2, 0.7), DONE], 0))
    assert outcome == Outcome(Status.FINISHED, (0.9,))
    assert reports.kept == [(1, 0.6), (2, 0.7)]
    assert run.epochs == [1, 2]
    assert ScriptedProcess.orders[0].folder == Path("search/trials/0003")


def test_a_trial_that_the_engine_stops_is_pruned(monkeypatch: pytest.MonkeyPatch) -> None:
    outcome, _, run = tried(monkeypatch, ([epoch(1, 0.6), epoch(2, 0.3), epoch(3), DONE], 0))
    assert outcome == Outcome(Status.PRUNED)
    assert run.epochs == [1, 2]


def test_a_loss_is_reported_where_a_loss_is_sought_and_nothing_where_speed_is(monkeypatch: pytest.MonkeyPatch) -> None:
    assert tried(monkeypatch, ([epoch(1, 0.9), DONE], 0), objective="log_loss")[1].kept == [(1, 0.6)]
    assert tried(monkeypatch, ([epoch(1, 0.1), DONE], 0), objective="latency")[1].kept == []


def test_folds_are_reported_by_their_own_objective(monkeypatch: pytest.MonkeyPatch) -> None:
    folds = [{"fold": number, "values": {"objective/auroc": 0.8}} for number in (1, 2)]
    outcome, reports, run = tried(monkeypatch, ([*folds, DONE], 0))
    assert outcome.status is Status.FINISHED
    assert reports.kept == [(1, 0.8), (2, 0.8)]
    assert run.epochs == []


def test_a_failure_is_told_in_its_own_words(monkeypatch: pytest.MonkeyPatch) -> None:
    outcome, _, _ = tried(monkeypatch, ([epoch(1), {"failed": "the loss of epoch 2 is no number"}], 0))
    assert outcome == Outcome(Status.FAILED, reason="the loss of epoch 2 is no number")


def test_a_process_that_is_killed_is_followed_by_another(monkeypatch: pytest.MonkeyPatch) -> None:
    outcome, _, run = tried(monkeypatch, killed(epoch(1)), killed(), ([epoch(1), epoch(2), DONE], 0))
    assert outcome.status is Status.FINISHED
    assert run.epochs == [1, 1, 2]  # told again; the run logs each once


def test_a_trial_whose_processes_die_without_an_epoch_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    outcome, _, _ = tried(monkeypatch, killed(epoch(1)), ([], -signal.SIGSEGV))
    assert outcome == Outcome(Status.FAILED, reason="its process was ended 5 times by SIGSEGV, with no epoch between")
    assert len(ScriptedProcess.orders) == 5


def test_an_epoch_that_is_told_again_is_no_progress(monkeypatch: pytest.MonkeyPatch) -> None:
    outcome, _, _ = tried(monkeypatch, ([epoch(3)], -signal.SIGABRT))
    assert outcome == Outcome(Status.FAILED, reason="its process was ended 5 times by SIGABRT, with no epoch between")


def test_kills_are_borne_longer_than_crashes(monkeypatch: pytest.MonkeyPatch) -> None:
    outcome, _, _ = tried(monkeypatch, *[killed()] * 20, ([epoch(1), DONE], 0))
    assert outcome.status is Status.FINISHED


def test_a_process_that_ends_by_itself_without_a_word_is_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    outcome, _, _ = tried(monkeypatch, ([epoch(1)], 1))
    assert outcome == Outcome(Status.FAILED, reason="its process ended with status 1; its log.txt says more")


def test_memory_that_ran_out_is_told_apart_from_a_kill(monkeypatch: pytest.MonkeyPatch) -> None:
    counts = iter([7, 8])
    monkeypatch.setattr(attempt, "_killed_for_memory", lambda: next(counts))
    outcome, _, _ = tried(monkeypatch, killed(epoch(1)))
    assert outcome == Outcome(Status.FAILED, reason="out of memory: the system ended its process")


def test_the_system_counts_what_it_kills_for_memory(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "vmstat").write_text("nr_free_pages 12\noom_kill 3\n")
    monkeypatch.setattr(attempt, "_VMSTAT", tmp_path / "vmstat")
    assert attempt._killed_for_memory() == 3
    monkeypatch.setattr(attempt, "_VMSTAT", tmp_path / "absent")
    assert attempt._killed_for_memory() == 0
