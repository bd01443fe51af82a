"""What the gate tells a client unasked: that the list of tools is another one, because the active policy is.

Clients of 2026-07-28 ask for it by ``subscriptions/listen``, older ones by GET. A stream lasts as long as its reader's
sign-in and no longer; nothing of it is kept, so there is nothing to resume: a client that comes back lists the tools anew.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any

import mcp_types as types
from mcp.server.subscriptions import ListenHandler, ServerEvent, ToolsListChanged
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from broker.config import EventSettings
from broker.errors import BrokerError, LimitExceeded
from broker.identity import Credential, Verifier
from broker.model import Principal
from broker.pipeline import Pipeline
from broker.reading import GATE, Ask
from broker.web.mcp.answers import protocol_error
from broker.web.mcp.calls import CREDENTIAL, PRINCIPAL
from broker.web.mcp.waiting import Context

CHANGED = b'event: message\ndata: {"jsonrpc":"2.0","method":"notifications/tools/list_changed"}\n\n'
STREAMS_MAX = 1024
Listener = Callable[[ServerEvent], None]


class Changes:
    """Tells every open stream of this process that the policy changed; the SDK's ``SubscriptionBus``."""

    def __init__(self) -> None:
        """Nobody listens yet."""
        self._listeners: dict[object, Listener] = {}

    def policy_changed(self) -> None:
        """Every listener is told."""
        self._tell(ToolsListChanged())

    async def publish(self, event: ServerEvent) -> None:
        """Tell ``event`` to all."""
        self._tell(event)

    def subscribe(self, listener: Listener) -> Callable[[], None]:
        """Call ``listener`` at each change, until the returned function is called."""
        token = object()
        self._listeners[token] = listener

        def forget() -> None:
            self._listeners.pop(token, None)

        return forget

    def _tell(self, event: ServerEvent) -> None:
        for listener in list(self._listeners.values()):
            listener(event)


class Listening:
    """Open streams, bounded by party."""

    def __init__(
        self, changes: Changes, identity: Verifier, pipeline: Pipeline, events: EventSettings, per_party_max: int
    ) -> None:
        """``events`` says how often a stream looks whether its reader's sign-in holds, and when it sends a comment."""
        self._changes = changes
        self._identity = identity
        self._pipeline = pipeline
        self._events = events
        self._per_party = per_party_max
        self._open: dict[tuple[str, str], int] = {}
        self._ending = asyncio.Event()
        self._listen = ListenHandler(changes, max_subscriptions=STREAMS_MAX)

    async def listen(
        self, ctx: Context, params: types.SubscriptionsListenRequestParams
    ) -> types.SubscriptionsListenResult:
        """``subscriptions/listen``. Raises ``MCPError`` where its reader's sign-in ends, or has too many streams."""
        scope = ctx.request.scope  # type: ignore[union-attr]
        try:
            await self.permitted(scope[CREDENTIAL])
            async with self._seat(scope[PRINCIPAL]):
                stream = asyncio.ensure_future(self._listen(ctx, params))
                await self._while(scope[CREDENTIAL], stream)
                return stream.result()
        except BrokerError as error:
            raise protocol_error(error) from None

    async def permitted(self, credential: Credential) -> None:
        """Raise, on record, where its reader has no right to the list of tools, or asks too often."""
        gate = {"type": GATE.type, "id": GATE.id, "env": GATE.env}
        await self._pipeline.still(credential, Ask("gate.catalog.read", gate, {"offered": True}), charged=True)

    def stream(self, principal: Principal, credential: Credential) -> "ChangeStream":
        """The answer to a GET."""
        return ChangeStream(self, principal, credential)

    def close(self) -> None:
        """End every stream in good order."""
        self._ending.set()
        self._listen.close()

    @asynccontextmanager
    async def _seat(self, principal: Principal) -> AsyncIterator[None]:
        party = (principal.tenant, principal.acting.id)
        if self._open.get(party, 0) >= self._per_party or sum(self._open.values()) >= STREAMS_MAX:
            raise LimitExceeded(
                "too many streams of yours are open",
                code="mcp.streams",
                remedy="close one; one stream tells of every change",
                retry_after=5,
            )
        self._open[party] = self._open.get(party, 0) + 1
        try:
            yield
        finally:
            self._open[party] -= 1
            if not self._open[party]:
                del self._open[party]

    async def _while(self, credential: Credential, *works: "asyncio.Future[Any]") -> None:
        """Until one of ``works`` ends, or the reader's sign-in: then the others are cancelled. Raises its refusal."""
        watch = asyncio.ensure_future(self._watch(credential))
        tasks: list[asyncio.Future[Any]] = [watch, *works]
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            if watch in done:
                watch.result()
        finally:
            for task in tasks:
                if not task.done():
                    task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _watch(self, credential: Credential) -> None:
        """Raise when the sign-in does not hold any more."""
        while True:
            await asyncio.sleep(self._events.look_seconds)
            await self._identity.recognise(credential)

    async def write(self, principal: Principal, credential: Credential, receive: Receive, send: Send) -> None:
        """Write a GET's stream until its reader goes, its sign-in ends, or the gate does."""
        async with self._seat(principal):
            changed = asyncio.Event()
            forget = self._changes.subscribe(lambda _: changed.set())
            try:
                await send({"type": "http.response.start", "status": 200, "headers": _HEADERS})
                await send({"type": "http.response.body", "body": b": open\n\n", "more_body": True})
                works = (self._tell(changed, send), _gone(receive), self._ending.wait())
                with suppress(BrokerError):
                    await self._while(credential, *(asyncio.ensure_future(one) for one in works))
                await send({"type": "http.response.body", "body": b"", "more_body": False})
            finally:
                forget()

    async def _tell(self, changed: asyncio.Event, send: Send) -> None:
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(self._events.heartbeat_seconds):
                    await changed.wait()
            told = CHANGED if changed.is_set() else b": still here\n\n"
            changed.clear()
            await send({"type": "http.response.body", "body": told, "more_body": True})


_HEADERS = [(b"content-type", b"text/event-stream"), (b"cache-control", b"no-store"), (b"x-accel-buffering", b"no")]


class ChangeStream(Response):
    """A GET's answer."""

    def __init__(self, listening: Listening, principal: Principal, credential: Credential) -> None:
        """Nothing is sent yet."""
        super().__init__()
        self._listening = listening
        self._who = (principal, credential)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002 - ASGI's signature
        """Send it."""
        await self._listening.write(*self._who, receive, send)


async def _gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
