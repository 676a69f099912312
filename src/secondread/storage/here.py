"""Files of a folder elsewhere, on this machine for a while."""

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from secondread.errors import StorageError
from secondread.storage.folder import S3, Folder
from secondread.storage.home import home


def path_here(address: str, verb: str) -> Path:
    """The absolute path of what lies on this machine.

    Args:
        address: of a folder or file.
        verb: what is to read there.
    Raises:
        StorageError: it lies elsewhere.
    """
    if address.startswith(S3):
        raise StorageError(
            f"{address}: `{verb}` reads files of this machine; copy them here first, for example with `rclone copy`"
        )
    return Path(address).resolve()


@contextmanager
def files_here(folder: Folder, paths: Sequence[str]) -> Iterator[list[Path]]:
    """Give files with the content of these; copies of what lies elsewhere are removed at the end.

    One that cannot be read is not there either. Copies bear numbers: a name may be a patient's.
    """
    here = [folder.file_here(path) for path in paths]
    if None not in here:
        yield [path for path in here if path is not None]
        return
    home().mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=home()) as copies:  # where a process that is killed may leave them
        files = [Path(copies) / str(number) for number in range(len(paths))]
        for file, data in zip(files, folder.read_each(paths), strict=True):
            if not isinstance(data, OSError):
                file.write_bytes(data)
        yield files
