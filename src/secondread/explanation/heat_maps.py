"""Heat maps beside served answers: by the method that passed the model's checks, within what a request may take."""

import contextlib
import time
from collections.abc import Callable, Sequence
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property

import keras
import numpy as np
import numpy.typing as npt

from secondread.bundle import ModelBundle
from secondread.errors import ExplanationError, SecondReadError
from secondread.execution import core_count
from secondread.explanation.grad_cam import GradCam, last_map
from secondread.explanation.method import Maps
from secondread.explanation.methods import method_named
from secondread.explanation.overlay import Heading, overlay, png
from secondread.imaging.picture import UInt8Image

_SECONDS = 10.0
_BYTES = 32 << 20
_NOTE = "what the model reacts to, not where an illness is"
_TOO_LONG = f"those of a request may take {_SECONDS:g} seconds; send fewer images at a time"
_TOO_MANY = f"those of a request may have {_BYTES >> 20} MB; send fewer images at a time"


@dataclass
class Allowance:
    """What the heat maps of one request may take together, so that they never cost it its probabilities.

    Args:
        seconds: left, of waiting for them.
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


@dataclass(frozen=True)
class Drawing:
    """A heat map that is being made.

    Args:
        maps: the image's map, perhaps among others'.
        picture: a PNG.
    """

    maps: "Future[Maps]"
    picture: "Future[bytes]"

    def leave(self) -> None:
        """Let what has not begun never begin."""
        self.maps.cancel()
        self.picture.cancel()


class HeatMaps:
    """A bundle's heat maps, made in threads of their own: one that takes too long is left behind, not waited for."""

    def __init__(self, bundle: ModelBundle) -> None:
        self._bundle = bundle
        self._explaining = ThreadPoolExecutor(1, "maps")  # SHAP holds numpy's draws meanwhile
        self._drawing = ThreadPoolExecutor(core_count(), "heat_maps")

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

    def begin(self, answered: Sequence[Answered], label: int, allowance: Allowance) -> list[Drawing]:
        """Begin to draw images' heat maps over their pictures, by the method that passed the model's checks.

        Args:
            answered: images that the network saw together.
            label: which of the answered labels, by place.
            allowance: of the request.
        Raises:
            ExplanationError: there will be none: no method passed, or the allowance is spent.
        """
        if self._bundle.description.explanation.method is None:
            raise ExplanationError(self._bundle.description.explanation.reason)
        if allowance.seconds <= 0 or allowance.bytes <= 0:
            raise ExplanationError(_TOO_LONG if allowance.seconds <= 0 else _TOO_MANY)
        parts = [answered] if any(each.features is not None for each in answered) else [[each] for each in answered]
        drawings = []
        for part in parts:
            maps = self._explaining.submit(self._explained, part, label)
            for place, each in enumerate(part):
                drawings.append(Drawing(maps, self._drawing.submit(self._drawn, each, maps, place, label)))
        return drawings

    def finish(self, drawing: Drawing, allowance: Allowance) -> bytes:
        """Wait for a heat map.

        Args:
            allowance: of the request; what this one takes is taken from it.
        Returns:
            a PNG.
        Raises:
            ExplanationError: why there is none: the allowance is spent, or drawing failed.
        """
        began = time.monotonic()
        try:
            if allowance.bytes <= 0:
                raise ExplanationError(_TOO_MANY)
            picture = drawing.picture.result(max(0.0, allowance.seconds))
        except (TimeoutError, CancelledError):
            raise ExplanationError(_TOO_LONG) from None
        except SecondReadError as refused:
            raise ExplanationError(str(refused)) from None
        except Exception as failed:  # whatever it was: the probability is known and stands
            raise ExplanationError(f"drawing it failed ({type(failed).__name__})") from failed
        finally:
            drawing.leave()
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

    def _explained(self, answered: Sequence[Answered], label: int) -> Maps:
        """Maps of images, shape (n, size, size)."""
        network = self._bundle.network
        method = method_named(str(self._bundle.description.explanation.method))
        features = [each.features for each in answered if each.features is not None]
        if isinstance(method, GradCam) and features:
            return method.explain_features(network, np.stack(features), label)
        pixels = np.stack([each.pixels for each in answered])
        return method.explain(network, pixels, label, self._bundle.background)

    def _drawn(self, answered: Answered, maps: "Future[Maps]", place: int, label: int) -> bytes:
        about = self._bundle.description
        heading = Heading(about.labels[label], answered.probability, str(about.explanation.method), _NOTE)
        found = maps.result()[place]
        return png(overlay(answered.display(), found, about.preprocess, heading))
