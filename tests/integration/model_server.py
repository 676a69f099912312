"""`mlflow models serve` as a hospital's machine would run it: an empty folder, and this project not installed."""

import base64
import json
import os
import shutil
import socket
import subprocess
import sys
import sysconfig
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from planted.requests import Request

from integration.command import Command, started


@dataclass(frozen=True)
class ModelServer:
    """A server that answers."""

    url: str
    command: Command

    def post(self, body: dict[str, Any]) -> list[dict[str, Any]]:
        """Send a request and give its answers."""
        request = urllib.request.Request(
            f"{self.url}/invocations", json.dumps(body).encode(), {"Content-Type": "application/json"}
        )
        with urllib.request.urlopen(request, timeout=120) as reply:
            answers: list[dict[str, Any]] = json.load(reply)["predictions"]
        return answers

    def send(self, asked: Request) -> tuple[int, bytes]:
        """Send any request; give the status, and the headers and the body of what came back."""
        request = urllib.request.Request(self.url + asked.path, asked.body, asked.headers, method=asked.method)
        try:
            with urllib.request.urlopen(request, timeout=120) as reply:
                return reply.status, str(reply.headers).encode() + reply.read()
        except urllib.error.HTTPError as refused:
            return refused.code, str(refused.headers).encode() + refused.read()

    def answer(self, *files: bytes) -> list[dict[str, Any]]:
        """Answer files, sent as the README says."""
        return self.post({"dataframe_records": [{"image": text(file)} for file in files]})


def text(file: bytes) -> str:
    """Base64, as a request carries it."""
    return base64.b64encode(file).decode()


def explaining(model: Path, copy: Path) -> Path:
    """Copy a logged model's folder, as if Grad-CAM had passed its checks; give the copy."""
    shutil.copytree(model, copy)
    path = copy / "artifacts" / "bundle" / "bundle.json"
    said = json.loads(path.read_text()) | {"explanation": {"method": "grad_cam", "reason": "the test says so"}}
    path.write_text(json.dumps(said))
    return copy


def make_bare_python(folder: Path) -> Path:
    """Make an environment with every third-party package of this one, but not this project; give its `python`."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True)
    python = folder / "bin" / "python"
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    # A folder that a .pth file names is searched, but .pth files in it, such as an editable install's, are not read.
    bare = folder / "lib" / version / "site-packages" / "third_party.pth"
    bare.write_text(sysconfig.get_path("purelib") + "\n")
    # `mlflow models serve` starts uvicorn by name.
    uvicorn = folder / "bin" / "uvicorn"
    uvicorn.write_text(f"#!{python}\nfrom uvicorn.main import main\n\nmain()\n")
    uvicorn.chmod(0o755)
    return python


@dataclass(frozen=True)
class StartingServer:
    """A server that may not answer yet."""

    url: str
    command: Command

    def ready(self) -> ModelServer:
        """Wait until it answers."""
        return self.command.wait_until(self._answering)

    def _answering(self) -> ModelServer | None:
        try:
            with urllib.request.urlopen(f"{self.url}/health", timeout=5):
                return ModelServer(self.url, self.command)
        except (urllib.error.URLError, ConnectionError, TimeoutError):
            time.sleep(0.2)
            return None


@contextmanager
def starting(model: Path, python: Path, folder: Path, env_manager: str = "local") -> Iterator[StartingServer]:
    """Start a server of a logged model in an empty folder, without waiting for it.

    Args:
        model: the logged model's folder.
        python: from `make_bare_python`, or any that has MLflow where `env_manager` makes an environment.
        folder: empty; the log is written beside it.
    """
    assert not list(folder.iterdir())
    port = _free_port()
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("MLFLOW_", "PYTHON"))}
    environment = kept | {
        "PATH": os.pathsep.join([str(python.parent), os.environ["PATH"]]),
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "TF_CPP_MIN_LOG_LEVEL": "2",
    }
    words: list[str | Path] = [
        python,
        "-m",
        "mlflow",
        "models",
        "serve",
        "-m",
        model,
        "--env-manager",
        env_manager,
        "--port",
        str(port),
    ]
    with started(words, folder, environment, folder.with_suffix(".log")) as command:
        yield StartingServer(f"http://127.0.0.1:{port}", command)


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
    return port
