"""Stands between a program and its S3 service and does to requests what networks and services do."""

from __future__ import annotations

import http.client
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

Verdict = str | float | None


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, *_: object) -> None:
        """Clients are killed in these tests, in the middle of a request."""


class FaultyS3:
    """A proxy on 127.0.0.1.

    `decide(method, path)` is asked for every request: None passes it on, "503" refuses it, "drop" closes the
    connection, "lose" passes it on and loses the answer, "bare" passes it on without its conditions, and a number
    makes it wait for so many seconds.
    """

    def __init__(self, service: str):
        self.decide: Callable[[str, str], Verdict] = lambda method, path: None
        self.requests: list[tuple[str, str]] = []
        # What the service answered, by the client's number of the request: one that is repeated counts once.
        self.answered: dict[str, tuple[str, str]] = {}
        target, faulty = urlsplit(service), self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def _serve(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                verdict = faulty.decide(self.command, self.path)
                faulty.requests.append((self.command, self.path))
                if verdict == "503":
                    self.send_response(503)
                    self.send_header("Content-Length", "0")
                    self.end_headers()
                    return
                if verdict == "drop":
                    self.close_connection = True
                    return
                if isinstance(verdict, float):
                    time.sleep(verdict)
                skipped = {"if-match", "if-none-match"} if verdict == "bare" else set()
                headers = {k: v for k, v in self.headers.items() if k.lower() not in {"expect", *skipped}}
                inner = http.client.HTTPConnection(target.hostname or "", target.port, timeout=600)
                inner.request(self.command, self.path, body, headers)
                answer = inner.getresponse()
                content = answer.read()
                inner.close()
                if answer.status < 500:
                    faulty.answered[self.headers.get("amz-sdk-invocation-id", "")] = (self.command, self.path)
                if verdict == "lose":
                    self.close_connection = True
                    return
                self.send_response(answer.status)
                for name, value in answer.getheaders():
                    if name.lower() not in ("transfer-encoding", "connection", "content-length", "date", "server"):
                        self.send_header(name, value)
                length = answer.getheader("Content-Length") if self.command == "HEAD" else len(content)
                self.send_header("Content-Length", str(length or 0))
                self.end_headers()
                self.wfile.write(content)

            do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = _serve

            def log_message(self, *_: object) -> None:
                pass

        self._server = _Server(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
