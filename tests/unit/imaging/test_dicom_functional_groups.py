"""An Enhanced CT of one frame is read as the same slice without functional groups."""

from io import BytesIO

import numpy as np
import pytest
import synthetic_slice as synthetic
from pydicom import dcmread, uid
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

from secondread.errors import ImageRejected
from secondread.imaging.dicom.leniency import leniently
from secondread.imaging.dicom.read import read_dicom, read_header
from secondread.tasks import load_task

SCOPE = load_task("hemorrhage").scope
PLACE = ("PlanePositionSequence", "ImagePositionPatient")
PLANE = ("PlaneOrientationSequence", "ImageOrientationPatient")
SLOPE, INTERCEPT = (("PixelValueTransformationSequence", f"Rescale{which}") for which in ("Slope", "Intercept"))
MACROS = (PLACE, PLANE, SLOPE, INTERCEPT)


def enhanced(shared: tuple[tuple[str, str], ...], own: tuple[tuple[str, str], ...], frames: int = 1) -> Dataset:
    """The slice with these elements in its functional groups instead of at its top."""
    dcm = synthetic.unsigned()
    dcm.ImagePositionPatient = [0, 0, 12.5]
    dcm.SOPClassUID = dcm.file_meta.MediaStorageSOPClassUID = uid.EnhancedCTImageStorage
    dcm.NumberOfFrames = frames
    dcm.PixelData = dcm.PixelData * frames
    groups = {name: grouped(dcm, macros) for name, macros in (("Shared", shared), ("PerFrame", own))}
    for _, keyword in MACROS:
        del dcm[keyword]
    for name, group in groups.items():
        setattr(dcm, f"{name}FunctionalGroupsSequence", Sequence([group] * (frames if name == "PerFrame" else 1)))
    return dcm


def grouped(dcm: Dataset, macros: tuple[tuple[str, str], ...]) -> Dataset:
    group = Dataset()
    for macro, keyword in macros:
        if macro not in group:
            setattr(group, macro, Sequence([Dataset()]))
        group[macro][0][keyword] = dcm[keyword]
    return group


def test_the_frames_own_and_the_shared_groups_say_what_the_pixels_mean() -> None:
    for shared, own in (((), MACROS), (MACROS, ()), ((SLOPE, INTERCEPT), (PLACE, PLANE))):
        data = synthetic.saved(enhanced(shared, own))
        np.testing.assert_array_equal(read_dicom(data, scope=SCOPE).values, synthetic.hounsfield())
        header = read_header(data)
        assert (header.order, header.normal) == (12.5, (0, 0, 1))


def test_a_compressed_frame_is_read_too() -> None:
    dcm = enhanced(MACROS, ())
    dcm.compress(uid.RLELossless, generate_instance_uid=False)
    np.testing.assert_array_equal(read_dicom(synthetic.saved(dcm)).values, synthetic.hounsfield())


def test_the_groups_count_where_the_top_says_otherwise() -> None:
    dcm = enhanced(MACROS, ())
    dcm.RescaleSlope, dcm.RescaleIntercept = 3, 7
    np.testing.assert_array_equal(read_dicom(synthetic.saved(dcm)).values, synthetic.hounsfield())


def test_groups_of_several_frames_are_refused_and_have_no_place() -> None:
    data = synthetic.saved(enhanced((), MACROS, frames=2))
    assert rule_of(data) == "frames"
    assert np.isnan(read_header(data).order)


def test_a_frame_without_slope_and_intercept_is_refused() -> None:
    assert rule_of(synthetic.saved(enhanced((PLACE, PLANE), ()))) == "rescale"


def test_a_plane_or_a_part_of_the_body_in_the_groups_is_out_of_scope() -> None:
    dcm = enhanced(MACROS, ())
    group = dcm.SharedFunctionalGroupsSequence[0]
    group.PlaneOrientationSequence[0].ImageOrientationPatient = [1, 0, 0, 0, 0, -1]
    assert rule_of(synthetic.saved(dcm)) == "plane"
    dcm = enhanced(MACROS, ())
    del dcm.BodyPartExamined
    region, anatomy = Dataset(), Dataset()
    region.CodeMeaning = "Chest"
    anatomy.AnatomicRegionSequence = Sequence([region])
    dcm.SharedFunctionalGroupsSequence[0].FrameAnatomySequence = Sequence([anatomy])
    assert rule_of(synthetic.saved(dcm)) == "body_part"


def test_a_window_in_the_groups_shows_an_x_ray() -> None:
    with leniently():
        dcm = dcmread(BytesIO(synthetic.saved(enhanced((), ()))))
    dcm.Modality, dcm.SOPClassUID = "DX", uid.DigitalXRayImageStorageForPresentation
    window, group = Dataset(), Dataset()
    window.WindowCenter, window.WindowWidth, window.VOILUTFunction = 1024, 2, "LINEAR_EXACT"
    group.FrameVOILUTSequence = Sequence([window])
    dcm.SharedFunctionalGroupsSequence = Sequence([group])
    values = read_dicom(synthetic.saved(dcm)).values
    np.testing.assert_array_equal(values == 255, synthetic.hounsfield() >= 1)  # 1025 and more are stored


def rule_of(data: bytes) -> str:
    with pytest.raises(ImageRejected) as caught:
        read_dicom(data, scope=SCOPE)
    return caught.value.rule
