"""Fewer images: in proportion, or with another share of positive ones."""

import pytest
from data_frames import make_entries, manifest_of
from hypothesis import given, settings
from hypothesis import strategies as st

from secondread.data.subset import limit, positive_fraction
from secondread.errors import AuditError

SPLITS = ["train"] * 80 + ["test"] * 20


def test_a_limit_keeps_the_proportions_of_split_and_label() -> None:
    entries = make_entries(["p"] * 100, [1] * 60 + [0] * 20 + [1] * 10 + [0] * 10, SPLITS)
    counts = limit(entries, 10, seed=0).groupby(["split", "label_pneumonia"]).size().to_dict()
    assert counts == {("train", 1): 6, ("train", 0): 2, ("test", 1): 1, ("test", 0): 1}


def test_a_limit_keeps_one_of_each_rare_kind() -> None:
    entries = make_entries(["p"] * 100, [1] + [0] * 79 + [1] + [0] * 19, SPLITS)
    assert limit(entries, 10, seed=0).groupby(["split", "label_pneumonia"]).ngroups == 4


def test_a_limit_above_the_count_keeps_everything() -> None:
    entries = make_entries(["p"] * 5, [1, 0, 1, 0, 1])
    assert limit(entries, 5, seed=0).equals(entries)


@settings(deadline=None)
@given(st.integers(1, 99), st.lists(st.sampled_from([0.0, 1.0, float("nan")]), min_size=100, max_size=100))
def test_a_limit_is_exact_keeps_the_order_and_repeats_nothing(n: int, labels: list[float]) -> None:
    kept = limit(make_entries(["p"] * 100, labels, SPLITS), n, seed=1)
    assert len(kept) == n
    assert kept.index.is_monotonic_increasing
    assert kept.index.is_unique


def test_a_limit_works_on_a_manifest_and_depends_on_the_seed() -> None:
    manifest = manifest_of([f"p{number}" for number in range(100)], [1, 0] * 50)
    first, again, other = (limit(manifest, 10, seed) for seed in (0, 0, 1))
    assert first.equals(again)
    assert not first.equals(other)


@pytest.mark.parametrize(
    ("fraction", "present", "absent"),
    # Of 20 positive and 60 negative: half needs 20 + 20; nine tenths 18 + 2 at most 20 / .9 = 22.2, so 20 + 2.
    [(0.5, 20, 20), (0.9, 20, 2), (0.1, 7, 60)],
)
def test_train_gets_the_largest_subset_of_the_wanted_share(fraction: float, present: int, absent: int) -> None:
    manifest = manifest_of(["p"] * 100, [1] * 20 + [0] * 60 + [1] * 10 + [0] * 10, SPLITS)
    kept = positive_fraction(manifest, fraction, "pneumonia", seed=0)
    train = kept[kept["split"] == "train"]["label_pneumonia"]
    assert (int((train == 1).sum()), int((train == 0).sum())) == (present, absent)
    assert kept["image_key"].is_unique


def test_test_images_stay_and_unknown_training_images_go() -> None:
    manifest = manifest_of(["p"] * 100, [1] * 20 + [0] * 50 + [float("nan")] * 20 + [0] * 10, SPLITS)
    kept = positive_fraction(manifest, 0.5, "pneumonia", seed=0)
    assert (kept["split"] == "test").sum() == 20
    assert kept.loc[kept["split"] == "train", "label_pneumonia"].notna().all()


def test_one_class_cannot_be_drawn_to_a_share() -> None:
    manifest = manifest_of(["p"] * 100, [1] * 100, SPLITS)
    with pytest.raises(AuditError, match=r"train has 80 images with and 0 without pneumonia; it needs both"):
        positive_fraction(manifest, 0.5, "pneumonia", seed=0)
