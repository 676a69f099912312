"""Where the findings of images are, of a source that drew them."""

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from secondread.imaging.preprocess import Preprocess

_FOLDER = "masks"


def masks_of(root: Path, paths: Sequence[str], preprocess: Preprocess) -> npt.NDArray[np.bool_] | str:
    """Read the masks that lie beside images, as they lie in the model's input.

    Args:
        root: the source's folder; its `masks/` holds a PNG by the name of each image with a finding, as phantoms do.
        paths: of images below it.
    Returns:
        shape (n, size, size); or, in words, why there are none.
    """
    if not (root / _FOLDER).is_dir():
        return "the source has no masks that say where its findings are"
    files = [root / _FOLDER / f"{Path(path).stem}.png" for path in paths]
    read = [cv2.imread(str(file), cv2.IMREAD_GRAYSCALE) for file in files if file.is_file()]
    drawn = [np.asarray(mask) for mask in read if mask is not None]
    if len(drawn) < len(files):
        return f"the source has no mask of {len(files) - len(drawn)} of {len(files)} images"
    return np.array([preprocess.touched(mask > 0) for mask in drawn]).reshape(-1, preprocess.size, preprocess.size)
