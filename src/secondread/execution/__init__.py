"""Who does the work: processes and threads here, the workers of a Dask cluster elsewhere."""

from secondread.execution.processes import (
    Workers,
    core_count,
    die_with_parent,
    map_ahead,
    map_in_processes,
    map_in_threads,
    refresh_s,
)

__all__ = [
    "Workers",
    "core_count",
    "die_with_parent",
    "map_ahead",
    "map_in_processes",
    "map_in_threads",
    "refresh_s",
]
