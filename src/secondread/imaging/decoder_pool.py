"""Read files that are not plainly safe in warm processes, whose forks are ended and replaced when a file harms them."""

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
from typing import TYPE_CHECKING, Any

import numpy as np
from pydantic import TypeAdapter

from secondread.errors import ImageRejected, OutOfScope, SecondReadError
from secondread.imaging.codestream import is_plain_jpeg, png_frame
from secondread.imaging.decoder import CLEAN, DISPLAY, HEADER, PIXELS, READY, SECRET_BYTES
from secondread.imaging.dicom.deflate import inflate
from secondread.imaging.dicom.plain import PLAIN_BYTES, is_plain_dicom
from secondread.imaging.dicom.read import Header
from secondread.imaging.limits import MOST_BYTES, check
from secondread.imaging.picture import UInt8Image
from secondread.imaging.preprocess import Preprocess

if TYPE_CHECKING:
    from secondread.imaging.dicom.deidentify import Deidentified

SECONDS = 5  # that one file may take
_START_SECONDS = 60.0  # that a process may take to import its libraries
_WAIT_SECONDS = 10.0  # for a free process
_LATE_SECONDS = 10.0  # after which a fork that the kernel should have ended is ended with its parent
_TRIES = 2  # of a file whose decoder somebody else ended
_PROCESSES = 2  # one file that hangs leaves the other, which starts when it is first needed: each takes 78 MB
_MOST_PLAIN_PIXELS = 4_000_000  # a tenth of a second at most
_SLACK = 1 << 16  # bytes that a file may grow by when it is de-identified, or that its secret takes
_LARGE = 1 << 20  # bytes of a file or an image whose memory is given back
_START = (
    "import json, sys; said = json.loads(sys.argv[1]); sys.path[:] = said.pop('path'); "
    "from secondread.imaging.decoder import serve; serve(**said)"
)


@dataclass
class Patience:
    """What harmful files may take of one request together, so that many of them cannot hold it for minutes.

    Args:
        seconds: left.
        wait: seconds for a free process.
    """

    seconds: float = 10.0
    wait: float = _WAIT_SECONDS


class DecoderLost(SecondReadError):
    """This machine could not start a decoder, or ended it twice; that says nothing about the file."""


class DecoderPool:
    """`Preprocess.pixels` for files of strangers: the same pixels, and no file can hang or end this process.

    Small baseline JPEGs, small PNGs, and uncompressed or deflated DICOM files with a short header are decoded here;
    all else in another process with limits of time and memory. A DICOM header of a million elements keeps pydicom busy
    for a minute, and the codecs abort and hang on streams that pass every check of a header.

    Args:
        preprocess: of the model; None where only headers are read.
        seconds: of a processor that one file may take.
        wall_seconds: that may pass meanwhile; as many where it is None.
    """

    def __init__(
        self, preprocess: Preprocess | None, seconds: float = SECONDS, wall_seconds: float | None = None
    ) -> None:
        self._preprocess = preprocess
        self._seconds = seconds
        self._wall_seconds = wall_seconds or seconds
        self._idle: queue.LifoQueue[_Decoder] = queue.LifoQueue()
        self._lock = threading.Lock()
        self._decoders: list[_Decoder] = []
        weakref.finalize(self, _end_all, self._decoders)

    def start(self) -> None:
        """Start a process without waiting until it is ready; a second call does nothing."""
        self._grow(to=1)

    def pixels(self, data: bytes, patience: Patience) -> UInt8Image:
        """Make model input of a file, as `Preprocess.pixels` does.

        Args:
            patience: of the request that the file is part of; what a harmful file takes is taken from it.
        Raises:
            ImageRejected: as `Preprocess.pixels` does; or `timeout`, `decoder_failed` or `busy`.
            DecoderLost: no process could be had.
        """
        assert self._preprocess is not None
        plain = _plain(data)
        if plain is not None:
            return self._preprocess.pixels(plain)
        return self._preprocess.expand(self._image(PIXELS, data, patience))

    def display(self, data: bytes, patience: Patience) -> UInt8Image:
        """Make the picture that a person looks at of a file, as `Preprocess.display` does.

        Arguments and errors are those of `pixels`. A file may have pixels and no display: a whole JPEG takes longer
        than the part of it that a small model needs.
        """
        assert self._preprocess is not None
        plain = _plain(data)
        return self._image(DISPLAY, data, patience) if plain is None else self._preprocess.display(plain)

    def header(self, data: bytes, patience: Patience) -> Header:
        """Read whose image a DICOM file is, as `read_header` does, always in another process.

        Raises:
            ImageRejected: as `read_header` does; or `timeout`, `decoder_failed` or `busy`.
            DecoderLost: no process could be had.
        """
        if len(data) > MOST_BYTES["dicom"]:
            raise ImageRejected("too_large", f"the file has more than {MOST_BYTES['dicom']} bytes")
        return TypeAdapter(Header).validate_python(self._ask(HEADER, data, patience)[0]["header"])

    def clean(self, data: bytes, secret: bytes, patience: Patience) -> "Deidentified":
        """Copy a DICOM file without what identifies its patient, as `deidentify` does, always in another process.

        Raises:
            ImageRejected: as `deidentify` does; or `timeout`, `decoder_failed` or `busy`.
            DecoderLost: no process could be had.
        """
        from secondread.imaging.dicom.deidentify import Deidentified  # see `decoder`

        assert len(secret) == SECRET_BYTES
        if check(data) != "dicom":
            raise ImageRejected("format", "only DICOM files are de-identified")
        answer, copy = self._ask(CLEAN, secret + data, patience)
        return Deidentified(**{**answer["clean"], "data": copy.tobytes()})

    def _image(self, what: str, data: bytes, patience: Patience) -> UInt8Image:
        if patience.seconds <= 0:
            raise ImageRejected("timeout", "other files of the request took too long to decode; send this one again")
        return self._ask(what, data, patience)[1]

    def _ask(self, what: str, data: bytes, patience: Patience) -> tuple[dict[str, Any], UInt8Image]:
        """The answer, and the image if that is what was asked for."""
        self.start()
        for _ in range(_TRIES):
            with self._one(patience) as decoder:
                began = time.monotonic()
                try:
                    return decoder.ask(what, data)
                except _Harmed as harmed:
                    patience.seconds -= time.monotonic() - began
                    raise ImageRejected(harmed.rule, harmed.reason) from None
                except _Lost:
                    continue
        raise DecoderLost("the process that decodes images was ended from outside; give the machine more memory")

    def _grow(self, to: int) -> None:
        with self._lock:
            if len(self._decoders) < min(to, _PROCESSES):
                self._decoders.append(self._new())
                self._idle.put(self._decoders[-1])

    def _new(self) -> "_Decoder":
        return _Decoder(self._preprocess, self._seconds, self._wall_seconds)

    @contextmanager
    def _one(self, patience: Patience) -> Iterator["_Decoder"]:
        if self._idle.empty():
            self._grow(to=_PROCESSES)
        try:
            decoder = self._idle.get(timeout=patience.wait)
        except queue.Empty:
            raise ImageRejected("busy", "every decoder is busy with another file; send this one again") from None
        try:
            yield decoder
        finally:
            self._idle.put(decoder if decoder.is_well else self._replaced(decoder))

    def _replaced(self, decoder: "_Decoder") -> "_Decoder":
        decoder.end()
        with self._lock:
            self._decoders[self._decoders.index(decoder)] = fresh = self._new()
        return fresh


class _Harmed(Exception):
    """A file ended the fork that read it, or kept it too long; arguments as of `ImageRejected`."""

    def __init__(self, rule: str, reason: str) -> None:
        super().__init__(reason)
        self.rule, self.reason = rule, reason


class _Lost(Exception):
    """The decoder is gone, and not by the file's doing."""


class _Decoder:
    """One process, its fork, and the memory that is shared with it."""

    def __init__(self, preprocess: Preprocess | None, seconds: float, wall_seconds: float) -> None:
        self._wall_seconds = wall_seconds
        self.is_well = True
        self._is_ready = False
        size = max(MOST_BYTES.values()) + _SLACK
        memory = os.memfd_create("image")
        os.ftruncate(memory, size)
        self._shared = mmap.mmap(memory, size)
        made_by = preprocess.model_dump_json() if preprocess else ""
        said = {"path": sys.path, "preprocess": made_by, "memory": memory}
        said |= {"seconds": seconds, "wall_seconds": wall_seconds}
        self._process = subprocess.Popen(
            # -B: MLflow copies a logged model's code, and stops at a file of bytecode that comes and goes meanwhile.
            [sys.executable, "-B", "-c", _START, json.dumps(said)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            bufsize=0,
            pass_fds=[memory],
            env=os.environ | {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"},
        )
        os.close(memory)

    def ask(self, what: str, data: bytes) -> tuple[dict[str, Any], UInt8Image]:
        """Read a file: the answer, and the image if one was asked for, pixels with their stored channels.

        Raises:
            ImageRejected: as `Preprocess.pixels` and `read_header` do.
            _Harmed: the file ended the fork.
            _Lost: the process must be replaced, or the file sent again.
        """
        self._await_ready()
        self._shared[: len(data)] = data
        with contextlib.suppress(BrokenPipeError):  # its end shows when it answers nothing
            self._pipe("stdin").write(f"{what} {len(data)}\n".encode())
        answer = json.loads(self._line(self._wall_seconds + _LATE_SECONDS))
        if "again" in answer:
            raise _Lost
        if "harm" in answer:
            raise _Harmed(answer["harm"], answer["reason"])
        if "rule" in answer:
            kind = OutOfScope if answer["foreign"] else ImageRejected
            raise kind(answer["rule"], answer["reason"])
        image = self._taken(tuple(answer.get("shape", (0,))))
        if max(len(data), image.size) > _LARGE:
            self._shared.madvise(mmap.MADV_REMOVE)
        return answer, image

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
            raise _Lost
        self._is_ready = True

    def _taken(self, shape: tuple[int, ...]) -> UInt8Image:
        size = int(np.prod(shape))
        return np.frombuffer(self._shared[:size], np.uint8).reshape(shape)

    def _line(self, seconds: float) -> bytes:
        """Read an answer.

        Raises:
            _Lost: the process has ended, or does not end its fork in time.
        """
        pipe, line, deadline = self._pipe("stdout"), b"", time.monotonic() + seconds
        poll = select.poll()
        poll.register(pipe, select.POLLIN)
        while not line.endswith(b"\n"):
            left = deadline - time.monotonic()
            part = pipe.read(4096) if left > 0 and poll.poll(1000 * left) else b""
            if not part:
                self.is_well = False
                raise _Lost
            line += part
        return line

    def _pipe(self, name: str) -> Any:
        return getattr(self._process, name)


def _plain(data: bytes) -> bytes | None:
    """A file that can take neither long nor much memory, inflated if it is deflated; None for others.

    Raises:
        ImageRejected: as `limits.check` does.
    """
    kind = check(data)
    if kind == "jpeg":
        return data if is_plain_jpeg(data, _MOST_PLAIN_PIXELS) else None
    if kind == "dicom":
        with contextlib.suppress(ImageRejected):  # the other process says why
            inflated = inflate(data, PLAIN_BYTES)
            return inflated if is_plain_dicom(inflated) else None
        return None
    frame = png_frame(data)
    return data if frame.rows * frame.columns <= _MOST_PLAIN_PIXELS and b"eXIf" not in data else None


def _end_all(decoders: list[_Decoder]) -> None:
    for decoder in decoders:
        decoder.end()
