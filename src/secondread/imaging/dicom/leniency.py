"""Take DICOM as it comes: many files hold a UID or a date that the standard does not allow."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager

import pydicom.config

from secondread.imaging.quiet import without_warnings


@contextmanager
def leniently() -> Iterator[None]:
    """Let pydicom take odd values, such as the UID `ID_000012eaf`, without an error, a warning or a log line."""
    logger = logging.getLogger("pydicom")
    with without_warnings(), pydicom.config.disable_value_validation():
        before, logger.disabled = logger.disabled, True
        try:
            yield
        finally:
            logger.disabled = before
