"""Which method draws a model's maps, and what a reader must know about it."""

from typing import NamedTuple

from secondread.bundle import ModelBundle
from secondread.errors import ExplanationError
from secondread.evaluation.explanation import UNCHECKED
from secondread.explanation.method import Method
from secondread.explanation.methods import METHODS, first_that_fits, method_named

_UNCHECKED = "not checked: this model was logged without checks of its maps"


class Choice(NamedTuple):
    """A method that fits the model.

    Args:
        note: what is written on its pictures; "" where it is the one that passed the model's checks.
    """

    method: Method
    note: str


def choose(bundle: ModelBundle, named: str | None = None) -> Choice:
    """Give the method that passed the model's checks, or the one that a user named all the same.

    Raises:
        ExplanationError: no method passed and none is named; or there is no such method, or it does not fit.
    """
    checked = bundle.description.explanation
    if named is not None:
        return Choice(_fitting(bundle, named), _note(bundle, named))
    if checked == UNCHECKED:
        return Choice(first_that_fits(bundle.network), _UNCHECKED)
    if checked.method is None:
        fitting = [name for name, method in METHODS.items() if method.fits(bundle.network) is None]
        raise ExplanationError(
            f"no map of this model is to be believed: {checked.reason}; to see one all the same, name its method: "
            f"method={' or '.join(fitting)}"
        )
    return Choice(_fitting(bundle, checked.method), "")


def _fitting(bundle: ModelBundle, name: str) -> Method:
    method = method_named(name)
    unfit = method.fits(bundle.network)
    if unfit:
        raise ExplanationError(f"method={name}: {unfit}")
    return method


def _note(bundle: ModelBundle, named: str) -> str:
    checked = bundle.description.explanation
    if checked == UNCHECKED:
        return _UNCHECKED
    if checked.method is None:
        return "NOT TO BE BELIEVED: no method passed this model's checks"
    return "" if named == checked.method else f"not this model's checked method, which is {checked.method}"
