"""A source that a small network learns in seconds: pneumonia is a bright disc."""

from pathlib import Path

import cv2
import numpy as np
from planted.pictures import plant_jpeg
from planted.words import word

PATIENTS = 40


def write_easy_source(root: Path, seed: int, ill: int = PATIENTS // 2) -> Path:
    """Pictures of `PATIENTS`, one each; folders, files and what is in them name patients, as they should not."""
    random = np.random.default_rng(seed)
    for number in range(PATIENTS):
        picture = cv2.resize(random.integers(0, 160, (12, 12), np.uint8), (96, 96), interpolation=cv2.INTER_CUBIC)
        if number < ill:
            cv2.circle(picture, (int(random.integers(30, 66)), int(random.integers(30, 66))), 20, 250, -1)
        folder = root / ("pneumonia" if number < ill else "normal") / f"{word('easy patient')} {seed}{number:03d}"
        folder.mkdir(parents=True)
        file = folder / f"{word('easy file')} {seed}{number:03d}.jpg"
        file.write_bytes(plant_jpeg(cv2.imencode(".jpg", picture)[1].tobytes()))
    return root
