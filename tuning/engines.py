"""Engines by name."""

from collections.abc import Iterator
from contextlib import contextmanager

from tuning.engine import Engine
from tuning.plan import Plan


def open_engine(plan: Plan, address: str | None) -> Engine:
    """Connect to a search's engine.

    Args:
        address: where it is served, HOST:PORT; None where every process reads its state itself.
    """
    if plan.settings.engine == "optuna":
        from tuning.with_optuna import OptunaEngine

        return OptunaEngine(plan)
    from tuning.with_keras_tuner import KerasTunerEngine  # loads TensorFlow

    return KerasTunerEngine(plan, address)


def importances(plan: Plan, engine: Engine) -> dict[str, float]:
    """Which parameters mattered: shares that sum to 1, the largest first; empty where the engine cannot say."""
    if plan.settings.engine != "optuna":
        return {}
    from tuning import with_optuna

    assert isinstance(engine, with_optuna.OptunaEngine)
    return with_optuna.importances(engine)


@contextmanager
def served(plan: Plan) -> Iterator[str | None]:
    """Serve the engine to this search's workers where they cannot read its state themselves; give its address."""
    if plan.settings.engine == "optuna":
        yield None
        return
    from tuning.with_keras_tuner import serve_oracle

    with serve_oracle(plan) as address:
        yield address
