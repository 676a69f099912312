"""A map laid over the picture that it explains: red where it speaks for the label, blue where it speaks against it."""

import struct
from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

import cv2
import numpy as np
import numpy.typing as npt
from isal import isal_zlib
from PIL import Image, ImageDraw, ImageFont

from secondread.imaging.picture import UInt8Image
from secondread.imaging.preprocess import Preprocess

FloatImage = npt.NDArray[np.float32]
Font = ImageFont.FreeTypeFont | ImageFont.ImageFont

UNIT = "logit that 1% of the picture adds"
_FOR, _AGAINST = (230, 25, 25), (20, 90, 255)
_MOST_OPAQUE = 0.65  # what is below the strongest colour must still be seen
_STRONGEST = 99.5  # percentile of a map's strengths that has the strongest colour
_MOST_CUT = 10
_LEVELS = 127  # of either colour
_PAPER, _INK, _MUTED = (255, 255, 255), (27, 31, 36), (91, 101, 112)
_NARROWEST = 384  # pixels of a panel, so that its words can be read
_GAP = 8
_SIGNATURE, _RGB, _UP = b"\x89PNG\r\n\x1a\n", 2, 2  # Up: of PNG's filters the quickest, and none packs better


class Heading(NamedTuple):
    """What is written above a picture.

    Args:
        label: whose answer is explained.
        probability: as it is answered.
        method: that drew the map.
        note: what to bear in mind, a line; "" for nothing.
        truth: of the label, in a word; "" unknown.
    """

    label: str
    probability: float
    method: str
    note: str = ""
    truth: str = ""

    @property
    def lines(self) -> tuple[str, str, str]:
        """Three lines, so that panels beside each other are equally tall."""
        truth = f" (truth: {self.truth})" if self.truth else ""
        return f"{self.label.replace('_', ' ')} {self.probability:.3f}{truth}", f"by {self.method}", self.note


def overlay(shown: UInt8Image, found: FloatImage, preprocess: Preprocess, heading: Heading) -> UInt8Image:
    """Draw a map over the picture, under its heading and above a colour bar.

    Args:
        shown: from `preprocess.display`, shape (height, width).
        found: a method's map, at the resolution of the model's input.
        preprocess: how the picture became the model's input.
    Returns:
        RGB, shape (taller, at least as wide, 3); the picture's own pixels, not resized.
    """
    laid = amounts(found, preprocess, *shown.shape)
    scale = strongest(laid)
    picture = tinted(shown, _spread(laid, *shown.shape), scale)
    return _panel(picture, heading.lines, _bar(max(_NARROWEST, picture.shape[1]), scale))


def sheet(
    shown: UInt8Image, explained: Sequence[tuple[FloatImage, Heading]], preprocess: Preprocess, about: tuple[str, str]
) -> UInt8Image:
    """Draw a row a label, the picture as it is and its overlay beside it; arguments and result as of `overlay`.

    Args:
        about: two lines above the picture as it is.
    """
    rows = []
    for found, heading in explained:
        right = overlay(shown, found, preprocess, heading)
        left = _panel(cv2.cvtColor(shown, cv2.COLOR_GRAY2RGB), (*about, ""), None)
        left = np.pad(left, ((0, right.shape[0] - left.shape[0]), (0, _GAP), (0, 0)), constant_values=255)
        rows.append(np.hstack([left, right]))
    return np.vstack(rows)


def amounts(found: FloatImage, preprocess: Preprocess, height: int, width: int) -> FloatImage:
    """Say what 1% of a picture of that size adds to the logit if all of it is like a cell.

    Args:
        found: a method's map, at the resolution of the model's input, each cell with its own amount.
    Returns:
        a cell for each of the model's input that holds the picture: what black was padded with is cut off.
    """
    top, left, rows, columns = preprocess.frame(height, width)
    inside: FloatImage = found[top : top + rows, left : left + columns] * np.float32(rows * columns / 100)
    return inside


def strongest(found: FloatImage) -> float:
    """The strength that gets the strongest colour: few cells lie above it, and none ten times as high.

    So neither do single cells pale the rest, nor does noise around a small spot look like one.
    """
    strengths = np.abs(found)
    return float(max(np.percentile(strengths, _STRONGEST), strengths.max() / _MOST_CUT))


def tinted(shown: UInt8Image, found: FloatImage, scale: float) -> UInt8Image:
    """Colour a gray picture: red above 0, blue below, and as it is at 0.

    Args:
        shown: shape (height, width).
        found: of the same shape.
        scale: of the strongest colour; at 0 nothing is coloured.
    Returns:
        RGB, shape (height, width, 3).
    """
    steps = found * np.float32(_LEVELS / scale) if scale else np.zeros_like(found)
    level = (np.clip(np.rint(steps), -_LEVELS, _LEVELS) + _LEVELS).astype(np.uint16)
    lanes = _tints().take(level * np.uint16(256) + shown, mode="clip").view(np.uint8)
    coloured: UInt8Image = cv2.cvtColor(lanes.reshape(*shown.shape, 4), cv2.COLOR_RGBA2RGB)
    return coloured


def png(picture: UInt8Image) -> bytes:
    """Write an RGB picture as a PNG file, quickly: ISA-L takes a quarter to a third of the time of OpenCV's zlib.

    Source: PNG specification (W3C) 5.3 (chunks), 9.2 (the filter Up), 11.2 (IHDR, IDAT, IEND).
    """
    height, width, _ = picture.shape
    rows = picture.reshape(height, -1)
    filtered = np.empty((height, 1 + rows.shape[1]), np.uint8)
    filtered[:, 0] = _UP
    filtered[0, 1:] = rows[0]
    np.subtract(rows[1:], rows[:-1], out=filtered[1:, 1:])
    header = struct.pack(">IIBBBBB", width, height, 8, _RGB, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", isal_zlib.compress(filtered, 1)), (b"IEND", b""))
    return _SIGNATURE + b"".join(_chunk(kind, body) for kind, body in chunks)


def _chunk(kind: bytes, body: bytes) -> bytes:
    return len(body).to_bytes(4) + kind + body + isal_zlib.crc32(body, isal_zlib.crc32(kind)).to_bytes(4)


def _spread(laid: FloatImage, height: int, width: int) -> FloatImage:
    """Let each cell lie over the pixels that it was made of, with straight lines between the cells' middles."""
    rows, columns = laid.shape
    smaller = min(width, columns), min(height, rows)
    if smaller != (columns, rows):
        laid = cv2.resize(laid, smaller, interpolation=cv2.INTER_AREA)
    spread: FloatImage = cv2.resize(laid, (width, height), interpolation=cv2.INTER_LINEAR)
    return spread


@lru_cache(1)
def _tints() -> npt.NDArray[np.uint32]:
    """Every gray under every level of colour, packed into one number: level x 256 + gray."""
    level = np.linspace(-1, 1, 2 * _LEVELS + 1)[:, None, None]
    opaque = _MOST_OPAQUE * np.abs(level)
    color = np.where(level > 0, np.array(_FOR), np.array(_AGAINST))
    gray = np.arange(256)[None, :, None]
    packed = np.zeros((2 * _LEVELS + 1, 256, 4), np.uint8)
    packed[..., :3] = np.rint(gray * (1 - opaque) + color * opaque)
    return packed.view(np.uint32).ravel()


def _panel(picture: UInt8Image, lines: Sequence[str], below: UInt8Image | None) -> UInt8Image:
    """Put lines above a picture, whose width at least they have, and something below it."""
    height, width, _ = picture.shape
    left = max(0, _NARROWEST - width) // 2
    framed = np.full((height, max(_NARROWEST, width), 3), 255, np.uint8)
    framed[:, left : left + width] = picture
    parts = [_words(framed.shape[1], lines), framed]
    return np.vstack(parts if below is None else [*parts, below])


def _words(width: int, lines: Sequence[str]) -> UInt8Image:
    first, *others = lines
    strip = _others(width, tuple(others)).copy()
    _write(strip, 0, first, _INK)
    return np.asarray(strip)


@lru_cache(16)
def _others(width: int, lines: tuple[str, ...]) -> Image.Image:
    """What the pictures of a model have in common: all lines but the first, which has its place above them."""
    size = _letter(width)
    strip = Image.new("RGB", (width, round(1.4 * size * (1 + len(lines)) + 0.6 * size)), _PAPER)
    for place, line in enumerate(lines, 1):
        _write(strip, place, line, _MUTED)
    return strip


def _write(strip: Image.Image, place: int, line: str, ink: tuple[int, int, int]) -> None:
    size = _letter(strip.width)
    where = size // 3, (0.3 + 1.4 * place) * size
    ImageDraw.Draw(strip).text(where, line, fill=ink, font=_font(line, strip.width - size, size))


def _bar(width: int, scale: float) -> UInt8Image:
    """The colours over a middle gray, what their ends mean, and the unit."""
    size, strip = _letter(width), _ruler(width).copy()
    pen, font = ImageDraw.Draw(strip), _letters(size)
    for place, anchor, text in ((size // 3, "la", f"-{scale:.2g}"), (width - size // 3, "ra", f"+{scale:.2g}")):
        pen.text((place, 1.7 * size), text, fill=_INK, font=font, anchor=anchor)
    return np.asarray(strip)


@lru_cache(16)
def _ruler(width: int) -> Image.Image:
    """What every bar of a width has: all but the numbers at its ends."""
    size = _letter(width)
    strip = Image.new("RGB", (width, round(4.4 * size)), _PAPER)
    left, right = size // 3, width - size // 3
    ramp = np.linspace(-1, 1, right - left, dtype=np.float32)[None].repeat(size, axis=0)
    strip.paste(Image.fromarray(tinted(np.full(ramp.shape, 128, np.uint8), ramp, 1.0)), (left, size // 2))
    pen = ImageDraw.Draw(strip)
    pen.text(((left + right) / 2, 1.7 * size), "0", fill=_INK, font=_letters(size), anchor="ma")
    meaning = f"{UNIT}: red for the label, blue against it"
    pen.text((left, 2.9 * size), meaning, fill=_MUTED, font=_font(meaning, right - left, size))
    return strip


def _letter(width: int) -> int:
    """Pixels of a letter's height: the words of a wide picture are as large in proportion."""
    return max(14, width // 40)


def _font(line: str, width: int, size: int) -> Font:
    """A font of that size, or one so small that the line fits."""
    font = _letters(size)
    return font if font.getlength(line) <= width else _letters(size * width / font.getlength(line))


@lru_cache(64)
def _letters(size: float) -> Font:
    return ImageFont.load_default(size)
