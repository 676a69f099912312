"""Keep a search's run telling what the search has found: metrics, figures, report, table and best configuration."""

import ctypes
import io
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import pandas as pd
from matplotlib.figure import Figure

from secondread.evaluation.figures.curves import curves
from secondread.tracking.run import Run
from secondread.tracking.trial import Ended, epochs_of, settle_trials, trials_of
from tuning.best import best_yaml
from tuning.engine import Record, Status
from tuning.figures.best_so_far import best_so_far
from tuning.figures.importance import importance
from tuning.figures.parallel_coordinates import parallel_coordinates
from tuning.figures.pareto import pareto
from tuning.figures.slices import slices
from tuning.figures.time_line import time_line
from tuning.findings import Done, Findings
from tuning.importance import forest_importances
from tuning.plan import Plan
from tuning.report import report
from tuning.wording import objective_name

_EVERY_S = 30.0
_SHARE = 0.02  # of the time, at most
_PIXELS_AN_INCH = 130  # drawn often, and shown in one page


class Publisher:
    """Publishes a search now and then: not more often than every half minute, nor for more than 2% of the time."""

    def __init__(self, run: Run, plan: Plan) -> None:
        self._run = run
        self._plan = plan
        self._next = time.monotonic() + _EVERY_S

    def due(self) -> bool:
        """Whether it is time again."""
        return time.monotonic() >= self._next

    def publish(self, records: Sequence[Record], importances: Mapping[str, float]) -> None:
        """Publish at once."""
        began = time.monotonic()
        publish(self._run, self._plan, records, importances)
        _give_back_memory()
        ended = time.monotonic()
        self._next = ended + max(_EVERY_S, (ended - began) / _SHARE)


def _give_back_memory() -> None:
    """Return what drawing freed to the system: glibc would keep it, in pieces, for the whole week of a search."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)


def publish(run: Run, plan: Plan, records: Sequence[Record], importances: Mapping[str, float]) -> None:
    """Write what was found to the search's run, in place of what was written before.

    Args:
        importances: the engine's; {} lets a random forest say.
    """
    findings = find(run, plan, records, importances)
    now = time.time()
    figures = {name: _png(figure) for name, figure in draw(findings, now).items()}
    history = _history(run, findings)
    if history is not None and findings.best is not None:
        figures["best_trial"] = _png(curves(history, _kept_epoch(findings)))
        _tell_curves(run, findings, history)
    _tell_course(run, findings)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "figures").mkdir()
        for figure, png in figures.items():
            (folder / "figures" / f"{figure}.png").write_bytes(png)
        (folder / "report.html").write_text(report(plan, findings, figures, now), encoding="utf-8")
        findings.table.to_parquet(folder / "trials.parquet", index=False)
        if findings.best is not None:
            (folder / "best.yaml").write_text(best_yaml(plan, findings.best), encoding="utf-8")
        run.log_files(folder)


def settle(run: Run, records: Sequence[Record]) -> None:
    """Let the trials' runs end as the engine remembers, where a process was killed before it could say so."""
    ends: dict[Status, Callable[[str], Ended]] = {
        Status.FINISHED: lambda _: Ended.finished(),
        Status.PRUNED: lambda _: Ended.pruned(),
        Status.FAILED: Ended.failed,
    }
    outcomes = {record.trial.number: record.outcome for record in records if record.outcome.status in ends}
    settle_trials(run, {number: ends[outcome.status](outcome.reason) for number, outcome in outcomes.items()})


def find(run: Run, plan: Plan, records: Sequence[Record], importances: Mapping[str, float]) -> Findings:
    """Put together what the engine and the runs of the trials know."""
    done = {seen.number: Done(seen.worker, seen.run_id) for seen in trials_of(run)}
    settings = plan.settings
    found = Findings(plan.space, settings.objectives, settings.directions, records, importances, done)
    if importances:
        return found
    return Findings(plan.space, settings.objectives, settings.directions, records, forest_importances(found), done)


def draw(findings: Findings, now: float) -> dict[str, Figure]:
    """Every figure that there is something to draw for, by name."""
    wanted: dict[str, tuple[bool, Callable[[], Figure]]] = {
        "best_so_far": (bool(findings.records), lambda: best_so_far(findings)),
        "time_line": (bool(findings.records), lambda: time_line(findings, now)),
        "pareto": (len(findings.objectives) > 1 and bool(findings.finished), lambda: pareto(findings)),
        "parallel_coordinates": (bool(findings.finished), lambda: parallel_coordinates(findings)),
        "slices": (bool(findings.finished), lambda: slices(findings)),
        "importance": (
            bool(findings.importances),
            lambda: importance(findings.importances, objective_name(findings.objectives[0])),
        ),
    }
    return {name: drawn() for name, (there_is, drawn) in wanted.items() if there_is}


def _history(run: Run, findings: Findings) -> pd.DataFrame | None:
    """The best trial's epochs as its run has them; None where it has none, such as when it was measured on folds."""
    done = findings.done.get(findings.best.trial.number) if findings.best is not None else None
    found = epochs_of(run, done.run_id) if done is not None else {}
    if not found:
        return None
    frame = pd.DataFrame({name: pd.Series(values, dtype=float) for name, values in found.items()}).sort_index()
    return frame.drop(columns="train/seconds", errors="ignore").rename_axis("epoch").reset_index()


def _kept_epoch(findings: Findings) -> int:
    """The epoch at which the best trial was best, as far as it reported."""
    reported = {} if findings.best is None else dict(findings.best.reported)
    choose = max if findings.directions[0] == "maximize" else min
    return choose(reported, key=lambda epoch: reported[epoch]) if reported else 1


def _tell_curves(run: Run, findings: Findings, history: pd.DataFrame) -> None:
    """Show the best trial's curves as the search's own, once it is done: a metric cannot be taken back."""
    best = findings.best
    if best is None or findings.of(Status.RUNNING):
        return
    number = str(best.trial.number)
    if run.client.get_run(run.id).data.tags.get("best_trial") == number:
        return
    for values in history.to_dict("records"):
        epoch = int(values.pop("epoch"))
        run.log_metrics({str(name): float(value) for name, value in values.items()}, epoch)
    run.set_tags({"best_trial": number, "best_run_id": findings.done[best.trial.number].run_id})


def _tell_course(run: Run, findings: Findings) -> None:
    """Log the best value after each trial that ended, and how many came to which end."""
    for place, name in enumerate(findings.objectives):
        metric = f"search/best_{name}"
        last = max((point.step for point in run.client.get_metric_history(run.id, metric)), default=0)
        for count, value in findings.course(place):
            if count > last:
                run.log_metrics({metric: value}, count)
    ended = [record for record in findings.records if record.ended is not None]
    counts = {"measured": Status.FINISHED, "pruned": Status.PRUNED, "failed": Status.FAILED}
    run.log_metrics({f"search/{name}": len(findings.of(status)) for name, status in counts.items()}, len(ended))


def _png(figure: Figure) -> bytes:
    file = io.BytesIO()
    figure.savefig(file, format="png", dpi=_PIXELS_AN_INCH)
    return file.getvalue()
