"""Silence around pydicom: its warnings quote values, and values identify patients."""

import logging
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import pydicom.config

_LOCK = threading.RLock()  # pydicom's settings and Python's warning filters belong to the process


@contextmanager
def quietly() -> Iterator[None]:
    """Let pydicom take odd values, such as the UID `ID_000012eaf`, without a warning, an error or a log line."""
    logger = logging.getLogger("pydicom")
    with _LOCK, warnings.catch_warnings(), pydicom.config.disable_value_validation():
        warnings.simplefilter("ignore")
        before, logger.disabled = logger.disabled, True
        try:
            yield
        finally:
            logger.disabled = before
