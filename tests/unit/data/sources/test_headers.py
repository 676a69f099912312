"""Where slices lie in their series, from headers."""

from io import BytesIO
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from pydicom import dcmread
from source_folders import write_ct_slice

from secondread.data.sources.headers import with_headers
from secondread.imaging.dicom.leniency import leniently
from secondread.storage import open_folder

AXIAL = [1, 0, 0, 0, 1, 0]
ROUNDED = [1, 0, 0, 0, 0.9999, -0.0141]  # .8 degrees off
CORONAL = [1, 0, 0, 0, 0, -1]  # its normal is +y


def order_of(folder: Path, orientations: list[list[float] | None]) -> list[float]:
    """Places in a series of slices at 0, 5, 10 mm and so on; None is a slice that says no position."""
    for number, orientation in enumerate(orientations):
        path = folder / f"{number}.dcm"
        write_ct_slice(path, "P", 5.0 * number)
        with leniently():
            dcm = dcmread(BytesIO(path.read_bytes()))
            dcm.ImageOrientationPatient = orientation or AXIAL
            if orientation is None:
                del dcm.ImagePositionPatient
            dcm.save_as(path)
    rows = pd.DataFrame({"path": [f"{number}.dcm" for number in range(len(orientations))]})
    filled, rejected = with_headers(rows, open_folder(str(folder)), 1)
    assert rejected == []
    return [float(place) for place in filled["order"]]


@pytest.mark.parametrize(
    ("orientations", "places"),
    [
        ([AXIAL, AXIAL, AXIAL], [0, 5, 10]),
        ([AXIAL, ROUNDED, AXIAL], [0, 4.9995, 10]),
        ([CORONAL, AXIAL, AXIAL], [np.nan, 5, 10]),  # a localizer
        ([AXIAL, CORONAL, AXIAL, CORONAL], [np.nan] * 4),  # along which normal?
        ([AXIAL, None, AXIAL], [0, np.nan, 10]),
    ],
    ids=["axial", "rounded", "localizer", "two planes", "no position"],
)
def test_slices_are_placed_along_the_normal_of_most_of_their_series(
    orientations: list[list[float] | None], places: list[float], tmp_path: Path
) -> None:
    np.testing.assert_allclose(order_of(tmp_path, orientations), places, atol=1e-3)
