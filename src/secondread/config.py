"""Every setting of a run, typed and frozen, and the one mapping from YAML, flags and `-P` to it."""

import copy
import difflib
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, field_validator, model_validator

from secondread.errors import ConfigError
from secondread.tasks import load_task

Unit = Literal["HU", "display"]
Fraction = Annotated[float, Field(gt=0, lt=1)]

_PRESETS = Path(__file__).with_name("presets")
ABBREVIATIONS = {"data": "data.path", "model": "model.name"}


class _Settings(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Window(_Settings):
    """A range of Hounsfield units shown from black to white: center and width in HU.

    Source: DICOM PS3.3 C.11.2.1.2.
    """

    center: float
    width: float = Field(gt=1)


WINDOWS: Mapping[str, Window] = {
    "brain": Window(center=40, width=80),
    "subdural": Window(center=80, width=200),
    "soft": Window(center=40, width=380),
}


def _named_window(value: object) -> object:
    """`brain`, `40/80` and `{center: 40, width: 80}` all name a window."""
    if not isinstance(value, str):
        return value
    if value in WINDOWS:
        return WINDOWS[value]
    center, slash, width = value.partition("/")
    if not slash:
        raise ValueError(f"{value!r} is no window; use one of {', '.join(WINDOWS)} or CENTER/WIDTH such as 40/80")
    return {"center": center, "width": width}


def _listed(value: object) -> object:
    """A comma-separated string, as it arrives from the command line, is a list."""
    return [part.strip() for part in value.split(",") if part.strip()] if isinstance(value, str) else value


def _number(value: object) -> object:
    """A whole number, as it arrives from the command line; a choice of numbers does not read text."""
    return int(value) if isinstance(value, str) and value.isdecimal() else value


class DataSettings(_Settings):
    """Which images, and how they are divided."""

    path: str = Field("phantom", description="a store, a raw source (folder or CSV), `phantom` or `other_phantom`")
    layout: str = Field("auto", description="the source's layout; `auto` recognises it")
    evaluation: str | None = Field(None, description="a separate source or store that the test figures come from")
    folds: int = Field(0, ge=0, le=20, description="cross-validation by patient; 0 for one split")
    limit: int | None = Field(None, ge=1, description="use at most this many images")
    positive_fraction: Fraction | None = Field(None, description="subsample train to this share of positive images")
    class_weights: bool = Field(False, description="weigh the loss by inverse class frequency")
    val_fraction: Fraction = Field(0.15, description="share of the training patients kept for choosing")
    test_fraction: Fraction = Field(0.2, description="share of patients for test where the source gives no test")
    acknowledge_leaks: bool = Field(False, description="train although a patient or duplicate crosses given splits")
    seed: int = Field(0, ge=0, description="seed of the split and of every subsample")

    @field_validator("folds")
    @classmethod
    def _one_fold_leaves_nothing_to_train_on(cls, folds: int) -> int:
        if folds == 1:
            raise ValueError("cross-validation takes at least 2 folds; 0 is one split")
        return folds


class PreprocessSettings(_Settings):
    """How one image becomes model input."""

    size: int = Field(128, ge=16, le=1024, description="rows and columns of the model's input")
    channels: Annotated[Literal[1, 3], BeforeValidator(_number)] = Field(1, description="channels of the model's input")
    windows: Annotated[tuple[Annotated[Window, BeforeValidator(_named_window)], ...], BeforeValidator(_listed)] = Field(
        (WINDOWS["brain"],), description="CT windows, one a channel: names or CENTER/WIDTH"
    )
    aspect: Literal["squash", "keep"] = Field("squash", description="stretch to a square, or keep the shape and pad")

    @model_validator(mode="after")
    def _a_window_per_channel(self) -> "PreprocessSettings":
        if len(self.windows) != self.channels:
            raise ValueError(f"{len(self.windows)} windows for {self.channels} channels; give one window a channel")
        return self


class AugmentSettings(_Settings):
    """Random changes of training images, as Keras' ImageDataGenerator means them; edges repeat the nearest pixel."""

    rotation: float = Field(0, ge=0, le=180, description="degrees, drawn from [-rotation, rotation]")
    zoom: float = Field(0, ge=0, lt=1, description="each axis scaled by a factor from [1 - zoom, 1 + zoom]")
    shear: float = Field(0, ge=0, lt=90, description="degrees, drawn from [-shear, shear]")
    shift: float = Field(0, ge=0, lt=1, description="share of the size, drawn per axis from [-shift, shift]")
    horizontal_flip: bool = Field(False, description="mirror a random half of the images, left to right")
    vertical_flip: bool = Field(False, description="mirror a random half of the images, top to bottom")


class ModelSettings(_Settings):
    """Which network."""

    name: str = Field("compact_resnet", description="a preset's name")
    weights: str = Field("none", description="`none`, `imagenet`, or the path of a weights file")
    width: int | None = Field(
        None,
        ge=16,  # with 8, TensorFlow 2.21's oneDNN writes outside its memory on AVX-512, and the process dies
        le=256,
        multiple_of=8,
        description="channels of compact_resnet's first stage, twice and four times as many later",
    )

    @model_validator(mode="after")
    def _has_a_width(self) -> "ModelSettings":
        if self.width is not None and self.name != "compact_resnet":
            raise ValueError(f"model.width={self.width}: only compact_resnet has one, not {self.name}; leave it out")
        return self


class PlateauSettings(_Settings):
    """Cut the learning rate when a monitored value stops improving (Keras ReduceLROnPlateau)."""

    monitor: str = Field(description="cut the learning rate when this value rests, such as val/loss")
    mode: Literal["min", "max"] = Field(description="which way is better")
    factor: float = Field(gt=0, lt=1, description="what the learning rate is multiplied by")
    patience: int = Field(ge=0, description="epochs without improvement before a cut")
    minimum: float = Field(0, ge=0, description="the learning rate's floor")


class EarlyStoppingSettings(_Settings):
    """Stop when a monitored value stops improving (Keras EarlyStopping)."""

    monitor: str = Field(description="stop when this value rests, such as val/loss")
    mode: Literal["min", "max"] = Field(description="which way is better")
    patience: int = Field(ge=0, description="epochs without improvement before the end")
    min_delta: float = Field(0, ge=0, description="smallest change that counts as improvement")
    enabled: bool = Field(True, description="false leaves it defined but off")


class TrainSettings(_Settings):
    """How the network learns."""

    epochs: int = Field(10, ge=1, description="passes over the training images")
    batch_size: int = Field(32, ge=1, description="images a step")
    optimizer: Literal["adam", "adamw", "rmsprop", "sgd"] = Field("adam", description="how a step is taken")
    learning_rate: float = Field(1e-3, gt=0, description="how large a step is")
    schedule: Literal["constant", "cosine"] = Field("constant", description="the learning rate over the epochs")
    loss: Literal["cross_entropy", "weighted_log_loss"] = Field(
        "cross_entropy", description="what is minimised; the weighted one counts the primary label twice"
    )
    precision: Literal["float32", "mixed_bfloat16", "mixed_float16"] = Field(
        "float32", description="of the numbers in training"
    )
    best: str = Field("val/loss", description="the value by which the best epoch is kept; `last` keeps the last")
    best_mode: Literal["min", "max"] = Field("min", description="which way that value is better")
    frozen_epochs: int = Field(0, ge=0, description="first epochs that train only the head of a pretrained network")
    fine_tune_learning_rate: float | None = Field(None, gt=0, description="learning rate after the frozen epochs")
    plateau: PlateauSettings | None = None
    early_stopping: EarlyStoppingSettings | None = None
    seed: int = Field(0, ge=0, description="seed of weights, order and random changes")


class OperatingPointSettings(_Settings):
    """What a model's operating points besides `balanced` shall reach on val, for each label."""

    high_sensitivity: Fraction = Field(0.95, description="share of images with a label that this point finds")
    high_specificity: Fraction = Field(0.95, description="share of images without a label that this point clears")


class ExplanationSettings(_Settings):
    """Whether a model's explanations are checked before they may be shown."""

    images: int = Field(
        24, ge=0, description="val images with the primary label that explanations are checked on; 0 checks none"
    )


class ExecutionSettings(_Settings):
    """Where the work is done."""

    workers: int | None = Field(None, ge=1, description="preprocessing processes; default: one a core")
    dask: str | None = Field(
        None,
        pattern=r"^(tcp|tls)://\S+$",
        description="address of a Dask scheduler, tcp://HOST:PORT, whose workers work",
    )
    cache_gb: float = Field(50, gt=0, description="what pixels of stores on S3 may take on this machine, in GB")

    @property
    def who(self) -> int | str | None:
        """Who works: `Workers` of `execution`."""
        return self.dask or self.workers


class RunConfig(_Settings):
    """A whole run. Equal configurations on equal data make equal models."""

    task: str
    data: DataSettings = DataSettings()
    preprocess: PreprocessSettings = PreprocessSettings()
    augment: AugmentSettings = AugmentSettings()
    model: ModelSettings = ModelSettings()
    train: TrainSettings = TrainSettings()
    operating_points: OperatingPointSettings = OperatingPointSettings()
    explanation: ExplanationSettings = ExplanationSettings()
    execution: ExecutionSettings = ExecutionSettings()

    def flat(self) -> dict[str, Any]:
        """Every setting by its dotted name, as it is logged."""
        return dict(_flatten(self.model_dump(mode="json")))


def preset_names() -> tuple[str, ...]:
    """Names of the presets that exist, sorted."""
    return tuple(sorted(path.stem for path in _PRESETS.glob("*.yaml")))


def load_config(task: str, overrides: Mapping[str, object], base: Mapping[str, Any] | None = None) -> RunConfig:
    """Build a run's configuration: the model's preset, then the user's YAML, then single overrides.

    Args:
        task: a task's name.
        overrides: dotted or abbreviated names to values, as typed behind flags or `-P`.
        base: a user's YAML, nested or with dotted or abbreviated names; its `task` may be left out.
    Raises:
        ConfigError: a key is unknown (the nearest right one is named), a value is out of range, or the preset is for
            another task.
    """
    load_task(task)
    given = _merge(_nest(base or {}), _nest(overrides))
    _refuse_unknown(given, RunConfig)
    name = str(given.get("model", {}).get("name", ModelSettings().name))
    preset = load_preset(name)
    tasks = preset.pop("tasks")
    preset.pop("about")
    if task not in tasks:
        raise ConfigError(f"model={name}: this preset is for {', '.join(tasks)}, not for {task}; {_choices(task)}")
    settings = _merge(_merge(preset, {"model": {"name": name}}), given) | {"task": task}
    try:
        return RunConfig.model_validate(settings)
    except ValidationError as error:
        raise ConfigError(_first_problem(error)) from None


def load_preset(name: str) -> dict[str, Any]:
    """Read a preset's YAML.

    Raises:
        ConfigError: no preset has that name.
    """
    if name not in preset_names():
        raise ConfigError(f"model={name}: there is no such preset{nearest(name, preset_names())}")
    return copy.deepcopy(_read_preset(name))


@cache
def _read_preset(name: str) -> dict[str, Any]:
    """Parse a preset once: a search checks thousands of configurations before it begins."""
    loaded: dict[str, Any] = yaml.safe_load((_PRESETS / f"{name}.yaml").read_text())
    return loaded


def setting_names(model: type[BaseModel] = RunConfig, prefix: str = "") -> Iterator[tuple[str, str, str]]:
    """Yield every setting as (dotted name, description, default as typed, or ""); it is the text of `--help`."""
    for key, field in model.model_fields.items():
        nested = _nested_model(field.annotation)
        if nested is None:
            choices = get_args(field.annotation) if get_origin(field.annotation) is Literal else ()
            description = ": ".join(part for part in (field.description, ", ".join(map(str, choices))) if part)
            yield prefix + key, description, "" if field.is_required() else _typed(field.default)
        else:
            yield from setting_names(nested, f"{prefix}{key}.")


def dotted(settings: Mapping[str, object]) -> dict[str, Any]:
    """Give settings, nested, dotted or abbreviated, by their dotted names."""
    return dict(_flatten(_nest(settings)))


def _typed(value: object) -> str:
    """A value as one types it."""
    if isinstance(value, tuple):
        return ",".join(map(_typed, value))
    if isinstance(value, Window):
        names = [name for name, window in WINDOWS.items() if window == value]
        return names[0] if names else f"{value.center:g}/{value.width:g}"
    return "null" if value is None else str(value).lower() if isinstance(value, bool) else str(value)


def _choices(task: str) -> str:
    names = [name for name in preset_names() if task in load_preset(name)["tasks"]]
    return f"use one of {', '.join(names)}"


def _nested_model(annotation: object) -> type[BaseModel] | None:
    """The settings class inside an annotation such as `PlateauSettings | None`."""
    options = get_args(annotation) if get_origin(annotation) in (Union, UnionType) else (annotation,)
    found = [option for option in options if isinstance(option, type) and issubclass(option, _Settings)]
    return found[0] if found and found[0] is not Window else None


def _refuse_unknown(given: Mapping[str, Any], model: type[BaseModel], prefix: str = "") -> None:
    for key, value in given.items():
        name = f"{prefix}{key}"
        if key not in model.model_fields:
            whole = next((leaf for leaf, _ in _flatten({name: value})), name)
            raise ConfigError(f"{whole}: unknown setting{nearest(whole, _known_names())}")
        nested = _nested_model(model.model_fields[key].annotation)
        if nested is None or (value is None and model.model_fields[key].default is None):
            continue
        if not isinstance(value, Mapping):
            raise ConfigError(f"{name}: expected settings below it. Received: {value!r}")
        _refuse_unknown(value, nested, f"{name}.")


def _known_names() -> list[str]:
    """Every name that a user may type: abbreviations, settings, and the groups that may be `null` as a whole."""
    names = [name for name, _, _ in setting_names()]
    groups = dict.fromkeys(name.rpartition(".")[0] for name in names if name.count(".") == 2)
    return [*ABBREVIATIONS, *names, *groups]


def nearest(name: str, known: Iterable[str]) -> str:
    """Say which known name was meant, as the end of a sentence; all of them where none is near."""
    known = list(known)
    leaves = {candidate.rsplit(".", 1)[-1]: candidate for candidate in known}
    close = difflib.get_close_matches(name, known, 1, 0.6) or [
        leaves[leaf] for leaf in difflib.get_close_matches(name.rsplit(".", 1)[-1], list(leaves), 1, 0.6)
    ]
    return f"; did you mean {close[0]}?" if close else f"; use one of {', '.join(known)}"


def _nest(settings: Mapping[str, object]) -> dict[str, Any]:
    """Take dotted and abbreviated names apart: `train.epochs` lies below `train`."""
    nested: dict[str, Any] = {}
    for key, value in settings.items():
        group = value is None or isinstance(value, Mapping)
        *parents, leaf = (str(key) if group else ABBREVIATIONS.get(key, str(key))).split(".")
        branch: dict[str, Any] = {leaf: _parsed(value)}
        for parent in reversed(parents):
            branch = {parent: branch}
        nested = _merge(nested, branch)
    return nested


def _parsed(value: object) -> object:
    """Text from the command line means what it means in YAML (`null`, `true`, `[a, b]`)."""
    if not isinstance(value, str):
        return value
    try:
        return yaml.safe_load(value) if value[:1] in "[{" or value in ("null", "true", "false", "") else value
    except yaml.YAMLError:
        return value


def _merge(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(below)
    for key, value in above.items():
        both = isinstance(value, Mapping) and isinstance(merged.get(key), Mapping)
        merged[key] = _merge(merged[key], value) if both else value
    return merged


def _flatten(nested: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in nested.items():
        if isinstance(value, Mapping):
            yield from _flatten(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def _first_problem(error: ValidationError) -> str:
    problem = error.errors()[0]
    where = ".".join(str(part) for part in problem["loc"]) or "configuration"
    return f"{where}: {problem['msg'].removeprefix('Value error, ')}. Received: {problem['input']!r}"
