"""Who is judged: the newest trainings that no decision has judged, the most promising first."""

from collections.abc import Collection

from mlflow import MlflowClient
from mlflow.entities import Run

from registry.register import finished_trainings, given_run, make_version
from secondread.errors import RegistryError

AT_MOST = 5
RANKED_BY = "best/val_auroc"  # val alone: candidates chosen by their test figures would be flattered by them


def find_candidates(
    client: MlflowClient, task: str, run_id: str | None, judged: Collection[str], champion: int | None
) -> list[tuple[int, Run]]:
    """Versions to judge with their runs, in the order of judging; each becomes a version if it is not one yet.

    Args:
        run_id: judge this run alone, again if need be; None takes the newest that were never judged.
        judged: runs that the history has judged.
        champion: the version that needs no judging.
    Raises:
        RegistryError: there is none.
    """
    if run_id is not None:
        run = given_run(client, task, run_id)
        version = int(make_version(client, task, run).version)
        if version == champion:
            raise RegistryError(f"run {run_id}: it is version {version}, which is champion already")
        return [(version, run)]
    everyone = finished_trainings(client, task)
    waiting = [run for run in everyone if run.info.run_id not in judged]
    chosen = []
    for run in waiting[:AT_MOST]:
        try:
            version = int(make_version(client, task, run).version)
        except RegistryError as error:  # one run without a model does not keep the others waiting
            print(f"left out: {error}", flush=True)
            continue
        if version != champion:
            chosen.append((version, run))
    if not chosen:
        raise RegistryError(
            f"no candidate for {task}: each of its {len(everyone)} finished trainings was judged, is champion or has "
            f"no model; train another (`python -m secondread train --task {task}`), or name one with --run"
        )
    if len(waiting) > AT_MOST:
        print(f"{len(waiting) - AT_MOST} older trainings wait; judge one of them with --run", flush=True)
    return sorted(chosen, key=_promise)


def _promise(candidate: tuple[int, Run]) -> tuple[bool, float, int]:
    _, run = candidate
    area = run.data.metrics.get(RANKED_BY)
    return area is None, -(area or 0), -int(run.info.end_time)
