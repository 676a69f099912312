"""The files below a folder: what may be read, and what is put aside because it is no regular file."""

import os
from collections.abc import Iterable, Iterator
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
        misnamed: files whose name, or a folder's above them, is no UTF-8, with the odd bytes escaped: no table holds
            such a name.
    """

    regular: tuple[str, ...]
    irregular: tuple[str, ...]
    misnamed: tuple[str, ...] = ()

    @classmethod
    def of(cls, regular: Iterable[str], irregular: Iterable[str]) -> "Listing":
        """Sort files by their paths, and those apart that cannot be named."""
        named = [sorted(filter(_is_text, paths)) for paths in (regular, irregular)]
        misnamed = [_escaped(path) for path in (*regular, *irregular) if not _is_text(path)]
        return cls(tuple(named[0]), tuple(named[1]), tuple(sorted(misnamed)))

    def put_aside(self) -> pd.DataFrame:
        """The files that are not to be opened as rows of `path, rule, reason`."""
        rows = put_aside(self.irregular, "not_regular", "a link or device, not a plain file")
        if not self.misnamed:
            return rows
        why = "its name, or a folder's above it, is not UTF-8; rename it"
        return pd.concat([rows, put_aside(self.misnamed, "name", why)], ignore_index=True)


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
    return Listing.of(regular, irregular)


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
    except OSError as error:  # its text names the folder
        raise SourceError(
            f"a folder of the source cannot be opened ({error.strerror}); mend it, or move it elsewhere"
        ) from None


def _is_ignored(name: str) -> bool:
    return name.startswith(".") or name.lower() in _IGNORED


def _is_text(path: str) -> bool:
    """Whether a path is UTF-8: Python turns other bytes into halves of surrogate pairs (PEP 383)."""
    return path.isascii() or not any("\udc80" <= letter <= "\udcff" for letter in path)


def _escaped(path: str) -> str:
    return os.fsencode(path).decode("utf-8", "backslashreplace")
