"""MCP's Streamable HTTP (2025-11-25 and 2026-07-28) over ``broker.egress``: the streams that the client library speaks on.

One POST a request. Its answer is JSON, or a stream of events in which exactly that request is answered: an answer to
another one ends the exchange, so that nobody gets what somebody else asked for. Redirects are not followed, nothing is
sent twice, no stream is resumed. Cancelling closes the request's own stream; before 2026-07-28 a notification says so.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any, Final

import anyio
import orjson
from anyio.abc import TaskGroup
from anyio.streams.memory import MemoryObjectReceiveStream, MemoryObjectSendStream
from mcp.shared.message import ClientMessageMetadata, SessionMessage
from mcp_types import INVALID_REQUEST, ErrorData, JSONRPCError, JSONRPCNotification, JSONRPCRequest, RequestId
from mcp_types.version import MODERN_PROTOCOL_VERSIONS

from broker.connectors.mcp_wire import Heard, garbage, hear, instead
from broker.connectors.sse import events
from broker.egress import Upstream
from broker.errors import BrokerError, UpstreamFailed

Inbox = MemoryObjectSendStream[SessionMessage | Exception]
Streams = tuple[MemoryObjectReceiveStream[SessionMessage | Exception], MemoryObjectSendStream[SessionMessage]]
VERSION: Final = "mcp-protocol-version"
SESSION: Final = "mcp-session-id"
ASKS_MAX: Final = 16
"""Requests of the server's that are refused in one exchange before it is given up."""
LISTEN_SECONDS: Final = 3600.0
GOODBYE_SECONDS: Final = 2.0


class HttpStreams:
    """One connection, as far as HTTP has any: a session id in a header, and the version that was agreed on."""

    def __init__(
        self,
        upstream: Upstream,
        credential: Mapping[str, str],
        *,
        seconds: float,
        changed: Callable[[], None],
        ended: Callable[[], None],
    ) -> None:
        """``changed`` is told of a new tool list, ``ended`` that the server forgot this session."""
        self._upstream = upstream
        self._target = upstream.origin + (upstream.base_path or "/")
        self._credential = dict(credential)
        self._seconds = seconds
        self._changed, self._ended = changed, ended
        self._session = ""
        self._version = ""
        self._open: dict[RequestId, tuple[anyio.CancelScope, bool]] = {}

    @asynccontextmanager
    async def streams(self) -> AsyncIterator[Streams]:
        """The pair that a session reads from and writes to."""
        said: MemoryObjectReceiveStream[SessionMessage]
        inbox, heard = anyio.create_memory_object_stream[SessionMessage | Exception](0)
        to_say, said = anyio.create_memory_object_stream[SessionMessage](0)
        async with inbox, heard, to_say, said, anyio.create_task_group() as group:
            group.start_soon(self._send_all, said, inbox, group)
            try:
                yield heard, to_say
            finally:
                with anyio.move_on_after(GOODBYE_SECONDS, shield=True):
                    await self._goodbye()
                group.cancel_scope.cancel()

    async def _send_all(self, said: MemoryObjectReceiveStream[SessionMessage], inbox: Inbox, group: TaskGroup) -> None:
        async for outgoing in said:
            message, metadata = outgoing.message, outgoing.metadata
            headers = dict(metadata.headers or {}) if isinstance(metadata, ClientMessageMetadata) else {}
            stamped = next((value for name, value in headers.items() if name.lower() == VERSION), "")
            self._version = stamped or self._version
            if isinstance(message, JSONRPCRequest):
                if message.method == "initialize":
                    self._version = ""
                scope = anyio.CancelScope()
                self._open[message.id] = (scope, self._version in MODERN_PROTOCOL_VERSIONS)
                group.start_soon(self._exchange, message, headers, inbox, scope)
            elif not self._cancels(message):
                body = message.model_dump_json(by_alias=True, exclude_unset=True).encode()
                await self._tell(body, headers)
                if isinstance(message, JSONRPCNotification) and message.method == "notifications/initialized":
                    group.start_soon(self._listen)

    def _cancels(self, message: Any) -> bool:
        """A cancellation under 2026-07-28 is the end of the request's own exchange and goes nowhere else."""
        if not isinstance(message, JSONRPCNotification) or message.method != "notifications/cancelled":
            return False
        scope, modern = self._open.get((message.params or {}).get("requestId", ""), (None, self._modern))
        if modern and scope is not None:
            scope.cancel()
        return modern

    @property
    def _modern(self) -> bool:
        return self._version in MODERN_PROTOCOL_VERSIONS

    async def _exchange(
        self, message: JSONRPCRequest, headers: Mapping[str, str], inbox: Inbox, scope: anyio.CancelScope
    ) -> None:
        """One request to its answer; a failure is an answer, too."""
        body = message.model_dump_json(by_alias=True, exclude_unset=True).encode()
        try:
            with scope:
                try:
                    answer = await self._answer(message, body, headers)
                except BrokerError as error:
                    answer = instead(message.id, error)
                await inbox.send(answer)
        except (anyio.BrokenResourceError, anyio.ClosedResourceError):
            return  # whoever asked has gone
        finally:
            if self._open.get(message.id, (None, False))[0] is scope:
                del self._open[message.id]

    async def _answer(self, message: JSONRPCRequest, body: bytes, headers: Mapping[str, str]) -> SessionMessage:
        """Send once; raises ``UpstreamFailed`` where no answer to this request comes."""
        name = self._upstream.settings.name
        async with self._upstream.stream(
            "POST", self._target, headers=self._headers(headers), body=body, timeout_seconds=self._seconds
        ) as reply:
            if message.method == "initialize" and reply.status == 200:
                self._session = _session_id(name, reply.headers.get("Mcp-Session-Id", ""))
            kind = reply.headers.get("Content-Type", "").partition(";")[0].strip().lower()
            if reply.status == 200 and kind == "text/event-stream":
                return await self._in_events(message.id, reply.chunks())
            if reply.status == 404 and self._session:
                self._ended()
            if kind != "application/json":
                return _status(name, message, reply.status)
            said = await reply.read()
            if reply.status == 200:
                return self._own(message.id, hear(name, said))
            try:
                told = hear(name, said).answer
            except UpstreamFailed:
                return _status(name, message, reply.status)
            refused = told.message if told else None
            if isinstance(refused, JSONRPCError) and refused.id in {None, message.id}:
                return SessionMessage(JSONRPCError(jsonrpc="2.0", id=message.id, error=refused.error))
            return _status(name, message, reply.status)

    async def _in_events(self, request: RequestId, chunks: AsyncIterator[bytes]) -> SessionMessage:
        """The answer in a stream of events, and what the server says before it."""
        name, asked = self._upstream.settings.name, 0
        async for data in events(chunks, bytes_max=self._upstream.settings.answer_bytes_max):
            heard = hear(name, data)
            if heard.answer is not None:
                return self._own(request, heard)
            asked += await self._notice(heard)
            if asked > ASKS_MAX:
                raise UpstreamFailed(f"`{name}` asks instead of answering", code="upstream.contract")
        raise UpstreamFailed(f"`{name}` closed the stream before its answer", code="upstream.cut")

    def _own(self, request: RequestId, heard: Heard) -> SessionMessage:
        """The answer, where it is to this request."""
        if heard.answer is None or heard.answers != request:
            raise UpstreamFailed(
                f"`{self._upstream.settings.name}` answered another request than the one it was asked",
                code="upstream.contract",
            )
        return heard.answer

    async def _notice(self, heard: Heard) -> int:
        """What is no answer; 1 where the server asked something."""
        if heard.tools_changed:
            self._changed()
        if heard.reply is None:
            return 0
        if not self._modern:
            await self._tell(orjson.dumps(heard.reply), {})
        return 1

    async def _tell(self, body: bytes, headers: Mapping[str, str]) -> None:
        """Send what gets no answer; whether it arrives is not known either way."""
        try:
            await self._upstream.request(
                "POST", self._target, headers=self._headers(headers), body=body, timeout_seconds=self._seconds
            )
        except BrokerError:
            return

    async def _listen(self) -> None:
        """Before 2026-07-28: the stream on which a server tells of a new tool list. A server need not have one."""
        if self._modern:
            return
        pause = 1.0
        while True:
            try:
                async with self._upstream.stream(
                    "GET",
                    self._target,
                    headers=self._headers({}, accept="text/event-stream"),
                    timeout_seconds=LISTEN_SECONDS,
                ) as reply:
                    if reply.status != 200:
                        return
                    bytes_max = self._upstream.settings.answer_bytes_max
                    async for data in events(reply.chunks(), bytes_max=bytes_max):
                        await self._notice(hear(self._upstream.settings.name, data))
            except BrokerError:
                pause = min(pause * 2, 60.0)
            await asyncio.sleep(pause)

    async def _goodbye(self) -> None:
        """End the session at the server, where there is one."""
        if not self._session:
            return
        try:
            await self._upstream.request(
                "DELETE", self._target, headers=self._headers({}), timeout_seconds=GOODBYE_SECONDS
            )
        except BrokerError:
            return

    def _headers(
        self, stamped: Mapping[str, str], *, accept: str = "application/json, text/event-stream"
    ) -> dict[str, str]:
        """Ours last: no tool's schema puts another credential or session into a header."""
        headers = {name.lower(): value for name, value in stamped.items()}
        headers |= {"accept": accept, "content-type": "application/json", **self._credential}
        if self._version:
            headers[VERSION] = self._version
        if self._session:
            headers[SESSION] = self._session
        return headers


def _session_id(name: str, value: str) -> str:
    if len(value) > 256 or not all("!" <= character <= "~" for character in value):
        raise garbage(name)
    return value


def _status(name: str, message: JSONRPCRequest, status: int) -> SessionMessage:
    """An answer that is none: before the handshake a sign of the other protocol version, else a failure."""
    if status == 404:
        return SessionMessage(
            JSONRPCError(jsonrpc="2.0", id=message.id, error=ErrorData(code=INVALID_REQUEST, message="404"))
        )
    failure = UpstreamFailed(
        f"`{name}` answered {status}",
        code="upstream.status",
        remedy="check the connector's address and credential" if status in {401, 403} else None,
    )
    return instead(message.id, failure)
