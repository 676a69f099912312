"""Starts the gateway, mends it, and exchanges champions without dropping a request."""

import shutil
import signal
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from itertools import count
from pathlib import Path

from deploy.champions import Champion, bring_champions
from deploy.control import Page, answer_at
from deploy.events import EventLog, seconds_since
from deploy.metrics import Metric, Requests, Sample, connections, exposition
from deploy.proxy import Proxy
from deploy.settings import Settings
from deploy.state import GatewayError, State
from deploy.unix_http import ask
from deploy.worker import Worker

_TICK_S = 0.1
_ASK_EVERY_S = 5.0
_OPEN_S = 1.0  # from the exchange of a socket to the old worker's end: connections that were on their way arrive
_NGINX_PAUSE_S = 1.0  # between two starts
_LONGEST_PAUSE_S = 30.0  # between two starts of a worker that does not get warm


class Slot:
    """A socket that nginx knows, and the worker that answers there.

    Args:
        socket: its name never changes; the worker behind it does.
    """

    def __init__(self, task: str, number: int, run: Path) -> None:
        self.task, self.number = task, number
        self.socket = run / f"{task}-{number}.sock"
        self.worker: Worker | None = None
        self.next: Worker | None = None
        self.starts = count()
        self.failures = 0
        self.pause_until = 0.0

    @property
    def is_ready(self) -> bool:
        """Whether its worker is warm and runs."""
        return self.worker is not None and self.worker.runs


class Supervisor:
    """Keeps nginx and the workers of one gateway. `serve` belongs to the main thread, the rest to any."""

    def __init__(self, settings: Settings, state: State, say: Callable[[str], None]) -> None:
        self._settings, self._state, self._say = settings, state, say
        self._log = EventLog(state.logs / "gateway.jsonl")
        self._requests = Requests(state.access_log)
        self._proxy = Proxy(settings, state, self._log)
        self._slots = [Slot(task, number, state.run) for task in settings.tasks for number in range(settings.workers)]
        self._champions: dict[str, Champion] = {}
        self._restarts = dict.fromkeys(settings.tasks, 0)
        self._retired: list[tuple[float, Worker]] = []
        self._asked: tuple[dict[str, Champion], Future[None]] | None = None
        self._reloading = threading.Lock()
        self._stopping = threading.Event()
        self._nginx_pause_until = 0.0

    def serve(self, ready: Callable[[], None]) -> None:
        """Serve until `stop` or a signal says otherwise.

        Args:
            ready: called once everything answers.
        Raises:
            GatewayError: there is no champion, its workers do not get warm, or nginx does not start.
        """
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, lambda *_: self._stopping.set())
        try:
            with self._reloading:
                self._start()
            if not self._stopping.is_set():
                ready()
            while not self._stopping.is_set():
                self._tick()
        finally:
            self._end()

    # --- any thread

    def reload(self) -> Page:
        """Bring the champions of this moment and let them answer; also a new token or certificate."""
        with self._reloading:
            started = time.monotonic()
            try:
                before = dict(self._champions)
                champions = bring_champions(self._settings.tasks, self._state.models)
                self._exchange(champions)
                self._forget_others()
                if self._proxy.configure():
                    self._proxy.reload()
            except GatewayError as error:
                self._log.write("reload failed")
                return Page(500, {"error": str(error)})
            said = [self._worded(task, before.get(task)) for task in self._settings.tasks]
            self._log.write("reloaded", seconds=seconds_since(started))
            return Page(200, {"said": said})

    def stop(self) -> Page:
        """End everything."""
        self._stopping.set()
        return Page(200, {})

    def health(self) -> Page:
        """What works: 503 where a task that has a champion has no worker."""
        tasks = {task: self._task_health(task) for task in self._settings.tasks}
        states = {str(said["status"]) for said in tasks.values()}
        status = "ok" if states == {"ok"} else "unavailable" if "unavailable" in states else "degraded"
        return Page(503 if status == "unavailable" else 200, {"status": status, "models": tasks})

    def models(self) -> Page:
        """What each model answers, for clients."""
        return Page(200, {task: champion.about for task, champion in sorted(self._champions.items())})

    def metrics(self) -> Page:
        """Everything for Prometheus."""
        return Page(200, exposition([*self._requests.metrics(), *self._worker_metrics(), self._connections()]))

    def _task_health(self, task: str) -> dict[str, str | int | None]:
        champion = self._champions.get(task)
        ready = sum(slot.is_ready for slot in self._slots if slot.task == task)
        status = "ok" if ready == self._settings.workers else "degraded" if ready else "unavailable"
        return {
            "status": status if champion else "no champion",
            "version": champion.version if champion else None,
            "workers": self._settings.workers if champion else 0,
            "ready": ready,
        }

    def _worker_metrics(self) -> Iterator[Metric]:
        load: list[Sample] = []
        resident: list[Sample] = []
        for slot in self._slots:
            labels = {"task": slot.task, "worker": str(slot.number)}
            if slot.worker is not None and slot.worker.runs:
                load.append(Sample(labels, slot.worker.in_work() or 0))
                resident.append(Sample(labels, slot.worker.resident_bytes))
        ready = [
            Sample({"task": task}, sum(slot.is_ready for slot in self._slots if slot.task == task))
            for task in self._settings.tasks
        ]
        restarts = [Sample({"task": task}, number) for task, number in self._restarts.items()]
        versions = [
            Sample({"task": task, "version": champion.version}, 1) for task, champion in self._champions.items()
        ]
        yield Metric("secondread_worker_requests_in_flight", "gauge", "Requests that a worker works on.", load)
        yield Metric("secondread_worker_resident_bytes", "gauge", "Resident memory of a worker.", resident)
        yield Metric("secondread_workers_ready", "gauge", "Warm workers.", ready)
        yield Metric("secondread_worker_restarts_total", "counter", "Workers that had to be replaced.", restarts)
        yield Metric("secondread_model_version", "gauge", "1 for the version that answers.", versions)

    def _connections(self) -> Metric:
        try:
            return connections(ask(self._state.run / "status.sock", "GET", "/").body.decode())
        except OSError:
            return connections("")

    def _worded(self, task: str, before: Champion | None) -> str:
        now = self._champions.get(task)
        if now is None:
            return f"{task}: nobody was promoted; `python -m registry promote --task {task}`"
        if before == now:
            return f"{task}: version {now.version} stays"
        return f"{task}: version {now.version} answers now" + (f", version {before.version} before" if before else "")

    def _forget_others(self) -> None:
        """Remove copies of models that no worker would be started from any more."""
        kept = {champion.folder for champion in self._champions.values()}
        for folder in self._state.models.iterdir():
            if folder not in kept:
                shutil.rmtree(folder, ignore_errors=True)

    def _exchange(self, champions: dict[str, Champion]) -> None:
        """Let the main thread start workers of other champions, and wait until they answer."""
        done: Future[None] = Future()
        self._asked = (champions, done)
        done.result()

    # --- the main thread

    def _start(self) -> None:
        self._state.prepare()
        self._proxy.configure()
        pages = {"GET /health": self.health, "GET /models": self.models, "GET /metrics": self.metrics}
        answer_at(self._state.control, pages | {"POST /reload": self.reload, "POST /stop": self.stop})
        self._say("bringing the champions ...")
        champions = bring_champions(self._settings.tasks, self._state.models)
        if not champions:
            raise GatewayError(
                "no task has a champion; `make demo` makes two from synthetic images, `python -m registry promote` "
                "crowns a training of yours"
            )
        self._say(f"starting {self._settings.workers * len(champions)} workers; each loads TensorFlow ...")
        done: Future[None] = Future()
        self._asked = (champions, done)
        while not done.done():
            if self._stopping.is_set():
                return
            self._tick()
        done.result()
        self._forget_others()
        self._requests.skip()
        self._proxy.start()
        self._wait_for_nginx()
        threading.Thread(target=self._question, daemon=True).start()
        self._log.write("serving")

    def _wait_for_nginx(self) -> None:
        until = time.monotonic() + 10
        while not (self._state.run / "status.sock").exists():
            if not self._proxy.runs or time.monotonic() > until:
                raise GatewayError(f"nginx did not start; {self._state.logs / 'gateway.jsonl'} says why")
            time.sleep(0.05)

    def _tick(self) -> None:
        time.sleep(_TICK_S)
        self._advance_exchange()
        self._mend()
        self._bury()
        self._requests.read()
        self._proxy.rotate_log()

    def _advance_exchange(self) -> None:
        """Start the next champions' workers, and once all are warm let them answer; one that fails ends it."""
        if self._asked is None:
            return
        champions, done = self._asked
        changed = [
            slot
            for slot in self._slots
            if slot.task in champions and self._champions.get(slot.task) != champions[slot.task]
        ]
        for slot in changed:
            if slot.next is None or slot.next.champion != champions[slot.task]:
                self._drop_next(slot)
                self._start_next(slot, champions[slot.task])
        if failed := [slot.next for slot in changed if slot.next and slot.next.failed]:
            for slot in changed:
                self._drop_next(slot)
            self._asked = None
            done.set_exception(GatewayError(_why(failed[0])))
        elif all(slot.next and slot.next.warm.is_set() for slot in changed):
            self._champions = self._champions | champions
            for slot in changed:
                self._open(slot)
            self._asked = None
            done.set_result(None)

    def _mend(self) -> None:
        """Replace workers that died; nginx sends their requests to the others meanwhile."""
        for slot in self._slots:
            champion = self._champions.get(slot.task)
            if champion is None or self._is_exchanging(slot):
                continue
            if slot.worker is not None and (not slot.worker.runs or slot.worker.is_deaf):
                self._log.write(
                    "worker died", task=slot.task, worker=slot.number, exit_status=slot.worker.process.poll()
                )
                slot.worker.kill()
                slot.worker = None
                self._restarts[slot.task] += 1
            if slot.worker is None and slot.next is None and time.monotonic() > slot.pause_until:
                self._start_next(slot, champion)
            elif slot.worker is None and slot.next is not None and slot.next.warm.is_set():
                self._open(slot)
            elif slot.next is not None and slot.next.failed:
                self._log.write("worker failed", task=slot.task, worker=slot.number)
                self._drop_next(slot)
                slot.failures += 1
                slot.pause_until = time.monotonic() + min(2.0**slot.failures, _LONGEST_PAUSE_S)
        if self._proxy.was_started and not self._proxy.runs and time.monotonic() > self._nginx_pause_until:
            self._nginx_pause_until = time.monotonic() + _NGINX_PAUSE_S
            self._log.write("nginx died")
            self._proxy.start()

    def _is_exchanging(self, slot: Slot) -> bool:
        return self._asked is not None and self._asked[0].get(slot.task) not in (None, self._champions.get(slot.task))

    def _start_next(self, slot: Slot, champion: Champion) -> None:
        aside = self._state.run / f"{slot.task}-{slot.number}-{next(slot.starts)}.sock"
        slot.next = Worker(champion, aside, self._state, self._settings.answer_s)
        self._log.write("worker started", task=slot.task, worker=slot.number, version=champion.version)

    def _open(self, slot: Slot) -> None:
        assert slot.next is not None  # the callers saw that it is warm
        old, slot.worker, slot.next = slot.worker, slot.next, None
        slot.worker.answer_at(slot.socket)
        slot.failures = 0
        seconds = seconds_since(slot.worker.started)
        self._log.write("worker answers", task=slot.task, worker=slot.number, seconds=seconds)
        if old is not None:
            self._retired.append((time.monotonic() + _OPEN_S, old))

    def _drop_next(self, slot: Slot) -> None:
        if slot.next is not None:
            slot.next.kill()
            slot.next = None

    def _bury(self) -> None:
        """Ask retired workers to end, then see to it that they do."""
        kept = []
        for moment, worker in self._retired:
            if time.monotonic() > moment:
                worker.retire()
            if worker.runs:
                kept.append((moment, worker))
        self._retired = kept

    def _question(self) -> None:
        """See, in a thread of its own, whether the workers answer; `_mend` replaces those that do not."""
        while not self._stopping.wait(_ASK_EVERY_S):
            for slot in self._slots:
                if slot.worker is not None and slot.worker.runs:
                    slot.worker.in_work()

    def _end(self) -> None:
        """Let nginx finish what is in work, then end the workers."""
        self._proxy.stop()
        workers = [worker for _, worker in self._retired]
        workers += [worker for slot in self._slots for worker in (slot.worker, slot.next) if worker is not None]
        for worker in workers:
            worker.kill()
        self._requests.read()
        self._log.write("stopped")


def _why(worker: Worker) -> str:
    champion = worker.champion
    said = "\n".join(f"  {line}" for line in worker.said)
    return f"a worker of {champion.task} version {champion.version} did not get warm; it said:\n{said}"
