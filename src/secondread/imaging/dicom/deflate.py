"""Deflated DICOM files, inflated once and no further than other files may be large."""

import zlib

from isal import isal_zlib

from secondread.errors import ImageRejected
from secondread.imaging.dicom.plain import is_deflated
from secondread.imaging.limits import MOST_BYTES

_DEFLATED, _INFLATED = b"1.2.840.10008.1.2.1.99", b"1.2.840.10008.1.2.1\0\0\0"  # of equal length
_META = 144  # where the elements behind the first, which tells their length, begin (PS3.10 7.1)


def inflate(data: bytes, most: int = MOST_BYTES["dicom"]) -> bytes:
    """Make an explicit little endian file of a deflated one; give every other file back.

    pydicom inflates without a limit. ISA-L takes half of zlib's time, and agrees with it, but for incomplete sets of
    codes of which no missing one is used: it reads them, and zlib does not.

    Args:
        most: bytes that it may inflate to.
    Raises:
        ImageRejected: `too_large` or `truncated`.
    Source: DICOM PS3.5 A.5.
    """
    if not is_deflated(data):
        return data
    end = _META + int.from_bytes(data[140:144], "little")
    inflater = isal_zlib.decompressobj(-zlib.MAX_WBITS)
    try:
        inflated = inflater.decompress(memoryview(data)[end:], most + 1)
    except isal_zlib.error:  # type: ignore[misc]  # isal's stub calls the class of its errors one of them
        raise ImageRejected("truncated", "the deflated part of the file is damaged") from None
    if len(inflated) > most:
        raise ImageRejected("too_large", f"the file inflates to more than {most} bytes")
    if not inflater.eof:
        raise ImageRejected("truncated", "the deflated part of the file ends too early")
    return b"".join((data[:end].replace(_DEFLATED, _INFLATED), inflated))
