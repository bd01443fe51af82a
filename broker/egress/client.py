"""Pooled clients, each bound to one origin, with pinned addresses.

An ``Upstream`` speaks to the one origin its settings name (scheme, host, port) and to nothing else. A host name is
resolved here, every address of the answer is judged, and the socket is opened to exactly such an address: a name that
changes its answer between check and use (DNS rebinding) changes nothing. The socket factory judges once more, so that
no path of the client library goes around the rule. Redirects are refused, cookies are not kept, the process
environment (proxies, ``.netrc``) is not read, answers are not decompressed, a request is sent at most once.

Failures are ``UpstreamFailed``: ``sent`` is False only where no byte of the request can have reached the upstream.
"""

import asyncio
import functools
import re
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from typing import Final

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult
from yarl import URL

from broker.egress.addresses import AddressRule, forbidden, origin_of
from broker.errors import BadRequest, UpstreamFailed

Resolve = Callable[[str, int], Awaitable[Sequence[str]]]
"""(host, port) -> numeric addresses; raises ``OSError``."""

_TARGET: Final = re.compile(r"/[A-Za-z0-9._~!$&'()*+,;=:@%/-]*(\?[A-Za-z0-9._~!$&'()*+,;=:@%/?-]*)?", re.ASCII)
_HEADER_NAME: Final = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,128}", re.ASCII)
_HEADER_VALUE: Final = re.compile(r"[\t\x20-\x7e]{0,8192}", re.ASCII)
OWN_HEADERS: Final = frozenset({
    "connection", "content-length", "cookie", "expect", "forwarded", "host", "keep-alive", "proxy-authorization",
    "proxy-connection", "te", "trailer", "transfer-encoding", "upgrade", "x-forwarded-for", "x-forwarded-host",
})  # fmt: skip
"""Set by the client itself, or not at all."""
_REDIRECTS: Final = frozenset({301, 302, 303, 307, 308})
_NOT_SENT: Final = (
    aiohttp.ClientConnectorError,
    aiohttp.ConnectionTimeoutError,
    aiohttp.ClientHttpProxyError,
    aiohttp.InvalidURL,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class UpstreamSettings:
    """One origin and the bounds of every exchange with it. ``name`` stands in errors instead of the address."""

    name: str
    base_url: str
    allow_networks: tuple[str, ...] = ()
    unix_socket: str = ""
    ca_file: str = ""
    proxy_url: str = ""
    """The proxy resolves the upstream's name itself, so the rule here judges the proxy's addresses."""
    timeout_seconds: float = 30.0
    connect_seconds: float = 5.0
    keepalive_seconds: float = 4.0
    """Shorter than the usual server's (5 s): a connection that the server is closing makes a write doubtful."""
    concurrency: int = 32
    waiting_max: int = 256
    answer_bytes_max: int = 4_194_304
    header_bytes_max: int = 16_384


@dataclass(frozen=True, slots=True)
class Answer:
    """One whole answer; header names are matched without case."""

    status: int
    headers: Mapping[str, str]
    body: bytes


async def system_resolve(host: str, port: int) -> Sequence[str]:
    """Ask the host's resolver; every address it knows."""
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return [str(entry[4][0]) for entry in found]


class _PinnedResolver(AbstractResolver):
    """Resolves, judges all, and hands out numeric addresses only."""

    def __init__(self, name: str, rule: AddressRule, resolve: Resolve) -> None:
        self._name, self._rule, self._resolve = name, rule, resolve

    async def resolve(
        self,
        host: str,
        port: int = 0,
        family: socket.AddressFamily = socket.AddressFamily.AF_UNSPEC,  # noqa: ARG002 - aiohttp filters by it
    ) -> list[ResolveResult]:
        """Look ``host`` up; raises ``Denied`` when any address is out of bounds, ``OSError`` when there is none."""
        addresses = list(dict.fromkeys(await self._resolve(host, port)))
        if not addresses:
            raise OSError(socket.EAI_NONAME, "no address")
        if not all(self._rule.permits(address) for address in addresses):
            raise forbidden(self._name)
        return [
            ResolveResult(
                hostname=host,
                host=address,
                port=port,
                family=socket.AF_INET6 if ":" in address else socket.AF_INET,
                proto=socket.IPPROTO_TCP,
                flags=socket.AI_NUMERICHOST,
            )
            for address in addresses
        ]

    async def close(self) -> None:
        """Holds nothing."""


@functools.cache
def tls(ca_file: str) -> ssl.SSLContext:
    """One context per CA file: loading certificates costs tens of milliseconds. The environment is not asked."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    if ca_file:
        context.load_verify_locations(cafile=ca_file)
    else:
        context.load_default_certs()
    return context


class _LostError(aiohttp.ClientError):
    """The connection broke after bytes were sent; not a class that aiohttp sends again for."""


async def _send_once(request: aiohttp.ClientRequest, send: aiohttp.ClientHandlerType) -> aiohttp.ClientResponse:
    """Stop aiohttp, which repeats PUT and DELETE on a broken connection: an effect must not happen twice."""
    try:
        return await send(request)
    except aiohttp.ClientConnectorError:
        raise
    except (aiohttp.ClientOSError, aiohttp.ServerDisconnectedError) as error:
        raise _LostError(str(error)) from error


def check_headers(headers: Mapping[str, str]) -> None:
    """Refuse header names and values that could split a request or that belong to the connection."""
    for name, value in headers.items():
        if not _HEADER_NAME.fullmatch(name) or not _HEADER_VALUE.fullmatch(value) or name.lower() in OWN_HEADERS:
            raise BadRequest(
                "a header of the upstream request is not allowed",
                code="egress.header",
                remedy="send visible ASCII in header values and leave connection headers to the gate",
            )


def _climbs(target: str) -> bool:
    """True where a segment of the path is ``.`` or ``..`` in any spelling: servers resolve those against the base."""
    path = target.partition("?")[0].lower().replace("%2e", ".")
    return not {".", ".."}.isdisjoint(path.split("/"))


class Streamed:
    """An open answer: ``status``, ``headers``, and the body once, as it comes, at most ``bytes_max`` bytes."""

    def __init__(self, name: str, answer: aiohttp.ClientResponse, bytes_max: int) -> None:
        self.status = answer.status
        self.headers: Mapping[str, str] = answer.headers
        self._name, self._answer, self._bytes_max = name, answer, bytes_max

    async def chunks(self) -> AsyncIterator[bytes]:
        """Raw chunks in order; raises ``UpstreamFailed`` when the upstream cuts, stalls or sends too much."""
        seen = 0
        with mapped(self._name):
            while chunk := await self._answer.content.readany():
                seen += len(chunk)
                if seen > self._bytes_max:
                    self._answer.close()
                    raise too_large(self._name, self._bytes_max)
                yield chunk

    async def read(self) -> bytes:
        """Return the whole body."""
        return b"".join([chunk async for chunk in self.chunks()])


@contextmanager
def mapped(name: str) -> Iterator[None]:
    """Turn the client library's errors into ours, and say whether the request may have had its effect."""
    try:
        yield
    except _NOT_SENT as error:
        raise _unsent(name, error) from None
    except TimeoutError:
        raise UpstreamFailed(
            f"`{name}` did not answer in time",
            code="upstream.timeout",
            remedy="check the target system; the effect may have happened",
        ) from None
    except (_LostError, aiohttp.ClientPayloadError, aiohttp.ClientConnectionError, ConnectionError):
        raise UpstreamFailed(
            f"`{name}` closed the connection before its answer was whole", code="upstream.cut"
        ) from None
    except aiohttp.ClientError:
        raise UpstreamFailed(f"`{name}` answered with something that is not HTTP", code="upstream.garbage") from None


def _unsent(name: str, error: Exception) -> UpstreamFailed:
    if isinstance(error, aiohttp.ClientSSLError):
        return UpstreamFailed(
            f"no trusted TLS connection to `{name}` could be made; nothing was sent",
            sent=False,
            code="upstream.tls",
            remedy="check the upstream's certificate and `ca_file` of the connector",
        )
    return UpstreamFailed(
        f"`{name}` could not be reached; nothing was sent",
        sent=False,
        code="upstream.unreachable",
        remedy="check that the target system runs and that its address is right",
    )


def too_large(name: str, bytes_max: int) -> UpstreamFailed:
    """The refusal of an answer over its cap; the request was sent."""
    return UpstreamFailed(
        f"the answer of `{name}` is larger than {bytes_max} bytes",
        code="upstream.too_large",
        remedy="narrow the request, or raise `answer_bytes_max` of the connector",
    )


class Upstream:
    """The pooled client of one origin. Make it with ``Egress.upstream``; use it from one event loop."""

    def __init__(self, settings: UpstreamSettings, resolve: Resolve, mark: Callable[[], str] = str) -> None:
        """Check the settings; connect to nothing yet. Raises ``BadRequest`` naming the wrong field."""
        self.settings = settings
        private = bool(settings.allow_networks or settings.unix_socket)
        self.origin, self.base_path = origin_of(settings.name, settings.base_url, private=private)
        self._rule = AddressRule(settings.allow_networks)
        self._resolve = resolve
        self._mark = mark
        if settings.proxy_url:
            origin_of(settings.name, settings.proxy_url, private=True)
        host = self.origin.split("://", 1)[1].rsplit(":", 1)[0].strip("[]")
        literal = ":" in host or host.replace(".", "").isdigit()
        self._forbidden = literal and not (settings.unix_socket or settings.proxy_url) and not self._rule.permits(host)
        self._session: aiohttp.ClientSession | None = None
        self._open = 0
        self._turned_away = 0
        self._deadlines: dict[tuple[float, float | None], aiohttp.ClientTimeout] = {}

    async def request(  # noqa: PLR0913 - one keyword per bound
        self,
        method: str,
        target: str,
        *,
        headers: Mapping[str, str] | None = None,
        body: bytes | None = None,
        timeout_seconds: float | None = None,
        answer_bytes_max: int | None = None,
    ) -> Answer:
        """One exchange. ``target`` is an encoded path and query under the base URL, or a URL of the same origin.

        Raises ``UpstreamFailed``, ``Denied`` (``egress.forbidden``), ``BadRequest`` (``egress.header``).
        """
        async with self.stream(
            method,
            target,
            headers=headers,
            body=body,
            timeout_seconds=timeout_seconds,
            answer_bytes_max=answer_bytes_max,
        ) as answer:
            return Answer(answer.status, answer.headers, await answer.read())

    @asynccontextmanager
    async def stream(  # noqa: PLR0913 - one keyword per bound
        self,
        method: str,
        target: str,
        *,
        headers: Mapping[str, str] | None = None,
        body: bytes | None = None,
        timeout_seconds: float | None = None,
        idle_seconds: float | None = None,
        answer_bytes_max: int | None = None,
    ) -> AsyncIterator[Streamed]:
        """As ``request``, with the body as it comes; leaving the context closes what was not read to its end."""
        url = self.bind(target)
        check_headers(headers or {})
        if marks := self.marks():
            headers = {**(headers or {}), **marks}
        bytes_max = self.settings.answer_bytes_max if answer_bytes_max is None else answer_bytes_max
        with self.slot():
            with mapped(self.settings.name):
                answer = await self.session().request(
                    method,
                    url,
                    headers=headers,
                    data=body,
                    allow_redirects=False,
                    timeout=self._deadline(timeout_seconds, idle_seconds),
                )
            async with answer:
                self.check_answer(answer.status, answer.headers, bytes_max)
                yield Streamed(self.settings.name, answer, bytes_max)

    async def aclose(self) -> None:
        """Close all connections; the next request opens new ones."""
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    def bind(self, target: str) -> URL:
        """Bind ``target`` to this origin, byte for byte; the client library gets no say in its spelling."""
        if self._forbidden:
            raise forbidden(self.settings.name)
        if target.startswith(self.origin + "/"):
            target = target[len(self.origin) :]
        elif target.startswith("/"):
            target = self.base_path + target
        if not _TARGET.fullmatch(target) or (("/." in target or "%2" in target) and _climbs(target)):
            raise forbidden(self.settings.name)
        return URL(self.origin + target, encoded=True)

    def _deadline(self, total: float | None, idle: float | None) -> aiohttp.ClientTimeout:
        key = (self.settings.timeout_seconds if total is None else total, idle)
        known = self._deadlines.get(key)
        if known is None:
            connect = min(self.settings.connect_seconds, key[0])
            known = aiohttp.ClientTimeout(total=key[0], connect=connect, sock_connect=connect, sock_read=idle)
            if len(self._deadlines) < 64:
                self._deadlines[key] = known
        return known

    @contextmanager
    def slot(self) -> Iterator[None]:
        """Hold one place among the open and waiting requests; a full queue refuses at once."""
        if self._open >= self.settings.concurrency + self.settings.waiting_max:
            self._turned_away += 1
            raise UpstreamFailed(
                f"too many requests wait for `{self.settings.name}`; nothing was sent",
                sent=False,
                code="upstream.busy",
                remedy="try again after Retry-After",
                retry_after=1.0,
            )
        self._open += 1
        try:
            yield
        finally:
            self._open -= 1

    def marks(self) -> dict[str, str]:
        """Headers that tell the upstream which trace of ours it is part of; none where that is not configured."""
        mark = self._mark()
        return {"traceparent": mark} if mark else {}

    @property
    def depth(self) -> tuple[int, int, int]:
        """Requests open or waiting, the most there may be, and how many were turned away."""
        return self._open, self.settings.concurrency + self.settings.waiting_max, self._turned_away

    def check_answer(self, status: int, headers: Mapping[str, str], bytes_max: int) -> None:
        """Refuse redirects, compressed bodies and answers that announce too much."""
        name = self.settings.name
        if status in _REDIRECTS:
            raise UpstreamFailed(
                f"`{name}` answered with a redirect, which is never followed",
                code="upstream.redirect",
                remedy="write the final address into `base_url` of the connector",
            )
        if headers.get("Content-Encoding", "identity").lower() != "identity":
            raise UpstreamFailed(f"`{name}` sent a compressed answer that nobody asked for", code="upstream.encoding")
        if sum(len(key) + len(value) for key, value in headers.items()) > self.settings.header_bytes_max:
            raise UpstreamFailed(f"`{name}` sent too many header bytes", code="upstream.headers")
        if int(headers.get("Content-Length", "0")) > bytes_max:
            raise too_large(name, bytes_max)

    def session(self) -> aiohttp.ClientSession:
        """Return the pool, made at first use inside the running loop."""
        if self._session is None:
            self._session = aiohttp.ClientSession(
                connector=self._connector(),
                cookie_jar=aiohttp.DummyCookieJar(),
                headers={"Accept-Encoding": "identity", "User-Agent": "wicketgate"},
                proxy=self.settings.proxy_url or None,
                trust_env=False,
                auto_decompress=False,
                max_line_size=8190,
                max_field_size=8190,
                max_headers=128,
                middlewares=(_send_once,),
            )
        return self._session

    def _connector(self) -> aiohttp.BaseConnector:
        if self.settings.unix_socket:
            return aiohttp.UnixConnector(
                path=self.settings.unix_socket,
                limit=self.settings.concurrency,
                keepalive_timeout=self.settings.keepalive_seconds,
            )
        return aiohttp.TCPConnector(
            resolver=_PinnedResolver(self.settings.name, self._rule, self._resolve),
            socket_factory=self._socket,
            ssl=tls(self.settings.ca_file) if "https" in (self.origin[:5], self.settings.proxy_url[:5]) else True,
            ttl_dns_cache=10,
            limit=self.settings.concurrency,
            keepalive_timeout=self.settings.keepalive_seconds,
        )

    def _socket(self, target: aiohttp.AddrInfoType) -> socket.socket:
        """Judge at the last moment: whatever path led here, this address is about to be connected to."""
        family, kind, protocol, _, address = target
        if not self._rule.permits(str(address[0])):
            raise PermissionError(f"connector {self.settings.name}: address refused")
        return socket.socket(family=family, type=kind, proto=protocol)


class Egress:
    """All upstreams of one gate; equal settings share one pool."""

    def __init__(
        self, *, resolve: Resolve = system_resolve, marked: Collection[str] = (), mark: Callable[[], str] = str
    ) -> None:
        """Requests of the upstreams called ``marked`` carry the ``traceparent`` that ``mark`` gives."""
        self._resolve = resolve
        self._marked = frozenset(marked)
        self._mark = mark
        self._upstreams: dict[UpstreamSettings, Upstream] = {}

    def upstream(self, settings: UpstreamSettings) -> Upstream:
        """Return the pooled client for ``settings``; raises ``BadRequest`` for settings that are not strictly right."""
        if settings not in self._upstreams:
            mark = self._mark if settings.name in self._marked else str
            self._upstreams[settings] = Upstream(settings, self._resolve, mark)
        return self._upstreams[settings]

    def depths(self) -> Iterator[tuple[str, tuple[int, int, int]]]:
        """Of each pool: its connector's name, and as ``Upstream.depth``."""
        for settings, upstream in self._upstreams.items():
            yield settings.name, upstream.depth

    async def addresses(self, name: str, host: str, port: int, *, allow_networks: Sequence[str]) -> Sequence[str]:
        """Numeric addresses of ``host``, each judged: for a program that opens its own socket and is pinned to them.

        Raises ``Denied`` (``egress.forbidden``) where any address is out of bounds, ``UpstreamFailed`` where none is known.
        """
        resolver = _PinnedResolver(name, AddressRule(tuple(allow_networks)), self._resolve)
        try:
            return [found["host"] for found in await resolver.resolve(host, port)]
        except OSError:
            raise UpstreamFailed(
                f"`{name}` could not be reached; nothing was sent", sent=False, code="upstream.unreachable"
            ) from None

    async def aclose(self) -> None:
        """Close every pool."""
        for upstream in self._upstreams.values():
            await upstream.aclose()
