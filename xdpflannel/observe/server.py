"""HTTP for machines: /metrics and health over TCP, the state document over a unix socket.

A server is made from a table of paths and plain callables, answers each request in a thread of its own and
stops cleanly. Only GET and HEAD are known.
"""

from __future__ import annotations

import contextlib
import os
import socket
import socketserver
import stat
import sys
import threading
from collections.abc import Callable, Iterable, Mapping
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import ClassVar, Self
from urllib.parse import parse_qs, urlsplit

import structlog
from attrs import frozen

from xdpflannel.errors import HostError
from xdpflannel.model.state import Check

TIMEOUT = 10.0
"""Seconds a client may take to send its request or read the answer."""

log = structlog.get_logger()


@frozen
class Response:
    """What a handler answers."""

    body: bytes
    status: int = HTTPStatus.OK
    content_type: str = "text/plain; charset=utf-8"


Handler = Callable[[Mapping[str, str]], Response]
"""Takes the query's parameters (``?verbose`` is ``{"verbose": ""}``)."""
Routes = Mapping[str, Handler]


def health_routes(live: Callable[[], bool], checks: Callable[[], Iterable[Check]]) -> Routes:
    """Return /healthz (as flanneld's), /livez and /readyz[?verbose].

    ``live``: the agent's loop still turns. It must not depend on the lease store: an outage there would
    restart every node's agent. ``checks``: the conditions of readiness, at least one.
    """

    def healthz(_: Mapping[str, str]) -> Response:
        return Response(b"xdpflanneld is running\n")

    def livez(_: Mapping[str, str]) -> Response:
        if live():
            return Response(b"xdpflanneld is alive\n")
        return Response(b"xdpflanneld hangs\n", HTTPStatus.SERVICE_UNAVAILABLE)

    def readyz(query: Mapping[str, str]) -> Response:
        found = list(checks())
        ready = bool(found) and all(check.ok for check in found)
        lines = [_check_line(check) for check in found] if "verbose" in query else []
        lines.append("xdpflanneld is ready" if ready else "xdpflanneld is not ready yet")
        status = HTTPStatus.OK if ready else HTTPStatus.SERVICE_UNAVAILABLE
        return Response(("\n".join(lines) + "\n").encode(), status)

    return {"/healthz": healthz, "/livez": livez, "/readyz": readyz}


def metrics_routes(scrape: Callable[[], bytes], content_type: str) -> Routes:
    """Return /metrics."""
    return {"/metrics": lambda _: Response(scrape(), content_type=content_type)}


def document_routes(documents: Mapping[str, Callable[[], bytes]]) -> Routes:
    """Return JSON documents by path, each encoded by its callable."""

    def handler(encode: Callable[[], bytes]) -> Handler:
        return lambda _: Response(encode(), content_type="application/json")

    return {path: handler(encode) for path, encode in documents.items()}


class Server:
    """A running server; a context manager that closes it."""

    def __init__(self, server: socketserver.TCPServer, path: Path | None = None) -> None:
        self._server = server
        self._path = path
        self._thread = threading.Thread(target=server.serve_forever, args=(0.1,), name="http", daemon=True)
        self._thread.start()

    @property
    def port(self) -> int:
        """The TCP port, useful after asking for port 0; 0 for a unix socket."""
        return 0 if self._path else int(self._server.server_address[1])

    def close(self) -> None:
        """Stop answering and free the port or the socket's path. May be called twice."""
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()
        if self._path is not None:
            self._path.unlink(missing_ok=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def serve_tcp(address: str, port: int, routes: Routes) -> Server:
    """Answer on an IPv4 address and port (0 = any free one); HostError if it is taken or not ours."""
    try:
        server = _Tcp((address, port), _handler(routes))
    except OSError as error:
        raise HostError(
            f"cannot listen on {address}:{port}: {error.strerror}",
            hint="choose another port by --metrics-port or --healthz-port (0 = off)",
        ) from error
    return Server(server)


def serve_unix(path: Path, routes: Routes) -> Server:
    """Answer on a unix socket that only its owner may use; HostError if another process answers there."""
    _remove_stale(path)
    try:
        server = _Unix(str(path), _handler(routes))
    except OSError as error:
        raise HostError(f"cannot listen on {path}: {error.strerror}", hint="see --run-dir") from error
    return Server(server, path)


def _remove_stale(path: Path) -> None:
    """Remove a socket that nobody answers on: it is left over from an agent that was killed."""
    try:
        mode = path.stat().st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(mode):
        raise HostError(f"{path} is no socket", hint="move it away, or choose another --run-dir")
    with contextlib.closing(socket.socket(socket.AF_UNIX)) as probe:
        probe.settimeout(1)
        try:
            probe.connect(str(path))
        except ConnectionRefusedError:
            path.unlink(missing_ok=True)
            return
        except OSError as error:
            raise HostError(f"cannot ask who listens on {path}: {error}", hint="see --run-dir") from error
    raise HostError(
        f"another agent answers on {path}", hint="stop it, or give this one its own --instance and --run-dir"
    )


class _Polite:
    """What both kinds of server share."""

    daemon_threads = True
    allow_reuse_address = True
    request_queue_size = 32
    # Closing must not wait for a client that keeps its connection open.
    block_on_close = False

    def handle_error(self, request: object, client_address: object) -> None:  # noqa: ARG002
        """Log and go on: one client's trouble is not ours."""
        log.debug("request.failed", client=str(client_address), error=str(sys.exception()))


class _Tcp(_Polite, socketserver.ThreadingTCPServer):
    pass


class _Unix(_Polite, socketserver.ThreadingUnixStreamServer):
    def server_bind(self) -> None:
        """Make the socket for its owner only, from its first moment."""
        # Linux gives the file the mode that the socket itself has: no window, and no umask for all threads.
        os.fchmod(self.socket.fileno(), 0o600)
        super().server_bind()


def _handler(routes: Routes) -> type[BaseHTTPRequestHandler]:
    class Requests(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        server_version = "xdpflannel"
        sys_version = ""
        timeout: ClassVar[float] = TIMEOUT

        def do_GET(self) -> None:
            self._answer(body=True)

        def do_HEAD(self) -> None:
            self._answer(body=False)

        def _answer(self, *, body: bool) -> None:
            response = _respond(routes, self.path)
            self.send_response(response.status)
            self.send_header("Content-Type", response.content_type)
            self.send_header("Content-Length", str(len(response.body)))
            self.end_headers()
            if body:
                self.wfile.write(response.body)

        def address_string(self) -> str:
            return str(self.client_address)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            log.debug("request.answered", line=format % args)

    return Requests


def _respond(routes: Routes, target: str) -> Response:
    parts = urlsplit(target)
    handler = routes.get(parts.path)
    if handler is None:
        known = " ".join(sorted(routes))
        return Response(f"no such page; there is {known}\n".encode(), HTTPStatus.NOT_FOUND)
    query = {key: values[-1] for key, values in parse_qs(parts.query, keep_blank_values=True).items()}
    try:
        return handler(query)
    except Exception:
        log.exception("request.failed", path=parts.path)
        return Response(b"this page cannot be made now; see the log\n", HTTPStatus.INTERNAL_SERVER_ERROR)


def _check_line(check: Check) -> str:
    return f"[{'+' if check.ok else '-'}] {check.name}" + (f": {check.detail}" if check.detail else "")
