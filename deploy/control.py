"""The supervisor's own small server, at a socket that only its user reaches; nginx shows three of its pages."""

import json
import socketserver
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any, NamedTuple


class Page(NamedTuple):
    """An answer: JSON, or text for Prometheus."""

    status: int
    content: dict[str, Any] | str


class _Server(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    daemon_threads = True
    request_queue_size = 128

    pages: dict[str, Callable[[], Page]]


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    timeout = 10

    def do_GET(self) -> None:
        self._answer("GET")

    def do_POST(self) -> None:
        self._answer("POST")

    def _answer(self, method: str) -> None:
        page = self.server.pages.get(f"{method} {self.path}")
        status, content = page() if page else Page(404, {})
        text = content if isinstance(content, str) else json.dumps(content) + "\n"
        kind = "text/plain; version=0.0.4" if isinstance(content, str) else "application/json"
        self.send_response_only(status)
        self.send_header("Content-Type", f"{kind}; charset=utf-8")
        self.send_header("Content-Length", str(len(text.encode())))
        self.send_header("Cache-Control", "no-store")
        self.end_headers()
        self.wfile.write(text.encode())


def answer_at(socket: Path, pages: dict[str, Callable[[], Page]]) -> None:
    """Answer requests at a unix socket until the process ends, each in a thread.

    Args:
        pages: by method and path, such as `GET /health`.
    """
    server = _Server(str(socket), _Handler)
    server.pages = pages
    threading.Thread(target=server.serve_forever, daemon=True).start()
