"""What to try next, said from what a search has found."""

import math
from collections import Counter
from collections.abc import Iterator

from tuning.engine import Status
from tuning.findings import Findings
from tuning.space import Parameter
from tuning.wording import number, objective_name

_ENOUGH = 5  # measured trials, before any of this means something
_A_PARAMETER = 5  # trials a parameter wants, so that a region has been seen more than once
_EDGE = 0.05  # of the range
_NO_INFLUENCE = 0.03
_FOR_INFLUENCE = 20  # measured trials
_LATE = 0.2  # the last share of trials


def advice(findings: Findings) -> list[str]:
    """Sentences, each with what was seen and what to do about it; the most pressing first."""
    parts = (_nothing_measured, _failures, _edges, _choices, _course, _idle)
    return [said for part in parts for said in part(findings)]


def _nothing_measured(findings: Findings) -> Iterator[str]:
    if findings.finished or not findings.records:
        return
    if findings.of(Status.PRUNED) and not findings.of(Status.FAILED, Status.RUNNING):
        yield "Every trial was pruned, so that nothing was measured: search with pruner=none under another name."
    elif not findings.of(Status.RUNNING):
        yield "No trial was measured: mend what made them fail, and give the same command again under another name."


def _failures(findings: Findings) -> Iterator[str]:
    failed = findings.of(Status.FAILED)
    if len(failed) >= 2 and len(failed) >= 0.2 * len(findings.records):
        [(reason, times)] = Counter(record.outcome.reason for record in failed).most_common(1)
        yield (
            f"{len(failed)} of {len(findings.records)} trials failed, {times} of them with the same words: "
            f"{reason.rstrip('.')}. Narrow what makes them fail."
        )


def _edges(findings: Findings) -> Iterator[str]:
    """Parameters of which the best trial has nearly the largest or smallest value that could be drawn."""
    if findings.best is None or len(findings.finished) < _ENOUGH:
        return
    for parameter in findings.drawn:
        value = findings.best.trial.sampled.get(parameter.name)
        place = None if value is None else _place(parameter, value)
        if place is None or min(place, 1 - place) > _EDGE or (place < 0.5 and float(value or 0) == 0):
            continue  # what is off cannot be more so
        if findings.importances.get(parameter.name, 1.0) < _NO_INFLUENCE or not _others_agree(
            findings, parameter, place
        ):
            continue
        end, other = ("upper", "larger") if place > 0.5 else ("lower", "smaller")
        yield (
            f"The best trial has {parameter.name} = {number(_plain(value))}, at the {end} end of what could be drawn: "
            f"allow {other} values."
        )


def _others_agree(findings: Findings, parameter: Parameter, place: float) -> bool:
    """Whether the next best trials lie in the same half: one alone may be there by chance."""
    values = [record.trial.sampled.get(parameter.name) for record in findings.order(findings.finished)[1:3]]
    places = [_place(parameter, value) for value in values if value is not None]
    return all(each is not None and (each > 0.5) == (place > 0.5) for each in places)


def _choices(findings: Findings) -> Iterator[str]:
    """A label that all of the best trials drew, although others were tried often enough."""
    ordered = findings.order(findings.finished)
    top = ordered[: max(3, len(ordered) // 10)]
    if len(findings.objectives) > 1 or len(ordered) < 4 * len(top):
        return
    for parameter in findings.drawn:
        counts = Counter(str(record.trial.sampled.get(parameter.name)) for record in ordered)
        drawn = {str(record.trial.sampled.get(parameter.name)) for record in top}
        if parameter.choices and not _is_ordered(parameter) and len(drawn) == 1 and len(counts) > 1:
            [label] = drawn
            expected = counts[label] / len(ordered)
            if label != "None" and expected ** len(top) < 0.1:  # else chance would often do the same
                yield f"The best {len(top)} trials all have {parameter.name} = {label}: leave out its other choices."


def _course(findings: Findings) -> Iterator[str]:
    ended = [record for record in findings.records if record.ended is not None]
    drawn = len(findings.drawn)
    if not findings.finished:
        return
    if len(findings.finished) < _ENOUGH:
        wanted = max(10, _A_PARAMETER * drawn)
        yield f"{_trials(len(findings.finished))} measured: too few to say what matters; ask for at least {wanted}."
        return
    course = findings.course()
    found_at = next(count for count, value in course if value == course[-1][1])
    since = len(ended) - found_at
    name = objective_name(findings.objectives[0])
    if len(ended) < _A_PARAMETER * drawn:
        wanted = _A_PARAMETER * drawn
        yield f"{_trials(len(ended))} for {drawn} parameters are few: go on to about {wanted}; the same name resumes."
    elif since <= _LATE * len(ended) and course[0][1] != course[-1][1]:
        yield f"The best {name} was found {_ago(since)}: going on may well find a better one."
    elif since >= len(ended) / 2:
        yield f"The last {since} of {len(ended)} trials found no better {name}: more will hardly help in this space."


def _idle(findings: Findings) -> Iterator[str]:
    if len(findings.finished) < _FOR_INFLUENCE:
        return
    names = [name for name, share in findings.importances.items() if share < _NO_INFLUENCE]
    if names and len(names) < len(findings.importances):
        them = "it" if len(names) == 1 else "them"
        yield f"Without visible influence: {', '.join(names)}. Take {them} out, and the others are searched faster."


def _place(parameter: Parameter, value: int | float | str) -> float | None:
    """Where a value lies in its range, from 0 to 1; None where there is no such order."""
    if parameter.choices:
        if not _is_ordered(parameter):
            return None
        known = [_plain(label) for label in parameter.choices]
        return sorted(known, key=float).index(_plain(value)) / (len(known) - 1)
    low, high = parameter.low, parameter.high
    if low is None or high is None or low == high:
        return None
    scale = math.log if parameter.log else float
    return (scale(float(value)) - scale(low)) / (scale(high) - scale(low))


def _is_ordered(parameter: Parameter) -> bool:
    """Whether choices are numbers, so that one may lie at an end of them."""
    return len(parameter.choices) > 2 and not any(isinstance(_plain(label), str) for label in parameter.choices)


def _plain(label: int | float | str | None) -> int | float | str:
    """A label that is a number as that number."""
    try:
        return float(str(label))
    except ValueError:
        return str(label)


def _trials(count: int) -> str:
    return "1 trial" if count == 1 else f"{count} trials"


def _ago(since: int) -> str:
    return "by the last trial" if since == 0 else f"{_trials(since)} ago"
