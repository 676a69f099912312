"""Sex and age, no finer than a shared table may tell."""

from pathlib import Path

import pytest
from source_folders import write_ct_ich, write_ct_slice, write_kermany, write_picture

from secondread.data.manifest import subgroup_columns
from secondread.data.sources.detect import open_source
from secondread.data.sources.subgroups import age_band, sex_of
from secondread.tasks import load_task

CT, CHEST = load_task("hemorrhage"), load_task("pneumonia")


@pytest.mark.parametrize(
    ("text", "sex"), [("M", "M"), ("female ", "F"), ("Other", "O"), ("", ""), ("Jane Doe", ""), ("['M', 'F']", "")]
)
def test_sex_is_one_letter_or_unknown(text: str, sex: str) -> None:
    assert sex_of(text) == sex


@pytest.mark.parametrize(
    ("text", "band"),
    [
        ("0.583333333", "0-17"),
        ("17.9", "0-17"),
        ("18", "18-39"),
        ("039Y", "18-39"),
        ("040Y", "40-64"),
        ("64", "40-64"),
        ("65", "65+"),
        ("120", "65+"),
        ("215M", "0-17"),  # a month before the 18th birthday
        ("216M", "18-39"),
        ("010D", "0-17"),
        ("900W", "0-17"),  # 17.2 years
        ("40-64", "40-64"),
        ("65+", "65+"),
    ],
)
def test_an_age_is_one_of_four_bands(text: str, band: str) -> None:
    assert age_band(text) == band


@pytest.mark.parametrize("text", ["", "121", "155", "-3", "forty", "nan", "1e1", "44Y 3M", "1980-05-02", "44;", "٤٤"])
def test_what_is_no_age_is_unknown(text: str) -> None:
    assert age_band(text) == ""


def test_a_dicom_header_tells_sex_and_age_and_nothing_finer(tmp_path: Path) -> None:
    write_ct_slice(tmp_path / "Normal/a.dcm", "p0", sex="F", age="044Y")
    write_ct_slice(tmp_path / "Hemorrhage/b.dcm", "p1", seed=1)
    entries = open_source(tmp_path, CT, workers=1).entries
    assert entries["subgroup_sex"].tolist() == ["", "F"]
    assert entries["subgroup_age"].tolist() == ["", "40-64"]
    assert "044" not in entries.to_csv()


def test_a_table_is_believed_before_the_header(tmp_path: Path) -> None:
    for name in ("0", "1"):
        write_ct_slice(tmp_path / f"{name}.dcm", "p", sex="M", age="070Y", seed=int(name))
    (tmp_path / "mine.csv").write_text("path,any,sex,age\n0.dcm,1,Female,12.5\n1.dcm,0,,\n")
    entries = open_source(tmp_path, CT, workers=1).entries
    assert entries["subgroup_sex"].tolist() == ["F", "M"]
    assert entries["subgroup_age"].tolist() == ["0-17", "65+"]


def test_a_table_may_tell_other_subgroups_and_odd_sexes_and_ages_stay_out(tmp_path: Path) -> None:
    for number in range(3):
        write_picture(tmp_path / f"{number}.png", number)
    (tmp_path / "mine.csv").write_text(
        "path,any,Subgroup_Scanner,subgroup_sex,subgroup_age,sex\n0.png,1,A,Jane,41.27,M\n1.png,0,,f,x,M\n2.png,0,B,,,M\n"
    )
    entries = open_source(tmp_path, CT).entries
    assert entries["subgroup_scanner"].tolist() == ["A", "", "B"]
    assert entries["subgroup_sex"].tolist() == ["", "F", ""]  # the column of that very name, not `sex`
    assert entries["subgroup_age"].tolist() == ["40-64", "", ""]


def test_kermanys_names_tell_the_cause_of_a_pneumonia_alone(tmp_path: Path) -> None:
    write_kermany(tmp_path)
    index = open_source(tmp_path, CHEST)
    assert index.entries.groupby("label_pneumonia")["subgroup_cause"].unique().map(sorted).tolist() == [
        [""],
        ["bacteria", "virus"],
    ]
    assert "subgroups known: cause" in index.report


def test_ct_ichs_demographics_are_read_below_their_header_of_two_lines(tmp_path: Path) -> None:
    write_ct_ich(tmp_path)
    (tmp_path / "patient_demographics.csv").write_text(
        '"Patient Number","Age\n(years)","Gender","Epidural"\n49,35,"Male",,\n50,0.583333333,"Female",1,"a, note",,\n'
        "51,,\n"
    )
    entries = open_source(tmp_path, CT).entries
    assert entries["subgroup_sex"].tolist() == ["M", "M", "F", "F", *[""] * 4]
    assert entries["subgroup_age"].tolist() == ["18-39", "18-39", "0-17", "0-17", *[""] * 4]


@pytest.mark.parametrize("content", [b"", b"\xff\xfe\x00", b"a,b\n", b'49,"' + b"x" * 200_000])
def test_damaged_demographics_leave_the_subgroups_unknown(content: bytes, tmp_path: Path) -> None:
    write_ct_ich(tmp_path)
    (tmp_path / "patient_demographics.csv").write_bytes(content)
    entries = open_source(tmp_path, CT).entries
    assert len(entries) == 8
    assert subgroup_columns(entries) == []


def test_the_public_ct_ich_tells_sex_and_age_of_its_patients(shared: Path) -> None:
    entries = open_source(shared / "data" / "ct_ich", CT).entries
    patients = entries.drop_duplicates("patient")
    assert patients["subgroup_sex"].value_counts().to_dict() == {"M": 46, "F": 36}
    assert set(patients["subgroup_age"]) == {"0-17", "18-39", "40-64", "65+"}
