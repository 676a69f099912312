"""Checks tell a map that can be believed from one that cannot, on networks whose maps can be worked out by hand."""

from collections.abc import Mapping
from dataclasses import replace
from typing import ClassVar

import cv2
import keras
import numpy as np
import numpy.typing as npt
import pytest

from secondread.config import ModelSettings
from secondread.evaluation.intervals import mean_interval
from secondread.explanation.check import QUESTIONS, Check, measured, not_measured, table
from secondread.explanation.checks import Evidence, check_methods
from secondread.explanation.likeness import rank_correlation
from secondread.explanation.method import Maps, Method
from secondread.explanation.methods import METHODS
from secondread.explanation.pointing import chance, hits
from secondread.explanation.randomised import randomised
from secondread.explanation.recommend import recommended
from secondread.explanation.removal import STEPS, area, by_lot, of_maps, removed
from secondread.explanation.smooth import smooth
from secondread.explanation.target import logits_of
from secondread.imaging.picture import UInt8Image
from secondread.models.architectures import MODEL_NAMES, build_model
from secondread.models.outputs import sigmoids

SIDE, IMAGES = 32, 8
GRAY, WHITE = 51, 255  # .2 and 1


class _Stub(Method):
    is_complete: ClassVar[bool] = False

    def _maps(self, network: keras.Model, images: UInt8Image, label: int, background: UInt8Image | None) -> Maps:
        return np.array([self._map(image[..., 0].astype(np.float32)) for image in images])

    def _map(self, image: Maps) -> Maps:
        raise NotImplementedError


class Edges(_Stub):
    """What is bright beside its surroundings; it never looks at the network."""

    name = "edges"

    def _map(self, image: Maps) -> Maps:
        found: Maps = -cv2.Laplacian(image, cv2.CV_32F, ksize=3)
        return found


class Constant(_Stub):
    """The same everywhere."""

    name = "constant"

    def _map(self, image: Maps) -> Maps:
        return np.ones_like(image)


class Moody(_Stub):
    """Another map at each call."""

    name = "moody"

    def __init__(self) -> None:
        self._chance = np.random.default_rng(0)

    def _map(self, image: Maps) -> Maps:
        return self._chance.random(image.shape, np.float32)


class Promising(_Stub):
    """Half of what it promises to divide: of a linear network, every pixel's share is its weight times its value."""

    name = "promising"
    is_complete = True

    def _map(self, image: Maps) -> Maps:
        return image * np.float32(16 / 255 / SIDE**2 / 2)


def linear(weights: npt.NDArray[np.floating] | float = 16 / SIDE**2) -> keras.Model:
    """Of a mean m of the pixels, the logit is 16 m / 255 - 4; or weighted otherwise, by pixel."""
    images = keras.Input((SIDE, SIDE, 1))
    model = keras.Model(images, sigmoids(keras.layers.Flatten()(keras.layers.Rescaling(1 / 255)(images)), labels=1))
    kernel = np.broadcast_to(weights, (SIDE, SIDE)).reshape(-1, 1)
    model.get_layer("logit").set_weights([kernel, np.array([-4.0])])
    return model


def of_a_place() -> tuple[keras.Model, Evidence]:
    """A network that looks at one place alone, and gray images, of a patient each, whose finding lies there."""
    place = np.zeros((SIDE, SIDE), bool)
    place[4:12, 20:28] = True
    grays = np.linspace(100, 240, IMAGES).astype(np.uint8)
    images = np.repeat(grays, SIDE**2).reshape(IMAGES, SIDE, SIDE, 1)
    shown = Evidence(images, np.arange(IMAGES).astype(str).astype(object), np.repeat(place[None], IMAGES, axis=0))
    return linear(place * 8 / 64), shown


def evidence() -> Evidence:
    """Gray images, each with a white square of 8 x 8 somewhere else; two of each patient."""
    images, masks = np.full((IMAGES, SIDE, SIDE, 1), GRAY, np.uint8), np.zeros((IMAGES, SIDE, SIDE), bool)
    for number in range(IMAGES):
        top, left = 2 + 3 * number % 20, 2 + 7 * number % 20
        images[number, top : top + 8, left : left + 8] = WHITE
        masks[number, top : top + 8, left : left + 8] = True
    return Evidence(images, np.array([f"patient{number // 2}" for number in range(IMAGES)], object), masks)


def asked(method: Method, shown: Evidence | None = None) -> Mapping[str, Check]:
    return {check.name: check for check in check_methods(linear(), 0, shown or evidence(), [method])}


def test_exact_attributions_pass_every_check() -> None:
    network, shown = of_a_place()
    checks = check_methods(network, 0, shown, [METHODS["integrated_gradients"]])
    assert [check.name for check in checks] == list(QUESTIONS)
    assert [check.name for check in checks if not check.passed] == []
    found = {check.name: check for check in checks}
    assert found["completeness"].value == pytest.approx(0, abs=1e-4)
    assert found["pointing"].value == 1
    assert found["pointing"].low == pytest.approx(8 / (8 + 3.8415), abs=1e-4)  # Wilson's, of 8 of 8
    assert found["blind_pointing"].value == 0
    assert found["stability"].images == 6


def test_a_method_that_ignores_the_network_fails_randomisation_however_well_it_points() -> None:
    found = asked(Edges())
    assert found["pointing"].passed
    assert (found["randomisation"].value, found["randomisation"].passed) == (1, False)
    assert (found["blind_pointing"].value, found["blind_pointing"].passed) == (1, False)


def test_a_map_that_is_the_same_everywhere_shows_nothing() -> None:
    found = asked(Constant())
    assert found["randomisation"].value == 1
    for name in ("randomisation", "deletion", "insertion", "pointing"):
        assert found[name].passed is False, name


def test_a_method_with_moods_is_not_repeatable() -> None:
    found = asked(Moody())
    assert found["repeatability"].passed is False
    assert found["stability"].passed is False


def test_a_broken_promise_fails_completeness_and_none_is_asked_of_who_promised_nothing() -> None:
    found = asked(Promising())["completeness"]
    assert found.value == pytest.approx(0.5, abs=1e-4)
    assert found.passed is False
    other = asked(Edges())["completeness"]
    assert (other.passed, other.note) == (None, "the method does not promise it")


def test_without_masks_nobody_says_whether_it_points() -> None:
    found = asked(Edges(), replace(evidence(), masks="nobody drew the findings"))
    for name in ("pointing", "blind_pointing"):
        assert (found[name].passed, found[name].note) == (None, "nobody drew the findings")
    assert found["randomisation"].passed is False


def test_a_method_that_does_not_fit_the_network_is_not_measured_and_says_which_does() -> None:
    found = asked(METHODS["grad_cam"])
    assert list(found) == list(QUESTIONS)
    for check in found.values():
        assert check.passed is None
        assert "use integrated_gradients" in check.note


def test_one_patient_tells_nothing_of_others() -> None:
    one = replace(evidence(), patients=np.array(["patient"] * IMAGES, object))
    found = asked(METHODS["occlusion"], one)
    assert (found["deletion"].low, found["deletion"].passed) == (-np.inf, False)


def test_the_table_says_what_was_asked_and_found() -> None:
    said = table([measured("edges", "pointing", mean_interval(np.array([1.0, 0.0]), np.array([0, 1])), 2)])
    [row] = said.to_dict("records")
    assert (row["method"], row["name"], row["value"], row["bound"]) == ("edges", "pointing", 0.5, 0.9)
    assert row["passed"] is False
    assert "Zhang" in str(row["source"])


def checks_of(method: str, failed: str = "", pointing: float = 1.0, unmeasured: tuple[str, ...] = ()) -> list[Check]:
    return [
        not_measured(method, name, "why not")
        if name in unmeasured
        else Check(method, name, name != failed, pointing if name == "pointing" else 0.1, 0.05, 0.15, 24)
        for name in QUESTIONS
    ]


def test_the_method_that_passes_best_is_recommended() -> None:
    everything = checks_of("one", failed="randomisation") + checks_of("two", failed="stability")
    assert recommended(everything).method == "two"
    assert recommended([*everything, *checks_of("three", pointing=0.92)]).method == "three"
    assert recommended([*checks_of("three", pointing=0.92), *checks_of("four", pointing=0.96)]).method == "four"
    assert recommended([*checks_of("five"), *checks_of("six")]).method == "five"


def test_the_reason_says_how_often_it_points_or_that_nobody_knows() -> None:
    assert "8 of 8 checks on 24 images and points at the finding in 100%" in recommended(checks_of("one")).reason
    unknown = recommended(checks_of("one", unmeasured=("pointing", "blind_pointing"))).reason
    assert "6 of 6 checks" in unknown
    assert "not known" in unknown


def test_no_method_is_recommended_where_none_passes_what_is_essential() -> None:
    found = recommended(
        checks_of("one", failed="randomisation")
        + checks_of("two", failed="deletion")
        + checks_of("three", unmeasured=tuple(QUESTIONS))
    )
    assert found.method is None
    assert found.reason == "no method passed its checks: one failed randomisation; two failed deletion"


def test_maps_are_alike_by_the_order_of_their_pixels() -> None:
    rising = np.arange(16, dtype=np.float32).reshape(4, 4)
    flat = np.zeros((4, 4), np.float32)
    assert rank_correlation(rising, rising**3 + 5) == pytest.approx(1)
    assert rank_correlation(rising, -rising) == pytest.approx(-1)
    assert rank_correlation(rising, flat) == 0
    assert rank_correlation(flat, flat + 1) == 1


def test_a_map_points_where_it_is_highest_within_a_tolerance_that_one_would_not_see() -> None:
    masks = np.zeros((3, 100, 100), bool)
    masks[:, 40:60, 40:60] = True
    maps = np.zeros((3, 100, 100), np.float32)
    for one, place in zip(maps, [(50, 50), (50, 62), (50, 64)], strict=True):  # the last is 5 pixels off; 3 count
        one[place] = 1
    assert hits(maps, masks).tolist() == [1, 1, 0]
    assert chance(masks) == pytest.approx(26 * 26 / 100**2, rel=0.06)  # a little less at the corners


def test_a_smooth_map_shows_where_shares_lie_and_keeps_their_sum() -> None:
    """Two shares that cancel but for a tenth, beside a corner: a tenth is left of them, and no edge swallows it."""
    one = np.zeros((100, 100), np.float32)
    one[2, 2], one[2, 3] = 1.1, -1
    found = smooth(one)
    assert found.sum() == pytest.approx(0.1, abs=1e-5)
    assert found.max() < 0.02


def test_single_specks_do_not_outshine_what_one_sees() -> None:
    one = np.zeros((1, 100, 100), np.float32)
    one[0, 40:60, 40:60] = 1
    one[0, 5, 5] = 5
    assert hits(one, one > 0.5).tolist() == [1]
    masks = np.zeros((1, 100, 100), bool)
    masks[0, 40:60, 40:60] = True
    assert hits(one, masks).tolist() == [1]


def test_the_curves_follow_what_is_left_of_the_image() -> None:
    """The logit is 16 x mean - 4: of a white image 12, of a black one -4."""
    image = np.full((1, SIDE, SIDE, 1), WHITE, np.uint8)
    found = removed(linear(), image, 0, by_lot(1, 0), np.zeros((SIDE, SIDE, 1), np.float32))
    left = 1 - (np.arange(STEPS + 1) * 256 / STEPS).round() / 256
    np.testing.assert_allclose(found.deletion[0], 1 / (1 + np.exp(4 - 16 * left)), atol=0.02)
    np.testing.assert_allclose(found.insertion[0], found.deletion[0, ::-1], atol=0.02)


def test_the_area_of_a_network_that_never_changes_its_mind_is_its_answer() -> None:
    found = removed(linear(0), evidence().images, 0, by_lot(IMAGES, 0), np.zeros((SIDE, SIDE, 1), np.float32))
    assert area(found.deletion) == pytest.approx(np.full(IMAGES, 1 / (1 + np.exp(4))))


def test_a_cell_is_worth_the_mean_of_its_pixels() -> None:
    one = np.zeros((1, SIDE, SIDE), np.float32)
    one[0, :2, :2] = [[1, 2], [3, 6]]
    assert of_maps(one)[0].tolist() == [3, *[0] * 255]


@pytest.mark.parametrize("name", ["compact_resnet", "slice_mlp"])
def test_a_randomised_twin_has_other_weights_and_still_answers(name: str) -> None:
    _its_twin_answers(name)


@pytest.mark.slow
@pytest.mark.parametrize("name", MODEL_NAMES)
def test_every_network_has_a_twin(name: str) -> None:
    _its_twin_answers(name)


def _its_twin_answers(name: str) -> None:
    size, channels = (50, 1) if name in ("slice_mlp", "head_ct_cnn", "chest_cnn") else (96, 3)
    keras.utils.set_random_seed(0)
    network = build_model(ModelSettings(name=name, weights="none"), (size, size, channels), 1)
    before = [np.array(weight) for weight in network.weights]
    images = np.random.default_rng(0).integers(0, 256, (8, size, size, channels), np.uint8)
    twin = randomised(network, seed=1)
    for weight, other, was in zip(network.weights, twin.weights, before, strict=True):
        np.testing.assert_array_equal(weight, was)
        assert len(was.shape) < 2 or not np.allclose(other, was)
    found = logits_of(twin, images, 0)
    assert np.isfinite(found).all()
    assert np.ptp(found) > 0
    np.testing.assert_array_equal(found, logits_of(randomised(network, seed=1), images, 0))
