"""Other readers of DICOM, each in processes of its own: neither is made for damaged files."""

import re
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from pydicom import dcmread, uid

from secondread.imaging.dicom.leniency import leniently

Numbers: TypeAlias = NDArray[Any]

_ALL_OF_16_BITS = ("+Ww", "0", "65536", "+opn", "16")  # a gray level is then a value and 32768
_JPEG_LS = (uid.JPEGLSLossless, uid.JPEGLSNearLossless)


def by_dcmtk(paths: Sequence[Path]) -> list[Numbers | None]:
    """What DCMTK makes of files.

    Returns:
        a file: its first frame behind the modality LUT, shape (height, width), in whole numbers; of a picture in colour
        8 bits, shape (height, width, 3); None where it cannot be read.
    """
    with leniently(), ThreadPoolExecutor(2) as pool:
        return list(pool.map(_by_dcmtk, paths))


def _by_dcmtk(path: Path) -> Numbers | None:
    syntax = dcmread(path, force=True, stop_before_pixels=True).file_meta.get("TransferSyntaxUID")
    program = "dcml2pnm" if syntax in _JPEG_LS else "dcmj2pnm"
    found = subprocess.run([program, "-q", *_ALL_OF_16_BITS, str(path)], capture_output=True, check=False)
    return _pnm(found.stdout) if found.returncode == 0 and found.stdout else None


def _pnm(text: bytes) -> Numbers:
    """Source: netpbm's plain PGM and PPM."""
    head = re.match(rb"P([23])\s+(?:#.*\n)?(\d+)\s+(\d+)\s+65535\s", text)
    assert head, text[:80]
    kind, width, height = (int(number) for number in head.groups())
    numbers = np.array(text[head.end() :].split(), np.int64)
    return numbers.reshape(height, width, 3) >> 8 if kind == 3 else numbers.reshape(height, width) - 32768


def by_itk(paths: Sequence[Path], folder: Path) -> list[Numbers | None]:
    """What SimpleITK makes of files: as DCMTK's, but all frames of several, with fractions, and each file's bits.

    Args:
        folder: an empty one.
    """
    first = 0
    while first < len(paths):
        command = [sys.executable, __file__, str(folder), str(first), *map(str, paths)]
        child = subprocess.run(command, capture_output=True, check=False)
        begun = child.stdout.split()
        assert begun, child.stderr.decode()
        first = 1 + int(begun[-1])  # behind the one that ended it, or the last
    kept = [folder / f"{number}.npy" for number in range(len(paths))]
    return [np.load(path) if path.exists() else None for path in kept]


def _read_by_itk(folder: Path, first: int, paths: Sequence[str]) -> None:
    """In the child: keep each image, and say before each which one it is."""
    import SimpleITK

    SimpleITK.ProcessObject.GlobalWarningDisplayOff()
    reader = SimpleITK.ImageFileReader()
    reader.SetImageIO("GDCMImageIO")
    for number in range(first, len(paths)):
        print(number, flush=True)
        reader.SetFileName(paths[number])
        try:
            image = SimpleITK.GetArrayFromImage(reader.Execute())
        except RuntimeError:
            continue
        np.save(folder / f"{number}.npy", image[0] if len(image) == 1 else image)


if __name__ == "__main__":
    _read_by_itk(Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3:])
