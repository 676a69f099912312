"""What overload does to a champion: behind the gateway, and behind `mlflow models serve` alone.

    python benchmarks/serving.py --part gateway

Needs nginx. 300 clients want 1,000 answers; one that is told 429 or 503 comes back when Retry-After says, one that is
told anything else does not. Once more with a worker killed by `kill -9` meanwhile. Unloaded means 8 clients. Sides are
run in turns. The champion is registered in a tracking store of its own.
"""

import asyncio
import http.client
import os
import signal
import socket
import ssl
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

import psutil
import yaml
from mlflow import MlflowClient

from secondread.bundle import load_description
from secondread.tracking.model import bundle_folder

REQUESTS = 1_000
CLIENTS = 300
UNLOADED_REQUESTS, UNLOADED_CLIENTS = 400, 8
TURNS = 3
PATIENCE_S = 90
ROOT = Path(__file__).resolve().parents[1]


@dataclass(frozen=True)
class Server:
    """Where to ask.

    Args:
        trusted: for TLS; None speaks plain HTTP.
        processes: of the model.
    """

    port: int
    path: str
    token: str
    trusted: ssl.SSLContext | None
    main: psutil.Process

    def workers(self) -> list[psutil.Process]:
        """The processes that answer for the task."""
        return [child for child in self.main.children(recursive=True) if "scoring.py" in " ".join(child.cmdline())]


@dataclass
class Outcome:
    """What the clients of one run saw."""

    seconds: float = 0
    statuses: Counter[int] = field(default_factory=Counter)
    lost: Counter[str] = field(default_factory=Counter)
    slowest_s: float = 0

    @property
    def good_per_second(self) -> float:
        """Answered images a second."""
        return self.statuses[200] / self.seconds

    def __str__(self) -> str:
        told = ", ".join(f"{count} x {status}" for status, count in sorted(self.statuses.items()))
        lost = ", ".join(f"{count} x {error}" for error, count in self.lost.items()) or "none"
        speed = f"{self.good_per_second:6.1f} good/s in {self.seconds:5.1f} s"
        return f"{speed}; {told}; lost: {lost}; slowest {self.slowest_s:.1f} s"


@dataclass(frozen=True)
class MlflowServe:
    """A running `mlflow models serve`.

    Args:
        main: of the command; the server is its child.
    """

    port: int
    main: psutil.Process

    def connect(self) -> http.client.HTTPConnection:
        """A connection for one request at a time; the server closes it after 5 idle seconds."""
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE_S)

    def processes(self) -> list[psutil.Process]:
        """The server and what it started, decoders included."""
        return self.main.children(recursive=True)


def compare_overload(model: Path, folder: Path) -> None:
    """Print what each side did in each turn, and the share of its throughput that good requests kept.

    Args:
        model: folder of a logged model, whose own example is asked for.
        folder: for the tracking store, the gateway's state and logs.
    """
    body = (model / "serving_input_example.json").read_bytes()
    kept: dict[str, list[float]] = {}
    with gateway(model, folder) as ours, mlflow_serve(model, folder) as alone_server:
        peer = Server(alone_server.port, "/invocations", "", None, alone_server.main)
        for server in (ours, peer):  # connections, threads and decoders that start at the first use
            asyncio.run(run(server, body, UNLOADED_REQUESTS, UNLOADED_CLIENTS))
        for _ in range(TURNS):
            for name, server in (("gateway", ours), ("mlflow models serve", peer)):
                alone = asyncio.run(run(server, body, UNLOADED_REQUESTS, UNLOADED_CLIENTS))
                print(f"{name}, unloaded: {alone}", flush=True)
                for killed in (False, True) if server is ours else (False,):
                    loaded = asyncio.run(run(server, body, REQUESTS, CLIENTS, kill=killed))
                    case = f"{name}, {CLIENTS} in flight" + (", a worker killed" if killed else "")
                    print(f"{case}: {loaded}", flush=True)
                    kept.setdefault(case, []).append(loaded.good_per_second / alone.good_per_second)
    for case, shares in kept.items():
        print(
            f"{case}: good requests keep {median(shares):.2f} ({min(shares):.2f} to {max(shares):.2f}) of the unloaded"
        )


async def run(server: Server, body: bytes, requests: int, clients: int, kill: bool = False) -> Outcome:
    """Let clients ask until every request was answered or given up."""
    left = iter(range(requests))
    outcome = Outcome()
    started = time.perf_counter()
    asked = [asyncio.create_task(client(server, body, left, outcome)) for _ in range(clients)]
    if kill:
        await asyncio.sleep(1)
        server.workers()[0].kill()
    await asyncio.gather(*asked)
    outcome.seconds = time.perf_counter() - started
    if kill:  # a worker that starts again would slow down whoever is next
        while b'"status": "ok", "models"' not in await health(server):
            await asyncio.sleep(1)
    return outcome


async def client(server: Server, body: bytes, left: Iterator[int], outcome: Outcome) -> None:
    """Ask in one connection, anew where it was closed."""
    streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None
    for _ in left:
        again = True
        while again:
            began = time.perf_counter()
            try:
                async with asyncio.timeout(PATIENCE_S):
                    if streams is None:
                        streams = await asyncio.open_connection("localhost", server.port, ssl=server.trusted)
                    status, wait_s, closed = await ask(server, body, *streams)
            except (OSError, TimeoutError, asyncio.IncompleteReadError) as error:
                outcome.lost[type(error).__name__] += 1
                streams, again = None, False
                continue
            outcome.statuses[status] += 1
            outcome.slowest_s = max(outcome.slowest_s, time.perf_counter() - began)
            if closed:
                streams[1].close()
                streams = None
            again = status in (429, 503)
            if again:
                await asyncio.sleep(wait_s)
    if streams is not None:
        streams[1].close()


async def health(server: Server) -> bytes:
    """What the gateway says about itself."""
    reader, writer = await asyncio.open_connection("localhost", server.port, ssl=server.trusted)
    writer.write(b"GET /health HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
    said = await reader.read()
    writer.close()
    return said


async def ask(
    server: Server, body: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> tuple[int, float, bool]:
    """Send one request; give status, Retry-After, and whether the server closes the connection."""
    head = f"POST {server.path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {server.token}\r\n"
    head += f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    writer.write(head.encode() + body)
    await writer.drain()
    first, *lines = (await reader.readuntil(b"\r\n\r\n")).decode().lower().strip().split("\r\n")
    headers = dict(line.split(": ", 1) for line in lines)
    await reader.readexactly(int(headers["content-length"]))
    return int(first.split()[1]), float(headers.get("retry-after", 1)), headers.get("connection") == "close"


@contextmanager
def gateway(model: Path, folder: Path) -> Iterator[Server]:
    """The gateway with its delivered settings, but for the port and the rate: all clients come from one address."""
    settings = yaml.safe_load((ROOT / "deploy" / "gateway.yaml").read_text())
    port = _free_port()
    task = load_description(bundle_folder(model)).task
    changed = {"port": port, "tasks": [task], "host": "127.0.0.1", "requests_per_second": 10_000}
    file, home = folder / "gateway.yaml", folder / "home"
    file.write_text(yaml.safe_dump(settings | changed))
    uri = f"sqlite:///{folder / 'mlflow.db'}"
    make_champion(uri, task, model)
    words = [sys.executable, "-m", "deploy", "serve", "--settings", str(file)]
    log = folder / "gateway.log"
    environment = os.environ | {"SECONDREAD_HOME": str(home), "MLFLOW_TRACKING_URI": uri}
    with log.open("wb") as out:
        process = subprocess.Popen(words, cwd=ROOT, env=environment, stdout=out)
    try:
        while "The gateway answers" not in log.read_text():
            assert process.poll() is None, "the gateway did not start"
            time.sleep(0.5)
        state = home / "gateway"
        trusted = ssl.create_default_context(cafile=str(state / "certificate.pem"))
        token = (state / "token").read_text().strip()
        yield Server(port, f"/{task}/invocations", token, trusted, psutil.Process(process.pid))
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait()


def make_champion(uri: str, task: str, model: Path) -> None:
    """Register a model's folder in a new tracking store."""
    client = MlflowClient(uri, uri)
    client.create_registered_model(task)
    version = client.create_model_version(task, str(model)).version
    client.set_registered_model_alias(task, "champion", version)


@contextmanager
def mlflow_serve(model: Path, folder: Path) -> Iterator[MlflowServe]:
    """`mlflow models serve` as its documentation starts it, until it listens.

    Args:
        model: folder of a logged model.
        folder: where it runs and its log is kept.
    """
    port = _free_port()
    words = [sys.executable, "-m", "mlflow", "models", "serve", "-m", str(model), "--env-manager", "local"]
    log = folder / "mlflow.log"
    # It starts uvicorn by name.
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    environment = os.environ | {"PATH": path, "MLFLOW_DISABLE_TELEMETRY": "true"}
    with log.open("wb") as out:
        process = subprocess.Popen([*words, "--port", str(port)], cwd=folder, env=environment, stdout=out, stderr=out)
    main = psutil.Process(process.pid)
    try:
        while not _listens(port):
            assert process.poll() is None, log.read_text()
            time.sleep(0.02)
        yield MlflowServe(port, main)
    finally:
        for child in [*main.children(recursive=True), main]:
            child.kill()
        process.wait()


def _listens(port: int) -> bool:
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", port)) == 0


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
    return port
