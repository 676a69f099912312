"""RSNA Pneumonia Detection Challenge: `stage_2_train_labels.csv`, a row per box, and `stage_2_train_images/*.dcm`.

Source: kaggle.com/c/rsna-pneumonia-detection-challenge.
"""

from pathlib import PurePosixPath

import pandas as pd

from secondread.data.sources.headers import with_headers
from secondread.data.sources.index import Index, make_index
from secondread.data.sources.label_csv import columns_of, read_table
from secondread.data.sources.labels import read_labels
from secondread.data.sources.listing import list_files, put_aside, subfolders, without_label
from secondread.execution import Workers
from secondread.storage import Folder
from secondread.tasks import Task

_COLUMNS = {"patientid", "target"}
_STAGES = ("stage_2_train", "stage_1_train")


class RsnaPneumonia:
    """An image has pneumonia when one of its rows, one a box, says so."""

    layout = "rsna_pneumonia"
    tasks = ("pneumonia",)

    def recognises(self, root: Folder) -> str | None:
        """A stage's labels with `patientId` and `Target`, and its images."""
        return "a stage's labels with patientId and Target, and its DICOM images" if _stage(root) else None

    def index(self, root: Folder, task: Task, workers: Workers = None) -> Index:
        """Index the images; see `Source.index`."""
        stage = _stage(root)
        assert stage is not None, "index follows recognises"
        labels = _read(root, f"{stage}_labels.csv")
        listing = list_files(root, subfolders(root)[f"{stage}_images"])
        files = {PurePosixPath(path).stem: path for path in listing.regular if path.lower().endswith(".dcm")}
        found = labels["patient"].isin(files.keys())
        absent = [f"{name}.dcm" for name in labels.loc[~found, "patient"]]
        missing = put_aside(absent, "missing_file", "the table's image has no file")
        labelled = labels[found].assign(path=labels.loc[found, "patient"].map(files))
        used = set(labelled["path"])
        unlabelled = without_label([path for path in listing.regular if path not in used])
        rows, rejected = with_headers(labelled, root, workers)
        return make_index(self.layout, root, task, rows, [listing.put_aside(), missing, unlabelled, *rejected], [])


def _read(root: Folder, table: str) -> pd.DataFrame:
    """One row an image; the index is its first line."""
    read = read_table(root, table)
    boxes = pd.DataFrame(
        {
            "line": read.index,
            "patient": read["patientid"],
            "label_pneumonia": read_labels(read["target"], f"{root}: Target"),
        }
    )
    images = boxes.groupby("patient", as_index=False).agg({"line": "min", "label_pneumonia": "max"})
    return images.set_index("line")


def _stage(root: Folder) -> str | None:
    folders = subfolders(root)
    for stage in _STAGES:
        if f"{stage}_images" in folders and set(columns_of(root, f"{stage}_labels.csv")) >= _COLUMNS:
            return stage
    return None
