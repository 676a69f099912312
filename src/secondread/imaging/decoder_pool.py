"""Decode files that are not plainly safe in warm processes, which are ended and replaced when a file harms them."""

import contextlib
import json
import mmap
import os
import queue
import select
import subprocess
import sys
import threading
import time
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np

from secondread.errors import ImageRejected, OutOfScope
from secondread.imaging.codestream import is_plain_jpeg, png_frame
from secondread.imaging.decoder import READY
from secondread.imaging.dicom.plain import is_plain_dicom
from secondread.imaging.limits import MOST_BYTES, check
from secondread.imaging.picture import UInt8Image
from secondread.imaging.preprocess import Preprocess

SECONDS = 5  # that one file may take
_START_SECONDS = 60.0  # that a process may take to import its libraries
_WAIT_SECONDS = 10.0  # for a free process
_PROCESSES = 2  # one file that hangs leaves the other, which starts when it is first needed: each takes 78 MB
_MOST_PLAIN_PIXELS = 4_000_000  # a tenth of a second at most
_LARGE = 1 << 20  # bytes of a file whose memory is given back
_START = (
    "import json, sys; said = json.loads(sys.argv[1]); sys.path[:] = said.pop('path'); "
    "from secondread.imaging.decoder import serve; serve(**said)"
)


@dataclass
class Patience:
    """What harmful files may take of one request together, so that many of them cannot hold it for minutes.

    Args:
        seconds: left.
    """

    seconds: float = 10.0


class DecoderPool:
    """`Preprocess.pixels` for files of strangers: the same pixels, and no file can hang or end this process.

    Small baseline JPEGs, small PNGs and uncompressed DICOM files with a short header are decoded here; all else in
    another process with limits of time and memory. A DICOM header of a million elements keeps pydicom busy for a
    minute, and the codecs abort and hang on streams that pass every check of a header.

    Args:
        preprocess: of the model.
        seconds: that one file may take.
    """

    def __init__(self, preprocess: Preprocess, seconds: int = SECONDS) -> None:
        self._preprocess = preprocess
        self._seconds = seconds
        self._idle: queue.LifoQueue[_Decoder] = queue.LifoQueue()
        self._lock = threading.Lock()
        self._decoders: list[_Decoder] = []
        weakref.finalize(self, _end_all, self._decoders)

    def start(self) -> None:
        """Start a process without waiting until it is ready; a second call does nothing."""
        self._grow(to=1)

    def _grow(self, to: int) -> None:
        with self._lock:
            if len(self._decoders) < min(to, _PROCESSES):
                self._decoders.append(_Decoder(self._preprocess, self._seconds))
                self._idle.put(self._decoders[-1])

    def pixels(self, data: bytes, patience: Patience) -> UInt8Image:
        """Make model input of a file, as `Preprocess.pixels` does.

        Args:
            patience: of the request that the file is part of; what a harmful file takes is taken from it.
        Raises:
            ImageRejected: as `Preprocess.pixels` does; or `timeout`, `decoder_failed` or `busy`.
        """
        if _is_plain(data):
            return self._preprocess.pixels(data)
        if patience.seconds <= 0:
            raise ImageRejected("timeout", "other files of the request took too long to decode; send this one again")
        self.start()
        with self._one() as decoder:
            began = time.monotonic()
            try:
                return self._preprocess.expand(decoder.pixels(data))
            except _Harmed as harmed:
                patience.seconds -= time.monotonic() - began
                raise ImageRejected(harmed.rule, harmed.reason) from None

    @contextmanager
    def _one(self) -> Iterator["_Decoder"]:
        if self._idle.empty():
            self._grow(to=_PROCESSES)
        try:
            decoder = self._idle.get(timeout=_WAIT_SECONDS)
        except queue.Empty:
            raise ImageRejected("busy", "every decoder is busy with another file; send this one again") from None
        try:
            yield decoder
        finally:
            self._idle.put(decoder if decoder.is_well else self._replaced(decoder))

    def _replaced(self, decoder: "_Decoder") -> "_Decoder":
        decoder.end()
        with self._lock:
            self._decoders[self._decoders.index(decoder)] = fresh = _Decoder(self._preprocess, self._seconds)
        return fresh


class _Harmed(Exception):
    """A file ended the process that decoded it, or kept it too long; arguments as of `ImageRejected`."""

    def __init__(self, rule: str, reason: str) -> None:
        super().__init__(reason)
        self.rule, self.reason = rule, reason


class _Decoder:
    """One process, and the memory that is shared with it."""

    def __init__(self, preprocess: Preprocess, seconds: int) -> None:
        self._seconds = seconds
        self.is_well = True
        self._is_ready = False
        size = max(MOST_BYTES.values())
        memory = os.memfd_create("image")
        os.ftruncate(memory, size)
        self._shared = mmap.mmap(memory, size)
        # One second more: this process ends it in time, unless it has gone itself.
        said = {"path": sys.path, "preprocess": preprocess.model_dump_json(), "memory": memory, "seconds": seconds + 1}
        self._process = subprocess.Popen(
            [sys.executable, "-c", _START, json.dumps(said)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            bufsize=0,
            pass_fds=[memory],
            env=os.environ | {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"},
        )
        os.close(memory)

    def pixels(self, data: bytes) -> UInt8Image:
        """Decode a file; shape (size, size, stored channels).

        Raises:
            ImageRejected: as `Preprocess.pixels` does.
            _Harmed: this process must be replaced.
        """
        self._await_ready()
        self._shared[: len(data)] = data
        with contextlib.suppress(BrokenPipeError):  # its end shows when it answers nothing
            self._pipe("stdin").write(f"{len(data)}\n".encode())
        answer = json.loads(self._line(self._seconds))
        if "rule" in answer:
            kind = OutOfScope if answer["foreign"] else ImageRejected
            raise kind(answer["rule"], answer["reason"])
        pixels = self._taken(tuple(answer["shape"]))
        if len(data) > _LARGE:
            self._shared.madvise(mmap.MADV_REMOVE)
        return pixels

    def end(self) -> None:
        """End the process and give back what it held."""
        self._process.kill()
        self._process.wait()
        for name in ("stdin", "stdout"):
            self._pipe(name).close()
        self._shared.close()

    def _await_ready(self) -> None:
        if not self._is_ready and self._line(_START_SECONDS) != READY:
            self.is_well = False
            raise _Harmed("decoder_failed", "the decoder did not start")
        self._is_ready = True

    def _taken(self, shape: tuple[int, ...]) -> UInt8Image:
        size = int(np.prod(shape))
        return np.frombuffer(self._shared[:size], np.uint8).reshape(shape)

    def _line(self, seconds: float) -> bytes:
        """Read an answer.

        Raises:
            _Harmed: `timeout`, or `decoder_failed` where the process has ended.
        """
        pipe, line, deadline = self._pipe("stdout"), b"", time.monotonic() + seconds
        poll = select.poll()
        poll.register(pipe, select.POLLIN)
        while not line.endswith(b"\n"):
            left = deadline - time.monotonic()
            if left <= 0 or not poll.poll(1000 * left):
                self.is_well = False
                raise _Harmed("timeout", f"the file was not decoded within {seconds:g} seconds")
            part = pipe.read(4096)
            if not part:
                self.is_well = False
                raise _Harmed("decoder_failed", "the file made its decoder fail")
            line += part
        return line

    def _pipe(self, name: str) -> Any:
        return getattr(self._process, name)


def _is_plain(data: bytes) -> bool:
    """Whether a file can take neither long nor much memory.

    Raises:
        ImageRejected: as `limits.check` does.
    """
    kind = check(data)
    if kind == "jpeg":
        return is_plain_jpeg(data, _MOST_PLAIN_PIXELS)
    if kind == "dicom":
        return is_plain_dicom(data)
    frame = png_frame(data)
    return frame.rows * frame.columns <= _MOST_PLAIN_PIXELS and b"eXIf" not in data


def _end_all(decoders: list[_Decoder]) -> None:
    for decoder in decoders:
        decoder.end()
