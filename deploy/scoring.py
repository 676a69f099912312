"""What a worker's process runs: MLflow's scoring server of one model, whose errors become a code and nothing else.

Started by path and isolated (`python -I scoring.py MODEL SOCKET`), so that the model brings its own code.
"""

import asyncio
import json
import os
import sys
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from uvicorn.protocols.http.h11_impl import H11Protocol

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Message, Receive, Send], Awaitable[None]]

_TABLES = ("dataframe_records", "dataframe_split", "inputs", "instances")
_PARAMS = {"operating_point": str, "explain": bool, "label": str}
_DRAIN_S = 30


class ErrorCodes:
    """An ASGI application in front of MLflow's: answers pass, errors are replaced by a status and a code.

    MLflow's errors hold stack traces, paths and what the client sent. `GET /load` answers the requests in work.
    """

    def __init__(self, app: App) -> None:
        self._app = app
        self._in_work = 0

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
        elif scope["path"] == "/load":
            await _send(send, 200, {"in_work": self._in_work})
        elif (scope["method"], scope["path"]) == ("POST", "/invocations"):
            self._in_work += 1
            try:
                await self._answer(scope, receive, send)
            finally:
                self._in_work -= 1
        else:
            await _send(send, 404, {}, "not_found")

    async def _answer(self, scope: Message, receive: Receive, send: Send) -> None:
        sent: list[bytes] = []
        status = 500

        async def recorded() -> Message:
            message = await receive()
            sent.append(message.get("body", b""))
            return message

        start: Message | None = None

        async def unless_error(message: Message) -> None:
            nonlocal status, start
            if message["type"] == "http.response.start":
                status, start = message["status"], message
            elif status < 400:
                if start is not None:
                    await send(start)
                    start = None
                await send(message)

        try:
            await self._app(scope, recorded, unless_error)
        except Exception as error:
            # Its text may hold what the client sent; the proxy's log has the request.
            print(f"the scoring server raised {type(error).__name__}", file=sys.stderr)
            status = 500
        if status >= 400:
            kind = next((value for name, value in scope["headers"] if name == b"content-type"), b"").decode("latin-1")
            status, code = diagnose(status, kind, b"".join(sent))
            await _send(send, status, {}, code)


class WholeAnswers(H11Protocol):
    """HTTP whose answers leave in one write.

    uvicorn writes head and body one after the other; a worker killed between the two leaves half an answer, which the
    proxy has begun to pass on and can ask no other worker for. Under load each pair was apart for up to 28 ms.
    """

    def connection_made(self, transport: Any) -> None:
        """Take a connection."""
        super().connection_made(JoinedWrites(transport))  # type: ignore[arg-type]  # all that is used of one


class JoinedWrites:
    """A transport that writes at once what is written in one step of the event loop."""

    def __init__(self, transport: asyncio.Transport) -> None:
        self._transport = transport
        self._held: list[bytes] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    def write(self, data: bytes) -> None:
        """Write, together with what follows."""
        if not self._held:
            asyncio.get_running_loop().call_soon(self._let_go)
        self._held.append(data)

    def close(self) -> None:
        """Close once everything is written."""
        self._let_go()
        self._transport.close()

    def _let_go(self) -> None:
        data = b"".join(self._held)
        self._held.clear()
        if data:
            self._transport.write(data)


def diagnose(status: int, content_type: str, body: bytes) -> tuple[int, str]:
    """What a request that MLflow did not answer lacks: the status and the code of the error.

    A request that is as the documentation says and still failed is the server's fault.
    """
    kind = content_type.partition(";")[0].strip().lower()
    if kind not in ("application/json", "text/csv") or status == 415:
        return 415, "unsupported_type"
    if status == 504:
        return 504, "too_slow"
    if kind == "text/csv":
        return 400, "not_a_table"
    try:
        request = json.loads(body)
    except (ValueError, RecursionError):
        return 400, "not_json"
    if not _has_table(request):
        return 400, "not_a_table"
    if not _has_known_params(request) or status < 500:
        return 400, "bad_params"
    return 500, "failed"


def _has_table(request: object) -> bool:
    """Whether a request has images in one of MLflow's four forms, each image a text."""
    if not isinstance(request, dict):
        return False
    tables = [name for name in _TABLES if name in request]
    if len(tables) != 1:
        return False
    table = request[tables[0]]
    if tables == ["dataframe_split"]:
        if not isinstance(table, dict) or table.get("columns") != ["image"] or not isinstance(table.get("data"), list):
            return False
        return all(isinstance(row, list) and len(row) == 1 and _is_image(row[0]) for row in table["data"])
    if isinstance(table, dict) and tables == ["inputs"]:
        images = table.get("image")
        return set(table) == {"image"} and isinstance(images, list) and all(map(_is_image, images))
    if not isinstance(table, list):
        return False
    return bool(table) and all(
        isinstance(row, dict) and set(row) == {"image"} and _is_image(row["image"]) for row in table
    )


def _is_image(value: object) -> bool:
    return isinstance(value, str)


def _has_known_params(request: dict[str, Any]) -> bool:
    params = request.get("params", {})
    return isinstance(params, dict) and all(
        name in _PARAMS and isinstance(value, _PARAMS[name]) for name, value in params.items()
    )


async def _send(send: Send, status: int, content: dict[str, Any], code: str = "") -> None:
    headers = [(b"content-type", b"application/json"), (b"x-error", code.encode())]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": json.dumps(content).encode()})


def main(model: str, socket: str) -> None:
    """Serve a model's folder at a unix socket, which appears once the model is loaded."""
    os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
    import mlflow.pyfunc  # takes seconds, and reads the environment
    import uvicorn
    from mlflow.pyfunc import scoring_server

    app = ErrorCodes(scoring_server.init(mlflow.pyfunc.load_model(model)))
    asyncio.run(
        uvicorn.Server(
            uvicorn.Config(
                app,
                uds=socket,
                http=WholeAnswers,
                access_log=False,
                log_level="warning",
                server_header=False,
                timeout_graceful_shutdown=_DRAIN_S,
            )
        ).serve()
    )


if __name__ == "__main__":
    main(*sys.argv[1:])
