"""What `mlflow models serve` runs: files in, one answer an image out. MLflow logs this file as the model's code."""

import base64
import binascii
import contextlib
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pandas as pd
from mlflow.exceptions import INVALID_PARAMETER_VALUE, MlflowException
from mlflow.models import ModelSignature
from mlflow.types import ColSpec, DataType, ParamSchema, ParamSpec, Schema

from secondread.bundle import ModelBundle, load_bundle
from secondread.errors import BundleError, ImageRejected, OutOfScope
from secondread.execution import map_ahead
from secondread.imaging.decoder_pool import DecoderLost, DecoderPool, Patience
from secondread.imaging.picture import UInt8Image

_MICRO_BATCH = 16  # keeps memory flat however many images a request holds
Answer = dict[str, Any]


class ServedModel(mlflow.pyfunc.PythonModel):  # type: ignore[misc]  # mlflow's types are not followed
    """Answer DICOM, PNG and JPEG files, each on its own: one bad image never fails its neighbours."""

    def load_context(self, context: Any) -> None:
        """Load the bundle, start its decoders and answer twice, so that no request waits for compilation."""
        self._bundle: ModelBundle = load_bundle(Path(context.artifacts["bundle"]))
        preprocess = self._bundle.description.preprocess
        self._decoders = DecoderPool(preprocess)
        self._decoders.start()
        for images in (1, _MICRO_BATCH):  # the second size compiles once more, for all sizes
            self._bundle.answer(np.zeros((images, preprocess.size, preprocess.size, preprocess.channels), np.uint8))

    def predict(self, context: Any, model_input: pd.DataFrame, params: dict[str, Any] | None = None) -> list[Answer]:
        """Answer every row's image, in order.

        Args:
            model_input: a column `image`: the file's bytes, or their base64 text.
            params: `operating_point`, by default `balanced`; `explain`.
        Returns:
            a dict an image: `status` (`ok`, `rejected`, `out_of_scope`), `reason`, `probability_<label>`,
            `positive_<label>`, `heatmap`; None where there is nothing to say.
        Raises:
            BundleError: the model has no such operating point.
        """
        points = self._points((params or {}).get("operating_point", "balanced"))
        images = list(model_input["image"])
        parts = [images[start : start + _MICRO_BATCH] for start in range(0, len(images), _MICRO_BATCH)]
        answers: list[Answer] = []
        # The network leaves a core half idle: the next files are decoded meanwhile.
        for found in map_ahead(partial(self._found, Patience()), parts):
            answers += self._answer(found, points)
        return answers

    def _points(self, name: str) -> dict[str, Any]:
        try:
            return self._bundle.description.points(name)
        except BundleError as unknown:
            raise _BadRequest(str(unknown)) from None

    def _found(self, patience: Patience, images: Sequence[object]) -> list[UInt8Image | ImageRejected]:
        """Each file's model input, or why it gets no probability."""
        return [self._pixels(image, patience) for image in images]

    def _pixels(self, image: object, patience: Patience) -> UInt8Image | ImageRejected:
        try:
            pixels = self._decoders.pixels(_file_bytes(image), patience)
        except ImageRejected as rejected:
            return rejected
        except DecoderLost:
            return ImageRejected("busy", "no decoder could be started; send this one again")
        if self._bundle.holds(pixels):
            return pixels
        return OutOfScope("appearance", "the picture does not look like those that the model learned from")

    def _answer(self, found: Sequence[UInt8Image | ImageRejected], points: dict[str, Any]) -> list[Answer]:
        pixels = [each for each in found if not isinstance(each, ImageRejected)]
        scores = iter(self._bundle.answer(self._bundle.description.preprocess.stack(pixels)) if pixels else ())
        return [
            self._put_aside(each) if isinstance(each, ImageRejected) else self._scored(next(scores), points)
            for each in found
        ]

    def _put_aside(self, rejected: ImageRejected) -> Answer:
        status = "out_of_scope" if isinstance(rejected, OutOfScope) else "rejected"
        return {"status": status, "reason": rejected.reason} | self._about_labels({}, {})

    def _scored(self, scores: Any, points: dict[str, Any]) -> Answer:
        if not np.isfinite(scores).all():
            return self._put_aside(ImageRejected("not_finite", "the model found no number for this image"))
        probability = {
            label: float(score) for label, score in zip(self._bundle.description.labels, scores, strict=True)
        }
        positive = {label: score >= points[label].threshold for label, score in probability.items()}
        return {"status": "ok", "reason": None} | self._about_labels(probability, positive)

    def _about_labels(self, probability: dict[str, float], positive: dict[str, bool]) -> Answer:
        labels = self._bundle.description.task_labels
        answer: Answer = {f"probability_{label}": probability.get(label) for label in labels}
        answer |= {f"positive_{label}": positive.get(label) for label in labels}
        return answer | {"heatmap": None}


class _BadRequest(BundleError, MlflowException):  # type: ignore[misc]  # mlflow's types are not followed
    """A parameter that cannot be used: the server answers 400 and these words alone."""

    def __init__(self, text: str) -> None:
        MlflowException.__init__(self, text, INVALID_PARAMETER_VALUE)
        self._text = text

    @property
    def message(self) -> str:
        """What the server answers."""
        return self._text

    @message.setter
    def message(self, text: str) -> None:
        """Keep the words: MLflow would put the request's images in front of them."""


def signature(labels: tuple[str, ...]) -> ModelSignature:
    """What the served model takes and gives, for a task's labels."""
    answers = [ColSpec(DataType.string, "status"), ColSpec(DataType.string, "reason", required=False)]
    answers += [ColSpec(DataType.double, f"probability_{label}", required=False) for label in labels]
    answers += [ColSpec(DataType.boolean, f"positive_{label}", required=False) for label in labels]
    answers += [ColSpec(DataType.string, "heatmap", required=False)]
    params = [
        ParamSpec("operating_point", DataType.string, "balanced"),
        ParamSpec("explain", DataType.boolean, False),
    ]
    # Not binary: MLflow decodes that in two of its four request formats, and refuses a whole request for one bad text.
    return ModelSignature(Schema([ColSpec(DataType.string, "image")]), Schema(answers), ParamSchema(params))


def _file_bytes(image: object) -> bytes:
    """Over HTTP a file arrives as base64 text, perhaps broken into lines; within Python it may be bytes.

    A row of `inputs` or `instances` that is a list arrives as a list of its one value.
    """
    if isinstance(image, list) and len(image) == 1:
        image = image[0]
    if isinstance(image, bytes):
        return image
    if isinstance(image, str):
        with contextlib.suppress(ValueError):
            return binascii.a2b_base64(image, strict_mode=True)
        with contextlib.suppress(ValueError):
            return base64.b64decode("".join(image.split()), validate=True)
    raise ImageRejected("base64", "the image is not the base64 text of a file")


# MLflow runs this file to find the model; that is how a model is logged as code, without a pickle.
mlflow.models.set_model(ServedModel())
