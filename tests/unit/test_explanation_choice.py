"""The method that passed a model's checks draws its maps; another is drawn only if it is named, and says so."""

import keras
import pytest
from tiny_bundle import description, network

from secondread.bundle import ModelBundle
from secondread.errors import ExplanationError
from secondread.evaluation.explanation import UNCHECKED, Explanation
from secondread.explanation.choice import choose

OCCLUSION = Explanation(method="occlusion", reason="it passed every check")
NONE = Explanation(method=None, reason="no map changed with the weights")


@pytest.fixture(scope="module")
def without_convolutions() -> keras.Model:
    return network()


def bundle(network: keras.Model, explanation: Explanation) -> ModelBundle:
    return ModelBundle(description().model_copy(update={"explanation": explanation}), network)


def test_the_method_that_passed_is_chosen_without_a_note(without_convolutions: keras.Model) -> None:
    method, note = choose(bundle(without_convolutions, OCCLUSION))
    assert (method.name, note) == ("occlusion", "")
    assert choose(bundle(without_convolutions, OCCLUSION), "occlusion").note == ""


def test_another_method_is_drawn_with_a_note(without_convolutions: keras.Model) -> None:
    method, note = choose(bundle(without_convolutions, OCCLUSION), "integrated_gradients")
    assert (method.name, note) == ("integrated_gradients", "not this model's checked method, which is occlusion")


def test_a_model_without_checks_has_the_first_that_fits_and_says_so(without_convolutions: keras.Model) -> None:
    method, note = choose(bundle(without_convolutions, UNCHECKED))
    assert method.name == "integrated_gradients"
    assert note.startswith("not checked")
    assert choose(bundle(without_convolutions, UNCHECKED), "occlusion").note == note


def test_where_none_passed_none_is_drawn_unless_it_is_named(without_convolutions: keras.Model) -> None:
    refused = r"no map of this model.*: no map changed with the weights; .*method=integrated_gradients or occlusion"
    with pytest.raises(ExplanationError, match=refused):
        choose(bundle(without_convolutions, NONE))
    assert choose(bundle(without_convolutions, NONE), "occlusion").note.startswith("NOT TO BE BELIEVED")


def test_a_method_that_does_not_fit_names_one_that_does(without_convolutions: keras.Model) -> None:
    with pytest.raises(ExplanationError, match=r"method=grad_cam: .*no convolution.*use integrated_gradients"):
        choose(bundle(without_convolutions, UNCHECKED), "grad_cam")
    with pytest.raises(ExplanationError, match=r"method=lime: there is no such method"):
        choose(bundle(without_convolutions, UNCHECKED), "lime")
