"""What a search may change: names of the configuration, each with a range or choices, perhaps under a condition."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from math import prod
from pathlib import Path
from typing import Any

import yaml

from secondread.config import ABBREVIATIONS, RunConfig, dotted, load_config, nearest
from secondread.errors import ConfigError
from secondread.storage import sha256_of
from tuning.parameter import Parameter as Parameter
from tuning.parameter import Value, read_parameter

Sampled = Mapping[str, Value]

_SPACES = Path(__file__).with_name("spaces")
_SAME_IMAGES = "every trial must learn from and be measured on the same images"
# What no search may change, by setting or group, and why.
_NEVER: Mapping[str, str] = {
    "task": "a search is for one task",
    **{
        f"data.{name}": _SAME_IMAGES
        for name in ("path", "layout", "evaluation", "limit", "val_fraction", "test_fraction", "acknowledge_leaks")
    },
    "data.folds": "measuring on folds is a setting of the search, `folds`",
    "data.seed": _SAME_IMAGES,
    "model.weights": "weights are a file or a download; give them to every trial with --model.weights",
    "train.seed": "the best seed is luck; `retrain` trains the best configuration with several",
    "operating_points": "they are chosen after training, and no objective depends on them",
    "explanation": "explanations are checked after training, and no objective depends on them",
    "execution": "it changes no model",
}


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

    def first(self) -> dict[str, int | float | str]:
        """Give one point: the lower bound of every range, the first of all choices."""
        point: dict[str, int | float | str] = {}
        for each in self.parameters:
            if self.active(each, point):
                point[each.name] = next(iter(each.choices)) if each.low is None else each.low
        return point

    def settings(self, sampled: Sampled) -> dict[str, object]:
        """Give drawn values as dotted settings of the configuration; a choice's label becomes its value."""
        known = {parameter.name: parameter for parameter in self.parameters}
        found: dict[str, object] = {}
        for name, value in sampled.items():
            found |= known[name].settings(value)
        return found

    def config(self, task: str, base: Mapping[str, object], sampled: Sampled) -> RunConfig:
        """Build a trial's configuration: the preset, then what the user typed, then what was drawn.

        Raises:
            ConfigError: they do not fit together.
        """
        return load_config(task, {**base, **self.settings(sampled)})

    def fill(self, given: Sampled) -> dict[str, Value]:
        """Complete a point: whatever can be drawn and is not given has its first choice or lowest number."""
        point: dict[str, Value] = {}
        for parameter in self.parameters:
            if self.active(parameter, point):
                point[parameter.name] = given.get(parameter.name, parameter.probes[0])
        return point

    def size(self) -> int | None:
        """Count the points; None where they are not finite."""
        parents = {name for parameter in self.parameters for name in parameter.when}
        total = 0
        for point in self._points(parents):
            counts = [
                parameter.points
                for parameter in self.parameters
                if parameter.name not in parents and self.active(parameter, point)
            ]
            finite = [len(points) for points in counts if points is not None]
            if len(finite) < len(counts):
                return None
            total += prod(finite)
        return total

    def preprocessings(self, task: str, base: Mapping[str, object], most: int = 24) -> list[RunConfig]:
        """Give a configuration for each way in which images can be asked for, so that they are made ready beforehand.

        Args:
            most: end after so many; the others are made by the first trial that draws them.
        """
        concerned = {
            each.name
            for each in self.parameters
            if any(key == "model.name" or key.startswith("preprocess.") for key in _keys(each))
        }
        for parameter in reversed(self.parameters):
            concerned |= set(parameter.when) if parameter.name in concerned else set()
        found: list[RunConfig] = []
        for point in self._points(concerned):
            config = self.config(task, base, self.fill(point))
            if config.preprocess not in [each.preprocess for each in found]:
                found.append(config)
            if len(found) == most:
                break
        return found

    def _points(self, names: set[str], place: int = 0, point: Sampled | None = None) -> Iterator[dict[str, Value]]:
        """Every combination of some parameters, their parents among them; of a continuous one, its bounds."""
        if place == len(self.parameters):
            yield dict(point or {})
            return
        parameter, before = self.parameters[place], dict(point or {})
        if parameter.name not in names or not self.active(parameter, before):
            yield from self._points(names, place + 1, before)
            return
        for value in parameter.points or parameter.probes[:2]:
            yield from self._points(names, place + 1, {**before, parameter.name: value})


def load_space(name_or_path: str, task: str, base: Mapping[str, object]) -> SearchSpace:
    """Read a space and check it against the configuration, before the first trial.

    Args:
        name_or_path: `task` for the task's own, a name in tuning/spaces, or the path of a YAML file.
        base: settings that every trial has, as typed.
    Raises:
        ConfigError: a key is unknown, a bound or a choice is out of range, a condition names what is not there, or the
            user typed what the space also searches.
    """
    path = _find(name_or_path, task)
    where = path.name if path.parent == _SPACES else str(path)
    _refuse_folds(base)
    try:
        space = _read(path)
        if task not in space.tasks:
            raise ConfigError(
                f"this space is for {', '.join(space.tasks)}, not for {task}; use {', '.join(_for(task))}"
            )
        _refuse_never(space)
        _refuse_typed(space, base)
    except ConfigError as error:
        raise ConfigError(f"{where}: {error}") from None
    _Check(space, task, base, where).run()
    return space


def space_names() -> tuple[str, ...]:
    """Names of the spaces that come along, sorted."""
    return tuple(sorted(path.stem for path in _SPACES.glob("*.yaml")))


def _for(task: str) -> list[str]:
    return [name for name in space_names() if task in yaml.safe_load((_SPACES / f"{name}.yaml").read_text())["tasks"]]


def _find(name_or_path: str, task: str) -> Path:
    name = task if name_or_path == "task" else name_or_path
    if name in space_names():
        return _SPACES / f"{name}.yaml"
    if not Path(name_or_path).is_file():
        raise ConfigError(
            f"space={name_or_path}: there is no such space and no such file{nearest(name, space_names())}"
        )
    return Path(name_or_path)


def _read(path: Path) -> SearchSpace:
    try:
        said: Any = yaml.safe_load(path.read_text())
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"this is not YAML ({' '.join(str(error).split())}); mend it") from None
    keys = ("about", "tasks", "parameters")
    if not isinstance(said, Mapping):
        raise ConfigError(f"expected {', '.join(keys)}. Received: {said!r}")
    unknown = [str(key) for key in said if key not in keys]
    if unknown:
        raise ConfigError(f"{unknown[0]}: unknown key{nearest(unknown[0], keys)}")
    tasks, parameters = said.get("tasks"), said.get("parameters")
    if not isinstance(tasks, list) or not tasks:
        raise ConfigError(f"tasks: name the tasks that it is for, such as [pneumonia]. Received: {tasks!r}")
    if not isinstance(parameters, Mapping) or not parameters:
        raise ConfigError(f"parameters: name at least one setting to search. Received: {parameters!r}")
    read = [read_parameter(str(name), each) for name, each in parameters.items()]
    for parameter in read:
        short = ABBREVIATIONS.get(parameter.name)
        if short in _keys(parameter):
            raise ConfigError(f"{parameter.name}: a space names settings in full; write {short}")
    return SearchSpace(path.stem, str(said.get("about", "")), tuple(map(str, tasks)), _parents_first(read))


def _parents_first(parameters: list[Parameter]) -> tuple[Parameter, ...]:
    """Order parameters so that every condition is known when it is needed, otherwise as they stand.

    Raises:
        ConfigError: a condition names what is not there or no choice, or leads back to itself.
    """
    known = {parameter.name: parameter for parameter in parameters}
    for parameter in parameters:
        for parent, labels in parameter.when.items():
            where = f"{parameter.name}.when.{parent}"
            if parent not in known:
                raise ConfigError(f"{where}: it is not a parameter of this space{nearest(parent, known)}")
            if not known[parent].choices:
                raise ConfigError(f"{where}: a condition names choices, and {parent} is a range; list choices there")
            strange = [label for label in labels if label not in known[parent].choices]
            if strange:
                raise ConfigError(
                    f"{where}: {strange[0]} is none of its choices{nearest(strange[0], known[parent].choices)}"
                )
    ordered: dict[str, Parameter] = {}
    while len(ordered) < len(parameters):
        free = [each for each in parameters if each.name not in ordered and set(each.when) <= set(ordered)]
        if not free:
            left = [each.name for each in parameters if each.name not in ordered]
            raise ConfigError(f"{left[0]}.when: the conditions of {', '.join(left)} lead back to themselves; drop one")
        ordered[free[0].name] = free[0]
    return tuple(ordered.values())


def _refuse_folds(base: Mapping[str, object]) -> None:
    folds = dotted(base).get("data.folds")
    if folds is not None and str(folds) != "0":
        raise ConfigError(f"data.folds={folds}: {_NEVER['data.folds']}; give --folds {folds} instead")


def _refuse_never(space: SearchSpace) -> None:
    for parameter in space.parameters:
        for key in _keys(parameter):
            for never, reason in _NEVER.items():
                if f"{key}.".startswith(f"{never}."):
                    raise ConfigError(f"{parameter.name}: no search may change {never}: {reason}")


def _refuse_typed(space: SearchSpace, base: Mapping[str, object]) -> None:
    for typed, value in dotted(base).items():
        for parameter in space.parameters:
            if any(_touch(key, typed) for key in _keys(parameter)):
                raise ConfigError(
                    f"{typed}={value}: this space searches {parameter.name}; leave the setting out, or take the "
                    "parameter out of a copy of the space"
                )


def _keys(parameter: Parameter) -> set[str]:
    """Dotted names of all settings that a parameter changes."""
    return {key for value in parameter.probes for key in dotted(parameter.settings(value))}


def _touch(one: str, other: str) -> bool:
    """Whether two names are one setting, or a group and a setting in it."""
    return f"{one}.".startswith(f"{other}.") or f"{other}.".startswith(f"{one}.")


class _Check:
    """Build the configuration of points that meet every value, and every two values that can be drawn together.

    A rule of the configuration concerns one setting, or two; each point is one that a search could draw.
    """

    def __init__(self, space: SearchSpace, task: str, base: Mapping[str, object], where: str) -> None:
        self._space, self._task, self._base, self._where = space, task, base, where
        self._known = {parameter.name: parameter for parameter in space.parameters}

    def run(self) -> None:
        """Try them all.

        Raises:
            ConfigError: one is refused; it names as few values as are refused together.
        """
        tried: dict[str, dict[str, Value]] = {}
        for chosen in self._chosen():
            for point in self._points(chosen):
                self._refuse_overlap(chosen)
                tried.setdefault(json.dumps(point), point)
        for point in tried.values():
            if self._problem(point) is not None:
                self._refuse(point)

    def _chosen(self) -> Iterator[dict[str, Value]]:
        """Each value, and each two values of different parameters."""
        parameters = self._space.parameters
        for place, one in enumerate(parameters):
            for value in one.probes:
                yield {one.name: value}
                for other in parameters[:place]:
                    yield from ({one.name: value, other.name: second} for second in other.probes)

    def _points(self, chosen: dict[str, Value]) -> Iterator[dict[str, Value]]:
        """Points in which these are drawn, with each combination of their parents' choices."""
        given = [chosen]
        for parameter in reversed(self._space.parameters):  # so that a parent's own parents come after it
            given = [wider for each in given for wider in _with_parents(parameter, each)]
        for each in given:
            point = self._space.fill(each)
            if all(point.get(name) == value for name, value in chosen.items()):
                yield point

    def _refuse_overlap(self, chosen: dict[str, Value]) -> None:
        if len(chosen) < 2:
            return
        (one, first), (other, second) = chosen.items()
        mine, theirs = (dotted(self._known[name].settings(value)) for name, value in chosen.items())
        for key in mine:
            if any(_touch(key, their) for their in theirs):
                raise ConfigError(
                    f"{self._where}: {one}={first} and {other}={second} both set {key}; leave it out of one, or give "
                    "one a `when`"
                )

    def _refuse(self, point: dict[str, Value]) -> None:
        for name in list(point):
            fewer = {other: value for other, value in point.items() if other != name}
            if self._problem(fewer) is not None:
                point = fewer
        problem = self._problem(point)
        if not point:  # it is what the user typed
            raise ConfigError(problem)
        if len(point) == 1 and f"{problem}".startswith(f"{next(iter(point))}: "):
            raise ConfigError(f"{self._where}: {problem}")
        values = " with ".join(f"{name}={value}" for name, value in point.items())
        mend = "; give one of them a `when`, or other values" if len(point) > 1 else ""
        raise ConfigError(f"{self._where}: {values}: {problem}{mend}")

    def _problem(self, point: dict[str, Value]) -> str | None:
        """What the configuration says against a point, or some values of one."""
        try:
            self._space.config(self._task, self._base, point)
        except ConfigError as error:
            return str(error)
        return None


def _with_parents(parameter: Parameter, given: dict[str, Value]) -> list[dict[str, Value]]:
    points = [given]
    for parent, labels in parameter.when.items() if parameter.name in given else ():
        points = [{**point, parent: label} for point in points for label in labels if point.get(parent, label) == label]
    return points
