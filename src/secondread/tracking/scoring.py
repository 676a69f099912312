"""The run of answers to many files, or of explanations of answers."""

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from mlflow import MlflowClient

from secondread.bundle import BundleDescription
from secondread.tracking.database import connect
from secondread.tracking.plain import open_plain
from secondread.tracking.run import Run

_NAMES = {"score": "scores by", "explain": "explanations of"}  # by step
_VERSION = re.compile(r"models:/(?P<name>[^/@]+)(?:/(?P<version>\d+)|@(?P<alias>.+))")


@contextmanager
def open_scoring(
    step: str, model_uri: str, description: BundleDescription, parameters: Mapping[str, str], tags: Mapping[str, str]
) -> Iterator[Run]:
    """Open a run that becomes FINISHED at the end of the work; its tags say which model answers.

    Args:
        step: `score` or `explain`.
        model_uri: as `fetch_model` takes it; a folder's path is not told.
        tags: further ones.
    """
    client = connect()
    named = _named(client, model_uri)
    of = f"{description.task} version {named['model_version']}" if "model_version" in named else description.model
    with open_plain(client, step, description.task, f"{_NAMES[step]} {of}", parameters) as (run, _):
        run.set_tags({"model": description.model, **named, **tags})
        yield run
        client.set_terminated(run.id, "FINISHED")


def _named(client: MlflowClient, model_uri: str) -> dict[str, str]:
    """What a URI says of the model: the URI, and the version where it is a registered one's."""
    if not model_uri.startswith(("models:/", "runs:/")):
        return {}
    match = _VERSION.fullmatch(model_uri)
    if match is None:
        return {"model_uri": model_uri}
    version = match["version"] or client.get_model_version_by_alias(match["name"], match["alias"]).version
    return {"model_uri": model_uri, "model_version": str(version)}
