"""The model bundle: what travels from training to wherever the model answers. One `.keras` and `bundle.json`."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import keras
import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, ValidationError, model_validator

from secondread.errors import BundleError
from secondread.evaluation.operating_points import OperatingPoint
from secondread.imaging.preprocess import Preprocess
from secondread.models.outputs import probabilities
from secondread.storage import sha256_of, write_aside

_DESCRIPTION = "bundle.json"
_NETWORK = "model.keras"


class BundleDescription(BaseModel):
    """What `bundle.json` says.

    Args:
        task_labels: every label of the task, in order; those that are not in `labels` are answered by null.
        labels: the labels that the network answers, in the order of its outputs.
        calibration: by label, how outputs become probabilities; `none` takes them as they are.
        prior: by label, share of the source's training images that have it, before any change of the class balance.
        figures: what was measured, by the names of the run's metrics.
        files: SHA-256 of each other file of the bundle.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: Literal[1] = 1
    task: str
    task_labels: tuple[str, ...]
    model: str
    labels: tuple[str, ...]
    preprocess: Preprocess
    calibration: dict[str, Literal["none"]]
    operating_points: tuple[OperatingPoint, ...]
    prior: dict[str, float]
    manifest_digest: str
    store_digest: str
    git_commit: str
    figures: dict[str, float]
    intended_use: str
    files: dict[str, str] = {}

    @model_validator(mode="after")
    def _a_point_a_label(self) -> "BundleDescription":
        for name in self.point_names:
            if [point.label for point in self.operating_points if point.name == name] != list(self.labels):
                raise ValueError(f"operating point {name!r} is not given for each of {self.labels}")
        return self

    @property
    def point_names(self) -> tuple[str, ...]:
        """Names of the operating points that a request may choose."""
        return tuple(dict.fromkeys(point.name for point in self.operating_points))

    def points(self, name: str) -> dict[str, OperatingPoint]:
        """The operating point of that name, by label.

        Raises:
            BundleError: there is none of that name.
        """
        if name not in self.point_names:
            raise BundleError(f"operating_point={name}: this model has {', '.join(self.point_names)}")
        return {point.label: point for point in self.operating_points if point.name == name}


@dataclass(frozen=True)
class ModelBundle:
    """A description and its network."""

    description: BundleDescription
    network: keras.Model

    def answer(self, pixels: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        """Give the probability of each answered label.

        Args:
            pixels: from `description.preprocess`, shape (n, size, size, channels).
        Returns:
            shape (n, labels).
        """
        outputs = self.network.predict_on_batch(pixels)
        return np.asarray(probabilities(outputs, len(self.description.labels)), np.float32)


def save_bundle(folder: Path, description: BundleDescription, network: keras.Model) -> None:
    """Write a bundle to a folder, which is replaced whole."""
    with write_aside(folder) as aside:
        aside.mkdir()
        network.save(aside / _NETWORK)
        files = {_NETWORK: sha256_of((aside / _NETWORK).read_bytes())}
        (aside / _DESCRIPTION).write_text(description.model_copy(update={"files": files}).model_dump_json(indent=1))


def load_bundle(folder: Path) -> ModelBundle:
    """Read a bundle whose files are those that were written.

    Raises:
        BundleError: a file is missing, changed, or of a later format.
    """
    description = load_description(folder)
    for name, digest in ({_NETWORK: ""} | description.files).items():
        path = folder / name
        if not path.is_file() or sha256_of(path.read_bytes()) != digest:
            raise BundleError(f"{folder}: {name} is missing or not the file that was saved; log the model anew")
    return ModelBundle(description, keras.saving.load_model(folder / _NETWORK, compile=False))


def load_description(folder: Path) -> BundleDescription:
    """Read `bundle.json` alone.

    Raises:
        BundleError: it is missing, damaged, or of a later format.
    """
    path = folder / _DESCRIPTION
    try:
        content: Any = json.loads(path.read_text())
        if content["format"] != 1:
            raise BundleError(f"{path}: format {content['format']!r}; this version reads format 1: update Second Read")
        return BundleDescription.model_validate(content)
    except (OSError, ValueError, KeyError, TypeError, ValidationError):
        raise BundleError(f"{path}: missing or damaged; log the model anew") from None


def no_calibration(labels: Sequence[str]) -> dict[str, Literal["none"]]:
    """Take the network's outputs as probabilities."""
    return dict.fromkeys(labels, "none")
