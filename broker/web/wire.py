"""Connections, before and beside requests: the server's protocol with the bounds that it has no settings for.

One look a second at all connections: headers that do not come to their end, connections that were opened for nothing, and
readers who take next to nothing are closed. A new connection beyond the most that are kept takes the place of the one that has
been idle longest; where none is idle it is told to come again. Half-open connections are found by TCP's own probes.
"""

import asyncio
import contextlib
import socket
import ssl
from collections.abc import Callable, Collection
from dataclasses import dataclass
from functools import partial
from typing import Any, cast

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from broker.config import WebSettings
from broker.errors import Unavailable
from broker.telemetry import Telemetry
from broker.web.guard import GONE
from broker.web.problem import problem

LOOK_SECONDS = 1.0
LEAST_BYTES = 16_384
"""What a reader takes at least in each ``answer_seconds`` of what waits for it."""
PROBE_IDLE_SECONDS = 30
PROBE_EVERY_SECONDS = 10
PROBES = 3
_REFUSAL = problem(Unavailable("too many connections are open", code="gate.connections", retry_after=1))
_FULL = b"HTTP/1.1 503 Service Unavailable\r\n" + b"".join(
    name + b": " + value + b"\r\n" for name, value in [*_REFUSAL.raw_headers, (b"connection", b"close")]
)


@dataclass(frozen=True, slots=True)
class Bounds:
    """``seconds`` are of ``monotonic``; ``count`` is told why a connection was closed."""

    connections_max: int
    header_seconds: float
    answer_seconds: float
    monotonic: Callable[[], float]
    count: Callable[[str], None]

    @classmethod
    def of(cls, web: WebSettings, connections_max: int, telemetry: Telemetry) -> "Bounds":
        """As configured."""
        count = partial(telemetry.metrics.inc, "connections_refused_total")
        return cls(connections_max, web.header_seconds_max, web.answer_seconds_max, telemetry.monotonic, count)


class _Counted:
    """A transport that counts what is written to it: how much its reader took shows only beside that."""

    def __init__(self, transport: asyncio.Transport) -> None:
        self._transport = transport
        self.written = 0

    def write(self, data: bytes) -> None:
        """As the transport's own, counted."""
        self.written += len(data)
        self._transport.write(data)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)


class GateProtocol(HttpToolsProtocol):
    """One connection. ``bounds`` is set on a class of its own by ``protocol_of``."""

    bounds: Bounds
    _awaited_since: float | None = None
    """Since when a request's headers are awaited; None while a request is under way, or the last one's end is the server's to time."""
    _full_since: float | None = None
    """Since when the reader has taken too little of what waits for it."""
    _unread: int = 0
    _taken: int = 0
    _shown: dict[str, Any]

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Make room, or refuse; what a TLS handshake verified stands for the whole connection."""
        counted = _Counted(cast(asyncio.Transport, transport))
        super().connection_made(cast(asyncio.Transport, counted))
        self._awaited_since = self.bounds.monotonic()
        self._shown = {GONE: self._gone}
        tls = transport.get_extra_info("ssl_object")
        if tls is not None:
            # https://asgi.readthedocs.io/en/latest/specs/tls.html: PEM, the client's own only; empty where none was shown.
            der = tls.getpeercert(binary_form=True)
            self._shown["tls"] = {"client_cert_chain": [ssl.DER_cert_to_PEM_cert(der)] if der else []}
        _probe(transport.get_extra_info("socket"))
        if len(self.connections) > self.bounds.connections_max:
            self._make_room()

    def data_received(self, data: bytes) -> None:
        """Bytes of a request, or of the beginning of one."""
        if self._awaited_since is None and self.idle:
            self._awaited_since = self.bounds.monotonic()
        super().data_received(data)

    def on_message_begin(self) -> None:
        """A request begins."""
        super().on_message_begin()
        cast(dict[str, Any], self.scope)["extensions"] = self._shown

    def on_headers_complete(self) -> None:
        """The headers are there; from here on the guard has the time."""
        self._awaited_since = None
        super().on_headers_complete()

    @property
    def idle(self) -> bool:
        """Whether no request is under way."""
        cycle: RequestResponseCycle | None = self.cycle
        return cycle is None or cycle.response_complete

    def look(self) -> None:
        """Close what takes too long."""
        now = self.bounds.monotonic()
        if self._awaited_since is not None and now - self._awaited_since >= self.bounds.header_seconds:
            self.end("headers")
            return
        counted = cast(_Counted, self.transport)
        unread, before = counted.get_write_buffer_size(), self._unread + counted.written
        counted.written = 0
        self._unread, self._taken = unread, self._taken + max(0, before - unread)
        if not unread:
            self._full_since = None
        elif self._full_since is None or self._taken >= LEAST_BYTES:
            self._full_since, self._taken = now, 0
        elif now - self._full_since >= self.bounds.answer_seconds:
            self.end("reader")

    def _gone(self) -> bool:
        return self.transport.is_closing()

    def end(self, reason: str) -> None:
        """Close it at once, whatever is under way, and count why."""
        self.bounds.count(reason)
        self.transport.abort()

    def _make_room(self) -> None:
        """Whoever has been idle longest goes; where everybody is busy, the new one."""
        others = [one for one in cast(Collection[GateProtocol], self.connections) if one is not self and one.idle]
        victim = min(others, key=lambda one: one.awaited_since, default=None)
        if victim is not None:
            victim.end("idle")
            # It leaves the list when its loop says so; that this one is counted twice meanwhile does no harm.
            self.connections.discard(victim)
            return
        self.bounds.count("full")
        self.transport.write(_FULL + b"\r\n" + _REFUSAL.body)
        self.transport.close()

    @property
    def awaited_since(self) -> float:
        """Since when it waits for a request; one that was served before waits longest."""
        return self._awaited_since if self._awaited_since is not None else 0.0


def protocol_of(bounds: Bounds) -> type[GateProtocol]:
    """The protocol of one server."""
    return type("BoundProtocol", (GateProtocol,), {"bounds": bounds})


async def look_for_ever(connections: Collection[Any]) -> None:
    """Look at every connection, once a second."""
    while True:
        await asyncio.sleep(LOOK_SECONDS)
        for one in tuple(connections):
            one.look()


def _probe(found: socket.socket | None) -> None:
    """Ask TCP itself whether a silent peer is still there; not every system has every knob."""
    if found is None or found.family not in {socket.AF_INET, socket.AF_INET6}:
        return
    with contextlib.suppress(OSError, AttributeError):
        found.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        found.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, PROBE_IDLE_SECONDS)
        found.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, PROBE_EVERY_SECONDS)
        found.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, PROBES)
