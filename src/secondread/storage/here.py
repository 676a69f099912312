"""Files of a folder elsewhere, on this machine for a while."""

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from secondread.storage.folder import Folder


@contextmanager
def files_here(folder: Folder, paths: Sequence[str]) -> Iterator[list[Path]]:
    """Give files with the content of these; copies of what lies elsewhere are removed at the end.

    One that cannot be read is not there either. Copies bear numbers: a name may be a patient's.
    """
    here = [folder.file_here(path) for path in paths]
    if None not in here:
        yield [path for path in here if path is not None]
        return
    with tempfile.TemporaryDirectory() as copies:
        files = [Path(copies) / str(number) for number in range(len(paths))]
        for file, data in zip(files, folder.read_each(paths), strict=True):
            if not isinstance(data, OSError):
                file.write_bytes(data)
        yield files
