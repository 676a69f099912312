"""What a search may change: names of the configuration, each with a range or choices, perhaps under a condition."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

import yaml

from secondread.config import RunConfig, load_config
from secondread.storage import sha256_of

Sampled = Mapping[str, int | float | str]


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


@dataclass(frozen=True)
class SearchSpace:
    """Every parameter of a search, those that conditions name before those that have the condition."""

    name: str
    about: str
    tasks: tuple[str, ...]
    parameters: tuple[Parameter, ...]

    @property
    def digest(self) -> str:
        """Names what can be drawn; 32 hexadecimal digits."""
        return sha256_of(json.dumps([asdict(each) for each in self.parameters], default=str).encode())[:32]

    def active(self, parameter: Parameter, sampled: Sampled) -> bool:
        """Whether a parameter's condition holds, given those before it."""
        return all(sampled.get(name) in labels for name, labels in parameter.when.items())

    def settings(self, sampled: Sampled) -> dict[str, object]:
        """Give drawn values as dotted settings of the configuration; a choice's label becomes its value."""
        known = {parameter.name: parameter for parameter in self.parameters}
        found: dict[str, object] = {}
        for name, value in sampled.items():
            value_of = known[name].choices
            chosen = value_of[str(value)] if value_of else value
            if isinstance(chosen, Mapping):
                found |= {f"{name}.{key}": each for key, each in chosen.items()}
            else:
                found[name] = chosen
        return found

    def config(self, task: str, base: Mapping[str, object], sampled: Sampled) -> RunConfig:
        """Build a trial's configuration: the preset, then what the user typed, then what was drawn.

        Raises:
            ConfigError: they do not fit together.
        """
        return load_config(task, {**base, **self.settings(sampled)})


_SPACES = Path(__file__).with_name("spaces")


def load_space(name_or_path: str, task: str, base: Mapping[str, object]) -> SearchSpace:
    """Read a space: `task` is the task's own, NAME is tuning/spaces/NAME.yaml, anything else a path."""
    name = task if name_or_path == "task" else name_or_path
    path = _SPACES / f"{name}.yaml"
    path = path if path.is_file() else Path(name_or_path)
    said = yaml.safe_load(path.read_text())
    parameters = tuple(_parameter(key, each) for key, each in said["parameters"].items())
    return SearchSpace(path.stem, said["about"], tuple(said["tasks"]), parameters)


def _parameter(name: str, said: dict[str, Any]) -> Parameter:
    choices = said.pop("choices", {})
    if not isinstance(choices, dict):
        choices = {str(each).lower() if isinstance(each, bool) else str(each): each for each in choices}
    return Parameter(name, choices=choices, **said)
