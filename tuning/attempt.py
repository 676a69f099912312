"""A trial's process from start to end: its epochs are told on, it may be stopped, and when it is killed it goes on."""

import signal
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from secondread.config import RunConfig
from secondread.tracking.trial import TrialRun
from tuning.engine import Outcome, Status, Trial
from tuning.plan import Plan
from tuning.trial_process import TrialOrder, TrialProcess

Figures = Mapping[str, float]
Report = Callable[[Trial, int, float], bool]

# Deaths without an epoch between, until a trial is given up: a crash is the trial's own fault, a kill is another's.
_CRASHES, _KILLS = 5, 50
_VMSTAT = Path("/proc/vmstat")


def attempt(plan: Plan, report: Report, trial: Trial, config: RunConfig, run: TrialRun) -> tuple[Outcome, Figures]:
    """Train and measure one trial; a process that a signal ends is followed by one that goes on from its last epoch.

    Args:
        report: the engine's; see `Engine.report`.
    Returns:
        how it ended, and the best epoch's figures where it came to its end.
    """
    deaths, status, reached = 0, 0, 0
    while deaths < (_KILLS if status == -signal.SIGKILL else _CRASHES):
        killed_before = _killed_for_memory()
        conversation = _Conversation(plan, report, trial, run)
        with TrialProcess.start(_order(plan, trial, config)) as process:
            ended = conversation.hold(process)
        if ended is not None:
            return ended
        status = process.returncode or 0
        if status >= 0:
            return _failed(f"its process ended with status {status}; its log.txt says more"), {}
        if status == -signal.SIGKILL and _killed_for_memory() > killed_before:
            return _failed("out of memory: the system ended its process"), {}
        deaths = 1 if conversation.reached > reached else deaths + 1  # an epoch that is told again is no progress
        reached = max(reached, conversation.reached)
    return _failed(f"its process was ended {deaths} times by {signal.Signals(-status).name}, with no epoch between"), {}


def folder_of(plan: Plan, number: int) -> Path:
    """Where a trial's training is kept while it may be gone on with."""
    return plan.folder / "trials" / f"{number:04d}"


def _order(plan: Plan, trial: Trial, config: RunConfig) -> TrialOrder:
    return TrialOrder(
        config=config,
        objectives=plan.settings.objectives,
        folder=folder_of(plan, trial.number),
        folds=plan.settings.folds,
        seed=plan.settings.seed,
        epochs=trial.epochs,
        continues_folder=None if trial.continues is None else folder_of(plan, trial.continues),
    )


class _Conversation:
    """What is said between a worker and one trial process."""

    def __init__(self, plan: Plan, report: Report, trial: Trial, run: TrialRun) -> None:
        self._objective = f"objective/{plan.settings.objectives[0]}"  # absent on the way where speed or size is sought
        self._report = report
        self._trial = trial
        self._run = run
        self.reached = 0  # epoch or fold

    def hold(self, process: TrialProcess) -> tuple[Outcome, Figures] | None:
        """Listen until the process has said how the trial ended; None when it died before."""
        for message in process:
            if "done" in message:
                done = message["done"]
                return Outcome(Status.FINISHED, tuple(done["values"])), done["metrics"]
            if "failed" in message:
                return _failed(message["failed"]), {}
            if "stopped" in message:
                return Outcome(Status.PRUNED), {}
            process.answer("stop" if self._should_stop(message) else "go")
        return None

    def _should_stop(self, message: Mapping[str, Any]) -> bool:
        step, values = message.get("fold") or message["epoch"], message["values"]
        self.reached = step
        if "epoch" in message:
            # The last value of a name is what MLflow compares: an objective's is the best epoch's, told at the end.
            self._run.log_epoch({name: each for name, each in values.items() if "objective/" not in name}, step)
        value = values.get(self._objective)
        return value is not None and self._report(self._trial, step, float(value))


def _failed(reason: str) -> Outcome:
    return Outcome(Status.FAILED, reason=reason)


def _killed_for_memory() -> int:
    """How many processes the system has ended because memory ran out, since it started; 0 where it does not count."""
    try:
        counts = dict(line.split() for line in _VMSTAT.read_text().splitlines())
    except OSError:
        return 0
    return int(counts.get("oom_kill", 0))
