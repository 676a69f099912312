"""JPEG and PNG of every mode become one gray image, so that how a file was saved says nothing about the patient."""

from collections.abc import Callable, Mapping
from io import BytesIO
from typing import Any, TypeAlias

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from secondread.errors import ImageRejected
from secondread.imaging.codestream import jpeg_frame
from secondread.imaging.limits import MOST_PIXELS_A_SIDE, Kind
from secondread.imaging.picture import UInt8Image
from secondread.imaging.quiet import without_warnings

_Pixels: TypeAlias = NDArray[Any]  # uint8 or uint16, as the file has them

_REDUCED_MODES = {  # libjpeg leaves out the finest cosines, for twice the speed of decoding and shrinking all of it
    8: cv2.IMREAD_REDUCED_GRAYSCALE_8,
    4: cv2.IMREAD_REDUCED_GRAYSCALE_4,
    2: cv2.IMREAD_REDUCED_GRAYSCALE_2,
}
_ORIENTATION = 0x0112
_UPRIGHT: Mapping[int, Callable[[UInt8Image], UInt8Image]] = {  # EXIF 2.32, 4.6.5 A, tag 0x0112
    2: lambda image: image[:, ::-1],
    3: lambda image: image[::-1, ::-1],
    4: lambda image: image[::-1],
    5: lambda image: image.T,
    6: lambda image: image.T[:, ::-1],
    7: lambda image: image.T[::-1, ::-1],
    8: lambda image: image.T[::-1],
}


def read_raster(data: bytes, kind: Kind, needed: int = MOST_PIXELS_A_SIDE) -> UInt8Image:
    """Decode a JPEG or PNG to gray, upright as its EXIF orientation says.

    Colour becomes luma (ITU-R BT.601), so three equal channels give exactly their value. 16 bits are divided by 257.
    What is transparent is black, as the background of a medical image is.

    Args:
        data: a file that `limits.check` has let pass.
        kind: what `limits.check` said that it is.
        needed: rows and columns that will be used; a JPEG is decoded at a half, a quarter or an eighth of its size
            where that leaves at least twice as many.
    Returns:
        uint8, shape (height, width).
    Raises:
        ImageRejected: `decode`.
    """
    try:
        return _read_jpeg(data, needed) if kind == "jpeg" else _read_png(data)
    except (cv2.error, OSError, ValueError, SyntaxError):  # Pillow raises SyntaxError for a damaged PNG
        raise ImageRejected("decode", f"the {kind.upper()} image data cannot be decoded") from None


def _read_jpeg(data: bytes, needed: int) -> UInt8Image:
    frame = jpeg_frame(data)
    if frame.components == 4:
        return _read_cmyk(data)
    spare = min(frame.rows, frame.columns) // (2 * needed)
    # Decoding to gray keeps the Y of YCbCr: a gray picture gives the same bytes whether it was saved gray or RGB.
    mode = next((mode for factor, mode in _REDUCED_MODES.items() if spare >= factor), cv2.IMREAD_GRAYSCALE)
    gray: UInt8Image = _decode(data, mode)
    return gray


def _read_cmyk(data: bytes) -> UInt8Image:
    with without_warnings(), Image.open(BytesIO(data)) as image:
        ink = np.asarray(image).astype(np.uint32)
        if "adobe" not in image.info:  # Adobe stores its inks inverted, and Pillow believes every file to be Adobe's
            ink = 255 - ink
    light = 255 - ink
    red_green_blue = (light[..., :3] * light[..., 3:] + 127) // 255
    gray: UInt8Image = cv2.cvtColor(red_green_blue.astype(np.uint8), cv2.COLOR_RGB2GRAY)
    return _upright(gray, data)


def _read_png(data: bytes) -> UInt8Image:
    pixels = _decode(data, cv2.IMREAD_UNCHANGED)
    gray = _key_to_black(pixels, data) if pixels.ndim == 2 else _colour_to_gray(_eight_bits(pixels))
    return _upright(_eight_bits(gray), data) if b"eXIf" in data else _eight_bits(gray)


def _decode(data: bytes, mode: int) -> _Pixels:
    pixels: _Pixels | None = cv2.imdecode(np.frombuffer(data, np.uint8), mode)
    if pixels is None:
        raise ValueError
    return pixels


def _eight_bits(pixels: _Pixels) -> UInt8Image:
    """16 bits to 8: 65535 is 255, and 257 apart is 1 apart."""
    if pixels.dtype == np.uint8:
        return pixels
    return ((pixels.astype(np.uint32) + 128) // 257).astype(np.uint8)


def _colour_to_gray(pixels: UInt8Image) -> UInt8Image:
    if pixels.shape[2] == 3:
        gray: UInt8Image = cv2.cvtColor(pixels, cv2.COLOR_BGR2GRAY)
        return gray
    gray, alpha = cv2.cvtColor(pixels, cv2.COLOR_BGRA2GRAY), pixels[..., 3]
    return gray if alpha.min() == 255 else ((gray.astype(np.uint16) * alpha + 127) // 255).astype(np.uint8)


def _key_to_black(pixels: _Pixels, data: bytes) -> _Pixels:
    """A gray PNG may declare one value transparent (tRNS); the decoder leaves it as it is."""
    chunk = data.find(b"tRNS", 0, data.find(b"IDAT"))
    if chunk < 0:
        return pixels
    depth = data[24]
    key = int.from_bytes(data[chunk + 4 : chunk + 6], "big") * (255 // (2**depth - 1) if depth < 8 else 1)
    return np.where(pixels == key, 0, pixels).astype(pixels.dtype)


def _upright(gray: UInt8Image, data: bytes) -> UInt8Image:
    with without_warnings(), Image.open(BytesIO(data)) as image:
        turn = _UPRIGHT.get(image.getexif().get(_ORIENTATION, 1))
    return np.ascontiguousarray(turn(gray)) if turn else gray
