"""Head CT slices of 512x512 in every transfer syntax that the benchmark has an encoder for: DCMTK's, and OpenJPEG."""

import io
import subprocess
from pathlib import Path

import cv2
import numpy as np
from openjpeg.utils import encode_array
from pydicom import dcmread, uid
from pydicom.encaps import encapsulate

from secondread.data.phantom.write import phantom_image
from secondread.imaging.dicom.leniency import leniently
from secondread.tasks import load_task

COUNT = 24  # of each syntax
SIDE = 512
_NOISE = 6  # stored values, as a scanner's
_BY_DCMTK = {
    "deflated": ["dcmconv", "+td"],
    "RLE": ["dcmcrle"],
    "JPEG lossless": ["dcmcjpeg", "+e1"],
    "JPEG-LS": ["dcmcjpls"],
}
COMPRESSED = (*_BY_DCMTK, "JPEG 2000")


def write_ct_files(folder: Path) -> dict[str, list[Path]]:
    """Write slices; give them by syntax. DCMTK's programs must be there (Debian: `apt-get install dcmtk`)."""
    written: dict[str, list[Path]] = {name: [] for name in ("uncompressed", *COMPRESSED)}
    for number in range(COUNT):
        raw = folder / f"uncompressed_{number}.dcm"
        raw.write_bytes(_slice(number))
        written["uncompressed"].append(raw)
        for name, command in _BY_DCMTK.items():
            written[name].append(folder / f"{name}_{number}.dcm")
            subprocess.run([*command, raw, written[name][-1]], check=True)
        written["JPEG 2000"].append(folder / f"JPEG 2000_{number}.dcm")
        written["JPEG 2000"][-1].write_bytes(_jpeg_2000(raw))
    return written


def _slice(number: int) -> bytes:
    """A phantom, enlarged and grainy."""
    with leniently():
        dcm = dcmread(io.BytesIO(phantom_image(load_task("hemorrhage"), seed=number)))
        large = cv2.resize(dcm.pixel_array.astype(np.float32), (SIDE, SIDE), interpolation=cv2.INTER_CUBIC)
        grainy = large + np.random.default_rng(number).normal(0, _NOISE, large.shape)
        dcm.Rows = dcm.Columns = SIDE
        dcm.PixelData = grainy.clip(0, 4095).astype("<u2").tobytes()
        saved = io.BytesIO()
        dcm.save_as(saved)
    return saved.getvalue()


def _jpeg_2000(raw: Path) -> bytes:
    with leniently():
        dcm = dcmread(raw)
        dcm.PixelData = encapsulate([encode_array(dcm.pixel_array)])
        dcm.file_meta.TransferSyntaxUID = uid.JPEG2000Lossless
        saved = io.BytesIO()
        dcm.save_as(saved)
    return saved.getvalue()
