"""Answer files with a logged model, under the code that it was logged with; or time how long it takes."""

import base64
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from secondread.errors import BundleError

_SCRIPT = Path(__file__).with_name("isolated.py")


@dataclass(frozen=True)
class Latency:
    """How long a logged model takes.

    Args:
        load_s: seconds to load it, its own imports included.
        median_ms: milliseconds to answer one image, sent alone, once it is warm.
        images: answers timed.
    """

    load_s: float
    median_ms: float
    images: int


def answer_files(model: Path, files: Sequence[Path], operating_point: str) -> list[dict[str, Any]]:
    """Answer each file, in order, in a child process: two models in one process would share the first one's code.

    Args:
        model: folder of a logged model.
    Returns:
        the served answers.
    Raises:
        BundleError: the model could not be loaded or has no such operating point; its own words went to stderr.
    """
    paths = [str(file.absolute()) for file in files]
    return _ask(model, {"files": paths, "params": {"operating_point": operating_point}})


def time_answers(model: Path, image: bytes, images: int = 30) -> Latency:
    """Time a model's answers in a child process, as a served one gives them: one image a request, decoded each time.

    Args:
        model: folder of a logged model.
        image: a DICOM, PNG or JPEG file that the model reads.
        images: answers to time, after a first one that is not counted.
    Raises:
        BundleError: the model could not be loaded or does not read the image; its own words went to stderr.
    """
    text = base64.b64encode(image).decode()
    (timed,) = _ask(model, {"image": text, "images": images, "params": {"operating_point": "balanced"}})
    return Latency(timed["load_s"], 1000 * median(timed["seconds"]), len(timed["seconds"]))


def _ask(model: Path, asked: Mapping[str, Any]) -> list[dict[str, Any]]:
    with tempfile.TemporaryDirectory() as folder:
        request, reply = Path(folder) / "request.json", Path(folder) / "reply.jsonl"
        request.write_text(json.dumps(asked))
        # Isolated (-I): neither PYTHONPATH nor the folder it runs in may bring this project's code in first.
        command = [sys.executable, "-I", str(_SCRIPT), str(model), str(request), str(reply)]
        done = subprocess.run(command, env=os.environ | {"TF_CPP_MIN_LOG_LEVEL": "2"}, check=False)
        if done.returncode:
            raise BundleError(f"the model did not answer (exit status {done.returncode}); what it said is above")
        return [json.loads(line) for line in reply.read_text().splitlines()]
