"""Who works on what: locks that the kernel, or Postgres, frees when their holder dies."""

import threading
import time
from abc import abstractmethod
from contextlib import AbstractContextManager, suppress
from pathlib import Path
from types import TracebackType
from typing import Protocol
from urllib.parse import quote

import psycopg
from filelock import FileLock, Timeout

from secondread.errors import SearchError
from secondread.storage import sha256_of
from tuning.database import Away, Connection, Database, patiently

LOCAL = "local"
_WATCH_S = 1.0  # a lost session is opened again so soon
_RETURN_S = 5.0  # so long after its start, a server's locks are for those who held them before


class Lock(AbstractContextManager["Lock"]):
    """One name, held by this process and by no other, until it is released or the process dies."""

    @abstractmethod
    def held(self) -> bool:
        """Ask, each time, whether it is still this process's."""

    @abstractmethod
    def release(self) -> None:
        """Let go; of a lock that was lost already, nothing is left to do."""

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


class PostgresLock(Lock):
    """A name that Postgres keeps for one session, and the kernel for one process of this machine."""

    def __init__(self, locks: "PostgresLocks", key: int, here: LocalLock) -> None:
        self._locks = locks
        self._key = key
        self._here = here
        self._released = False

    def held(self) -> bool:
        """Ask the server; after a lost connection, whether the lock could be taken again before anybody else did."""
        return not self._released and self._here.held() and self._locks.holds(self._key)

    def release(self) -> None:
        """Let go, at the server first."""
        if not self._released:
            self._released = True
            self._locks.let_go(self._key)
            self._here.release()


class PostgresLocks:
    """Locks among machines: advisory ones, all of one session, which a thread keeps open.

    Each is a file here as well: while a database starts anew, no second process of this machine can take what
    another one works on, in the same folder.

    Args:
        scope: names what the locks are of, alike on every machine.
        here: the same locks among this machine's processes.
    """

    def __init__(self, database: Database, scope: str, here: LocalLocks) -> None:
        self._database = database
        self._scope = scope
        self._here = here
        self._mutex = threading.RLock()  # of the session and of what it holds
        self._session: Connection | None = None
        self._former: tuple[object, ...] | None = None
        self._settled = 0.0
        self._keys: set[int] = set()
        self._closed = threading.Event()
        self._patiently("SELECT 1", opening=True)
        self._watch = threading.Thread(target=self._keep_open, name="locks", daemon=True)
        self._watch.start()

    def take(self, name: str, *, wait: bool) -> PostgresLock | None:
        """See `Locks.take`."""
        here = self._here.take(name, wait=wait)
        if here is None:
            return None
        key = int.from_bytes(bytes.fromhex(sha256_of(f"secondread/{self._scope}/{name}".encode()))[:8], signed=True)
        try:
            if not self._take(key, wait):
                here.release()
                return None
        except BaseException:
            here.release()
            raise
        return PostgresLock(self, key, here)

    def holds(self, key: int) -> bool:
        """Whether the session that holds a lock lives."""
        self._patiently("SELECT 1")
        return key in self._keys

    def let_go(self, key: int) -> None:
        """Release a lock; with a lost session it is free already."""
        with self._mutex, suppress(Away):
            if key in self._keys:
                self._keys.remove(key)
                self._ask("SELECT pg_advisory_unlock(%s)", key)

    def close(self) -> None:
        """See `Locks.close`; the server frees all of a session's locks with it."""
        self._closed.set()
        self._watch.join()
        with self._mutex:
            self._keys.clear()
            if self._session:
                self._session.close()
        self._here.close()

    def _take(self, key: int, wait: bool) -> bool:
        pause = 0.005
        while not self._try(key):
            if not wait:
                return False
            time.sleep(pause)
            pause = min(0.2, pause * 2)
        return True

    def _try(self, key: int) -> bool:
        self._patiently("SELECT 1")
        time.sleep(max(0.0, self._settled - time.monotonic()))

        def taken() -> bool:
            with self._mutex:
                if self._ask("SELECT pg_try_advisory_lock(%s)", key) != (True,):
                    return False
                self._keys.add(key)
                return True

        return patiently(taken, str(self._database))

    def _patiently(self, query: str, *, opening: bool = False) -> tuple[object, ...] | None:
        return patiently(lambda: self._ask(query), str(self._database), opening=opening)

    def _ask(self, query: str, *values: object) -> tuple[object, ...] | None:
        """Ask the session, a new one if need be.

        Raises:
            Away: it was lost, or none can be had.
        """
        with self._mutex:
            try:
                if self._session is None:
                    self._session = self._opened()
                return self._session.execute(query, values).fetchone()
            except (psycopg.OperationalError, psycopg.InterfaceError) as error:
                if self._session is not None:
                    self._session.close()
                self._session = None
                raise Away(self._database.scrubbed(" ".join(str(error).split()))) from None

    def _opened(self) -> Connection:
        """Open a session, and take again what the last one held unless somebody else has it by now."""
        session = self._database.connect()
        try:
            session.autocommit = True
            self._take_again(session)
        except BaseException:
            session.close()
            raise
        return session

    def _take_again(self, session: Connection) -> None:
        if self._former:  # the server may not have noticed yet that the last session is lost, and keep its locks
            session.execute(
                "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE pid = %s AND backend_start = %s",
                self._former,
            ).fetchall()
        asked = "SELECT pg_try_advisory_lock(%s)"
        self._keys = {key for key in self._keys if session.execute(asked, (key,)).fetchone() == (True,)}
        self._former = session.execute(
            "SELECT pid, backend_start FROM pg_stat_activity WHERE pid = pg_backend_pid()"
        ).fetchone()
        age = session.execute("SELECT extract(epoch FROM clock_timestamp() - pg_postmaster_start_time())").fetchone()
        self._settled = time.monotonic() + _RETURN_S - float(str(age[0])) if age else 0.0

    def _keep_open(self) -> None:
        while not self._closed.wait(_WATCH_S):
            with suppress(Away, SearchError):  # whoever needs the session waits for it, and says so
                self._ask("SELECT 1")


def open_locks(storage: str, folder: Path, scope: str | None = None) -> Locks:
    """Open the locks of what `folder` holds.

    Args:
        storage: `local`: among this machine's processes; postgresql://...: among machines.
        folder: where this machine keeps it.
        scope: names it in a database, alike on every machine; None is the folder's name.
    Raises:
        ConfigError: `storage` is neither.
        SearchError: the database cannot be reached.
    """
    here = LocalLocks(folder / "locks")
    return here if storage == LOCAL else PostgresLocks(Database(storage), scope or folder.name, here)
