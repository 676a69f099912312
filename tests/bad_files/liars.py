"""Files whose headers promise what is not there, or far too much of it."""

import struct
import zlib
from collections.abc import Callable, Iterator
from typing import Any

from pydicom import uid
from pydicom.dataset import Dataset

from bad_files.codestreams import JPEG_LOSSLESS, JPEG_LS
from bad_files.sound import JPEG_2000, JPEG_BASELINE, PICTURES, changed, compressed, xray


def lying_files() -> Iterator[tuple[str, bytes]]:
    """Yield name and bytes."""
    yield "jpeg_ls_65535.dcm", _claiming(resized(JPEG_LS, b"\xff\xf7", 65535, 65535), uid.JPEGLSLossless, 65535, 65535)
    yield "jpeg_ls_header_8000.dcm", _claiming(JPEG_LS, uid.JPEGLSLossless, 8000, 5000)
    yield "jpeg_ls_both_8000.dcm", _claiming(resized(JPEG_LS, b"\xff\xf7", 8000, 5000), uid.JPEGLSLossless, 8000, 5000)
    yield "jpeg_ls_stream_65535.dcm", compressed(resized(JPEG_LS, b"\xff\xf7", 65535, 65535), uid.JPEGLSLossless)
    yield (
        "jpeg_ls_depth.dcm",
        compressed(JPEG_LS.replace(b"\xff\xf7\x00\x0b\x0c", b"\xff\xf7\x00\x0b\x02"), uid.JPEGLSLossless),
    )
    lossless = resized(JPEG_LOSSLESS, b"\xff\xc3", 8000, 5000)
    yield "jpeg_lossless_8000.dcm", _claiming(lossless, uid.JPEGLosslessSV1, 8000, 5000)
    yield (
        "jpeg_baseline_8000.dcm",
        _claiming(resized(JPEG_BASELINE, b"\xff\xc0", 8000, 5000), uid.JPEGBaseline8Bit, 8000, 5000, 8),
    )
    for rows, columns in ((60000, 60000), (8000, 5000), (2**31, 2**31), (0, 0)):
        stream = JPEG_2000[:8] + struct.pack(">II", columns, rows) + JPEG_2000[16:]
        yield f"jpeg_2000_{rows}.dcm", _claiming(stream, uid.JPEG2000Lossless, rows % 65536, columns % 65536)
    tiles = JPEG_2000[:24] + struct.pack(">II", 1, 1) + JPEG_2000[32:]
    yield "jpeg_2000_tiles_of_one_pixel.dcm", compressed(tiles, uid.JPEG2000Lossless)
    yield "jpeg_2000_components.dcm", compressed(JPEG_2000[:40] + b"\x40\x00" + JPEG_2000[42:], uid.JPEG2000Lossless)
    for size in (65535, 20000, 8000):
        yield f"raw_{size}.dcm", _with(Rows=size, Columns=size)
    yield "raw_0.dcm", _with(Rows=0, Columns=0)
    yield "raw_of_few_pixels.dcm", _with(Rows=65, Columns=64)
    yield "frames.dcm", _with(NumberOfFrames=2**31 - 1)
    yield "bits_allocated_64.dcm", _with(BitsAllocated=64)
    yield "bits_stored_0.dcm", _with(BitsStored=0)
    yield "slope_nan.dcm", _with(RescaleSlope="nan")
    yield "slope_zero.dcm", _with(RescaleSlope="0")
    yield "slope_huge.dcm", _with(RescaleSlope="1e300")
    yield "intercept_infinite.dcm", _with(RescaleIntercept="inf")
    yield "window_of_no_width.dcm", _with(WindowWidth="0")
    yield "modality_absent.dcm", changed(_without("Modality"))
    yield "pixels_absent.dcm", changed(_without("PixelData"))
    yield "rows_absent.dcm", changed(_without("Rows"))
    yield "syntax_unknown.dcm", xray().replace(b"1.2.840.10008.1.2.1\0", b"1.2.840.10008.9.9.9\0")
    yield "syntax_compressed_pixels_not.dcm", xray().replace(b"1.2.840.10008.1.2.1\0", b"1.2.840.10008.1.2.5\0")
    yield "meta_length_lies.dcm", xray()[:140] + b"\xff\xff\xff\xff" + xray()[144:]
    yield "element_of_4_gigabytes.dcm", xray().replace(b"\x10\x00\x20\x00LO", b"\x10\x00\x20\x00UN")
    yield "empty_fragment.dcm", compressed(b"\0\0", uid.JPEG2000Lossless)
    yield "no_fragment.dcm", compressed(b"\0\0", uid.JPEG2000Lossless).replace(b"\xfe\xff\x00\xe0\2\0\0\0\0\0", b"")
    yield "rle_segments.dcm", compressed(struct.pack("<16I", 15, *([2**31] * 15)), uid.RLELossless)
    yield "rle_no_segment.dcm", compressed(bytes(64), uid.RLELossless)
    for size in (65535, 8000):
        yield f"claims_{size}.jpg", resized(JPEG_BASELINE, b"\xff\xc0", size, size * 5 // 8)
        yield f"claims_{size}.png", png(size, size * 5 // 8, zlib.compress(bytes(1000)))
    yield "claims_2147483647.png", png(2**31 - 1, 2**31 - 1, b"")
    yield "claims_0.png", png(0, 0, b"")
    yield "claims_0.jpg", resized(JPEG_BASELINE, b"\xff\xc0", 0, 0)
    yield "chunk_of_2_gigabytes.png", PICTURES["png"].replace(b"\x00\x00\x00\x0dIHDR", b"\x7f\xff\xff\xffIHDR")
    yield "pixels_end_early.png", png(64, 64, zlib.compress(bytes(65 * 20)))
    yield "pixels_are_no_zlib.png", png(64, 64, bytes(100))
    yield "wrong_checksum.png", _with_wrong_checksum(PICTURES["png"])


def resized(stream: bytes, marker: bytes, rows: int, columns: int) -> bytes:
    """A JPEG or JPEG-LS stream that claims another size."""
    place = stream.index(marker) + 5
    return stream[:place] + struct.pack(">HH", rows, columns) + stream[place + 4 :]


def png(columns: int, rows: int, pixels: bytes, *chunks: tuple[bytes, bytes]) -> bytes:
    """A gray PNG of 8 bits; chunks stand before its pixels."""
    header = struct.pack(">IIBBBBB", columns, rows, 8, 0, 0, 0, 0)
    written = [(b"IHDR", header), *chunks, (b"IDAT", pixels), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
        for name, data in written
    )


def _with_wrong_checksum(data: bytes) -> bytes:
    place = data.index(b"IDAT") + 4 + int.from_bytes(data[data.index(b"IDAT") - 4 : data.index(b"IDAT")], "big")
    return data[:place] + bytes(4) + data[place + 4 :]


def _claiming(stream: bytes, syntax: str, rows: int, columns: int, bits: int = 12) -> bytes:
    data = compressed(stream, syntax, bits)
    for tag, value in ((b"\x28\x00\x10\x00US\x02\x00", rows), (b"\x28\x00\x11\x00US\x02\x00", columns)):
        place = data.index(tag) + 8
        data = data[:place] + struct.pack("<H", value) + data[place + 2 :]
    return data


def _with(**values: Any) -> bytes:
    def change(dcm: Dataset) -> None:
        for keyword, value in values.items():
            setattr(dcm, keyword, value)

    return changed(change)


def _without(keyword: str) -> Callable[[Dataset], None]:
    def change(dcm: Dataset) -> None:
        delattr(dcm, keyword)

    return change
