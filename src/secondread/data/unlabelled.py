"""Images that nothing labels: every file of a folder of any layout, or of a store, and the study that it is part of."""

import hashlib
import json
import math
import posixpath
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import NamedTuple, TextIO

from secondread.data.sources.headers import headers_of
from secondread.data.sources.listing import walk
from secondread.data.store import Store, look_up
from secondread.errors import ImageRejected, StoreError
from secondread.imaging.dicom.read import Header
from secondread.imaging.limits import MOST_BYTES
from secondread.storage import Folder, open_folder
from secondread.tasks import Task

MOST = max(MOST_BYTES.values())  # bytes of a file that is opened
_AT_ONCE = 1024  # files that are looked at


class Place(NamedTuple):
    """Where a slice belongs.

    Args:
        study: Study Instance UID (0020,000D), else the series, else the folder; "" unknown.
        series: Series Instance UID (0020,000E), "" unknown.
        order: where it lies along the body, any rising number; None unknown.
        folder: the study is the folder's.
    """

    study: str = ""
    series: str = ""
    order: float | None = None
    folder: bool = False


class Listed(NamedTuple):
    """A file to be answered.

    Args:
        path: posix, relative to the source's root.
        size: bytes; None for a link or device, which is never opened.
        version: another one when the content changes.
        place: where it belongs, for a store, which knows; None otherwise.
    """

    path: str
    size: int | None
    version: str = ""
    place: Place | None = None


def folder_files(root: Folder, apart: Path) -> Iterator[Listed]:
    """List every file below a folder, whatever its name, in the order and with the memory of `Folder.walk`.

    Links are never followed; hidden files, and what operating systems leave behind, are passed over.

    Args:
        apart: a folder that is left out.
    Raises:
        SourceError: a folder cannot be opened.
    """
    left_out = _below(root, apart)
    found = (entry for entry in walk(root) if left_out is None or not entry.path.startswith(left_out))
    while some := list(islice(found, _AT_ONCE)):
        for entry, file in zip(some, listed(root, [entry.path for entry in some]), strict=True):
            yield file if entry.kind == "file" else Listed(entry.path, None)


def listed(root: Folder, paths: Sequence[str]) -> Iterator[Listed]:
    """Look at files; what is gone, or cannot be looked at, is listed as an empty one, as its answer will say why."""
    for path, seen in zip(paths, root.look(paths), strict=True):
        if seen is None:
            yield Listed(path, 0)
        else:
            yield Listed(path, seen.size, seen.version) if seen.kind == "file" else Listed(path, None)


def _below(root: Folder, folder: Path) -> str | None:
    """How paths of the root begin that lie in a folder of this machine, if any do."""
    here = root.file_here("")
    if here is None or not folder.resolve().is_relative_to(here.resolve()):
        return None
    return f"{folder.resolve().relative_to(here.resolve()).as_posix()}/"


def look_up_source(address: str, task: Task) -> tuple[Store, Folder]:
    """Look up a store of a task, and open the folder that it was made from.

    Raises:
        StoreError: it is unfinished, damaged or another task's, or that folder is gone.
    """
    store = look_up(address)
    if store.description.task != task.name:
        raise StoreError(f"{address}: a store for {store.description.task}; use a model and --task for that")
    root = open_folder(store.description.root)
    if not root.is_there():
        raise StoreError(f"{root}: the folder that the store was made from is gone; bring it back")
    return store, root


def store_files(store: Store, root: Folder) -> Iterator[Listed]:
    """List the source files of a store's images, with the studies that the store knows.

    Args:
        root: the folder that the store was made from.
    """
    rows = store.manifest[["path", "study_key", "series_key", "order"]].itertuples(index=False)
    files = listed(root, store.manifest["path"].tolist())
    for file, (_, study, series, order) in zip(files, rows, strict=True):
        yield file._replace(place=Place(study, series, None if math.isnan(order) else order))


def write_listing(files: Iterable[Listed], out: TextIO) -> tuple[int, str]:
    """Write a line a file.

    Returns:
        how many they are, and a digest of their paths, sizes, versions and places.
    """
    count, digest = 0, hashlib.sha256()
    for count, file in enumerate(files, 1):  # noqa: B007 (the count outlives the loop)
        line = json.dumps(file) + "\n"  # ASCII, whatever bytes a name holds
        digest.update(line.encode())
        out.write(line)
    return count, digest.hexdigest()


def read_listing(lines: Iterable[str]) -> Iterator[Listed]:
    """Read what `write_listing` wrote, lazily."""
    for line in lines:
        path, size, version, place = json.loads(line)
        yield Listed(path, size, version, place and Place(*place))


def refusal_of(file: Listed) -> ImageRejected | None:
    """Say why a file must not be opened, if so."""
    if file.size is None:
        return ImageRejected("not_regular", "a link or device, not a plain file")
    if file.size > MOST:
        return ImageRejected("too_large", f"the file has {file.size} bytes; at most {MOST} are read")
    return None


def places_of(files: Sequence[Listed], root: Folder, paths: Sequence[str]) -> list[Place | ImageRejected]:
    """Say where files belong, by their DICOM headers, or by their folder where they are pictures without one.

    Args:
        root: a folder with their content; it may be another than the one they are listed of.
        paths: where their content is in `root`, one a file.
    Returns:
        why it cannot be answered, for a file that must not or cannot be opened.
    """
    read = [path for file, path in zip(files, paths, strict=True) if file.place is None and not refusal_of(file)]
    headers = iter(headers_of(root, read))
    return [refusal_of(file) or file.place or _place_by(next(headers), file.path) for file in files]


def _place_by(header: Header | ImageRejected | None, path: str) -> Place | ImageRejected:
    if isinstance(header, ImageRejected):
        return header
    study = header and (header.study_uid or header.series_uid)  # a series whose study is not told is one of its own
    order = None if header is None or math.isnan(header.order) else header.order
    if header is None or not study:
        return Place(posixpath.dirname(path) or ".", "", order, folder=True)
    return Place(study, header.series_uid, order)
