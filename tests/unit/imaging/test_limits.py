"""What is refused before any decoder sees it."""

from io import BytesIO

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from secondread.config import Window
from secondread.errors import ImageRejected
from secondread.imaging.dicom.write import write_xray
from secondread.imaging.limits import MOST_BYTES, check, check_size


def saved(kind: str, rows: int = 64, columns: int = 80, **options: object) -> bytes:
    gray: NDArray[np.uint8] = (np.indices((rows, columns)).sum(axis=0) % 256).astype(np.uint8)
    buffer = BytesIO()
    Image.fromarray(gray).save(buffer, kind, **options)
    return buffer.getvalue()


def rule_of(data: bytes) -> str:
    with pytest.raises(ImageRejected) as caught:
        check(data)
    return caught.value.rule


def test_the_kind_is_told_by_the_first_bytes() -> None:
    ids = {"patient_id": "P", "study_uid": "1.2", "series_uid": "1.3", "sop_uid": "1.4"}
    dicom = write_xray(
        np.zeros((64, 64), np.uint16), **ids, bits=12, photometric="MONOCHROME2", window=Window(center=8, width=16)
    )
    assert [check(saved("JPEG")), check(saved("PNG")), check(dicom)] == ["jpeg", "png", "dicom"]


@pytest.mark.parametrize("data", [b"", b"GIF89a" + bytes(200), b"path,label\n", bytes(500)])
def test_anything_else_is_no_image(data: bytes) -> None:
    assert rule_of(data) == "format"


@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
@pytest.mark.parametrize("share", [0.01, 0.1, 0.5, 0.999])
def test_a_file_that_ends_early_is_refused(kind: str, share: float) -> None:
    data = saved(kind)
    assert rule_of(data[: max(9, int(len(data) * share))]) == "truncated"


def test_bytes_behind_the_end_of_a_jpeg_do_no_harm() -> None:
    assert check(saved("JPEG") + bytes(100)) == "jpeg"


def test_the_end_of_an_embedded_preview_is_not_the_end_of_the_image() -> None:
    exif = Image.Exif()
    exif[0x9286] = saved("JPEG")  # any EXIF field that holds a whole JPEG of its own
    data = saved("JPEG", exif=exif)
    assert data.count(b"\xff\xd9") == 2
    assert check(data) == "jpeg"
    assert rule_of(data[:-20]) == "truncated"


@pytest.mark.parametrize(("rows", "columns"), [(63, 64), (64, 63), (8193, 64), (6400, 6400)])
def test_dimensions_have_limits(rows: int, columns: int) -> None:
    with pytest.raises(ImageRejected, match=f"{rows} rows and {columns} columns") as caught:
        check_size(rows, columns)
    assert caught.value.rule == "dimensions"


@pytest.mark.parametrize(("rows", "columns"), [(64, 64), (8192, 64), (4882, 8192)])
def test_dimensions_at_the_limits_pass(rows: int, columns: int) -> None:
    check_size(rows, columns)


def test_a_png_that_claims_3600_megapixels_is_refused_by_its_header() -> None:
    data = bytearray(saved("PNG"))
    data[16:24] = (60_000).to_bytes(4, "big") * 2
    assert rule_of(bytes(data)) == "dimensions"


def test_a_jpeg_that_claims_4295_megapixels_is_refused_by_its_header() -> None:
    data = bytearray(saved("JPEG", progressive=True))
    frame = data.index(b"\xff\xc2")
    data[frame + 5 : frame + 9] = b"\xff\xff\xff\xff"
    assert rule_of(bytes(data)) == "dimensions"


def test_a_progressive_jpeg_of_a_thousand_scans_is_refused() -> None:
    data = saved("JPEG", progressive=True)
    last_scan = data[data.rindex(b"\xff\xda") : -2]
    assert check(data) == "jpeg"
    assert rule_of(data[:-2] + last_scan * 1000 + data[-2:]) == "scans"


def test_a_file_beyond_20_megabytes_is_refused() -> None:
    assert rule_of(saved("PNG") + bytes(MOST_BYTES["png"])) == "too_large"
