"""The convolutional networks of the projects that came before, layer by layer."""

from keras import layers

from secondread.models.outputs import Tensor, sigmoids, softmax_of_two

_LEAK = 0.3  # ours: Keras' default slope of a LeakyReLU


def chest_cnn(images: Tensor, labels: int) -> Tensor:
    """Five convolution blocks; 1,246,401 parameters for one label at 150x150x1.

    Args:
        images: 0..255, shape (n, 150, 150, 1).
    """
    x = layers.Rescaling(1 / 255)(images)
    for filters, dropout in ((32, 0.0), (64, 0.1), (64, 0.0), (128, 0.2), (256, 0.2)):
        x = layers.Conv2D(filters, 3, padding="same", activation="relu")(x)
        if dropout:
            x = layers.Dropout(dropout)(x)
        x = layers.BatchNormalization()(x)
        x = layers.MaxPooling2D(2, strides=2, padding="same")(x)
    x = layers.Flatten()(x)
    x = layers.Dense(128, activation="relu")(x)
    x = layers.Dropout(0.2)(x)
    return sigmoids(x, labels)


def separable_cnn(images: Tensor, labels: int) -> Tensor:
    """Two plain and eight depthwise separable convolutions, three dense layers.

    Args:
        images: 0..255, shape (n, 150, 150, 3).
    """
    x = layers.Rescaling(1 / 255)(images)
    x = layers.Conv2D(16, 3, padding="same", activation="relu")(x)
    x = layers.Conv2D(16, 3, padding="same", activation="relu")(x)
    x = layers.MaxPooling2D(2)(x)
    for filters, dropout in ((32, 0.0), (64, 0.0), (128, 0.2), (256, 0.2)):
        x = layers.SeparableConv2D(filters, 3, padding="same", activation="relu")(x)
        x = layers.SeparableConv2D(filters, 3, padding="same", activation="relu")(x)
        x = layers.BatchNormalization()(x)
        x = layers.MaxPooling2D(2)(x)
        if dropout:
            x = layers.Dropout(dropout)(x)
    x = layers.Flatten()(x)
    for units, dropout in ((512, 0.7), (128, 0.5), (64, 0.3)):
        x = layers.Dense(units, activation="relu")(x)
        x = layers.Dropout(dropout)(x)
    return sigmoids(x, labels)


def head_ct_cnn(images: Tensor, labels: int) -> Tensor:
    """Three convolution blocks, ending in a softmax over absent and present.

    Args:
        images: 0..255, shape (n, 256, 256, 1).
        labels: 1.
    """
    x = layers.Rescaling(1 / 255)(images)
    x = layers.Conv2D(12, 3, activation="relu")(x)
    x = layers.BatchNormalization()(x)
    x = layers.MaxPooling2D(2)(x)
    for filters, dropout in ((24, 0.2), (64, 0.5)):
        x = layers.Conv2D(filters, 3, activation="relu")(x)
        x = layers.Dropout(dropout)(x)
        x = layers.MaxPooling2D(2)(x)
    x = layers.Flatten()(x)
    x = layers.Dense(256, activation="relu")(x)
    x = layers.Dropout(0.5)(x)
    return softmax_of_two(x)


def window_cnn(images: Tensor, labels: int) -> Tensor:
    """Three zero-padded convolutions on three CT windows.

    Args:
        images: 0..255, shape (n, 128, 128, 3).
    """
    x = layers.Rescaling(1 / 255)(images)
    for filters in (32, 64, 128):
        x = layers.Conv2D(filters, 3, padding="same")(x)
        x = layers.LeakyReLU(_LEAK)(x)
        x = layers.MaxPooling2D(2)(x)
    x = layers.Flatten()(x)
    x = layers.Dense(128)(x)
    x = layers.LeakyReLU(_LEAK)(x)
    return sigmoids(x, labels)


def slice_mlp(images: Tensor, labels: int) -> Tensor:
    """Three dense layers on the pixels; their widths are ours.

    Args:
        images: 0..255, shape (n, 50, 50, 1) or (n, 75, 75, 1).
    """
    x = layers.Rescaling(1 / 255)(images)
    x = layers.Flatten()(x)
    x = layers.Dense(256, activation="relu")(x)
    x = layers.Dropout(0.5)(x)
    x = layers.Dense(128, activation="relu")(x)
    x = layers.Dropout(0.5)(x)
    x = layers.Dense(64, activation="relu")(x)
    return sigmoids(x, labels)
