"""Say what came, went or changed between two stores."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path

from secondread.data.difference import Difference, Side, difference
from secondread.data.store import look_up
from secondread.storage import write_aside

_BY = {
    "key": "by patient key",
    "images": "by shared images: the stores were made with different secrets, so the keys of one patient differ",
}


def diff(before: str | Path, after: str | Path, out: Path | None) -> bool:
    """Compare two stores, print a summary, and write `difference.json`, `images.csv` and `patients.csv`.

    Args:
        before, after: paths or `s3://bucket/prefix`.
        out: the folder to write to; None writes nothing.
    Returns:
        whether a training would see the same.
    Raises:
        StoreError: one is no whole store, or they are for different tasks.
    """
    found = difference(look_up(before), look_up(after))
    print("\n".join(_lines(found)))
    if out is not None:
        out.mkdir(parents=True, exist_ok=True)
        with write_aside(out / "difference.json") as aside:
            aside.write_text(json.dumps(found.summary(), indent=1) + "\n")
        for name, table in (("images", found.images), ("patients", found.patients)):
            with write_aside(out / f"{name}.csv") as aside:
                table.to_csv(aside, index=False)
        print(f"every image and patient that came, went or changed: {out}/images.csv, {out}/patients.csv")
    return found.same


def _lines(found: Difference) -> Iterator[str]:
    yield _line("before", _side(found.before))
    yield _line("after", _side(found.after))
    if found.same:
        yield "the same images, patients, labels, splits and preprocessing"
    summary = found.summary()
    changed = ", ".join(f"{name} {count:,}" for name, count in summary["changed"].items() if count)
    yield _line("images", _counts(found.counts("images")) + (f" ({changed})" if changed else ""))
    yield _line("patients", f"{_counts(found.counts('patients'))}; compared {_BY[found.patients_by]}")
    for label, moves in found.labels.items():
        yield _line(f"label {label}", _counts(moves))
    if found.splits:
        yield _line("split", _counts(found.splits))
    for name, (first, second) in found.preprocess.items():
        yield _line(f"preprocess.{name}", f"{json.dumps(first)} to {json.dumps(second)}")
    if found.before.put_aside != found.after.put_aside:
        for rule in sorted({*found.before.put_aside, *found.after.put_aside}):
            first, second = (side.put_aside.get(rule, 0) for side in (found.before, found.after))
            yield _line("put aside", f"{rule} {first:,} to {second:,}")


def _line(name: str, text: str) -> str:
    return f"{name:<10} {text}"


def _side(side: Side) -> str:
    return f"version {side.manifest_digest[:12]}: {side.images:,} images of {side.patients:,} patients"


def _counts(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{name} {count:,}" for name, count in counts.items())
