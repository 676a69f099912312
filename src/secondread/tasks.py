"""What is looked for: the labels in fixed order and the kind of image. A task is one YAML file in `tasks/`."""

from functools import cache
from pathlib import Path

import yaml
from pydantic import BaseModel, ConfigDict, model_validator

from secondread.errors import ConfigError

_FOLDER = Path(__file__).with_suffix("")


class HeaderScope(BaseModel):
    """What a DICOM header may not say; what it leaves empty, or says in words that nobody knows, excludes nothing.

    Args:
        sop_classes: SOP Class UID (0008,0016) values that belong to the task, by the standard's keywords; every other
            one that DICOM defines is another kind of image. Empty: any.
        body_parts: Body Part Examined (0018,0015) values that belong to the task; every other one that DICOM defines
            is another body part. Empty: any.
        image_types: words of Image Type (0008,0008) that exclude an image.
        views: View Position (0018,5101) values that exclude an image.
        axial: the slice must be closer to an axial plane than to a coronal or sagittal one, where the file says.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    sop_classes: tuple[str, ...] = ()
    body_parts: tuple[str, ...] = ()
    image_types: tuple[str, ...] = ()
    views: tuple[str, ...] = ()
    axial: bool = False


class Task(BaseModel):
    """A question asked of one image.

    Args:
        labels: in the fixed order of model outputs and columns.
        primary: the label that decides; metrics without a suffix are its.
        modalities: DICOM Modality (0008,0060) values that the task accepts.
        scope: what else a DICOM header may not say.
        combines_studies: images are slices, and those of a study combine into one answer.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    title: str
    labels: tuple[str, ...]
    primary: str
    modalities: tuple[str, ...]
    scope: HeaderScope
    combines_studies: bool
    intended_use: str

    @model_validator(mode="after")
    def _primary_is_a_label(self) -> "Task":
        if self.primary not in self.labels:
            raise ValueError(f"primary {self.primary!r} is not one of the labels {self.labels}")
        return self

    @property
    def label_columns(self) -> tuple[str, ...]:
        """Column names of the labels in a manifest and in predictions."""
        return tuple(f"label_{label}" for label in self.labels)

    @property
    def probability_columns(self) -> tuple[str, ...]:
        """Column names of the probabilities in predictions and served answers."""
        return tuple(f"probability_{label}" for label in self.labels)


def task_names() -> tuple[str, ...]:
    """Names of the tasks that exist, sorted."""
    return tuple(sorted(path.stem for path in _FOLDER.glob("*.yaml")))


def load_task(name: str) -> Task:
    """Read a task by name.

    Raises:
        ConfigError: no task has that name.
    """
    if name not in task_names():
        raise ConfigError(f"task={name}: there is no such task; use one of {', '.join(task_names())}")
    return _read(name)


@cache
def _read(name: str) -> Task:
    return Task.model_validate(yaml.safe_load((_FOLDER / f"{name}.yaml").read_text()))
