"""CT-ICH: `hemorrhage_diagnosis.csv` and `Patients_CT/<patient>/brain/<slice>.jpg`, windowed 8-bit slices.

Sex and age come from `patient_demographics.csv` where it is there.

Source: Hssayeni, PhysioNet, doi:10.13026/w8q8-ky94, version 1.0.0.
"""

import csv
import re
from io import StringIO

import pandas as pd

from secondread.config import Window
from secondread.data.sources.index import Index, make_index
from secondread.data.sources.label_csv import columns_of, drop_repeats, read_numbers, read_table
from secondread.data.sources.labels import read_labels
from secondread.data.sources.listing import Listing, list_files, put_aside, subfolders, without_label
from secondread.data.sources.subgroups import age_band, sex_of
from secondread.execution import Workers
from secondread.storage import Folder
from secondread.tasks import Task

_TABLE = "hemorrhage_diagnosis.csv"
_DEMOGRAPHICS = "patient_demographics.csv"
_COLUMNS = {"patientnumber", "slicenumber", "no_hemorrhage"}
_SUBTYPES = ("epidural", "intraparenchymal", "intraventricular", "subarachnoid", "subdural")
_SLICE = re.compile(r"(?:.*/)?(\d{1,9})/brain/(\d{1,9})\.jpe?g", re.IGNORECASE)
# The same slices through the bone window, and the bleeds' outlines.
_OTHER = re.compile(r".*/bone/.*|.*_HGE_Seg\.jpe?g", re.IGNORECASE)
_WINDOW = Window(center=40, width=120)


class CtIch:
    """`any` is what is not `No_Hemorrhage`; rows without an image are put aside."""

    layout = "ct_ich"
    tasks = ("hemorrhage",)

    def recognises(self, root: Folder) -> str | None:
        """A table `hemorrhage_diagnosis.csv` of patients and slices."""
        return f"{_TABLE} of patients and slices" if set(columns_of(root, _TABLE)) >= _COLUMNS else None

    def index(self, root: Folder, task: Task, workers: Workers = None) -> Index:
        """Index the images; see `Source.index`."""
        rows = _read(root)
        folder = subfolders(root).get("patients_ct")
        listing = list_files(root, folder) if folder else Listing((), ())
        files = {(int(match[1]), int(match[2])): path for path in listing.regular if (match := _SLICE.fullmatch(path))}
        sex, age = _sex_and_age(root)
        rows = rows.assign(
            subgroup_sex=[sex.get(patient, "") for patient in rows["patient"]],
            subgroup_age=[age.get(patient, "") for patient in rows["patient"]],
        )
        slices = list(zip(rows["patient"], rows["order"], strict=True))
        rows = rows.assign(
            path=[files.get(slice_, "") for slice_ in slices], patient="ct_ich " + rows["patient"].astype(str)
        )
        rows["series"] = rows["patient"]
        found = rows["path"] != ""
        absent = [f"Patients_CT/{patient:03d}/brain/{number}.jpg" for patient, number in slices]
        missing = put_aside(
            list(pd.Series(absent, rows.index)[~found]), "missing_file", "the table's slice has no image"
        )
        used = set(rows["path"])
        unlabelled = [path for path in listing.regular if path not in used and not _OTHER.fullmatch(path)]
        aside = [listing.put_aside(), missing, without_label(unlabelled)]
        return make_index(self.layout, root, task, rows[found], aside, [], display_window=_WINDOW)


def _read(root: Folder) -> pd.DataFrame:
    table = read_table(root, _TABLE)
    present = [name for name in _SUBTYPES if name in table]
    rows = pd.DataFrame(
        {
            "patient": read_numbers(table["patientnumber"], f"{root}: PatientNumber"),
            "order": read_numbers(table["slicenumber"], f"{root}: SliceNumber"),
            "label_any": 1 - read_labels(table["no_hemorrhage"], f"{root}: No_Hemorrhage"),
        }
    )
    for name in present:
        rows[f"label_{name}"] = read_labels(table[name], f"{root}: {name}")
    return drop_repeats(rows, ["patient", "order"], root)


def _sex_and_age(root: Folder) -> tuple[dict[int, str], dict[int, str]]:
    """Sex and age band by patient number; empty where the table is not there or is another one.

    Its header spans two lines and its rows differ in length, so its first three columns are read by place: patient
    number, age in years, gender.
    """
    if not root.has(_DEMOGRAPHICS):
        return {}, {}
    lines = StringIO(root.read(_DEMOGRAPHICS).decode("utf-8-sig", errors="replace"), newline="")
    try:
        rows = [row for row in csv.reader(lines) if len(row) > 2 and re.fullmatch(r"[0-9]{1,9}", row[0].strip())]
    except csv.Error:
        return {}, {}
    sex = {int(row[0]): sex_of(row[2]) for row in rows}
    return sex, {int(row[0]): age_band(row[1]) for row in rows}
