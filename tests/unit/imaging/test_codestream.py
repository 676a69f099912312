"""Headers of compressed images, read without a decoder."""

from io import BytesIO
from typing import Any

import pytest
from PIL import Image

from secondread.errors import ImageRejected
from secondread.imaging.codestream import Frame, is_plain_jpeg, jpeg2000_frame, jpeg_frame, png_frame

# T.800 A.5.1, byte by byte: SOC, SIZ, Lsiz, Rsiz, Xsiz 100, Ysiz 70, XOsiz 4, YOsiz 6, tile 100 x 70 at 0, 1 component
# of 8 bits.
SIZ = (
    b"\xff\x4f\xff\x51\x00\x29\x00\x00"
    + b"".join(n.to_bytes(4, "big") for n in (100, 70, 4, 6, 100, 70, 0, 0))
    + b"\0\1\7\1\1"
)
TILE = b"\xff\x90\x00\x0a\0\0\0\0\0\0\0\1\xff\x93"  # T.800 A.4.2: tile 0, to the end, the first part of one


def test_a_jpeg_2000_image_is_what_lies_right_of_and_below_its_offset() -> None:
    assert jpeg2000_frame(SIZ + TILE + b"\xff\xd9") == Frame(rows=64, columns=96, components=1)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        SIZ,
        SIZ + TILE,
        b"\xff\x4f\xff\x52" + SIZ[4:] + TILE + b"\xff\xd9",
        SIZ + b"\xff\xd9",
        SIZ[:24] + bytes(16) + SIZ[40:] + TILE + b"\xff\xd9",
        SIZ[:24] + b"\0\0\0\x32" + SIZ[28:] + TILE + b"\xff\xd9",
        SIZ + TILE[:6] + b"\0\0\1\0" + TILE[10:] + b"\xff\xd9",
    ],
    ids=["nothing", "SIZ alone", "no end", "no SIZ", "no tile", "tiles of no size", "one of two tiles", "short tile"],
)
def test_a_jpeg_2000_without_its_marks_is_refused(data: bytes) -> None:
    with pytest.raises(ImageRejected, match="end too early"):
        jpeg2000_frame(data)


def test_fill_bytes_before_a_marker_are_skipped() -> None:
    frame = b"\xff\xc0\x00\x0b\x08\x00\x46\x00\x64\x01\x01\x11\x00"
    scan = b"\xff\xda\x00\x08\x01\x01\x00\x00\x3f\x00"
    assert jpeg_frame(b"\xff\xd8" + b"\xff" * 5 + frame + scan + bytes(24) + b"\xff\xd9") == Frame(70, 100, 1)


def test_a_jpeg_of_too_few_bits_for_its_blocks_is_refused() -> None:
    frame = b"\xff\xc0\x00\x0b\x08\x00\x46\x00\x64\x01\x01\x11\x00"
    scan = b"\xff\xda\x00\x08\x01\x01\x00\x00\x3f\x00"
    with pytest.raises(ImageRejected, match="end too early"):
        jpeg_frame(b"\xff\xd8" + frame + scan + b"\xff\xd9")  # 96 blocks of two bits want 24 bytes


def test_a_jpeg_of_nothing_but_markers_is_given_up_soon() -> None:
    with pytest.raises(ImageRejected, match="damaged"):
        jpeg_frame(b"\xff\xd8" + b"\xff\xe0\x00\x02" * 5_000_000 + b"\xff\xd9")


def test_jpeg_ls_is_read_as_jpeg_is() -> None:
    frame = b"\xff\xf7\x00\x0b\x10\x00\x46\x00\x64\x01\x01\x11\x00"
    scan = b"\xff\xda\x00\x08\x01\x01\x00\x00\x00\x00"
    assert jpeg_frame(b"\xff\xd8" + frame + scan + b"\xff\xd9") == Frame(70, 100, 1)


def test_a_scan_without_a_frame_is_refused() -> None:
    with pytest.raises(ImageRejected, match="damaged"):
        jpeg_frame(b"\xff\xd8\xff\xda\x00\x08\x01\x01\x00\x00\x3f\x00\xff\xd9")


@pytest.mark.parametrize("claim", [2**32 - 1, 2**31 - 1, 500])
def test_a_png_chunk_that_claims_more_than_there_is_is_refused(claim: int) -> None:
    buffer = BytesIO()
    Image.new("L", (80, 70)).save(buffer, "PNG")
    data = bytearray(buffer.getvalue())
    length = data.index(b"IDAT") - 4
    data[length : length + 4] = claim.to_bytes(4, "big")
    with pytest.raises(ImageRejected, match="end too early"):
        png_frame(bytes(data))


@pytest.mark.parametrize(("mode", "components"), [("L", 1), ("LA", 2), ("P", 1), ("RGB", 3), ("RGBA", 4), ("I;16", 1)])
def test_a_png_says_its_size_and_channels(mode: str, components: int) -> None:
    buffer = BytesIO()
    Image.new(mode, (80, 70)).save(buffer, "PNG")
    assert png_frame(buffer.getvalue()) == Frame(70, 80, components)


def saved(mode: str, **how: Any) -> bytes:
    buffer = BytesIO()
    Image.new(mode, (80, 70)).save(buffer, "JPEG", **how)
    return buffer.getvalue()


@pytest.mark.parametrize("mode", ["L", "RGB"])
def test_a_small_baseline_jpeg_is_plain_and_a_larger_one_is_not(mode: str) -> None:
    assert is_plain_jpeg(saved(mode), most_pixels=5600)
    assert not is_plain_jpeg(saved(mode), most_pixels=5599)


@pytest.mark.parametrize(
    "data",
    [
        saved("L", progressive=True),
        saved("CMYK"),
        saved("L", exif=b"Exif\0\0MM\0*\0\0\0\x08\0\0"),
        saved("RGB").replace(b"\xff\xda\x00\x0c\x03", b"\xff\xda\x00\x0c\x01"),  # more scans to come
    ],
    ids=["progressive", "cmyk", "exif", "one component a scan"],
)
def test_what_takes_another_decoder_or_several_passes_is_not_plain(data: bytes) -> None:
    assert not is_plain_jpeg(data, most_pixels=5600)


def test_a_png_of_nothing_but_chunks_is_given_up_soon() -> None:
    buffer = BytesIO()
    Image.new("L", (80, 70)).save(buffer, "PNG")
    data = buffer.getvalue()
    crowded = data[:33] + (b"\0\0\0\0teXt" + bytes(4)) * 1_500_000 + data[33:]
    with pytest.raises(ImageRejected, match="damaged"):
        png_frame(crowded)
