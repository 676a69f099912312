"""Where the findings of images are, of a source that drew them."""

from collections.abc import Sequence
from pathlib import PurePosixPath

import cv2
import numpy as np
import numpy.typing as npt

from secondread.imaging.preprocess import Preprocess
from secondread.storage import Folder

_FOLDER = "masks"


def masks_of(root: Folder, paths: Sequence[str], preprocess: Preprocess) -> npt.NDArray[np.bool_] | str:
    """Read the masks that lie beside images, as they lie in the model's input.

    Args:
        root: the source's folder; its `masks/` holds a PNG by the name of each image with a finding, as phantoms do.
        paths: of images below it.
    Returns:
        shape (n, size, size); or, in words, why there are none.
    """
    files = [f"{_FOLDER}/{PurePosixPath(path).stem}.png" for path in paths]
    read = [_mask(content) for content in root.read_each(files) if not isinstance(content, OSError)]
    drawn = [preprocess.touched(mask > 0) for mask in read if mask is not None]
    if not drawn:
        return "the source has no masks that say where its findings are"
    if len(drawn) < len(files):
        return f"the source has no mask of {len(files) - len(drawn)} of {len(files)} images"
    return np.array(drawn)


def _mask(content: bytes) -> npt.NDArray[np.uint8] | None:
    """Shape (height, width); None where it is no picture."""
    mask: npt.NDArray[np.uint8] | None = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_GRAYSCALE)
    return mask
