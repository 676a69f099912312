"""A parameter's values along an axis: numbers by size, choices in their order, with a place for what was not drawn."""

import math

from tuning.space import Parameter
from tuning.wording import number

NOT_DRAWN = -0.12
_LONGEST = 16  # letters of a label


class Scale:
    """From a parameter's value to a place from 0 to 1."""

    def __init__(self, parameter: Parameter) -> None:
        self.name = parameter.name
        self.log = parameter.log
        self.labels = list(parameter.choices)
        self.low, self.high = float(parameter.low or 0), float(parameter.high or 0)

    def place(self, value: int | float | str | None) -> float:
        """Where a value lies; `NOT_DRAWN` where the parameter's condition did not hold."""
        if value is None:
            return NOT_DRAWN
        if self.labels:
            return self._spread(self.labels.index(str(value)), len(self.labels))
        if self.low == self.high:
            return 0.5
        if self.log:
            return math.log(float(value) / self.low) / math.log(self.high / self.low)
        return (float(value) - self.low) / (self.high - self.low)

    def ticks(self) -> list[tuple[float, str]]:
        """Places with what is written there."""
        if self.labels:
            return [(self.place(label), shortened(label)) for label in self.labels]
        if self.low == self.high:
            return [(0.5, number(self.low))]
        middle = math.sqrt(self.low * self.high) if self.log else (self.low + self.high) / 2
        return [(self.place(value), number(float(f"{value:.3g}"))) for value in (self.low, middle, self.high)]

    @staticmethod
    def _spread(index: int, count: int) -> float:
        return 0.5 if count == 1 else index / (count - 1)


def shortened(label: str) -> str:
    """A label that fits below an axis."""
    return label if len(label) <= _LONGEST else label[: _LONGEST - 1] + "\N{HORIZONTAL ELLIPSIS}"
