"""The contract that every network keeps, and the numbers of the projects that came before."""

from collections import Counter
from functools import cache
from pathlib import Path

import keras
import numpy as np
import pytest

from secondread.config import ModelSettings, load_config, load_preset, preset_names
from secondread.errors import ConfigError
from secondread.models import architectures
from secondread.models.architectures import MODEL_NAMES, answers_primary_alone, build_model, starts_pretrained
from secondread.models.outputs import learner, probabilities
from secondread.models.pretrained import (
    BACKBONES,
    features_of,
    freeze_features,
    set_imagenet_weights,
    unfreeze_features,
)

ROOM = Path(architectures.__file__).parent


def build(name: str, labels: int = 1, weights: str = "none") -> keras.Model:
    """A network at its preset's size; the pretrained ones at 96 px, for speed."""
    config = load_config(load_preset(name)["tasks"][0], {"model": name}).preprocess
    size = 96 if name in BACKBONES else config.size
    return build_model(ModelSettings(name=name, weights=weights), (size, size, config.channels), labels)


@cache
def built(name: str, labels: int = 1) -> keras.Model:
    """`build`, once a session; do not change it."""
    keras.utils.set_random_seed(0)
    return build(name, labels)


def answer(model: keras.Model, pixels: np.ndarray) -> np.ndarray:
    return np.asarray(keras.ops.convert_to_numpy(model(pixels, training=False)))


def images_for(model: keras.Model, count: int = 2) -> np.ndarray:
    shape = (count, *model.input_shape[1:])
    return np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)


def layer_names(model: keras.Model, *ignored: str) -> list[str]:
    names = [type(layer).__name__ for layer in model.layers]
    return [name for name in names if name not in ("InputLayer", *ignored)]


def parameters_not_trainable(model: keras.Model) -> int:
    return sum(int(np.prod(weight.shape)) for weight in model.non_trainable_weights)


def test_every_preset_has_a_network_and_every_network_a_preset() -> None:
    assert sorted(MODEL_NAMES) == sorted(preset_names())


@pytest.mark.parametrize("name", MODEL_NAMES)
def test_a_network_answers_probabilities_of_stored_pixels_and_comes_back_from_its_file(
    name: str, tmp_path: Path
) -> None:
    labels = 1 if answers_primary_alone(name) else 6
    model = built(name, labels)
    pixels = images_for(model)
    answers = answer(model, pixels)
    found = probabilities(answer(learner(model), pixels), labels)
    assert found.shape == (2, labels)
    assert ((found >= 0) & (found <= 1)).all()
    np.testing.assert_allclose(answers[:, -labels:], found, atol=1e-6)  # of a softmax the last column says present
    assert np.array_equal(answers, answer(model, pixels.astype(np.float32)))

    model.save(tmp_path / "model.keras")
    restored = keras.saving.load_model(tmp_path / "model.keras", compile=False)
    assert np.array_equal(answer(restored, pixels), answers)


@pytest.mark.parametrize("name", [name for name in MODEL_NAMES if name != "compact_resnet"])
def test_black_and_white_pixels_reach_the_first_learned_layer_scaled(name: str) -> None:
    model = built(name)
    scale = keras.Model(model.input, next(layer for layer in model.layers if layer.weights).input)
    # The median leaves out the zeros of a padding and, of ImageNet's mean blue, green and red, takes the green.
    black, white = (float(np.median(answer(scale, np.full((1, *model.input_shape[1:]), v)))) for v in (0, 255))
    expected = {"resnet50": (-116.779, 255 - 116.779)}
    expected |= dict.fromkeys(("inception_v3", "mobilenet_v2"), (-1.0, 1.0))
    assert (black, white) == pytest.approx(expected.get(name, (0.0, 1.0)), abs=1e-3)


def test_compact_resnet_sees_neither_brightness_nor_contrast() -> None:
    model = built("compact_resnet")
    pixels = images_for(model).astype(np.float32)
    assert answer(model, 0.6 * pixels + 40) == pytest.approx(answer(model, pixels), abs=0.01)
    assert answer(model, 255 - pixels) != pytest.approx(answer(model, pixels), abs=0.01)


@pytest.mark.parametrize("width", [16, 24, 40])
def test_compact_resnet_is_as_wide_as_asked(width: int) -> None:
    model = build_model(ModelSettings(name="compact_resnet", width=width), (64, 64, 3), 1)
    filters = [layer.filters for layer in model.layers if isinstance(layer, keras.layers.Conv2D)]
    assert set(filters) == {width, 2 * width, 4 * width}


def test_compact_resnet_without_a_width_is_what_it_was() -> None:
    assert built("compact_resnet").count_params() == 174_985
    wide = build_model(ModelSettings(name="compact_resnet", width=24), (128, 128, 3), 1)
    assert wide.count_params() == 174_985


def test_chest_cnn_has_its_authors_parameters() -> None:
    model = built("chest_cnn")
    assert model.count_params() == 1_246_401
    assert parameters_not_trainable(model) == 1_088


def test_separable_cnn_has_its_authors_layers() -> None:
    assert layer_names(built("separable_cnn"), "Rescaling") == [
        *["Conv2D", "Conv2D", "MaxPooling2D"],
        *["SeparableConv2D", "SeparableConv2D", "BatchNormalization", "MaxPooling2D"] * 2,
        *["SeparableConv2D", "SeparableConv2D", "BatchNormalization", "MaxPooling2D", "Dropout"] * 2,
        "Flatten",
        *["Dense", "Dropout"] * 3,
        *["Dense", "Activation"],
    ]


def test_head_ct_cnn_loses_a_border_at_each_convolution_and_ends_in_a_softmax() -> None:
    model = built("head_ct_cnn")
    # 256 -> 254 -> 127 -> 125 -> 62 -> 60 -> 30 rows of 64 channels
    assert model.get_layer(index=layer_names(model).index("Flatten") + 1).output.shape == (None, 30 * 30 * 64)
    answers = answer(model, images_for(model))
    assert answers.shape == (2, 2)
    assert answers.sum(axis=1) == pytest.approx([1, 1])


def test_window_cnn_pads_with_zeros_and_leaks() -> None:
    model = built("window_cnn", 6)
    assert Counter(layer_names(model))["LeakyReLU"] == 4
    # 128 -> 64 -> 32 -> 16 rows of 128 channels
    assert (16 * 16 * 128 + 1) * 128 in {layer.count_params() for layer in model.layers}


@pytest.mark.parametrize("size", [50, 75])
def test_slice_mlp_takes_slices_of_50_and_75_pixels(size: int) -> None:
    model = build_model(ModelSettings(name="slice_mlp"), (size, size, 1), 1)
    widths = [layer.units for layer in model.layers if isinstance(layer, keras.layers.Dense)]
    assert widths == [256, 128, 64, 1]
    assert Counter(layer_names(model))["Dropout"] == 2


def test_a_network_that_answers_any_alone_refuses_six_labels() -> None:
    with pytest.raises(ConfigError, match=r"answers the primary label alone. Received: 6 labels"):
        build_model(ModelSettings(name="head_ct_cnn"), (64, 64, 1), 6)


def test_an_unknown_network_is_refused_with_the_known_ones() -> None:
    with pytest.raises(ConfigError, match=r"no_net: there is no such network; use one of .*chest_cnn"):
        build_model(ModelSettings(name="no_net"), (64, 64, 1), 1)


@pytest.mark.parametrize("name", BACKBONES)
def test_pretrained_features_scale_pixels_as_keras_does_and_load_its_weights_file(name: str, tmp_path: Path) -> None:
    network = BACKBONES[name].application(include_top=False, weights=None, pooling="avg", input_shape=(96, 96, 3))
    module = getattr(keras.applications, name)
    network.save_weights(tmp_path / "keras.weights.h5")
    model = build(name, weights=str(tmp_path / "keras.weights.h5"))
    pixels = images_for(model)
    expected = answer(network, module.preprocess_input(pixels.astype(np.float32)))
    found = answer(features_of(model), pixels)
    assert found == pytest.approx(expected, rel=1e-4, abs=1e-4 * float(np.abs(expected).max()))


def test_features_of_a_whole_models_weights_serve_another_number_of_labels(tmp_path: Path) -> None:
    first = built("mobilenet_v2")
    first.save_weights(tmp_path / "first.weights.h5")
    second = build("mobilenet_v2", labels=6, weights=str(tmp_path / "first.weights.h5"))
    for mine, theirs in zip(features_of(second).get_weights(), features_of(first).get_weights(), strict=True):
        assert np.array_equal(mine, theirs)


def test_the_public_mobilenet_v2_weights_load(shared: Path) -> None:
    path = shared / "data" / "weights" / "mobilenet_v2_1.0_224_no_top.h5"
    first, again = (build("mobilenet_v2", weights=str(path)).get_layer("Conv1").get_weights()[0] for _ in range(2))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, built("mobilenet_v2").get_layer("Conv1").get_weights()[0])


def test_a_missing_weights_file_is_named() -> None:
    with pytest.raises(ConfigError, match=r"nowhere.h5: there is no such file"):
        build("mobilenet_v2", weights="nowhere.h5")


@pytest.mark.parametrize("name", ["mobilenet_v2", "compact_resnet"])
def test_weights_of_another_network_are_refused(name: str, tmp_path: Path) -> None:
    path = tmp_path / "other.weights.h5"
    built("slice_mlp").save_weights(path)
    with pytest.raises(ConfigError, match=f"these are not weights of {name}"):
        build(name, weights=str(path))


def test_a_file_that_holds_no_weights_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "text.weights.h5"
    path.write_text("no weights")
    with pytest.raises(ConfigError, match="these are not weights of slice_mlp"):
        build("slice_mlp", weights=str(path))


def test_only_pretrained_networks_have_imagenet_weights() -> None:
    with pytest.raises(
        ConfigError, match="there are none for chest_cnn, only for inception_v3, resnet50, mobilenet_v2"
    ):
        build("chest_cnn", weights="imagenet")


def test_a_download_that_fails_says_what_to_do_offline(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_network(*_: object, **__: object) -> str:
        raise Exception("URL fetch failure on https://example.org: None -- no network")

    monkeypatch.setattr("keras.src.utils.file_utils.get_file", no_network)
    with pytest.raises(ConfigError, match=r"could not be downloaded .*without a network set model.weights to the path"):
        build("mobilenet_v2", weights="imagenet")


def test_imagenet_weights_are_copied_into_the_features(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    kept = keras.applications.MobileNetV2(include_top=False, weights=None, input_shape=(224, 224, 3))
    kept.save_weights(tmp_path / "kept.weights.h5")
    monkeypatch.setattr("keras.src.utils.file_utils.get_file", lambda *_, **__: str(tmp_path / "kept.weights.h5"))
    model = build("mobilenet_v2")
    set_imagenet_weights(model)
    for mine, theirs in zip(features_of(model).get_weights(), kept.get_weights(), strict=True):
        assert np.array_equal(mine, theirs)


def test_pretrained_images_need_three_channels() -> None:
    with pytest.raises(ConfigError, match=r"three channels; leave the preset's 3. Received: 1"):
        build_model(ModelSettings(name="resnet50"), (96, 96, 1), 1)


def test_frozen_features_let_the_head_alone_learn_then_all_but_batch_normalization() -> None:
    model = build("mobilenet_v2")
    freeze_features(model)
    assert [tuple(weight.shape) for weight in model.trainable_weights] == [(1280, 1), (1,)]
    unfreeze_features(model)
    learned = {id(weight) for weight in model.trainable_weights}
    for layer in features_of(model).layers:
        normalises = isinstance(layer, keras.layers.BatchNormalization)
        assert all((id(weight) in learned) is not normalises for weight in layer.weights)


@pytest.mark.parametrize(
    ("name", "weights", "expected"),
    [("resnet50", "none", False), ("resnet50", "imagenet", True), ("chest_cnn", "own.weights.h5", False)],
)
def test_only_pretrained_features_are_fine_tuned(name: str, weights: str, expected: bool) -> None:
    assert starts_pretrained(ModelSettings(name=name, weights=weights)) is expected


def test_networks_follow_the_precision_in_force_and_still_answer_in_float32() -> None:
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        model = build("compact_resnet")
    finally:
        keras.config.set_dtype_policy(before)
    assert {layer.compute_dtype for layer in model.layers if isinstance(layer, keras.layers.Conv2D)} == {"bfloat16"}
    assert model.output.dtype == "float32"


def test_networks_and_losses_name_no_backend() -> None:
    for path in ROOM.glob("*.py"):
        source = path.read_text()
        assert not any(backend in source for backend in ("tensorflow", "import tf", "torch", "jax")), path.name
