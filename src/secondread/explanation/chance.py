"""SHAP seeds and draws from numpy's global generator; its caller's draws must not change for that."""

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np


@contextmanager
def own_chance() -> Iterator[None]:
    """Give numpy's global generator back as it was."""
    before = np.random.get_state()  # noqa: NPY002 (it is what SHAP uses)
    try:
        yield
    finally:
        np.random.set_state(before)  # noqa: NPY002 (as above)
