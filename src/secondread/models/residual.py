"""Our own small residual network."""

from keras import layers

from secondread.models.outputs import Tensor, sigmoids

_MOMENTUM = 0.9  # a run of few steps must still move the averages that answer at test


def compact_resnet(images: Tensor, labels: int, width: int = 24) -> Tensor:
    """Three pre-activation residual blocks behind a strided stem; about 175,000 parameters at the width of 24.

    Args:
        images: 0..255, shape (n, 128, 128, channels).
        width: channels of the stem and the first block; the second has twice, the third four times as many.
    Source: He et al., Identity Mappings in Deep Residual Networks, 2016.
    """
    x = layers.Rescaling(1 / 127.5, offset=-1)(images)
    # Each image to mean 0 and variance 1: exposure differs between hospitals more than disease does.
    x = layers.LayerNormalization(axis=(1, 2, 3), center=False, scale=False, epsilon=1e-2)(x)
    x = layers.Conv2D(width, 5, strides=2, padding="same", use_bias=False)(x)
    x = layers.MaxPooling2D(2)(x)
    for filters, strides in ((width, 1), (2 * width, 2), (4 * width, 2)):
        x = _block(x, filters, strides)
    x = _activate(x)
    x = layers.GlobalAveragePooling2D()(x)
    x = layers.Dropout(0.2)(x)
    return sigmoids(x, labels)


def _block(x: Tensor, filters: int, strides: int) -> Tensor:
    activated = _activate(x)
    changes = strides != 1 or x.shape[-1] != filters
    shortcut = layers.Conv2D(filters, 1, strides=strides, use_bias=False)(activated) if changes else x
    y = layers.Conv2D(filters, 3, strides=strides, padding="same", use_bias=False)(activated)
    y = layers.Conv2D(filters, 3, padding="same", use_bias=False)(_activate(y))
    return layers.Add()([shortcut, y])


def _activate(x: Tensor) -> Tensor:
    return layers.ReLU()(layers.BatchNormalization(momentum=_MOMENTUM)(x))
