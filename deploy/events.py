"""The gateway's log: one JSON object a line, in files that do not grow without end."""

import json
import threading
import time
from datetime import UTC, datetime
from pathlib import Path

_LARGEST = 20_000_000  # bytes
_KEPT = 4


class EventLog:
    """Appends events to a file; any thread may."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()

    def write(self, event: str, **said: str | int | float | None) -> None:
        """Append an event; what is said must be the gateway's own, never a client's or an image's."""
        line = json.dumps({"time": datetime.now(UTC).isoformat(timespec="milliseconds"), "event": event} | said)
        with self._lock:
            if has_grown(self._path):
                rotate(self._path)
            with self._path.open("a") as file:
                file.write(line + "\n")


def has_grown(path: Path) -> bool:
    """Whether a log is large enough to be put away."""
    return path.exists() and path.stat().st_size > _LARGEST


def rotate(path: Path) -> None:
    """Rename a log to `NAME.1`, that one to `NAME.2` and so on; the oldest goes."""
    for number in range(_KEPT, 0, -1):
        older = path.with_name(f"{path.name}.{number}")
        newer = path if number == 1 else path.with_name(f"{path.name}.{number - 1}")
        if newer.exists():
            newer.replace(older)


def seconds_since(moment: float) -> float:
    """Seconds since a moment of `time.monotonic`, for a log."""
    return round(time.monotonic() - moment, 1)
