"""Files with a few bits turned over: they may be read or refused, and nothing else may come of it."""

from collections.abc import Iterator

import numpy as np

from bad_files.sound import DICOM, SOUND

_TURNS = 10  # files of each format


def flipped_files() -> Iterator[tuple[str, bytes]]:
    """Yield name and bytes: most of the bits lie where a file says what it holds."""
    for name, data in SOUND.items():
        rng = np.random.default_rng(len(data))
        start = 132 if name in DICOM else 0
        for turn in range(_TURNS):
            end = len(data) if turn % 3 == 0 else min(len(data), start + 900)
            damaged = bytearray(data)
            for place in rng.integers(start, end, 1 + turn % 4):
                damaged[place] ^= 1 << int(rng.integers(8))
            yield f"flipped_{name}_{turn}", bytes(damaged)
