"""A worker: answers leave whole, errors are a status and a code, whatever the scoring server said."""

import asyncio
import json

import pytest
from uvicorn import Config
from uvicorn.server import ServerState

from deploy.scoring import App, ErrorCodes, Message, Receive, Send, WholeAnswers, diagnose

GOOD = {"dataframe_records": [{"image": "a"}]}


def ask(app: App, body: bytes = b"{}", method: str = "POST", path: str = "/invocations") -> tuple[int, str, bytes]:
    """Status, error code and body of an answer."""
    sent: list[Message] = []

    async def receive() -> Message:
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(message: Message) -> None:
        sent.append(message)

    headers = [(b"content-type", b"application/json")]
    scope: Message = {"type": "http", "method": method, "path": path, "headers": headers}
    asyncio.run(ErrorCodes(app)(scope, receive, send))
    start, *rest = sent
    return (
        start["status"],
        dict(start["headers"]).get(b"x-error", b"").decode(),
        b"".join(part["body"] for part in rest),
    )


def answering(status: int, text: bytes) -> App:
    """A scoring server that reads the body and says one thing."""

    async def app(scope: Message, receive: Receive, send: Send) -> None:
        await receive()
        await send({"type": "http.response.start", "status": status, "headers": [(b"x-path", b"/srv/model")]})
        await send({"type": "http.response.body", "body": text})

    return app


async def broken(scope: Message, receive: Receive, send: Send) -> None:
    """A scoring server that raises what it was sent."""
    raise ValueError((await receive())["body"])


def test_an_answer_passes_as_it_is() -> None:
    assert ask(answering(200, b"[1]")) == (200, "", b"[1]")


def test_an_error_is_replaced_whole() -> None:
    assert ask(answering(400, b"Traceback /srv/model Mustermann"), b"{") == (400, "not_json", b"{}")


def test_an_exception_is_an_error_and_is_not_quoted(capsys: pytest.CaptureFixture[str]) -> None:
    body = json.dumps(GOOD | {"params": {"explain": False}}).encode()
    assert ask(broken, body) == (500, "failed", b"{}")
    assert capsys.readouterr().err == "the scoring server raised ValueError\n"


def test_nothing_else_is_reachable() -> None:
    for method, path in (("GET", "/docs"), ("GET", "/invocations"), ("POST", "/version")):
        assert ask(answering(200, b"docs"), method=method, path=path)[0] == 404
    assert ask(broken, method="GET", path="/load") == (200, "", b'{"in_work": 0}')


@pytest.mark.parametrize(
    ("status", "kind", "body", "said"),
    [
        (500, "application/json", b"[" * 100_000, (400, "not_json")),
        (400, "application/json", b"\xff", (400, "not_json")),
        (500, "application/json", b"5", (400, "not_a_table")),
        (400, "application/json", b'{"inputs": [], "instances": []}', (400, "not_a_table")),
        (500, "application/json", b'{"dataframe_records": [{"image": 5}]}', (400, "not_a_table")),
        (500, "application/json", b'{"dataframe_split": {"columns": ["image"], "data": [5]}}', (400, "not_a_table")),
        (400, "application/json", json.dumps(GOOD).encode(), (400, "bad_params")),
        (500, "application/json", json.dumps(GOOD | {"params": {"explain": 5}}).encode(), (400, "bad_params")),
        (500, "application/json", json.dumps(GOOD | {"params": {"label": 5}}).encode(), (400, "bad_params")),
        (500, "application/json", json.dumps(GOOD).encode(), (500, "failed")),
        (500, "application/json", b'{"inputs": {"image": ["a"]}}', (500, "failed")),
        (500, "application/json", b'{"dataframe_split": {"columns": ["image"], "data": [["a"]]}}', (500, "failed")),
        (504, "application/json", json.dumps(GOOD).encode(), (504, "too_slow")),
        (500, "", b"", (415, "unsupported_type")),
        (415, "application/json; charset=x", b"", (415, "unsupported_type")),
        (400, "text/csv", b"a\n", (400, "not_a_table")),
    ],
)
def test_only_a_request_as_documented_can_be_the_servers_fault(
    status: int, kind: str, body: bytes, said: tuple[int, str]
) -> None:
    assert diagnose(status, kind, body) == said


class Wire:
    """Notes what is written to it, and what happens to the connection."""

    def __init__(self) -> None:
        self.events: list[bytes | str] = []

    def get_extra_info(self, name: str) -> None:
        return None

    def is_closing(self) -> bool:
        return "closed" in self.events

    def write(self, data: bytes) -> None:
        self.events.append(data)

    def close(self) -> None:
        self.events.append("closed")

    def resume_reading(self) -> None: ...


def exchanged(*requests: bytes) -> list[bytes | str]:
    """What happens on a connection on which a worker is asked."""

    async def talk() -> list[bytes | str]:
        wire = Wire()
        config = Config(ErrorCodes(answering(200, b"[1]")), log_level="warning", server_header=False, date_header=False)
        connection = WholeAnswers(config, ServerState(), {})
        connection.connection_made(wire)
        for request in requests:
            connection.data_received(request)
            await asyncio.sleep(0.05)
        return wire.events

    return asyncio.run(talk())


REQUEST = b"POST /invocations HTTP/1.%d\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}"


def test_an_answer_leaves_in_one_write_before_its_connection_is_closed() -> None:
    answer, closed = exchanged(REQUEST % 0)
    assert isinstance(answer, bytes)
    assert answer.startswith(b"HTTP/1.1 200")
    assert b"[1]" in answer.partition(b"\r\n\r\n")[2]
    assert closed == "closed"


def test_each_answer_of_an_open_connection_leaves_in_one_write() -> None:
    assert [event[:12] for event in exchanged(REQUEST % 1, REQUEST % 1)] == [b"HTTP/1.1 200"] * 2
