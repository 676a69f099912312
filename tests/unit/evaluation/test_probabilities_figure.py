"""The distribution of probabilities: every image is in a bar, and the share of positive ones is told."""

import numpy as np

from secondread.evaluation.figures.probabilities import distribution


def test_every_image_is_drawn_and_the_threshold_itself_is_positive() -> None:
    answered = {"any": np.array([0.1, 0.2, 0.5, 0.9]), "subdural": np.array([0.0, 0.1, 0.2, 1.0])}
    figure = distribution(answered, {"any": 0.5, "subdural": 0.3}, "Images")
    first, second = figure.axes
    heights = [sum(bar.get_height() for bar in axes.patches) for axes in (first, second)]  # type: ignore[attr-defined]  # bars are rectangles
    assert heights == [4, 4]
    assert first.get_title(loc="left") == "any: 50.0% positive, from 0.5"
    assert second.get_title(loc="left") == "subdural: 25.0% positive, from 0.3"


def test_one_label_has_a_legend_with_counts() -> None:
    figure = distribution({"pneumonia": np.array([0.1, 0.2, 0.9])}, {"pneumonia": 0.5}, "Images")
    texts = [text.get_text() for legend in figure.legends for text in legend.get_texts()]
    assert texts == ["below: 2 images", "positive: 1 images"]
