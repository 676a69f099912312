"""What jobs ask of files: pixels and headers by this process's own decoder, for which every file has all its time."""

import math
import threading
from functools import lru_cache
from typing import TYPE_CHECKING

from secondread.imaging.decoder_pool import SECONDS, DecoderPool, Patience
from secondread.imaging.dicom.read import Header
from secondread.imaging.picture import UInt8Image
from secondread.imaging.preprocess import Preprocess

if TYPE_CHECKING:
    from secondread.imaging.dicom.deidentify import Deidentified

_WALL_SECONDS = 120.0  # a busy machine must not make another result of a sound file


def safe_pixels(data: bytes, preprocess: Preprocess) -> UInt8Image:
    """Make model input of a file, as `Preprocess.pixels` does, whatever the file does to its decoder.

    Raises:
        ImageRejected: as `Preprocess.pixels` does; or `timeout` or `decoder_failed`.
        DecoderLost: the machine, not the file, is to blame.
    """
    return _pool(preprocess).pixels(data, _all_patience())


def safe_display(data: bytes, preprocess: Preprocess) -> UInt8Image:
    """Make the picture that a person looks at of a file, as `Preprocess.display` does; errors as of `safe_pixels`."""
    return _pool(preprocess).display(data, _all_patience())


def safe_header(data: bytes) -> Header:
    """Read whose image a DICOM file is, as `read_header` does, however long or deep its header is.

    Raises:
        ImageRejected: as `read_header` does; or `timeout` or `decoder_failed`.
        DecoderLost: the machine, not the file, is to blame.
    """
    return _pool(None).header(data, _all_patience())


def safe_clean(data: bytes, secret: bytes) -> "Deidentified":
    """Copy a DICOM file without what identifies its patient, as `deidentify` does; errors as of `safe_header`."""
    return _pool(None).clean(data, secret, _all_patience())


@lru_cache(maxsize=1)
def _pool(preprocess: Preprocess | None) -> DecoderPool:
    return DecoderPool(preprocess, SECONDS, _WALL_SECONDS)


def _all_patience() -> Patience:
    return Patience(seconds=math.inf, wait=threading.TIMEOUT_MAX)
