"""Files of an S3 server that are kept on this machine, as many as are allowed, those used last."""

import os
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from secondread.storage.aside import is_aside, remove_unfinished, sha256_of, write_aside
from secondread.storage.home import home

GIGABYTE = 10**9
DEFAULT_GIGABYTES = 50.0


@dataclass(frozen=True)
class Cache:
    """A folder of files named by their SHA-256; processes may share it.

    Args:
        most_bytes: that the files may have together.
    """

    folder: Path
    most_bytes: int

    @classmethod
    def at_home(cls, gigabytes: float = DEFAULT_GIGABYTES) -> "Cache":
        """The one below SECONDREAD_HOME."""
        return cls(home() / "cache", int(gigabytes * GIGABYTE))

    def path(self, digest: str) -> Path:
        """Where content with this digest is kept, if it is."""
        return self.folder / digest

    def has(self, digest: str) -> bool:
        """Whether it is kept, undamaged; then it is used last."""
        path = self.path(digest)
        try:
            if sha256_of(path.read_bytes()) != digest:
                return False
            os.utime(path)
        except FileNotFoundError:
            return False
        return True

    def keep(self, digest: str, data: bytes) -> None:
        """Keep content.

        Raises:
            ValueError: it has another digest.
        """
        if sha256_of(data) != digest:
            raise ValueError("the content has another digest")
        with write_aside(self.path(digest)) as aside:
            aside.write_bytes(data)

    def make_room(self, size: int) -> None:
        """Remove what was used longest ago; whoever has it mapped keeps it until he lets go."""
        remove_unfinished(self.folder)
        kept = []
        for path in self.folder.glob("*"):
            with suppress(FileNotFoundError):  # another process makes room, too
                if not is_aside(path.name):
                    found = path.stat()
                    kept.append((found.st_mtime_ns, found.st_size, path))
        total = size + sum(file_size for _, file_size, _ in kept)
        for _, file_size, path in sorted(kept):
            if total <= self.most_bytes:
                return
            path.unlink(missing_ok=True)
            total -= file_size
