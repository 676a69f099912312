"""The page about explanations: every picture, what it is of, and whether its method is to be believed."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from secondread.bundle import BundleDescription
from secondread.evaluation.calibration import Calibration
from secondread.evaluation.explanation import Explanation
from secondread.evaluation.operating_points import OperatingPoint
from secondread.explanation.choice import Choice
from secondread.explanation.methods import METHODS
from secondread.explanation.overlay import png
from secondread.imaging.preprocess import Preprocess
from secondread.report.explanations import explanations_page
from secondread.tasks import load_task

TASK = load_task("pneumonia")
UNKNOWN = {f"{measure}{end}": 0.5 for measure in ("sensitivity", "specificity") for end in ("", "_low", "_high")}


def description() -> BundleDescription:
    return BundleDescription(
        task=TASK.name,
        task_labels=TASK.labels,
        model="compact_resnet",
        labels=TASK.labels,
        preprocess=Preprocess(unit="display", size=16, channels=1, modalities=TASK.modalities),
        calibration={"pneumonia": Calibration(method="none")},
        operating_points=(
            OperatingPoint(label="pneumonia", name="balanced", threshold=0.5, positives=1, negatives=1, **UNKNOWN),
        ),
        prior={"pneumonia": 0.5},
        manifest_digest="m",
        store_digest="s",
        git_commit="unknown",
        figures={},
        explanation=Explanation(method="occlusion", reason="it passed every check"),
        intended_use=TASK.intended_use,
    )


def page(folder: Path, images: int, note: str = "", gap: float | None = 0.25) -> str:
    rows: list[dict[str, Any]] = []
    for number in range(images):
        key = f"{number:064x}"
        (folder / f"{key}.png").write_bytes(png(np.full((64, 2000, 3), number, np.uint8)))
        row = {"image_key": key, "label": "pneumonia", "truth": "present", "probability": 0.75, "logit": 1.1}
        rows.append(row | {"sum_of_map": 1.5, "completeness_gap": gap})
    summary = {"images": images + 1, "explained": images, "put_aside": 1, "put_aside_because": {"it is blank": 1}}
    table = pd.DataFrame(rows)
    return explanations_page(TASK, description(), Choice(METHODS["occlusion"], note), table, summary, folder)


def test_it_shows_every_picture_with_its_figures(tmp_path: Path) -> None:
    found = page(tmp_path, 2)
    assert found.count("data:image/png") == 2
    for said in ("occlusion", "2 of 3 images", "1: it is blank", ".750", "+1.100", "+1.500", "+.250", "present"):
        assert said in found
    assert "it passed every check" in found
    assert 'class="doubt"' not in found
    assert "<script" not in found


@pytest.mark.parametrize("gap", [None, float("nan")])
def test_a_method_that_promises_nothing_misses_nothing_and_doubt_is_shown(gap: float | None, tmp_path: Path) -> None:
    found = page(tmp_path, 1, note="not checked: nobody did", gap=gap)
    assert "promises nothing" in found
    assert '<p class="doubt">Not checked: nobody did.</p>' in found


def test_of_very_many_it_shows_some_and_counts_the_others(tmp_path: Path) -> None:
    found = page(tmp_path, 50)
    assert found.count("data:image/png") == 48
    assert "2 more are in the folder of pictures" in found
