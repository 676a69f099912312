"""A gateway started by `make serve`, one for all tests of a session, and clients that talk to it through TLS."""

import http.client
import json
import re
import shutil
import socket
import ssl
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from functools import cached_property
from itertools import count
from pathlib import Path
from typing import Any, NamedTuple

import psutil
import pytest
import yaml

from integration.command import Command
from integration.model_server import text
from integration.project import ROOT, Project
from integration.tiny_champion import register_tiny_champion

SETTINGS = yaml.safe_load((ROOT / "deploy" / "gateway.yaml").read_text()) | {"host": "127.0.0.1", "body_mb": 2}
BIAS = {"hemorrhage": -2.0, "pneumonia": -1.0}
ADDRESSES = (f"{number // 250}.{number % 250 + 1}" for number in count())
MARK = "Mustermann_Erika"  # stands for whatever tells who a patient is
LEAK = re.compile(r'Traceback|File "|\.py|/(root|home|tmp|work|usr)|mlflow|nginx|<html')
KEPT = pytest.StashKey["Gateway"]()


class Reply(NamedTuple):
    """What a client got."""

    status: int
    headers: http.client.HTTPMessage
    text: str

    @property
    def content(self) -> dict[str, Any]:
        """The body as JSON."""
        content: dict[str, Any] = json.loads(self.text)
        return content

    @property
    def answers(self) -> list[dict[str, Any]]:
        """A model's answers."""
        answers: list[dict[str, Any]] = self.content["predictions"]
        return answers


@dataclass
class Client:
    """One connection to a gateway, kept open between requests for as long as the gateway keeps it.

    Args:
        source: the address that the client comes from; every one of 127.0.0.0/8 is this machine's.
    """

    port: int
    certificate: Path
    token: str
    source: str
    _connection: http.client.HTTPSConnection | None = field(default=None, repr=False)

    def send(self, method: str, target: str, body: bytes | None = None, **headers: str | None) -> Reply:
        """Send a request with the token; a header that is None is left away, `_` stands for `-`."""
        given = {"Authorization": f"Bearer {self.token}", "Content-Type": "application/json"}
        given |= {name.replace("_", "-"): value for name, value in headers.items() if value is not None}
        left = {name for name, value in headers.items() if value is None}
        connection = self._connection or self.connect()
        self._connection = None
        connection.request(method, target, body, {k: v for k, v in given.items() if k not in left})
        reply = connection.getresponse()
        got = Reply(reply.status, reply.headers, reply.read().decode())
        if reply.will_close:
            connection.close()
        else:
            self._connection = connection
        return got

    def ask(self, task: str, *files: bytes, **params: object) -> Reply:
        """Send images."""
        body = {"dataframe_records": [{"image": text(file)} for file in files]} | ({"params": params} if params else {})
        return self.send("POST", f"/{task}/invocations", json.dumps(body).encode())

    def send_raw(self, data: bytes) -> bytes:
        """Send bytes over a connection of their own; give all that comes until the gateway closes it."""
        trusting = ssl.create_default_context(cafile=str(self.certificate))
        got = b""
        plain = socket.create_connection(("127.0.0.1", self.port), 60, (self.source, 0))
        with trusting.wrap_socket(plain, server_hostname="localhost") as wrapped, suppress(OSError):
            wrapped.sendall(data)
            while part := wrapped.recv(1 << 16):
                got += part
        return got

    def connect(self) -> http.client.HTTPSConnection:
        """Open a connection."""
        trusting = ssl.create_default_context(cafile=str(self.certificate))
        return http.client.HTTPSConnection(
            "localhost", self.port, timeout=60, context=trusting, source_address=(self.source, 0)
        )

    def close(self) -> None:
        """Close the connection."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None


@dataclass(frozen=True)
class Gateway:
    """A gateway that may still start.

    Args:
        command: `make serve`.
        settings: the YAML file that it was given.
    """

    project: Project
    command: Command
    settings: Path

    @property
    def folder(self) -> Path:
        """Its state."""
        return self.project.folder / "home" / "gateway"

    @property
    def port(self) -> int:
        """Where it listens."""
        port: int = yaml.safe_load(self.settings.read_text())["port"]
        return port

    @cached_property
    def token(self) -> str:
        """The token that it made."""
        return (self.folder / "token").read_text().strip()

    def client(self, source: str | None = None) -> Client:
        """A client that trusts the certificate and knows the token, by default from an address that no other has."""
        address = source or f"127.1.{next(ADDRESSES)}"
        return Client(self.port, self.folder / "certificate.pem", self.token, address)

    def make(self, target: str) -> "subprocess.CompletedProcess[str]":
        """Run a target of the Makefile to its end."""
        return self.project.run(*make(target, self.settings))

    def health(self, task: str) -> dict[str, Any]:
        """What the gateway says about a task."""
        with closing(self.client()) as client:
            said: dict[str, Any] = client.send("GET", "/health").content["models"][task]
            return said

    def metrics(self) -> str:
        """What Prometheus would get."""
        with closing(self.client()) as client:
            return client.send("GET", "/metrics").text

    def workers(self, task: str) -> list[psutil.Process]:
        """The processes that answer, or will answer, for a task, without those that they started themselves."""
        found = [child for child in self.processes() if any(f"/models/{task}-" in word for word in _words(child))]
        return [worker for worker in found if worker.ppid() not in {other.pid for other in found}]

    def processes(self) -> list[psutil.Process]:
        """Everything that it started."""
        return psutil.Process(self.command.process.pid).children(recursive=True)

    def wait_until_it_serves(self) -> "Gateway":
        """Wait until it said that it answers."""
        self.command.wait_until(lambda: "The gateway answers at" in self.command.said or None)
        return self

    def logs(self) -> str:
        """Everything that it wrote to its log files and to the terminal."""
        return "\n".join(path.read_text() for path in sorted((self.folder / "logs").iterdir())) + self.command.said


@contextmanager
def started_gateway(project: Project, **settings: object) -> Iterator[Gateway]:
    """Start a gateway of a project; at the end kill what is left of it."""
    file = project.folder / "gateway.yaml"
    file.write_text(yaml.safe_dump(SETTINGS | {"port": _free_port()} | settings))
    with project.started(*make("serve", file)) as command:
        yield Gateway(project, command, file)


def make(target: str, settings: Path) -> list[str]:
    """What a person types; .venv is this one, so nothing is installed into it."""
    return ["make", "--no-print-directory", "--assume-old=.venv/ready", target, f"SETTINGS={settings}"]


def shared_gateway(config: pytest.Config, factory: pytest.TempPathFactory, database: Path) -> Gateway:
    """The session's gateway: both tasks, each with a tiny champion; it is ended by `make stop` after the last test."""
    if shutil.which("nginx", path="/usr/sbin:/usr/local/sbin:/usr/bin") is None:
        pytest.skip("nginx is absent; on Debian: apt-get install nginx-light")
    if KEPT not in config.stash:
        project = Project.create(factory.mktemp("gateway"), database)
        for task, bias in BIAS.items():
            register_tiny_champion(project.client, task, project.folder / f"{task}_1", bias)
        starting = started_gateway(project)
        config.stash[KEPT] = starting.__enter__()

        def end() -> None:
            stopped = config.stash[KEPT].make("stop")
            starting.__exit__(None, None, None)
            assert stopped.returncode == 0, stopped.stderr

        config.add_cleanup(end)
    return config.stash[KEPT].wait_until_it_serves()


def assert_says_little(reply: Reply) -> None:
    """An answer of the gateway's, or an error of few words that repeat nothing."""
    assert reply.status in {200, 400, 411, 413, 415, 429, 503}
    assert reply.headers["Content-Type"] == "application/json"
    assert MARK not in reply.text + str(reply.headers)
    assert not LEAK.search(reply.text)
    if reply.status != 200:
        assert set(reply.content) == {"error", "message"}


def assert_discreet(said: bytes) -> None:
    """An HTTP reply of any kind, or nothing at all: no server error, and nothing that was sent or that is inside."""
    said = re.sub(rb"^(HTTP/1.1 100 Continue\r\n\r\n)+", b"", said)
    head, _, text = said.decode("latin-1").partition("\r\n\r\n")
    status = re.match(r"HTTP/1.1 (\d+) ", head)
    code = int(status[1]) if status else 0
    assert code < 500 or (code == 503 and "\r\nRetry-After: " in head)
    assert MARK not in head + text
    assert code == 200 or not LEAK.search(text)


def body(*images: str) -> bytes:
    """A request."""
    return json.dumps({"dataframe_records": [{"image": image} for image in images]}).encode()


def wait_for(happened: Callable[[], bool], seconds: float = 120) -> None:
    """Wait until something has happened."""
    until = time.monotonic() + seconds
    while not happened():
        assert time.monotonic() < until, f"it did not happen within {seconds} s"
        time.sleep(0.1)


def metric(exposition: str, name: str, **labels: str) -> float:
    """A metric's value; 0 where it is absent."""
    for line in exposition.splitlines():
        match = re.fullmatch(r"(\w+)\{(.*)\} (\S+)", line)
        if match and match[1] == name and dict(re.findall(r'(\w+)="([^"]*)"', match[2])) == labels:
            return float(match[3])
    return 0.0


def _words(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline()
    except psutil.NoSuchProcess:
        return []


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
    return port
