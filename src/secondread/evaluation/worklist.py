"""What to look at first: answered slices and whole studies, the most urgent at the top."""

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import pandas as pd

from secondread.evaluation.study import StudyRule, study_table

_MOST_CELLS = 1 << 22  # slices side by side: a study of a million must not make every other as long


def slice_worklist(answered: pd.DataFrame, primary: str) -> pd.DataFrame:
    """Sort slices: the highest probability of the primary label first, equal ones by path."""
    return answered.sort_values([f"probability_{primary}", "path"], ascending=[False, True], ignore_index=True)


def study_worklist(
    answered: pd.DataFrame,
    put_aside: pd.DataFrame,
    rules: Sequence[StudyRule],
    thresholds: Mapping[str, float],
    primary: str,
) -> pd.DataFrame:
    """Combine slices into studies and sort these as `slice_worklist` does.

    Args:
        answered: `path`, `study` ("" has none and is left out), `order` and `probability_<label>`, calibrated.
        put_aside: `study` of files that have no answer.
        rules: the bundle's, the primary label's among them.
        thresholds: by label, from which probability a study is positive.
        primary: label.
    Returns:
        a row a study: `study`, `images` answered, `put_aside`, `first` (path of the slice with the highest probability
        of the primary label), `probability_<label>` and `positive_<label>`. A study of which nothing could be answered
        stands at the end, without a probability.
    """
    known = answered[answered["study"] != ""]
    table = pd.concat(
        [study_table(slices, rules, []) for slices in _in_pieces(known, rules)], ignore_index=True
    ).rename(columns={"study_key": "study"})
    table = table[["study", "images", *(f"probability_{rule.label}" for rule in rules)]]
    aside = put_aside.loc[put_aside["study"] != "", "study"].value_counts().rename("put_aside")
    firsts = slice_worklist(known, primary).drop_duplicates("study").set_index("study")["path"].rename("first")
    table = table.set_index("study").join(aside, how="outer").join(firsts).rename_axis("study").reset_index()
    counts = table[["images", "put_aside"]].fillna(0).astype(np.int64)
    table = table.assign(images=counts["images"], put_aside=counts["put_aside"], first=table["first"].fillna(""))
    for rule in rules:
        probability = table[f"probability_{rule.label}"]
        positive = (probability >= thresholds[rule.label]).astype("boolean")
        table[f"positive_{rule.label}"] = positive.where(probability.notna())
    answers = [column for column in table.columns if column.startswith(("probability_", "positive_"))]
    table = table[["study", "images", "put_aside", "first", *answers]]
    return table.sort_values([f"probability_{primary}", "study"], ascending=[False, True], ignore_index=True)


def _in_pieces(slices: pd.DataFrame, rules: Sequence[StudyRule]) -> Iterator[pd.DataFrame]:
    """Slices as `study_table` takes them, whole studies of alike length together; at least one piece."""
    code, _ = pd.factorize(slices["study"])
    counts = np.bincount(code)
    by_length = np.argsort(counts, kind="stable")
    piece, start, number = np.zeros(len(counts), np.int64), 0, 0
    for place, study in enumerate(by_length):
        if place > start and (place - start + 1) * counts[study] > _MOST_CELLS:
            start, number = place, number + 1
        piece[study] = number
    needed = slices[["study", "order", *(f"probability_{rule.label}" for rule in rules)]]
    columns = needed.rename(columns={"study": "study_key"}).assign(patient_key="", split="", fold=-1)
    of_slice = piece[code]
    for wanted in range(number + 1):
        yield columns[of_slice == wanted]
