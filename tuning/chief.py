"""Keras Tuner's chief and workers: one process keeps the oracle, every other one asks it over gRPC.

The documented environment of Keras Tuner holds: KERASTUNER_TUNER_ID (one with `chief` in it is the chief),
KERASTUNER_ORACLE_IP and KERASTUNER_ORACLE_PORT. The messages are not Keras Tuner's: those round every number to 32
bits, lose why a trial failed, cannot say that a trial is another's by now, and load TensorFlow into every worker.
"""

import json
import os
import pickle
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, redirect_stdout, suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any, BinaryIO, Literal, Protocol
from uuid import uuid4

import grpc

from secondread.errors import ConfigError, SearchError, SecondReadError
from secondread.storage import write_aside
from tuning.engine import Outcome, Record, Status, Trial
from tuning.locks import LOCAL, Lock, open_locks
from tuning.plan import Plan
from tuning.settings import SearchSettings
from tuning.space import Sampled, SearchSpace

Role = Literal["alone", "chief", "worker"]
Message = dict[str, Any]

_SERVICE = "secondread.Search"
_HERE = "127.0.0.1"
_PATIENCE_S = 60.0  # Keras Tuner's own workers wait for an hour
_SLOWEST_S = 600.0  # a chief whose machine is busy may compute for long; one that is gone is noticed sooner
_WAIT_S = 0.3  # between two questions for a trial that others hold up
_END_S = 10.0  # a chief that is told to end may be computing
_THREADS = 512  # of the chief; a worker's connection occupies one
# Vanished machines are noticed after half a minute; a stopped process at once.
_KEEPALIVE = [
    ("grpc.keepalive_time_ms", 20_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.max_pings_without_data", 0),
    ("grpc.http2.min_recv_ping_interval_without_data_ms", 10_000),
    ("grpc.max_receive_message_length", -1),
    ("grpc.max_send_message_length", -1),
]
_SERVER = [*_KEEPALIVE, ("grpc.so_reuseport", 0)]
_CLIENT = [
    *_KEEPALIVE,
    ("grpc.enable_http_proxy", 0),
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 1_000),
]


class Oracle(Protocol):
    """What a chief keeps; see `tuning.with_keras_tuner.KerasTunerOracle`."""

    def joined(self, session: str) -> None: ...
    def left(self, session: str) -> None: ...
    def knows(self, session: str) -> bool: ...
    def enqueue(self, sampled: Sampled) -> bool: ...
    def ask(self, session: str, request: str, trials: int, *, local: bool) -> tuple[Trial | None, bool]: ...
    def confirm(self, session: str, number: int) -> bool: ...
    def report(self, session: str, number: int, step: int, value: float) -> bool: ...
    def tell(self, session: str, number: int, outcome: Outcome) -> bool: ...
    def records(self) -> list[Record]: ...


def refuse(space: SearchSpace, settings: SearchSettings) -> None:
    """Say, before anything is opened, what Keras Tuner cannot search.

    Raises:
        ConfigError: Hyperband, which decides on the epochs, would not be alone in it.
    """
    if settings.engine != "keras_tuner" or settings.draws_by != "hyperband":
        return
    if any(key == "train.epochs" for each in space.parameters for probe in each.probes for key in each.settings(probe)):
        raise ConfigError("algorithm=hyperband: decides on the epochs itself; leave train.epochs out of the space")
    if settings.folds:
        raise ConfigError("algorithm=hyperband: goes on with earlier trainings, which folds have not; use folds=0")


def role(environ: Mapping[str, str] = os.environ) -> Role:
    """What Keras Tuner's environment makes of this process: `alone` without it.

    Raises:
        ConfigError: a part of it is missing.
    """
    if "KERASTUNER_ORACLE_IP" not in environ:
        return "alone"
    for name in ("KERASTUNER_ORACLE_PORT", "KERASTUNER_TUNER_ID"):
        if name not in environ:
            raise ConfigError(f"{name}: is not set, and KERASTUNER_ORACLE_IP is; set all three, or none")
    return "chief" if "chief" in environ["KERASTUNER_TUNER_ID"] else "worker"


@contextmanager
def serve_oracle(plan: Plan, environ: Mapping[str, str] = os.environ) -> Iterator[str]:
    """Keep a search's oracle in a process of its own, started again whenever it dies.

    Yields:
        its address; workers of this machine find it by themselves.
    Raises:
        ConfigError, SearchError: it could not begin.
    """
    refuse(plan.space, plan.settings)
    chief = _Chief(plan, f"{_HERE}:0" if role(environ) == "alone" else _address_in(environ))
    try:
        chief.start()
        chief.keep()
        yield chief.address
    finally:
        chief.stop()


@contextmanager
def serve(oracle: Oracle, plan: Plan, address: str) -> Iterator[str]:
    """Answer for an oracle of this process.

    Args:
        address: HOST:PORT; port 0 takes a free one.
    Yields:
        the address.
    Raises:
        SearchError: the address cannot be had.
    """
    token = _token_of(plan)
    server = grpc.server(ThreadPoolExecutor(_THREADS), handlers=[_handlers(oracle, plan, token)], options=_SERVER)
    try:
        port = server.add_insecure_port(address)
    except RuntimeError:
        raise SearchError(f"{address}: cannot be served on; is another chief running there?") from None
    server.start()
    host = address.rpartition(":")[0]
    with write_aside(_file(plan)) as aside:
        here = _HERE if host == "0.0.0.0" else "[::1]" if host == "[::]" else host
        aside.write_text(json.dumps({"address": f"{here}:{port}", "token": token}))
    try:
        yield f"{host}:{port}"
    finally:
        server.stop(0).wait()


def open_keras_tuner(plan: Plan, address: str | None = None, patience_s: float = _PATIENCE_S) -> "KerasTunerEngine":
    """Open a search whose chief is, or will soon be, running.

    Args:
        address: HOST:PORT; None is as the environment says, else the chief of this machine, wherever it moves.
        patience_s: a chief that does not answer for so long is given up.
    """
    if address is None and role() != "alone":
        address = _address_in(os.environ)
    return KerasTunerEngine(plan, address, patience_s)


class KerasTunerEngine:
    """Keeps `tuning.engine.Engine` by asking the chief; errors are `SearchError`."""

    def __init__(self, plan: Plan, address: str | None, patience_s: float) -> None:
        self._plan = plan
        self._address = address
        self._patience_s = patience_s
        self._session = uuid4().hex
        self._locks = open_locks(LOCAL, plan.folder)
        self._held: dict[int, Lock] = {}
        self._mutex = threading.Lock()  # of the channel
        self._channel: Any = None
        self._channel_to: str | None = None
        self._closed = threading.Event()
        self._joined = threading.Thread(target=self._keep_joined, name="joined", daemon=True)
        self._joined.start()

    def ask(self, worker: str, trials: int) -> Trial | None:
        """See `Engine.ask`; while all that could come next depends on trials of others, it waits."""
        request = uuid4().hex
        while not self._closed.is_set():
            answer = self._call("ask", request=request, trials=trials, token=self._token())
            if answer["wait"]:
                self._closed.wait(_WAIT_S)
                continue
            if answer["trial"] is None:
                return None
            trial = Trial(**answer["trial"])
            if not answer["local"]:
                return trial
            lock = self._locks.take(f"trial-{trial.number}", wait=True)
            if lock and self._call("confirm", number=trial.number)["yours"]:
                self._held[trial.number] = lock
                return trial
            if lock:
                lock.release()
            request = uuid4().hex
        return None

    def report(self, trial: Trial, step: int, value: float) -> bool:
        """See `Engine.report`; Keras Tuner stops no trial, but one that is another worker's by now should stop."""
        if self._closed.is_set():
            return True
        return bool(self._call("report", number=trial.number, step=step, value=value)["stop"])

    def tell(self, trial: Trial, outcome: Outcome) -> bool:
        """See `Engine.tell`."""
        if self._closed.is_set():
            return False
        yours = bool(self._call("tell", number=trial.number, outcome=asdict(outcome))["yours"])
        if trial.number in self._held:
            self._held.pop(trial.number).release()
        return yours

    def records(self) -> list[Record]:
        """See `Engine.records`."""
        return [_record(each) for each in self._call("records")["records"]]

    def enqueue(self, sampled: Sampled) -> bool:
        """See `Engine.enqueue`."""
        return bool(self._call("enqueue", sampled=dict(sampled))["new"])

    def close(self) -> None:
        """See `Engine.close`."""
        with self._mutex:
            self._closed.set()
            if self._channel:
                self._channel.close()
        self._joined.join()
        self._locks.close()

    def _call(self, method: str, **message: object) -> Message:
        patient_until = time.monotonic() + self._patience_s
        pause = 0.01
        while True:
            try:
                # Not `wait_for_ready`: a chief that was started again may be at another address.
                call = self._connected().unary_unary(f"/{_SERVICE}/{method}", _packed, _unpacked)
                answer: Message = call(self._named(message), timeout=_SLOWEST_S)
                return answer
            except grpc.RpcError as error:
                if error.code() not in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED):
                    raise SearchError(f"search {self._plan.name}: {error.details()}") from None
            except _NoChief:
                pass
            if time.monotonic() > patient_until:
                raise SearchError(
                    f"search {self._plan.name}: no chief has answered for {self._patience_s:.0f} s at "
                    f"{self._channel_to or 'any address'}; start the search again where it was begun, then this one"
                )
            time.sleep(pause)
            pause = min(0.5, pause * 2)

    def _named(self, message: Mapping[str, object]) -> Message:
        return {**message, "search": self._plan.key, "session": self._session}

    def _keep_joined(self) -> None:
        """Hold a connection open: while it lasts, what this worker was given is its own."""
        while not self._closed.is_set():
            with suppress(grpc.RpcError, _NoChief, ValueError):  # ValueError: the channel was closed
                hold = self._connected().unary_stream(f"/{_SERVICE}/hold", _packed, _unpacked)
                for _ in hold(self._named({})):
                    pass
            self._closed.wait(0.1)

    def _connected(self) -> Any:
        address = self._address or self._found()["address"]
        with self._mutex:
            if self._closed.is_set():
                raise _NoChief
            if address != self._channel_to:
                if self._channel:
                    self._channel.close()
                self._channel, self._channel_to = grpc.insecure_channel(address, _CLIENT), address
            return self._channel

    def _found(self) -> dict[str, str]:
        try:
            found: dict[str, str] = json.loads(_file(self._plan).read_text())
        except FileNotFoundError:
            raise _NoChief from None
        return found

    def _token(self) -> str:
        """What only those know who see the chief's files, and so its locks."""
        try:
            return self._found()["token"]
        except _NoChief:
            return ""


class _NoChief(Exception):
    """None has begun on this machine yet."""


class _Chief:
    """The chief's process, as its parent sees it."""

    def __init__(self, plan: Plan, address: str) -> None:
        self.address = address
        self._plan = plan
        self._process: subprocess.Popen[bytes] | None = None
        self._mutex = threading.Lock()
        self._stopped = threading.Event()
        self._keeper = threading.Thread(target=self._keep, name="chief", daemon=True)

    def start(self) -> None:
        """Start it, and wait until it answers."""
        log = self._plan.folder / "keras_tuner" / "log.txt"
        log.parent.mkdir(parents=True, exist_ok=True)
        # An oracle computes nothing that a GPU does better.
        environment = {**os.environ, "CUDA_VISIBLE_DEVICES": "-1", "TF_CPP_MIN_LOG_LEVEL": "3"}
        with self._mutex, log.open("ab") as stderr:
            if self._stopped.is_set():
                return
            self._process = subprocess.Popen(
                [sys.executable, "-m", "tuning.chief"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=stderr,
                env=environment,
            )
        assert self._process.stdin
        assert self._process.stdout
        with suppress(BrokenPipeError):
            pickle.dump((self._plan, self.address), self._process.stdin)
            self._process.stdin.flush()  # and left open: its end tells the chief that its parent has ended
        said = self._process.stdout.readline()
        if not said:
            last = log.read_text(errors="replace").strip().splitlines()[-1:]
            raise SearchError(f"Keras Tuner's chief ended at once: {' '.join(last) or 'without a word'}; see {log}")
        answer = json.loads(said)
        if "error" in answer:
            raise (ConfigError if answer["kind"] == "ConfigError" else SearchError)(answer["error"])
        self.address = answer["address"]

    def keep(self) -> None:
        """Start it again, at the same address, whenever it has died."""
        self._keeper.start()

    def stop(self) -> None:
        """End it; its state is on disk at any moment."""
        with self._mutex:
            self._stopped.set()
            process = self._process
        if process and process.stdin:
            process.stdin.close()
            try:
                process.wait(_END_S)
            except subprocess.TimeoutExpired:
                process.kill()
        if self._keeper.is_alive():
            self._keeper.join()
        elif process:
            _reap(process)

    def _keep(self) -> None:
        while self._process and not self._stopped.is_set():
            _reap(self._process)
            try:
                self.start()
            except SecondReadError:  # said by the workers, when they have waited long enough
                self._stopped.wait(1)


def _reap(process: subprocess.Popen[bytes]) -> None:
    process.wait()
    for pipe in (process.stdin, process.stdout):
        if pipe:
            with suppress(BrokenPipeError):
                pipe.close()


def _handlers(oracle: Oracle, plan: Plan, token: str) -> Any:
    methods: dict[str, Callable[[Message], Message]] = {
        "ask": lambda given: _ask(oracle, given, token),
        "confirm": lambda given: {"yours": oracle.confirm(given["session"], given["number"])},
        "report": lambda given: {
            "stop": oracle.report(given["session"], given["number"], given["step"], given["value"])
        },
        "tell": lambda given: {"yours": oracle.tell(given["session"], given["number"], _outcome(given["outcome"]))},
        "records": lambda given: {"records": [asdict(each) for each in oracle.records()]},
        "enqueue": lambda given: {"new": oracle.enqueue(given["sampled"])},
    }

    def checked(given: Message, context: Any) -> None:
        if given["search"] != plan.key:
            context.abort(grpc.StatusCode.FAILED_PRECONDITION, "another search's chief is at this address")

    def answering(method: Callable[[Message], Message]) -> Any:
        def answer(given: Message, context: Any) -> Message:
            checked(given, context)
            if not oracle.knows(given["session"]):
                context.abort(grpc.StatusCode.UNAVAILABLE, "its connection is not open yet")
            return method(given)

        return grpc.unary_unary_rpc_method_handler(answer, _unpacked, _packed)

    def hold(given: Message, context: Any) -> Iterator[Message]:
        checked(given, context)
        gone = threading.Event()
        if context.add_callback(gone.set):
            oracle.joined(given["session"])
            try:
                gone.wait()
            finally:
                oracle.left(given["session"])
        yield from ()

    handlers = {name: answering(method) for name, method in methods.items()}
    handlers["hold"] = grpc.unary_stream_rpc_method_handler(hold, _unpacked, _packed)
    return grpc.method_handlers_generic_handler(_SERVICE, handlers)


def _token_of(plan: Plan) -> str:
    """The folder's for good: a worker may ask one chief with what it read of the chief before."""
    try:
        return str(json.loads(_file(plan).read_text())["token"])
    except FileNotFoundError:
        return uuid4().hex


def _ask(oracle: Oracle, given: Message, token: str) -> Message:
    local = given["token"] == token
    trial, wait = oracle.ask(given["session"], given["request"], given["trials"], local=local)
    return {"trial": asdict(trial) if trial else None, "wait": wait, "local": local}


def _record(described: Message) -> Record:
    reported = {int(step): float(value) for step, value in described.pop("reported").items()}
    return Record(
        **{**described, "trial": Trial(**described["trial"]), "outcome": _outcome(described["outcome"])},
        reported=reported,
    )


def _outcome(described: Message) -> Outcome:
    return Outcome(Status(described["status"]), tuple(described["values"]), described["reason"])


def _packed(message: Message) -> bytes:
    return json.dumps(message).encode()


def _unpacked(data: bytes) -> Message:
    message: Message = json.loads(data)
    return message


def _file(plan: Plan) -> Path:
    return plan.folder / "keras_tuner" / "chief.json"


def _address_in(environ: Mapping[str, str]) -> str:
    host = environ["KERASTUNER_ORACLE_IP"]
    return f"{f'[{host}]' if ':' in host else host}:{environ['KERASTUNER_ORACLE_PORT']}"


def main(stdin: BinaryIO = sys.stdin.buffer) -> None:
    """Be the chief that a parent started: the plan comes in, the address goes out, and the parent's end is the end."""
    for number in (signal.SIGINT, signal.SIGTERM):  # they are for the parent, whose workers still tell
        signal.signal(number, signal.SIG_IGN)
    plan, address = pickle.load(stdin)
    try:
        with redirect_stdout(sys.stderr):
            from tuning.with_keras_tuner import KerasTunerOracle  # TensorFlow: seconds, and hundreds of megabytes

            oracle = KerasTunerOracle(plan)
        with serve(oracle, plan, address) as served:
            print(json.dumps({"address": served}), flush=True)
            stdin.read()
    except SecondReadError as error:
        print(json.dumps({"error": str(error), "kind": type(error).__name__}), flush=True)


if __name__ == "__main__":
    main()
