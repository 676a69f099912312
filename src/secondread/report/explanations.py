"""The page about explanations: what each picture says, and whether its method is to be believed."""

from pathlib import Path

import cv2
import numpy as np
import pandas as pd

from secondread.bundle import BundleDescription
from secondread.explanation.choice import Choice
from secondread.explanation.overlay import UNIT, png
from secondread.report.page import Picture, environment, picture
from secondread.tasks import Task

PAGE = "explanations.html"
_MOST = 48  # images: a page of more takes a browser's memory
_WIDEST = 1200  # pixels of a picture in the page; the folder beside it has them at their own size


def explanations_page(
    task: Task,
    description: BundleDescription,
    choice: Choice,
    table: pd.DataFrame,
    summary: dict[str, object],
    pictures: Path,
) -> str:
    """Write the page of a folder of explanations.

    Args:
        table: a row an image and label, as `explain` writes it.
        summary: its counts.
        pictures: the folder that holds a picture an image, by image key.
    Returns:
        one HTML page without scripts, which names no file.
    """
    images = [(str(key), rows.to_dict("records")) for key, rows in table.groupby("image_key", sort=False)]
    page: str = (
        environment(Path(__file__).parent)
        .get_template("explanations.html.jinja")
        .render(
            task=task,
            model=description,
            choice=choice,
            unit=UNIT,
            summary=summary,
            images=[(key, rows, _shown(pictures / f"{key}.png", key)) for key, rows in images[:_MOST]],
            more=len(images[_MOST:]),
        )
    )
    return page


def _shown(file: Path, key: str) -> Picture:
    """A picture as the page shows it."""
    read = np.asarray(cv2.imdecode(np.frombuffer(file.read_bytes(), np.uint8), cv2.IMREAD_COLOR_RGB), np.uint8)
    height, width = read.shape[:2]
    if width > _WIDEST:
        read = cv2.resize(read, (_WIDEST, round(height * _WIDEST / width)), interpolation=cv2.INTER_AREA)
    return picture(f"Image {key[:12]}, as it is and with what speaks for and against each label", png(read))
