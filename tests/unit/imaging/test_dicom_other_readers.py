"""What is read here is what DCMTK and SimpleITK read, or there is a reason; docs/dicom.md has the table of them."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pydicom
import pytest
from other_readers import Numbers, by_dcmtk, by_itk
from pydicom import dcmread

from secondread.errors import ImageRejected
from secondread.imaging.dicom.leniency import leniently
from secondread.imaging.dicom.read import read_dicom
from secondread.imaging.picture import Picture

pytestmark = pytest.mark.usefixtures("dcmtk")
PAGE = Path(__file__).parents[3] / "docs/dicom.md"
BUNDLED = Path(pydicom.__file__).parent / "data/test_files"
MODALITIES = ("CT", "CR", "DX", "MR", "NM", "US", "OT")
LUMA = (0.299, 0.587, 0.114)
MOST = 1.0  # HU or gray levels: DCMTK gives whole numbers, and a luma is rounded
EXTENDED = "CTImage.dcm_JPEGProcess2_4TransferSyntax_1.2.840.10008.1.2.4.51.dcm"


class Reason(NamedTuple):
    """Why readers disagree with us.

    Args:
        file: its name; `""` for all that we refuse by `rule`.
        readers: who disagrees, and all in the same way.
        what: how: `unread` there, or how many pixels differ; `""` of a rule.
        why: with its clause.
    """

    file: str
    readers: tuple[str, ...]
    what: str
    why: str
    rule: str = ""

    @property
    def row(self) -> str:
        """In the page's table."""
        file = f"`{self.file}`" if self.file else f"refused here by `{self.rule}`"
        what = self.what and f"{self.what} differ".replace("unread differ", "not read")
        return f"| {file} | {' and '.join(self.readers)} | {what or 'read'} | {self.why} |"


BOTH = ("DCMTK", "SimpleITK")
NO_JPEG_2000 = "it has no decoder of JPEG 2000 (PS3.5 A.4.4)"
FILLING = "Pixel Padding Value: filling is darkest here, a value like others there (PS3.3 C.7.5.1.1.2)"
ROUNDED = "two pixels share Cb and Cr, and how colours are rounded is not said (PS3.3 C.7.6.3.1.2)"
SEVERAL = Reason("", BOTH, "", "several frames; which one is meant is not said (PS3.3 C.7.6.6)", "frames")
OF_BUNDLED = (
    Reason("693_J2KI.dcm", ("DCMTK",), "unread", NO_JPEG_2000),
    Reason("693_J2KI.dcm", ("SimpleITK",), "494 pixels", FILLING),
    Reason("J2K_pixelrep_mismatch.dcm", ("DCMTK",), "unread", NO_JPEG_2000),
    Reason("JPEG2000.dcm", ("DCMTK",), "unread", NO_JPEG_2000),
    Reason("MR_small_jp2klossless.dcm", ("DCMTK",), "unread", NO_JPEG_2000),
    Reason("SC_rgb_gdcm_KY.dcm", ("DCMTK",), "unread", NO_JPEG_2000),
    Reason("SC_rgb_jpeg.dcm", ("DCMTK",), "unread", "its header has no VRs, as it must have (PS3.5 A.4)"),
    Reason("SC_ybr_full_422_uncompressed.dcm", ("DCMTK",), "200 pixels", ROUNDED),
    Reason("examples_jpeg2k.dcm", ("DCMTK",), "unread", NO_JPEG_2000),
    Reason("examples_overlay.dcm", ("DCMTK",), "222 pixels", "draws the overlay into the picture (PS3.3 C.9.2)"),
    Reason("", BOTH, "", "colours of more than 8 bits a sample (PS3.3 C.8.6.1)", "bits"),
    Reason("", BOTH, "", "fewer than 64 rows or columns: our limit", "dimensions"),
    Reason("", BOTH, "", "scans that do not go from 0 to 63 (ISO/IEC 10918-1 B.2.3)", "decode"),
    SEVERAL,
    Reason("", BOTH, "", "every image says its Modality (PS3.3 C.7.3.1)", "no_modality"),
    Reason("", BOTH, "", "a dose or a segmentation is no image (PS3.4 B.5)", "object"),
)
OF_SHARED = (
    Reason("CT1_J2KR", ("DCMTK",), "unread", NO_JPEG_2000),
    Reason("CT1_J2KR", ("SimpleITK",), "55,772 pixels", FILLING),
    Reason("CT2_J2KR", ("DCMTK",), "unread", NO_JPEG_2000),
    *(
        Reason(f"CTImage.dcm_JPEG2000{name}.dcm", ("DCMTK",), "unread", NO_JPEG_2000)
        for name in (
            "LosslessOnlyTransferSyntax_1.2.840.10008.1.2.4.90",
            "TransferSyntax_1.2.840.10008.1.2.4.91",
        )
    ),
    Reason(EXTENDED, BOTH, "10,998 pixels", "decoders of lossy JPEG differ by a level or two (PS3.5 8.2.1)"),
    Reason("US-YBR_FULL_422-EVRLE.dcm", ("DCMTK",), "7 pixels", ROUNDED),
    SEVERAL,
    Reason("", BOTH, "", "processes of JPEG that were retired (PS3.5 8.2.1)", "transfer_syntax"),
)
Found = tuple[str, str, str]  # file or rule, reader, how it differs


def ours(path: Path) -> Picture | str:
    """A picture, or the rule by which there is none."""
    try:
        return read_dicom(path.read_bytes(), MODALITIES)
    except ImageRejected as rejected:
        return rejected.rule


def numbers(picture: Picture, path: Path) -> Numbers:
    """Behind the modality LUT; a picture for display has them no longer."""
    if picture.unit == "HU":
        return picture.values
    with leniently():
        header = dcmread(path, stop_before_pixels=True)
    return picture.stored * float(header.get("RescaleSlope", 1)) + float(header.get("RescaleIntercept", 0))


def disagreement(read: Picture | str, path: Path, other: Numbers | None) -> str | None:
    """How another reader differs; None where it does not."""
    if isinstance(read, str):
        return None if other is None else ""
    if other is None:
        return "unread"
    expected = numbers(read, path)
    gray = other @ np.array(LUMA) if other.ndim == 3 else other
    assert gray.shape == expected.shape
    differing = int((np.abs(gray - expected) > MOST).sum())
    return f"{differing:,} pixels" if differing else None


def disagreements(paths: Sequence[Path], folder: Path) -> set[Found]:
    """Every one of all files, named by the rule where we refuse it."""
    found: set[Found] = set()
    for path, *others in zip(paths, by_dcmtk(paths), by_itk(paths, folder), strict=True):
        read = ours(path)
        for reader, other in zip(BOTH, others, strict=True):
            what = disagreement(read, path, other)
            if what is not None:
                found.add((read if isinstance(read, str) else path.name, reader, what))
    return found


def explained(reasons: Iterable[Reason]) -> set[Found]:
    return {(reason.file or reason.rule, reader, reason.what) for reason in reasons for reader in reason.readers}


def test_others_read_the_same_of_pydicoms_files_or_there_is_a_reason(tmp_path: Path) -> None:
    files = sorted(BUNDLED.glob("*.dcm"))
    assert sum(isinstance(ours(path), Picture) for path in files) > 30
    assert disagreements(files, tmp_path) == explained(OF_BUNDLED)


@pytest.mark.slow
def test_others_read_the_same_of_a_real_slice_in_every_syntax_or_there_is_a_reason(
    shared: Path, tmp_path: Path
) -> None:
    files = sorted(path for path in (shared / "data/dicom_syntaxes").iterdir() if path.is_file())
    assert disagreements(files, tmp_path) == explained(OF_SHARED)


@pytest.mark.slow
def test_lossy_jpeg_of_others_is_within_two_levels(shared: Path, tmp_path: Path) -> None:
    path = shared / "data/dicom_syntaxes" / EXTENDED
    slope = float(dcmread(path, stop_before_pixels=True).RescaleSlope)
    expected = ours(path)
    assert isinstance(expected, Picture)
    for [other] in (by_dcmtk([path]), by_itk([path], tmp_path)):
        assert other is not None
        assert np.abs(other - expected.values).max() <= 2 * slope + MOST


def test_the_page_has_the_table_of_these_reasons() -> None:
    rows = ["| file | reader | there | why |", "|---|---|---|---|"]
    table = "\n".join([*rows, *sorted({reason.row for reason in (*OF_BUNDLED, *OF_SHARED)})])
    assert table in PAGE.read_text(), f"put this table in the place of the one in docs/dicom.md:\n{table}"
