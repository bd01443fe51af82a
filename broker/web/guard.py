"""The outer guard: what it lets through has one meaning for every reader behind it.

Pure ASGI around everything else. HTTP/1.1 only, exactly one allowed Host, bounded headers, no dot segments or encoded
separators, JSON bodies of bounded size read whole under a deadline, bounded concurrency with a lane kept free for the
controls (health, kill switch, reviews). Slow or half-open connections before the request is complete are the front
proxy's part (deploy/): the server itself has no header timeout.
"""

import asyncio
import re
from collections.abc import Awaitable, Callable, MutableMapping
from dataclasses import dataclass
from typing import Any

from broker.config import WebSettings
from broker.errors import BadRequest, BrokerError, TooLarge, Unavailable
from broker.telemetry import Telemetry
from broker.web.problem import problem

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

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
        b"wicketgate-session",
    }
)
_BAD_PATH = re.compile(
    rb"%2e|%2f|%5c|%00|//|\\|[\x00-\x20\x7f-\xff]|(?:^|/)\.{1,2}(?:/|$)|%(?![0-9a-fA-F]{2})", re.IGNORECASE
)
_BODYLESS = frozenset({"GET", "HEAD", "DELETE", "OPTIONS"})
_CONTROL = ("/livez", "/readyz", "/v1/kill", "/v1/approvals")
_STREAMING = ("/llm/",)
_FORMS = ("/dev-idp/",)
_SECURITY_HEADERS = [
    (b"x-content-type-options", b"nosniff"),
    (b"cache-control", b"no-store"),
    (b"referrer-policy", b"no-referrer"),
]


@dataclass(frozen=True, slots=True)
class GuardSettings:
    """Bounds, and the Host values that are this gate."""

    web: WebSettings
    hosts: frozenset[bytes]


class Guard:
    """Checks a request's outside, reads its body, and hands both on."""

    def __init__(self, app: App, settings: GuardSettings, telemetry: Telemetry) -> None:
        """``app`` sees only requests that passed, with their body complete."""
        self._app = app
        self._settings = settings
        self._telemetry = telemetry
        self._busy = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One ASGI event scope."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        if scope["type"] != "http":
            await send({"type": "websocket.close", "code": 1008})
            return
        sender = _Sender(send)
        self._busy += 1
        try:
            self._admit(scope)
            self._check(scope)
            body = await self._body(scope, receive)
            await self._serve(scope, body, receive, sender)
        except BrokerError as error:
            await sender.problem(scope, error)
        except Exception as error:  # noqa: BLE001 - the process edge: nothing of it may reach the caller
            self._telemetry.crash("web", error)
            await sender.problem(
                scope, BrokerError("an unexpected failure; it is in the gate's telemetry", code="gate.failed")
            )
        finally:
            self._busy -= 1

    async def _serve(self, scope: Scope, body: bytes, receive: Receive, sender: "_Sender") -> None:
        """Run the application under the request's deadline; streams have the provider's own."""
        if scope["path"].startswith(_STREAMING):
            await self._app(scope, _replay(body, receive), sender)
            return
        try:
            async with asyncio.timeout(self._settings.web.request_seconds_max):
                await self._app(scope, _replay(body, receive), sender)
        except TimeoutError:
            raise Unavailable(
                "the request took too long; an effect under way still gets its record", code="http.deadline"
            ) from None

    def _admit(self, scope: Scope) -> None:
        """Turn away what is too much; the controls always get in."""
        if self._busy > self._settings.web.concurrent_requests_max and not scope["path"].startswith(_CONTROL):
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

    async def _body(self, scope: Scope, receive: Receive) -> bytes:
        """The whole body, bounded in size, time and media type."""
        headers = dict(scope["headers"])
        web = self._settings.web
        claimed = headers.get(b"content-length", b"0")
        if not claimed.isdigit():
            raise BadRequest(
                "header `content-length` is not a number",
                code="http.content_length",
                remedy="send a plain decimal length",
            )
        if scope["method"] in _BODYLESS and int(claimed) == 0 and b"transfer-encoding" not in headers:
            return b""
        limit = web.model_body_bytes_max if scope["path"].startswith(_STREAMING) else web.body_bytes_max
        if int(claimed) > limit:
            raise TooLarge(f"the body is larger than {limit} bytes", code="request.too_large")
        if b"content-encoding" in headers:
            raise BadRequest(
                "compressed bodies are not read",
                code="http.media_type",
                remedy="send the body without Content-Encoding",
            )
        media = headers.get(b"content-type", b"").split(b";", 1)[0].strip().lower()
        wanted = (
            (b"application/json", b"application/x-www-form-urlencoded")
            if scope["path"].startswith(_FORMS)
            else (b"application/json",)
        )
        if media not in wanted:
            raise BadRequest(
                "the body must be application/json",
                code="http.media_type",
                remedy="send Content-Type: application/json",
            )
        try:
            async with asyncio.timeout(web.body_seconds_max):
                return await _read(receive, limit)
        except TimeoutError:
            raise BadRequest(
                "the body did not arrive in time", code="http.body_timeout", remedy="send the body at once"
            ) from None


class _Sender:
    """Passes responses on with the security headers, and knows whether one has begun."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self._begun = False

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self._begun = True
            names = {name for name, _ in message.get("headers", [])}
            message["headers"] = [
                *message.get("headers", []),
                *(pair for pair in _SECURITY_HEADERS if pair[0] not in names),
            ]
        await self._send(message)

    async def problem(self, scope: Scope, error: BrokerError) -> None:
        """Answer with ``error``; a response that has begun can only be broken off by the server."""
        if not self._begun:
            await problem(error)(scope, _nothing, self)


async def _nothing() -> Message:
    return {"type": "http.disconnect"}


async def _read(receive: Receive, limit: int) -> bytes:
    """Collect the body; one byte over the limit ends it."""
    parts: list[bytes] = []
    size = 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise BadRequest("the connection closed before the body was complete", code="http.body_cut")
        part = message.get("body", b"")
        size += len(part)
        if size > limit:
            raise TooLarge(f"the body is larger than {limit} bytes", code="request.too_large")
        parts.append(part)
        if not message.get("more_body"):
            return b"".join(parts)


def _replay(body: bytes, receive: Receive) -> Receive:
    """A ``receive`` that gives the read body once, then the connection's own events."""
    given = False

    async def replay() -> Message:
        nonlocal given
        if not given:
            given = True
            return {"type": "http.request", "body": body, "more_body": False}
        return await receive()

    return replay
