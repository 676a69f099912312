"""The files below a folder: what may be read, and what is put aside because it is no regular file."""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from secondread.errors import SourceError

# What operating systems and archives leave behind, and the phantom's lesion masks: never images to learn from.
_IGNORED = {"__macosx", "masks", "thumbs.db", "desktop.ini"}
_IMAGE_SUFFIXES = {".jpg", ".jpeg", ".png", ".dcm", ".dicom", ".ima", ""}


@dataclass(frozen=True)
class Listing:
    """Files below a folder, as posix paths relative to it, sorted.

    Args:
        regular: plain files.
        irregular: symbolic links, pipes, sockets and devices; links are never followed.
    """

    regular: tuple[str, ...]
    irregular: tuple[str, ...]

    def put_aside(self) -> pd.DataFrame:
        """The irregular files as rows of `path, rule, reason`."""
        return put_aside(self.irregular, "not_regular", "a link or device, not a plain file")


def put_aside(paths: tuple[str, ...] | list[str], rule: str, reason: str) -> pd.DataFrame:
    """Rows of `path, rule, reason` for files that are not used."""
    return pd.DataFrame({"path": list(paths), "rule": rule, "reason": reason}, dtype=str)


def without_label(paths: list[str]) -> pd.DataFrame:
    """Put aside the images among files that nothing labels; tables and notes beside images are no images."""
    images = [path for path in paths if is_image_name(path)]
    return put_aside(images, "no_label", "no label names this file")


def is_image_name(path: str) -> bool:
    """Whether a file name may be an image's; the content is judged later, by its magic number."""
    return os.path.splitext(path)[1].lower() in _IMAGE_SUFFIXES  # noqa: PTH122 (a string, many times over)


def list_files(root: Path, below: Path | None = None) -> Listing:
    """List every file below `below` (default: the root itself), with paths relative to the root."""
    regular: list[str] = []
    irregular: list[str] = []
    start = below or root
    prefix = "" if start == root else start.relative_to(root).as_posix() + "/"
    folders = [(os.fspath(start), prefix)]
    while folders:
        folder, prefix = folders.pop()
        for entry in scan(folder):
            path = prefix + entry.name
            if entry.is_dir(follow_symlinks=False):
                folders.append((entry.path, path + "/"))
            elif entry.is_file(follow_symlinks=False):
                regular.append(path)
            else:
                irregular.append(path)
    return Listing(tuple(sorted(regular)), tuple(sorted(irregular)))


def subfolders(folder: Path) -> dict[str, Path]:
    """Real folders directly inside a folder, by lower-case name."""
    found = [Path(entry.path) for entry in scan(os.fspath(folder)) if entry.is_dir(follow_symlinks=False)]
    return {path.name.lower(): path for path in sorted(found, reverse=True)}


def file_names(folder: Path) -> Iterator[str]:
    """Names of the plain files directly inside a folder."""
    return (entry.name for entry in scan(os.fspath(folder)) if entry.is_file(follow_symlinks=False))


def require_folder(root: Path) -> None:
    """Refuse a root that is missing or unreadable.

    Raises:
        SourceError: it does not exist.
    """
    if not root.exists():
        raise SourceError(f"{root}: there is no such folder or file; check the path behind `data`")


def scan(folder: str) -> list[os.DirEntry[str]]:
    """Entries of one folder, without what operating systems and archives leave behind.

    Raises:
        SourceError: it cannot be opened.
    """
    try:
        with os.scandir(folder) as entries:
            return [entry for entry in entries if not _is_ignored(entry.name)]
    except PermissionError:
        raise SourceError("a folder of the source cannot be opened; check its permissions") from None


def _is_ignored(name: str) -> bool:
    return name.startswith(".") or name.lower() in _IGNORED
