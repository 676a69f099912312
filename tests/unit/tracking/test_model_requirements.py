"""A logged model's requirements name every package that serving it imports."""

import sys
from importlib.metadata import packages_distributions

import grimp
from packaging.utils import canonicalize_name

from secondread.tracking.model import REQUIREMENTS

# Reached by the code that travels with a model, and by no server: S3, clusters, de-identified copies.
NEVER_SERVED = {"boto3", "botocore", "dicognito", "distributed"}


def test_every_package_that_serving_can_import_is_required() -> None:
    graph = grimp.build_graph("secondread", include_external_packages=True)
    reached, waiting = set[str](), {"secondread.serving"}
    while waiting:
        module = waiting.pop()
        reached.add(module)
        parents = {module.rpartition(".")[0]} & graph.modules  # Python runs these first
        waiting |= (graph.find_modules_directly_imported_by(module) | parents) - reached
    external = {name.partition(".")[0] for name in reached} - {"secondread", *sys.stdlib_module_names}
    owners = packages_distributions()
    required = {canonicalize_name(name) for name in REQUIREMENTS}
    missing = {name for name in external if not {canonicalize_name(owner) for owner in owners[name]} & required}
    assert missing == NEVER_SERVED
