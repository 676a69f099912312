"""De-identified copies: nobody's name in any byte, the same pixels, the same patients, studies and series."""

import re
import subprocess
from collections.abc import Callable
from datetime import datetime
from io import BytesIO
from pathlib import Path

import cv2
import numpy as np
import pytest
from planted.dicom import broken, plant, plant_behind
from planted.search import traces
from planted.words import LETTERS, uid, word
from pydicom import Dataset, dcmread
from pydicom.encaps import encapsulate, generate_frames
from pydicom.uid import UID, JPEG2000Lossless, JPEGBaseline8Bit, JPEGLSLossless, RLELossless

from secondread.config import Window
from secondread.data.patient_key import patient_key
from secondread.errors import ImageRejected
from secondread.imaging.dicom.deidentify import deidentify
from secondread.imaging.dicom.kept import DATES, IDENTIFIERS, NUMBERS, TABLES, WORDS, kept
from secondread.imaging.dicom.leniency import leniently
from secondread.imaging.dicom.read import read_dicom, read_header
from secondread.imaging.dicom.write import write_ct, write_xray

OTHERS = ("PatientAge", "PatientID", "PatientName", "SOPClassUID")
SECRET, OTHER_SECRET = bytes(range(32)), bytes(32)
NOISE = np.random.default_rng(0).integers(-1000, 1000, (64, 96), np.int16)


def ct(patient: str = "4711", study: str = "1.2.1", series: str = "1.2.1.1", sop: str = "1.2.1.1.1") -> bytes:
    return write_ct(
        NOISE,
        patient_id=patient,
        study_uid=study,
        series_uid=series,
        sop_uid=sop,
        instance=3,
        position=(0, 0, 12.5),
        spacing=(0.5, 0.5),
        thickness=5,
        sex="F",
        age="044Y",
    )


def xray() -> bytes:
    pixels = (NOISE.astype(np.int32) + 1000).astype(np.uint16)
    return write_xray(
        pixels,
        patient_id="4711",
        study_uid="1.2.1",
        series_uid="1.2.1.1",
        sop_uid="1.2.1.1.1",
        bits=12,
        photometric="MONOCHROME2",
        window=Window(center=1000, width=1500),
    )


def changed(file: bytes, change: Callable[[Dataset], object]) -> bytes:
    with leniently():
        dcm = dcmread(BytesIO(file))
        change(dcm)
        buffer = BytesIO()
        dcm.save_as(buffer)
    return buffer.getvalue()


def with_values(file: bytes, **values: object) -> bytes:
    def change(dcm: Dataset) -> None:
        for name, value in values.items():
            setattr(dcm, name, value)

    return changed(file, change)


def cleaned(file: bytes, secret: bytes = SECRET) -> Dataset:
    return dcmread(BytesIO(deidentify(file, secret).data))


def planted(file: bytes) -> bytes:
    return plant_behind(plant(file, word("PatientID"), uid("study"), uid("series"), uid("instance")))


# --- nobody's name


@pytest.mark.parametrize("file", [ct(), xray()], ids=["CT", "X-ray"])
def test_nothing_that_names_anybody_is_left_in_any_byte_or_name(file: bytes) -> None:
    named = planted(file)
    assert named.count(LETTERS.encode()) >= 40
    clean = deidentify(named, SECRET)
    assert traces(clean.data) == []
    assert traces(repr((clean.patient, clean.study, clean.series, clean.instance, clean.burned_in)).encode()) == []


def test_what_a_damaged_element_holds_is_left_out_or_the_file_is_refused_without_quoting_it() -> None:
    for what, file in broken(ct()).items():
        try:
            said = deidentify(file, SECRET).data
        except ImageRejected as rejected:
            said = f"{rejected.rule} {rejected.reason}".encode()
        assert traces(said) == [], what


@pytest.mark.parametrize("syntax", [RLELossless, JPEGLSLossless], ids=["RLE", "JPEG-LS"])
def test_compressed_pixels_stay_as_they_are(syntax: str) -> None:
    file = planted(changed(ct(), lambda dcm: dcm.compress(syntax, generate_instance_uid=False)))
    clean = deidentify(file, SECRET).data
    assert traces(clean) == []
    copy = dcmread(BytesIO(clean))
    assert copy.file_meta.TransferSyntaxUID == syntax
    with leniently():
        assert frame(copy) == frame(dcmread(BytesIO(file)))


@pytest.mark.parametrize(
    ("encode", "syntax", "where"), [(".jpg", JPEGBaseline8Bit, 2), (".jp2", JPEG2000Lossless, 45)], ids=["JPEG", "2000"]
)
def test_comments_of_a_codestream_and_what_follows_it_are_left_out(encode: str, syntax: UID, where: int) -> None:
    pixels = (np.arange(64 * 96).reshape(64, 96) % 251).astype(np.uint8)
    stream = bytes(cv2.imencode(encode, pixels)[1])
    stream = stream[max(0, stream.find(b"\xff\x4f\xff\x51")) :]
    comment = word("comment").encode()
    markers = (b"\xff\xfe", b"\xff\xe1") if encode == ".jpg" else (b"\xff\x64",)
    segments = b"".join(marker + (2 + len(comment)).to_bytes(2, "big") + comment for marker in markers)
    stream = stream[:where] + segments + stream[where:] + comment

    def compress(dcm: Dataset) -> None:
        dcm.BitsAllocated, dcm.BitsStored, dcm.HighBit = 8, 8, 7
        dcm.WindowCenter, dcm.WindowWidth = 128, 256
        dcm.file_meta.TransferSyntaxUID = syntax
        dcm.PixelData = encapsulate([stream + bytes(len(stream) % 2)])
        dcm["PixelData"].is_undefined_length = True

    file = changed(xray(), compress)
    assert traces(file)
    clean = deidentify(file, SECRET).data
    assert traces(clean) == []
    assert np.array_equal(read_dicom(clean).values, read_dicom(file).values)


def frame(dcm: Dataset) -> bytes:
    (found,) = generate_frames(dcm.PixelData, number_of_frames=1)
    return found


# --- what stays


def test_pixels_window_and_place_stay() -> None:
    file = planted(ct())
    clean = deidentify(file, SECRET)
    assert np.array_equal(read_dicom(clean.data).values, NOISE)
    before, after = read_header(file), read_header(clean.data)
    assert (after.modality, after.sex, after.age, after.order) == ("CT", "F", "044Y", 12.5)
    assert before.order == after.order
    assert dcmread(BytesIO(clean.data)).PixelData == dcmread(BytesIO(file)).PixelData


def test_an_x_ray_shows_the_same() -> None:
    file = with_values(xray(), ViewPosition="PA", WindowCenter=900, WindowWidth=500)
    clean = deidentify(file, SECRET)
    assert np.array_equal(read_dicom(clean.data).values, read_dicom(file).values)
    assert dcmread(BytesIO(clean.data)).ViewPosition == "PA"


def test_patients_studies_and_series_stay_together_and_files_apart() -> None:
    one, two, other_study, other_patient = (
        read_header(deidentify(file, SECRET).data)
        for file in (ct(), ct(sop="1.2.1.1.2"), ct(study="1.2.2"), ct(patient="4712"))
    )
    assert one.patient_id == two.patient_id == other_study.patient_id != other_patient.patient_id
    assert one.study_uid == two.study_uid == other_patient.study_uid != other_study.study_uid
    assert one.series_uid == two.series_uid
    assert one.sop_uid != two.sop_uid


def test_the_patient_is_called_by_the_key_that_stores_use() -> None:
    assert read_header(deidentify(ct(patient="4711 "), SECRET).data).patient_id == patient_key(SECRET, "4711")


def test_equal_files_have_equal_copies_and_another_secret_gives_other_names() -> None:
    first, again, other = deidentify(ct(), SECRET), deidentify(ct(), SECRET), deidentify(ct(), OTHER_SECRET)
    assert first == again
    ours, theirs = read_header(first.data), read_header(other.data)
    for name in ("patient_id", "study_uid", "series_uid", "sop_uid"):
        assert getattr(ours, name) != getattr(theirs, name)


def test_ids_that_are_no_uids_become_some() -> None:
    clean = cleaned(ct(study="ID_0123", series="ID_4567", sop="ID_89ab"))
    for uid_of in (clean.StudyInstanceUID, clean.SeriesInstanceUID, clean.SOPInstanceUID):
        assert uid_of.is_valid
    assert clean.file_meta.MediaStorageSOPInstanceUID == clean.SOPInstanceUID


def test_days_between_a_patients_studies_stay_and_the_days_themselves_do_not() -> None:
    first = cleaned(with_values(ct(), StudyDate="20200131", StudyTime="101500"))
    second = cleaned(with_values(ct(study="1.2.2"), StudyDate="20200210", StudyTime="101500.123"))
    assert first.StudyDate < "20190131"
    assert (_day(second) - _day(first)).days == 10
    assert first.StudyTime == second.StudyTime == "101500"


def _day(dcm: Dataset) -> datetime:
    return datetime.strptime(dcm.StudyDate, "%Y%m%d")


@pytest.mark.parametrize(("age", "told"), [("089Y", "089Y"), ("090Y", "090Y"), ("104Y", "090Y"), ("011M", "011M")])
def test_who_is_older_than_89_is_90(age: str, told: str) -> None:
    assert cleaned(with_values(ct(), PatientAge=age)).PatientAge == told


def test_it_says_what_was_done() -> None:
    clean = cleaned(ct())
    assert clean.PatientIdentityRemoved == "YES"
    assert "dicognito" in clean.DeidentificationMethod[0]
    assert [item.CodeValue for item in clean.DeidentificationMethodCodeSequence] == ["113100", "113107", "113108"]
    assert clean.LongitudinalTemporalInformationModified == "MODIFIED"


# --- what is refused


def test_graphics_in_unused_bits_of_the_pixels_are_refused() -> None:
    def draw(dcm: Dataset) -> None:
        dcm.add_new((0x6000, 0x0100), "US", 16)
        dcm.add_new((0x6000, 0x0102), "US", 15)

    with pytest.raises(ImageRejected) as rejected:
        deidentify(changed(ct(), draw), SECRET)
    assert rejected.value.rule == "overlay"


def test_a_class_that_a_vendor_made_up_is_refused() -> None:
    with pytest.raises(ImageRejected) as rejected:
        deidentify(with_values(ct(), SOPClassUID="1.2.826.0.1.3680043.8.498.1"), SECRET)
    assert rejected.value.rule == "private_class"


def test_a_file_without_a_name_of_its_own_is_refused() -> None:
    with pytest.raises(ImageRejected) as rejected:
        deidentify(changed(ct(), lambda dcm: dcm.pop("SOPInstanceUID")), SECRET)
    assert rejected.value.rule == "no_uid"


# --- other programs


@pytest.mark.usefixtures("dcmtk")
def test_other_programs_find_no_fault_that_the_original_has_not(tmp_path: Path) -> None:
    file = with_values(ct(), SeriesNumber=1, FrameOfReferenceUID="1.2.3", PatientPosition="HFS")
    (tmp_path / "clean.dcm").write_bytes(deidentify(file, SECRET).data)
    (tmp_path / "file.dcm").write_bytes(file)
    subprocess.run(["dcmdump", "-q", tmp_path / "clean.dcm"], check=True, capture_output=True)
    assert faults(tmp_path / "clean.dcm") <= faults(tmp_path / "file.dcm")


def faults(path: Path) -> set[str]:
    said = subprocess.run(["dciodvfy", path], capture_output=True, text=True, check=False)
    return {line for line in said.stderr.splitlines() if line.startswith("Error")}


def test_a_header_that_says_that_text_is_burned_in_is_believed() -> None:
    assert deidentify(ct(), SECRET).burned_in == ""
    said = deidentify(with_values(ct(), BurnedInAnnotation="YES"), SECRET)
    assert said.burned_in.startswith("Burned In Annotation (0028,0301)")
    assert dcmread(BytesIO(said.data)).PatientIdentityRemoved == "NO"


def test_behind_the_entries_of_a_table_nothing_is_kept() -> None:
    table = Dataset()
    table.add_new("LUTDescriptor", "US", [4096, 0, 8])
    table.ModalityLUTType = "OD"
    table.add_new("LUTData", "OW", bytes(range(256)) * 32 + word("table").encode())
    alone = Dataset()
    alone.add_new("LUTData", "OW", word("table").encode())
    dcm = Dataset()
    dcm.ModalityLUTSequence, dcm.VOILUTSequence = [table], [alone]
    clean = kept(dcm)
    assert len(clean.ModalityLUTSequence[0].LUTData) == 8192
    assert "LUTData" not in clean.VOILUTSequence[0]


# --- what the documentation says


def test_the_documentation_names_each_element_that_is_kept_and_no_other() -> None:
    page = (Path(__file__).parents[3] / "docs" / "privacy.md").read_text()
    table = page.split("| kept as | elements |")[1].split("\n\n")[0]
    named = re.findall(r"`(\w+)`", table)
    assert sorted(named) == sorted([*NUMBERS, *DATES, *IDENTIFIERS, *WORDS, *TABLES, *OTHERS])
