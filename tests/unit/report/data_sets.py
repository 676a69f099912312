"""Data sets of every kind that a page may have to show."""

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from secondread.config import PreprocessSettings, Window
from secondread.data.audit import audit
from secondread.data.manifest import make_manifest
from secondread.data.prepare import Prepared
from secondread.data.store import Pixels
from secondread.imaging.preprocess import Preprocess
from secondread.storage import open_folder
from secondread.tasks import load_task

SECRET = b"a secret of the tests"


def heads(patients: int = 12, slices: int = 5) -> Prepared:
    """Slices of CT series through three windows, with labels together, subgroups, gaps, copies and files put aside."""
    task = load_task("hemorrhage")
    random = np.random.default_rng(0)
    count = patients * slices
    patient = np.repeat(np.arange(patients), slices)
    entries = pd.DataFrame(
        {
            "image_key": [f"{number:064x}" for number in range(count)],
            "path": [f"Secret^Name/{number}.dcm" for number in range(count)],
            "patient": [f"SECRET-ID-{number}" for number in patient],
            "study": [f"1.2.{number}" for number in patient],
            "series": [f"1.2.{number}.1" for number in patient],
            "order": np.tile([0.0, 5, 10, 20, 25][:slices], patients),
            "split": np.array(["train", "val", "test"])[patient % 3],
            "subgroup_sex": np.array(["F", "M"])[patient % 2],
        }
    )
    for place, label in enumerate(task.labels):
        entries[f"label_{label}"] = (random.random(count) < 0.6 / (place + 1)).astype(float)
    entries[f"label_{task.labels[-1]}"] = np.nan
    groups = np.arange(count)
    groups[1] = 0
    windows = (Window(center=40, width=80), Window(center=80, width=200), Window(center=40, width=380))
    settings = PreprocessSettings(size=32, channels=3, windows=windows)
    form = Preprocess.build(task, settings, "HU", None)
    images = random.integers(0, 256, (count, 32, 32, 3), np.uint8)
    return prepared(make_manifest(entries, groups, SECRET), images, form, {"truncated": 3, "plane": 40, "rare": 1})


def chests(patients: int = 9) -> Prepared:
    """Pictures of one label, a patient each, of whom one is in two splits; nothing is put aside."""
    task = load_task("pneumonia")
    entries = pd.DataFrame(
        {
            "image_key": [f"{number:064x}" for number in range(patients)],
            "path": [f"{number}.png" for number in range(patients)],
            "patient": ["twice", *[str(number) for number in range(patients - 2)], "twice"],
            "study": "",
            "series": "",
            "order": np.nan,
            "split": ["train", "val", "test"] * (patients // 3),
            "label_pneumonia": np.arange(patients) % 2.0,
        }
    )
    form = Preprocess.build(task, PreprocessSettings(size=16), "display", None)
    images = np.random.default_rng(1).integers(0, 256, (patients, 16, 16, 1), np.uint8)
    return prepared(make_manifest(entries, np.arange(patients), SECRET), images, form, {})


def prepared(manifest: pd.DataFrame, images: NDArray[np.uint8], form: Preprocess, aside: dict[str, int]) -> Prepared:
    """What `prepare` would give."""
    manifest = manifest.assign(row=np.arange(len(manifest)), fold=-1)
    return Prepared("layout", open_folder("Secret^Root"), manifest, Pixels([images]), form, {}, audit(manifest), aside)
