"""One thing that a search may change: a range of numbers, or choices by label, perhaps under a condition."""

import contextlib
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from secondread.config import nearest
from secondread.errors import ConfigError

Value = int | float | str
_KEYS = ("low", "high", "step", "log", "choices", "when")


@dataclass(frozen=True)
class Parameter:
    """One setting, or group of settings, that is searched.

    Args:
        low: smallest number, included; with `high`, and `choices` empty. Both whole: whole numbers are drawn.
        step: distance of two numbers; None is 1 for whole numbers and continuous otherwise.
        log: draw the logarithm evenly.
        choices: label to the setting's value; a group's value is a mapping of its settings.
        when: names of earlier parameters to the labels with which this one is drawn.
    """

    name: str
    low: int | float | None = None
    high: int | float | None = None
    step: int | float | None = None
    log: bool = False
    choices: Mapping[str, object] = field(default_factory=dict)
    when: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    @property
    def kind(self) -> Literal["int", "float", "choice"]:
        """What is drawn; of a choice, its label."""
        if self.choices:
            return "choice"
        return "int" if isinstance(self.low, int) and isinstance(self.high, int) else "float"

    @property
    def points(self) -> tuple[Value, ...] | None:
        """Everything that can be drawn; None where that is continuous."""
        if self.choices:
            return tuple(self.choices)
        low, high = self.bounds
        step = self.step or (1 if self.kind == "int" else None)
        return None if step is None else tuple(low + place * step for place in range(_steps(low, high, step) + 1))

    @property
    def probes(self) -> tuple[Value, ...]:
        """Values that stand for all of them: every label; the bounds, and a number between them that is not round."""
        if self.choices:
            return tuple(self.choices)
        low, high = self.bounds
        return (low, high) if self.kind == "int" or self.step else (low, high, low + (high - low) * (math.sqrt(2) - 1))

    @property
    def bounds(self) -> tuple[int | float, int | float]:
        """Smallest and largest number."""
        assert self.low is not None
        assert self.high is not None
        return self.low, self.high

    def settings(self, value: Value) -> dict[str, object]:
        """Give a drawn value as dotted settings of the configuration; a choice's label becomes its value."""
        chosen = self.choices[str(value)] if self.choices else value
        if isinstance(chosen, Mapping):
            return {f"{self.name}.{key}": each for key, each in chosen.items()}
        return {self.name: chosen}


def read_parameter(name: str, said: object) -> Parameter:
    """Read what a space's file says of a parameter.

    Args:
        said: `{low, high, step, log, when}` or `{choices, when}`; choices are a list, or label to value.
    Raises:
        ConfigError: it says neither, or both, or a number that cannot be.
    """
    if not isinstance(said, Mapping):
        raise ConfigError(f"{name}: say {{low: ..., high: ...}} or {{choices: [...]}}. Received: {said!r}")
    unknown = [str(key) for key in said if key not in _KEYS]
    if unknown:
        raise ConfigError(f"{name}.{unknown[0]}: unknown key{nearest(unknown[0], _KEYS)}")
    when = _conditions(name, said.get("when") or {})
    if "choices" in said:
        numbers = [key for key in ("low", "high", "step", "log") if key in said]
        if numbers:
            raise ConfigError(f"{name}: choices have no {numbers[0]}; give either choices or low and high")
        return Parameter(name, choices=_choices(name, said["choices"]), when=when)
    return _range(name, said, when)


def label_of(value: object) -> str:
    """Give the label of a choice that has none of its own: what one types for the value."""
    if isinstance(value, list | tuple):
        return ", ".join(map(label_of, value))
    return "null" if value is None else str(value).lower() if isinstance(value, bool) else str(value)


def _choices(name: str, said: object) -> dict[str, object]:
    if isinstance(said, Mapping):
        labelled = [(label_of(label), value) for label, value in said.items()]
    elif isinstance(said, list):
        if any(isinstance(value, Mapping) for value in said):
            raise ConfigError(f"{name}.choices: settings of a group need labels; write {{LABEL: {{...}}, ...}}")
        labelled = [(label_of(value), value) for value in said]
    else:
        raise ConfigError(f"{name}.choices: give a list, or labels with their values. Received: {said!r}")
    found = dict(labelled)
    if not found:
        raise ConfigError(f"{name}.choices: there is none; name at least one")
    if len(found) < len(labelled):
        labels = [label for label, _ in labelled]
        twice = next(label for label in labels if labels.count(label) > 1)
        raise ConfigError(f"{name}.choices: {twice} is there twice; leave one out")
    return found


def _conditions(name: str, said: object) -> dict[str, tuple[str, ...]]:
    if not isinstance(said, Mapping):
        raise ConfigError(f"{name}.when: say {{PARAMETER: [CHOICE, ...]}}. Received: {said!r}")
    found = {
        str(parent): tuple(map(label_of, labels)) if isinstance(labels, list) else (label_of(labels),)
        for parent, labels in said.items()
    }
    empty = [parent for parent, labels in found.items() if not labels]
    if empty:
        raise ConfigError(f"{name}.when.{empty[0]}: no choice is named, so {name} would never be drawn; name one")
    return found


def _range(name: str, said: Mapping[str, Any], when: dict[str, tuple[str, ...]]) -> Parameter:
    missing = [key for key in ("low", "high") if key not in said]
    if missing:
        raise ConfigError(f"{name}: {missing[0]} is missing; say low and high, or choices")
    low, high = (_number(f"{name}.{key}", said[key]) for key in ("low", "high"))
    step = _number(f"{name}.step", said["step"]) if said.get("step") is not None else None
    log = said.get("log", False)
    if not isinstance(log, bool):
        raise ConfigError(f"{name}.log: true or false. Received: {log!r}")
    if low >= high:
        raise ConfigError(f"{name}: low={low} is not below high={high}; for one value give choices: [{low}]")
    if log and low <= 0:
        raise ConfigError(f"{name}: the logarithm of low={low} does not exist; begin above 0, or leave log out")
    if log and step is not None:
        raise ConfigError(f"{name}: log and step exclude each other; leave one out, or list choices")
    found = Parameter(name, low, high, step, log, when=when)
    _refuse_step(found)
    return found


def _refuse_step(parameter: Parameter) -> None:
    name, step = parameter.name, parameter.step
    if step is None:
        return
    low, high = parameter.bounds
    if step <= 0:
        raise ConfigError(f"{name}.step: must be above 0. Received: {step}")
    if parameter.kind == "int" and not isinstance(step, int):
        raise ConfigError(f"{name}.step: whole bounds need a whole step. Received: {step}")
    if not math.isclose(low + _steps(low, high, step) * step, high):
        raise ConfigError(f"{name}.step: {step} does not lead from {low} to high={high}; change high or step")


def _steps(low: float, high: float, step: float) -> int:
    return round((high - low) / step)


def _number(name: str, value: object) -> int | float:
    """A finite number; YAML 1.1 reads 1e-4 as text."""
    number: object = value
    if isinstance(value, str):
        with contextlib.suppress(ValueError):
            number = float(value)
    if isinstance(number, bool) or not isinstance(number, int | float) or not math.isfinite(number):
        raise ConfigError(f"{name}: expected a number. Received: {value!r}")
    return number
