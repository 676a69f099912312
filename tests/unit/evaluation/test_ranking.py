"""Areas from counts, for resamples at once, against scikit-learn's with sample weights."""

import numpy as np
import pytest
from sklearn.metrics import average_precision_score, roc_auc_score

from secondread.evaluation.ranking import Ranking, auroc, average_precision


def test_counts_at_every_distinct_probability_by_hand() -> None:
    ranking = Ranking.of([1, 0, 1, 0], [0.9, 0.5, 0.5, 0.1])
    true, false = ranking.counts()
    np.testing.assert_array_equal(ranking.cuts, [0.9, 0.5, 0.1])
    np.testing.assert_array_equal(true, [[1, 2, 2]])
    np.testing.assert_array_equal(false, [[0, 1, 2]])


@pytest.mark.parametrize("distinct", [5, 10_000])
def test_areas_equal_scikit_learns_with_and_without_ties(distinct: int) -> None:
    generator = np.random.default_rng(0)
    truth = generator.integers(0, 2, 200)
    probabilities = generator.integers(0, distinct, 200) / distinct * 0.7 + truth * 0.3
    weights = generator.integers(0, 4, (3, 200)).astype(float)
    counts = Ranking.of(truth, probabilities).counts(weights)
    for row, drawn in enumerate(weights):
        assert auroc(*counts)[row] == pytest.approx(roc_auc_score(truth, probabilities, sample_weight=drawn))
        expected = average_precision_score(truth, probabilities, sample_weight=drawn)
        assert average_precision(*counts)[row] == pytest.approx(expected)


def test_areas_of_a_resample_without_one_of_the_classes_are_undefined() -> None:
    counts = Ranking.of([1, 0, 1], [0.9, 0.5, 0.4]).counts(np.array([[1.0, 0, 1], [0, 2, 0], [1, 1, 1]]))
    np.testing.assert_array_equal(np.isnan(auroc(*counts)), [True, True, False])
    np.testing.assert_array_equal(np.isnan(average_precision(*counts)), [True, True, False])
