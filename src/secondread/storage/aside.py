"""Files, written aside and then renamed, so that nothing is ever half-written."""

import hashlib
import os
import platform
import re
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
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
    aside = path.with_name(f".{path.name}{_of_this_process()}")
    _remove(aside)
    try:
        yield aside
        if path.is_dir():
            _remove(path)
        aside.replace(path)
    finally:
        _remove(aside)


@contextmanager
def passing_folder(within: Path) -> Iterator[Path]:
    """Give a new folder, for its owner alone, that is gone at the end; those that killed processes left go first."""
    within.mkdir(parents=True, exist_ok=True)
    remove_unfinished(within)
    with tempfile.TemporaryDirectory(prefix=".", suffix=_of_this_process(), dir=within) as folder:
        yield Path(folder)


def remove_unfinished(folder: Path) -> None:
    """Remove what is left of a process that was killed, here or on a machine that shares the folder."""
    for aside in folder.glob(".*.part"):
        match = _ASIDE.fullmatch(aside.name)
        if match and not _is_written(aside, int(match[1]), match[2]):
            with suppress(FileNotFoundError):  # another process removes it, too
                _remove(aside)


def is_aside(name: str) -> bool:
    """Whether a file's name is one that `write_aside` gives while it writes."""
    return _ASIDE.fullmatch(name) is not None


def _of_this_process() -> str:
    """The end of a name; machines that share a folder may have processes of one number."""
    return f".{os.getpid()}@{platform.node()}.part"


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
