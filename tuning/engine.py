"""What a search asks of an engine: trials out, results in. Optuna and Keras Tuner keep the same contract."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol


class Status(StrEnum):
    """What has become of a trial."""

    RUNNING = "RUNNING"
    FINISHED = "FINISHED"
    PRUNED = "PRUNED"
    FAILED = "FAILED"


@dataclass(frozen=True)
class Trial:
    """One point of the search space to try.

    Args:
        number: from 0, in the order of asking; it names the trial for good.
        sampled: names of the space to what was drawn: a number, or a choice's label; a parameter whose condition does
            not hold is absent.
        epochs: train this many epochs at most, of those that are configured; None for all of them.
        continues: number of the trial whose training this one goes on with; None begins anew.
        taken_over: its worker died; the training goes on from its last epoch, in the same run.
    """

    number: int
    sampled: Mapping[str, int | float | str]
    epochs: int | None = None
    continues: int | None = None
    taken_over: bool = False


@dataclass(frozen=True)
class Outcome:
    """How a trial ended.

    Args:
        values: one an objective, in their order; empty unless FINISHED.
        reason: why it FAILED, without anything that identifies a patient.
    """

    status: Status
    values: tuple[float, ...] = ()
    reason: str = ""


@dataclass(frozen=True)
class Record:
    """A trial as the engine remembers it.

    Args:
        reported: step to the value reported there.
        began: seconds since 1970; `ended` is None while it runs.
    """

    trial: Trial
    outcome: Outcome
    reported: Mapping[int, float] = field(default_factory=dict)
    began: float = 0.0
    ended: float | None = None


class Engine(Protocol):
    """Draws trials and learns from their results; its state outlives every process that uses it."""

    def ask(self, worker: str, trials: int) -> Trial | None:
        """Give a trial that nobody else works on: one whose worker died, else a new one.

        Args:
            worker: names the process that asks.
            trials: as many trials the search has in all, failed and pruned ones included, and never one more.
        Returns:
            None when there is no more to try; what others work on may still be running.
        """

    def enqueue(self, sampled: Mapping[str, int | float | str]) -> bool:
        """Let a point be tried next; what of it does not fit the space is drawn.

        Returns:
            false when nothing of it fits, or it was enqueued or tried before.
        """

    def report(self, trial: Trial, step: int, value: float) -> bool:
        """Remember a value on the way, told again after a takeover; true when the trial should stop."""

    def tell(self, trial: Trial, outcome: Outcome) -> bool:
        """End a trial; false when it was no longer this worker's, who then forgets it."""

    def records(self) -> list[Record]:
        """Every trial so far, by number."""

    def close(self) -> None:
        """Let go of connections and locks; a trial that was not told is free for whoever asks next."""
