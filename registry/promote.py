"""Judge the newest candidates, crown the best that passes, and keep the decision, a refusal too."""

from functools import partial

from registry.candidates import find_candidates
from registry.chain import walk
from registry.commit import HeadMoved, settle
from registry.comparison import Ground
from registry.contest import Contest
from registry.decide import decide
from registry.decision import Decision
from registry.gates import load_gates
from registry.lock import alone
from registry.standing import stand
from secondread.errors import RegistryError
from secondread.tasks import load_task
from secondread.tracking.database import connect

_TRIES = 3  # of a decision that another machine's overtook


def promote(task_name: str, run_id: str | None = None, gates: str = "task", ground: Ground = "champion") -> Decision:
    """Judge candidates and make the best that passes champion.

    Args:
        run_id: judge this training alone; by default the newest that were never judged.
        gates: `task` for the task's own, the name of another set, or a file's path.
        ground: whose manifest's test images a candidate and the champion are compared on.
    Raises:
        SecondReadError: nobody could be judged; the champion stays.
    """
    task = load_task(task_name)
    name, asked = load_gates(gates, task.name)
    client = connect()
    parameters = {"task": task.name, "run": run_id or "newest", "gates": name, "manifest": ground}
    with alone(task.name):
        for _ in range(_TRIES):
            settle(client, task.name)
            standing = stand(client, task.name)
            standing.refuse()
            past = [link.decision for link in walk(client, standing.head) if link.decision]
            judged = {candidate.run_id for decision in past for candidate in decision.candidates}
            candidates = find_candidates(client, task.name, run_id, judged, standing.held.champion)
            contest = Contest(client, task, name, asked, ground, past)
            try:
                return decide(client, standing, parameters, partial(contest.hold, standing.held, candidates))
            except HeadMoved as error:
                print(error, flush=True)
    raise RegistryError(f"{task.name}: others decide about it all the time; try again later")
