"""JPEG and PNG of every mode become the right gray image."""

import struct
import zlib
from collections.abc import Mapping
from io import BytesIO
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from numpy.typing import NDArray
from PIL import Image, ImageOps

from secondread.errors import ImageRejected
from secondread.imaging.raster import read_raster

Gray = NDArray[np.uint8]

# Two smooth slopes, so that JPEG keeps them within a step or two and every corner differs from the others.
SLOPES: Gray = np.add.outer(np.arange(64), 2 * np.arange(96)).astype(np.uint8)


def encoded(image: Image.Image, kind: str, **options: Any) -> bytes:
    buffer = BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def jpeg(image: Image.Image, **options: Any) -> bytes:
    return encoded(image, "JPEG", quality=95, **options)


def png(image: Image.Image, **options: Any) -> bytes:
    return encoded(image, "PNG", **options)


def largest_difference(one: Gray, other: Gray) -> int:
    assert one.shape == other.shape
    return int(np.abs(one.astype(int) - other).max())


def with_alpha(gray: Gray, alpha: Gray, mode: str) -> Image.Image:
    picture = Image.fromarray(gray).convert(mode)
    picture.putalpha(Image.fromarray(alpha))
    return picture


def palette_image(gray: Gray) -> Image.Image:
    """A palette that holds the grays backwards: index 0 is white."""
    picture = Image.fromarray(255 - gray)
    picture.putpalette([255 - index for index in range(256) for _ in "RGB"])
    return picture


OPAQUE: Gray = np.full_like(SLOPES, 255)
LOSSLESS: Mapping[str, Image.Image] = {
    "gray": Image.fromarray(SLOPES),
    "gray and alpha": with_alpha(SLOPES, OPAQUE, "L"),
    "RGB": Image.fromarray(SLOPES).convert("RGB"),
    "RGBA": with_alpha(SLOPES, OPAQUE, "RGB"),
    "palette": palette_image(SLOPES),
    "16 bit": Image.fromarray(SLOPES.astype(np.uint16) * 257),
}


@pytest.mark.parametrize("mode", LOSSLESS)
def test_a_gray_picture_is_the_same_in_every_png_mode(mode: str) -> None:
    assert np.array_equal(read_raster(png(LOSSLESS[mode]), "png"), SLOPES)


@settings(max_examples=25, deadline=None)
@given(arrays.arrays(np.uint8, (64, 64), elements=st.integers(0, 255)))
def test_equal_channels_give_exactly_their_value(gray: Gray) -> None:
    assert np.array_equal(read_raster(png(Image.fromarray(gray).convert("RGB")), "png"), gray)


@pytest.mark.parametrize("options", [{}, {"subsampling": 0}, {"keep_rgb": True}, {"progressive": True}])
@pytest.mark.parametrize("needed", [8192, 16])
def test_a_jpeg_says_the_same_saved_gray_or_rgb(options: dict[str, Any], needed: int) -> None:
    picture = Image.fromarray(SLOPES)
    gray = read_raster(jpeg(picture), "jpeg", needed)
    colour = read_raster(jpeg(picture.convert("RGB"), **options), "jpeg", needed)
    assert largest_difference(colour, gray) == 0


def test_a_large_jpeg_is_decoded_at_half_size_where_that_leaves_twice_what_is_needed() -> None:
    data = jpeg(Image.fromarray(SLOPES))
    assert [read_raster(data, "jpeg", needed).shape for needed in (17, 16, 8, 4, 1)] == [
        (64, 96),
        (32, 48),
        (16, 24),
        (8, 12),
        (8, 12),
    ]
    halves = SLOPES.reshape(32, 2, 48, 2).mean(axis=(1, 3))
    assert largest_difference(read_raster(data, "jpeg", 16), np.rint(halves).astype(np.uint8)) <= 2


@pytest.mark.parametrize(("colour", "luma"), [((255, 0, 0), 76), ((0, 255, 0), 150), ((0, 0, 255), 29)])
def test_colour_becomes_luma(colour: tuple[int, int, int], luma: int) -> None:
    """.299 x 255 = 76, .587 x 255 = 150, .114 x 255 = 29."""
    picture = Image.new("RGB", (64, 64), colour)
    assert np.unique(read_raster(png(picture), "png")) == [luma]
    assert np.abs(read_raster(jpeg(picture), "jpeg").astype(int) - luma).max() <= 1


def test_sixteen_bits_are_scaled_and_not_clipped() -> None:
    values = np.array([0, 128, 129, 257, 32768, 65535], np.uint16)
    picture = Image.fromarray(np.repeat(values, 64 * 11).reshape(64, 66))
    assert np.unique(read_raster(png(picture), "png")).tolist() == [0, 1, 128, 255]


def test_one_bit_is_black_and_white() -> None:
    picture = Image.fromarray(SLOPES > 128)
    assert np.array_equal(read_raster(png(picture), "png"), np.where(SLOPES > 128, 255, 0))


@pytest.mark.parametrize("mode", ["L", "RGB"])
def test_what_is_transparent_is_black(mode: str) -> None:
    alpha = OPAQUE.copy()
    alpha[:32] = 0
    alpha[40] = 51  # a fifth
    gray = read_raster(png(with_alpha(np.full_like(SLOPES, 200), alpha, mode)), "png")
    assert [gray[row].max() for row in (0, 31, 32, 40, 63)] == [0, 0, 200, 40, 200]


@pytest.mark.parametrize("mode", ["L", "RGB", "P"])
def test_a_value_declared_transparent_is_black(mode: str) -> None:
    gray = np.where(SLOPES < 100, 255, SLOPES).astype(np.uint8)
    keys: Mapping[str, Any] = {"L": 255, "RGB": (255, 255, 255), "P": 0}  # index 0 of this palette is white
    picture = palette_image(gray) if mode == "P" else Image.fromarray(gray).convert(mode)
    expected = np.where(gray == 255, 0, gray)
    assert np.array_equal(read_raster(png(picture, transparency=keys[mode]), "png"), expected)


def test_two_bit_gray_may_declare_a_value_transparent() -> None:
    row = b"\0" + bytes([0b00011011] * 16)  # 0, 1, 2, 3 of 3, again and again, behind the byte that says no filter
    data = raw_png(width=64, depth=2, rows=[row] * 64, before_data=[(b"tRNS", b"\0\3")])
    assert read_raster(data, "png")[0, :4].tolist() == [0, 85, 170, 0]


def raw_png(width: int, depth: int, rows: list[bytes], before_data: list[tuple[bytes, bytes]]) -> bytes:
    header = struct.pack(">IIBBBBB", width, len(rows), depth, 0, 0, 0, 0)
    chunks = [(b"IHDR", header), *before_data, (b"IDAT", zlib.compress(b"".join(rows))), (b"IEND", b"")]
    body = (
        struct.pack(">I", len(text)) + name + text + struct.pack(">I", zlib.crc32(name + text)) for name, text in chunks
    )
    return b"\x89PNG\r\n\x1a\n" + b"".join(body)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["jpeg", "jpeg at half size", "png", "cmyk"])
def test_a_turned_picture_is_turned_upright(orientation: int, kind: str) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    picture = Image.fromarray(SLOPES)
    source = cmyk(SLOPES) if kind == "cmyk" else picture
    data = png(source, exif=exif) if kind == "png" else jpeg(source, exif=exif)
    picture.getexif()[0x0112] = orientation
    upright = ImageOps.exif_transpose(picture)
    half = kind.endswith("half size")
    expected = np.asarray(upright.reduce(2) if half else upright)
    gray = read_raster(data, "png" if kind == "png" else "jpeg", 16 if half else 8192)
    assert largest_difference(gray, expected) <= 3


def test_damaged_exif_is_passed_over_in_silence() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    data = bytearray(jpeg(cmyk(SLOPES), exif=exif))
    count = data.index(b"Exif\0\0") + 14  # how many fields follow, after the TIFF header
    data[count : count + 2] = b"\x09\x09"
    gray = read_raster(bytes(data), "jpeg")
    assert sorted(gray.shape) == [64, 96]


def cmyk(gray: Gray) -> Image.Image:
    none = Image.new("L", gray.shape[::-1], 0)
    return Image.merge("CMYK", [none, none, none, Image.fromarray(255 - gray)])


def test_ink_is_read_as_ink() -> None:
    assert largest_difference(read_raster(jpeg(cmyk(SLOPES)), "jpeg"), SLOPES) <= 3


def test_ink_that_adobe_did_not_invert_is_read_as_ink() -> None:
    inverted = Image.fromarray(255 - np.asarray(cmyk(SLOPES)), "CMYK")
    data = jpeg(inverted)
    start = data.index(b"\xff\xee")  # APP14, by which Adobe signs
    end = start + 2 + int.from_bytes(data[start + 2 : start + 4], "big")
    assert data[start + 4 : start + 9] == b"Adobe"
    assert largest_difference(read_raster(data[:start] + data[end:], "jpeg"), SLOPES) <= 3


def test_a_damaged_png_is_rejected() -> None:
    data = bytearray(png(Image.fromarray(SLOPES)))
    data[data.index(b"IDAT") + 20] ^= 0xFF
    with pytest.raises(ImageRejected, match="PNG image data cannot be decoded"):
        read_raster(bytes(data), "png")


def test_a_jpeg_with_a_damaged_code_table_is_rejected() -> None:
    data = bytearray(jpeg(Image.fromarray(SLOPES)))
    data[data.index(b"\xff\xc4") + 5] = 0xFF  # 255 codes of one bit
    with pytest.raises(ImageRejected, match="JPEG image data cannot be decoded"):
        read_raster(bytes(data), "jpeg")
