"""The page about a data set: complete, the same each time, and nobody's name in it."""

import re
from dataclasses import replace
from html import unescape

import numpy as np
from data_sets import chests, heads

from secondread.data.store import Pixels
from secondread.report.data_set import data_set_page, share
from secondread.tasks import load_task

HEADS, CHESTS = load_task("hemorrhage"), load_task("pneumonia")


def words(page: str) -> str:
    """What a reader sees."""
    shown = re.sub(r"<(style|script|head)\b.*?</\1>", " ", page, flags=re.S)
    return " ".join(unescape(re.sub(r"<[^>]+>", " ", shown)).split())


def test_a_page_tells_what_is_in_the_data_set() -> None:
    said = words(data_set_page(HEADS, heads()))
    assert "60 images of 12 patients" in said
    assert "2 images in 1 group whose 32\N{MULTIPLICATION SIGN}32 thumbnails correlate" in said
    assert "12 series of 5 to 5 slices, 5 in the middle. 12 lack a slice" in said
    assert "plane out of scope 40" in said
    assert "truncated rejected 3" in said
    assert "sex F 6 30" in said
    assert "0 HU 40 HU 80 HU" in said
    assert "\N{MINUS SIGN}20 HU 80 HU 180 HU" in said


def test_slices_without_a_place_are_told() -> None:
    data = heads()
    order = data.manifest["order"].where(data.manifest.index > 1)
    said = words(data_set_page(HEADS, replace(data, manifest=data.manifest.assign(order=order))))
    assert "2 images without a place in a series, or in another plane than the others of it." in said


def test_problems_come_first() -> None:
    said = words(data_set_page(CHESTS, chests()))
    assert said.index("Before a training, read this") < said.index("Splits and labels")
    assert "1 patients in both train (1 images) and test (1)" in said


def test_what_a_data_set_lacks_is_left_out_or_said() -> None:
    said = words(data_set_page(CHESTS, chests()))
    assert "Labels together" not in said
    assert "Subgroups" not in said
    assert "Slices a series" not in said
    assert "There is none: no two images" in said
    assert "Nothing: every file that was found is in the data set" in said


def test_of_a_chain_of_near_duplicates_the_two_most_alike_are_shown() -> None:
    data = heads()
    group = data.manifest["group"].mask(data.manifest.index.isin([0, 1, 2, 3]), 0)
    images = data.pixels.take(np.arange(len(group)))
    images[3] = images[1]
    page = data_set_page(HEADS, replace(data, manifest=data.manifest.assign(group=group), pixels=Pixels([images])))
    first, second = re.findall(r'src="([^"]*)" alt="near duplicate"', page)
    assert first == second


def test_no_patient_study_series_path_or_root_is_on_the_page() -> None:
    data = heads()
    page = data_set_page(HEADS, data)
    keys = {*data.manifest["patient_key"], *data.manifest["study_key"], *data.manifest["series_key"]}
    assert not [key for key in keys if key in page]
    assert "ecret" not in page.replace("Second", "")


def test_a_page_needs_nothing_else_and_is_the_same_each_time() -> None:
    page = data_set_page(HEADS, heads())
    assert "<script" not in page
    assert set(re.findall(r'src="([^,]*),', page)) == {"data:image/png;base64"}
    assert page == data_set_page(HEADS, heads())


def test_a_share_that_is_not_nothing_is_not_called_nothing() -> None:
    assert [share(value) for value in (0.0, 0.0004, 0.125, float("nan"))] == ["0.0%", "< 0.1%", "12.5%", "\N{EN DASH}"]
