"""Heat maps beside served answers: by the method that passed the model's checks, within what a request may take."""

import contextlib
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property

import keras
import numpy as np
import numpy.typing as npt

from secondread.bundle import ModelBundle
from secondread.errors import ExplanationError, SecondReadError
from secondread.explanation.grad_cam import GradCam, last_map
from secondread.explanation.method import Maps
from secondread.explanation.methods import method_named
from secondread.explanation.overlay import Heading, overlay, png
from secondread.imaging.picture import UInt8Image

_SECONDS = 10.0
_BYTES = 32 << 20
_NOTE = "what the model reacts to, not where an illness is"


@dataclass
class Allowance:
    """What the heat maps of one request may take together, so that they never cost it its probabilities.

    Args:
        seconds: left, of waiting and of drawing.
        bytes: left, of pictures.
    """

    seconds: float = _SECONDS
    bytes: int = _BYTES


@dataclass(frozen=True)
class Answered:
    """An answer that is to be explained.

    Args:
        pixels: model input, shape (size, size, channels).
        display: makes the picture, shape (height, width).
        probability: of the label.
        features: what lay inside the network, from `HeatMaps.answer`.
    """

    pixels: UInt8Image
    display: Callable[[], UInt8Image]
    probability: float
    features: Maps | None


class HeatMaps:
    """A bundle's heat maps, drawn in a thread of its own: one that takes too long is left behind, not waited for."""

    def __init__(self, bundle: ModelBundle) -> None:
        self._bundle = bundle
        self._thread = ThreadPoolExecutor(1, "heat_maps")

    def answer(self, pixels: UInt8Image) -> tuple[npt.NDArray[np.float64], Sequence[Maps | None]]:
        """Answer images as the bundle does, and keep what Grad-CAM begins with: the network runs once for both.

        Returns:
            probabilities, shape (n, labels), and an item an image, None where the method begins with the image.
        """
        with contextlib.suppress(Exception):  # whatever it is, the answer does not need it
            if self._both is not None:
                outputs, features = self._both.predict_on_batch(pixels)
                return self._bundle.calibrated(outputs), features
        return self._bundle.answer(pixels), [None] * len(pixels)

    def draw(self, answered: Answered, label: int, allowance: Allowance) -> bytes:
        """Draw an image's heat map over its picture, by the method that passed the model's checks.

        Args:
            label: which of the answered labels, by place.
            allowance: of the request; what this one takes is taken from it.
        Returns:
            a PNG.
        Raises:
            ExplanationError: why there is none: no method passed, the allowance is spent, or drawing failed.
        """
        if self._bundle.description.explanation.method is None:
            raise ExplanationError(self._bundle.description.explanation.reason)
        if allowance.bytes <= 0:
            raise ExplanationError(f"those of a request may have {_BYTES >> 20} MB; send fewer images at a time")
        began = time.monotonic()
        drawing = self._thread.submit(self._drawn, answered, label)
        try:
            picture = drawing.result(max(0.0, allowance.seconds))
        except TimeoutError:
            drawing.cancel()
            said = f"those of a request may take {_SECONDS:g} seconds; send fewer images at a time"
            raise ExplanationError(said) from None
        except SecondReadError as refused:
            raise ExplanationError(str(refused)) from None
        except Exception as failed:  # whatever it was: the probability is known and stands
            raise ExplanationError(f"drawing it failed ({type(failed).__name__})") from failed
        finally:
            allowance.seconds -= time.monotonic() - began
        allowance.bytes -= len(picture)
        return picture

    @cached_property
    def _both(self) -> keras.Model | None:
        """From images to logits and the last map; None where Grad-CAM was not chosen, or does not fit."""
        inside = last_map(self._bundle.network)
        if self._bundle.description.explanation.method != GradCam.name or inside is None:
            return None
        return keras.Model(self._bundle.network.input, [self._bundle.learner.output, inside])

    def _drawn(self, answered: Answered, label: int) -> bytes:
        about, network = self._bundle.description, self._bundle.network
        method = method_named(str(about.explanation.method))
        if isinstance(method, GradCam) and answered.features is not None:
            [found] = method.explain_features(network, answered.features[np.newaxis], label)
        else:
            [found] = method.explain(network, answered.pixels[np.newaxis], label, self._bundle.background)
        heading = Heading(about.labels[label], answered.probability, method.name, _NOTE)
        return png(overlay(answered.display(), found, about.preprocess, heading))
