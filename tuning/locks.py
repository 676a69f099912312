"""Who works on what: locks that the kernel, or Postgres, frees when their holder dies."""

from contextlib import AbstractContextManager
from pathlib import Path
from types import TracebackType
from typing import Protocol
from urllib.parse import quote

from filelock import FileLock, Timeout

LOCAL = "local"


class Lock(AbstractContextManager["Lock"]):
    """One name, held by this process and by no other, until it is released or the process dies."""

    def held(self) -> bool:
        """Ask, each time, whether it is still this process's."""
        raise NotImplementedError

    def release(self) -> None:
        """Let go; of a lock that was lost already, nothing is left to do."""
        raise NotImplementedError

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()


class Locks(Protocol):
    """Every lock of one scope, such as a search."""

    def take(self, name: str, *, wait: bool) -> Lock | None:
        """Take a lock, after its holder if need be; without waiting, None when it is taken, also by this process."""

    def close(self) -> None:
        """Release all that were taken here."""


class LocalLock(Lock):
    """A file that the kernel keeps for one process of this machine."""

    def __init__(self, lock: FileLock) -> None:
        self._lock = lock

    def held(self) -> bool:
        """Whether the file is still kept; a folder that was deleted took its locks with it."""
        return self._lock.is_locked and Path(self._lock.lock_file).exists()

    def release(self) -> None:
        """Let go of the file, which stays: another process may be about to take it."""
        self._lock.release()


class LocalLocks:
    """Locks among the processes of this machine: a file each."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._taken: list[LocalLock] = []

    def take(self, name: str, *, wait: bool) -> LocalLock | None:
        """See `Locks.take`."""
        self._folder.mkdir(parents=True, exist_ok=True)
        # One thread takes it, another may let go: a worker's threads are one holder.
        lock = FileLock(self._folder / f"{quote(name, safe='')}.lock", thread_local=False, poll_interval=0.01)
        try:
            lock.acquire(timeout=-1 if wait else 0)
        except Timeout:
            return None
        taken = LocalLock(lock)
        self._taken = [each for each in self._taken if each.held()] + [taken]
        return taken

    def close(self) -> None:
        """See `Locks.close`."""
        for each in self._taken:
            each.release()
        self._taken = []


def open_locks(storage: str, folder: Path) -> Locks:
    """Open the locks of what `folder` holds.

    Args:
        storage: `local`: among this machine's processes.
        folder: where this machine keeps it.
    """
    return LocalLocks(folder / "locks")
