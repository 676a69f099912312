"""Worklists: the most urgent first, and nothing lost."""

import numpy as np
import pandas as pd
import pytest

from secondread.evaluation import worklist
from secondread.evaluation.study import StudyRule
from secondread.evaluation.worklist import slice_worklist, study_worklist

HIGHEST = StudyRule(label="any", pool="highest", slices=1)
NEIGHBOURS = StudyRule(label="any", pool="neighbours", slices=2)
NOTHING = pd.DataFrame({"study": pd.Series([], dtype=str)})


def slices(*rows: tuple[str, str, float | None, float]) -> pd.DataFrame:
    """Rows of path, study, order and probability of `any`."""
    table = pd.DataFrame(rows, columns=["path", "study", "order", "probability_any"])
    return table.astype({"order": np.float64})


def test_slices_are_sorted_by_probability_and_equal_ones_by_path() -> None:
    table = slices(("c", "", None, 0.2), ("b", "", None, 0.7), ("d", "", None, 0.9), ("a", "", None, 0.7))
    assert list(slice_worklist(table, "any")["path"]) == ["d", "a", "b", "c"]


def test_a_study_is_answered_by_its_rule_and_the_most_urgent_is_first() -> None:
    table = slices(("a", "calm", 1, 0.3), ("b", "urgent", 1, 0.1), ("c", "urgent", 2, 0.8), ("d", "", None, 0.99))
    studies = study_worklist(table, NOTHING, [HIGHEST], {"any": 0.5}, "any")
    assert list(studies.columns) == ["study", "images", "put_aside", "first", "probability_any", "positive_any"]
    assert studies.to_numpy().tolist() == [
        ["urgent", 2, 0, "c", pytest.approx(0.8), True],
        ["calm", 1, 0, "a", pytest.approx(0.3), False],
    ]


def test_slices_side_by_side_are_found_whatever_their_order_in_the_list() -> None:
    """In the body's order the probabilities are .9, .5, .9, .9: the highest mean of two logits is that of .9 and .9."""
    table = slices(("a", "s", 3.0, 0.9), ("b", "s", 1.0, 0.9), ("c", "s", 4.0, 0.9), ("d", "s", 2.0, 0.5))
    studies = study_worklist(table, NOTHING, [NEIGHBOURS], {"any": 0.5}, "any")
    assert studies["probability_any"].tolist() == [pytest.approx(0.9)]


def test_files_put_aside_are_counted_and_a_study_without_an_answer_stands_at_the_end() -> None:
    table = slices(("a", "s", 1, 0.3))
    aside = pd.DataFrame({"study": ["silent", "s", "silent", ""]})
    studies = study_worklist(table, aside, [HIGHEST], {"any": 0.5}, "any")
    assert studies[["study", "images", "put_aside", "first"]].to_numpy().tolist() == [
        ["s", 1, 1, "a"],
        ["silent", 0, 2, ""],
    ]
    assert studies["probability_any"].isna().tolist() == [False, True]
    assert studies["positive_any"].isna().tolist() == [False, True]


def test_without_any_answer_there_is_a_table_without_rows() -> None:
    studies = study_worklist(slices(), NOTHING, [HIGHEST], {"any": 0.5}, "any")
    assert len(studies) == 0
    assert "probability_any" in studies


def test_studies_are_answered_alike_in_one_piece_and_in_many(monkeypatch: pytest.MonkeyPatch) -> None:
    random = np.random.default_rng(0)
    table = pd.DataFrame(
        {
            "path": [f"{number:03d}" for number in range(300)],
            "study": random.choice(list("abcdefgh"), 300, p=[0.5, 0.2, 0.1, 0.1, 0.05, 0.03, 0.01, 0.01]),
            "order": random.random(300),
            "probability_any": random.random(300),
        }
    )
    whole = study_worklist(table, NOTHING, [HIGHEST], {"any": 0.5}, "any")
    monkeypatch.setattr(worklist, "_MOST_CELLS", 20)
    pd.testing.assert_frame_equal(study_worklist(table, NOTHING, [HIGHEST], {"any": 0.5}, "any"), whole)
    assert len(whole) == table["study"].nunique()
