"""A new search begins with what the task's earlier searches found best, as far as its space has it."""

from collections.abc import Mapping

from secondread.tracking.earlier import best_of_earlier_searches
from tuning.engine import Engine
from tuning.plan import Plan
from tuning.space import Parameter, SearchSpace

_SEARCHES = 3


def enqueue_earlier(plan: Plan, engine: Engine) -> None:
    """Let the best of up to three earlier searches be tried first."""
    objective, direction = plan.settings.objectives[0], plan.settings.directions[0]
    earlier = best_of_earlier_searches(
        plan.task, plan.key, objective, maximize=direction == "maximize", searches=_SEARCHES
    )
    begun = sum(engine.enqueue(point) for point in (point_of(plan.space, params) for params in earlier) if point)
    if begun:
        print(f"search {plan.name} begins with the best of {begun} earlier searches", flush=True)


def point_of(space: SearchSpace, logged: Mapping[str, str]) -> dict[str, int | float | str]:
    """Read a trial's logged parameters as a point of this space; what the space has not, or not there, is left out."""
    found: dict[str, int | float | str] = {}
    for parameter in space.parameters:
        value = _value(parameter, logged[parameter.name]) if parameter.name in logged else None
        if value is not None and space.active(parameter, found):
            found[parameter.name] = value
    return found


def _value(parameter: Parameter, text: str) -> int | float | str | None:
    if parameter.kind == "choice":
        labels = [label for label, value in parameter.choices.items() if text in (label, str(value))]
        return labels[0] if labels else None
    try:
        number = float(text)
    except ValueError:
        return None
    assert parameter.low is not None
    assert parameter.high is not None
    if not parameter.low <= number <= parameter.high:
        return None
    return int(number) if parameter.kind == "int" else number
