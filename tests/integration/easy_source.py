"""A source that a small network learns in seconds: pneumonia is a bright disc."""

from pathlib import Path

import cv2
import numpy as np

PATIENTS = 40


def write_easy_source(root: Path, seed: int, ill: int = PATIENTS // 2) -> Path:
    """Pictures of `PATIENTS`, one each; folders and files name patients, as they should not."""
    random = np.random.default_rng(seed)
    for number in range(PATIENTS):
        picture = cv2.resize(random.integers(0, 160, (12, 12), np.uint8), (96, 96), interpolation=cv2.INTER_CUBIC)
        if number < ill:
            cv2.circle(picture, (int(random.integers(30, 66)), int(random.integers(30, 66))), 20, 250, -1)
        folder = root / ("pneumonia" if number < ill else "normal") / f"Mustermann_Erika_{seed}{number:03d}"
        folder.mkdir(parents=True)
        cv2.imwrite(str(folder / f"thorax-{seed}{number:03d}.jpg"), picture)
    return root
