"""Files of a folder elsewhere, on this machine for a while."""

import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from secondread.errors import StorageError
from secondread.storage.folder import S3, Folder
from secondread.storage.local import LocalFolder


@dataclass(frozen=True)
class Here:
    """Files of this machine with the content of others; one that could not be read is not there either.

    Args:
        root: the folder that they lie below.
        paths: relative to it, in the order in which they were asked for.
        are_copies: they are removed, with `root`, at the end of a `with` block.
    """

    root: LocalFolder
    paths: Sequence[str]
    are_copies: bool

    @property
    def files(self) -> list[Path]:
        """Where each of them is."""
        return [self.root.path / path for path in self.paths]

    def __enter__(self) -> "Here":
        return self

    def __exit__(self, *_: object) -> None:
        if self.are_copies:
            shutil.rmtree(self.root.path)


def bring_here(folder: Folder, paths: Sequence[str], into: Path, most: int | None = None) -> Here:
    """Copy files that lie elsewhere to this machine; those that lie here stay where they are.

    Copies bear numbers: a name may be a patient's.

    Args:
        into: an existing folder.
        most: bytes of a file; None is all.
    """
    here = folder.file_here("")
    if here is not None:
        return Here(LocalFolder(here), paths, are_copies=False)
    copies = Path(tempfile.mkdtemp(dir=into))
    for number, data in enumerate(folder.read_each(paths, most)):
        if not isinstance(data, OSError):
            (copies / str(number)).write_bytes(data)
    return Here(LocalFolder(copies), [str(number) for number in range(len(paths))], are_copies=True)


def path_here(address: str) -> Path:
    """The path of a folder that is written on this machine.

    Raises:
        StorageError: the address is of one elsewhere.
    """
    if address.startswith(S3):
        raise StorageError(
            f"out={address}: this is written on this machine; choose a folder here and copy it there when it is "
            "finished, for example with `rclone copy`"
        )
    return Path(address)
