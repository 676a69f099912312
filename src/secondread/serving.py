"""What `mlflow models serve` runs: files in, one answer an image out. MLflow logs this file as the model's code."""

import base64
import binascii
import contextlib
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import mlflow
import numpy as np
import pandas as pd
from mlflow.exceptions import INVALID_PARAMETER_VALUE, MlflowException
from mlflow.models import ModelSignature
from mlflow.types import ColSpec, DataType, ParamSchema, ParamSpec, Schema

from secondread.bundle import ModelBundle, load_bundle
from secondread.errors import BundleError, ExplanationError, ImageRejected, OutOfScope
from secondread.evaluation.operating_points import OperatingPoint
from secondread.execution import map_ahead
from secondread.explanation.heat_maps import Allowance, Answered, Drawing, HeatMaps
from secondread.imaging.decoder_pool import DecoderLost, DecoderPool, Patience
from secondread.imaging.picture import UInt8Image
from secondread.tasks import load_task

_MICRO_BATCH = 16  # keeps memory flat however many images a request holds
Answer = dict[str, Any]


class ServedModel(mlflow.pyfunc.PythonModel):  # type: ignore[misc]  # mlflow's types are not followed
    """Answer DICOM, PNG and JPEG files, each on its own: one bad image never fails its neighbours."""

    def load_context(self, context: Any) -> None:
        """Load the bundle, start its decoders and answer twice, so that no request waits for compilation."""
        logging.getLogger("mlflow.models.utils").setLevel(logging.ERROR)  # its warnings quote what requests hold
        self._bundle: ModelBundle = load_bundle(Path(context.artifacts["bundle"]))
        self._heat_maps = HeatMaps(self._bundle)
        preprocess = self._bundle.description.preprocess
        self._decoders = DecoderPool(preprocess)
        self._decoders.start()
        for images in (1, _MICRO_BATCH):  # the second size compiles once more, for all sizes
            self._bundle.answer(np.zeros((images, preprocess.size, preprocess.size, preprocess.channels), np.uint8))

    def predict(self, context: Any, model_input: pd.DataFrame, params: dict[str, Any] | None = None) -> list[Answer]:
        """Answer every row's image, in order.

        Args:
            model_input: a column `image`: the file's bytes, or their base64 text.
            params: `operating_point`, by default `balanced`; `explain`, whether to draw heat maps; `label`, which one
                they explain, by default the task's primary.
        Returns:
            a dict an image: `status` (`ok`, `rejected`, `out_of_scope`), `rule` and `reason` of one without
            probability, `probability_<label>`, `positive_<label>`, `heatmap`; None where there is nothing to say.
        Raises:
            BundleError: the model has no such operating point, or does not answer the label.
        """
        asked = self._asked(params or {})
        images = list(model_input["image"])
        parts = [images[start : start + _MICRO_BATCH] for start in range(0, len(images), _MICRO_BATCH)]
        answers: list[Answer] = []
        begun: list[_Begun] = []
        # The network leaves a core half idle: the next files are decoded meanwhile, and the last heat maps drawn.
        for found in map_ahead(partial(self._found, asked), parts):
            given, more = self._answer(found, asked)
            self._finish(begun, asked)
            begun = more
            answers += given
        self._finish(begun, asked)
        return answers

    def _asked(self, params: dict[str, Any]) -> "_Asked":
        about = self._bundle.description
        try:
            points = about.points(params.get("operating_point", "balanced"))
            label = about.place_of(params.get("label") or load_task(about.task).primary)
        except BundleError as unknown:
            raise _BadRequest(str(unknown)) from None
        return _Asked(points, label if params.get("explain") else None, Patience(), Allowance())

    def _found(self, asked: "_Asked", images: Sequence[object]) -> list["_Found | ImageRejected"]:
        """Each file's model input, or why it gets no probability."""
        return [self._read(image, asked) for image in images]

    def _read(self, image: object, asked: "_Asked") -> "_Found | ImageRejected":
        try:
            file = _file_bytes(image)
            pixels = self._decoders.pixels(file, asked.patience)
        except ImageRejected as rejected:
            return rejected
        except DecoderLost:
            return ImageRejected("busy", "no decoder could be started; send this one again")
        if self._bundle.holds(pixels):
            return _Found(pixels, b"" if asked.label is None else file)
        return OutOfScope("appearance", "the picture does not look like those that the model learned from")

    def _answer(
        self, found: Sequence["_Found | ImageRejected"], asked: "_Asked"
    ) -> tuple[list[Answer], list["_Begun"]]:
        """Answers to images that the network sees together, and which of them a heat map is being drawn for."""
        usable = [each for each in found if isinstance(each, _Found)]
        scored, begun = self._given(usable, asked) if usable else ([], [])
        given = iter(scored)
        return [next(given) if isinstance(each, _Found) else self._put_aside(each) for each in found], begun

    def _given(self, found: Sequence["_Found"], asked: "_Asked") -> tuple[list[Answer], list["_Begun"]]:
        pixels = self._bundle.description.preprocess.stack([each.pixels for each in found])
        if asked.label is None:
            return [self._scored(scores, asked.points) for scores in self._bundle.answer(pixels)], []
        scores, features = self._heat_maps.answer(pixels)
        answers = [self._scored(each, asked.points) for each in scores]
        explained = [place for place, answer in enumerate(answers) if answer["status"] == "ok"]
        answered = [
            Answered(
                found[place].pixels,
                partial(self._decoders.display, found[place].file, asked.patience),
                scores[place, asked.label],
                features[place],
            )
            for place in explained
        ]
        return answers, self._begun([answers[place] for place in explained], answered, asked)

    def _begun(self, answers: Sequence[Answer], answered: Sequence[Answered], asked: "_Asked") -> list["_Begun"]:
        """Begin to draw heat maps; answers say why there are none."""
        assert asked.label is not None
        try:
            drawings = self._heat_maps.begin(answered, asked.label, asked.allowance)
        except ExplanationError as why:
            for answer in answers:
                answer.update(_without_heat_map(why))
            return []
        return [_Begun(answer, drawing) for answer, drawing in zip(answers, drawings, strict=True)]

    def _finish(self, begun: Sequence["_Begun"], asked: "_Asked") -> None:
        """Put heat maps into their answers, or why there is none."""
        for answer, drawing in begun:
            try:
                picture = self._heat_maps.finish(drawing, asked.allowance)
            except ExplanationError as why:
                answer.update(_without_heat_map(why))
            else:
                answer["heatmap"] = base64.b64encode(picture).decode()

    def _put_aside(self, rejected: ImageRejected) -> Answer:
        why = {"status": rejected.status, "rule": rejected.rule, "reason": rejected.reason}
        return why | self._about_labels({}, {})

    def _scored(self, scores: Any, points: dict[str, Any]) -> Answer:
        if not np.isfinite(scores).all():
            return self._put_aside(ImageRejected("not_finite", "the model found no number for this image"))
        probability = {
            label: float(score) for label, score in zip(self._bundle.description.labels, scores, strict=True)
        }
        positive = {label: score >= points[label].threshold for label, score in probability.items()}
        return {"status": "ok", "rule": None, "reason": None} | self._about_labels(probability, positive)

    def _about_labels(self, probability: dict[str, float], positive: dict[str, bool]) -> Answer:
        labels = self._bundle.description.task_labels
        answer: Answer = {f"probability_{label}": probability.get(label) for label in labels}
        answer |= {f"positive_{label}": positive.get(label) for label in labels}
        return answer | {"heatmap": None}


@dataclass(frozen=True)
class _Asked:
    """What a request's parameters ask for, and what its files may take.

    Args:
        points: by label, where a probability becomes a decision.
        label: place of the answered label whose heat map is drawn; None where none is.
    """

    points: dict[str, OperatingPoint]
    label: int | None
    patience: Patience
    allowance: Allowance


@dataclass(frozen=True)
class _Found:
    """An image that gets a probability.

    Args:
        pixels: model input, shape (size, size, channels).
        file: its bytes, where its heat map is drawn.
    """

    pixels: UInt8Image
    file: bytes


class _Begun(NamedTuple):
    """An answer whose heat map is being drawn."""

    answer: Answer
    drawing: Drawing


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
    answers = [ColSpec(DataType.string, "status")]
    answers += [ColSpec(DataType.string, why, required=False) for why in ("rule", "reason")]
    answers += [ColSpec(DataType.double, f"probability_{label}", required=False) for label in labels]
    answers += [ColSpec(DataType.boolean, f"positive_{label}", required=False) for label in labels]
    answers += [ColSpec(DataType.string, "heatmap", required=False)]
    params = [
        ParamSpec("operating_point", DataType.string, "balanced"),
        ParamSpec("explain", DataType.boolean, False),
        ParamSpec("label", DataType.string, ""),
    ]
    # Not binary: MLflow decodes that in two of its four request formats, and refuses a whole request for one bad text.
    return ModelSignature(Schema([ColSpec(DataType.string, "image")]), Schema(answers), ParamSchema(params))


def _without_heat_map(why: ExplanationError) -> Answer:
    return {"reason": f"no heat map: {why}"}


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
