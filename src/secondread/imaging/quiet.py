"""Silence around decoders: their warnings quote a file's values, and values identify patients."""

import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

_LOCK = threading.RLock()  # warning filters belong to the process, not to a thread


@contextmanager
def without_warnings() -> Iterator[None]:
    """Let one thread at a time decode without a warning."""
    with _LOCK, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
