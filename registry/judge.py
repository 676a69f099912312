"""Judge one candidate: gate by gate, and beside the champion."""

import io
from collections.abc import Mapping, Sequence

from matplotlib.figure import Figure

from registry.comparison import Match
from registry.contender import Contender
from registry.decision import GateResult, Judged, Level
from registry.gates import Finding, GateSet
from secondread.errors import SecondReadError

_WHOLE = "files"


def judge(candidate: Contender, match: Match | None, gates: GateSet) -> tuple[Judged, dict[str, bytes]]:
    """Judge a candidate and say so, a line a gate.

    Who fails a gate is compared with the champion too where both have answered the same images: its reader wants to
    know, and it is no challenge. It is not worth answering other images anew.

    Args:
        match: with the champion; None where there is none.
    Returns:
        the judgement, `promoted` if it passed, and its figures as PNG by their path in the decision's run.
    Raises:
        SecondReadError: the comparison with the champion cannot be made; nobody is judged by that.
    """
    findings = {_WHOLE: _said(_WHOLE, _whole(candidate))}
    alone = [gate for gate in gates.gates if not gate.compares]
    compared = [gate for gate in gates.gates if gate.compares]
    if findings[_WHOLE].passed:
        findings |= {gate.name: _said(gate.name, gate.judge(candidate, match)) for gate in alone}
        if _all_passed(findings) or (match is not None and match.is_at_hand):
            findings |= {gate.name: _said(gate.name, gate.judge(candidate, match)) for gate in compared}
    names = {gate.name for gate in compared}
    judged = Judged(
        version=candidate.version,
        run_id=candidate.run.info.run_id,
        model=candidate.run.data.tags.get("model", "unknown"),
        against=match.champion.version if match else None,
        verdict="promoted" if _all_passed(findings) else "refused",
        results=tuple(_result(name, finding, name in names) for name, finding in findings.items()),
        compared=tuple(finding.compared for finding in findings.values() if finding.compared),
        digests=candidate.digests() if findings[_WHOLE].passed else {},
    )
    return judged, _figures(match, list(findings.values())) if match and judged.compared else {}


def _all_passed(findings: Mapping[str, Finding]) -> bool:
    return all(finding.passed for finding in findings.values())


def _whole(candidate: Contender) -> Finding:
    """Whether there is what the gates look at."""
    asked = "predictions, manifest, and a bundle whose files are those that were saved"
    try:
        images, labels = len(candidate.predictions), len(candidate.description.labels)
        known = len(candidate.manifest)
    except SecondReadError as error:
        return Finding(False, asked, "not whole", str(error))
    return Finding(True, asked, f"{images:,} tested of {known:,} images, {labels} labels answered")


def _said(gate: str, finding: Finding) -> Finding:
    print(
        f"  {'passed' if finding.passed else 'FAILED'}  {gate:<32} {finding.found}; asked: {finding.asked}", flush=True
    )
    if not finding.passed and finding.advice:
        print(f"          next: {finding.advice}", flush=True)
    return finding


def _result(gate: str, finding: Finding, compares: bool) -> GateResult:
    advice = "" if finding.passed else finding.advice
    return GateResult(
        gate=gate, asked=finding.asked, found=finding.found, passed=finding.passed, advice=advice, compares=compares
    )


def _figures(match: Match, findings: Sequence[Finding]) -> dict[str, bytes]:
    """Both models' ROC curves, decisions and differences, for each level that was compared."""
    from secondread.evaluation.figures.comparison import agreement, differences, paired_roc

    found: dict[str, bytes] = {}
    levels: tuple[Level, ...] = ("image", "study")
    for level in levels:
        compared = [
            (finding.difference, finding.compared.margin)
            for finding in findings
            if finding.compared and finding.difference and finding.compared.level == level
        ]
        if compared:
            folder = f"figures/version_{match.challenger.version}{'' if level == 'image' else '_study'}"
            paired = match.paired(level)
            found[f"{folder}/paired_roc.png"] = _png(paired_roc(paired, match.names))
            found[f"{folder}/differences.png"] = _png(differences(compared))
            found[f"{folder}/agreement.png"] = _png(agreement(paired, match.names))
    return found


def _png(figure: Figure) -> bytes:
    data = io.BytesIO()
    figure.savefig(data, format="png")
    return data.getvalue()
