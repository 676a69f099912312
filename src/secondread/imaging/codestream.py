"""The few header bytes of JPEG, JPEG-LS, JPEG 2000 and PNG that say how large a decoder would have to grow."""

from typing import NamedTuple

from secondread.errors import ImageRejected

_END_OF_IMAGE = b"\xff\xd9"  # JPEG and JPEG-LS call it EOI, JPEG 2000 EOC
_START_OF_SCAN = 0xDA
_FRAME_MARKERS = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC} | {0xF7}  # SOF0..SOF15, and SOF55 of JPEG-LS
_SEQUENTIAL = (0xC0, 0xC1)  # SOF0 and SOF1, Huffman-coded
_MOST_SCANS = 32  # a progressive JPEG of thousands of scans keeps every decoder busy for minutes


class Frame(NamedTuple):
    """An image as its header announces it; components are 1 for gray, 3 for colour, 4 for CMYK."""

    rows: int
    columns: int
    components: int


def jpeg_frame(data: bytes) -> Frame:
    """Read the frame header of a JPEG or JPEG-LS stream; see that the stream ends, and soon.

    Raises:
        ImageRejected: `truncated` or `scans`.
    Source: ITU-T T.81 Annex B, ITU-T T.87 Annex C.
    """
    frame, process, position = None, 0, 2
    while (marker := _marker(data, position)) != _START_OF_SCAN:
        if marker in _FRAME_MARKERS and frame is None:
            rows, columns = _integer(data, position + 5), _integer(data, position + 7)
            frame, process = Frame(rows, columns, _integer(data, position + 9, 1)), marker
        # A marker may be preceded by any number of fill bytes.
        position += 1 if marker == 0xFF else 2 + _integer(data, position + 2)
    if frame is None or data.rfind(_END_OF_IMAGE, position) < 0:
        raise _truncated()
    # A sequential stream whose first scan holds every component is over after it: no need to look at all its bytes.
    is_one_scan = process in _SEQUENTIAL and _integer(data, position + 4, 1) == frame.components
    if not is_one_scan and data.count(bytes((0xFF, _START_OF_SCAN)), position) > _MOST_SCANS:
        raise ImageRejected("scans", f"the JPEG stream has more than {_MOST_SCANS} scans")
    return frame


def jpeg2000_frame(data: bytes) -> Frame:
    """Read the SIZ segment of a JPEG 2000 codestream, and see that the codestream ends.

    Raises:
        ImageRejected: `truncated`.
    Source: ITU-T T.800 Annex A.5.1.
    """
    if not data.startswith(b"\xff\x4f\xff\x51") or _END_OF_IMAGE not in data[-16:]:
        raise _truncated()
    columns, rows, left, top = (_integer(data, position, 4) for position in (8, 12, 16, 20))
    return Frame(rows - top, columns - left, _integer(data, 40))


def png_frame(data: bytes) -> Frame:
    """Read the IHDR chunk of a PNG, and see that the file ends with IEND.

    Raises:
        ImageRejected: `truncated`.
    Source: PNG specification (third edition), 11.2.1 IHDR and 11.2.4 IEND.
    """
    if data[12:16] != b"IHDR" or data.rfind(b"\0\0\0\0IEND\xaeB`\x82") < 0:
        raise _truncated()
    channels = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}.get(data[25], 0)
    return Frame(_integer(data, 20, 4), _integer(data, 16, 4), channels)


def _marker(data: bytes, position: int) -> int:
    if data[position : position + 1] != b"\xff" or position + 1 >= len(data):
        raise _truncated()
    return data[position + 1]


def _integer(data: bytes, position: int, length: int = 2) -> int:
    return int.from_bytes(data[position : position + length], "big")


def _truncated() -> ImageRejected:
    return ImageRejected("truncated", "the image data are damaged or end too early")
