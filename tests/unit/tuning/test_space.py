"""What a search may change: read from YAML, checked against the configuration before the first trial."""

import time
from pathlib import Path

import pytest

from secondread.config import WINDOWS
from secondread.errors import ConfigError
from tuning.parameter import Parameter
from tuning.space import SearchSpace, load_space, space_names


def space(folder: Path, parameters: str, base: dict[str, object] | None = None, task: str = "pneumonia") -> SearchSpace:
    """Write `parameters` as a space for both tasks, and read it."""
    path = folder / "own.yaml"
    path.write_text("about: of a test\ntasks: [hemorrhage, pneumonia]\nparameters:\n" + parameters)
    return load_space(str(path), task, base or {})


def refusal(folder: Path, parameters: str, base: dict[str, object] | None = None, task: str = "pneumonia") -> str:
    with pytest.raises(ConfigError) as caught:
        space(folder, parameters, base, task)
    assert "\n" not in str(caught.value)
    return str(caught.value).removeprefix(f"{folder / 'own.yaml'}: ")


TASKS = {
    "hemorrhage": ["hemorrhage"],
    "pneumonia": ["pneumonia"],
    "pretrained": ["hemorrhage", "pneumonia"],
    "quick": ["hemorrhage", "pneumonia"],
}
CONDITIONAL = """
  train.fine_tune_learning_rate: {low: 1e-5, high: 1.0e-3, log: true, when: {model.name: [resnet50]}}
  model.name: {choices: [resnet50, compact_resnet]}
  train.batch_size: {low: 8, high: 32, step: 8}
  preprocess.size: {low: 64, high: 96}
  augment.zoom: {low: 0, high: 0.5}
"""


def test_the_spaces_are_these() -> None:
    assert space_names() == tuple(sorted(TASKS))


@pytest.mark.parametrize(("name", "task"), [(name, task) for name, tasks in TASKS.items() for task in tasks])
def test_every_space_fits_each_of_its_tasks_and_says_what_it_is_in_a_line(name: str, task: str) -> None:
    found = load_space(name, task, {})
    assert 20 < len(found.about) < 120
    assert list(found.tasks) == TASKS[name]
    found.config(task, {}, found.fill({}))


@pytest.mark.parametrize("task", ["hemorrhage", "pneumonia"])
def test_task_is_the_tasks_own_space(task: str) -> None:
    assert load_space("task", task, {}) == load_space(task, task, {})


def test_the_spaces_search_all_that_makes_a_model() -> None:
    spaces = [load_space(name, tasks[0], {}) for name, tasks in TASKS.items()]
    searched = {parameter.name for each in spaces for parameter in each.parameters}
    assert searched >= {
        *("model.name", "model.width", "preprocess.size", "preprocess", "augment.rotation", "augment.horizontal_flip"),
        *("train.optimizer", "train.learning_rate", "train.loss", "data.class_weights", "data.positive_fraction"),
    }


def test_a_parameter_is_a_range_of_whole_numbers_or_of_others_or_choices(tmp_path: Path) -> None:
    found = {each.name: each for each in space(tmp_path, CONDITIONAL).parameters}
    assert {name: each.kind for name, each in found.items()} == {
        "model.name": "choice",
        "train.fine_tune_learning_rate": "float",
        "train.batch_size": "int",
        "preprocess.size": "int",
        "augment.zoom": "float",  # one whole bound is not enough
    }
    rate = found["train.fine_tune_learning_rate"]
    assert (rate.low, rate.high, rate.log) == (1e-5, 1e-3, True)  # YAML 1.1 reads 1e-5 as text


def test_parents_come_before_those_that_name_them(tmp_path: Path) -> None:
    names = [each.name for each in space(tmp_path, CONDITIONAL).parameters]
    assert names.index("model.name") < names.index("train.fine_tune_learning_rate")


def test_a_condition_holds_with_one_of_its_labels_and_with_all_its_parents(tmp_path: Path) -> None:
    found = space(
        tmp_path,
        """
  model.name: {choices: [compact_resnet, resnet50, mobilenet_v2]}
  train.optimizer: {choices: [adam, sgd], when: {model.name: [resnet50, mobilenet_v2]}}
  train.frozen_epochs: {low: 0, high: 2, when: {model.name: resnet50, train.optimizer: sgd}}
""",
    )
    optimizer, frozen = found.parameters[1:]
    assert not found.active(optimizer, {"model.name": "compact_resnet"})
    assert found.active(optimizer, {"model.name": "mobilenet_v2"})
    assert not found.active(frozen, {"model.name": "mobilenet_v2", "train.optimizer": "sgd"})
    assert found.active(frozen, {"model.name": "resnet50", "train.optimizer": "sgd"})
    assert found.fill({}) == {"model.name": "compact_resnet"}


def test_a_label_stands_for_its_value_and_a_groups_value_for_its_settings(tmp_path: Path) -> None:
    found = space(
        tmp_path,
        """
  preprocess:
    choices:
      brain: {channels: 1, windows: [brain]}
      wide: {channels: 3, windows: [brain, 40/380, {center: 600, width: 2800}]}
  train.plateau: {choices: {never: null, soon: {monitor: val/loss, mode: min, factor: 0.5, patience: 1}}}
  data.positive_fraction: {choices: {as they come: null, half: 0.5}}
  augment.horizontal_flip: {choices: [true, false]}
  model.name: {choices: [compact_resnet]}
""",
        {"train.epochs": "3"},
        "hemorrhage",
    )
    sampled = {
        "preprocess": "wide",
        "train.plateau": "soon",
        "data.positive_fraction": "half",
        "augment.horizontal_flip": "false",
    }
    assert found.settings(sampled)["preprocess.channels"] == 3
    config = found.config("hemorrhage", {"train.epochs": "3"}, sampled)
    assert config.preprocess.windows[:2] == (WINDOWS["brain"], WINDOWS["soft"])
    assert config.train.plateau is not None
    assert (config.train.plateau.patience, config.train.epochs) == (1, 3)
    assert (config.data.positive_fraction, config.augment.horizontal_flip) == (0.5, False)
    plain = found.config(
        "hemorrhage", {}, {**sampled, "train.plateau": "never", "data.positive_fraction": "as they come"}
    )
    assert (plain.train.plateau, plain.data.positive_fraction) == (None, None)


def test_what_was_drawn_wins_over_the_preset_of_the_network_that_was_drawn(tmp_path: Path) -> None:
    found = space(tmp_path, "  model.name: {choices: [chest_cnn]}\n  train.optimizer: {choices: [sgd]}")
    config = found.config("pneumonia", {"train.epochs": 2}, {"model.name": "chest_cnn", "train.optimizer": "sgd"})
    assert (config.model.name, config.preprocess.size) == ("chest_cnn", 150)
    assert (config.train.optimizer, config.train.epochs) == ("sgd", 2)


@pytest.mark.parametrize(
    ("parameters", "size"),
    [
        ("  train.batch_size: {low: 8, high: 32, step: 8}", 4),
        ("  train.batch_size: {low: 1, high: 100, log: true}", 100),
        ("  augment.zoom: {low: 0.0, high: 0.3, step: 0.1}\n  train.loss: {choices: [cross_entropy]}", 4),
        ("  augment.zoom: {low: 0.0, high: 0.3}", None),
        # 3 with compact_resnet and 1 without
        (
            "  model.name: {choices: [compact_resnet, chest_cnn]}\n"
            "  model.width: {low: 16, high: 32, step: 8, when: {model.name: [compact_resnet]}}",
            4,
        ),
        # (1 + 2 plateaus) times 2, and continuous with one choice alone
        (
            "  train.optimizer: {choices: [adam, sgd]}\n"
            "  augment.zoom: {low: 0.0, high: 0.3, when: {train.optimizer: [sgd]}}",
            None,
        ),
    ],
)
def test_a_finite_space_counts_its_points(parameters: str, size: int | None, tmp_path: Path) -> None:
    assert space(tmp_path, parameters).size() == size


def test_the_digest_is_of_what_can_be_drawn(tmp_path: Path) -> None:
    one = space(tmp_path, "  train.batch_size: {low: 8, high: 32}")
    again = space(tmp_path, "  train.batch_size: {high: 32, low: 8} # the same")
    other = space(tmp_path, "  train.batch_size: {low: 8, high: 33}")
    assert one.digest == again.digest != other.digest
    assert len(one.digest) == 32


def test_every_way_of_asking_for_images_is_known_beforehand(tmp_path: Path) -> None:
    found = space(
        tmp_path,
        """
  model.name: {choices: [compact_resnet, slice_mlp]}
  preprocess.size: {choices: [64, 96], when: {model.name: [compact_resnet]}}
  train.learning_rate: {low: 0.001, high: 0.01}
""",
        task="hemorrhage",
    )
    asked = [(each.model.name, each.preprocess.size) for each in found.preprocessings("hemorrhage", {})]
    assert asked == [("compact_resnet", 64), ("compact_resnet", 96), ("slice_mlp", 50)]
    assert len(found.preprocessings("hemorrhage", {}, most=2)) == 2


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ("  train.epohcs: {low: 1, high: 3}", "train.epohcs: unknown setting; did you mean train.epochs?"),
        (
            "  preprocess: {choices: {a: {sise: 32}}}",
            "preprocess=a: preprocess.sise: unknown setting; did you mean prep",
        ),
        ("  train: {low: 1, high: 3}", "train: expected settings below it. Received: 1"),
        ("  model: {choices: [chest_cnn]}", "model: a space names settings in full; write model.name"),
        ("  train.batch_size: {low: 0, high: 3}", "train.batch_size: Input should be greater than or equal to 1. Rec"),
        ("  augment.zoom: {low: 0.1, high: 1.5}", "augment.zoom: Input should be less than 1. Received: 1.5"),
        (
            "  train.batch_size: {low: 8.0, high: 32.0}",
            "train.batch_size: Input should be a valid integer, got a number",
        ),
        ("  train.loss: {choices: [cross_entropy, hinge]}", "train.loss: Input should be 'cross_entropy' or 'weighted"),
        (
            "  train.loss: {choices: {a: hinge}}",
            "train.loss: Input should be 'cross_entropy' or 'weighted_log_loss'. Rec",
        ),
        (
            "  model.name: {choices: [chestcnn]}",
            "model.name=chestcnn: model=chestcnn: there is no such preset; did you",
        ),
        (
            "  model.name: {choices: [window_cnn]}",
            "model.name=window_cnn: model=window_cnn: this preset is for hemorrhage",
        ),
        ("  train.batch_size: {low: 8}", "train.batch_size: high is missing; say low and high, or choices"),
        (
            "  train.batch_size: {low: 8, high: 8}",
            "train.batch_size: low=8 is not below high=8; for one value give choi",
        ),
        ("  train.batch_size: {low: many, high: 8}", "train.batch_size.low: expected a number. Received: 'many'"),
        ("  train.batch_size: {low: true, high: 8}", "train.batch_size.low: expected a number. Received: True"),
        ("  train.batch_size: {low: 1, high: .inf}", "train.batch_size.high: expected a number. Received: inf"),
        ("  train.batch_size: {low: 8, hihg: 16}", "train.batch_size.hihg: unknown key; did you mean high?"),
        ("  train.batch_size: {low: 8, high: 20, step: 8}", "train.batch_size.step: 8 does not lead from 8 to high=20"),
        ("  train.batch_size: {low: 8, high: 16, step: 0.5}", "train.batch_size.step: whole bounds need a whole step."),
        ("  train.batch_size: {low: 8, high: 16, step: -8}", "train.batch_size.step: must be above 0. Received: -8"),
        (
            "  augment.zoom: {low: 0, high: 0.5, log: true}",
            "augment.zoom: the logarithm of low=0 does not exist; begin",
        ),
        ("  augment.zoom: {low: 0.1, high: 0.5, log: yess}", "augment.zoom.log: true or false. Received: 'yess'"),
        (
            "  augment.zoom: {low: 0.1, high: 0.5, log: true, step: 0.1}",
            "augment.zoom: log and step exclude each other",
        ),
        (
            "  train.batch_size: {choices: [8], log: true}",
            "train.batch_size: choices have no log; give either choices or",
        ),
        ("  train.batch_size: {choices: []}", "train.batch_size.choices: there is none; name at least one"),
        (
            "  train.batch_size: {choices: 8}",
            "train.batch_size.choices: give a list, or labels with their values. Rece",
        ),
        ("  train.batch_size: {choices: [8, '8']}", "train.batch_size.choices: 8 is there twice; leave one out"),
        ("  preprocess: {choices: [{size: 32}]}", "preprocess.choices: settings of a group need labels; write {LABEL:"),
        ("  train.batch_size: 8", "train.batch_size: say {low: ..., high: ...} or {choices: [...]}. Received: 8"),
        (
            "  train.batch_size: {low: 8, high: 16, when: {train.los: [a]}}\n  train.loss: {choices: [cross_entropy]}",
            "train.batch_size.when.train.los: it is not a parameter of this space; did you mean train.loss?",
        ),
        (
            "  train.batch_size: {low: 8, high: 16, when: {augment.zoom: [0]}}\n  augment.zoom: {low: 0, high: 0.5}",
            "train.batch_size.when.augment.zoom: a condition names choices, and augment.zoom is a range; list choices",
        ),
        (
            "  train.batch_size: {low: 8, high: 16, when: {train.loss: hinge}}\n"
            "  train.loss: {choices: [cross_entropy]}",
            "train.batch_size.when.train.loss: hinge is none of its choices; use one of cross_entropy",
        ),
        (
            "  train.batch_size: {low: 8, high: 16, when: {train.loss: []}}\n  train.loss: {choices: [cross_entropy]}",
            "train.batch_size.when.train.loss: no choice is named, so train.batch_size would never be drawn; name one",
        ),
        (
            "  train.batch_size: {low: 8, high: 16, when: [train.loss]}",
            "train.batch_size.when: say {PARAMETER: [CHOICE,",
        ),
        (
            "  train.loss: {choices: [cross_entropy], when: {train.optimizer: [adam]}}\n"
            "  train.optimizer: {choices: [adam], when: {train.loss: [cross_entropy]}}",
            "train.loss.when: the conditions of train.loss, train.optimizer lead back to themselves; drop one",
        ),
        (
            "  model.name: {choices: [compact_resnet, chest_cnn]}\n  model.width: {low: 16, high: 32, step: 8}",
            "model.name=chest_cnn with model.width=16: model: model.width=16: only compact_resnet has one",
        ),
        (
            "  preprocess.channels: {choices: [3, 1]}\n  preprocess.size: {choices: [32, 64]}",
            "preprocess.channels=1: preprocess: 3 windows for 1 channels; give one window a channel",
        ),
        (
            "  preprocess: {choices: {gray: {channels: 3, size: 32}}}\n  preprocess.size: {choices: [64]}",
            "preprocess.size=64 and preprocess=gray both set preprocess.size; leave it out of one, or",
        ),
        (
            "  train.plateau: {choices: {never: null}}\n  train.plateau.patience: {low: 1, high: 3}",
            "train.plateau.patience=1 and train.plateau=never both set train.plateau.patience; leave it out of one",
        ),
    ],
)
def test_a_space_that_cannot_be_drawn_from_is_refused(parameters: str, message: str, tmp_path: Path) -> None:
    assert refusal(tmp_path, parameters).startswith(message)


def test_a_group_may_be_left_out_by_one_choice_and_searched_with_another(tmp_path: Path) -> None:
    found = space(
        tmp_path,
        """
  train.plateau: {choices: {never: null, wait: {monitor: val/loss, mode: min, factor: 0.5, patience: 1}}}
  train.plateau.minimum: {low: 1.0e-6, high: 1.0e-4, log: true, when: {train.plateau: [wait]}}
""",
    )
    config = found.config("pneumonia", {}, {"train.plateau": "wait", "train.plateau.minimum": 1e-5})
    assert config.train.plateau is not None
    assert (config.train.plateau.minimum, config.train.plateau.patience) == (1e-5, 1)


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ("  data.path: {choices: [phantom, elsewhere]}", "data.path: no search may change data.path: every trial must"),
        (
            "  data: {choices: [phantom, elsewhere]}",
            "data: a space names settings in full; write data.path",
        ),
        (
            "  data: {choices: {few: {limit: 100}}}",
            "data: no search may change data.limit: every trial must learn from",
        ),
        (
            "  data.seed: {low: 0, high: 9}",
            "data.seed: no search may change data.seed: every trial must learn from and",
        ),
        ("  data.evaluation: {choices: [a, b]}", "data.evaluation: no search may change data.evaluation: every trial"),
        ("  data.folds: {low: 2, high: 5}", "data.folds: no search may change data.folds: measuring on folds is a set"),
        ("  model.weights: {choices: [none, imagenet]}", "model.weights: no search may change model.weights: weights"),
        ("  train.seed: {low: 0, high: 99}", "train.seed: no search may change train.seed: the best seed is luck;"),
        ("  execution.workers: {low: 1, high: 2}", "execution.workers: no search may change execution: it changes no"),
        ("  operating_points.high_sensitivity: {low: 0.9, high: 0.99}", "operating_points.high_sensitivity: no search"),
        ("  task: {choices: [pneumonia, hemorrhage]}", "task: no search may change task: a search is for one task"),
    ],
)
def test_what_would_make_trials_incomparable_is_never_searched(parameters: str, message: str, tmp_path: Path) -> None:
    assert refusal(tmp_path, parameters).startswith(message)


@pytest.mark.parametrize(
    ("typed", "message"),
    [
        (
            {"model": "chest_cnn"},
            "model.name=chest_cnn: this space searches model.name; leave the setting out, or take",
        ),
        (
            {"preprocess.size": "64"},
            "preprocess.size=64: this space searches preprocess; leave the setting out, or take",
        ),
        ({"train": {"plateau": None}}, "train.plateau=None: this space searches train.plateau.patience; leave the set"),
        (
            {"data.folds": "5"},
            "data.folds=5: measuring on folds is a setting of the search, `folds`; give --folds 5 in",
        ),
        ({"train.epohcs": "5"}, "train.epohcs: unknown setting; did you mean train.epochs?"),
        ({"train.epochs": "0"}, "train.epochs: Input should be greater than or equal to 1. Received: '0'"),
    ],
)
def test_what_the_user_typed_must_fit_too(typed: dict[str, object], message: str, tmp_path: Path) -> None:
    parameters = """
  model.name: {choices: [chest_cnn, separable_cnn]}
  preprocess: {choices: {small: {size: 64}, large: {size: 128}}}
  train.plateau.patience: {low: 1, high: 3}
"""
    assert refusal(tmp_path, parameters, typed).startswith(message)


def test_what_the_user_typed_may_be_what_a_parameter_needs(tmp_path: Path) -> None:
    parameters = "  model.width: {low: 16, high: 32, step: 8}"
    assert space(tmp_path, parameters, {"model": "compact_resnet"}).parameters[0].name == "model.width"
    assert refusal(tmp_path, parameters, {"model": "chest_cnn"}).startswith(
        "model.width=16: model: model.width=16: only"
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("parameters: [", "this is not YAML (while parsing a flow node"),
        ("- train.epochs", "expected about, tasks, parameters. Received: ['train.epochs']"),
        ("task: [pneumonia]\nparameters: {}", "task: unknown key; did you mean tasks?"),
        ("tasks: pneumonia\nparameters: {train.epochs: {choices: [1]}}", "tasks: name the tasks that it is for, such"),
        ("tasks: [pneumonia]\nparameters: {}", "parameters: name at least one setting to search. Received: {}"),
        (
            "tasks: [hemorrhage]\nparameters: {train.epochs: {choices: [1]}}",
            "this space is for hemorrhage, not for pneu",
        ),
    ],
)
def test_a_file_that_is_no_space_is_refused_by_its_name(text: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "own.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError) as caught:
        load_space(str(path), "pneumonia", {})
    assert str(caught.value).startswith(f"{path}: {message}")


def test_a_space_that_does_not_exist_is_answered_with_the_nearest() -> None:
    with pytest.raises(ConfigError, match=r"space=quik: there is no such space and no such file; did you mean quick\?"):
        load_space("quik", "pneumonia", {})


def test_a_large_space_is_checked_within_seconds(tmp_path: Path) -> None:
    choices = "\n".join(f"  train.{name}: {{low: 1, high: 99}}" for name in ("epochs", "batch_size", "frozen_epochs"))
    augment = "\n".join(f"  augment.{name}: {{low: 0.0, high: 0.5}}" for name in ("rotation", "zoom", "shear", "shift"))
    began = time.process_time()
    space(tmp_path, f"{choices}\n{augment}\n  preprocess.size: {{choices: {list(range(16, 116))}}}")
    assert time.process_time() - began < 3


def test_a_parameter_gives_the_points_of_its_range() -> None:
    assert Parameter("a", 1, 4).points == (1, 2, 3, 4)
    assert Parameter("a", 0.0, 1.0, 0.25).points == (0.0, 0.25, 0.5, 0.75, 1.0)
    assert Parameter("a", 0.0, 1.0).points is None
    assert Parameter("a", choices={"x": 1, "y": 2}).points == ("x", "y")
