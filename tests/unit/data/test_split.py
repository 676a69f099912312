"""Splits and folds: nothing that belongs together is divided, shares and strata are kept."""

import numpy as np
import pandas as pd
import pytest
from data_frames import SECRET, make_entries, manifest_of
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from secondread.data.manifest import make_manifest, manifest_digest
from secondread.data.split import fold_by_patient, partition, split_by_patient, units_of
from secondread.errors import SplitError


@st.composite
def manifests(draw: st.DrawFn) -> pd.DataFrame:
    count = draw(st.integers(12, 80))
    patients = draw(st.lists(st.integers(0, 30), min_size=count, max_size=count))
    # Most images are alone, a few are duplicates; chains of everything with everything would leave nothing to divide.
    copies = draw(st.dictionaries(st.integers(0, count - 1), st.integers(0, count - 1), max_size=8))
    groups = [copies.get(number, number) for number in range(count)]
    labels = draw(st.lists(st.sampled_from([0.0, 1.0, float("nan")]), min_size=count, max_size=count))
    given_test = draw(st.sets(st.sampled_from(sorted(set(patients))), max_size=3))
    splits = ["test" if patient in given_test else "" for patient in patients]
    return manifest_of([f"p{patient}" for patient in patients], labels, splits, groups)


def parts_of(frame: pd.DataFrame, column: str, part: str) -> int:
    """The most parts that one patient or duplicate group is in."""
    return int(frame.groupby(column)[part].nunique().max())


@settings(deadline=None, max_examples=60)
@given(manifests(), st.integers(0, 5))
def test_no_patient_and_no_duplicate_group_is_divided(manifest: pd.DataFrame, seed: int) -> None:
    pool = manifest[~manifest["given"]]
    assume(units_of(pool).max(initial=-1) + 1 >= (3 if len(pool) == len(manifest) else 2))
    split = split_by_patient(manifest, 0.15, 0.2, seed)
    drawn = split[~split["given"]]
    assert parts_of(drawn, "patient_key", "split") <= 1
    assert parts_of(drawn, "group", "split") <= 1
    assert set(split["split"]) == {"train", "val", "test"}
    assert (split.loc[manifest["given"], "split"] == "test").all()


@settings(deadline=None, max_examples=60)
@given(manifests(), st.integers(2, 4), st.integers(0, 5))
def test_no_patient_and_no_duplicate_group_is_in_two_folds(manifest: pd.DataFrame, folds: int, seed: int) -> None:
    assume(units_of(manifest[~manifest["given"]]).max(initial=-1) + 1 >= folds)
    folded = fold_by_patient(manifest, folds, seed)
    drawn = folded[~folded["given"]]
    assert parts_of(drawn, "patient_key", "fold") == 1
    assert parts_of(drawn, "group", "fold") == 1
    assert set(drawn["fold"]) == set(range(folds))
    assert (folded.loc[folded["given"], "fold"] == -1).all()


@settings(deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 3), st.integers(1, 12)), min_size=1, max_size=80),
    st.sampled_from([[0.68, 0.12, 0.2], [0.2] * 5, [0.5, 0.5]]),
    st.integers(0, 5),
)
def test_a_part_exceeds_its_share_of_a_stratum_by_less_than_its_largest_unit(
    units: list[tuple[int, int]], weights: list[float], seed: int
) -> None:
    strata, sizes = np.array(units, np.int64).T
    assume(len(sizes) >= len(weights))
    part = partition(strata, sizes, weights, seed)
    assert set(part) == set(range(len(weights)))
    totals = np.bincount(strata, weights=sizes)
    commonest = max(np.unique(strata), key=lambda stratum: (totals[stratum], stratum))
    for stratum in set(strata.tolist()) - {commonest}:
        members = strata == stratum
        held = np.bincount(part[members], weights=sizes[members], minlength=len(weights))
        assert (held < np.array(weights) * totals[stratum] + sizes[members].max()).all()


def test_shares_and_strata_are_exact_when_every_patient_has_one_image() -> None:
    manifest = manifest_of([f"p{number}" for number in range(200)], [1] * 40 + [0] * 160)
    split = split_by_patient(manifest, 0.25, 0.2, seed=3)
    counts = split.groupby(["split", "label_pneumonia"]).size().to_dict()
    # 20% of 200 are test, 25% of the other 160 are val; a fifth of each is positive.
    assert counts == {
        ("train", 0): 96,
        ("train", 1): 24,
        ("val", 0): 32,
        ("val", 1): 8,
        ("test", 0): 32,
        ("test", 1): 8,
    }


def test_the_rarest_label_is_in_every_split() -> None:
    entries = make_entries([f"p{number}" for number in range(60)], [1] * 30 + [0] * 30, primary="any")
    entries["label_subdural"] = [1.0] * 3 + [0.0] * 57
    split = split_by_patient(make_manifest(entries, np.arange(60), SECRET), 0.15, 0.2, seed=0)
    assert set(split.loc[split["label_subdural"] == 1, "split"]) == {"train", "val", "test"}


def test_three_patients_fill_three_splits_and_two_do_not() -> None:
    three = split_by_patient(manifest_of(["a", "b", "c"], [1, 0, 1]), 0.15, 0.2, seed=0)
    assert sorted(three["split"]) == ["test", "train", "val"]
    with pytest.raises(SplitError, match=r"2 separate patients cannot fill 3 splits .*; add patients"):
        split_by_patient(manifest_of(["a", "b", "b"], [1, 0, 1]), 0.15, 0.2, seed=0)


@pytest.mark.parametrize("seed", range(5))
def test_patients_of_three_strata_fill_three_splits(seed: int) -> None:
    entries = make_entries(["a", "b", "c"], [1, 1, 0], primary="any").assign(label_subdural=[1.0, 0.0, 0.0])
    split = split_by_patient(make_manifest(entries, np.arange(3), SECRET), 0.15, 0.2, seed)
    assert sorted(split["split"]) == ["test", "train", "val"]


def test_both_classes_are_in_every_split_when_each_has_three_patients() -> None:
    split = split_by_patient(manifest_of(list("abcdef"), [1, 1, 1, 0, 0, 0]), 0.15, 0.2, seed=0)
    assert split.groupby(["split", "label_pneumonia"]).ngroups == 6


def test_more_folds_than_patients_are_refused() -> None:
    with pytest.raises(SplitError, match=r"3 separate patients cannot fill 5 folds .*ask for fewer folds"):
        fold_by_patient(manifest_of(["a", "b", "c"], [1, 0, 1]), 5, seed=0)


def test_given_test_and_val_are_kept_and_nothing_is_drawn() -> None:
    splits = ["train", "val", "test", "train"]
    manifest = manifest_of(["a", "b", "c", "d"], [1, 0, 1, 0], splits)
    split = split_by_patient(manifest, 0.15, 0.2, seed=0)
    assert split["split"].tolist() == splits
    assert split["given"].all()


def test_a_val_is_drawn_from_train_when_only_test_is_given() -> None:
    splits = ["train"] * 20 + ["test"] * 5
    split = split_by_patient(manifest_of([f"p{n}" for n in range(25)], [1, 0] * 12 + [1], splits), 0.15, 0.2, seed=0)
    assert split["split"].value_counts().to_dict() == {"train": 17, "val": 3, "test": 5}
    assert split.loc[split["given"], "split"].unique().tolist() == ["test"]


def test_a_test_is_drawn_when_only_val_is_given() -> None:
    splits = ["train"] * 20 + ["val"] * 5
    split = split_by_patient(manifest_of([f"p{n}" for n in range(25)], [1, 0] * 12 + [1], splits), 0.15, 0.2, seed=0)
    assert split["split"].value_counts().to_dict() == {"train": 16, "val": 5, "test": 4}


def test_dividing_again_changes_nothing() -> None:
    split = split_by_patient(manifest_of([f"p{n % 15}" for n in range(40)], [1, 0] * 20), 0.15, 0.2, seed=1)
    assert split_by_patient(split, 0.15, 0.2, seed=1).equals(split)


def test_a_split_does_not_depend_on_secret_or_row_order() -> None:
    entries = make_entries([f"p{n % 15}" for n in range(40)], [1, 0] * 20)
    split = split_by_patient(make_manifest(entries, np.arange(40), SECRET), 0.15, 0.2, seed=1)
    other = make_manifest(entries.iloc[::-1], np.arange(40)[::-1], b"another secret")
    assert manifest_digest(split_by_patient(other, 0.15, 0.2, seed=1)) == manifest_digest(split)


def test_another_seed_divides_otherwise() -> None:
    manifest = manifest_of([f"p{n}" for n in range(40)], [1, 0] * 20)
    first, second = (split_by_patient(manifest, 0.15, 0.2, seed)["split"] for seed in (0, 1))
    assert (first != second).any()


def test_patients_chained_by_duplicates_are_one_unit() -> None:
    # a and b share group 0, b and c share group 1; d stands alone.
    manifest = manifest_of(["a", "b", "b", "c", "d"], [1, 0, 1, 0, 1], groups=[0, 0, 1, 1, 2])
    assert units_of(manifest).tolist() == [0, 0, 0, 0, 1]


def test_folds_differ_by_at_most_one_patient_of_one_image() -> None:
    manifest = manifest_of([f"p{n}" for n in range(53)], [1] * 21 + [0] * 32)
    counts = fold_by_patient(manifest, 5, seed=0).groupby(["fold", "label_pneumonia"]).size().unstack()
    assert counts[1.0].between(4, 5).all()
    assert counts.sum(axis=1).between(10, 11).all()
