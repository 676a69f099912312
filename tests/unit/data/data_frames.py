"""Entries and manifests that tests make from a few words."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from secondread.data.manifest import make_manifest

SECRET = b"a secret of the tests"


def make_entries(
    patients: Sequence[str],
    labels: Sequence[float],
    splits: Sequence[str] | None = None,
    primary: str = "pneumonia",
) -> pd.DataFrame:
    """Entries of images named by number, with image keys."""
    count = len(patients)
    return pd.DataFrame(
        {
            "image_key": [f"{number:064x}" for number in range(count)],
            "path": [f"{number}.png" for number in range(count)],
            "patient": list(patients),
            "study": "",
            "series": "",
            "order": np.nan,
            "split": list(splits) if splits is not None else [""] * count,
            f"label_{primary}": np.asarray(labels, np.float64),
        }
    )


def manifest_of(
    patients: Sequence[str],
    labels: Sequence[float],
    splits: Sequence[str] | None = None,
    groups: Sequence[int] | None = None,
) -> pd.DataFrame:
    """A manifest; without `groups` no image is a near duplicate."""
    numbered = np.arange(len(patients)) if groups is None else np.asarray(groups, np.int64)
    return make_manifest(make_entries(patients, labels, splits), numbered, SECRET)
