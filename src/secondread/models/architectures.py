"""Networks by name."""

from collections.abc import Callable, Mapping
from typing import TypeAlias

import keras

from secondread.config import ModelSettings
from secondread.errors import ConfigError
from secondread.models.convolutional import chest_cnn, head_ct_cnn, separable_cnn, slice_mlp, window_cnn
from secondread.models.outputs import Tensor
from secondread.models.residual import compact_resnet

Architecture: TypeAlias = Callable[[Tensor, int], Tensor]

ARCHITECTURES: Mapping[str, Architecture] = {
    "head_ct_cnn": head_ct_cnn,
    "chest_cnn": chest_cnn,
    "slice_mlp": slice_mlp,
    "separable_cnn": separable_cnn,
    "window_cnn": window_cnn,
    "compact_resnet": compact_resnet,
}
MODEL_NAMES = tuple(ARCHITECTURES)

# Their projects asked one question: is there a hemorrhage at all?
_PRIMARY_ALONE = ("head_ct_cnn", "slice_mlp")


def answers_primary_alone(name: str) -> bool:
    """Whether a network answers a task's primary label and no other."""
    return name in _PRIMARY_ALONE


def build_model(settings: ModelSettings, input_shape: tuple[int, int, int], labels: int) -> keras.Model:
    """Build a network, not compiled, under the dtype policy in force.

    Args:
        input_shape: height, width, channels; the pixels are 0..255, uint8 or float32, scaled by the first layers.
        labels: number of labels that it answers.
    Returns:
        a model of (n, height, width, channels) to (n, labels), or (n, 2) for `head_ct_cnn`: see `probabilities`.
    Raises:
        ConfigError: no network has that name, or it cannot take this input or these labels.
    """
    if settings.name not in ARCHITECTURES:
        raise ConfigError(f"model.name={settings.name}: there is no such network; use one of {', '.join(MODEL_NAMES)}")
    if answers_primary_alone(settings.name) and labels != 1:
        raise ConfigError(f"model.name={settings.name}: it answers the primary label alone. Received: {labels} labels")
    images = keras.Input(input_shape, name="image")
    outputs = ARCHITECTURES[settings.name](images, labels)
    return keras.Model(images, outputs, name=settings.name)
