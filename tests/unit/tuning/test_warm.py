"""What an earlier search found best, read as a point of a new space."""

from tuning.space import Parameter, SearchSpace
from tuning.warm import point_of

SPACE = SearchSpace(
    "space",
    "",
    ("pneumonia",),
    (
        Parameter("model.name", choices={"compact_resnet": "compact_resnet", "mobilenet_v2": "mobilenet_v2"}),
        Parameter("model.width", low=16, high=32, step=8, when={"model.name": ("compact_resnet",)}),
        Parameter("train.learning_rate", low=1e-4, high=1e-2, log=True),
        Parameter("augment.horizontal_flip", choices={"true": True, "false": False}),
    ),
)


def test_logged_text_becomes_numbers_and_labels() -> None:
    logged = {
        "model.name": "compact_resnet",
        "model.width": "16",
        "train.learning_rate": "0.003",
        "augment.horizontal_flip": "True",
        "train.epochs": "12",
    }
    assert point_of(SPACE, logged) == {
        "model.name": "compact_resnet",
        "model.width": 16,
        "train.learning_rate": 0.003,
        "augment.horizontal_flip": "true",
    }


def test_what_lies_outside_is_left_for_the_search_to_draw() -> None:
    logged = {"model.name": "chest_cnn", "train.learning_rate": "0.5", "augment.horizontal_flip": "False"}
    assert point_of(SPACE, logged) == {"augment.horizontal_flip": "false"}


def test_a_parameter_whose_condition_does_not_hold_is_left_out() -> None:
    assert point_of(SPACE, {"model.name": "mobilenet_v2", "model.width": "16"}) == {"model.name": "mobilenet_v2"}


def test_what_cannot_be_read_is_left_out() -> None:
    assert point_of(SPACE, {"train.learning_rate": "fast"}) == {}
