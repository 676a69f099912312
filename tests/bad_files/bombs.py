"""Small files that grow, or keep a reader busy: nested, crowded, deflated, in runs, or of thousands of scans."""

import struct
import zlib
from collections.abc import Iterator

from pydicom import uid

from bad_files.liars import png
from bad_files.sound import DICOM, PICTURES, compressed, xray

_MEGABYTE = 1 << 20


def bombs() -> Iterator[tuple[str, bytes]]:
    """Yield name and bytes."""
    for depth in (100, 1000, 20_000):
        yield f"sequences_{depth}_deep.dcm", before_the_patient(_nested(depth, undefined=True))
        yield (
            f"sequences_{depth}_deep_of_known_length.dcm",
            before_the_patient(_nested(min(depth, 3000), undefined=False)),
        )
    yield (
        "sequences_never_closed.dcm",
        before_the_patient(b"\x09\x00\x10\x10SQ\0\0\xff\xff\xff\xff\xfe\xff\x00\xe0\xff\xff\xff\xff" * 1000),
    )
    yield "190,000_elements.dcm", before_the_patient(elements(190_000))
    yield "million_elements.dcm", xray() + _behind_the_pixels(1_000_000)
    yield (
        "million_values.dcm",
        before_the_patient(
            b"\x09\x00\x10\x00LO\x10\x00SECONDREAD BOMBS\x09\x00\x01\x10UT\0\0" + _long(b"1\\" * 1_000_000)
        ),
    )
    yield "deflate_bomb.dcm", deflated(200 * _MEGABYTE)
    yield "deflate_bomb_under_the_limit.dcm", deflated(60 * _MEGABYTE)
    yield "deflated_million_elements.dcm", deflated_elements()
    yield "rle_bomb.dcm", compressed(struct.pack("<16I", 1, 64, *([0] * 14)) + b"\x81\x00" * _MEGABYTE, uid.RLELossless)
    yield (
        "rle_of_no_operations.dcm",
        compressed(struct.pack("<16I", 2, 64, 65, *([0] * 13)) + b"\x80" * 2 * _MEGABYTE, uid.RLELossless),
    )
    yield "pixels_bomb.png", png(8192, 8192, zlib.compress(bytes(100 * _MEGABYTE)))
    yield "many_pixels.png", png(8000, 5000, zlib.compress(bytes(8001 * 5000)))
    yield "more_pixels_than_claimed.png", png(64, 64, zlib.compress(bytes(100 * _MEGABYTE)))
    text = b"Comment\0\0" + zlib.compress(bytes(100 * _MEGABYTE))
    yield "text_bomb.png", png(64, 64, zlib.compress(bytes(65 * 64)), (b"zTXt", text))
    yield "profile_bomb.png", png(64, 64, zlib.compress(bytes(65 * 64)), (b"iCCP", text))
    yield "many_chunks.png", png(64, 64, zlib.compress(bytes(65 * 64)), *([(b"tEXt", b"a\0b")] * 100_000))
    yield "scans.jpg", _of_scans(PICTURES["jpeg_progressive"], 3000)
    yield "scans.dcm", compressed(_of_scans(PICTURES["jpeg_progressive"], 3000), uid.JPEGBaseline8Bit, bits=8)
    yield "markers.jpg", b"\xff\xd8" + b"\xff\xfe\x00\x02" * 100_000 + PICTURES["jpeg"][2:]
    yield "fill_bytes.jpg", b"\xff\xd8" + b"\xff" * _MEGABYTE + PICTURES["jpeg"][2:]
    yield "fragments.dcm", _fragments()


def elements(count: int) -> bytes:
    """Empty private elements of the groups before the patient's."""
    return b"".join(struct.pack("<HH2sH", 9 + 2 * (n >> 16), n & 0xFFFF, b"LO", 0) for n in range(count))


def before_the_patient(inserted: bytes) -> bytes:
    """The X-ray with more elements before it says whose it is."""
    data = xray()
    place = data.index(b"\x10\x00\x10\x00PN")
    return data[:place] + inserted + data[place:]


def deflated(size: int) -> bytes:
    """An X-ray that inflates to a private element of so many bytes, and more."""
    header = DICOM["deflated"]
    meta_end = 144 + int.from_bytes(header[140:144], "little")
    body = zlib.decompress(header[meta_end:], -zlib.MAX_WBITS)
    return header[:meta_end] + _deflate(b"\x09\x00\x01\x10UN\0\0" + _long(bytes(size)) + body)


def deflated_elements() -> bytes:
    """An X-ray that inflates to very many elements before the series is told."""
    header = DICOM["deflated"]
    meta_end = 144 + int.from_bytes(header[140:144], "little")
    body = zlib.decompress(header[meta_end:], -zlib.MAX_WBITS)
    place = body.index(b"\x10\x00\x10\x00PN")
    return header[:meta_end] + _deflate(body[:place] + elements(190_000) + body[place:])


def _deflate(data: bytes) -> bytes:
    deflater = zlib.compressobj(1, zlib.DEFLATED, -zlib.MAX_WBITS)
    return deflater.compress(data) + deflater.flush()


def _long(value: bytes) -> bytes:
    return struct.pack("<I", len(value)) + value


def _nested(depth: int, undefined: bool) -> bytes:
    """Sequences within sequences (PS3.5 7.5)."""
    sequence, item = b"\x09\x00\x10\x10SQ\0\0", b"\xfe\xff\x00\xe0"
    if undefined:
        opened = sequence + b"\xff" * 4 + item + b"\xff" * 4
        return opened * depth + b"\xfe\xff\x0d\xe0\0\0\0\0\xfe\xff\xdd\xe0\0\0\0\0" * depth
    nested = b""
    for _ in range(depth):
        nested = sequence + _long(item + _long(nested))
    return nested


def _behind_the_pixels(count: int) -> bytes:
    return b"".join(
        struct.pack("<HH2sH", 0x7FE1 + 2 * (n >> 15), 0x1000 + (n & 0x7FFF), b"LO", 0) for n in range(count)
    )


def _of_scans(progressive: bytes, count: int) -> bytes:
    """Repeat the last scan of a progressive JPEG."""
    last = progressive.rindex(b"\xff\xda")
    return progressive[:last] + progressive[last:-2] * count + b"\xff\xd9"


def _fragments() -> bytes:
    """Encapsulated pixels in a hundred thousand empty fragments (PS3.5 A.4)."""
    data = compressed(b"\xff\xd8", uid.JPEGBaseline8Bit, bits=8)
    place = data.index(b"\xe0\x7f\x10\x00") + 12
    return data[:place] + b"\xfe\xff\x00\xe0\0\0\0\0" * 100_000 + b"\xfe\xff\xdd\xe0\0\0\0\0"
