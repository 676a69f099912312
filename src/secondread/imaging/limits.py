"""What is refused before a decoder sees it: size, kind and dimensions, read from the first bytes."""

from typing import Literal

from secondread.errors import ImageRejected
from secondread.imaging.codestream import jpeg_frame, png_frame

Kind = Literal["dicom", "jpeg", "png"]

MOST_BYTES = {"dicom": 64 * 2**20, "jpeg": 20 * 2**20, "png": 20 * 2**20}
FEWEST_PIXELS_A_SIDE = 64
MOST_PIXELS_A_SIDE = 8192
MOST_PIXELS = 40_000_000


def check(data: bytes) -> Kind:
    """Tell an image's kind by its first bytes, and refuse what no decoder should open.

    A DICOM file's dimensions are checked by its reader, through `check_size`.

    Raises:
        ImageRejected: `format`, `too_large`, `truncated`, `scans` or `dimensions`.
    """
    kind = _kind(data)
    if len(data) > MOST_BYTES[kind]:
        raise ImageRejected("too_large", f"the file has {len(data)} bytes; at most {MOST_BYTES[kind]} are read")
    if kind == "jpeg":
        check_size(*jpeg_frame(data)[:2])
    elif kind == "png":
        check_size(*png_frame(data)[:2])
    return kind


def check_size(rows: int, columns: int) -> None:
    """Refuse an image that is too small to read or too large to open.

    Raises:
        ImageRejected: `dimensions`.
    """
    fits = min(rows, columns) >= FEWEST_PIXELS_A_SIDE and max(rows, columns) <= MOST_PIXELS_A_SIDE
    if not fits or rows * columns > MOST_PIXELS:
        raise ImageRejected(
            "dimensions",
            f"the image has {rows} rows and {columns} columns; {FEWEST_PIXELS_A_SIDE} to {MOST_PIXELS_A_SIDE} each "
            f"and at most {MOST_PIXELS // 1_000_000} megapixels are read",
        )


def _kind(data: bytes) -> Kind:
    if data.startswith(b"\xff\xd8\xff"):
        return "jpeg"
    if data.startswith(b"\x89PNG\r\n\x1a\n"):
        return "png"
    if data[128:132] == b"DICM":
        return "dicom"
    raise ImageRejected("format", "the file is neither DICOM nor JPEG nor PNG")
