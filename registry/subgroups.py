"""Whether some patients are served worse than everyone: sensitivity and specificity of each subgroup at `balanced`."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from registry.contender import Contender
from secondread.evaluation.confusion import Confusion
from secondread.evaluation.intervals import Estimate

_PREFIX = "subgroup_"


@dataclass(frozen=True)
class Shortfall:
    """A figure of a subgroup beside everyone's.

    Args:
        subgroup: such as `cause virus` or `with subdural`.
        measure: sensitivity or specificity.
        found: with its Wilson interval.
    """

    subgroup: str
    measure: str
    found: Estimate
    everyone: float
    images: int

    def is_worse_by(self, margin: float) -> bool:
        """Whether its whole interval lies more than the margin below everyone's figure."""
        return self.found.high < self.everyone - margin

    def __str__(self) -> str:
        value, low, high = self.found
        return (
            f"{self.measure} {value:.3f} ({low:.3f} to {high:.3f}) of {self.images} images, {self.subgroup}, "
            f"everyone's {self.everyone:.3f}"
        )


def shortfalls(candidate: Contender, at_least: int) -> list[Shortfall]:
    """Measure each subgroup of a candidate's test images that gives enough of them to measure.

    Args:
        at_least: images with the primary label for a sensitivity, without it for a specificity.
    """
    from secondread.steps.thresholds import thresholds_of

    label = candidate.task.primary
    table = candidate.predictions
    limits = thresholds_of(table, candidate.description)[label]
    positive = table[f"probability_{label}"].to_numpy(np.float64) >= limits
    truth = table[f"label_{label}"].to_numpy(np.float64)
    patients = table["patient_key"].to_numpy(object)
    everyone = Confusion.count(truth, positive, patients).estimates()
    found = []
    for name, inside in _subgroups(candidate, table):
        counted = Confusion.count(truth[inside], positive[inside], patients[inside])
        estimates = counted.estimates()
        for measure, images in (("sensitivity", counted.positives), ("specificity", counted.negatives)):
            if images >= at_least:
                found.append(Shortfall(name, measure, estimates[measure], everyone[measure].value, int(images)))
    return found


def _subgroups(candidate: Contender, table: pd.DataFrame) -> Iterator[tuple[str, NDArray[np.bool_]]]:
    """Each subgroup's name, and which rows of the table belong to it, shape (n,)."""
    manifest = candidate.manifest.drop_duplicates("image_key").set_index("image_key")
    for column in (name for name in manifest.columns if name.startswith(_PREFIX)):
        values = table["image_key"].map(manifest[column]).fillna("")
        for value in sorted(set(values) - {""}):
            yield f"{column.removeprefix(_PREFIX)} {value}", (values == value).to_numpy(bool)
    for other in candidate.task.labels:
        if other != candidate.task.primary:
            yield f"with {other}", (table[f"label_{other}"] == 1).to_numpy(bool)
