"""A decision's text and digest: what the next decision, and whoever doubts the history, holds on to."""

import hashlib

import pytest

from registry.decision import Compared, Decision, GateResult, Judged, read_decision
from secondread.errors import RegistryError


def decision(number: int = 2, reason: str = "better") -> Decision:
    compared = Compared(
        measure="auroc",
        level="image",
        champion=0.9,
        challenger=0.93,
        difference=0.03,
        low=0.01,
        high=0.05,
        confidence=0.9,
        asks="superiority",
        margin=None,
        alpha=0.05,
        met=0,
        images=624,
        patients=600,
        left_out=3,
        test="DeLong",
    )
    results = (
        GateResult(gate="skill", asked="above 0", found="0.5 (0.4 to 0.6)", passed=True),
        GateResult(gate="audit", asked="clean", found="leaks", passed=False, advice="divide the images by patient"),
    )
    judged = Judged(
        version=4, run_id="r4", model="chest_cnn", against=3, verdict="refused", results=results, compared=(compared,)
    )
    return Decision(
        task="pneumonia",
        number=number,
        kind="refusal",
        at="2026-01-01T00:00:00+00:00",
        former_run_id="r0",
        former_digest="d" * 64,
        champion_before=3,
        champion_after=3,
        previous_before=1,
        previous_after=1,
        gates="pneumonia",
        gates_digest="g" * 64,
        reason=reason,
        candidates=(judged,),
        git_commit="c" * 40,
        files={"report.html": "f" * 64},
    )


def test_a_decision_is_read_as_it_was_written() -> None:
    assert read_decision(decision().text()) == decision()


def test_the_digest_is_that_of_the_file_and_of_every_word_in_it() -> None:
    assert decision().digest() == hashlib.sha256(decision().text().encode()).hexdigest()
    assert decision().digest() == decision().digest()
    assert decision(reason="bettet").digest() != decision().digest()
    assert decision(number=3).digest() != decision().digest()


def test_every_version_is_named_once() -> None:
    assert decision().versions == {1, 3, 4}


def test_a_candidate_names_the_gates_that_it_failed() -> None:
    assert decision().candidates[0].failed == ("audit",)


@pytest.mark.parametrize("text", ["", "{}", '{"format": 2}', "[]"])
def test_what_is_no_decision_is_refused(text: str) -> None:
    with pytest.raises(RegistryError, match="not a decision that this version reads; update Second Read"):
        read_decision(text)
