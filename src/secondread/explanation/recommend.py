"""Which method a model's maps may be drawn with, by its checks."""

from collections.abc import Sequence

from secondread.evaluation.explanation import Explanation
from secondread.explanation.check import QUESTIONS, Check


def recommended(checks: Sequence[Check]) -> Explanation:
    """Choose the method that passed best: of those that failed nothing essential, the one that passed most checks.

    Of equals it is the one that points at more findings, then the one whose order of removal says most; then the first.

    Args:
        checks: of `check_methods`.
    Returns:
        no method, and what each failed, where none passed every essential check that could be measured.
    """
    methods = [_Record(checks, name) for name in dict.fromkeys(check.method for check in checks)]
    asked = [record for record in methods if record.measured]
    believed = [record for record in asked if not record.failed]
    if not believed:
        said = "; ".join(f"{record.name} failed {', '.join(record.failed)}" for record in asked)
        return Explanation(method=None, reason=f"no method passed its checks: {said or 'none could be measured'}")
    best = max(believed, key=lambda record: record.merit)
    return Explanation(method=best.name, reason=best.praise)


class _Record:
    """What is known of one method."""

    def __init__(self, checks: Sequence[Check], name: str) -> None:
        self.name = name
        self.measured = {check.name: check for check in checks if check.method == name and check.passed is not None}
        self.failed = [
            check.name for check in self.measured.values() if not check.passed and QUESTIONS[check.name].is_essential
        ]

    @property
    def merit(self) -> tuple[int, float, float]:
        passed = sum(bool(check.passed) for check in self.measured.values())
        # Less than a hundredth is nothing, and the methods that come first are cheaper.
        return passed, round(self._value("pointing"), 2), round(self._value("deletion") + self._value("insertion"), 2)

    @property
    def praise(self) -> str:
        """Why this one."""
        passed, images = self.merit[0], max(check.images for check in self.measured.values())
        said = f"{self.name} passed {passed} of {len(self.measured)} checks on {images} images"
        if "pointing" not in self.measured:
            return f"{said}; where their findings are is not known, so nobody checked whether it points at them"
        found = self.measured["pointing"]
        return f"{said} and points at the finding in {found.value:.0%} of them ({found.low:.0%} to {found.high:.0%})"

    def _value(self, name: str) -> float:
        return self.measured[name].value if name in self.measured else 0.0
