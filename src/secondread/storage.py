"""Files, written aside and then renamed, so that nothing is ever half-written."""

import hashlib
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def sha256_of(data: bytes | memoryview) -> str:
    """Hex digest that names content, such as an image key."""
    return hashlib.sha256(data).hexdigest()


@contextmanager
def write_aside(path: Path) -> Iterator[Path]:
    """Give a temporary path (file or folder, to be created) beside `path`, and rename it to `path` on success."""
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(f".{path.name}.{os.getpid()}.part")
    _remove(aside)
    try:
        yield aside
        if path.is_dir():
            _remove(path)
        aside.replace(path)
    finally:
        _remove(aside)


def remove_unfinished(folder: Path) -> None:
    """Remove what `write_aside` could not, because its process was killed."""
    for aside in folder.glob(".*.part"):
        process = aside.name.split(".")[-2]
        if process.isdecimal() and not _is_running(int(process)):
            _remove(aside)


def _is_running(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # another user's
        return True
    return True


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
