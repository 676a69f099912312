"""How a search is done, as far as its space does not say so."""

from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from secondread.errors import ConfigError

Direction = Literal["maximize", "minimize"]

# What can be asked for, and which way is better. All are measured on val; no search looks at test.
OBJECTIVES: Mapping[str, Direction] = {
    "auroc": "maximize",
    "average_precision": "maximize",
    "log_loss": "minimize",
    "weighted_log_loss": "minimize",
    "latency": "minimize",
    "parameters": "minimize",
}
# The first one is the engine's default.
ALGORITHMS: Mapping[str, tuple[str, ...]] = {
    "optuna": ("tpe", "random"),
    "keras_tuner": ("bayesian", "random", "hyperband", "grid"),
}


def _listed(value: object) -> object:
    return tuple(part.strip() for part in value.split(",") if part.strip()) if isinstance(value, str) else value


def _absent(value: object) -> object:
    return None if value in ("none", "null", "") else value


Maybe = BeforeValidator(_absent)


class SearchSettings(BaseModel):
    """Settings of a search; each is a flag of `python -m tuning search` of the same name."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    engine: Literal["optuna", "keras_tuner"] = Field("optuna", description="who draws the trials: optuna, keras_tuner")
    algorithm: Annotated[str | None, Maybe] = Field(
        None, description="optuna: tpe, random; keras_tuner: bayesian, random, hyperband, grid (default: the first)"
    )
    pruner: Literal["median", "hyperband", "none"] = Field(
        "median", description="stops trials that lag behind: median, hyperband, none; optuna, with one objective"
    )
    objectives: Annotated[tuple[str, ...], BeforeValidator(_listed)] = Field(
        ("auroc",), description=f"what is sought on val: {', '.join(OBJECTIVES)}; several, separated by commas"
    )
    trials: int = Field(10, ge=1, description="trials in all, failed and pruned ones included")
    minutes: Annotated[float | None, Maybe] = Field(None, gt=0, description="begin no trial after so many minutes")
    epochs: Annotated[int | None, Maybe] = Field(None, ge=1, description="begin no trial after so many epochs in all")
    patience: Annotated[int | None, Maybe] = Field(
        None, ge=1, description="end after so many trials without a better one"
    )
    workers: int = Field(1, ge=1, le=64, description="trials at a time on this machine")
    storage: str = Field("local", description="`local`, or a database that many machines share: postgresql://...")
    folds: int = Field(0, ge=0, le=20, description="measure each trial on so many folds of the patients that learn")
    retrain: int = Field(1, ge=0, le=20, description="train the best so often, each with a seed of its own")
    warm_start: bool = Field(True, description="begin with what the task's earlier searches found best")
    seed: int = Field(0, ge=0, description="seed of what is drawn")

    @model_validator(mode="after")
    def _fits_the_engine(self) -> "SearchSettings":
        known = ALGORITHMS[self.engine]
        if self.algorithm is not None and self.algorithm not in known:
            raise ValueError(f"algorithm={self.algorithm}: engine={self.engine} knows {', '.join(known)}")
        strange = [name for name in self.objectives if name not in OBJECTIVES]
        if strange or not self.objectives:
            raise ValueError(f"objectives: use {', '.join(OBJECTIVES)}. Received: {', '.join(strange) or 'none'}")
        if self.engine == "keras_tuner" and len(self.objectives) > 1:
            raise ValueError("objectives: Keras Tuner answers one; use engine=optuna for several")
        if self.engine == "keras_tuner" and self.storage != "local":
            raise ValueError("storage: Keras Tuner shares a search by its chief and workers; see --help")
        if self.folds and self.epochs is not None:
            raise ValueError("epochs: with folds use trials or minutes as the budget")
        if self.epochs is not None and self.objectives[0] in ("latency", "parameters"):
            raise ValueError(
                "epochs: nothing is reported on the way to a network's speed or size; use trials or minutes"
            )
        if self.folds == 1:
            raise ValueError("folds: takes at least 2; 0 measures on val")
        return self

    @property
    def draws_by(self) -> str:
        """The algorithm in force."""
        return self.algorithm or ALGORITHMS[self.engine][0]

    @property
    def directions(self) -> tuple[Direction, ...]:
        """Which way each objective is better."""
        return tuple(OBJECTIVES[name] for name in self.objectives)


def read_settings(given: Mapping[str, object]) -> SearchSettings:
    """Check what was typed.

    Raises:
        ConfigError: a setting is out of range, or two do not fit together.
    """
    try:
        return SearchSettings.model_validate(dict(given))
    except ValidationError as error:
        problem = error.errors()[0]
        where = ".".join(str(part) for part in problem["loc"])
        said = problem["msg"].removeprefix("Value error, ")
        received = f". Received: {problem['input']!r}" if where else ""
        raise ConfigError(f"{where}: {said}{received}" if where else said) from None
