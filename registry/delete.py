"""Delete a version that nobody needs: neither an alias nor the history names it."""

from mlflow import MlflowClient
from mlflow.exceptions import MlflowException

from registry.chain import read_head, walk
from registry.commit import settle
from registry.lock import alone
from secondread.errors import RegistryError
from secondread.tasks import load_task
from secondread.tracking.database import connect


def delete(task_name: str, version: int) -> str:
    """Delete a version; its run and its files stay.

    Returns:
        one sentence on what happened.
    Raises:
        RegistryError: there is no such version, or it is needed.
    """
    task = load_task(task_name).name
    client = connect()
    with alone(task):
        settle(client, task)
        try:
            held = client.get_registered_model(task).aliases
            client.get_model_version(task, str(version))
        except MlflowException:
            raise RegistryError(f"{task} version {version}: there is no such version") from None
        aliases = sorted(name for name, holder in held.items() if int(holder) == version)
        if aliases:
            raise RegistryError(
                f"{task} version {version}: it is {' and '.join(aliases)}; let another serve first: "
                f"`python -m registry rollback {task} --to N`"
            )
        _refuse_if_named(client, task, version)
        client.delete_model_version(task, str(version))
    return f"{task} version {version} is deleted; its run stays"


def _refuse_if_named(client: MlflowClient, task: str, version: int) -> None:
    for link in walk(client, read_head(client, task)):
        if link.decision is None:
            raise RegistryError(
                f"{task}: {'; '.join(link.problems)}, so nobody knows which versions it names; see "
                f"`python -m registry history {task}`"
            )
        if version in link.decision.versions:
            raise RegistryError(
                f"{task} version {version}: decision {link.head.number} names it, and the history keeps what it names"
            )
