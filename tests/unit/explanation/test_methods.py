"""Explanations: one suite that every method passes, on a network whose maps can be worked out by hand."""

import keras
import numpy as np
import numpy.typing as npt
import pytest

from secondread.config import ModelSettings
from secondread.errors import ExplanationError
from secondread.explanation.method import Method
from secondread.explanation.methods import METHODS, first_that_fits, method_named
from secondread.explanation.target import logits_of
from secondread.models.architectures import MODEL_NAMES, build_model
from secondread.models.outputs import sigmoids, softmax_of_two

every_method = pytest.mark.parametrize("method", METHODS.values(), ids=list(METHODS))


def network(end: str = "sigmoids") -> keras.Model:
    """Of a mean m of the pixels: the logits are 8 m / 255 - 2 and, of a second label, 2 - 8 m / 255."""
    images = keras.Input((16, 16, 1))
    seen = keras.layers.Conv2D(1, 1, use_bias=False)(keras.layers.Rescaling(1 / 255)(images))
    mean = keras.layers.GlobalAveragePooling2D()(seen)
    model = keras.Model(images, sigmoids(mean, labels=2) if end == "sigmoids" else softmax_of_two(mean))
    model.layers[2].set_weights([np.ones((1, 1, 1, 1))])
    weights = [[8.0, -8.0]] if end == "sigmoids" else [[-2.0, 6.0]]
    bias = [-2.0, 2.0] if end == "sigmoids" else [1.5, -0.5]
    model.get_layer("logit").set_weights([np.array(weights), np.array(bias)])
    return model


def bright_corner() -> npt.NDArray[np.uint8]:
    """White in the upper left quarter: the mean is a quarter of white."""
    image = np.zeros((1, 16, 16, 1), np.uint8)
    image[:, :8, :8] = 255
    return image


@pytest.fixture(scope="module")
def of_means() -> keras.Model:
    return network()


@every_method
def test_what_speaks_for_a_label_is_positive_where_it_is_and_negative_for_the_opposite(
    method: Method, of_means: keras.Model
) -> None:
    for label, sign in ((0, 1), (1, -1)):
        [found] = method.explain(of_means, bright_corner(), label)
        assert (found.shape, found.dtype) == ((16, 16), np.float32)
        assert found[:8, :8].sum() * sign == pytest.approx(2, rel=0.15)  # 8 x 1/4
        assert np.abs(found[13:, 13:]).max() < 1e-6  # further than any method spreads a share


@every_method
def test_equal_images_have_equal_maps_and_the_callers_chance_is_left_alone(
    method: Method, of_means: keras.Model
) -> None:
    images = np.repeat(bright_corner(), 2, axis=0)
    images[1] = 255 - images[1]
    np.random.seed(7)  # noqa: NPY002 (the generator that SHAP draws from)
    expected = np.random.random()  # noqa: NPY002 (what SHAP draws from)
    np.random.seed(7)  # noqa: NPY002 (what SHAP draws from)
    once, again = method.explain(of_means, images, 0), method.explain(of_means, images[1:], 0)
    np.testing.assert_array_equal(once[1:], again)
    assert np.random.random() == expected  # noqa: NPY002 (what SHAP draws from)


@pytest.mark.parametrize("name", [name for name, method in METHODS.items() if method.is_complete])
def test_a_complete_method_divides_the_difference_to_its_baseline(name: str, of_means: keras.Model) -> None:
    usual = np.full((3, 16, 16, 1), 51, np.uint8)
    method, image = METHODS[name], bright_corner()
    baseline = method.baseline(of_means, image, 0, usual)
    assert baseline == pytest.approx(-0.4, abs=1e-5)  # 8 x 51 / 255 - 2
    [found] = method.explain(of_means, image, 0, usual)
    assert found.sum() == pytest.approx(logits_of(of_means, image, 0)[0] - baseline, abs=1e-3)  # 0 - -0.4


def test_a_softmax_of_absent_and_present_is_explained_by_the_difference_of_its_logits() -> None:
    of_two, image = network("softmax"), bright_corner()
    assert logits_of(of_two, image, 0) == pytest.approx([0], abs=1e-5)  # (6 + 2) / 4 - 2
    for name in ("grad_cam", "integrated_gradients", "gradient_shap"):
        assert METHODS[name].explain(of_two, image, 0).sum() == pytest.approx(2, rel=0.02)


def test_no_images_have_no_maps(of_means: keras.Model) -> None:
    for method in METHODS.values():
        assert method.explain(of_means, bright_corner()[:0], 0).shape == (0, 16, 16)


def test_a_network_without_convolutions_is_told_which_method_fits() -> None:
    dense = build_model(ModelSettings(name="slice_mlp", weights="none"), (50, 50, 1), 1)
    with pytest.raises(ExplanationError, match=r"method=grad_cam: .*no convolution.*use integrated_gradients"):
        METHODS["grad_cam"].explain(dense, np.zeros((1, 50, 50, 1), np.uint8), 0)
    assert first_that_fits(dense).name == "integrated_gradients"
    found = METHODS["integrated_gradients"].explain(dense, np.full((1, 50, 50, 1), 200, np.uint8), 0)
    assert found.any()


def test_an_unknown_method_is_told_the_known_ones() -> None:
    with pytest.raises(ExplanationError, match=r"method=lime: .*grad_cam, integrated_gradients, occlusion"):
        method_named("lime")


@pytest.mark.slow
@every_method
@pytest.mark.parametrize("name", MODEL_NAMES)
def test_every_network_is_explained_by_every_method_that_fits_it(name: str, method: Method) -> None:
    channels = 1 if name in ("head_ct_cnn", "chest_cnn", "slice_mlp") else 3
    labels = 1 if name in ("head_ct_cnn", "slice_mlp") else 6
    size = 50 if name == "slice_mlp" else 96
    keras.utils.set_random_seed(0)
    model = build_model(ModelSettings(name=name, weights="none"), (size, size, channels), labels)
    image = np.random.default_rng(0).integers(0, 256, (1, size, size, channels), np.uint8)
    if method.fits(model) is None:
        found = method.explain(model, image, labels - 1)
        assert found.shape == (1, size, size)
        assert np.isfinite(found).all()
        assert found.any()
    else:
        assert (method.name, name) == ("grad_cam", "slice_mlp")
