"""What a search has found so far, as its figures, its report and its best configuration need it."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import pandas as pd

from tuning.engine import Record, Status
from tuning.settings import Direction
from tuning.space import Parameter, SearchSpace


@dataclass(frozen=True)
class Done:
    """Who worked on a trial, and in which run."""

    worker: str = ""
    run_id: str = ""


@dataclass(frozen=True)
class Findings:
    """Trials by number, and what is sought.

    Args:
        objectives: names in their order; the first one counts where there must be one.
        importances: parameter to its share of what mattered for the first objective; {} when nobody can say.
        done: trial number to who worked on it.
    """

    space: SearchSpace
    objectives: tuple[str, ...]
    directions: tuple[Direction, ...]
    records: Sequence[Record]
    importances: Mapping[str, float]
    done: Mapping[int, Done]

    def of(self, *statuses: Status) -> list[Record]:
        """The trials that have come to one of these, by number."""
        return [record for record in self.records if record.outcome.status in statuses]

    @cached_property
    def finished(self) -> list[Record]:
        """The measured trials, by number."""
        return self.of(Status.FINISHED)

    @cached_property
    def front(self) -> list[Record]:
        """Measured trials that no other one beats in every objective, best in the first objective first."""
        goods = {record.trial.number: self.goodness(record) for record in self.finished}
        kept = [
            each
            for each in self.finished
            if not any(_beats(other, goods[each.trial.number]) for other in goods.values())
        ]
        if len(self.objectives) == 1:
            kept = kept[:1]  # of equals the first
        return sorted(kept, key=lambda record: [-value for value in goods[record.trial.number]])

    @property
    def best(self) -> Record | None:
        """The trial that is best in the first objective; None before one is measured."""
        return self.front[0] if self.front else None

    def goodness(self, record: Record) -> tuple[float, ...]:
        """A measured trial's objectives, turned so that more is better."""
        return tuple(
            value if direction == "maximize" else -value
            for value, direction in zip(record.outcome.values, self.directions, strict=True)
        )

    def order(self, records: Sequence[Record]) -> list[Record]:
        """Measured trials from the best to the worst, then the others by number."""
        measured = sorted((each for each in records if each.outcome.values), key=self.goodness, reverse=True)
        return [*measured, *(each for each in records if not each.outcome.values)]

    def course(self, objective: int = 0) -> list[tuple[int, float]]:
        """How the best value went: (trials ended by then, best value), from the first measured trial on."""
        better = max if self.directions[objective] == "maximize" else min
        found: list[tuple[int, float]] = []
        ended = sorted((each for each in self.records if each.ended is not None), key=lambda each: each.ended or 0)
        for count, record in enumerate(ended, start=1):
            values = [found[-1][1]] if found else []
            values += [record.outcome.values[objective]] if record.outcome.values else []
            if values:
                found.append((count, better(values)))
        return found

    @property
    def drawn(self) -> list[Parameter]:
        """Parameters that some trial drew, in the order of the space."""
        names = {name for record in self.records for name in record.trial.sampled}
        return [parameter for parameter in self.space.parameters if parameter.name in names]

    @property
    def table(self) -> pd.DataFrame:
        """A row a trial: what was drawn, what came of it, when, and who did it; no paths and nothing of a patient."""
        return pd.DataFrame([self._row(record) for record in self.records])

    def _row(self, record: Record) -> dict[str, object]:
        done = self.done.get(record.trial.number, Done())
        values = record.outcome.values or (math.nan,) * len(self.objectives)
        last = max(record.reported, default=None)
        return {
            "trial": record.trial.number,
            "status": record.outcome.status.value,
            "best": record in self.front,
            **{f"objective/{name}": value for name, value in zip(self.objectives, values, strict=True)},
            "last_step": last,
            "last_reported": math.nan if last is None else record.reported[last],
            "began": pd.Timestamp(record.began, unit="s", tz="UTC"),
            "ended": pd.NaT if record.ended is None else pd.Timestamp(record.ended, unit="s", tz="UTC"),
            "seconds": math.nan if record.ended is None else record.ended - record.began,
            "worker": done.worker,
            "run_id": done.run_id,
            "reason": record.outcome.reason,
            **{parameter.name: record.trial.sampled.get(parameter.name) for parameter in self.space.parameters},
        }


def last_value(record: Record) -> float | None:
    """What a trial reported last."""
    return record.reported[max(record.reported)] if record.reported else None


def _beats(one: tuple[float, ...], other: tuple[float, ...]) -> bool:
    """Whether one is nowhere worse and somewhere better."""
    return all(a >= b for a, b in zip(one, other, strict=True)) and one != other
