"""A folder of this machine."""

import os
import stat
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from secondread.storage.aside import is_aside, remove_unfinished, write_aside
from secondread.storage.folder import Entry, Kind, Seen


@dataclass(frozen=True)
class LocalFolder:
    """Implements `Folder` on a file system."""

    path: Path

    def __str__(self) -> str:
        return str(self.path)

    @property
    def address(self) -> str:
        """See `Folder`."""
        return str(self.path.absolute())

    @property
    def name(self) -> str:
        """See `Folder`."""
        return self.path.resolve().name

    @property
    def is_shared(self) -> bool:
        """See `Folder`: the same path may be another folder elsewhere."""
        return False

    def is_there(self) -> bool:
        """See `Folder`."""
        return self.path.is_dir()

    def is_vacant(self) -> bool:
        """See `Folder`."""
        if not self.path.is_dir():
            return not self.path.exists()
        return all(is_aside(entry.name) for entry in self.path.iterdir())

    def has(self, path: str) -> bool:
        """See `Folder`."""
        return (self.path / path).is_file()

    def entries(self, below: str = "") -> Iterator[Entry]:
        """See `Folder`."""
        prefix = f"{below}/" if below else ""
        with os.scandir(self.path / below) as entries:
            for entry in entries:
                yield Entry(prefix + entry.name, _kind(entry))

    def walk(self, below: str, passed_over: Callable[[str], bool]) -> Iterator[Entry]:
        """See `Folder`."""
        waiting = [below]
        while waiting:
            inside = []
            for entry in sorted(self.entries(waiting.pop())):
                if passed_over(entry.name):
                    continue
                if entry.kind == "folder":
                    inside.append(entry.path)
                else:
                    yield entry
            waiting += reversed(inside)

    def look(self, paths: Sequence[str]) -> list[Seen | None]:
        """See `Folder`."""
        root = os.fspath(self.path)
        return [_look(f"{root}/{path}") for path in paths]

    def read(self, path: str, most: int | None = None, start: int = 0) -> bytes:
        """See `Folder`."""
        # A pipe that was put in a file's place would be waited for without end.
        with open(os.open(self.path / path, os.O_RDONLY | os.O_NONBLOCK), "rb") as opened:  # noqa: PTH123 (of a descriptor)
            if start:  # a pipe knows no places
                opened.seek(start)
            # For as much as is asked for memory is found first: for more than there is that took ten times as long.
            return opened.read(-1 if most is None else min(most, os.fstat(opened.fileno()).st_size))

    def read_each(self, paths: Sequence[str], most: int | None = None) -> Iterator[bytes | OSError]:
        """See `Folder`: the operating system reads ahead."""
        for path in paths:
            try:
                data: bytes | OSError = self.read(path, most)
            except OSError as error:
                data = error
            yield data

    def write(self, path: str, data: bytes | memoryview) -> None:
        """See `Folder`."""
        with write_aside(self.path / path) as aside:
            aside.write_bytes(data)

    def tidy(self, below: str = "") -> None:
        """See `Folder`."""
        remove_unfinished(self.path / below)

    def file_here(self, path: str) -> Path | None:
        """See `Folder`."""
        return self.path / path


def _kind(entry: "os.DirEntry[str]") -> Kind:
    if entry.is_dir(follow_symlinks=False):
        return "folder"
    return "file" if entry.is_file(follow_symlinks=False) else "other"


def _look(path: str) -> Seen | None:
    try:
        found = os.lstat(path)
    except (OSError, ValueError):
        return None
    mode = found.st_mode
    kind: Kind = "file" if stat.S_ISREG(mode) else "folder" if stat.S_ISDIR(mode) else "other"
    return Seen(kind, found.st_size, str(found.st_mtime_ns))
