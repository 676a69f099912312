"""DICOM's run length coding by Pillow's PackBits decoder, which is the same code, in a tenth of pydicom's time."""

from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

_FIRST = 64  # where the first segment begins: behind their count and 15 offsets


def decode_run_length(
    encapsulated: bytes, rows: int, columns: int, bits_allocated: int, bits_stored: int, representation: int
) -> NDArray[Any] | None:
    """Decode one gray frame in one fragment.

    Returns:
        shape (rows, columns), or None for what is not plainly so, and is left to pydicom.
    Source: DICOM PS3.5 Annex G.
    """
    table = int.from_bytes(encapsulated[4:8], "little")
    frame = encapsulated[16 + table :]
    count = bits_allocated // 8
    if len(frame) != int.from_bytes(encapsulated[12 + table : 16 + table], "little") or len(frame) < _FIRST:
        return None
    header = np.frombuffer(frame, "<u4", 16)
    starts = [int(offset) for offset in header[1 : 1 + count]] + [len(frame)]
    if header[0] != count or starts[0] != _FIRST or starts != sorted(starts) or bits_allocated not in (8, 16):
        return None
    try:
        segments = [
            np.asarray(Image.frombytes("L", (rows * columns, 1), frame[start:stop], "packbits", "L"))
            for start, stop in pairwise(starts)
        ]
    except (ValueError, OSError, MemoryError):  # damaged: pydicom says how
        return None
    # The most significant byte comes first.
    values = np.stack(segments[::-1], axis=-1).reshape(-1).view(f"<u{count}").reshape(rows, columns)
    if bits_stored != bits_allocated and (representation or int(values.max()) >> bits_stored):
        return None
    return values.view(f"<i{count}") if representation else values
