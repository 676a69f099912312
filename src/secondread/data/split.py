"""Dividing images so that no patient and no near duplicate is on both sides."""

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from secondread.data.manifest import label_columns
from secondread.errors import SplitError

IntArray = NDArray[np.int64]


def split_by_patient(manifest: pd.DataFrame, val_fraction: float, test_fraction: float, seed: int) -> pd.DataFrame:
    """Give every image a split.

    What the source gives is kept. A test is drawn only when none is given, a val when none is given, both from the
    other images. Independent of the secret and of the row order.

    Args:
        val_fraction: share of the images that are not test.
        test_fraction: share of all images, where the source gives no test.
    Returns:
        A copy with `split` filled; `given` stays true only where the split is the source's own.
    Raises:
        SplitError: there are fewer patients than splits to draw.
    """
    given = manifest["given"].to_numpy(bool)
    has = {name: bool((given & (manifest["split"] == name)).any()) for name in ("val", "test")}
    test_share = 0.0 if has["test"] else test_fraction
    val_share = 0.0 if has["val"] else val_fraction * (1 - test_share)
    shares = {"train": 1 - val_share - test_share, "val": val_share, "test": test_share}
    drawn = {name: share for name, share in shares.items() if share > 0}
    pool = ~(given & manifest["split"].isin(["val", "test"]).to_numpy(bool))
    split = manifest["split"].to_numpy(object).copy()
    split[pool] = np.array(list(drawn), object)[_assign(manifest[pool], list(drawn.values()), seed, "splits")]
    kept = given & (~pool | (len(drawn) == 1))
    return manifest.assign(split=pd.Series(split, manifest.index, dtype=str), given=kept)


def fold_by_patient(manifest: pd.DataFrame, folds: int, seed: int) -> pd.DataFrame:
    """Give every image a fold for cross-validation.

    Args:
        folds: at least 2.
    Returns:
        A copy with `fold` (int64): 0 to folds - 1, and -1 for a test that the source gives.
    Raises:
        SplitError: there are fewer patients than folds.
    """
    pool = ~(manifest["given"] & (manifest["split"] == "test")).to_numpy(bool)
    fold = np.full(len(manifest), -1, np.int64)
    fold[pool] = _assign(manifest[pool], [1 / folds] * folds, seed, "folds")
    return manifest.assign(fold=fold)


def units_of(manifest: pd.DataFrame) -> IntArray:
    """Number the sets of images that must stay together: linked by patient or by near-duplicate group.

    Returns:
        Unit of each row, shape (n,), numbered by the smallest image key in it.
    """
    count = len(manifest)
    patients = count + pd.factorize(manifest["patient_key"])[0]
    groups = count + patients.max(initial=0) + pd.factorize(manifest["group"])[0] + 1
    rows = np.arange(count)
    links = (np.concatenate([rows, rows]), np.concatenate([patients, groups]))
    size = int(groups.max(initial=0)) + 1
    component = connected_components(coo_array((np.ones(2 * count, bool), links), shape=(size, size)))[1][:count]
    smallest = manifest["image_key"].groupby(component).transform("min")
    return pd.factorize(smallest, sort=True)[0].astype(np.int64)


def partition(strata: IntArray, sizes: IntArray, weights: list[float], seed: int) -> IntArray:
    """Divide units among parts, every stratum in the parts' proportion.

    Stratum by stratum, the rarest first, each unit, large ones first and in random order among those of like size, goes
    to the part that lacks the largest share of what it should have. So every part gets its share of large and of small
    units, and a stratum of at least as many units as parts is in all of them. The commonest stratum makes up for what
    rounding cost the others. No part is left empty.

    Args:
        strata: stratum of each unit, shape (u,).
        sizes: images in each unit, shape (u,); at least as many units as parts.
        weights: share of each part; they add up to 1.
    Returns:
        Part of each unit, shape (u,).
    """
    random = np.random.default_rng(seed)
    shares = np.asarray(weights, np.float64)
    part = np.full(len(sizes), -1, np.int64)
    filled = np.zeros(len(shares))
    totals = np.bincount(strata, weights=sizes)
    for stratum in sorted(np.unique(strata), key=lambda value: (totals[value], value)):
        members = np.flatnonzero(strata == stratum)
        others = int((part < 0).sum()) - len(members)
        target = shares * totals[stratum] if others else shares * sizes.sum() - filled
        part[members] = _fill(sizes[members], target, shares, filled, others, random)
        filled += np.bincount(part[members], weights=sizes[members], minlength=len(shares))
    return part


def _fill(
    sizes: IntArray,
    target: NDArray[np.float64],
    shares: NDArray[np.float64],
    before: NDArray[np.float64],
    others: int,
    random: np.random.Generator,
) -> IntArray:
    """Parts of one stratum's units, when `others` units of other strata are still to come."""
    part = np.zeros(len(sizes), np.int64)
    filled = np.zeros(len(target))
    target = np.maximum(target, 1e-9)  # a part that has too much already still gets one unit of each stratum
    tie = random.permutation(len(target))
    size_class = np.floor(np.log2(sizes))
    order = np.lexsort((random.permutation(len(sizes)), -size_class))
    for left, unit in zip(range(len(sizes) + others, 0, -1), order, strict=False):
        lacking = (target - filled) / target
        empty = before + filled == 0
        if left <= empty.sum():
            lacking[~empty] = -np.inf
        chosen = np.lexsort((tie, before, -shares, -lacking))[0]
        part[unit] = chosen
        filled[chosen] += sizes[unit]
    return part


def _assign(manifest: pd.DataFrame, weights: list[float], seed: int, what: str) -> IntArray:
    """Part of each row."""
    units = units_of(manifest)
    count = int(units.max(initial=-1)) + 1
    if count < len(weights):
        raise SplitError(
            f"{count} separate patients cannot fill {len(weights)} {what} (a patient, or near duplicates, are "
            f"never divided); add patients, or ask for fewer {what}"
        )
    sizes = np.bincount(units, minlength=count).astype(np.int64)
    return partition(_strata(manifest, units, count), sizes, weights, seed)[units]


def _strata(manifest: pd.DataFrame, units: IntArray, count: int) -> IntArray:
    """Stratum of each unit: 1 + the rank of the rarest label that one of its images has, or 0 for none."""
    positive = (manifest[label_columns(manifest)] == 1).groupby(units).any().to_numpy()
    strata = np.zeros(count, np.int64)
    for rank, label in enumerate(np.argsort(-positive.sum(axis=0), kind="stable")):
        strata[positive[:, label]] = rank + 1
    return strata
