"""Labels as sources write them -> 1, 0, NaN unknown."""

import numpy as np
import pandas as pd

from secondread.errors import SourceError
from secondread.tasks import Task

_MEANINGS = {"1": 1.0, "1.0": 1.0, "true": 1.0, "0": 0.0, "0.0": 0.0, "false": 0.0}
_UNKNOWN = {"", "nan", "na", "unknown"}


def read_labels(texts: pd.Series, where: str) -> pd.Series:
    """Read a column of labels.

    Args:
        texts: as written in a table; the series' index is the line of the table, which errors name.
        where: the root that the user typed and the column, for errors.
    Returns:
        float64: 1, 0 or NaN.
    Raises:
        SourceError: a value is none of 0, 1 and unknown.
    """
    plain = texts.fillna("").astype(str).str.strip().str.lower()
    wrong = ~plain.isin(_MEANINGS.keys() | _UNKNOWN)
    if wrong.any():
        first = int(wrong.to_numpy().argmax())  # not quoted: where columns have shifted, it may be a name
        raise SourceError(
            f"{where}: row {texts.index[first]} says neither 1 nor 0 ({int(wrong.sum())} such rows); "
            "write 1 for present, 0 for absent, or leave it empty when unknown"
        )
    return plain.map(_MEANINGS).astype(np.float64)


def complete_labels(rows: pd.DataFrame, task: Task, where: str) -> pd.DataFrame:
    """Give every label of the task a column, and add what follows from the others.

    `any` is the union of the other labels: absent, it makes them all absent; one of them present makes it present; all
    of them absent make it absent.

    Args:
        rows: has some of the task's label columns; its index is the line of the table, which errors name.
        where: the root that the user typed, for errors.
    Returns:
        float64, a column per label in the task's order.
    Raises:
        SourceError: `any` is absent where another label is present.
    """
    labels = rows.reindex(columns=list(task.label_columns)).astype(np.float64)
    if "label_any" not in labels:
        return labels
    kinds = [column for column in labels if column != "label_any"]
    some, none = (labels[kinds] == 1).any(axis=1), (labels[kinds] == 0).all(axis=1)
    contradiction = some & (labels["label_any"] == 0)
    if contradiction.any():
        raise SourceError(
            f"{where}: row {contradiction.idxmax()}: `any` is 0 but one of {', '.join(task.labels[1:])} is 1 "
            f"({int(contradiction.sum())} such rows); correct the label table"
        )
    unknown = labels["label_any"].isna()
    labels.loc[unknown & some, "label_any"] = 1.0
    labels.loc[unknown & none, "label_any"] = 0.0
    absent = labels["label_any"] == 0
    labels.loc[absent, kinds] = labels.loc[absent, kinds].fillna(0.0)
    return labels
