"""Settings of a search that do not fit together are refused before anything is opened."""

import pytest

from secondread.errors import ConfigError
from tuning.settings import read_settings


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"trials": "0"}, "trials: Input should be greater than or equal to 1. Received: '0'"),
        ({"trails": "3"}, "trails: Extra inputs are not permitted"),
        ({"engine": "hyperopt"}, "engine: Input should be 'optuna' or 'keras_tuner'"),
        ({"engine": "keras_tuner", "algorithm": "tpe"}, "algorithm=tpe: engine=keras_tuner knows bayesian"),
        ({"objectives": "auroc,speed"}, "objectives: use auroc, .*Received: speed"),
        ({"objectives": ""}, "Received: none"),
        ({"engine": "keras_tuner", "objectives": "auroc,latency"}, "Keras Tuner answers one"),
        ({"engine": "keras_tuner", "storage": "postgresql://db/x"}, "by its chief and workers"),
        ({"folds": "1"}, "folds: takes at least 2"),
        ({"folds": "3", "epochs": "9"}, "epochs: with folds use trials or minutes"),
        ({"objectives": "latency", "epochs": "9"}, "epochs: nothing is reported"),
    ],
)
def test_what_does_not_fit_is_refused(given: dict[str, str], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        read_settings(given)


def test_text_as_typed_is_read() -> None:
    settings = read_settings({"objectives": "auroc, latency", "minutes": "none", "warm_start": "false", "trials": "7"})
    assert settings.objectives == ("auroc", "latency")
    assert settings.directions == ("maximize", "minimize")
    assert (settings.minutes, settings.warm_start, settings.trials) == (None, False, 7)


def test_each_engine_has_an_algorithm_of_its_own() -> None:
    assert read_settings({}).draws_by == "tpe"
    assert read_settings({"engine": "keras_tuner"}).draws_by == "bayesian"
