"""One promotion or rollback of a task at a time, whatever home or folder each was started in."""

import getpass
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import mlflow
from filelock import FileLock, Timeout

from secondread.storage import sha256_of

_SQLITE = "sqlite:///"


@contextmanager
def alone(task: str) -> Iterator[None]:
    """Wait until no other process decides about a task, and keep others waiting; the kernel frees it on `kill -9`."""
    lock = lock_of_task(task)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        print(f"another process is deciding about {task}; waiting for it", flush=True)
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


@contextmanager
def alone_if_free(task: str) -> Iterator[bool]:
    """As `alone`, but go on at once when another process decides about the task: False then."""
    lock = lock_of_task(task)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        yield False
        return
    try:
        yield True
    finally:
        lock.release()


def lock_of_task(task: str) -> FileLock:
    """Beside a sqlite database; of another store, in a folder of this user's on this machine."""
    uri = mlflow.get_registry_uri()
    path = uri.removeprefix(_SQLITE).partition("?")[0]
    if uri.startswith(_SQLITE) and path:
        database = Path(path).absolute()
        return FileLock(database.with_name(f".{database.name}.{task}.lock"))
    folder = Path(tempfile.gettempdir()) / f"secondread-{getpass.getuser()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    return FileLock(folder / f"{sha256_of(uri.encode())[:16]}.{task}.lock")
