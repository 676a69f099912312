"""How a search's figures and report put its numbers and names into words."""

from collections.abc import Sequence

from secondread.evaluation.wording import readable
from tuning.engine import Record, Status

_NAMES = {"auroc": "AUROC", "latency": "latency (ms)"}
STATUS_NAMES = {
    Status.FINISHED: "measured",
    Status.PRUNED: "pruned",
    Status.FAILED: "failed",
    Status.RUNNING: "running",
}


def objective_name(name: str) -> str:
    """An objective as one reads it."""
    return _NAMES.get(name, readable(name))


def number(value: object) -> str:
    """A value of a parameter or objective, short enough for a table; a choice's label as it is."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return str(value)
    if isinstance(value, int) or value.is_integer():
        return f"{int(value):,}"
    text = f"{value:.3g}" if abs(value) < 0.1 or abs(value) >= 10 else f"{value:.4g}"
    return text.replace("e-0", "e-").replace("-", "\N{MINUS SIGN}").replace("0.", ".", 1) if abs(value) < 1 else text


def short_names(names: Sequence[str]) -> dict[str, str]:
    """Names of settings without their group, where that is still one name each."""
    leaves = [name.removesuffix(".name").rsplit(".", 1)[-1] for name in names]
    return {name: leaf if leaves.count(leaf) == 1 else name for name, leaf in zip(names, leaves, strict=True)}


def duration(seconds: float) -> str:
    """How long something took, in its two largest units."""
    whole = round(seconds)
    for unit, size, smaller, part in (("d", 86_400, "h", 3_600), ("h", 3_600, "min", 60), ("min", 60, "s", 1)):
        if whole >= size:
            rest = whole % size // part
            return f"{whole // size} {unit}" + (f" {rest} {smaller}" if rest else "")
    return f"{whole} s" if whole else f"{seconds:.1f} s"


def last_words(record: Record) -> str:
    """What became of a trial, with what it said last if it was not measured."""
    name = STATUS_NAMES[record.outcome.status]
    if record.outcome.status in (Status.FINISHED, Status.FAILED) or not record.reported:
        return name
    step = max(record.reported)
    return f"{name} at {step}: {number(record.reported[step])}"
