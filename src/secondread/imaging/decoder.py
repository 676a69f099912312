"""Run in a process of its own by `decoder_pool`: decode one file after another, and never outlive a bad one."""

import contextlib
import json
import mmap
import os
import resource
import signal
from pathlib import Path
from typing import BinaryIO

import cv2

from secondread.errors import ImageRejected, OutOfScope
from secondread.imaging.preprocess import Preprocess

READY = b"ready\n"
_SPARE_BYTES = 2 * 2**30  # beside what the libraries have mapped; 40 megapixels take a quarter of it
_PAGE = resource.getpagesize()


def serve(preprocess: str, memory: int, seconds: int) -> None:
    """Answer each length that comes on stdin, until it ends.

    Args:
        preprocess: JSON of the model's `Preprocess`.
        memory: descriptor of the memory that is shared with the pool; a file's bytes lie at its start, and then the
            pixels made of them.
        seconds: that one file may take; the kernel ends this process then, even if nobody is left to do it.
    """
    reply = _alone_on_stdout()
    made_by = Preprocess.model_validate_json(preprocess)
    shared = mmap.mmap(memory, 0)
    cv2.setNumThreads(1)
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    _limit_memory()
    reply.write(READY)
    for line in iter(_line, b""):
        signal.alarm(seconds)
        answer = _decoded(made_by, shared, int(line))
        signal.alarm(0)
        reply.write(json.dumps(answer).encode() + b"\n")


def _decoded(preprocess: Preprocess, shared: mmap.mmap, length: int) -> dict[str, object]:
    """Put a file's pixels where its bytes were; say their shape, or why there are none."""
    try:
        pixels = preprocess.stored(preprocess.pixels(shared[:length]))
    except ImageRejected as rejected:
        return {"rule": rejected.rule, "reason": rejected.reason, "foreign": isinstance(rejected, OutOfScope)}
    shared[: pixels.size] = pixels.tobytes()
    return {"shape": pixels.shape}


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


def _limit_memory() -> None:
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # a core dump would hold a patient's image
    with contextlib.suppress(OSError):  # of Linux alone
        mapped = int(Path("/proc/self/statm").read_text().split()[0]) * _PAGE
        resource.setrlimit(resource.RLIMIT_AS, (mapped + _SPARE_BYTES, mapped + _SPARE_BYTES))
