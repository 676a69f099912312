"""What a file marks as filling around an image."""

from pydicom.dataset import Dataset

from secondread.imaging.dicom.bits import Stored
from secondread.imaging.dicom.lean import Elements
from secondread.imaging.picture import Mask


def padding_of(dcm: Dataset | Elements, stored: Stored) -> Mask | None:
    """Find the pixels that fill up an image: those of one value, or of a range of values.

    Pixel Representation (0028,0103) says whether these values are negative, whatever the file says of their kind: many
    files write -2000 as 63536. A value that the pixels' bits cannot hold is looked for in the whole cell, so that
    filling beyond 12 bits is found and no pixel is taken for it.

    Returns:
        shape (rows, columns); None where there are none.
    Source: DICOM PS3.3 C.7.5.1.1.2, PS3.5 A (kinds of `US or SS`).
    """
    value, limit = dcm.get("PixelPaddingValue"), dcm.get("PixelPaddingRangeLimit")
    if value is None:
        return None
    low, high = sorted(_signed(int(each), stored.bits.is_signed) for each in (value, value if limit is None else limit))
    is_held = stored.bits.holds(low) and stored.bits.holds(high)
    pixels = stored.values if is_held else stored.cells
    mask: Mask = pixels == low if low == high else (pixels >= low) & (pixels <= high)
    return mask if mask.any() else None


def _signed(value: int, is_signed: bool) -> int:
    """The 16 bits of a value, read as the pixels are."""
    bits = value % 2**16
    return bits - 2**16 if is_signed and bits >= 2**15 else bits
