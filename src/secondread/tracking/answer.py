"""Answer files with a logged model, under the code that it was logged with; or time how long it takes."""

import base64
import json
import os
import select
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from types import TracebackType
from typing import Any

from tqdm import tqdm

from secondread.errors import BundleError
from secondread.execution import map_ahead, refresh_s
from secondread.storage import Folder, passing_folder
from secondread.storage.here import bring_here
from secondread.storage.home import home
from secondread.storage.local import LocalFolder

_SCRIPT = Path(__file__).with_name("isolated.py")
BATCH = 64  # files a request
_LONGEST_S = 600  # that a request may take: what hangs a decoder must not hang the work
_END_S = 5
_MOST_ENDED = 5  # files in succession that may end the model's process before the model itself is to blame
Answer = dict[str, Any]


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


class AnsweringModel:
    """A logged model in a child process: two models in one process would share the first one's code.

    The child ends with the `with` block, or when this process does, whatever ends it.

    Args:
        model: folder of a logged model.
        operating_point: where a probability becomes a decision.
    """

    def __init__(self, model: Path, operating_point: str) -> None:
        self._model = model
        self._params = {"operating_point": operating_point}
        self._ended = 0

    def __enter__(self) -> "AnsweringModel":
        self._child = _Child(self._model)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._child.close()

    def answer(self, files: Sequence[Path]) -> list[Answer]:
        """Answer files, in order; one that ends or hangs the model's process is rejected, and the others are answered.

        Args:
            files: at most `BATCH`.
        Returns:
            the served answers.
        Raises:
            BundleError: the model could not be loaded, has no such operating point, or is ended by whatever it reads.
        """
        try:
            return self._ask(files)
        except _ChildEnded:
            self._again()
        return [self._answer_alone(file) for file in files]

    def _answer_alone(self, file: Path) -> Answer:
        try:
            (answer,) = self._ask([file])
        except _ChildEnded as ended:
            self._ended += 1
            if self._ended == _MOST_ENDED:
                raise BundleError(str(ended)) from None
            self._again()
            why = "the model's process ended when it read this file"
            return {"status": "rejected", "rule": "model_ended", "reason": why}
        self._ended = 0
        return answer

    def _ask(self, files: Sequence[Path]) -> list[Answer]:
        paths = [str(file.absolute()) for file in files]
        answers: list[Answer] = self._child.ask({"files": paths, "params": self._params})["answers"]
        return answers

    def _again(self) -> None:
        self._child.close()
        self._child = _Child(self._model)


def answer_files(model: Path, files: Sequence[Path], operating_point: str) -> list[Answer]:
    """Answer each file, in order, with a progress bar; see `answer_folder`."""
    return answer_folder(model, LocalFolder(Path()), [str(file) for file in files], operating_point)


def answer_folder(model: Path, folder: Folder, paths: Sequence[str], operating_point: str) -> list[Answer]:
    """Answer each of these files of a folder, in order, with a progress bar.

    Args:
        model: folder of a logged model.
    Returns:
        the served answers.
    Raises:
        BundleError: as `AnsweringModel.answer`; what the model said went to stderr.
    """
    answers: list[Answer] = []
    with AnsweringModel(model, operating_point) as child, answer_bar(len(paths)) as bar:
        for files in files_here(folder, [paths[start : start + BATCH] for start in range(0, len(paths), BATCH)]):
            answers += child.answer(files)
            bar.update(len(files))
    return answers


def files_here(folder: Folder, batches: Sequence[Sequence[str]]) -> Iterator[list[Path]]:
    """Give the files of each batch on this machine; the next batch is fetched while the caller works on the last.

    Copies of what lies elsewhere are there until the caller asks for the next batch.
    """
    if folder.file_here("") is not None:  # there is nothing to fetch, nor a home needed
        yield from (bring_here(folder, paths, home()).files for paths in batches)
        return
    with passing_folder(home()) as copies:
        for here in map_ahead(lambda paths: bring_here(folder, paths, copies), batches):
            with here:
                yield here.files


def answer_bar(files: int, answered: int = 0, doing: str = "answer images") -> "tqdm[Any]":
    """A progress bar of files, some of which may be answered already."""
    return tqdm(total=files, initial=answered, desc=doing, unit=" images", mininterval=refresh_s())


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
    child = _Child(model)
    try:
        asked = {"image": text, "images": images, "params": {"operating_point": "balanced"}}
        seconds = child.ask(asked)["seconds"]
    finally:
        child.close()
    return Latency(child.load_s, 1000 * median(seconds), len(seconds))


class _ChildEnded(BundleError):
    """The model's process ended instead of replying; it may have met a file that no decoder survives."""


class _Child:
    """A process of `isolated.py`, which speaks lines of JSON.

    Raises:
        BundleError: the model could not be loaded.
    """

    def __init__(self, model: Path) -> None:
        reading, writing = os.pipe()
        # Isolated (-I): neither PYTHONPATH nor the folder it runs in may bring this project's code in first.
        command = [sys.executable, "-I", str(_SCRIPT), str(model.absolute()), str(writing)]
        environment = os.environ | {"TF_CPP_MIN_LOG_LEVEL": "2"}
        try:
            self._process = subprocess.Popen(
                command, stdin=subprocess.PIPE, pass_fds=(writing,), env=environment, text=True
            )
        finally:
            os.close(writing)
        self._replies = os.fdopen(reading)
        try:
            self.load_s: float = self._reply()["load_s"]
        except BaseException:
            self.close()
            raise

    def ask(self, asked: Mapping[str, Any]) -> dict[str, Any]:
        """Send a request and wait for its reply."""
        assert self._process.stdin is not None
        with suppress(BrokenPipeError):  # it has ended, which the missing reply tells
            self._process.stdin.write(json.dumps(asked) + "\n")
            self._process.stdin.flush()
        if not select.select([self._replies], [], [], _LONGEST_S)[0]:
            self._process.kill()
        return self._reply()

    def _reply(self) -> dict[str, Any]:
        line = self._replies.readline()
        if not line.endswith("\n"):
            status = self._process.wait()
            raise _ChildEnded(f"the model did not answer (exit status {status}); what it said is above")
        reply: dict[str, Any] = json.loads(line)
        if "error" in reply:
            raise BundleError(reply["error"])
        return reply

    def close(self) -> None:
        """End the process: it ends by itself where nobody asks any more, unless it is in the midst of something."""
        self._replies.close()
        assert self._process.stdin is not None
        with suppress(BrokenPipeError):  # of a request that it never read
            self._process.stdin.close()
        try:
            self._process.wait(_END_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
