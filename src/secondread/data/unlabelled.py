"""Images that nothing labels: every file of a folder of any layout, or of a store, and the study that it is part of."""

import hashlib
import json
import math
import os
import posixpath
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple, TextIO

from secondread.data.sources.headers import read_one
from secondread.data.sources.listing import is_ignored
from secondread.data.store import Store
from secondread.errors import ImageRejected, SourceError
from secondread.imaging.limits import MOST_BYTES
from secondread.storage.local import LocalFolder


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
        changed: time of the last change in nanoseconds.
        place: where it belongs, for a store, which knows; None otherwise.
    """

    path: str
    size: int | None
    changed: int = 0
    place: Place | None = None


def folder_files(root: Path, apart: Path) -> Iterator[Listed]:
    """List every file below a folder, folder by folder, whatever its name.

    Memory is that of the largest folder's own names. Links are never followed; hidden files, and what operating
    systems leave behind, are passed over.

    Args:
        root: absolute.
        apart: a folder that is left out, absolute.
    Raises:
        SourceError: a folder cannot be opened.
    """
    folders = [(os.fspath(root), "")]
    while folders:
        folder, prefix = folders.pop()
        inside = []
        for entry in sorted(_scan(folder), key=lambda entry: entry.name):
            path = prefix + entry.name
            if not entry.is_dir(follow_symlinks=False):
                yield from _listed(entry, path)
            elif entry.path != os.fspath(apart):
                inside.append((entry.path, path + "/"))
        folders += reversed(inside)


def _scan(folder: str) -> list["os.DirEntry[str]"]:
    try:
        with os.scandir(folder) as entries:
            return [entry for entry in entries if not is_ignored(entry.name)]
    except PermissionError:
        raise SourceError("a folder of the source cannot be opened; check its permissions") from None


def _listed(entry: "os.DirEntry[str]", path: str) -> Iterator[Listed]:
    if not entry.is_file(follow_symlinks=False):
        yield Listed(path, None)
        return
    try:
        stat = entry.stat(follow_symlinks=False)
    except FileNotFoundError:  # gone since the folder was read
        return
    except OSError:  # nor can it be opened, which its answer will say
        yield Listed(path, 0)
        return
    yield Listed(path, stat.st_size, stat.st_mtime_ns)


def store_files(store: Store) -> Iterator[Listed]:
    """List the source files of a store's images, with the studies that the store knows."""
    root = Path(store.description.root)
    columns = store.manifest[["path", "study_key", "series_key", "order"]]
    for path, study, series, order in columns.itertuples(index=False):
        place = Place(study, series, None if math.isnan(order) else order)
        try:
            stat = (root / path).lstat()
        except OSError:  # gone: the answer will say so
            yield Listed(path, 0, 0, place)
        else:
            yield Listed(path, stat.st_size, stat.st_mtime_ns, place)


def write_listing(files: Iterable[Listed], out: TextIO) -> tuple[int, str]:
    """Write a line a file.

    Returns:
        how many they are, and a digest of their paths, sizes, times and places.
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
        path, size, changed, place = json.loads(line)
        yield Listed(path, size, changed, place and Place(*place))


def place_of(root: Path, file: Listed) -> Place | ImageRejected:
    """Say where a file belongs, by its DICOM header, or by its folder where it is a picture without one.

    Returns:
        why it cannot be answered, for a file that must not or cannot be opened.
    """
    if file.size is None:
        return ImageRejected("not_regular", "a link or device, not a plain file")
    if file.size > max(MOST_BYTES.values()):
        return ImageRejected(
            "too_large", f"the file has {file.size} bytes; at most {max(MOST_BYTES.values())} are read"
        )
    if file.place is not None:
        return file.place
    header = read_one(LocalFolder(root), file.path)
    if isinstance(header, ImageRejected):
        return header
    study = header and (header.study_uid or header.series_uid)  # a series whose study is not told is one of its own
    order = None if header is None or math.isnan(header.order) else header.order
    if header is None or not study:
        return Place(posixpath.dirname(file.path) or ".", "", order, folder=True)
    return Place(study, header.series_uid, order)
