"""Prometheus' text format, from nginx's access log and what the supervisor knows.

Source: https://prometheus.io/docs/instrumenting/exposition_formats/ (text format 0.0.4).
"""

import json
import re
import threading
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

_BUCKETS_S = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
_CONNECTIONS = re.compile(r"Active connections: (\d+).*Reading: (\d+) Writing: (\d+) Waiting: (\d+)", re.DOTALL)


class Sample(NamedTuple):
    """A value under its labels; `suffix` follows the metric's name."""

    labels: Mapping[str, str]
    value: float
    suffix: str = ""


class Metric(NamedTuple):
    """A named metric and its values."""

    name: str
    kind: str
    about: str
    samples: Iterable[Sample]


def exposition(metrics: Iterable[Metric]) -> str:
    """Write metrics as Prometheus reads them; label values are the gateway's own words and need no escapes."""
    lines: list[str] = []
    for name, kind, about, samples in metrics:
        lines += [f"# HELP {name} {about}", f"# TYPE {name} {kind}"]
        for labels, value, suffix in samples:
            inside = ",".join(f'{key}="{text}"' for key, text in labels.items())
            lines.append(f"{name}{suffix}{{{inside}}} {value:.15g}")
    return "\n".join(lines) + "\n"


def connections(stub_status: str) -> Metric:
    """Clients' connections, from nginx's own page about them."""
    found = _CONNECTIONS.search(stub_status)
    states = ("active", "reading", "writing", "waiting")
    values = found.groups() if found else ()
    samples = [Sample({"state": state}, float(value)) for state, value in zip(states, values, strict=False)]
    return Metric("secondread_gateway_connections", "gauge", "Connections of nginx by state.", samples)


class Requests:
    """Counts of the requests that nginx logged since the gateway was started; any thread may use them."""

    def __init__(self, access_log: Path) -> None:
        self._path = access_log
        self._read_to = 0
        self._inode = 0
        self._part = b""
        self._lock = threading.Lock()
        self._count: Counter[tuple[str, str]] = Counter()
        self._seconds: dict[str, float] = {}
        self._within: Counter[tuple[str, float]] = Counter()

    def skip(self) -> None:
        """Leave out what an earlier gateway logged."""
        if self._path.exists():
            self._inode, self._read_to = self._path.stat().st_ino, self._path.stat().st_size

    def read(self) -> None:
        """Add what was logged since, also to a log that was put away meanwhile."""
        with self._lock:
            if not self._path.exists():
                return
            inode = self._path.stat().st_ino
            if inode != self._inode:
                for path in self._path.parent.glob(f"{self._path.name}.*"):
                    if path.stat().st_ino == self._inode:
                        self._read(path)
                self._inode, self._read_to = inode, 0
            if self._path.stat().st_size > self._read_to:
                self._read(self._path)

    def _read(self, path: Path) -> None:
        with path.open("rb") as file:
            file.seek(self._read_to)
            new = file.read()
        self._read_to += len(new)
        *lines, self._part = (self._part + new).split(b"\n")
        for line in lines:
            self._add(json.loads(line))

    def metrics(self) -> list[Metric]:
        """Requests by route and status, and how long they took."""
        self.read()
        with self._lock:
            counted = [
                Sample({"route": route, "status": status}, n) for (route, status), n in sorted(self._count.items())
            ]
            took = [sample for route in sorted(self._seconds) for sample in self._histogram(route)]
        return [
            Metric("secondread_gateway_requests_total", "counter", "Requests by route and status.", counted),
            Metric("secondread_gateway_request_seconds", "histogram", "From a request's first byte to its end.", took),
        ]

    def _add(self, said: dict[str, Any]) -> None:
        route, seconds = said["route"], said["seconds"]
        self._count[route, str(said["status"])] += 1
        self._seconds[route] = self._seconds.get(route, 0) + seconds
        for bucket in _BUCKETS_S:
            self._within[route, bucket] += seconds <= bucket

    def _histogram(self, route: str) -> list[Sample]:
        number = sum(count for (counted, _), count in self._count.items() if counted == route)
        buckets = [
            Sample({"route": route, "le": f"{bucket:g}"}, self._within[route, bucket], "_bucket")
            for bucket in _BUCKETS_S
        ]
        return [
            *buckets,
            Sample({"route": route, "le": "+Inf"}, number, "_bucket"),
            Sample({"route": route}, self._seconds[route], "_sum"),
            Sample({"route": route}, number, "_count"),
        ]
