"""Run in a process of its own by `decoder_pool`: read one file after another, and never outlive a bad one.

The process that is started only imports; a fork of it reads. When a file ends the fork, another takes its place within
milliseconds.
"""

import contextlib
import gc
import json
import mmap
import os
import resource
import signal
from dataclasses import asdict
from pathlib import Path
from typing import Any, BinaryIO, NoReturn

import cv2

from secondread.errors import ImageRejected, OutOfScope
from secondread.execution import die_with_parent
from secondread.imaging.dicom.read import read_header
from secondread.imaging.memory import keep_freed_memory
from secondread.imaging.picture import UInt8Image
from secondread.imaging.preprocess import Preprocess

READY = b"ready\n"
HEADER, PIXELS, DISPLAY, CLEAN = "header", "pixels", "display", "clean"  # what may be asked of a file
SECRET_BYTES = 32  # which come before a file that is to be de-identified
_SPARE_BYTES = 2 * 2**30  # beside what the libraries have mapped; 40 megapixels take a quarter of it
_PAGE = resource.getpagesize()
_IN_TIME = (signal.SIGALRM, signal.SIGPROF)  # which limit of time a fork met


def serve(preprocess: str, memory: int, seconds: float, wall_seconds: float) -> None:
    """Answer each line that comes on stdin, `pixels`, `display`, `header` or `clean` and a length, until it ends.

    Args:
        preprocess: JSON of the model's `Preprocess`; "" where only headers are read.
        memory: descriptor of the memory that is shared with the pool; a file's bytes lie at its start, and then the
            image made of them.
        seconds: of a processor that one file may take; the kernel ends the fork then, even if nobody is left to do it.
        wall_seconds: that may pass meanwhile.
    """
    reply = _alone_on_stdout()
    made_by = Preprocess.model_validate_json(preprocess) if preprocess else None
    shared = mmap.mmap(memory, 0)
    cv2.setNumThreads(1)
    keep_freed_memory()
    for limit in _IN_TIME:
        signal.signal(limit, signal.SIG_DFL)
    is_asked = mmap.mmap(-1, 1)  # what a fork leaves behind when it ends
    gc.freeze()
    reply.write(READY)
    while True:
        fork = os.fork()
        if not fork:
            _answer(made_by, shared, is_asked, reply, seconds, wall_seconds)
        _, status = os.waitpid(fork, 0)
        if os.WIFEXITED(status) and not os.WEXITSTATUS(status):
            return
        if is_asked[0]:
            _reply(reply, is_asked, _ended(status, seconds))


def _answer(
    preprocess: Preprocess | None,
    shared: mmap.mmap,
    is_asked: mmap.mmap,
    reply: BinaryIO,
    seconds: float,
    wall_seconds: float,
) -> NoReturn:
    """Answer in a fork, which ends with stdin, or with a file that harms it."""
    code = 1
    try:
        die_with_parent(signal.SIGKILL)
        _limit_memory()
        for line in iter(_line, b""):
            what, length = line.split()
            is_asked[0] = 1
            _limit_time(seconds, wall_seconds)
            answer = _read(what.decode(), preprocess, shared, int(length))
            _limit_time(0, 0)
            _reply(reply, is_asked, answer)
        code = 0
    finally:
        os._exit(code)


def _read(what: str, preprocess: Preprocess | None, shared: mmap.mmap, length: int) -> dict[str, Any]:
    """Say what was asked of a file, or why it cannot be said; an image is put where the file's bytes were."""
    try:
        if what == HEADER:
            return {"header": asdict(read_header(shared[:length]))}
        if what == CLEAN:
            return _clean(shared, length)
        assert preprocess is not None
        image = _image(what, preprocess, shared[:length])
    except ImageRejected as rejected:
        return {"rule": rejected.rule, "reason": rejected.reason, "foreign": isinstance(rejected, OutOfScope)}
    shared[: image.size] = image.tobytes()
    return {"shape": image.shape}


def _clean(shared: mmap.mmap, length: int) -> dict[str, Any]:
    """Put a de-identified copy where the secret and the file were."""
    from secondread.imaging.dicom.deidentify import deidentify  # dicognito and the standard's codes take a second

    clean = deidentify(shared[SECRET_BYTES:length], shared[:SECRET_BYTES])
    shared[: len(clean.data)] = clean.data
    return {"shape": (len(clean.data),), "clean": {**asdict(clean), "data": None}}


def _image(what: str, preprocess: Preprocess, data: bytes) -> UInt8Image:
    return preprocess.display(data) if what == DISPLAY else preprocess.stored(preprocess.pixels(data))


def _ended(status: int, seconds: float) -> dict[str, Any]:
    """Why a fork ended; one that somebody else ended, as a kernel short of memory does, says nothing about the file."""
    by = os.WTERMSIG(status) if os.WIFSIGNALED(status) else None
    if by == signal.SIGKILL:
        return {"again": True}
    if by in _IN_TIME:
        return {"harm": "timeout", "reason": f"the file was not decoded within {seconds:g} seconds"}
    return {"harm": "decoder_failed", "reason": "the file made its decoder fail"}


def _reply(reply: BinaryIO, is_asked: mmap.mmap, answer: dict[str, Any]) -> None:
    is_asked[0] = 0
    reply.write(json.dumps(answer).encode() + b"\n")


def _alone_on_stdout() -> BinaryIO:
    """Keep stdout for the answers: what decoders print goes nowhere, for it may quote a file's values."""
    answers = os.dup(1)
    with Path(os.devnull).open("wb") as nowhere:
        os.dup2(nowhere.fileno(), 1)
        os.dup2(nowhere.fileno(), 2)
    return os.fdopen(answers, "wb", buffering=0)


def _line() -> bytes:
    line = b""
    while not line.endswith(b"\n"):
        part = os.read(0, 64)
        if not part:
            return b""
        line += part
    return line


def _limit_time(seconds: float, wall_seconds: float) -> None:
    """Let the kernel end this process; 0 lets it be."""
    signal.setitimer(signal.ITIMER_PROF, seconds)
    signal.setitimer(signal.ITIMER_REAL, wall_seconds)


def _limit_memory() -> None:
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # a core dump would hold a patient's image
    with contextlib.suppress(OSError):  # of Linux alone
        mapped = int(Path("/proc/self/statm").read_text().split()[0]) * _PAGE
        resource.setrlimit(resource.RLIMIT_AS, (mapped + _SPARE_BYTES, mapped + _SPARE_BYTES))
