"""What every way to explain an answer promises."""

from abc import ABC, abstractmethod
from typing import ClassVar, TypeAlias

import keras
import numpy as np
import numpy.typing as npt

from secondread.errors import ExplanationError
from secondread.explanation.target import logits_of, reference
from secondread.imaging.picture import UInt8Image

Maps: TypeAlias = npt.NDArray[np.float32]


class Method(ABC):
    """A way to divide a label's logit among the pixels of an image.

    Args:
        name: what a user types.
        is_complete: it promises that a map sums to the logit's difference from `baseline`.
    """

    name: ClassVar[str]
    is_complete: ClassVar[bool]

    def fits(self, model: keras.Model) -> str | None:
        """Say why it cannot explain this network, and which method can; None where it can."""
        return None

    def explain(
        self, network: keras.Model, images: UInt8Image, label: int, background: UInt8Image | None = None
    ) -> Maps:
        """Draw a map an image; equal arguments give equal maps.

        Args:
            network: as a bundle holds it.
            images: model input, uint8, shape (n, height, width, channels).
            label: which of the bundle's labels, by place.
            background: images that show what is usual, shape (m, height, width, channels); None is a black one.
        Returns:
            shape (n, height, width): what each pixel adds to the label's logit; above 0 speaks for the label.
        Raises:
            ExplanationError: it does not fit the network.
        """
        unfit = self.fits(network)
        if unfit:
            raise ExplanationError(f"method={self.name}: {unfit}")
        return np.asarray(self._maps(network, images, label, background), np.float32)

    def baseline(
        self, network: keras.Model, images: UInt8Image, label: int, background: UInt8Image | None = None
    ) -> float:
        """The logit that maps count from; arguments as of `explain`."""
        return float(logits_of(network, reference(images, background)[np.newaxis], label)[0])

    @abstractmethod
    def _maps(self, network: keras.Model, images: UInt8Image, label: int, background: UInt8Image | None) -> Maps: ...
