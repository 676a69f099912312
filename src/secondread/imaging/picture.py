"""What a file holds once it is decoded: numbers with a unit."""

from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from secondread.config import Unit

UInt8Image: TypeAlias = NDArray[np.uint8]
HounsfieldImage: TypeAlias = NDArray[np.int16] | NDArray[np.float32]
AnyImage: TypeAlias = NDArray[Any]  # of the type that the field beside it says
Mask: TypeAlias = NDArray[np.bool_]


@dataclass(frozen=True)
class Picture:
    """One decoded image.

    Args:
        values: shape (height, width): Hounsfield units, int16 where the file's rescale is of whole numbers and else
            float32; or display values, uint8.
        unit: what `values` mean.
        stored: the file's own numbers before any meaning was given to them, shape (height, width).
        modality: DICOM Modality (0008,0060), such as CT; None for a JPEG or PNG.
        padding: True where the file marks a pixel as filling, shape (height, width); None where it marks none.
    """

    values: AnyImage
    unit: Unit
    stored: AnyImage
    modality: str | None = None
    padding: Mask | None = None
