"""A data set in numbers, each derivable by hand."""

import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from data_frames import manifest_of

from secondread.config import DataSettings, PreprocessSettings, Window
from secondread.data.intensities import intensities, spread
from secondread.data.split import split_by_patient
from secondread.data.statistics import series_lengths, statistics
from secondread.data.store import Pixels
from secondread.errors import SCOPE_RULES
from secondread.imaging.preprocess import Preprocess
from secondread.tasks import load_task

SOURCE = Path(__file__).parents[3] / "src" / "secondread"
SPLITS = ["train", "train", "val", "test"]
FORM = Preprocess.build(load_task("pneumonia"), PreprocessSettings(size=16), "display", None)


def pixels(*levels: int) -> Pixels:
    return Pixels([np.array([[[[level]] * 16] * 16 for level in levels], np.uint8)])


SOME = pixels(*range(20))


def test_every_rule_that_puts_out_of_scope_is_known() -> None:
    text = "".join(path.read_text() for path in SOURCE.rglob("*.py"))
    assert set(re.findall(r'OutOfScope\(\s*"(\w+)"', text)) <= SCOPE_RULES


def test_labels_that_occur_together_are_counted() -> None:
    manifest = manifest_of(list("abcd"), [1, 1, 0, np.nan], SPLITS).assign(label_other=[1.0, 0.0, 0.0, 1.0])
    found = statistics(manifest, SOME, FORM, {})
    assert found.together.loc["pneumonia"].to_dict() == {"pneumonia": 2, "other": 1}
    assert found.together.loc["other"].to_dict() == {"pneumonia": 1, "other": 2}
    assert found.none == 1


def test_duplicates_are_counted_by_size_and_by_what_they_cross() -> None:
    # A pair within a patient, a pair of two patients, three images of one patient in two splits, one alone.
    manifest = manifest_of(
        list("aabcdddz"), [0, 1] * 4, ["train"] * 4 + ["train", "train", "test", "val"], [0, 0, 1, 1, 2, 2, 2, 3]
    )
    found = statistics(manifest, SOME, FORM, {}).duplicates
    assert (found.images, found.groups, found.sizes) == (7, 3, {2: 2, 3: 1})
    assert (found.across_patients, found.across_splits) == (1, 1)
    assert found.examples == [[4, 5, 6], [2, 3], [0, 1]]


def test_gaps_and_repeats_of_series_are_counted() -> None:
    manifest = manifest_of(list("aaaabbbbccc"), [0] * 11, ["train"] * 11).assign(
        series_key=list("aaaabbbbccc"), order=[0.0, 5, 10, 20, 3, 1, 2, 2, 0, 2.5, 5]
    )
    series = statistics(manifest, SOME, FORM, {}).series
    assert series is not None
    assert (series.count, series.lengths, series.gaps, series.repeats) == (3, {3: 1, 4: 2}, 1, 1)
    assert series.text() == "3 series of 3 to 4 slices; 1 with a gap between slices; 1 with two slices in one place"


@pytest.mark.parametrize(
    ("places", "gaps", "repeats"),
    [
        ([0.0, 0.6, 1.3, 1.9, 2.5], 0, 0),  # .625 mm, rounded to a tenth
        ([0.0, 0.0, 5.0, 5.0, 10.0, 10.0], 0, 1),  # every slice twice: no step is nought
        ([0.0, 5.0, 5.004, 10.0], 0, 1),  # the same place, rounded otherwise
        ([0.0, 5.0, 15.0, 20.0, 25.0], 1, 0),
        ([0.0, 0.0], 0, 1),
        ([7.0], 0, 0),
    ],
)
def test_rounded_or_repeated_positions_make_no_gap(places: list[float], gaps: int, repeats: int) -> None:
    manifest = manifest_of(["a"] * len(places), [0] * len(places), ["train"] * len(places))
    series = series_lengths(manifest.assign(series_key="a", order=places))
    assert series is not None
    assert (series.gaps, series.repeats, series.unplaced) == (gaps, repeats, 0)


def test_images_without_a_place_in_their_series_are_counted() -> None:
    manifest = manifest_of(list("aabc"), [0, 1] * 2, SPLITS).assign(
        series_key=["a", "a", "a", ""], order=[0, 5, np.nan, np.nan]
    )
    series = series_lengths(manifest)
    assert series is not None
    assert series.text() == "1 series of 2 to 2 slices; 1 image without a place in theirs"


def test_images_without_a_place_are_no_series() -> None:
    assert statistics(manifest_of(list("abcd"), [0, 1] * 2, SPLITS), SOME, FORM, {}).series is None


def test_a_subgroup_of_four_patients_is_not_told() -> None:
    manifest = manifest_of([str(number) for number in range(20)], [0, 1] * 10, ["train"] * 20)
    manifest["subgroup_sex"] = ["F"] * 8 + ["M"] * 8 + ["O"] * 4
    found = statistics(manifest, SOME, FORM, {}).subgroups
    assert "O" not in set(found["value"])
    assert found["patients"].min() >= 5
    assert found["images"].sum() == 20


def test_gray_levels_are_counted_and_a_darker_split_is_told_by_how_much() -> None:
    manifest = manifest_of(list("abcd"), [0, 1, 0, 1], SPLITS)
    found = intensities(manifest, pixels(100, 120, 90, 255), FORM)
    [channel] = found.channels
    assert (channel.name, channel.window) == ("gray", None)
    assert list(channel.shares.loc["train"].loc[[100, 120]]) == [0.5, 0.5]
    assert dict(channel.mean) == {"train": 110, "val": 90, "test": 255}
    assert dict(channel.shift) == pytest.approx({"train": 0, "val": 20, "test": 145})
    assert dict(found.sampled) == {"train": 2, "val": 1, "test": 1}


def test_each_window_has_its_own_histogram() -> None:
    windows = (Window(center=40, width=80), Window(center=0, width=10), Window(center=5, width=10))
    settings = PreprocessSettings(size=16, channels=3, windows=windows)
    form = Preprocess.build(load_task("hemorrhage"), settings, "HU", None)
    images = Pixels([np.broadcast_to(np.array([7, 9, 11], np.uint8), (4, 16, 16, 3))])
    found = intensities(manifest_of(list("abcd"), [0, 1] * 2, SPLITS), images, form)
    assert [channel.name for channel in found.channels] == ["brain window", "own window", "own window"]
    assert [channel.mean["train"] for channel in found.channels] == [7, 9, 11]


def test_a_sample_is_spread_over_the_images_and_does_not_depend_on_their_order() -> None:
    manifest = manifest_of([str(number) for number in range(100)], [0, 1] * 50, ["train"] * 100)
    chosen = manifest["split"] == "train"
    keys = set(manifest["image_key"].iloc[spread(manifest, chosen, 10)])
    assert len(keys) == 10
    turned = manifest.iloc[::-1].reset_index(drop=True)
    assert set(turned["image_key"].iloc[spread(turned, chosen, 10)]) == keys


def test_statistics_of_a_set_that_is_split_do_not_change_it() -> None:
    manifest = split_by_patient(manifest_of(list("abcdefgh"), [0, 1] * 4), 0.2, 0.2, DataSettings().seed)
    before = manifest.copy()
    statistics(manifest, pixels(*range(8)), FORM, {"truncated": 2, "modality": 5})
    pd.testing.assert_frame_equal(manifest, before)
