"""Write a DICOM Structured Report for each study that was scored, for the archive that its images came from."""

from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pandas as pd
from tqdm import tqdm

from secondread.bundle import BundleDescription
from secondread.errors import ImageRejected
from secondread.execution import refresh_s
from secondread.imaging.dicom.report import Author, Evidence, Finding, evidence_of, report_uid, write_report
from secondread.storage import remove_unfinished, write_aside

_FOLDER = "sr"
_MOST_SUSPICIOUS = 3  # images that a label's findings are about
_MISSING = {
    "pictures": "of pictures, which no report can point at",
    "invalid_uid": "whose UIDs are none (as RSNA's are not), which no report can point at",
    "header": "whose headers hold values that no report may copy",
    "unreadable": "whose files are gone or cannot be read",
}
Row = Mapping[str, Any]


def write_structured_reports(
    out: Path, root: Path, description: BundleDescription, version: str, operating_point: str
) -> None:
    """Write `OUT/sr/UID.dcm` for each study of DICOM files, one study at a time; reports that are there are kept.

    A report names the patient and the study as its images do: it is for the archive that they came from, and is
    logged nowhere.

    Args:
        out: a finished folder of scores.
        root: the folder that its paths lie below.
        version: SHA-256 of the bundle.
    """
    author = Author(description.task, description.model, version, operating_point, description.intended_use)
    folder = out / _FOLDER
    folder.mkdir(exist_ok=True)
    remove_unfinished(folder)
    slices = pd.read_parquet(out / "slices.parquet")
    studies = _studies(out)
    counts: Counter[str] = Counter()
    known = slices[slices["study"] != ""].groupby("study", sort=False)
    for study, rows in tqdm(known, desc="structured reports", unit=" studies", mininterval=refresh_s()):
        counts[_write(folder, root, description, author, rows, studies.get(str(study)))] += 1
    written = counts.pop("written", 0)
    print(f"{written:,} structured reports: {folder}; they name patients as their images do", flush=True)
    for why, count in sorted(counts.items()):
        print(f"{count:,} studies without a structured report: {_MISSING[why]}", flush=True)


def _studies(out: Path) -> dict[str, Row]:
    path = out / "studies.parquet"
    rows = pd.read_parquet(path).to_dict("records") if path.is_file() else []
    return {str(row["study"]): {str(name): value for name, value in row.items()} for row in rows}


def _write(
    folder: Path, root: Path, description: BundleDescription, author: Author, rows: pd.DataFrame, study: Row | None
) -> str:
    """Write one study's report where it is missing; `written`, or why there is none."""
    first = _evidence(root / rows["path"].iloc[0])
    if isinstance(first, str):
        return first
    path = folder / f"{report_uid(author, str(first.StudyInstanceUID))}.dcm"
    if path.is_file():
        return "written"
    found = [_evidence(root / each) for each in rows["path"]]
    images = {
        place: each
        for place, each in enumerate(found)
        if not isinstance(each, str) and each.StudyInstanceUID == first.StudyInstanceUID
    }
    answered = rows.iloc[list(images)].assign(image=[str(each.SOPInstanceUID) for each in images.values()])
    answered = answered.drop_duplicates("image")  # a file may lie there twice
    evidence = {str(each.SOPInstanceUID): each for each in images.values()}
    findings = [*_of_study(description, author, answered, study), *_of_images(description, author, answered)]
    try:
        report = write_report(author, findings, list(evidence.values()))
    except ImageRejected as rejected:
        return rejected.rule
    with write_aside(path) as aside:
        aside.write_bytes(report)
    return "written"


def _evidence(path: Path) -> Evidence | str:
    """What a report copies of an image, or why it cannot point at it."""
    try:
        with path.open("rb") as file:
            return evidence_of(file) or "pictures"
    except ImageRejected as rejected:
        return rejected.rule if rejected.rule in _MISSING else "unreadable"
    except OSError:
        return "unreadable"


def _of_study(
    description: BundleDescription, author: Author, images: pd.DataFrame, study: Row | None
) -> Iterator[Finding]:
    """What the whole study's answer is, where the model combines slices."""
    points = description.study_points(author.operating_point) if study and description.study_rules else {}
    for label, point in points.items():
        assert study is not None
        suspicious = _suspicious(images, label)["image"].tolist()
        probability, positive = study[f"probability_{label}"], study[f"positive_{label}"]
        if not pd.isna(probability):
            yield Finding(label, float(probability), point.threshold, bool(positive), suspicious, True)


def _of_images(description: BundleDescription, author: Author, images: pd.DataFrame) -> Iterator[Finding]:
    for label, point in description.points(author.operating_point).items():
        for row in _suspicious(images, label).to_dict("records"):
            probability, positive = row[f"probability_{label}"], row[f"positive_{label}"]
            yield Finding(label, float(probability), point.threshold, bool(positive), [row["image"]], False)


def _suspicious(images: pd.DataFrame, label: str) -> pd.DataFrame:
    return images.sort_values([f"probability_{label}", "image"], ascending=[False, True]).head(_MOST_SUSPICIOUS)
