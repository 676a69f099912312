"""Write a DICOM Structured Report for each study that was scored, for the archive that its images came from."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from secondread.errors import ImageRejected
from secondread.execution import map_in_processes
from secondread.imaging.dicom.report import Author, Evidence, Finding, evidence_of, report_uid, write_report
from secondread.storage import Folder, remove_unfinished, write_aside

if TYPE_CHECKING:  # the processes that write reports load no network
    from secondread.bundle import BundleDescription

_FOLDER = "sr"
_START = 1 << 16  # bytes of a file that its header hardly ever exceeds
_MOST_SUSPICIOUS = 3  # images that a label's findings are about
_MISSING = {
    "pictures": "of pictures, which no report can point at",
    "invalid_uid": "whose UIDs are none (as RSNA's are not), which no report can point at",
    "header": "whose headers hold values that no report may copy",
    "unreadable": "whose files are gone or cannot be read",
}


@dataclass(frozen=True)
class _Study:
    """One study to report.

    Args:
        folder: where reports are written.
        root: the folder that the images' paths lie below.
        images: its answered images: `path`, `probability_<label>`, `positive_<label>`.
        answer: the whole study's, of the same names; empty where there is none.
        thresholds: of images, by label.
        study_thresholds: of whole studies, by label; empty where the model does not combine slices.
    """

    folder: Path
    root: Folder
    author: Author
    images: pd.DataFrame
    answer: Mapping[str, Any]
    thresholds: Mapping[str, float]
    study_thresholds: Mapping[str, float]


def write_structured_reports(
    out: Path, root: Folder, description: "BundleDescription", version: str, operating_point: str
) -> None:
    """Write `OUT/sr/UID.dcm` for each study of DICOM files, on all cores; reports that are there are kept.

    A report names the patient and the study as its images do: it is for the archive that they came from, and is
    logged nowhere.

    Args:
        out: a finished folder of scores.
        root: the folder that its paths lie below.
        version: SHA-256 of the bundle.
    """
    folder = out / _FOLDER
    folder.mkdir(exist_ok=True)
    remove_unfinished(folder)
    author = Author(description.task, description.model, version, operating_point, description.intended_use)
    points = description.points(operating_point)
    whole = description.study_points(operating_point) if description.study_rules else {}
    thresholds, study_thresholds = ({label: one.threshold for label, one in each.items()} for each in (points, whole))
    slices, answers = pd.read_parquet(out / "slices.parquet"), _answers(out)
    studies = [
        _Study(folder, root, author, images, answers.get(str(study), {}), thresholds, study_thresholds)
        for study, images in slices[slices["study"] != ""].groupby("study", sort=False)
    ]
    counts = Counter(map_in_processes(_write, studies, None, "structured reports"))
    written = counts.pop("written", 0)
    print(f"{written:,} structured reports: {folder}; they name patients as their images do", flush=True)
    for why, count in sorted(counts.items()):
        print(f"{count:,} studies without a structured report: {_MISSING[why]}", flush=True)


def _answers(out: Path) -> dict[str, Mapping[str, Any]]:
    """The answers to whole studies, by study."""
    path = out / "studies.parquet"
    rows = pd.read_parquet(path).to_dict("records") if path.is_file() else []
    return {str(row["study"]): {str(name): value for name, value in row.items()} for row in rows}


def _write(study: _Study) -> str:
    """Write one study's report where it is missing; `written`, or why there is none."""
    paths = study.images["path"].tolist()
    [first] = _evidence(study.root, paths[:1])
    if isinstance(first, str):
        return first
    file = study.folder / f"{report_uid(study.author, str(first.StudyInstanceUID))}.dcm"
    if file.is_file():
        return "written"
    held = {
        place: one
        for place, one in enumerate(_evidence(study.root, paths))
        if not isinstance(one, str) and one.StudyInstanceUID == first.StudyInstanceUID
    }
    images = study.images.iloc[list(held)].assign(image=[str(one.SOPInstanceUID) for one in held.values()])
    images = images.drop_duplicates("image")  # a file may lie there twice
    evidence = {str(one.SOPInstanceUID): one for one in held.values()}
    try:
        report = write_report(study.author, [*_findings(study, images)], list(evidence.values()))
    except ImageRejected as rejected:
        return rejected.rule
    with write_aside(file) as aside:
        aside.write_bytes(report)
    return "written"


def _evidence(root: Folder, paths: Sequence[str]) -> Iterator[Evidence | str]:
    """What a report copies of images, or why it cannot point at them."""
    for path, start in zip(paths, root.read_each(paths, _START), strict=True):
        try:
            yield _evidence_of(root, path, start) or "pictures"
        except ImageRejected as rejected:
            yield rejected.rule if rejected.rule in _MISSING else "unreadable"
        except OSError:
            yield "unreadable"


def _evidence_of(root: Folder, path: str, start: bytes | OSError) -> Evidence | None:
    if isinstance(start, OSError):
        raise start
    if len(start) < _START:
        return evidence_of(BytesIO(start))
    try:
        return evidence_of(_Start(start))
    except ImageRejected as rejected:
        if rejected.rule != "damaged":
            raise
        return evidence_of(BytesIO(root.read(path)))


class _Start(BytesIO):
    """The first bytes of a file, of which nothing is read that may go on behind them."""

    def read(self, size: int | None = -1, /) -> bytes:
        data = super().read(size)
        if len(data) != size:
            raise ValueError("the header goes on")  # pydicom takes an EOFError for the header's end
        return data


def _findings(study: _Study, images: pd.DataFrame) -> Iterator[Finding]:
    """The whole study's answers, then those of its most suspicious images."""
    for label, threshold in study.study_thresholds.items():
        probability, positive = (study.answer.get(f"{kind}_{label}") for kind in ("probability", "positive"))
        if probability is not None and not pd.isna(probability):
            about = _suspicious(images, label)["image"].tolist()
            yield Finding(label, float(probability), threshold, bool(positive), about, whole_study=True)
    for label, threshold in study.thresholds.items():
        for row in _suspicious(images, label).to_dict("records"):
            probability, positive = row[f"probability_{label}"], row[f"positive_{label}"]
            yield Finding(label, float(probability), threshold, bool(positive), [row["image"]], whole_study=False)


def _suspicious(images: pd.DataFrame, label: str) -> pd.DataFrame:
    return images.sort_values([f"probability_{label}", "image"], ascending=[False, True]).head(_MOST_SUSPICIOUS)
