"""What a trial's process does: take its order, train, and tell its worker after every epoch."""

import json
import os
import signal
import sys
from collections.abc import Mapping
from typing import TextIO

from secondread.execution import die_with_parent
from tuning.trial_process import TrialOrder


class Conversation:
    """The trial's side of the talk with its worker; see `TrialProcess` for what is said."""

    def __init__(self, heard: TextIO, said: TextIO) -> None:
        self._heard = heard
        self._said = said

    def order(self) -> TrialOrder:
        """Take the order, the first line that the worker sends."""
        return TrialOrder.model_validate_json(self._heard.readline())

    def tell(self, message: Mapping[str, object]) -> None:
        """Tell the worker something, without waiting."""
        self._said.write(json.dumps(message) + "\n")
        self._said.flush()

    def may_go_on(self, message: Mapping[str, object]) -> bool:
        """Tell the worker something and wait for its answer; without a worker the process ends here."""
        self.tell(message)
        answer = self._heard.readline().strip()
        if answer not in ("go", "stop"):
            raise SystemExit(1)
        return answer == "go"


def run_trial() -> None:
    """Carry out the order on the standard input; what the training prints goes to the standard error."""
    die_with_parent(signal.SIGKILL)
    said = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    worker = Conversation(sys.stdin, said)
    order = worker.order()
    if os.getppid() != order.worker:  # it died before this process could ask to die with it
        raise SystemExit(1)
    # TensorFlow takes seconds to load: not before this process is sure to end with its worker.
    from tuning.trial_training import carry_out

    worker.tell(carry_out(order, worker.may_go_on))
