"""Tell the common DICOM file, uncompressed and with a short header, from those that may keep a reader busy."""

from collections.abc import Iterator
from struct import Struct

LITTLE_ENDIAN = {b"1.2.840.10008.1.2": False, b"1.2.840.10008.1.2.1": True}  # and whether value types are explicit
_DEFLATED = b"1.2.840.10008.1.2.1.99"
_FIRST_BYTES = 1024  # hold the file meta information
PLAIN_BYTES = 8 << 20  # of a file: 4 megapixels of 16 bits
_MOST_OTHER_BYTES = 1 << 16  # beside the pixels: pydicom takes a tenth of a second for 8,000 elements or 30,000 values
LONG_LENGTHS = frozenset((b"OB", b"OD", b"OF", b"OL", b"OV", b"OW", b"SQ", b"SV", b"UC", b"UN", b"UR", b"UT", b"UV"))
_SEQUENCE = b"SQ"
_UNDEFINED = 0xFFFFFFFF
TRANSFER_SYNTAX = (0x0002, 0x0010)
_PIXELS = (0x7FE0, 0x0010)
_PIXELS_BEGIN = b"\xe0\x7f\x10\x00"
_END_OF_FRAGMENTS = b"\xfe\xff\xdd\xe0\0\0\0\0"
_ITEM_GROUP = 0xFFFE
_IMPLICIT = Struct("<HHI")  # group, element, length
_EXPLICIT = Struct("<2sH")  # kind of value, length; they stand where an implicit element has its length


def is_plain_dicom(data: bytes) -> bool:
    """Whether the elements of a file fill it exactly, are uncompressed, and all but the pixels are few.

    Args:
        data: begins with the preamble and `DICM`.
    Source: DICOM PS3.5 7.1 and 7.5 (elements and sequences), PS3.10 7.1 (file meta information).
    """
    if len(data) > PLAIN_BYTES:
        return False
    meta_end = 144 + int.from_bytes(data[140:144], "little")
    syntaxes = [
        data[start:end].rstrip(b"\0 ")
        for tag, start, end in _elements(data[:meta_end], 132, True)
        if tag == TRANSFER_SYNTAX
    ]
    if len(syntaxes) != 1 or syntaxes[0] not in LITTLE_ENDIAN:
        return False
    others, end = 0, meta_end
    for tag, start, stop in _elements(data, meta_end, LITTLE_ENDIAN[syntaxes[0]]):
        others, end = others + start - end + (0 if tag == _PIXELS else stop - start), stop
        is_last = tag == _PIXELS and data.find(_PIXELS_BEGIN, stop) < 0  # then all that follows is something other
        if others + (len(data) - stop if is_last else 0) > _MOST_OTHER_BYTES:
            return False
    return end == len(data)


def is_deflated(data: bytes) -> bool:
    """Whether a file may say that all behind its first elements is deflated, so that little holds much.

    Source: DICOM PS3.5 A.5.
    """
    return _DEFLATED in data[:_FIRST_BYTES]


def has_closed_pixels(data: bytes) -> bool:
    """Whether an end is marked behind where pixels in fragments begin; pydicom takes the end of the file for it.

    Source: DICOM PS3.5 A.4.
    """
    return data.find(_END_OF_FRAGMENTS, data.rfind(_PIXELS_BEGIN)) >= 0


def _elements(data: bytes, position: int, explicit: bool) -> Iterator[tuple[tuple[int, int], int, int]]:
    """Yield tag, start and end of each value; sequences and items are entered. Ends early where it cannot go on."""
    while position + 8 <= len(data):
        group, element, length = _IMPLICIT.unpack_from(data, position)
        start = position + 8
        enters = group == _ITEM_GROUP
        if explicit and not enters:
            kind, length = _EXPLICIT.unpack_from(data, position + 4)
            if kind in LONG_LENGTHS:
                start, length = position + 12, int.from_bytes(data[position + 8 : position + 12], "little")
            enters = kind == _SEQUENCE
        elif not enters:
            enters = length == _UNDEFINED and (group, element) != _PIXELS
        position = start if enters else start + length
        if position > len(data):
            return
        yield (group, element), start, position
