"""Files that end at every place where a header begins, and in the middle of what it announces."""

from collections.abc import Iterator
from typing import Literal

from pydicom import uid

from bad_files.codestreams import JPEG_LOSSLESS, JPEG_LS
from bad_files.sound import DICOM, JPEG_2000, PICTURES, compressed

_LONG = (b"OB", b"OW", b"SQ", b"UN", b"UT", b"UC", b"OF", b"OD", b"OL")


def cut_files() -> Iterator[tuple[str, bytes]]:
    """Yield name and bytes of files that are sound up to their end."""
    for name, data in DICOM.items():
        yield from _cuts(
            f"{name}.dcm", data, dicom_boundaries(data, implicit=name == "implicit", big=name == "big_endian")
        )
    for name, data in PICTURES.items():
        boundaries = png_boundaries(data) if name.startswith("png") else jpeg_boundaries(data)
        yield from _cuts(f"{name}.{name[:4].rstrip('_')}", data, boundaries)
    for name, stream, syntax in (
        ("jpeg_ls", JPEG_LS, uid.JPEGLSLossless),
        ("jpeg_lossless", JPEG_LOSSLESS, uid.JPEGLosslessSV1),
        ("jpeg_2000", JPEG_2000, uid.JPEG2000Lossless),
    ):  # the file is whole, the stream inside it is not
        for place in sorted({place for place in jpeg_boundaries(stream) if 0 < place < len(stream)}):
            yield f"{name}_inside_{place}.dcm", compressed(stream[:place], syntax)


def _cuts(name: str, data: bytes, boundaries: list[int]) -> Iterator[tuple[str, bytes]]:
    stem, _, suffix = name.partition(".")
    for place in sorted({place for place in boundaries if place < len(data)}):
        yield f"{stem}_{place}.{suffix}", data[:place]


def dicom_boundaries(data: bytes, implicit: bool, big: bool) -> list[int]:
    """Where elements and their values begin, and the middle and the last byte of the pixels."""
    places, position = [0, 64, 128, 132], 132
    meta_end = 144 + int.from_bytes(data[140:144], "little")
    while position + 8 <= len(data):
        order: Literal["big", "little"] = "big" if big and position >= meta_end else "little"
        head, length = 8, int.from_bytes(data[position + 4 : position + 8], order)
        if not (implicit and position >= meta_end) and data[position : position + 2] != b"\xfe\xff":
            length = int.from_bytes(data[position + 6 : position + 8], order)
            if data[position + 4 : position + 6] in _LONG:
                head, length = 12, int.from_bytes(data[position + 8 : position + 12], order)
        places += [position, position + 4, position + head]
        position += head + (0 if length == 0xFFFFFFFF else length)
    return [*places, (places[-1] + len(data)) // 2, len(data) - 1]


def jpeg_boundaries(data: bytes) -> list[int]:
    """Where markers of JPEG, JPEG-LS and JPEG 2000 and what they announce begin; the scan's middle and end."""
    places, position = [0, 1, 2], 2
    while data[position] == 0xFF and data[position + 1] not in (0xDA, 0x93):
        places += [position, position + 2, position + 4]
        position += 2 + int.from_bytes(data[position + 2 : position + 4], "big")
    return [*places, position, position + 2, position + 12, (position + len(data)) // 2, len(data) - 2, len(data) - 1]


def png_boundaries(data: bytes) -> list[int]:
    """Where chunks, their names, their data and their sums begin."""
    places, position = [0, 4, 8], 8
    while position < len(data):
        length = int.from_bytes(data[position : position + 4], "big")
        places += [position, position + 4, position + 8, position + 8 + length // 2, position + 8 + length]
        position += 12 + length
    return [*places, len(data) - 1]
