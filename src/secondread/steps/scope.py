"""Learn from a run's images which others are of the same kind."""

import numpy as np
from numpy.typing import NDArray

from secondread.data.prepare import Prepared
from secondread.evaluation.scope import Scope, learn_scope
from secondread.imaging.appearance import appearance

_MOST_IMAGES = 4000  # of train and of val each: more tell nothing new, and take a second per 3,000
_SEED = 0  # of which they are


def scope_of(data: Prepared) -> Scope | None:
    """Learn what the training images look like, and from val, or out of fold, how far others of their kind lie.

    Returns:
        None where train and val hold fewer than two patients, which is said.
    """
    manifest = data.manifest
    folded = bool((manifest["fold"] >= 0).all())
    learned = np.full(len(manifest), True) if folded else (manifest["split"] == "train").to_numpy()
    left_out = np.full(len(manifest), False) if folded else (manifest["split"] == "val").to_numpy()
    chosen = np.sort(np.concatenate([_some(np.flatnonzero(learned)), _some(np.flatnonzero(left_out))]))
    pixels = data.pixels
    looks = np.stack([appearance(pixels.take(row)[0]) for row in manifest["row"].to_numpy(np.int64)[chosen, None]])
    table = manifest.iloc[chosen]
    scope = learn_scope(looks, table["patient_key"], learned[chosen], table["fold"])
    print(_said(scope), flush=True)
    return scope


def scope_metrics(scope: Scope | None) -> dict[str, float]:
    """What the run and the bundle say of it."""
    if scope is None:
        return {}
    return {
        "scope/false_alarms": scope.false_alarms,
        "scope/false_alarms_low": scope.false_alarms_low,
        "scope/false_alarms_high": scope.false_alarms_high,
    }


def _some(places: NDArray[np.int64]) -> NDArray[np.int64]:
    if len(places) <= _MOST_IMAGES:
        return places
    return np.random.default_rng(_SEED).choice(places, _MOST_IMAGES, replace=False)


def _said(scope: Scope | None) -> str:
    if scope is None:
        return "scope: train and val hold fewer than two patients, so every picture will be answered"
    return (
        f"scope: of {scope.images:,} images by {scope.patients:,} patients, {scope.false_alarms:.3f} "
        f"({scope.false_alarms_low:.3f} to {scope.false_alarms_high:.3f}) would be turned away, each patient alike"
    )
