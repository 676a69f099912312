"""A Postgres of the tests' own, as Debian packages it."""

import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path
from urllib.parse import quote

import psycopg

from secondread.execution import die_with_parent

USER = "tuner"
PASSWORD = "p@ss/word: {1}"  # a URL must escape all of it, and no log may show it


def binaries() -> Path | None:
    """The folder of initdb and postgres, which Debian keeps off the PATH; None where they are absent."""
    found = shutil.which("postgres")
    versions = sorted(Path("/usr/lib/postgresql").glob("*/bin/postgres"), key=lambda path: path.parts[-3].zfill(3))
    return Path(found).parent if found else versions[-1].parent if versions else None


class PostgresServer:
    """A cluster in a temporary folder, on a free port of this machine alone; it ends with the tests."""

    def __init__(self, programs: Path) -> None:
        self._programs = programs
        # Not below pytest's folder, which only its user can enter: Postgres refuses to run as root.
        self._folder = Path(tempfile.mkdtemp(prefix="secondread_postgres_"))
        self._user = "postgres" if os.geteuid() == 0 else None
        if self._user:
            shutil.chown(self._folder, self._user)
        self._process: subprocess.Popen[bytes] | None = None
        password = self._folder / "password"
        password.write_text(PASSWORD)
        try:
            initdb: list[str | Path] = [
                programs / "initdb",
                "--no-sync",
                "--auth=scram-sha-256",
                f"--username={USER}",
                "--locale=C.UTF-8",
            ]
            self._run([*initdb, f"--pwfile={password}", "-D", self._folder / "data"])
            with socket.create_server(("127.0.0.1", 0)) as probe:
                self.port = int(probe.getsockname()[1])
            self.start()
        except BaseException:
            self.close()
            raise

    @property
    def url(self) -> str:
        """What `storage` is set to."""
        return f"postgresql://{USER}:{quote(PASSWORD, safe='')}@127.0.0.1:{self.port}/postgres"

    def start(self) -> None:
        """Start it, and wait until it answers."""
        settings = {"listen_addresses": "127.0.0.1", "port": self.port, "unix_socket_directories": "", "fsync": "off"}
        flags = [flag for name, value in settings.items() for flag in ("-c", f"{name}={value}")]
        with (self._folder / "log.txt").open("ab") as log:
            self._process = subprocess.Popen(
                [self._programs / "postgres", "-D", self._folder / "data", *flags],
                stdout=log,
                stderr=log,
                user=self._user,
                group=self._user,
                extra_groups=[] if self._user else None,
                cwd="/",
                preexec_fn=die_with_parent,
            )
        until = time.monotonic() + 60
        while True:
            try:
                psycopg.connect(self.url).close()
                return
            except psycopg.OperationalError:
                assert self._process.poll() is None, (self._folder / "log.txt").read_text()
                assert time.monotonic() < until, (self._folder / "log.txt").read_text()
                time.sleep(0.1)

    def stop(self) -> None:
        """End it at once, with every session."""
        if self._process:
            self._process.send_signal(signal.SIGINT)
            self._process.wait()
            self._process = None

    def ask(self, query: str) -> list[tuple[object, ...]]:
        """Answer a query, or carry out a command."""
        with psycopg.connect(self.url, autocommit=True) as connection:
            cursor = connection.execute(query.encode())
            return cursor.fetchall() if cursor.description else []

    def close(self) -> None:
        """End it and remove its folder."""
        self.stop()
        shutil.rmtree(self._folder)

    def _run(self, command: list[str | Path]) -> None:
        groups: list[str | int] | None = [] if self._user else None
        subprocess.run(
            command, user=self._user, group=self._user, extra_groups=groups, cwd="/", check=True, capture_output=True
        )
