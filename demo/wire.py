"""Small HTTP/1.1 pieces that the demo's processes share: a JSON server on loopback and a JSON client."""

import errno
import http.client
import itertools
import json
import secrets
import socket
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit

Json = Any
_LOWEST_PORT, _PORTS = 15_000, 16_000
_numbers = itertools.count(secrets.randbelow(_PORTS))
"""Processes that run at the same time begin somewhere else."""


@dataclass(frozen=True, slots=True)
class Asked:
    """One request: method, path, lower-case headers, raw body."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes

    def json(self) -> dict[str, Json]:
        """The body as an object; anything else counts as an empty one."""
        try:
            value = json.loads(self.body or b"{}")
        except ValueError:
            return {}
        return value if isinstance(value, dict) else {}


@dataclass(frozen=True, slots=True)
class Answer:
    """One answer; a mapping as body is sent as JSON, a list in chunks, each as soon as it is there."""

    status: int
    body: Mapping[str, Json] | bytes | list[bytes]
    content_type: str = "application/json"
    headers: Mapping[str, str] = field(default_factory=dict)


Route = Callable[[Asked], Answer]


class LoopbackServer(ThreadingHTTPServer):
    """Threads, loopback only; a port of 0 takes a free one."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, port: int, route: Route) -> None:
        """``route`` answers every request."""
        self.route = route
        super().__init__(("127.0.0.1", port), _Exchange)

    @property
    def port(self) -> int:
        """The port that it listens on."""
        return int(self.server_address[1])

    def handle_error(self, request: object, client_address: object) -> None:
        """A peer that went away is no event."""


class _Exchange(BaseHTTPRequestHandler):
    """One connection; answers are written at once, without waiting for a fuller packet."""

    protocol_version = "HTTP/1.1"
    wbufsize = -1
    disable_nagle_algorithm = True
    server: LoopbackServer

    def _answer(self) -> None:
        length = int(self.headers.get("content-length") or 0)
        headers = {name.lower(): value for name, value in self.headers.items()}
        answer = self.server.route(Asked(self.command, self.path, headers, self.rfile.read(length)))
        self.send_response(answer.status)
        for name, value in {"content-type": answer.content_type, **answer.headers}.items():
            self.send_header(name, value)
        if isinstance(answer.body, list):
            self._in_chunks(answer.body)
            return
        content = answer.body if isinstance(answer.body, bytes) else json.dumps(answer.body).encode()
        self.send_header("content-length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def _in_chunks(self, chunks: list[bytes]) -> None:
        self.send_header("transfer-encoding", "chunked")
        self.end_headers()
        for chunk in chunks:
            self.wfile.write(b"%x\r\n%b\r\n" % (len(chunk), chunk))
            self.wfile.flush()
        self.wfile.write(b"0\r\n\r\n")

    do_GET = do_POST = do_PUT = do_DELETE = _answer  # noqa: N815 - the names that http.server calls

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the signature of http.server
        """The services write their own log files."""


def free_port() -> int:
    """A loopback TCP port that nobody has, for a program that is started next; no two calls of a process give one.

    It lies below those that the usual systems hand out by themselves: until the program listens there, no connection
    of anybody else takes it. Raises ``OSError`` where none is free.
    """
    for number in itertools.islice(_numbers, _PORTS):
        port = _LOWEST_PORT + number % _PORTS
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port
    raise OSError(errno.EADDRINUSE, "no loopback port is free")


def call(
    method: str,
    url: str,
    body: Mapping[str, Json] | None = None,
    *,
    headers: Mapping[str, str] | None = None,
    seconds: float = 2.0,
) -> tuple[int, bytes]:
    """Status and body of one exchange with a loopback address; raises ``OSError`` where there is no answer."""
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.hostname or "127.0.0.1", parts.port, timeout=seconds)
    try:
        content = None if body is None else json.dumps(body).encode()
        sent = {"content-type": "application/json"} if content else {}
        connection.request(method, parts.path or "/", content, {**sent, **(headers or {})})
        answer = connection.getresponse()
        return answer.status, answer.read()
    except http.client.HTTPException as error:
        raise ConnectionError(f"no HTTP answer from {parts.netloc}: {type(error).__name__}") from None
    finally:
        connection.close()
