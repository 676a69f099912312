"""HTTP through a unix socket: how the supervisor talks to its workers, and commands to the supervisor."""

import http.client
import json
import socket
from pathlib import Path
from typing import Any, NamedTuple


class Reply(NamedTuple):
    """A status and a body."""

    status: int
    body: bytes

    @property
    def content(self) -> dict[str, Any]:
        """The body as JSON."""
        content: dict[str, Any] = json.loads(self.body)
        return content


class _Connection(http.client.HTTPConnection):
    def __init__(self, path: Path, timeout_s: float) -> None:
        super().__init__("localhost", timeout=timeout_s)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self._path))


def ask(path: Path, method: str, target: str, body: bytes | None = None, timeout_s: float = 5) -> Reply:
    """Send one request.

    Raises:
        OSError: nobody answers at that socket in time.
    """
    connection = _Connection(path, timeout_s)
    try:
        connection.request(method, target, body, {"Content-Type": "application/json"})
        reply = connection.getresponse()
        return Reply(reply.status, reply.read())
    except http.client.HTTPException as error:
        raise ConnectionError(f"{path}: no answer") from error
    finally:
        connection.close()
