"""Networks by name."""

import warnings
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import TypeAlias

import keras

from secondread.config import ModelSettings
from secondread.errors import ConfigError
from secondread.models.convolutional import chest_cnn, head_ct_cnn, separable_cnn, slice_mlp, window_cnn
from secondread.models.outputs import Tensor
from secondread.models.pretrained import BACKBONES, features_of, pretrained, set_imagenet_weights
from secondread.models.residual import compact_resnet

Architecture: TypeAlias = Callable[[Tensor, int], Tensor]

ARCHITECTURES: Mapping[str, Architecture] = {
    "head_ct_cnn": head_ct_cnn,
    "chest_cnn": chest_cnn,
    "slice_mlp": slice_mlp,
    "separable_cnn": separable_cnn,
    "window_cnn": window_cnn,
    "compact_resnet": compact_resnet,
    **{name: pretrained(backbone) for name, backbone in BACKBONES.items()},
}
MODEL_NAMES = tuple(ARCHITECTURES)

# Their projects asked one question: is there a hemorrhage at all?
_PRIMARY_ALONE = ("head_ct_cnn", "slice_mlp")


def answers_primary_alone(name: str) -> bool:
    """Whether a network answers a task's primary label and no other."""
    return name in _PRIMARY_ALONE


def starts_pretrained(settings: ModelSettings) -> bool:
    """Whether a model's features are learned already, so that its head may learn first and they are then fine-tuned."""
    return settings.name in BACKBONES and settings.weights != "none"


def build_model(settings: ModelSettings, input_shape: tuple[int, int, int], labels: int) -> keras.Model:
    """Build a network with its weights, not compiled, under the dtype policy in force.

    Args:
        input_shape: height, width, channels; the pixels are 0..255, uint8 or float32, scaled by the first layers.
        labels: number of labels that it answers.
    Returns:
        a model of (n, height, width, channels) to (n, labels), or (n, 2) for `head_ct_cnn`: see `probabilities`.
    Raises:
        ConfigError: no network has that name, it cannot take this input or these labels, or the weights are missing
            or another network's.
    """
    if settings.name not in ARCHITECTURES:
        raise ConfigError(f"model.name={settings.name}: there is no such network; use one of {', '.join(MODEL_NAMES)}")
    if answers_primary_alone(settings.name) and labels != 1:
        raise ConfigError(f"model.name={settings.name}: it answers the primary label alone. Received: {labels} labels")
    images = keras.Input(input_shape, name="image")
    architecture = ARCHITECTURES[settings.name]
    if settings.width is not None:  # the settings allow it for this network alone
        architecture = partial(compact_resnet, width=settings.width)
    outputs = architecture(images, labels)
    model = keras.Model(images, outputs, name=settings.name)
    _set_weights(model, settings)
    return model


def _set_weights(model: keras.Model, settings: ModelSettings) -> None:
    if settings.weights == "imagenet":
        if settings.name not in BACKBONES:
            raise ConfigError(
                f"model.weights=imagenet: there are none for {settings.name}, only for {', '.join(BACKBONES)}; "
                "use `none` or the path of a weights file"
            )
        set_imagenet_weights(model)
    elif settings.weights != "none":
        _read_weights(model, settings.weights)


def _read_weights(model: keras.Model, weights: str) -> None:
    """Read a file of the whole model's weights, or of a pretrained network's features, whose head then starts anew."""
    path = Path(weights)
    if not path.is_file():
        raise ConfigError(f"model.weights={weights}: there is no such file; give a path, `none` or `imagenet`")
    target = features_of(model) if model.name in BACKBONES else model
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Keras warns of every layer before it raises
            target.load_weights(path)
    except (ValueError, KeyError, OSError) as error:
        reason = str(error).strip().splitlines()[0].partition(". ")[0]
        raise ConfigError(
            f"model.weights={weights}: these are not weights of {model.name} ({reason}); "
            "give a file saved by `save_weights` of this network, `none` or `imagenet`"
        ) from error
