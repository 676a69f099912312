"""Ways to explain an answer, by the name that a user types."""

from collections.abc import Mapping

import keras

from secondread.errors import ExplanationError
from secondread.explanation.grad_cam import GradCam
from secondread.explanation.gradient_shap import GradientShap
from secondread.explanation.integrated_gradients import IntegratedGradients
from secondread.explanation.method import Method
from secondread.explanation.occlusion import Occlusion
from secondread.explanation.partition_shap import PartitionShap

METHODS: Mapping[str, Method] = {
    method.name: method for method in (GradCam(), IntegratedGradients(), Occlusion(), GradientShap(), PartitionShap())
}


def method_named(name: str) -> Method:
    """Give the method of a name.

    Raises:
        ExplanationError: there is none.
    """
    if name not in METHODS:
        raise ExplanationError(f"method={name}: there is no such method; use one of {', '.join(METHODS)}")
    return METHODS[name]


def first_that_fits(network: keras.Model) -> Method:
    """The method of a network that nobody checked: the cheapest that fits."""
    return next(method for method in METHODS.values() if method.fits(network) is None)
