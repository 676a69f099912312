"""The manifest and the digest that versions it."""

import numpy as np
import pandas as pd
import pytest
from data_frames import SECRET, make_entries, manifest_of

from secondread.data.manifest import (
    COLUMNS,
    check_labels,
    label_columns,
    make_manifest,
    manifest_digest,
    shareable,
    subgroup_columns,
)
from secondread.data.patient_key import patient_key
from secondread.errors import SourceError

NAN = float("nan")


def test_a_manifest_has_its_columns_and_then_the_labels() -> None:
    manifest = manifest_of(["a", "b"], [1, 0])
    assert list(manifest) == [*COLUMNS, "label_pneumonia"]
    assert manifest["group"].dtype == np.int64
    assert manifest["given"].dtype == bool


def test_patients_are_keys_and_no_id_is_left() -> None:
    manifest = manifest_of(["Jane Doe", "Jane Doe ", "x"], [1, 0, 1])
    assert manifest["patient_key"][0] == manifest["patient_key"][1] == patient_key(SECRET, "Jane Doe")
    assert "Jane" not in manifest.to_csv()


def test_images_of_unknown_patient_are_patients_of_their_own() -> None:
    assert manifest_of(["", " ", ""], [1, 0, 1])["patient_key"].nunique() == 3


def test_study_and_series_are_keys_or_unknown() -> None:
    entries = make_entries(["a", "a"], [1, 0]).assign(study=["s", ""], series=["s", "s"])
    manifest = make_manifest(entries, np.arange(2), SECRET)
    assert manifest["study_key"][1] == ""
    assert len(manifest["study_key"][0]) == 32
    assert manifest["series_key"][0] == manifest["series_key"][1] != manifest["study_key"][0]


def test_given_says_that_the_source_gave_the_split() -> None:
    assert manifest_of(["a", "b"], [1, 0], ["test", ""])["given"].tolist() == [True, False]


@pytest.mark.parametrize("value", [2, -1, 0.5, np.inf])
def test_another_label_than_0_1_or_unknown_is_refused(value: float) -> None:
    with pytest.raises(SourceError, match=rf"label_pneumonia: row 1 is {value:g} \(1 such rows\)"):
        check_labels(pd.DataFrame({"label_pneumonia": [1, value, NAN]}), ["label_pneumonia"])


def test_labels_are_the_columns_in_their_order() -> None:
    assert label_columns(pd.DataFrame(columns=["path", "label_b", "x", "label_a"])) == ["label_b", "label_a"]


def test_the_digest_does_not_depend_on_row_order_secret_or_folder() -> None:
    entries = make_entries(["a", "a", "b", ""], [1, 0, NAN, 1], ["train", "train", "test", ""])
    digest = manifest_digest(make_manifest(entries, np.arange(4), SECRET))
    shuffled = entries.iloc[[2, 0, 3, 1]].assign(path=[f"elsewhere/{number}" for number in range(4)])
    assert manifest_digest(make_manifest(shuffled, np.arange(4), b"another secret")) == digest


@pytest.mark.parametrize(
    "changed",
    [
        make_entries(["a", "a", "b"], [1, 0, 1], ["train", "train", "test"]),
        make_entries(["a", "a", "b"], [1, 0, NAN], ["train", "train", "train"]),
        make_entries(["a", "b", "b"], [1, 0, NAN], ["train", "train", "test"]),
        make_entries(["a", "a", "b"], [1, 0, NAN], ["train", "train", "test"]).assign(image_key=["0", "1", "2"]),
        make_entries(["a", "a"], [1, 0], ["train", "train"]),
        make_entries(["a", "a", "b"], [1, 0, NAN], ["train", "train", "test"], primary="any"),
    ],
    ids=["label", "split", "patient", "bytes", "image", "name of the label"],
)
def test_the_digest_changes_with_what_a_figure_depends_on(changed: pd.DataFrame) -> None:
    entries = make_entries(["a", "a", "b"], [1, 0, NAN], ["train", "train", "test"])
    assert manifest_digest(make_manifest(entries, np.arange(3), SECRET)) != manifest_digest(
        make_manifest(changed, np.arange(len(changed)), SECRET)
    )


def test_subgroups_follow_the_labels_and_stay_out_of_the_digest() -> None:
    entries = make_entries(["a", "b"], [1, 0])
    told = make_manifest(entries.assign(subgroup_sex=["F", ""]), np.arange(2), SECRET)
    assert list(told) == [*COLUMNS, "label_pneumonia", "subgroup_sex"]
    assert subgroup_columns(told) == ["subgroup_sex"]
    assert manifest_digest(told) == manifest_digest(make_manifest(entries, np.arange(2), SECRET))


def test_what_is_shared_has_no_path_and_a_row_an_image() -> None:
    manifest = manifest_of(["a", "b", "b"], [1, 0, NAN], ["train", "test", "test"])
    shared = shareable(manifest)
    keys = ["image_key", "patient_key", "study_key", "series_key"]
    assert list(shared) == [*keys, "order", "split", "fold", "label_pneumonia"]
    assert shared["image_key"].tolist() == manifest["image_key"].tolist()
    assert shared["fold"].tolist() == [-1, -1, -1]


def test_what_is_shared_keeps_the_folds() -> None:
    assert shareable(manifest_of(["a", "b"], [1, 0]).assign(fold=[1, 0]))["fold"].tolist() == [1, 0]


def test_a_subgroup_of_fewer_than_five_patients_is_not_shared() -> None:
    patients = ["a", "b", "c", "d", "e", "f", "g", "h", "i", "i"]  # five women, four men of whom one has two images
    sex = ["F"] * 5 + ["M"] * 5
    told = manifest_of(patients, [1] * 10).assign(subgroup_sex=sex, subgroup_age=["", *["40-64"] * 9])
    shared = shareable(told)
    assert shared["subgroup_age"].tolist() == ["", *["40-64"] * 9]  # unknown before
    # Were the men alone hidden, everyone would know who they are.
    assert shared["subgroup_sex"].tolist() == [""] * 10


def test_the_next_larger_subgroups_hide_a_small_one_until_five_patients_are_hidden() -> None:
    patients = [f"patient {number}" for number in range(21)]
    ages = ["65+"] * 2 + ["0-17"] * 6 + ["18-39"] * 6 + ["40-64"] * 7
    shared = shareable(manifest_of(patients, [1] * 21).assign(subgroup_age=ages))
    assert shared["subgroup_age"].tolist() == [""] * 8 + ["18-39"] * 6 + ["40-64"] * 7
