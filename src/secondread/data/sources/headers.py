"""Whose image a DICOM file is, read from many headers at once."""

from itertools import chain
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from secondread.data.sources.listing import put_aside, require_there
from secondread.data.sources.subgroups import age_band, sex_of
from secondread.errors import ImageRejected
from secondread.execution import Workers, map_in_processes
from secondread.imaging.dicom.plain import is_deflated
from secondread.imaging.dicom.read import Header, read_header
from secondread.imaging.limits import MOST_BYTES
from secondread.imaging.sandbox import safe_header
from secondread.storage import Folder

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

_PREFIX = 1 << 16
_SAME_PLANE = 0.999  # cosine between normals: 2.5 degrees
_FILES = 128  # a worker's job
_RASTER_SUFFIXES = (".png", ".jpg", ".jpeg")
_COLUMNS: "Mapping[str, Callable[[Header], str]]" = {
    "patient": lambda header: header.patient_id,
    "study": lambda header: header.study_uid,
    "series": lambda header: header.series_uid,
    "subgroup_sex": lambda header: sex_of(header.sex),
    "subgroup_age": lambda header: age_band(header.age),
}


def with_headers(rows: pd.DataFrame, root: Folder, workers: Workers) -> tuple[pd.DataFrame, list[pd.DataFrame]]:
    """Fill patient, study, series, order, sex and age band of DICOM images where the source does not know them.

    Args:
        rows: has `path`; may have the other columns.
        workers: who reads.
    Returns:
        The rows with `modality` added ("" for pictures), without those whose header cannot be read, and these as put
        aside.
    """
    candidates = [str(path) for path in rows["path"] if not str(path).lower().endswith(_RASTER_SUFFIXES)]
    jobs = [(root, candidates[start : start + _FILES]) for start in range(0, len(candidates), _FILES)]
    said = f"reading {len(candidates):,} DICOM headers"
    read = map_in_processes(read_headers, jobs, workers, said) if jobs else iter(())
    answers = dict(zip(candidates, chain.from_iterable(read), strict=True))
    found = [answers.get(str(path)) for path in rows["path"]]
    rejected = [
        put_aside([str(path)], answer.rule, answer.reason)
        for path, answer in zip(rows["path"], found, strict=True)
        if isinstance(answer, ImageRejected)
    ]
    kept = np.array([not isinstance(answer, ImageRejected) for answer in found], bool)
    return _filled(rows[kept], [answer for answer in found if not isinstance(answer, ImageRejected)]), rejected


def read_headers(job: "tuple[Folder, Sequence[str]]") -> "list[Header | ImageRejected | None]":
    """Read headers, in a worker.

    Args:
        job: root, and paths relative to it.
    Returns:
        None for a file that is no DICOM (PS3.10 7.1: `DICM` behind 128 bytes).
    Raises:
        SourceError: this machine has no such root.
    """
    root, paths = job
    require_there(root, paths)
    return headers_of(root, paths)


def headers_of(root: Folder, paths: "Sequence[str]") -> "list[Header | ImageRejected | None]":
    """Read headers, as `read_headers` does, of files that may all be gone."""
    return [_read_one(root, path, start) for path, start in zip(paths, root.read_each(paths, _PREFIX), strict=True)]


def _read_one(root: Folder, path: str, start: bytes | OSError) -> Header | ImageRejected | None:
    if isinstance(start, OSError):
        return ImageRejected("unreadable", "the file cannot be opened")
    if start[128:132] != b"DICM":
        return None
    try:
        # The pixels are not needed, and headers hardly ever need more than the start; a deflated one does.
        return _from_prefix(start) or safe_header(root.read(path, MOST_BYTES["dicom"] + _PREFIX))
    except ImageRejected as rejected:
        return rejected
    except OSError:
        return ImageRejected("unreadable", "the file cannot be opened")


def _from_prefix(start: bytes) -> Header | None:
    """Read what so few bytes hold here: it cannot take long, unless they inflate to very many."""
    if is_deflated(start):
        return None
    try:
        header = read_header(start)
    except ImageRejected:
        return None
    return header if header.series_uid else None


def _filled(rows: pd.DataFrame, headers: "Sequence[Header | None]") -> pd.DataFrame:
    filled = rows.copy()
    for column, tell in _COLUMNS.items():
        told = pd.Series([tell(header) if header else "" for header in headers], rows.index, dtype=str)
        filled[column] = told if column not in rows else rows[column].where(rows[column] != "", told)
    order = pd.Series([header.order if header else np.nan for header in headers], rows.index, dtype=np.float64)
    order = order.where(_in_plane_of_series(filled["series"], headers))
    filled["order"] = order if "order" not in rows else rows["order"].fillna(order)
    filled["modality"] = pd.Series([header.modality if header else "" for header in headers], rows.index, dtype=str)
    return filled


def _in_plane_of_series(series: pd.Series, headers: "Sequence[Header | None]") -> pd.Series:
    """Whether each slice lies in the plane of most of its series, so that their distances are along one normal.

    A localizer among axial slices does not; where no plane has most of the slices, none lies in it.
    """
    normals = np.array([header.normal if header else (np.nan,) * 3 for header in headers]).reshape(-1, 3)
    axes = pd.DataFrame(normals, series.index)
    # A middle coordinate is that of most, where most are alike; else it is of no slice.
    middle = axes.groupby(series).transform("median").to_numpy()
    lengths = np.linalg.norm(normals, axis=1) * np.linalg.norm(middle, axis=1)
    return pd.Series((normals * middle).sum(axis=1) > _SAME_PLANE * lengths, series.index) | (series == "")
