"""``GET /v1/events``: the log as it grows, as server-sent events (WHATWG HTML §9.2).

One decision and its record a connection. While it lasts, the reader's sign-in is looked at every few seconds and policy
is asked again, at once where a kill switch was pulled. A stream that the gate ends says why in a last event ``end``.
Each event's id is its record's sequence number, so ``Last-Event-ID`` resumes without loss or repeat.
"""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass

import orjson
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from broker.config import EventSettings
from broker.errors import BadRequest, BrokerError, LimitExceeded
from broker.identity import Credential, Verifier
from broker.killswitch import KillSwitch
from broker.logbook import Feed, Follower, Line, Names, filter_of, shown
from broker.model import Json, Principal
from broker.pipeline import Pipeline
from broker.reading import GATE, Ask
from broker.web.api import Api
from broker.wiring import Wiring

ACT = "gate.events.read"
RETRY_MILLISECONDS = 2_000
COMMENT = b": still here\n\n"
"""What a stream says that has nothing to tell; a browser's script sees named events only."""
Encode = Callable[[tuple[Line, ...], Callable[[str], str], int], bytes]
"""Lines, names and the number up to which all was seen -> bytes of messages."""


@dataclass(frozen=True, slots=True)
class Streaming:
    """What every stream needs of the gate."""

    pipeline: Pipeline
    identity: Verifier
    kills: KillSwitch
    feed: Feed
    names: Names
    settings: EventSettings

    @classmethod
    def of(cls, gate: Wiring) -> "Streaming":
        """Of a wired gate."""
        return cls(gate.pipeline, gate.identity, gate.kills, gate.feed, gate.names, gate.settings.events)

    async def open(
        self, credential: Credential, wanted: dict[str, Json], after: int | None, encode: Encode, beat: bytes = COMMENT
    ) -> "EventStream":
        """Decide and record, then take a seat. Raises ``BrokerError``."""
        ask = Ask(ACT, {"type": GATE.type, "id": GATE.id, "env": GATE.env}, wanted)
        await self.pipeline.act(credential, ask)
        principal = await self.identity.recognise(credential)
        follower = await self.feed.follow(principal, filter_of(wanted), after)
        return EventStream(self, follower, (credential, ask, principal), encode, beat)


class EventsApi:
    """The handler of ``GET /v1/events``."""

    def __init__(self, *, api: Api, streaming: Streaming) -> None:
        """``api`` reads credentials."""
        self._api = api
        self._streaming = streaming

    async def events(self, request: Request) -> Response:
        """GET /v1/events."""
        query = request.query_params
        wanted: dict[str, Json] = {name: query.get(name, "") for name in ("action", "effect", "session", "incident")}
        wanted |= {
            "kinds": [kind for kind in query.get("kinds", "").split(",") if kind],
            "own": query.get("own", "1") != "0",
        }
        return await self._streaming.open(self._api.credential(request), wanted, last_seen(request), messages)


def last_seen(request: Request) -> int | None:
    """The number that the reader saw last: the header, or ``after`` where no header can be set; None for the end."""
    text = request.headers.get("last-event-id", "") or request.query_params.get("after", "")
    if not text:
        return None
    digits = text.removeprefix("-")
    if not (digits.isascii() and digits.isdigit() and len(digits) <= 15):
        raise BadRequest("header `Last-Event-ID` is not the id of an event", code="events.last_id")
    return max(-1, int(text))


def messages(lines: tuple[Line, ...], name_of: Callable[[str], str], seen: int) -> bytes:
    """One message a record; the last id alone where none fitted, so that a resume begins there."""
    made = [b"event: record\nid: %d\ndata: %s\n\n" % (one.seq, orjson.dumps(shown(one, name_of))) for one in lines]
    if not lines or lines[-1].seq != seen:
        made.append(b"id: %d\n\n" % seen)
    return b"".join(made)


class EventStream(Response):
    """A stream under way; however it ends, its seat is given back."""

    media_type = "text/event-stream"

    def __init__(
        self,
        streaming: Streaming,
        follower: Follower,
        opened: tuple[Credential, Ask, Principal],
        encode: Encode,
        beat: bytes,
    ) -> None:
        """``opened`` is what was decided, for the next time that policy is asked; ``beat`` is said where nothing else is."""
        super().__init__(headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"})
        del self.headers["content-length"]
        self._streaming = streaming
        self._settings = streaming.settings
        self._follower = follower
        self._credential, self._ask, self._principal = opened
        self._encode = encode
        self._beat = beat
        self._seen = -1

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002 - ASGI's signature
        """Write until the reader goes, or something ends it; then say what."""
        try:
            await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
            await self._send(send, b"retry: %d\n\n" % RETRY_MILLISECONDS)
            ending = await _first(self._write(send), self._watch(), _gone(receive))
            if ending is not None:
                # A reader that takes nothing is not waited for twice.
                with suppress(LimitExceeded):
                    await self._send(send, _end(ending))
                    await send({"type": "http.response.body", "body": b"", "more_body": False})
        finally:
            await self._follower.aclose()

    async def _write(self, send: Send) -> None:
        """Batches as they come, at the feed's pace; a beat where there is none for long."""
        while True:
            try:
                async with asyncio.timeout(self._settings.heartbeat_seconds):
                    batch = await self._follower.more()
            except TimeoutError:
                await self._send(send, self._beat)
                continue
            name_of = await self._streaming.names.of(
                self._principal.tenant, {ref for line in batch.lines for ref in (line.who, line.behalf)}
            )
            await self._send(send, self._encode(batch.lines, name_of, batch.seen))
            await asyncio.sleep(self._settings.pace_seconds)

    async def _watch(self) -> None:
        """Raise what ends the stream: a sign-in that does not hold any more, or policy's no."""
        streaming = self._streaming
        stopped = await streaming.kills.is_killed(self._principal, GATE.type)
        looks = max(1, round(self._settings.decide_seconds / self._settings.look_seconds))
        while True:
            for _ in range(looks):
                await asyncio.sleep(self._settings.look_seconds)
                who = await streaming.identity.recognise(self._credential)
                was, stopped = stopped, await streaming.kills.is_killed(who, GATE.type)
                if stopped and not was:
                    break
            await streaming.pipeline.still(self._credential, self._ask)

    async def _send(self, send: Send, chunk: bytes) -> None:
        """One chunk, in time. Raises ``LimitExceeded`` (``events.too_slow``)."""
        try:
            async with asyncio.timeout(self._settings.send_seconds):
                await send({"type": "http.response.body", "body": chunk, "more_body": True})
        except TimeoutError:
            raise LimitExceeded(
                "you took nothing for too long",
                code="events.too_slow",
                remedy="connect again with Last-Event-ID; filter for less",
                retry_after=1,
            ) from None


async def _first(*works: Awaitable[None]) -> BrokerError | None:
    """Run all until one ends; the error that it ended with, or None. The others are cancelled; a defect is raised."""
    tasks = [asyncio.ensure_future(work) for work in works]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in tasks:
            if task.done() and (error := task.exception()) is not None:
                if isinstance(error, BrokerError):
                    return error
                raise error
        return None
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _gone(receive: Receive) -> None:
    """Until the reader hangs up."""
    while (await receive())["type"] != "http.disconnect":
        pass


def _end(error: BrokerError) -> bytes:
    """The last event: what ended the stream, and what to do."""
    told = {"code": error.error_code, "detail": error.detail, "remedy": error.error_remedy}
    return b"event: end\ndata: %s\n\n" % orjson.dumps(told)
