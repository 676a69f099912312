"""The folder that a gateway keeps for itself: its token, certificate, models, sockets and logs."""

import fcntl
import os
import secrets
import shutil
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from secondread.errors import SecondReadError

_LONGEST_SOCKET = 107  # bytes of a path in sockaddr_un, unix(7)
_CERTIFICATE_DAYS = 825


class GatewayError(SecondReadError):
    """The gateway cannot start, reload or stop as asked."""


@dataclass(frozen=True)
class State:
    """Paths of a gateway's folder; only its owner can enter it.

    Args:
        folder: absolute.
    """

    folder: Path

    @property
    def run(self) -> Path:
        """Sockets, nginx's configuration and temporary files: emptied at each start."""
        return self.folder / "run"

    @property
    def models(self) -> Path:
        """Copies of the champions' folders, from which workers are started."""
        return self.folder / "models"

    @property
    def logs(self) -> Path:
        """JSON lines, without anything that a client sent."""
        return self.folder / "logs"

    @property
    def token(self) -> Path:
        """The token that a client sends, made at first use."""
        return self.folder / "token"

    @property
    def certificate(self) -> Path:
        """What clients trust, made at first use; yours may replace it and its key."""
        return self.folder / "certificate.pem"

    @property
    def key(self) -> Path:
        """The certificate's key."""
        return self.folder / "key.pem"

    @property
    def control(self) -> Path:
        """The socket by which `reload` and `stop` reach the supervisor."""
        return self.run / "control.sock"

    @property
    def access_log(self) -> Path:
        """One line a request, written by nginx."""
        return self.logs / "access.jsonl"

    def prepare(self) -> None:
        """Make what is missing and empty what a gateway that was killed left behind; take `alone` first.

        Raises:
            GatewayError: the folder's path is too long for sockets, or no certificate could be made.
        """
        longest = len(os.fsencode(self.run / "intraparenchymal-63-9999.sock"))
        if longest > _LONGEST_SOCKET:
            raise GatewayError(f"{self.folder}: too long a path for sockets; let SECONDREAD_HOME name a shorter one")
        shutil.rmtree(self.run, ignore_errors=True)
        for folder in (self.run, self.models, self.logs, self.run / "empty", self.run / "tmp"):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not self.token.exists():
            _write_private(self.token, secrets.token_hex(32) + "\n")
        if not self.certificate.exists():
            _make_certificate(self.certificate, self.key)

    def read_token(self) -> str:
        """The token, of at least 32 hexadecimal digits.

        Raises:
            GatewayError: the file holds something else, or others can read it.
        """
        token = self.token.read_text().strip()
        if len(token) < 32 or set(token) - set("0123456789abcdef"):
            raise GatewayError(f"{self.token}: expected at least 32 of 0-9a-f; remove it, and a new one is made")
        if self.token.stat().st_mode & 0o077:
            raise GatewayError(f"{self.token}: others can read it; chmod 600 it, or remove it for a new one")
        return token

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Hold the folder's lock.

        Raises:
            GatewayError: another gateway holds it.
        """
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        with (self.folder / "lock").open("w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise GatewayError(
                    f"{self.folder}: a gateway is running from here already; `make reload` brings it new champions, "
                    "`make stop` ends it"
                ) from None
            yield


def _write_private(path: Path, text: str) -> None:
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(handle, "w") as file:
        file.write(text)


def _make_certificate(certificate: Path, key: Path) -> None:
    """Make a self-signed certificate for this machine's names."""
    names = ",".join(dict.fromkeys(["DNS:localhost", "IP:127.0.0.1", f"DNS:{socket.gethostname()}"]))
    words = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]
    words += ["-keyout", str(key), "-out", str(certificate), "-days", str(_CERTIFICATE_DAYS)]
    words += ["-subj", "/CN=Second Read", "-addext", f"subjectAltName={names}"]
    try:
        done = subprocess.run(words, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        raise GatewayError("openssl is absent; on Debian: apt-get install openssl") from None
    if done.returncode:
        raise GatewayError(f"{certificate}: openssl could not make it: {done.stderr.strip().splitlines()[-1]}")
    key.chmod(0o600)
