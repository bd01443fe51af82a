"""The outer guard: what it lets through has one meaning for every reader behind it.

Pure ASGI around everything else. HTTP/1.1 only, exactly one allowed Host, bounded headers, no dot segments or encoded
separators, a route of the table, a token that holds wherever the route is not public, and only then the body: JSON of
bounded size, read whole under a deadline. Then a place in a lane (``lanes``), and with it how long its caller waits
(``patience``). Connections before their headers are complete are bounded by the server's protocol (``wire``).
"""

import asyncio
import re
from collections.abc import Awaitable, Callable, Iterator, MutableMapping
from dataclasses import dataclass
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from broker.config import WebSettings
from broker.errors import BadRequest, BrokerError, NotFound, TooLarge, Unavailable
from broker.fair import Lane, overloaded
from broker.patience import Patience, bound
from broker.telemetry import Telemetry
from broker.web.bodies import Body, Room, Whose
from broker.web.lanes import Lanes, Name
from broker.web.problem import REFERENCE, failed
from broker.web.routes import MODEL_PATHS, Route, Table

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]
Authenticate = Callable[[Scope], Awaitable[Whose]]
"""The caller's tenant and party. Raises ``Unauthenticated`` where the headers hold no token that the gate believes."""
Refuse = Callable[[Route | None, BrokerError, Scope], Awaitable[Response]]
"""An error in the form that clients of the route read."""

_ONCE = frozenset(
    {
        b"host",
        b"content-length",
        b"content-type",
        b"transfer-encoding",
        b"authorization",
        b"idempotency-key",
        b"x-api-key",
        b"dpop",
        b"client-cert",
        b"client-cert-chain",
        b"wicketgate-session",
        b"wicketgate-timeout",
        b"traceparent",
    }
)
_BAD_PATH = re.compile(
    rb"%2e|%2f|%5c|%[01]|%7f|//|\\|[\x00-\x20\x7f-\xff]|(?:^|/)\.{1,2}(?:/|$)|%(?![0-9a-fA-F]{2})", re.IGNORECASE
)
_BODYLESS = frozenset({"GET", "DELETE"})
_JSON = b"application/json"
_FORM = b"application/x-www-form-urlencoded"
_METHOD = "http.method"
_LENGTH_DIGITS_MAX = 18
_TIMEOUT = re.compile(rb"[1-9][0-9]{0,8}")
GONE = "wicketgate.gone"
"""Among a scope's extensions: says whether the connection has ended."""
_FORGIVING_SECONDS = 86_400.0
_TENANTS_MAX = 10_000
_ANONYMOUS_BYTES_MAX = 8_192
"""Of a body that comes from nobody: the token by which a provider ends logins."""
_CONTROL_BYTES_MAX = 65_536
_WITHOUT_CALLER = frozenset({"public", "token"})
"""Accesses that ask for no principal: nobody's, and a service's own token, which its route checks."""
_SECURITY_HEADERS = [
    (b"x-content-type-options", b"nosniff"),
    (b"cache-control", b"no-store"),
    (b"referrer-policy", b"no-referrer"),
]


@dataclass(frozen=True, slots=True)
class GuardSettings:
    """Bounds, the Host values that are this gate, and the cookie that is a login at its console."""

    web: WebSettings
    hosts: frozenset[bytes]
    cookie: str = ""


class Guard:
    """Checks a request's outside, reads its body, and hands both on."""

    def __init__(  # noqa: PLR0913 - the composition names each part once
        self,
        app: App,
        settings: GuardSettings,
        table: Table,
        *,
        authenticate: Authenticate,
        refuse: Refuse,
        telemetry: Telemetry,
        reads: Callable[[bytes], bool] = lambda _: False,
        stopping: Callable[[], bool] = lambda: False,
    ) -> None:
        """``app`` sees only requests of ``table`` that passed, with their body complete.

        ``reads`` says of the body of an action whether it only reads: which lane it takes, and nothing else. New work is taken
        until ``stopping``.
        """
        self._app = app
        self._settings = settings
        self._table = table
        self._authenticate = authenticate
        self._refuse = refuse
        self._telemetry = telemetry
        self._reads = reads
        self.busy = 0
        """Requests under way but those of the controls."""
        self._refused = 0
        self.bodies = Room(settings.web.bodies_bytes_max)
        self.alert_bodies = Room(settings.web.bodies_bytes_max // 4)
        self.control_bodies = Room(settings.web.bodies_bytes_max // 4)
        self.lanes = Lanes(settings.web)
        self._stopping = stopping
        self._tenants: dict[int, str] = {}
        self._prepared: dict[str, Response] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One ASGI event scope."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        if scope["type"] != "http":
            await send({"type": "websocket.close", "code": 1008})
            return
        sender = _Sender(send)
        route, methods = self._table.find(scope["method"], scope["path"])
        self._telemetry.begin()
        counted = route is None or route.lane != "control"
        self.busy += counted
        try:
            if route is not None and (full := self._full(route, scope)):
                await self._shed(full, route, scope, sender)
                return
            self._check(scope)
            route = self._routed(route, methods)
            self._admit(route)
            limit = self._expected(scope, route)
            whose = Whose() if route.access in _WITHOUT_CALLER else await self._known(scope)
            await self._taken(scope, route, limit, (whose, receive, sender))
        except BrokerError as error:
            self._telemetry.refused(error.error_code)
            await sender.refuse(
                scope, await self._refuse(route, error, scope), methods if error.error_code == _METHOD else ()
            )
        except Exception as error:  # noqa: BLE001 - the process edge: nothing of it may reach the caller
            told = failed(scope)
            self._telemetry.crash("web", error, scope[REFERENCE])
            if not sender.begun:
                await sender.refuse(scope, await self._refuse(route, told, scope))
        finally:
            self.busy -= counted

    def _full(self, route: Route, scope: Scope) -> Lane | None:
        """The lane in which this request would not even wait; judged before anything of it is checked, to cost little.

        Whose it is is a guess by the credentials' bytes: it says at most whose turn it is. Who is not known yet goes on, and so
        does what may take another lane that has room.
        """
        names: tuple[Name, ...] = ("write", "read") if route.action == "*" else (self._lane(route, b""),)
        if not all(self.lanes.lanes[name].full for name in names):
            return None
        tenant = "" if route.access in _WITHOUT_CALLER else self._tenants.get(self._shown(scope))
        if tenant is None or any(self.lanes.takes(name, tenant) for name in names):
            return None
        return self.lanes.lanes[names[0]]

    async def _shed(self, lane: Lane, route: Route, scope: Scope, sender: "_Sender") -> None:
        """Turn away with an answer that is made once, for it is given when there is no time; but not where it is the asker's own."""
        error = overloaded(lane)
        self._telemetry.refused(error.error_code)
        if route.access == "console" or route.wire == "authzen":
            await sender.refuse(scope, await self._refuse(route, error, scope))
            return
        if route.wire not in self._prepared:
            self._prepared[route.wire] = await self._refuse(route, error, scope)
        await sender.refuse(scope, self._prepared[route.wire])

    def _shown(self, scope: Scope) -> int:
        """What a request shows of whose it is, of all that counts on its route: the rest may be another each time."""
        headers = dict(scope["headers"])
        if scope["path"].startswith("/console"):
            return hash(Request(scope).cookies.get(self._settings.cookie))
        token = headers.get(b"authorization")
        if not token and scope["path"].startswith(MODEL_PATHS):
            token = headers.get(b"x-api-key")
        if token:
            return hash(token)
        certificates = (scope.get("extensions") or {}).get("tls", {}).get("client_cert_chain", ())
        return hash((*certificates, headers.get(b"client-cert")))

    async def _known(self, scope: Scope) -> Whose:
        """The caller; its tenant is remembered for ``_full``."""
        whose, shown = await self._authenticate(scope), self._shown(scope)
        self._tenants.pop(shown, None)
        if len(self._tenants) >= _TENANTS_MAX:
            del self._tenants[next(iter(self._tenants))]
        self._tenants[shown] = whose.tenant
        return whose

    async def _taken(self, scope: Scope, route: Route, limit: int, caller: tuple[Whose, Receive, "_Sender"]) -> None:
        """Read the body, within what all bodies together may take, and serve the request in its turn."""
        whose, receive, sender = caller
        body = self._body(route, whose)
        try:
            async with body.before_its_turn():
                if limit:
                    await self._read(body, receive, limit)
                patience = self._patience(scope, route)
                place = await self.lanes.enter(self._lane(route, body.content), whose.tenant)
            try:
                patience.check()
                patience.leave, patience.take = place.step_out, place.step_in
                if _streams(route):
                    sender.on_begin = (place.leave, body.drop)
                with bound(patience):
                    # What is asked for on a stream may be held for as long as its asker stays: its body counts until it is read.
                    await self._serve(scope, route, body.replayed(receive, dropped=route.stream), sender)
            finally:
                place.leave()
        finally:
            body.drop()

    def _body(self, route: Route, whose: Whose) -> Body:
        """In the room of its kind: of controls only alerts, which may be long, can find theirs full."""
        if route.lane != "control":
            return Body(self.bodies, whose)
        return Body(self.alert_bodies, whose) if route.long else Body(self.control_bodies, whose, always=True)

    async def _serve(self, scope: Scope, route: Route, receive: Receive, sender: "_Sender") -> None:
        """Run the application under the request's deadline; a stream has its own."""
        if _streams(route):
            await self._app(scope, receive, sender)
            return
        try:
            async with asyncio.timeout(self._seconds(scope, self._settings.web.request_seconds_max)):
                await self._app(scope, receive, sender)
        except TimeoutError:
            raise Unavailable(
                "the request took too long; an effect under way still gets its record", code="http.deadline"
            ) from None

    def _lane(self, route: Route, body: bytes) -> Name:
        """Where it waits: a caller's own words can at most give its tenant's reads the place of its writes."""
        if route.lane == "control":
            return "control"
        if route.wire == "provider":
            return "model"
        if route.method == "GET" or (route.action == "*" and self._reads(body)):
            return "read"
        return "write"

    def _patience(self, scope: Scope, route: Route) -> Patience:
        """How long the caller waits, by its own word within ours, and whether it is still there."""
        most = _FORGIVING_SECONDS if _streams(route) else self._settings.web.request_seconds_max
        now = self._telemetry.monotonic
        gone = (scope.get("extensions") or {}).get(GONE, _here)
        return Patience(now() + self._seconds(scope, most), now, gone)

    @staticmethod
    def _seconds(scope: Scope, most: float) -> float:
        """``Wicketgate-Timeout``, in milliseconds, where it is shorter than ``most``."""
        given = next((value for name, value in scope["headers"] if name == b"wicketgate-timeout"), b"")
        if not given:
            return most
        if not _TIMEOUT.fullmatch(given):
            raise BadRequest(
                "header `wicketgate-timeout` is not a number of milliseconds",
                code="http.timeout_header",
                remedy="send a whole number of milliseconds, such as 5000",
            )
        return min(most, int(given) / 1000)

    def depths(self) -> Iterator[tuple[str, int, int, int]]:
        """Name, depth, limit and refusals of the way in and of each lane."""
        yield "requests", self.busy, self._settings.web.concurrent_requests_max, self._refused
        for name in ("bodies", "alert_bodies", "control_bodies"):
            room: Room = getattr(self, name)
            yield name, room.taken, room.most, room.refused
        yield from self.lanes.depths()

    def _routed(self, route: Route | None, methods: tuple[str, ...]) -> Route:
        """The route, or the refusal of a path or a method that is not in the table."""
        if route is not None:
            return route
        if methods:
            raise BadRequest(
                f"this path takes {', '.join(methods)} only", code="http.method", remedy="see /openapi.json"
            )
        raise NotFound("there is no such route", code="http.no_route", remedy="see /openapi.json")

    def _admit(self, route: Route) -> None:
        """Turn away what is too much; the controls always get in."""
        if route.lane == "control":
            return
        if self._stopping():
            raise Unavailable("the gate is stopping", code="gate.stopping", remedy="ask another replica", retry_after=1)
        if self.busy > self._settings.web.concurrent_requests_max:
            self._refused += 1
            raise Unavailable("too many requests are under way", code="gate.overloaded", retry_after=1)

    def _check(self, scope: Scope) -> None:
        """Everything that can be judged before the body."""
        headers: list[tuple[bytes, bytes]] = scope["headers"]
        web = self._settings.web
        if scope["http_version"] != "1.1":
            raise BadRequest(
                "only HTTP/1.1 is spoken here",
                code="http.version",
                remedy="send HTTP/1.1, or put the shipped proxy in front",
            )
        if (
            len(headers) > web.headers_max
            or sum(len(name) + len(value) for name, value in headers) > web.header_bytes_max
        ):
            raise TooLarge(
                "the headers are too many or too large",
                code="http.headers_too_large",
                remedy="send fewer and smaller headers",
            )
        seen: set[bytes] = set()
        for name, _ in headers:
            if name in _ONCE and name in seen:
                raise BadRequest(
                    f"header `{name.decode()}` is given twice", code="http.duplicate_header", remedy="send it once"
                )
            seen.add(name)
        host = next((value for name, value in headers if name == b"host"), b"")
        if host.lower() not in self._settings.hosts:
            raise BadRequest(
                "this Host is not served here", code="http.host", remedy="use the gate's configured address (gate.url)"
            )
        path = scope.get("raw_path") or scope["path"].encode()
        if _BAD_PATH.search(path.split(b"?", 1)[0]):
            raise BadRequest(
                "the path holds dot segments, doubled or encoded separators",
                code="http.path",
                remedy="send a plain, normalised path",
            )

    def _expected(self, scope: Scope, route: Route) -> int:
        """How many bytes of body may come, as far as the headers tell; 0 where there is none."""
        headers = dict(scope["headers"])
        claimed = headers.get(b"content-length", b"0")
        if not claimed.isdigit():
            raise BadRequest(
                "header `content-length` is not a number",
                code="http.content_length",
                remedy="send a plain decimal length",
            )
        bodyless = scope["method"] in _BODYLESS
        if bodyless and not claimed.strip(b"0") and b"transfer-encoding" not in headers:
            return 0
        coding = headers.get(b"transfer-encoding", b"chunked").strip().lower()
        if b"content-encoding" in headers or coding != b"chunked":
            raise BadRequest(
                "compressed bodies are not read",
                code="http.media_type",
                remedy="send the body without Content-Encoding, and with no Transfer-Encoding but chunked",
            )
        media = headers.get(b"content-type", b"").split(b";", 1)[0].strip().lower()
        if media != _JSON and not (route.form and media == _FORM):
            raise BadRequest(
                "the body must be application/json",
                code="http.media_type",
                remedy="send Content-Type: application/json",
            )
        limit = self._limit(route)
        if bodyless:
            raise TooLarge("this route takes no body", code="request.too_large", remedy="send it without a body")
        if len(claimed) > _LENGTH_DIGITS_MAX or int(claimed) > limit:
            raise TooLarge(f"the body is larger than {limit} bytes", code="request.too_large")
        return limit

    def _limit(self, route: Route) -> int:
        """How many bytes a body of ``route`` may have."""
        web = self._settings.web
        if route.access in _WITHOUT_CALLER:
            return min(_ANONYMOUS_BYTES_MAX, web.body_bytes_max)
        if route.lane == "control" and not route.long:
            return min(_CONTROL_BYTES_MAX, web.body_bytes_max)
        return web.model_body_bytes_max if route.large else web.body_bytes_max

    async def _read(self, body: Body, receive: Receive, limit: int) -> None:
        """The whole body, bounded in size and time."""
        try:
            async with asyncio.timeout(self._settings.web.body_seconds_max):
                await body.read(receive, limit)
        except TimeoutError:
            raise BadRequest(
                "the body did not arrive in time", code="http.body_timeout", remedy="send the body at once"
            ) from None


class _Sender:
    """Passes responses on with the security headers, and knows whether one has begun."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self._begun = False
        self.on_begin: tuple[Callable[[], None], ...] = ()
        """Called when the answer begins."""

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            for told in () if self._begun else self.on_begin:
                told()
            self._begun = True
            names = {name for name, _ in message.get("headers", [])}
            message["headers"] = [
                *message.get("headers", []),
                *(pair for pair in _SECURITY_HEADERS if pair[0] not in names),
            ]
        await self._send(message)

    @property
    def begun(self) -> bool:
        """Whether an answer is on its way."""
        return self._begun

    async def refuse(self, scope: Scope, response: Response, methods: tuple[str, ...] = ()) -> None:
        """Answer with a refusal; a response that has begun can only be broken off by the server."""
        if methods:
            response.headers["Allow"] = ", ".join(methods)
        if not self._begun:
            await response(scope, _nothing, self)


def _streams(route: Route) -> bool:
    """Whether the answer may be a stream, which has no deadline and goes at its reader's pace."""
    return route.stream or route.wire == "provider"


def _here() -> bool:
    """Where nobody tells whether a connection has ended, it has not."""
    return False


async def _nothing() -> Message:
    return {"type": "http.disconnect"}
