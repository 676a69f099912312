"""Whether a model's maps are to be believed: every method is asked every question."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property

import keras
import numpy as np
import numpy.typing as npt

from secondread.evaluation.intervals import Estimate, IntArray, mean_interval, owners, share_interval
from secondread.explanation import pointing, removal
from secondread.explanation.check import QUESTIONS, Check, measured, not_measured
from secondread.explanation.likeness import correlation, rank_correlation
from secondread.explanation.method import Maps, Method
from secondread.explanation.pointing import Masks
from secondread.explanation.randomised import randomised
from secondread.explanation.target import logits_of, reference
from secondread.imaging.picture import UInt8Image

_FEW = 6  # images whose maps are drawn once more: with them every map costs two to four times as much
_SEED = 1


@dataclass(frozen=True)
class Evidence:
    """Images with a label, which a network did not learn from, to check its maps on.

    Args:
        images: model input, shape (n, height, width, channels), at least one.
        patients: keys, shape (n,).
        masks: where the finding is, shape (n, height, width); or why that is not known, in words.
        background: as `Method.explain` takes it.
    """

    images: UInt8Image
    patients: npt.NDArray[np.object_]
    masks: Masks | str
    background: UInt8Image | None = None

    @cached_property
    def owner(self) -> IntArray:
        """The patient's number of each image."""
        return owners(self.patients)


def check_methods(network: keras.Model, label: int, evidence: Evidence, methods: Iterable[Method]) -> list[Check]:
    """Ask every method every question of `QUESTIONS`.

    Args:
        network: as a bundle holds it.
        label: which of the bundle's labels, by place.
    Returns:
        a check a method and question, in the order of both.
    """
    trial = _Trial(network, label, evidence)
    return [check for method in methods for check in trial.of(method)]


@dataclass(frozen=True)
class _Trial:
    network: keras.Model
    label: int
    evidence: Evidence

    def of(self, method: Method) -> Iterator[Check]:
        unfit = method.fits(self.network)
        if unfit:
            yield from (not_measured(method.name, name, unfit) for name in QUESTIONS)
            return
        maps, blind = self._maps(method, self.network), self._maps(method, self._twin)
        yield self._randomisation(method, maps, blind)
        yield self._repeatability(method, maps)
        yield self._stability(method, maps)
        yield self._completeness(method, maps)
        yield from self._removal(method, maps)
        yield self._pointing(method, "pointing", maps)
        yield self._pointing(method, "blind_pointing", blind)

    @cached_property
    def _twin(self) -> keras.Model:
        return randomised(self.network, _SEED)

    @cached_property
    def _by_lot(self) -> removal.Removed:
        """What random order does."""
        return self._removed(removal.by_lot(len(self.evidence.images), _SEED))

    @property
    def _some(self) -> UInt8Image:
        return self.evidence.images[:_FEW]

    def _maps(self, method: Method, network: keras.Model, images: UInt8Image | None = None) -> Maps:
        chosen = self.evidence.images if images is None else images
        return method.explain(network, chosen, self.label, self.evidence.background)

    def _randomisation(self, method: Method, maps: Maps, blind: Maps) -> Check:
        alike = [
            max(rank_correlation(one, other), rank_correlation(np.abs(one), np.abs(other)))
            for one, other in zip(maps, blind, strict=True)
        ]
        return self._mean(method, "randomisation", np.array(alike))

    def _repeatability(self, method: Method, maps: Maps) -> Check:
        again = np.concatenate([self._maps(method, self.network, image[np.newaxis]) for image in self._some[::-1]])
        apart = np.abs(again[::-1] - maps[:_FEW]).max(axis=(1, 2))
        largest = np.abs(maps[:_FEW]).max(axis=(1, 2))
        found = float((apart / np.where(largest > 0, largest, 1)).max())
        return measured(method.name, "repeatability", Estimate(found, found, found), len(self._some))

    def _stability(self, method: Method, maps: Maps) -> Check:
        moved = self._maps(method, self.network, _shaken(self._some))
        alike = [
            correlation(pointing.smoothed(one), pointing.smoothed(other))
            for one, other in zip(maps[:_FEW], moved, strict=True)
        ]
        return self._mean(method, "stability", np.array(alike))

    def _completeness(self, method: Method, maps: Maps) -> Check:
        if not method.is_complete:
            return not_measured(method.name, "completeness", "the method does not promise it")
        images, background = self.evidence.images, self.evidence.background
        baseline = method.baseline(self.network, images, self.label, background)
        change = logits_of(self.network, images, self.label) - baseline
        missing = np.abs(maps.sum(axis=(1, 2), dtype=np.float64) - change)
        # Of all images together: a single one may happen to have the baseline's logit.
        return self._mean(method, "completeness", missing / max(float(np.abs(change).mean()), 1e-9))

    def _removal(self, method: Method, maps: Maps) -> Iterator[Check]:
        found, lot = self._removed(removal.of_maps(maps)), self._by_lot
        for name, gained in (
            ("deletion", removal.area(lot.deletion) - removal.area(found.deletion)),
            ("insertion", removal.area(found.insertion) - removal.area(lot.insertion)),
        ):
            yield self._mean(method, name, gained)

    def _removed(self, ranks: Maps) -> removal.Removed:
        images, background = self.evidence.images, self.evidence.background
        return removal.removed(self.network, images, self.label, ranks, reference(images, background))

    def _pointing(self, method: Method, name: str, maps: Maps) -> Check:
        masks = self.evidence.masks
        if isinstance(masks, str):
            return not_measured(method.name, name, masks)
        found = share_interval(pointing.hits(maps, masks), self.evidence.owner)
        return measured(method.name, name, found, len(masks), f"a place by lot: {pointing.chance(masks):.2f}")

    def _mean(self, method: Method, name: str, values: npt.NDArray[np.float64]) -> Check:
        found = mean_interval(values, self.evidence.owner[: len(values)])
        return measured(method.name, name, found, len(values))


def _shaken(images: UInt8Image) -> UInt8Image:
    """Move each pixel by at most one gray level, in all channels alike."""
    moves = np.random.default_rng(_SEED).integers(-1, 2, (*images.shape[:3], 1), np.int16)
    moved: UInt8Image = np.clip(images.astype(np.int16) + moves, 0, 255).astype(np.uint8)
    return moved
