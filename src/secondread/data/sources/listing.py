"""The files below a folder: what may be read, and what is put aside because it is no regular file."""

import os
import platform
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import pandas as pd

from secondread.errors import SourceError
from secondread.storage import Folder
from secondread.storage.folder import Entry

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


def list_files(root: Folder, below: str = "") -> Listing:
    """List every file at any depth of `below` (default: the root itself), with paths relative to the root.

    Raises:
        SourceError: a folder cannot be opened.
    """
    found = list(walk(root, below))
    regular = [entry.path for entry in found if entry.kind == "file"]
    return Listing.of(regular, [entry.path for entry in found if entry.kind != "file"])


def walk(root: Folder, below: str = "") -> Iterator[Entry]:
    """Every file at any depth of `below`, in the order of `Folder.walk`, but what systems and archives leave behind.

    Raises:
        SourceError: a folder cannot be opened.
    """
    with _opening():
        yield from root.walk(below, is_ignored)


def subfolders(root: Folder, below: str = "") -> dict[str, str]:
    """Paths of the real folders directly inside `below`, by lower-case name."""
    found = sorted((entry for entry in scan(root, below) if entry.kind == "folder"), reverse=True)
    return {entry.name.lower(): entry.path for entry in found}


def file_names(root: Folder, below: str = "") -> Iterator[str]:
    """Names of the plain files directly inside `below`."""
    return (entry.name for entry in scan(root, below) if entry.kind == "file")


def require_there(root: Folder, paths: Sequence[str]) -> None:
    """Refuse to work where the source is not, as on a cluster's machine that does not share its disk.

    Args:
        paths: files that were there when the source was indexed; any one of them may be gone since.
    Raises:
        SourceError: it is not there, or empty.
    """
    if not root.is_shared and not (root.is_there() and (len(paths) == 1 or any(root.look(paths)))):
        raise SourceError(
            f"{root}: machine {platform.node()} has no such folder; a cluster's workers need an s3:// address, or a "
            "folder that all of them share under this path"
        )


def scan(root: Folder, below: str = "") -> Iterator[Entry]:
    """What lies directly in `below`, without what operating systems and archives leave behind.

    Raises:
        SourceError: it cannot be opened.
    """
    with _opening():
        yield from (entry for entry in root.entries(below) if not is_ignored(entry.name))


def is_ignored(name: str) -> bool:
    """Whether a name is one that operating systems and archives leave behind."""
    return name.startswith(".") or name.lower() in _IGNORED


@contextmanager
def _opening() -> Iterator[None]:
    try:
        yield
    except OSError as error:  # its text names the folder
        raise SourceError(
            f"a folder of the source cannot be opened ({error.strerror}); mend it, or move it elsewhere"
        ) from None


def _is_text(path: str) -> bool:
    """Whether a path is UTF-8: Python turns other bytes into halves of surrogate pairs (PEP 383)."""
    return path.isascii() or not any("\udc80" <= letter <= "\udcff" for letter in path)


def _escaped(path: str) -> str:
    return os.fsencode(path).decode("utf-8", "backslashreplace")
