"""The model bundle: what travels from training to wherever it answers: `bundle.json`, a `.keras` and what it needs."""

import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Final, Literal

import keras
import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, ValidationError, model_validator

from secondread.errors import BundleError
from secondread.evaluation.calibration import Calibration
from secondread.evaluation.explanation import UNCHECKED, Explanation
from secondread.evaluation.operating_points import OperatingPoint
from secondread.evaluation.scope import Scope
from secondread.evaluation.study import StudyRule
from secondread.imaging.appearance import appearance
from secondread.imaging.picture import UInt8Image
from secondread.imaging.preprocess import Preprocess
from secondread.models.outputs import learner, probabilities
from secondread.storage import sha256_of, write_aside

_DESCRIPTION = "bundle.json"
_NETWORK = "model.keras"
_SCOPE = "scope.json"
_BACKGROUND = "background.npy"
_FORMAT: Final = 2


class BundleDescription(BaseModel):
    """What `bundle.json` says.

    Args:
        task_labels: every label of the task, in order; those that are not in `labels` are answered by null.
        labels: the labels that the network answers, in the order of its outputs.
        calibration: by label, how the network's probabilities become those that are answered.
        study_rules: how the answers to a study's slices become one, for each label that could be learned; none where
            the task has no studies.
        study_operating_points: the same names as of images, for the labels of `study_rules`.
        prior: by label, share of the source's training images that have it, before any change of the class balance.
        study_prior: by label of `study_rules`, share of the training studies that have it.
        figures: what was measured, by the names of the run's metrics.
        explanation: the method that a served heat map is drawn with, or why none is drawn.
        files: SHA-256 of each other file of the bundle.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: Literal[2] = _FORMAT
    task: str
    task_labels: tuple[str, ...]
    model: str
    labels: tuple[str, ...]
    preprocess: Preprocess
    calibration: dict[str, Calibration]
    operating_points: tuple[OperatingPoint, ...]
    study_rules: tuple[StudyRule, ...] = ()
    study_operating_points: tuple[OperatingPoint, ...] = ()
    prior: dict[str, float]
    study_prior: dict[str, float] = {}
    manifest_digest: str
    store_digest: str
    git_commit: str
    figures: dict[str, float]
    explanation: Explanation = UNCHECKED
    intended_use: str
    files: dict[str, str] = {}

    @model_validator(mode="after")
    def _a_calibration_and_a_point_a_label(self) -> "BundleDescription":
        if set(self.calibration) != set(self.labels):
            raise ValueError(f"calibration is not given for each of {self.labels}")
        given = ((self.labels, self.operating_points), (self.study_labels, self.study_operating_points))
        for labels, points in given:
            for name in self.point_names if labels else ():
                if [point.label for point in points if point.name == name] != list(labels):
                    raise ValueError(f"operating point {name!r} is not given for each of {labels}")
        if not set(self.study_labels) == set(self.study_prior) <= set(self.labels):
            raise ValueError(
                f"study rules for {self.study_labels}, of which the prior or the image's answer is missing"
            )
        return self

    @property
    def study_labels(self) -> tuple[str, ...]:
        """Labels that are answered for whole studies."""
        return tuple(rule.label for rule in self.study_rules)

    @property
    def point_names(self) -> tuple[str, ...]:
        """Names of the operating points that a request may choose."""
        return tuple(dict.fromkeys(point.name for point in self.operating_points))

    def place_of(self, label: str) -> int:
        """Where a label's answer is among the network's outputs.

        Raises:
            BundleError: the model does not answer it.
        """
        if label not in self.labels:
            # Not quoted: a server's answer repeats nothing of its request.
            raise BundleError(f"label: this model answers {', '.join(self.labels)}")
        return self.labels.index(label)

    def points(self, name: str) -> dict[str, OperatingPoint]:
        """The operating point of that name, by label.

        Raises:
            BundleError: there is none of that name.
        """
        return self._named(name, self.operating_points)

    def study_points(self, name: str) -> dict[str, OperatingPoint]:
        """The operating point of that name for whole studies, by label; as `points`."""
        return self._named(name, self.study_operating_points)

    def _named(self, name: str, points: tuple[OperatingPoint, ...]) -> dict[str, OperatingPoint]:
        if name not in self.point_names:
            raise BundleError(f"operating_point: this model has {', '.join(self.point_names)}")
        return {point.label: point for point in points if point.name == name}


@dataclass(frozen=True)
class ModelBundle:
    """A description, its network, and which images look like those that it learned from.

    Args:
        scope: None where that was not learned: every image that can be read is answered.
        background: what explanations compare an image with, as they take it: the mean of training images without the
            primary label, shape (1, size, size, channels); None is a black image.
    """

    description: BundleDescription
    network: keras.Model
    scope: Scope | None = None
    background: UInt8Image | None = None

    @cached_property
    def learner(self) -> keras.Model:
        """The network up to its logits."""
        return learner(self.network)

    def holds(self, pixels: npt.NDArray[np.uint8]) -> bool:
        """Tell whether an image is of the kind that the network learned from; shape (size, size, channels)."""
        if self.scope is None:
            return True
        looks = appearance(self.description.preprocess.stored(pixels))
        return bool(self.scope.holds(looks[np.newaxis])[0])

    def answer(self, pixels: npt.NDArray[np.uint8]) -> npt.NDArray[np.float64]:
        """Give the calibrated probability of each answered label.

        Args:
            pixels: from `description.preprocess`, shape (n, size, size, channels).
        Returns:
            shape (n, labels).
        """
        return self.calibrated(self.learner.predict_on_batch(pixels))

    def calibrated(self, outputs: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
        """Give the calibrated probability of each answered label, shape (n, labels), from what `learner` gives."""
        labels = self.description.labels
        given = probabilities(outputs, len(labels))
        calibration = self.description.calibration
        return np.column_stack([calibration[label].apply(given[:, place]) for place, label in enumerate(labels)])


def save_bundle(
    folder: Path,
    description: BundleDescription,
    network: keras.Model,
    scope: Scope | None = None,
    background: UInt8Image | None = None,
) -> None:
    """Write a bundle to a folder, which is replaced whole; arguments as of `ModelBundle`."""
    with write_aside(folder) as aside:
        aside.mkdir()
        network.save(aside / _NETWORK)
        if scope is not None:
            (aside / _SCOPE).write_text(scope.model_dump_json())
        if background is not None:
            np.save(aside / _BACKGROUND, background, allow_pickle=False)
        files = {path.name: sha256_of(path.read_bytes()) for path in sorted(aside.iterdir())}
        (aside / _DESCRIPTION).write_text(description.model_copy(update={"files": files}).model_dump_json(indent=1))


def load_bundle(folder: Path) -> ModelBundle:
    """Read a bundle whose files are those that were written.

    Raises:
        BundleError: a file is missing, changed, or of a later format.
    """
    description = verify_bundle(folder)
    scope = Scope.model_validate_json((folder / _SCOPE).read_bytes()) if _SCOPE in description.files else None
    background = np.load(folder / _BACKGROUND, allow_pickle=False) if _BACKGROUND in description.files else None
    return ModelBundle(description, keras.saving.load_model(folder / _NETWORK, compile=False), scope, background)


def verify_bundle(folder: Path) -> BundleDescription:
    """Read `bundle.json` and check the digest of every file, without loading the network.

    Raises:
        BundleError: a file is missing, changed, or of a later format.
    """
    description = load_description(folder)
    for name, digest in ({_NETWORK: ""} | description.files).items():
        path = folder / name
        if not path.is_file() or sha256_of(path.read_bytes()) != digest:
            raise BundleError(f"{folder}: {name} is missing or not the file that was saved; log the model anew")
    return description


def load_description(folder: Path) -> BundleDescription:
    """Read `bundle.json` alone; one of an earlier format is upgraded.

    Raises:
        BundleError: it is missing, damaged, or of a later format.
    """
    path = folder / _DESCRIPTION
    try:
        content: Any = json.loads(path.read_text())
        if content["format"] not in (1, _FORMAT):
            raise BundleError(
                f"{path}: format {content['format']!r}; this version reads formats 1 and {_FORMAT}: update Second Read"
            )
        return BundleDescription.model_validate(_upgraded(content) if content["format"] == 1 else content)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, ValidationError):
        raise BundleError(f"{path}: missing or damaged; log the model anew") from None


def _upgraded(content: dict[str, Any]) -> dict[str, Any]:
    """Say in the present format what format 1 said: it knew no calibration but `none`, by name."""
    calibration = {label: {"method": method} for label, method in content["calibration"].items()}
    return content | {"format": _FORMAT, "calibration": calibration}
