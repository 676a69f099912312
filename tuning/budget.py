"""When a search has done enough, besides its number of trials."""

from collections.abc import Sequence

from tuning.engine import Record, Status
from tuning.settings import Direction, SearchSettings


def spent(settings: SearchSettings, records: Sequence[Record], minutes: float) -> str | None:
    """Why no further trial should begin; None while one may.

    Args:
        minutes: since the command that is running began.
    """
    if settings.minutes is not None and minutes >= settings.minutes:
        return f"{settings.minutes:g} minutes are over"
    epochs = sum(max(record.reported, default=0) for record in records)
    if settings.epochs is not None and epochs >= settings.epochs:
        return f"{epochs:,} epochs are trained"
    idle = since_improvement(records, settings.directions)
    if settings.patience is not None and idle >= settings.patience:
        return f"{idle} trials brought nothing better"
    return None


def since_improvement(records: Sequence[Record], directions: Sequence[Direction]) -> int:
    """Trials that ended after the last one that brought something better: no earlier one was as good in everything."""
    front: list[tuple[float, ...]] = []
    idle = 0
    for record in sorted((each for each in records if each.ended is not None), key=lambda each: each.ended or 0):
        values = tuple(
            value if direction == "maximize" else -value
            for value, direction in zip(record.outcome.values, directions, strict=False)
        )
        if record.outcome.status is Status.FINISHED and not any(_as_good(other, values) for other in front):
            front = [other for other in front if not _as_good(values, other)] + [values]
            idle = 0
        else:
            idle += 1
    return idle


def _as_good(one: tuple[float, ...], other: tuple[float, ...]) -> bool:
    return all(a >= b for a, b in zip(one, other, strict=True))
