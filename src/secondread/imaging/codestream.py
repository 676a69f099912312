"""The few header bytes of JPEG, JPEG-LS, JPEG 2000 and PNG that say how large a decoder would have to grow."""

from collections.abc import Iterator
from typing import NamedTuple

from secondread.errors import ImageRejected

_END_OF_IMAGE = b"\xff\xd9"  # JPEG and JPEG-LS call it EOI, JPEG 2000 EOC
_START_OF_SCAN = 0xDA
_FRAME_MARKERS = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC} | {0xF7}  # SOF0..SOF15, and SOF55 of JPEG-LS
_BASELINE = 0xC0
_COMMENT = 0xFE  # COM
_JPEG_2000 = b"\xff\x4f\xff\x51"  # SOC and SIZ
_EXIF = 0xE1  # APP1
_SEQUENTIAL = (_BASELINE, 0xC1)  # SOF0 and SOF1, Huffman-coded
_MOST_MARKERS = 1000  # before the first scan; a colour profile in pieces has 255
_MOST_CHUNKS = 20_000  # of a PNG; the usual ones of 8 kB or more make up 20 MB in 2,500
_START_OF_TILE = 0x90
_MOST_TILES = 65_535  # of JPEG 2000 (ITU-T T.800 A.4.2)
_MOST_SCANS = 32  # a progressive JPEG of thousands of scans keeps every decoder busy for minutes


class Frame(NamedTuple):
    """An image as its header announces it; components are 1 for gray, 3 for colour, 4 for CMYK."""

    rows: int
    columns: int
    components: int


def jpeg_frame(data: bytes) -> Frame:
    """Read the frame header of a JPEG or JPEG-LS stream; see that the stream ends, soon, and not too soon.

    Raises:
        ImageRejected: `truncated` or `scans`.
    Source: ITU-T T.81 Annex B, ITU-T T.87 Annex C.
    """
    frame, process, scan = None, 0, 0
    for marker, position in _segments(data):
        if marker in _FRAME_MARKERS and frame is None:
            rows, columns = _integer(data, position + 5), _integer(data, position + 7)
            frame, process = Frame(rows, columns, _integer(data, position + 9, 1)), marker
        scan = position
    if frame is None or data.rfind(_END_OF_IMAGE, scan) < 0:
        raise _truncated()
    # A sequential stream whose first scan holds every component is over after it: no need to look at all its bytes.
    is_one_scan = process in _SEQUENTIAL and _integer(data, scan + 4, 1) == frame.components
    if is_one_scan and 8 * (len(data) - scan) < _fewest_bits(frame):
        raise _truncated()
    if not is_one_scan and data.count(bytes((0xFF, _START_OF_SCAN)), scan) > _MOST_SCANS:
        raise ImageRejected("scans", f"the JPEG stream has more than {_MOST_SCANS} scans")
    return frame


def _fewest_bits(frame: Frame) -> int:
    """Of the blocks of one component alone: each has a code for its mean and one for its end, of a bit at least.

    Source: ITU-T T.81 A.1.1, A.2.2 and F.1.2. Where components are subsampled, half the rows and columns at least.
    """
    blocks = (frame.rows // 8) * (frame.columns // 8)
    return 2 * blocks if frame.components == 1 else blocks // 2


def is_plain_jpeg(data: bytes, most_pixels: int) -> bool:
    """Whether a JPEG that `jpeg_frame` has let pass is the common kind: baseline, gray or colour, and over in one scan.

    Args:
        most_pixels: rows times columns.
    Returns:
        False also where the file has an Exif segment, which one more parser would read.
    Source: ITU-T T.81 B.2.2 and B.2.3.
    """
    pixels, components = 0, 0
    for marker, position in _segments(data):
        if marker == _BASELINE:
            frame = Frame(*(_integer(data, position + place, size) for place, size in ((5, 2), (7, 2), (9, 1))))
            pixels, components = frame.rows * frame.columns, frame.components
        elif marker in _FRAME_MARKERS or (marker == _EXIF and data[position + 4 : position + 8] == b"Exif"):
            return False
        elif marker == _START_OF_SCAN:
            return 0 < pixels <= most_pixels and components in (1, 3) and data[position + 4] == components
    return False


def jpeg2000_frame(data: bytes) -> Frame:
    """Read the SIZ segment of a JPEG 2000 codestream; see that the codestream ends and holds every tile.

    Raises:
        ImageRejected: `truncated`.
    Source: ITU-T T.800 Annex A.5.1 (SIZ) and B.3 (tiles).
    """
    if not data.startswith(b"\xff\x4f\xff\x51") or _END_OF_IMAGE not in data[-16:]:
        raise _truncated()
    columns, rows, left, top, wide, high, first, upper = (_integer(data, position, 4) for position in range(8, 40, 4))
    if not wide or not high:
        raise _truncated()
    tiles = -(-max(columns - first, 0) // wide) * -(-max(rows - upper, 0) // high)
    if tiles > _MOST_TILES or len(set(_tiles(data))) != tiles:
        raise _truncated()
    return Frame(rows - top, columns - left, _integer(data, 40))


def _tiles(data: bytes) -> Iterator[int]:
    """Yield the tile of each part of a JPEG 2000 codestream (ITU-T T.800 A.4.2); one of length 0 goes to the end."""
    position = 2
    while data[position] == 0xFF and data[position + 1] != _START_OF_TILE:
        position += 2 + max(2, _integer(data, position + 2))
        if position + 12 > len(data):
            raise _truncated()
    while data[position : position + 2] == bytes((0xFF, _START_OF_TILE)):
        length = _integer(data, position + 6, 4) or len(data) - position
        if length < 14 or position + length > len(data):
            raise _truncated()
        yield _integer(data, position + 4)
        position += length


def without_comments(data: bytes) -> bytes:
    """Leave out of a JPEG, JPEG-LS or JPEG 2000 stream whatever is no part of the image and may be a text.

    These are comments, application segments that no decoder needs, and what follows the end; other streams, such as
    run lengths, are given back. Only what stands before the first scan, or the first tile, is looked at.

    Raises:
        ImageRejected: `truncated`.
    Source: ITU-T T.81 B.2.4, T.87, T.800 A.9.2.
    """
    if data.startswith(b"\xff\xd8"):
        parts = list(_segments(data))
        ends = [position for _, position in parts[1:]] + [data.rfind(b"\xff\xd9") + 2]
        kept = (
            data[at:end] for (marker, at), end in zip(parts, ends, strict=True) if _is_needed(marker, data[at + 4 :])
        )
        return data[:2] + b"".join(kept)
    if data.startswith(_JPEG_2000):
        return _without_segments(data, comment=0x64, last=0x90)
    return data


def _is_needed(marker: int, content: bytes) -> bool:
    """Of application segments: JFIF's size of a pixel, and what a colour transform was (Adobe's, and JPEG-LS's)."""
    if marker == _COMMENT:
        return False
    return not 0xE0 <= marker <= 0xEF or content.startswith((b"JFIF\0", b"Adobe\0", b"mrfx"))


def _without_segments(data: bytes, comment: int, last: int) -> bytes:
    kept, position = [data[:2]], 2
    while data[position : position + 2] != bytes((0xFF, last)):
        end = position + 2 + _integer(data, position + 2)
        if data[position] != 0xFF or end > len(data) or end < position + 4:
            raise _truncated()
        if data[position + 1] != comment:
            kept.append(data[position:end])
        position = end
    return b"".join((*kept, data[position : data.rfind(b"\xff\xd9") + 2]))


def png_frame(data: bytes) -> Frame:
    """Read the IHDR chunk of a PNG, and see that its chunks lie inside the file and end with IEND.

    A decoder makes room for as many bytes as a chunk claims to have.

    Raises:
        ImageRejected: `truncated`.
    Source: PNG specification (third edition), 5.3 chunk layout and 11.2.1 IHDR.
    """
    position, chunks = 8, 0
    while data[position + 4 : position + 8] != b"IEND":
        position, chunks = position + 12 + _integer(data, position, 4), chunks + 1
        if position > len(data) or chunks > _MOST_CHUNKS or data[12:16] != b"IHDR":
            raise _truncated()
    if len(data) < position + 12:
        raise _truncated()
    channels = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}.get(data[25], 0)
    return Frame(_integer(data, 20, 4), _integer(data, 16, 4), channels)


def _segments(data: bytes) -> Iterator[tuple[int, int]]:
    """Yield each marker of a JPEG and its position; the first scan is the last."""
    position = 2
    for _ in range(_MOST_MARKERS):
        if data[position : position + 1] != b"\xff" or position + 1 >= len(data):
            break
        marker = data[position + 1]
        yield marker, position
        if marker == _START_OF_SCAN:
            return
        # A marker may be preceded by any number of fill bytes.
        position += 1 if marker == 0xFF else 2 + _integer(data, position + 2)
    raise _truncated()


def _integer(data: bytes, position: int, length: int = 2) -> int:
    return int.from_bytes(data[position : position + length], "big")


def _truncated() -> ImageRejected:
    return ImageRejected("truncated", "the image data are damaged or end too early")
