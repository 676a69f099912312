"""The page about a decision: what was decided and why, gate by gate, in one file that needs nothing else."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath

from registry.decision import Compared, Decision, Judged
from secondread.report.page import environment, picture, signed
from secondread.storage import sha256_of

_CAPTIONS = {  # by what a figure's name holds, in the order of reading
    "paired_roc": "ROC curves of both models on the same images.",
    "differences": "Differences of the challenger from the champion, each with its interval; right of 0 is better.",
    "agreement": "Where both models decide alike and where they differ, at each one's own balanced threshold.",
}
_VERDICTS = {"promoted": "promoted", "bettered": "passed, then bettered", "refused": "refused"}


def report(decision: Decision, figures: Mapping[str, bytes]) -> str:
    """Write the page of a decision.

    Args:
        figures: PNG files by name. A figure belongs to the candidate whose version is a number in its name
            (`figures/version_7/paired_roc.png`), or to the only candidate; others are shown at the end.
    Returns:
        one HTML page without scripts; images are inside it.
    """
    owners = {name: _owner(name, decision.candidates) for name in sorted(figures, key=_reading_order)}
    shown = {name: picture(_caption(name), figures[name]) for name in owners}
    files = {name: sha256_of(data) for name, data in figures.items()} | decision.files
    pages = environment(Path(__file__).parent)
    pages.globals |= {
        "change": _change,
        "asks": _asks,
        "held": _held,
        "measure": _measure,
        "met": _met,
        "outcome": _outcome,
        "verdicts": _VERDICTS,
    }
    template = pages.get_template("report.html.jinja")
    page: str = template.render(
        decision=decision,
        headline=headline(decision),
        files=dict(sorted(files.items())),
        figures={
            version: [shown[name] for name, owner in owners.items() if owner == version]
            for version in (None, *(one.version for one in decision.candidates))
        },
    )
    return page


def headline(decision: Decision) -> str:
    """What was decided, in one sentence."""
    task, version = decision.task, decision.champion_after
    if version is None:
        return f"No version is champion for {task}"
    if version == decision.champion_before:
        return f"Version {version} stays champion for {task}"
    if decision.kind == "rollback":
        return f"Version {version} is champion for {task} again"
    return f"Version {version} becomes champion for {task}"


def _outcome(candidate: Judged) -> str:
    """What became of a candidate, in one sentence."""
    count, failed = len(candidate.results), candidate.failed
    if failed:
        return f"Failed {len(failed)} of {count} gates: {', '.join(failed)}."
    after = {
        "promoted": "and became champion",
        "bettered": "and another candidate of this decision was preferred",
        "refused": "and was refused all the same",
    }
    return f"Passed {'its gate' if count == 1 else f'all {count} gates'} {after[candidate.verdict]}."


def _met(candidate: Judged) -> str:
    """The champion by then, in one sentence."""
    if candidate.against is None:
        return "There was no champion to compare it with."
    if candidate.compared:
        return f"It was compared with version {candidate.against}, the champion by then."
    return f"It was not compared with version {candidate.against}, the champion by then."


def _measure(compared: Compared) -> str:
    name = "AUROC" if compared.measure == "auroc" else compared.measure.replace("_", " ")
    return f"study {name}" if compared.level == "study" else name


def _change(before: int | None, after: int | None) -> str:
    """How an alias moved."""
    named = ["none" if version is None else f"version {version}" for version in (before, after)]
    return f"{named[0]}, unchanged" if before == after else f"{named[0]} \N{RIGHTWARDS ARROW} {named[1]}"


def _asks(compared: Compared) -> str:
    if compared.asks == "superiority":
        return "better: above 0"
    return f"not worse: above {signed(-(compared.margin or 0))}"


def _held(compared: Compared) -> bool:
    return compared.low > -(compared.margin or 0)


def _owner(name: str, candidates: Sequence[Judged]) -> int | None:
    """The version that a figure is about."""
    versions = [one.version for one in candidates]
    named = [int(number) for number in re.findall(r"\d+", name) if int(number) in versions]
    if named:
        return named[0]
    return versions[0] if len(versions) == 1 else None


def _kind(name: str) -> str | None:
    return next((kind for kind in _CAPTIONS if kind in name), None)


def _reading_order(name: str) -> tuple[bool, int, str]:
    """Images before studies, then by kind."""
    kind = _kind(name)
    return "study" in name, len(_CAPTIONS) if kind is None else list(_CAPTIONS).index(kind), name


def _caption(name: str) -> str:
    kind = _kind(name)
    said = PurePosixPath(name).stem.replace("_", " ") if kind is None else _CAPTIONS[kind]
    return f"Whole studies: {said}" if "study" in name else said
