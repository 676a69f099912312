"""What tests of decoders share: a model's preprocessing, files that need a process of their own, and its forks."""

import io
from struct import pack

import psutil
from openjpeg.utils import encode_array
from pydicom import dcmread, uid
from pydicom.encaps import encapsulate

from secondread.config import Window
from secondread.data.phantom.write import phantom_image
from secondread.imaging.decoder_pool import DecoderPool
from secondread.imaging.preprocess import Preprocess
from secondread.tasks import load_task

PICTURES = Preprocess(
    unit="display", size=64, channels=3, modalities=("CT",), display_window=Window(center=40, width=80)
)
HEAD = phantom_image(load_task("hemorrhage"), seed=0)


def jpeg_2000() -> bytes:
    dcm = dcmread(io.BytesIO(HEAD))
    dcm.PixelData = encapsulate([encode_array(dcm.pixel_array)])
    dcm.file_meta.TransferSyntaxUID = uid.JPEG2000Lossless
    saved = io.BytesIO()
    dcm.save_as(saved)
    return saved.getvalue()


def crowded() -> bytes:
    """A head CT of 8 MB, nearly all of it a million empty elements, which pydicom reads for 10 seconds."""
    elements = (pack("<HH2sH", 0x7FE1 + 2 * (n >> 15), 0x1000 + (n & 0x7FFF), b"LO", 0) for n in range(1_000_000))
    return HEAD + b"".join(elements)


def crowded_before_the_patient() -> bytes:
    """A head CT whose header holds 190,000 private elements before it names its series."""
    elements = (pack("<HH2sH", 9 + 2 * (n >> 16), n & 0xFFFF, b"LO", 0) for n in range(190_000))
    patient = HEAD.index(b"\x10\x00\x10\x00PN")
    return HEAD[:patient] + b"".join(elements) + HEAD[patient:]


def forks(pool: DecoderPool) -> set[int]:
    """What decodes, each in the place of one that a file has ended."""
    return {fork.pid for decoder in pool._decoders for fork in psutil.Process(decoder._process.pid).children()}


def end(pool: DecoderPool) -> None:
    for decoder in pool._decoders:
        decoder.end()
    pool._decoders.clear()
