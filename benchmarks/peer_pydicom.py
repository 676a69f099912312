"""Run by `benchmarks/preprocess.py` in a process of its own: what pydicom takes, as textbooks use it.

    python benchmarks/peer_pydicom.py plain|bare SIZE FILE...

`plain` goes on through float64 and OpenCV to three windows; `bare` only decodes. Each line on stdin is one round; its
reply is the processor's seconds for all files.
"""

import sys
import time
import warnings

import cv2
import numpy as np
from pydicom import dcmread

WINDOWS = ((40, 80), (80, 200), (40, 380))


def main(way: str, size: int, files: list[str]) -> None:
    """Answer rounds until stdin ends."""
    warnings.simplefilter("ignore")
    cv2.setNumThreads(1)
    for _ in sys.stdin:
        start = time.process_time()
        for file in files:
            if way == "plain":
                plain(file, size)
            else:
                _ = dcmread(file).pixel_array
        print(time.process_time() - start, flush=True)


def plain(file: str, size: int) -> np.ndarray:
    """Shape (size, size, 3), uint8."""
    dcm = dcmread(file)
    hounsfield = dcm.pixel_array.astype(np.float64) * float(dcm.RescaleSlope) + float(dcm.RescaleIntercept)
    shown = [np.clip((hounsfield - (center - width / 2)) / width, 0, 1) for center, width in WINDOWS]
    fitted = cv2.resize(np.stack(shown, axis=-1), (size, size), interpolation=cv2.INTER_AREA)
    return np.asarray(fitted * 255).astype(np.uint8)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), sys.argv[3:])
