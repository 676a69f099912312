"""Engines by name; each is imported where it is used."""

from collections.abc import Iterator
from contextlib import contextmanager

from tuning.engine import Engine
from tuning.plan import Plan
from tuning.settings import SearchSettings
from tuning.space import SearchSpace


def refuse_misfits(space: SearchSpace, settings: SearchSettings) -> None:
    """Say, before anything is opened, what an engine cannot search.

    Raises:
        ConfigError: the space, or a setting, is not for this engine.
    """
    if settings.engine == "keras_tuner":
        from tuning.chief import refuse

        refuse(space, settings)


def may_lead(settings: SearchSettings) -> bool:
    """Whether a process here may lead a search; Keras Tuner's workers on other machines may not."""
    if settings.engine == "optuna":
        return True
    from tuning.chief import role

    return role() != "worker"


def open_engine(plan: Plan) -> Engine:
    """Connect to a search's engine."""
    if plan.settings.engine == "optuna":
        from tuning.with_optuna import OptunaEngine

        return OptunaEngine(plan)
    from tuning.chief import open_keras_tuner

    return open_keras_tuner(plan)


@contextmanager
def served(plan: Plan) -> Iterator[None]:
    """Keep what an engine's workers ask, where they cannot read its state themselves; they find it by the plan."""
    if plan.settings.engine == "optuna":
        yield
        return
    from tuning.chief import serve_oracle

    with serve_oracle(plan):
        yield


def importances(plan: Plan, engine: Engine) -> dict[str, float]:
    """Which parameters mattered: shares that sum to 1, the largest first; empty where the engine cannot say."""
    if plan.settings.engine != "optuna":
        return {}
    from tuning import with_optuna

    assert isinstance(engine, with_optuna.OptunaEngine)
    return with_optuna.importances(engine)
