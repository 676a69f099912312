"""What earlier searches of a task found best."""

from collections.abc import Mapping

from mlflow.entities import ViewType

from secondread.tracking.database import connect
from secondread.tracking.run import all_of


def best_of_earlier_searches(
    task: str, key: str, objective: str, *, maximize: bool, searches: int
) -> list[Mapping[str, str]]:
    """Give the logged parameters of the best trial of each earlier search, the newest search first.

    Args:
        key: of the search that asks, which is left out.
        objective: its name; searches for something else are left out.
        searches: look at so many at most.
    """
    client = connect()
    experiments = [each.experiment_id for each in client.search_experiments(ViewType.ACTIVE_ONLY)]
    others = client.search_runs(
        experiments,
        f"{all_of({'step': 'search', 'task': task})} and tags.`search_key` != '{key}'",
        order_by=["attributes.start_time DESC"],
        max_results=searches,
    )
    found = []
    for search in others:
        best = client.search_runs(
            [search.info.experiment_id],
            f"{all_of({'step': 'trial', 'mlflow.parentRunId': search.info.run_id})} and attributes.status = 'FINISHED' "
            f"and metrics.`objective/{objective}` != 0",  # has one at all
            order_by=[f"metrics.`objective/{objective}` {'DESC' if maximize else 'ASC'}"],
            max_results=1,
        )
        found += [run.data.params for run in best]
    return found
