"""Every point of a space that has finitely many."""

from collections.abc import Iterator, Mapping
from decimal import Decimal

from tuning.space import Parameter, Sampled, SearchSpace


def key_of(sampled: Sampled) -> tuple[tuple[str, str], ...]:
    """Names a point; numbers that differ by rounding alone are one."""
    return tuple(
        (name, f"{value:.12g}" if isinstance(value, float) else str(value)) for name, value in sorted(sampled.items())
    )


def is_finite(space: SearchSpace) -> bool:
    """Whether the points can be counted: no number is continuous."""
    return all(parameter.kind != "float" or parameter.step for parameter in space.parameters)


def points(space: SearchSpace) -> Iterator[Sampled]:
    """Yield every point of a finite space, parameters without their condition left out."""
    yield from _below(space, 0, {})


def highest(parameter: Parameter) -> float:
    """The largest number that steps from the smallest reach."""
    low, high = Decimal(str(parameter.low)), Decimal(str(parameter.high))
    step = Decimal(str(parameter.step or (1 if parameter.kind == "int" else 0)))
    return float(low + (high - low) // step * step) if step else float(high)


def _below(space: SearchSpace, index: int, sampled: Mapping[str, int | float | str]) -> Iterator[Sampled]:
    if index == len(space.parameters):
        yield sampled
        return
    parameter = space.parameters[index]
    if not space.active(parameter, sampled):
        yield from _below(space, index + 1, sampled)
        return
    for value in _values(parameter):
        yield from _below(space, index + 1, {**sampled, parameter.name: value})


def _values(parameter: Parameter) -> Iterator[int | float | str]:
    if parameter.kind == "choice":
        yield from parameter.choices
        return
    low, step = Decimal(str(parameter.low)), Decimal(str(parameter.step or 1))
    count = int((Decimal(str(parameter.high)) - low) // step) + 1
    number = int if parameter.kind == "int" else float
    yield from (number(low + index * step) for index in range(count))
