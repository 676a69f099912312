"""The whole story on synthetic patients: two models, from image files to a served prediction."""

import base64
import json
import os
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from secondread.data.phantom.write import phantom_image
from secondread.errors import TrackingError
from secondread.steps.predict import describe
from secondread.tasks import load_task, task_names
from secondread.tracking.launch import launch
from secondread.tracking.launcher import take_launcher
from secondread.tracking.model import fetch_model

_START_S = 120


def tell() -> None:
    """Train a model for each task, promote both, serve one, and say what to open next.

    Raises:
        TrackingError: a chapter failed; what it said is above.
    """
    take_launcher(os.environ)
    for number, task in enumerate(task_names(), 1):
        _chapter(f"{number}. Train a model for {task} on synthetic patients")
        launch("train", {"task": task})
    _chapter("3. Promote both models: those that pass the gates become champions")
    for task in task_names():
        launch("promote", {"task": task, "gates": "demo"})
    _chapter("4. Serve the champion for hemorrhage and ask it about a new head CT slice")
    _serve_one("hemorrhage")
    _chapter("What to open next")
    print(
        "mlflow ui                                     every run, its charts, figures and models: http://127.0.0.1:5000\n"
        "                                              (choose `Model training` where it opens on GenAI)\n"
        "python -m registry history pneumonia          who decided what; each decision's run has a report.html\n"
        "mlflow models serve -m models:/pneumonia@champion --env-manager local\n"
        "mlflow run . --env-manager local -e train -P task=pneumonia -P data=FOLDER    your own images"
    )


def _chapter(title: str) -> None:
    print(f"\n--- {title}", flush=True)


def _serve_one(task: str) -> None:
    """Serve the champion from an empty folder and answer a slice that no training has seen."""
    model = fetch_model(f"models:/{task}@champion")
    image = phantom_image(load_task(task), seed=1)
    with _served(model) as url:
        answer = _ask(url, image)
    print(f"POST {url}/invocations\n  {json.dumps(answer)}\n  {describe(answer)}")


@contextmanager
def _served(model: Path) -> Iterator[str]:
    """Run `mlflow models serve` on a free port."""
    port = _free_port()
    command = [sys.executable, "-m", "mlflow", "models", "serve", "-m", str(model), "--env-manager", "local"]
    # `mlflow models serve` starts uvicorn by name.
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    with tempfile.TemporaryDirectory() as folder, tempfile.TemporaryFile() as log:
        server = subprocess.Popen(
            [*command, "--port", str(port)],
            cwd=folder,
            env=os.environ | {"PATH": path},
            stdout=log,
            stderr=subprocess.STDOUT,
        )
        try:
            url = f"http://127.0.0.1:{port}"
            _wait_for(url, server)
            yield url
        finally:
            server.terminate()
            server.wait()


def _wait_for(url: str, server: subprocess.Popen[bytes]) -> None:
    until = time.monotonic() + _START_S
    while time.monotonic() < until and server.poll() is None:
        try:
            with urllib.request.urlopen(f"{url}/health", timeout=5):
                return
        except OSError:
            time.sleep(0.5)
    raise TrackingError(f"the model server did not start within {_START_S} s; try `mlflow models serve` by hand")


def _ask(url: str, image: bytes) -> dict[str, Any]:
    body = json.dumps({"dataframe_records": [{"image": base64.b64encode(image).decode()}]}).encode()
    request = urllib.request.Request(f"{url}/invocations", body, {"Content-Type": "application/json"})
    try:
        with urllib.request.urlopen(request, timeout=60) as reply:
            answers: list[dict[str, Any]] = json.load(reply)["predictions"]
    except urllib.error.HTTPError as error:
        raise TrackingError(f"the model server answered {error.code}") from None
    return answers[0]


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
    return port
