"""The page about a search: what was tried, what mattered, what to try next, in one file that needs nothing else."""

import base64
import hashlib
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from secondread.report.page import environment, picture
from tuning.advice import advice
from tuning.engine import Record, Status
from tuning.findings import Done, Findings
from tuning.plan import Plan
from tuning.space import Parameter
from tuning.wording import STATUS_NAMES, duration, last_words, number, objective_name, short_names

_ENGINES = {"optuna": "Optuna", "keras_tuner": "Keras Tuner"}
_ALGORITHMS = {"tpe": "TPE", "hyperband": "Hyperband", "bayesian": "Bayesian optimization"}
_CHAPTERS = (  # title, what it shows, names of figures
    ("How it went", "Each trial, and the best one so far.", ("best_so_far", "best_trial")),
    ("Compromises", "Trials on the front are beaten by none in every objective.", ("pareto",)),
    (
        "What mattered",
        "Shares of what explains the first objective; then each setting by itself.",
        ("importance", "slices"),
    ),
    ("Settings together", "A trial's line passes below an axis that it did not draw.", ("parallel_coordinates",)),
    ("When and where", "A bar is a trial.", ("time_line",)),
)
_CAPTIONS = {
    "best_so_far": "Values of the trials by number, and the best by then.",
    "best_trial": "Values of the best trial by epoch.",
    "importance": "What mattered for the first objective.",
    "slices": "Each setting's values against the first objective.",
    "parallel_coordinates": "Measured trials as lines through what was drawn.",
    "pareto": "Trials by two objectives, and the front.",
    "time_line": "Trials by worker over time.",
}


def report(plan: Plan, findings: Findings, figures: Mapping[str, bytes], now: float) -> str:
    """Write the page of a search.

    Args:
        figures: PNG files by the figure's name; one that is not known is captioned by its name.
        now: seconds since 1970.
    Returns:
        one HTML page; images are inside it, and its one script sorts the table of trials.
    """
    script = (Path(__file__).parent / "report.js").read_text()
    pages = environment(Path(__file__).parent)
    pages.filters["short"] = number
    objectives = [objective_name(name) for name in findings.objectives]
    page: str = pages.get_template("report.html.jinja").render(
        plan=plan,
        at=datetime.fromtimestamp(now, UTC).isoformat(timespec="minutes"),
        headline=headline(findings),
        course=_course(plan, findings, now),
        tiles=_tiles(findings, now),
        advice=advice(findings),
        objectives=objectives,
        best=None if findings.best is None else str(findings.best.trial.number),
        fronts=len(findings.front),
        front=[
            {"trial": each.trial, "values": list(zip(objectives, each.outcome.values, strict=True))}
            for each in findings.front
        ],
        drawn=_drawn(findings),
        importances=bool(findings.importances),
        chapters=[
            (title, said, [picture(_CAPTIONS[name], figures[name]) for name in names if name in figures])
            for title, said, names in _CHAPTERS
        ],
        failed=_counted(len(findings.of(Status.FAILED))),
        failures=_failures(findings),
        columns=_columns(findings),
        rows=[_row(findings, record) for record in findings.order(findings.records)],
        facts=_facts(plan),
        script=script,
        script_digest=f"sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}",
    )
    return page


def headline(findings: Findings) -> str:
    """What was found, in one sentence."""
    best, count = findings.best, len(findings.records)
    if best is None:
        return f"None of {_counted(count)} was measured" if count else "No trial was begun"
    if len(findings.front) > 1:
        return f"{len(findings.front)} of {_counted(count)} are the best compromises"
    value = f"{objective_name(findings.objectives[0])} {number(best.outcome.values[0])}"
    return f"Trial {best.trial.number} is the best of {count}: {value}" if count > 1 else f"One trial: {value}"


def _counted(count: int) -> str:
    return "1 trial" if count == 1 else f"{count} trials"


def _course(plan: Plan, findings: Findings, now: float) -> str:
    settings = plan.settings
    by = f"{_ENGINES[settings.engine]}'s {_ALGORITHMS.get(settings.draws_by, settings.draws_by + ' search')}"
    by += f" with {settings.pruner} pruning" if settings.engine == "optuna" and settings.pruner != "none" else ""
    went = ", ".join(
        f"{len(findings.of(status))} {STATUS_NAMES[status]}"
        for status in (Status.FINISHED, Status.PRUNED, Status.FAILED, Status.RUNNING)
        if findings.of(status)
    )
    workers = len({done.worker for done in findings.done.values() if done.worker})
    on = f" by {workers} workers" if workers > 1 else ""
    took = f" in {duration(_span(findings, now))}{on}" if findings.records else ""
    return f"Drawn by {by} from the space {plan.space.name}, {plan.space.about}. {went or 'Nothing yet'}{took}."


def _span(findings: Findings, now: float) -> float:
    """Seconds from the first beginning to the last end."""
    return max(each.ended or now for each in findings.records) - min(each.began for each in findings.records)


def _tiles(findings: Findings, now: float) -> list[tuple[str, str, bool]]:
    best = findings.best
    values = [] if best is None else list(zip(findings.objectives, best.outcome.values, strict=True))
    lengths = [each.ended - each.began for each in findings.finished if each.ended is not None]
    return [
        *((f"best {objective_name(name)}", number(value), True) for name, value in values),
        ("trials", f"{len(findings.records)}", False),
        *([("a measured trial took", duration(sum(lengths) / len(lengths)), False)] if lengths else []),
    ]


def _drawn(findings: Findings) -> list[dict[str, Any]]:
    """The best trial's values, those that mattered most first."""
    if findings.best is None:
        return []
    sampled, shares = findings.best.trial.sampled, findings.importances
    largest = max(shares.values(), default=1.0)
    return [
        {
            "name": parameter.name,
            "value": number(sampled[parameter.name]),
            "range": range_text(parameter),
            "share": f"{shares.get(parameter.name, 0.0):.0%}",
            "width": round(100 * shares.get(parameter.name, 0.0) / largest),
        }
        for parameter in sorted(findings.space.parameters, key=lambda each: -shares.get(each.name, 0.0))
        if parameter.name in sampled
    ]


def range_text(parameter: Parameter) -> str:
    """What a parameter could be, in words."""
    if parameter.choices:
        return ", ".join(parameter.choices)
    between = f"{number(parameter.low)} to {number(parameter.high)}"
    return f"{between}, logarithmic" if parameter.log else between


def _failures(findings: Findings) -> list[tuple[str, list[int]]]:
    """Reasons with the numbers of their trials, the commonest first."""
    found: dict[str, list[int]] = {}
    for record in findings.of(Status.FAILED):
        found.setdefault(record.outcome.reason or "no reason was given", []).append(record.trial.number)
    return sorted(found.items(), key=lambda item: (-len(item[1]), item[1]))


def _columns(findings: Findings) -> list[dict[str, Any]]:
    names = short_names([parameter.name for parameter in findings.drawn])
    values = zip(findings.objectives, findings.directions, strict=True)
    return [
        {"name": "Trial", "falling": False, "whole": ""},
        {"name": "Outcome", "falling": False, "whole": ""},
        *(
            {"name": objective_name(name), "falling": direction == "maximize", "whole": ""}
            for name, direction in values
        ),
        *({"name": names[each.name], "falling": False, "whole": each.name} for each in findings.drawn),
        {"name": "Took", "falling": True, "whole": ""},
        {"name": "Worker", "falling": False, "whole": ""},
    ]


def _row(findings: Findings, record: Record) -> dict[str, Any]:
    names = [column["name"] for column in _columns(findings)][1:]
    seconds = None if record.ended is None else record.ended - record.began
    sampled = [record.trial.sampled.get(parameter.name) for parameter in findings.drawn]
    values: list[tuple[object, str]] = [
        (STATUS_NAMES[record.outcome.status], last_words(record)),
        *((value, number(value)) for value in record.outcome.values or ()),
        *(() if record.outcome.values else (("", ""),) * len(findings.objectives)),
        *(("" if value is None else value, "" if value is None else number(value)) for value in sampled),
        ("" if seconds is None else round(seconds, 3), "" if seconds is None else duration(seconds)),
        (findings.done.get(record.trial.number, Done()).worker,) * 2,
    ]
    return {
        "number": record.trial.number,
        "best": record in findings.front,
        "cells": [{"name": name, "sort": sort, "text": text} for name, (sort, text) in zip(names, values, strict=True)],
    }


def _facts(plan: Plan) -> list[tuple[str, str]]:
    typed = " ".join(f"{name}={value}" for name, value in plan.base.items() if not name.startswith("data"))
    return [
        ("run", plan.run_id),
        ("search", plan.key),
        ("space", f"{plan.space.name} {plan.space.digest}"),
        ("settings of every trial", typed or "the presets'"),
        ("seed", str(plan.settings.seed)),
    ]
