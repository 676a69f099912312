"""The short way for compressed gray images: few elements by `lean`, one frame, and its codec alone.

What is not plainly so is left to pydicom, as there.
"""

from struct import Struct
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from pydicom.pixels.decoders.base import get_decoder

from secondread.imaging.dicom.lean import Elements, Irregular, read_elements
from secondread.imaging.dicom.run_length import decode_run_length

_PIXELS = (b"\xe0\x7f\x10\x00OB\0\0\xff\xff\xff\xff", b"\xe0\x7f\x10\x00OW\0\0\xff\xff\xff\xff")
_ITEM, _END = (0xFFFE, 0xE000), (0xFFFE, 0xE0DD)
_HEADER = Struct("<HHI")  # group, element, length
_MOST_FRAGMENTS = 1000
_RUN_LENGTH = "1.2.840.10008.1.2.5"
_NEEDED = ("Rows", "Columns", "BitsAllocated", "BitsStored", "PixelRepresentation")


class CompressedFile(NamedTuple):
    """What a file says of its pixels, and these as they are compressed.

    Args:
        encapsulated: items of fragments, without the mark of their end.
    """

    syntax: str
    elements: Elements
    encapsulated: bytes

    def decoded(self, plugin: str = "") -> NDArray[Any]:
        """Stored values, shape (rows, columns), as a plugin of pydicom's decodes them."""
        said = self.elements
        if self.syntax == _RUN_LENGTH:
            values = decode_run_length(self.encapsulated, *(said[keyword] for keyword in _NEEDED))
            if values is not None:
                return values
        options: dict[str, Any] = {
            "rows": said.Rows,
            "columns": said.Columns,
            "number_of_frames": 1,
            "samples_per_pixel": 1,
            "bits_allocated": said.BitsAllocated,
            "bits_stored": said.BitsStored,
            "pixel_representation": said.PixelRepresentation,
            "photometric_interpretation": said.PhotometricInterpretation,
            "pixel_keyword": "PixelData",
        }
        pixels, _ = get_decoder(self.syntax).as_array(self.encapsulated, decoding_plugin=plugin, **options)
        return np.asarray(pixels)


def read_compressed(data: bytes) -> CompressedFile | None:
    """Read a gray image of 8 or 16 bits in one frame that nothing follows.

    Args:
        data: begins with the preamble and `DICM`.
    Returns:
        None where something about the file needs a closer look; that says nothing against it.
    Source: DICOM PS3.5 A.4 (encapsulated pixels).
    """
    try:
        syntax, elements, end = read_elements(data, _PIXELS)
    except Irregular:
        return None
    whole = (elements.get(keyword) for keyword in _NEEDED)
    if (
        elements.get("SamplesPerPixel") != 1
        or elements.get("NumberOfFrames", 1) != 1
        or elements.get("PhotometricInterpretation") not in ("MONOCHROME1", "MONOCHROME2")
        or (syntax == _RUN_LENGTH and _has_odd_cells(elements))
        or not all(isinstance(number, int) for number in whole)
    ):
        return None
    start, stop = end + len(_PIXELS[0]), _end_of_fragments(data, end + len(_PIXELS[0]))
    return None if stop is None else CompressedFile(syntax, elements, data[start:stop])


def _has_odd_cells(elements: Elements) -> bool:
    """Whether more than the lowest bits of a cell may tell something."""
    used, high = elements.get("BitsStored", 0), elements.get("HighBit")
    is_full = used == elements.get("BitsAllocated")
    return high not in (None, used - 1) or (not is_full and "PixelPaddingValue" in elements)


def _end_of_fragments(data: bytes, position: int) -> int | None:
    """Where the mark of the end begins, if the file ends with it."""
    for _ in range(_MOST_FRAGMENTS):
        if position + 8 > len(data):
            return None
        group, element, length = _HEADER.unpack_from(data, position)
        if (group, element) == _END:
            return position if length == 0 and position + 8 == len(data) else None
        if (group, element) != _ITEM:
            return None
        position += 8 + length
    return None
