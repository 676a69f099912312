"""Every transfer syntax that is read, file by file; the table in docs/dicom.md is what this file measures."""

import subprocess
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import synthetic_slice as synthetic
from openjpeg.utils import encode_array
from PIL import Image
from pydicom import dcmread, dcmwrite, uid
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate
from pydicom.pixels.decoders.base import get_decoder

from secondread.errors import ImageRejected
from secondread.imaging.dicom.leniency import leniently
from secondread.imaging.dicom.read import read_dicom
from secondread.imaging.dicom.syntaxes import SYNTAXES

pytestmark = pytest.mark.usefixtures("dcmtk")
PAGE = Path(__file__).parents[3] / "docs/dicom.md"
MOST_LOSS = 64  # HU, four of the steps of 8 bits: a lossy file that is read wrongly is off by hundreds


def uncompressed(dcm: Dataset, syntax: uid.UID, folder: Path) -> bytes:
    if not syntax.is_little_endian:
        dcm.PixelData = dcm.pixel_array.byteswap().tobytes()
    dcm.file_meta.TransferSyntaxUID = syntax
    buffer = BytesIO()
    encoding = {"implicit_vr": syntax.is_implicit_VR, "little_endian": syntax.is_little_endian}
    with leniently():
        dcmwrite(buffer, dcm, force_encoding=True, **encoding)
    return buffer.getvalue()


def by_pydicom(dcm: Dataset, syntax: uid.UID, folder: Path) -> bytes:
    """RLE by pydicom itself, JPEG-LS by CharLS, with a step of 2 where it is not lossless."""
    options: dict[str, Any] = {"jls_error": 2} if syntax == uid.JPEGLSNearLossless else {}
    dcm.compress(syntax, generate_instance_uid=False, **options)
    return synthetic.saved(dcm)


def by_openjpeg(dcm: Dataset, syntax: uid.UID, folder: Path) -> bytes:
    ratios = None if syntax == uid.JPEG2000Lossless else [3.0]
    codestream = encode_array(dcm.pixel_array, bits_stored=dcm.BitsStored, compression_ratios=ratios)
    return encapsulated(dcm, codestream, syntax)


def by_openjph(dcm: Dataset, syntax: uid.UID, folder: Path) -> bytes:
    name = "lossy.j2c" if syntax == uid.HTJ2K else "lossless_rpcl.j2c"
    return encapsulated(dcm, synthetic.high_throughput(name), syntax)


def by_pillow(dcm: Dataset, syntax: uid.UID, folder: Path) -> bytes:
    """8 bits in steps of 16 HU, as who compresses with baseline JPEG has to."""
    buffer = BytesIO()
    Image.fromarray((dcm.pixel_array // 16).astype(np.uint8)).save(buffer, "JPEG", quality=98)
    dcm.BitsAllocated, dcm.BitsStored, dcm.HighBit, dcm.RescaleSlope = 8, 8, 7, 16
    return encapsulated(dcm, buffer.getvalue(), syntax)


def by_dcmtk(dcm: Dataset, syntax: uid.UID, folder: Path) -> bytes:
    modes = {uid.JPEGExtended12Bit: ("+ee", "+q", "98"), uid.JPEGLossless: ("+el",), uid.JPEGLosslessSV1: ("+e1",)}
    plain, packed = folder / "plain.dcm", folder / "packed.dcm"
    plain.write_bytes(synthetic.saved(dcm))
    subprocess.run(["dcmcjpeg", *modes[syntax], plain, packed], check=True, capture_output=True)
    return packed.read_bytes()


def encapsulated(dcm: Dataset, codestream: bytes, syntax: uid.UID) -> bytes:
    dcm.PixelData = encapsulate([codestream])
    dcm["PixelData"].VR = "OB"
    dcm.file_meta.TransferSyntaxUID = syntax
    return synthetic.saved(dcm)


class Encoder(NamedTuple):
    """Who makes a file: its name, how, and whether negative numbers can be stored."""

    name: str
    encode: Callable[[Dataset, uid.UID, Path], bytes]
    signs: bool = True


PLAIN = Encoder("pydicom", uncompressed)
OPENJPEG, OPENJPH = Encoder("OpenJPEG", by_openjpeg), Encoder("OpenJPH", by_openjph, signs=False)
ENCODERS = {
    uid.ImplicitVRLittleEndian: PLAIN,
    uid.ExplicitVRLittleEndian: PLAIN,
    uid.DeflatedExplicitVRLittleEndian: PLAIN,
    uid.ExplicitVRBigEndian: PLAIN,
    uid.RLELossless: Encoder("pydicom", by_pydicom),
    uid.JPEGBaseline8Bit: Encoder("libjpeg-turbo", by_pillow, signs=False),
    uid.JPEGExtended12Bit: Encoder("DCMTK", by_dcmtk, signs=False),
    uid.JPEGLossless: Encoder("DCMTK", by_dcmtk),
    uid.JPEGLosslessSV1: Encoder("DCMTK", by_dcmtk),
    uid.JPEGLSLossless: Encoder("CharLS", by_pydicom),
    uid.JPEGLSNearLossless: Encoder("CharLS", by_pydicom),
    uid.JPEG2000Lossless: OPENJPEG,
    uid.JPEG2000: OPENJPEG,
    uid.HTJ2KLossless: OPENJPH,
    uid.HTJ2KLosslessRPCL: OPENJPH,
    uid.HTJ2K: OPENJPH,
}
LOSSY = [uid.JPEGBaseline8Bit, uid.JPEGExtended12Bit, uid.JPEGLSNearLossless, uid.JPEG2000, uid.HTJ2K]
LOSSLESS = [syntax for syntax in ENCODERS if syntax not in LOSSY]
DECODERS = {"pydicom": "pydicom", "pillow": "libjpeg-turbo", "pylibjpeg": "libjpeg", "pyjpegls": "CharLS"}


def decoder_of(syntax: uid.UID) -> str:
    """What decodes a syntax, by the library's own name."""
    if "2000" in syntax.name:
        return "OpenJPEG"
    return DECODERS[(SYNTAXES[syntax].plugins or ("pydicom",))[0]]


def loss(data: bytes) -> int:
    """The largest difference in HU from the slice that was encoded."""
    return int(np.abs(read_dicom(data).values.astype(float) - synthetic.hounsfield()).max())


def test_every_syntax_that_pydicom_decodes_is_read() -> None:
    decoded = [syntax for syntax in uid.AllTransferSyntaxes if can_decode(syntax)]
    assert set(decoded) == set(SYNTAXES) == set(ENCODERS)


def can_decode(syntax: uid.UID) -> bool:
    try:
        return get_decoder(syntax).is_available
    except NotImplementedError:
        return False


@pytest.mark.parametrize("syntax", LOSSLESS)
def test_a_slice_is_the_same_in_every_lossless_syntax(syntax: uid.UID, tmp_path: Path) -> None:
    encoder = ENCODERS[syntax]
    for make in (synthetic.unsigned, synthetic.signed)[: 1 + encoder.signs]:
        data = encoder.encode(make(), syntax, tmp_path)
        assert dcmread(BytesIO(data)).file_meta.TransferSyntaxUID == syntax
        values = read_dicom(data).values
        assert values.dtype.str == "<i2"
        np.testing.assert_array_equal(values, synthetic.hounsfield())


@pytest.mark.parametrize("syntax", LOSSY)
def test_a_slice_is_nearly_the_same_in_every_lossy_syntax(syntax: uid.UID, tmp_path: Path) -> None:
    encoder = ENCODERS[syntax]
    for make in (synthetic.unsigned, synthetic.signed)[: 1 + encoder.signs]:
        data = encoder.encode(make(), syntax, tmp_path)
        assert dcmread(BytesIO(data)).file_meta.TransferSyntaxUID == syntax
        assert 0 < loss(data) <= MOST_LOSS


def test_the_page_has_the_table_that_these_files_give(tmp_path: Path) -> None:
    rows = ["| transfer syntax | UID | decoded by | a slice encoded by | comes back |", "|---|---|---|---|---|"]
    for syntax, encoder in ENCODERS.items():
        data = encoder.encode(synthetic.unsigned(), syntax, tmp_path)
        comes_back = f"within {MOST_LOSS} HU" if loss(data) else "the same"
        name = syntax.name.replace("Image Compression ", "").replace("Image Compression", "").strip()
        rows.append(f"| {name} | `{syntax}` | {decoder_of(syntax)} | {encoder.name} | {comes_back} |")
    table = "\n".join(rows)
    assert table in PAGE.read_text(), f"put this table in the place of the one in docs/dicom.md:\n{table}"


@pytest.mark.parametrize("syntax", ["1.2.840.10008.1.2.4.55", "1.2.840.10008.1.2.4.100", "1.2.3"])
def test_a_syntax_that_no_decoder_reads_is_refused(syntax: str) -> None:
    data = encapsulated(synthetic.unsigned(), b"\xff\xd8\xff\xd9", uid.UID(syntax))
    with pytest.raises(ImageRejected) as caught:
        read_dicom(data)
    assert caught.value.rule == "transfer_syntax"


def test_a_stream_may_lie_in_several_fragments() -> None:
    stream = synthetic.high_throughput("lossless_rpcl.j2c")
    dcm = synthetic.unsigned()
    data = encapsulated(dcm, stream, uid.HTJ2KLossless)
    dcm.PixelData = encapsulate([stream], fragments_per_frame=3, has_bot=False)
    fragmented = synthetic.saved(dcm)
    assert fragmented != data
    assert loss(fragmented) == 0


@pytest.mark.parametrize(
    "syntax", [uid.JPEGLossless, uid.JPEGLosslessSV1, uid.JPEGLSLossless, uid.RLELossless, uid.JPEG2000Lossless]
)
def test_a_compressed_image_that_lacks_its_second_half_is_refused(syntax: uid.UID, tmp_path: Path) -> None:
    dcm = dcmread(BytesIO(ENCODERS[syntax].encode(synthetic.unsigned(), syntax, tmp_path)))
    stream = dcm.PixelData
    dcm.PixelData = encapsulate([stream[24 : 24 + (len(stream) - 24) // 4 * 2]])
    with pytest.raises(ImageRejected):
        read_dicom(synthetic.saved(dcm))


@pytest.mark.parametrize("syntax", [syntax for syntax in LOSSLESS if "High-Throughput" not in syntax.name])
def test_a_real_slice_is_the_same_however_it_is_saved(shared: Path, syntax: uid.UID) -> None:
    folder = shared / "data/dicom_syntaxes"
    (path,) = folder.glob(f"CTImage.dcm_*Syntax_{syntax}.dcm")
    expected = read_dicom((folder / "CTImage.dcm").read_bytes()).values
    assert np.array_equal(read_dicom(path.read_bytes()).values, expected)


def test_lossy_files_of_a_real_slice_are_near_it(shared: Path) -> None:
    folder = shared / "data/dicom_syntaxes"
    expected = read_dicom((folder / "CTImage.dcm").read_bytes()).values.astype(float)
    for syntax in (uid.JPEGLSNearLossless, uid.JPEG2000, uid.JPEGExtended12Bit):
        (path,) = folder.glob(f"CTImage.dcm_*Syntax_{syntax}.dcm")
        assert np.abs(read_dicom(path.read_bytes()).values - expected).mean() < 6, path.name
