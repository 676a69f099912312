"""Files, written aside and then renamed, so that nothing is ever half-written."""

import hashlib
import os
import platform
import re
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_ASIDE = re.compile(r"\..*\.(\d+)@(.*)\.part")
_ABANDONED_S = 3600.0  # what another machine has not touched for an hour


def sha256_of(data: bytes | memoryview) -> str:
    """Hex digest that names content, such as an image key."""
    return hashlib.sha256(data).hexdigest()


@contextmanager
def write_aside(path: Path) -> Iterator[Path]:
    """Give a temporary path (file or folder, to be created) beside `path`, and rename it to `path` on success."""
    path.parent.mkdir(parents=True, exist_ok=True)
    # Machines that share a folder may have processes of one number.
    aside = path.with_name(f".{path.name}.{os.getpid()}@{platform.node()}.part")
    _remove(aside)
    try:
        yield aside
        if path.is_dir():
            _remove(path)
        aside.replace(path)
    finally:
        _remove(aside)


def remove_unfinished(folder: Path) -> None:
    """Remove what `write_aside` could not: its process was killed, here or on a machine that shares the folder."""
    for aside in folder.glob(".*.part"):
        match = _ASIDE.fullmatch(aside.name)
        if match and not _is_written(aside, int(match[1]), match[2]):
            _remove(aside)


def is_aside(name: str) -> bool:
    """Whether a file's name is one that `write_aside` gives while it writes."""
    return _ASIDE.fullmatch(name) is not None


def _is_written(aside: Path, process: int, machine: str) -> bool:
    if machine == platform.node():
        return _is_running(process)
    try:
        return time.time() - aside.stat().st_mtime < _ABANDONED_S
    except FileNotFoundError:  # renamed meanwhile
        return True


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
