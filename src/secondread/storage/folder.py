"""A folder of files, wherever it lies: what sources, workers and stores ask of it."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Literal, NamedTuple, Protocol

Kind = Literal["file", "folder", "other"]  # other: a link, pipe, socket or device, which is never followed
S3 = "s3://"


class Entry(NamedTuple):
    """Something in a folder.

    Args:
        path: posix, relative to the folder.
    """

    path: str
    kind: Kind

    @property
    def name(self) -> str:
        """The last part of the path."""
        return self.path.rpartition("/")[2]


class Seen(NamedTuple):
    """What a file is, seen from outside.

    Args:
        size: bytes.
        version: another one when the content changes.
    """

    kind: Kind
    size: int
    version: str


class Folder(Protocol):
    """A folder of this machine or on S3; pickled, it is its address alone.

    Its text is the address as the user typed it. No error tells what lies below: a file's name may be a patient's.
    Paths are posix and relative to it. Everything raises `StorageError` where the server refuses or stays away.
    """

    @property
    def address(self) -> str:
        """What opens it again from anywhere: an absolute path, or `s3://bucket/prefix`."""

    @property
    def name(self) -> str:
        """Its own name."""

    @property
    def is_shared(self) -> bool:
        """Whether every machine sees it under this address."""

    def is_there(self) -> bool:
        """Whether it exists; on S3, whether anything lies below."""

    def is_vacant(self) -> bool:
        """Whether nothing is there, or an empty folder."""

    def has(self, path: str) -> bool:
        """Whether there is such a plain file."""

    def entries(self, below: str = "") -> Iterator[Entry]:
        """What lies directly in `below`, in no order.

        Raises:
            FileNotFoundError, PermissionError: it cannot be opened.
        """

    def walk(self, below: str, passed_over: Callable[[str], bool]) -> Iterator[Entry]:
        """Every file at any depth of `below`: a folder's own files by their names, then those of each folder in it.

        Memory is that of the largest folder's own names; on S3, where a request lists a thousand files of all folders,
        that of all names.

        Args:
            passed_over: tells by name which files and folders are left out, with all that is in them.
        Raises:
            PermissionError: a folder cannot be opened.
        """

    def look(self, paths: Sequence[str]) -> list[Seen | None]:
        """What each path is, without following links; None where nothing is."""

    def read(self, path: str, most: int | None = None, start: int = 0) -> bytes:
        """Read a file.

        Args:
            most: bytes; None is all.
            start: byte from which on.
        Raises:
            OSError: there is none, or it cannot be read.
        """

    def read_each(self, paths: Sequence[str], most: int | None = None) -> Iterator[bytes | OSError]:
        """Read files, in order, the next ones while the caller works on the last; what cannot be read is an error."""

    def write(self, path: str, data: bytes | memoryview) -> None:
        """Write a file, whole or not at all, instead of any that was there."""

    def tidy(self, below: str = "") -> None:
        """Remove what a killed process left half written directly in `below`."""

    def file_here(self, path: str) -> Path | None:
        """Where the file, or with "" the folder, lies on this machine; None where it lies elsewhere."""


def open_folder(address: str | Path) -> Folder:
    """Give the folder at a path or at `s3://bucket/prefix`, whether or not it exists.

    Raises:
        StorageError: the address names no bucket.
    """
    text = str(address)
    if text.startswith(S3):
        from secondread.storage.s3 import S3Folder  # boto3 takes a third of a second to import

        return S3Folder.at(text)
    from secondread.storage.local import LocalFolder

    return LocalFolder(Path(address))


def open_around(address: str) -> tuple[Folder, str]:
    """Give the folder in which a file or folder lies, whether or not there is one, and its name there.

    Raises:
        StorageError: the address names no bucket.
    """
    parent, slash, name = address.rstrip("/").rpartition("/")
    return open_folder(parent + slash if parent in ("", "/") else parent), name
