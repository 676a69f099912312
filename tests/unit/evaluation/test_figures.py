"""Figures say what the numbers say, fit on their page, and leave matplotlib's own settings alone."""

from collections.abc import Callable
from functools import cache
from itertools import combinations
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.text import Text
from matplotlib.transforms import Bbox
from numpy.typing import NDArray

from secondread.evaluation.comparison import Difference, Paired
from secondread.evaluation.explanation import Explanation
from secondread.evaluation.figures.checks import checks_figure
from secondread.evaluation.figures.comparison import agreement, differences, paired_roc
from secondread.evaluation.figures.confusion import confusion
from secondread.evaluation.figures.curves import curves
from secondread.evaluation.figures.gallery import gallery
from secondread.evaluation.figures.precision_recall import precision_recall
from secondread.evaluation.figures.reliability import reliability, reliability_before_after
from secondread.evaluation.figures.right_and_wrong import right_and_wrong
from secondread.evaluation.figures.roc import roc
from secondread.evaluation.figures.style import GREEN, PIXELS_AN_INCH, VERMILION
from secondread.evaluation.figures.way import way
from secondread.evaluation.intervals import delong_interval

LABELS = ("any", "epidural", "intraparenchymal", "intraventricular", "subarachnoid", "subdural")
THRESHOLDS = dict.fromkeys(LABELS, 0.4)
IMAGES = 120


def _predictions() -> pd.DataFrame:
    generator = np.random.default_rng(0)
    columns: dict[str, object] = {
        "patient_key": [f"patient{number // 3}" for number in range(IMAGES)],
        "split": np.array(["train", "train", "val", "test"])[np.arange(IMAGES) % 4],
    }
    for label in LABELS:
        truth = (generator.random(IMAGES) < 0.3).astype(float)
        columns[f"label_{label}"] = truth
        columns[f"probability_{label}"] = 1 / (1 + np.exp(-generator.normal(size=IMAGES) - 2 * truth + 1))
    return pd.DataFrame(columns)


def _pixels() -> NDArray[np.uint8]:
    """Image n is of one value, n."""
    return np.broadcast_to(np.arange(IMAGES, dtype=np.uint8)[:, None, None, None], (IMAGES, 8, 8, 1))


def _history(epochs: int) -> pd.DataFrame:
    falling = np.linspace(0.5, 0.1, epochs)
    return pd.DataFrame(
        {
            "epoch": np.arange(1, epochs + 1),
            "train/loss": falling,
            "val/loss": falling + 0.1,
            "val/auroc": 1 - falling,
            "learning_rate": 1e-3,
        }
    )


def _steps() -> list[tuple[str, NDArray[Any]]]:
    hounsfield = np.linspace(-1024, 3071, 64, dtype=np.int16).reshape(8, 8)
    window = np.arange(64, dtype=np.uint8).reshape(8, 8)
    stack = np.stack([window, window[::-1], window], axis=-1)
    windows = [(f"Window {name}", window) for name in ("brain", "subdural", "soft")]
    return [("Stored pixels", hounsfield + 1024), ("Hounsfield units", hounsfield), *windows, ("Network", stack)]


def _two_models() -> Paired:
    """The first label's truth, its own answers and the second label's."""
    truth, champion = FRAME["label_any"].to_numpy(), FRAME["probability_any"].to_numpy()
    challenger = FRAME["probability_epidural"].to_numpy()
    keys = FRAME["patient_key"].to_numpy(object)
    return Paired(truth, champion, challenger, champion >= 0.4, challenger >= 0.6, keys)


def _checks() -> pd.DataFrame:
    """Of two methods and eight questions; the second method's last was not measured."""
    rows = [
        {
            "method": method,
            "name": f"randomisation{number}",
            "passed": None if number + place == 8 else number > 1,
            "value": -0.0123456,
            "low": -0.0223456,
            "high": 0.0023456,
            "asked": "at least",
            "bound": 0.001,
        }
        for place, method in enumerate(("integrated_gradients", "grad_cam"))
        for number in range(8)
    ]
    return pd.DataFrame(rows)


FRAME = _predictions()
ONE = FRAME.rename(columns={"label_any": "label_pneumonia", "probability_any": "probability_pneumonia"})
ONE_THRESHOLD = {"pneumonia": 0.4}
FAILED = Explanation(method=None, reason=f"no method passed its checks: {'grad_cam failed randomisation0; ' * 9}")
MODELS = ("champion, version 12, mobilenet_v2 pretrained", "candidate, version 104, compact_resnet")
BETTER = Difference("auroc", 0.86, 0.9, 0.04, 0.01, 0.07, 0.97, "paired DeLong", 0.015)
WORSE = Difference("log_loss", 0.4, 0.43, -0.03, -0.08, 0.02, 0.9, "bootstrap", 0.03)
DRAWN: dict[str, Callable[[], Figure]] = {
    "roc": lambda: roc(ONE, ["pneumonia"], ONE_THRESHOLD, seed=0),
    "roc of six labels": lambda: roc(FRAME, LABELS, THRESHOLDS, seed=0),
    "precision-recall": lambda: precision_recall(ONE, ["pneumonia"], ONE_THRESHOLD, seed=0),
    "precision-recall of six labels": lambda: precision_recall(FRAME, LABELS, THRESHOLDS, seed=0),
    "reliability": lambda: reliability(ONE, "pneumonia"),
    "reliability before and after": lambda: reliability_before_after(
        ONE, ONE.assign(probability_pneumonia=ONE["probability_pneumonia"] / 2), "pneumonia", "platt"
    ),
    "confusion": lambda: confusion(ONE, ["pneumonia"], ONE_THRESHOLD, "balanced"),
    "confusion of six labels": lambda: confusion(FRAME, LABELS, THRESHOLDS, "half"),
    "curves": lambda: curves(_history(12), best_epoch=9),
    "curves of one epoch": lambda: curves(_history(1), best_epoch=1),
    "gallery": lambda: gallery(ONE, _pixels(), ["pneumonia"], seed=0),
    "gallery of six labels": lambda: gallery(FRAME, _pixels(), LABELS, seed=0),
    "right and wrong": lambda: right_and_wrong(ONE, _pixels(), "pneumonia", 0.4),
    "paired roc": lambda: paired_roc(_two_models(), MODELS),
    "differences": lambda: differences([(BETTER, None), (WORSE, 0.05), (WORSE, 0.1)]),
    "one difference": lambda: differences([(BETTER, None)]),
    "agreement": lambda: agreement(_two_models(), MODELS),
    "checks": lambda: checks_figure(_checks(), FAILED),
    "way": lambda: way(_steps()),
    "way of a display image": lambda: way(_steps()[2:4]),
}


@cache
def _drawn(name: str) -> Figure:
    return DRAWN[name]()


@pytest.mark.parametrize("name", DRAWN)
def test_words_stay_on_the_page_and_off_each_other(name: str) -> None:
    figure = _drawn(name)
    figure.draw_without_rendering()
    boxes = _boxes_of_words(figure)
    page = figure.bbox
    assert boxes
    outside = [words for words, box in boxes if not (page.containsx(box.x0) and page.containsx(box.x1))]
    outside += [words for words, box in boxes if not (page.containsy(box.y0) and page.containsy(box.y1))]
    assert outside == []
    assert [(one, other) for (one, a), (other, b) in combinations(boxes, 2) if a.overlaps(b)] == []


def _boxes_of_words(figure: Figure) -> list[tuple[str, Bbox]]:
    """Everything written but the numbers along the axes, of which matplotlib itself draws what fits."""
    along = {id(tick) for axes in figure.axes for tick in (*axes.get_xticklabels(), *axes.get_yticklabels())}
    words = [text for text in figure.findobj(Text) if isinstance(text, Text) and text.get_text().strip()]
    shown = [text for text in words if text.get_visible() and id(text) not in along and _on_a_visible_axes(text)]
    return [(text.get_text(), text.get_window_extent().padded(-1)) for text in shown]


def _on_a_visible_axes(text: Text) -> bool:
    return text.axes is None or text.axes.axison


@pytest.mark.parametrize("name", DRAWN)
def test_a_figure_is_in_the_shared_style_and_sharp_at_800_pixels(name: str) -> None:
    figure = _drawn(name)
    assert figure.dpi == PIXELS_AN_INCH
    assert figure.bbox.width >= 800


def test_drawing_leaves_no_setting_of_matplotlib_changed() -> None:
    def settings() -> dict[str, Any]:
        # Reading `backend` alone would choose one.
        return {name: value for name, value in mpl.rcParams.items() if name != "backend"}

    before = settings()
    DRAWN["way"]()
    assert settings() == before


def test_the_roc_legend_has_the_auroc_and_the_decisions() -> None:
    figure = _drawn("roc")
    legend = [text.get_text() for text in figure.legends[0].get_texts()]
    value, low, high = delong_interval(ONE["label_pneumonia"], ONE["probability_pneumonia"], ONE["patient_key"])
    assert legend[0] == f"pneumonia: AUROC {value:.3f} ({low:.3f}\N{EN DASH}{high:.3f})"
    assert legend[2].startswith("balanced, threshold 0.400: sensitivity ")
    assert legend[3].startswith("half, threshold 0.500: sensitivity ")


def test_decisions_lie_on_the_curve() -> None:
    (axes,) = _drawn("roc").axes
    _, curve, balanced, half = axes.get_lines()
    for mark in (balanced, half):
        assert np.isclose(_points(curve), _points(mark)).all(axis=1).any()


def _points(line: Line2D) -> NDArray[np.float64]:
    return np.column_stack([np.asarray(line.get_xdata(), float), np.asarray(line.get_ydata(), float)])


def test_the_precision_recall_curve_has_the_prevalence() -> None:
    figure = _drawn("precision-recall")
    prevalence = ONE["label_pneumonia"].mean()
    line = next(line for line in figure.axes[0].get_lines() if str(line.get_label()).startswith("prevalence"))
    np.testing.assert_allclose(_points(line)[:, 1], prevalence)


def test_the_confusion_matrix_shows_counts_and_shares_of_each_row() -> None:
    frame = pd.DataFrame({"label_x": [1, 1, 1, 1, 0, 0], "probability_x": [0.9, 0.9, 0.9, 0.1, 0.9, 0.1]})
    frame["patient_key"] = ""
    (axes,) = confusion(frame, ["x"], {"x": 0.5}, "half").axes
    said = [text.get_text() for text in axes.texts]
    assert said[:8] == ["1", "50.0%", "1", "50.0%", "1", "25.0%", "3", "75.0%"]
    assert said[8].splitlines()[0] == "threshold 0.500"
    assert axes.get_title(loc="left") == "x, half"


def test_reliability_of_a_calibrated_model_lies_on_the_diagonal() -> None:
    truth = np.tile(np.repeat([1.0, 0.0], [1, 4]), 20)
    frame = pd.DataFrame({"label_x": truth, "probability_x": 0.2, "patient_key": ""})
    figure = reliability(frame, "x")
    (point,) = [line for line in figure.axes[0].get_lines() if line.get_marker() == "o"]
    np.testing.assert_allclose(_points(point), [[0.2, 0.2]])
    assert any("ECE 0.000" in text.get_text() for text in figure.legends[0].get_texts())


def test_reliability_before_and_after_shows_both_with_their_error() -> None:
    truth = np.tile(np.repeat([1.0, 0.0, np.nan], [1, 4, 5]), 20)
    frame = pd.DataFrame({"label_x": truth, "probability_x": 0.4, "patient_key": ""})
    figure = reliability_before_after(frame, frame.assign(probability_x=0.2), "x", "temperature")
    before, after = figure.axes[:2]
    assert (before.get_title(loc="left"), after.get_title(loc="left")) == ("Before", "After: temperature scaling")
    for axes, probability, said in ((before, 0.4, "ECE 0.200"), (after, 0.2, "ECE 0.000")):
        (point,) = [line for line in axes.get_lines() if line.get_marker() == "o"]
        np.testing.assert_allclose(_points(point), [[probability, 0.2]])
        assert axes.texts[0].get_text().startswith(said)


def test_curves_have_a_panel_a_metric_with_the_kept_epoch_in_each() -> None:
    figure = _drawn("curves")
    panels = [axes for axes in figure.axes if axes.axison]
    assert [axes.get_title(loc="left") for axes in panels] == ["Loss", "AUROC", "Learning rate"]
    assert all((_points(axes.get_lines()[0])[:, 0] == 9).all() for axes in panels)
    said = [text.get_text() for text in figure.legends[0].get_texts()]
    assert said == ["kept: epoch 9", "training", "validation", "learning rate"]


def _shown(axes: Axes) -> int:
    """The value of a one-valued image."""
    image = axes.get_images()[0].get_array()
    assert image is not None
    return int(image[0, 0])


def test_the_gallery_shows_each_class_from_each_split() -> None:
    figure = _drawn("gallery")
    captions = [axes.get_xlabel() for axes in figure.axes]
    assert captions == ["train", "train", "val", "val", "test", "test"] * 6
    rows = [_shown(axes) for axes in figure.axes]
    assert [ONE["split"][row] for row in rows] == captions
    assert [ONE["label_pneumonia"][row] for row in rows] == [0.0] * 18 + [1.0] * 18
    assert len(set(rows)) == len(rows)


def test_a_gallery_of_few_images_shows_them_once() -> None:
    figure = gallery(ONE.iloc[:5], _pixels(), ["pneumonia"], seed=0)
    assert sorted(_shown(axes) for axes in figure.axes) == [0, 1, 2, 3, 4]


def test_right_and_wrong_frames_the_wrong_in_red() -> None:
    frame = pd.DataFrame({"label_x": [1, 1, 0, 0, np.nan], "probability_x": [0.9, 0.1, 0.8, 0.2, 0.5]})
    frame["patient_key"] = ""
    figure = right_and_wrong(frame, _pixels(), "x", 0.45)
    shown = [(_shown(axes), axes.get_xlabel(), axes.spines["left"].get_edgecolor()) for axes in figure.axes]
    red, green = mpl.colors.to_rgba(VERMILION), mpl.colors.to_rgba(GREEN)
    missed = (1, "present, 0.100 \N{BALLOT X}", red)
    alarm = (2, "absent, 0.800 \N{BALLOT X}", red)
    found = (0, "present, 0.900 \N{CHECK MARK}", green)
    cleared = (3, "absent, 0.200 \N{CHECK MARK}", green)
    assert shown[:4] == [missed, alarm, found, cleared]
    # Logits away from .45: 1.2 for .2, 1.6 for .8, 2.0 for .1, 2.4 for .9.
    assert shown[4:] == [cleared, alarm, missed, found]


def test_right_and_wrong_shows_colours_where_they_say_why() -> None:
    frame = pd.DataFrame({"label_x": [1.0], "probability_x": [0.9], "patient_key": ""})
    red = np.zeros((1, 8, 8, 3), np.uint8)
    red[..., 0] = 200
    explained = right_and_wrong(frame, red, "x", 0.45, explained_by="occlusion")
    assert "by occlusion" in explained.texts[1].get_text()
    plain = right_and_wrong(frame, red, "x", 0.45)
    assert [len(figure.axes[0].images[0].get_shape()) for figure in (explained, plain)] == [3, 2]
    assert explained.get_figheight() > plain.get_figheight()  # by the line that says it


def test_a_way_says_shape_and_range_of_every_step() -> None:
    figure = _drawn("way")
    said = [axes.get_xlabel() for axes in figure.axes]
    assert said[1] == "8 \N{MULTIPLICATION SIGN} 8 int16\nfrom \N{MINUS SIGN}1024 to 3071"
    assert said[5].startswith("8 \N{MULTIPLICATION SIGN} 8 \N{MULTIPLICATION SIGN} 3 uint8")


@pytest.mark.parametrize("value", [0.0, 1.0, np.nan], ids=["absent", "present", "unknown"])
def test_a_label_without_both_classes_leaves_figures_that_can_be_drawn(value: float) -> None:
    frame = FRAME.assign(label_subdural=value)
    alone = FRAME.assign(label_any=value)
    for figure in (
        roc(frame, LABELS, THRESHOLDS, seed=0),
        roc(alone, ["any"], THRESHOLDS, seed=0),
        precision_recall(frame, LABELS, THRESHOLDS, seed=0),
        precision_recall(alone, ["any"], THRESHOLDS, seed=0),
        reliability(alone, "any"),
        reliability_before_after(alone, alone, "any", "none"),
        confusion(alone, LABELS, THRESHOLDS, "balanced"),
        gallery(alone, _pixels(), ["any"], seed=0),
        right_and_wrong(alone, _pixels(), "any", 0.4),
    ):
        figure.draw_without_rendering()
        assert figure.axes or figure.texts  # no image at all still has its heading


def test_without_a_positive_decision_no_precision_is_marked() -> None:
    frame = ONE.assign(probability_pneumonia=ONE["probability_pneumonia"] / 10)
    legend = precision_recall(frame, ["pneumonia"], ONE_THRESHOLD, seed=0).legends[0]
    assert [text.get_text().split()[0] for text in legend.get_texts()] == ["pneumonia:", "prevalence"]


def test_checks_say_number_interval_and_outcome() -> None:
    (axes,) = _drawn("checks").axes
    said = [text.get_text() for text in axes.texts]
    assert said[0] == "\N{BALLOT X} -0.0123"
    assert said[1] == "-0.0223 to 0.00235"
    assert said[4] == "\N{CHECK MARK} -0.0123"
    assert said[-1] == "not measured"


def test_places_that_nothing_needs_stay_empty() -> None:
    assert [axes.axison for axes in way(_steps()[:4]).axes] == [True] * 4 + [False] * 2
    assert [axes.axison for axes in confusion(FRAME, LABELS[:4], THRESHOLDS, "half").axes] == [True] * 4 + [False] * 2


def test_thresholds_of_cross_validation_are_drawn() -> None:
    rows = np.where(np.arange(IMAGES) % 2, 0.3, 0.5)
    legend = roc(ONE, ["pneumonia"], {"pneumonia": rows}, seed=0).legends[0]
    assert any("cross-fitted threshold" in text.get_text() for text in legend.get_texts())
    figure = right_and_wrong(ONE, _pixels(), "pneumonia", rows)
    assert "cross-fitted threshold" in figure.texts[0].get_text()


def test_paired_curves_say_both_areas_and_where_each_decides() -> None:
    paired = _two_models()
    said = [text.get_text() for text in _drawn("paired roc").legends[0].get_texts()]
    value, low, high = delong_interval(paired.truth, paired.champion, paired.patients)
    assert said[0] == f"{MODELS[0]}\nAUROC {value:.3f} ({low:.3f}\N{EN DASH}{high:.3f})"
    sensitivity = paired.challenger_positive[paired.truth == 1].mean()
    assert said[3].startswith(f"decides: sensitivity {sensitivity:.3f}, ")


def test_a_difference_holds_when_its_whole_interval_is_right_of_its_bound() -> None:
    (axes,) = _drawn("differences").axes
    said = [text.get_text() for text in axes.texts]
    minus = "\N{MINUS SIGN}"
    assert said == [
        "\N{CHECK MARK} +0.040 (+0.010 to +0.070)\nsuperior, 97.0% interval",
        f"\N{BALLOT X} {minus}0.030 ({minus}0.080 to +0.020)\nnot worse by 0.05, 90.0% interval",
        f"\N{CHECK MARK} {minus}0.030 ({minus}0.080 to +0.020)\nnot worse by 0.1, 90.0% interval",
    ]
    bounds = [line for line in axes.get_lines() if line.get_linewidth() == 2.5 and len(_points(line))]
    assert [_points(line)[0, 0] for line in bounds] == [0, -0.05, -0.1]
    assert axes.get_yticklabels()[0].get_text() == "AUROC\n0.860 \N{RIGHTWARDS ARROW} 0.900"


def test_agreement_counts_decisions_and_says_who_is_right() -> None:
    paired = Paired(
        np.array([1.0, 1, 1, 0, 0]),
        np.zeros(5),
        np.zeros(5),
        np.array([True, True, False, True, False]),
        np.array([True, False, False, False, False]),
        np.array(list("abcde"), object),
    )
    present, absent = agreement(paired, ("old", "new")).axes
    assert [text.get_text() for text in present.texts] == [
        *("1", "33.3%\nboth wrong", "0", "0.0%\nchallenger right"),
        *("1", "33.3%\nchampion right", "1", "33.3%\nboth right"),
    ]
    assert [text.get_text() for text in absent.texts] == [
        *("1", "50.0%\nboth right", "0", "0.0%\nchampion right"),
        *("1", "50.0%\nchallenger right", "0", "0.0%\nboth wrong"),
    ]
    assert [axes.get_title(loc="left") for axes in (present, absent)] == ["With the label: 3", "Without the label: 2"]


def test_one_class_alone_leaves_an_empty_table() -> None:
    paired = _two_models()
    ill = paired.truth == 1
    columns = (getattr(paired, name)[ill] for name in Paired.__dataclass_fields__)
    _, absent = agreement(Paired(*columns), MODELS).axes
    assert absent.get_title(loc="left") == "Without the label: 0"
