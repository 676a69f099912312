"""Networks that Keras offers pretrained: pooled features and a head of our own.

The features and the scaling that they were trained with come from `keras.applications`. The features lie flat in the
model, not nested, so that every layer can be reached by an explanation.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import keras
from keras import layers, ops

from secondread.errors import ConfigError
from secondread.models.outputs import Tensor, sigmoids

_FEATURES = "features"
_DROPOUT = "head_dropout"
_IMAGENET_SHAPE = (224, 224, 3)


@dataclass(frozen=True)
class Backbone:
    """A pretrained network without its classifier, and the scaling that it expects of pixels 0..255."""

    application: Callable[..., keras.Model]
    scale: Callable[[Tensor], Tensor]


def pretrained(backbone: Backbone) -> Callable[[Tensor, int], Tensor]:
    """Make an architecture of a backbone: scaling, features, average pooling, dropout, a sigmoid a label."""

    def architecture(images: Tensor, labels: int) -> Tensor:
        if images.shape[-1] != 3:
            raise ConfigError(
                "preprocess.channels: a pretrained network looks at three channels; leave the preset's 3. "
                f"Received: {images.shape[-1]}"
            )
        network = backbone.application(include_top=False, weights=None, input_tensor=backbone.scale(images))
        x = layers.GlobalAveragePooling2D(name=_FEATURES)(network.output)
        x = layers.Dropout(0.2, name=_DROPOUT)(x)
        return sigmoids(x, labels)

    return architecture


def features_of(model: keras.Model) -> keras.Model:
    """Give the part of a pretrained model before its head, sharing its layers."""
    return keras.Model(model.input, model.get_layer(_FEATURES).output, name=f"{model.name}_features")


def set_imagenet_weights(model: keras.Model) -> None:
    """Give a model's features the ImageNet weights that Keras keeps, downloading them at first use.

    Raises:
        ConfigError: they could not be downloaded.
    """
    try:
        source = BACKBONES[model.name].application(include_top=False, weights="imagenet", input_shape=_IMAGENET_SHAPE)
    except Exception as error:  # Keras raises a bare Exception when a download fails
        raise ConfigError(
            f"model.weights=imagenet: the weights of {model.name} could not be downloaded ({error}); without a network "
            "set model.weights to the path of a file, or to `none` to start from random weights"
        ) from error
    features_of(model).set_weights(source.get_weights())


def freeze_features(model: keras.Model) -> None:
    """Let the head alone learn; compile afterwards."""
    for layer in features_of(model).layers:
        layer.trainable = False


def unfreeze_features(model: keras.Model) -> None:
    """Let all layers learn but batch normalisation: small batches would spoil its averages. Compile afterwards."""
    for layer in features_of(model).layers:
        layer.trainable = not isinstance(layer, layers.BatchNormalization)


def _scale_to_one(images: Tensor) -> Tensor:
    return layers.Rescaling(1 / 127.5, offset=-1)(images)


def _scale_as_caffe(images: Tensor) -> Tensor:
    """Blue first, minus ImageNet's mean colour, not divided."""
    x = ops.flip(images, axis=-1)
    return layers.Normalization(mean=(103.939, 116.779, 123.68), variance=(1.0, 1.0, 1.0))(x)


BACKBONES: Mapping[str, Backbone] = {
    "inception_v3": Backbone(keras.applications.InceptionV3, _scale_to_one),
    "resnet50": Backbone(keras.applications.ResNet50, _scale_as_caffe),
    "mobilenet_v2": Backbone(keras.applications.MobileNetV2, _scale_to_one),
}
