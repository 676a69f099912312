"""Which way to explain its answers a model was found to allow."""

from pydantic import BaseModel, ConfigDict


class Explanation(BaseModel):
    """The outcome of checking the ways to explain a model's answers.

    Args:
        method: the one that passed best; None where none did, so that none may be shown.
        reason: why this one, or why none, in one sentence without a full stop.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    method: str | None
    reason: str


UNCHECKED = Explanation(method=None, reason="no method was checked when this model was logged")
