"""The site that all jobs ask: a page a number, an answer after a short time, and a record of who got what when."""

from __future__ import annotations

import hashlib
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import NamedTuple


class Answer(NamedTuple):
    """One page that was sent."""

    number: int
    at: float  # seconds of `time.monotonic`


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: object, client_address: object) -> None:
        """Silent: visitors die here."""


class Site:
    """A server on a free port of this machine; a context manager."""

    def __init__(self, *, latency_s: float) -> None:
        self.answers: list[Answer] = []
        self._server = _Server(("127.0.0.1", 0), self._visit(latency_s))

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def forget(self) -> None:
        self.answers.clear()

    def _visit(self, latency_s: float) -> type[BaseHTTPRequestHandler]:
        answers = self.answers

        class Visit(BaseHTTPRequestHandler):
            """Answers 404 to what is no number, such as robots.txt."""

            protocol_version = "HTTP/1.1"
            # One packet an answer: two on a kept connection wait 40 ms for each other.
            wbufsize = -1
            disable_nagle_algorithm = True

            def do_GET(self) -> None:
                text = self.path.strip("/")
                if not text.isdigit():
                    self.send_error(404)
                    return
                time.sleep(latency_s)
                body = hashlib.sha256(text.encode()).hexdigest().encode()
                self.send_response(200)
                self.send_header("Content-Type", "text/plain")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                # Noted first: once the job has the page, the driver may look.
                answers.append(Answer(int(text), time.monotonic()))
                self.wfile.write(body)

            def log_message(self, format: str, *args: object) -> None:
                pass

        return Visit

    def __enter__(self) -> Site:
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()
