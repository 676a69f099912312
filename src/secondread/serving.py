"""What `mlflow models serve` runs: files in, one answer an image out. MLflow logs this file as the model's code."""

import base64
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pandas as pd
from mlflow.models import ModelSignature
from mlflow.types import ColSpec, DataType, ParamSchema, ParamSpec, Schema

from secondread.bundle import ModelBundle, load_bundle
from secondread.errors import ImageRejected

_MICRO_BATCH = 16  # keeps memory flat however many images a request holds
Answer = dict[str, Any]


class ServedModel(mlflow.pyfunc.PythonModel):  # type: ignore[misc]  # mlflow's types are not followed
    """Answer DICOM, PNG and JPEG files, each on its own: one bad image never fails its neighbours."""

    def load_context(self, context: Any) -> None:
        """Load the bundle and answer once, so that the first request does not wait for compilation."""
        self._bundle: ModelBundle = load_bundle(Path(context.artifacts["bundle"]))
        preprocess = self._bundle.description.preprocess
        self._bundle.answer(np.zeros((1, preprocess.size, preprocess.size, preprocess.channels), np.uint8))

    def predict(self, context: Any, model_input: pd.DataFrame, params: dict[str, Any] | None = None) -> list[Answer]:
        """Answer every row's image, in order.

        Args:
            model_input: a column `image`: the file's bytes, or their base64 text.
            params: `operating_point`, by default `balanced`; `explain`.
        Returns:
            a dict an image: `status` (`ok`, `rejected`), `reason`, `probability_<label>`, `positive_<label>`,
            `heatmap`; None where there is nothing to say.
        Raises:
            BundleError: the model has no such operating point.
        """
        points = self._bundle.description.points((params or {}).get("operating_point", "balanced"))
        images = list(model_input["image"])
        answers: list[Answer] = []
        for start in range(0, len(images), _MICRO_BATCH):
            answers += self._answer(images[start : start + _MICRO_BATCH], points)
        return answers

    def _answer(self, images: list[object], points: dict[str, Any]) -> list[Answer]:
        pixels: list[Any] = []
        reasons: list[str | None] = []
        for image in images:
            try:
                pixels.append(self._bundle.description.preprocess.pixels(_file_bytes(image)))
                reasons.append(None)
            except ImageRejected as rejected:
                reasons.append(rejected.reason)
        scores = iter(self._bundle.answer(np.stack(pixels)) if pixels else ())
        return [self._rejected(reason) if reason else self._scored(next(scores), points) for reason in reasons]

    def _rejected(self, reason: str) -> Answer:
        return {"status": "rejected", "reason": reason} | self._about_labels({}, {})

    def _scored(self, scores: Any, points: dict[str, Any]) -> Answer:
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
    """Over HTTP a file arrives as base64 text, perhaps broken into lines; within Python it may be bytes."""
    if isinstance(image, bytes):
        return image
    if isinstance(image, str):
        try:
            return base64.b64decode("".join(image.split()), validate=True)
        except ValueError:
            pass
    raise ImageRejected("base64", "the image is not the base64 text of a file")


# MLflow runs this file to find the model; that is how a model is logged as code, without a pickle.
mlflow.models.set_model(ServedModel())
