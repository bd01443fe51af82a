"""Model calls whose answer is a stream: steps 7 to 9 while the bytes go by.

The intent is durable before the first upstream byte. Only events that the gate knows pass, each read, redacted and
written anew; an unknown one ends the stream. The terminal event is held until the outcome is durable; a stream cut by
either side gets the outcome ``partial``.

A call with an idempotency key is read to its end whoever listens, and its outcome keeps the whole message: its caller may
come back for what was paid for, and is given the same again.
"""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import suppress
from dataclasses import replace
from http import HTTPStatus
from typing import Any, cast

import orjson

from broker import modelwire
from broker.answers import Answer, End, decision_body
from broker.connectors.base import ModelConnector, ModelReply
from broker.connectors.llm_sse import SseEvent, SseSplitter, StreamFacts
from broker.errors import BrokerError, Receipt, UpstreamFailed
from broker.identity import Credential
from broker.model import Grant, Json, Redacted, Result, ResultStatus
from broker.modelmessage import Event, Gathering
from broker.pipeline import Opened, Pipeline
from broker.reading import Ask
from broker.redaction import Redactor, TextStream
from broker.telemetry import Telemetry
from broker.turns import Turns, Uses

READ_ON_SECONDS = 120.0
"""How long a keyed call is read on after its caller went; the provider's own deadlines hold besides."""


class Streams:
    """Opens and relays streamed model calls."""

    def __init__(self, *, pipeline: Pipeline, redactor: Redactor, telemetry: Telemetry, turns: Turns) -> None:
        """Steps 1 to 6 are the pipeline's own."""
        self._turns = turns
        self._pipeline = pipeline
        self._redactor = redactor
        self._telemetry = telemetry

    async def open(self, credential: Credential, ask: Ask) -> "Answer | Relay":
        """Take a call through steps 1 to 6 and send it; a call that was answered before gives its stored answer."""
        if not ask.idempotency_key:
            return await self._open(credential, ask)
        # Its caller may go while it is on the way: the next one with the key finds its end.
        opening = asyncio.create_task(self._open(credential, ask))
        self._pipeline.keep(opening)
        return await asyncio.shield(opening)

    async def _open(self, credential: Credential, ask: Ask) -> "Answer | Relay":
        opened = await self._pipeline.open(credential, ask)
        if isinstance(opened, Answer):
            return opened
        relay = Relay(opened, self._pipeline, self._redactor, self._telemetry, self._turns)
        await relay.connect(opened.granted.grant)
        return relay


class Relay:
    """One model call under way. Iterate ``chunks`` once, to the end or not: either way its outcome goes on record."""

    def __init__(
        self, opened: Opened, pipeline: Pipeline, redactor: Redactor, telemetry: Telemetry, turns: Turns
    ) -> None:
        """Hold the call, without what it sends: that is large, and the answer may go on for long. Nothing has left yet."""
        asked = replace(opened.asked, request=replace(opened.asked.request, content=None))
        self._turns = turns
        self._uses = Uses()
        self._call = telemetry.streaming(asked)
        self._asked = asked
        self._profile = opened.granted.profile
        self._pipeline = pipeline
        self._redactor = redactor
        self._watch = pipeline.watch(asked)
        self._facts = StreamFacts()
        self._said: list[tuple[str, str]] = []
        """What was released, by kind of delta."""
        self._texts: dict[tuple[int, str], TextStream] = {}
        """Text under way by block index and field."""
        self._closed: asyncio.Task[Receipt] | None = None
        self._refusal: Json = None
        """What the provider answered instead of a stream, and its status."""
        self._failure: Mapping[str, Json] = {}
        """The error that ended the call before it was answered, as a repetition raises it."""
        self._gathered = Gathering() if opened.asked.request.idempotency_key else None
        """Of a keyed call, what was released."""
        self._heard: asyncio.Queue[bytes | None] = asyncio.Queue()
        self._reading: asyncio.Task[None] | None = None
        self._reply: ModelReply | None = None
        self.status = 0
        self.headers: Mapping[str, str] = {}
        self._marks = {"wicketgate-action": opened.asked.request.id, "wicketgate-receipt": str(opened.receipt.seq)}

    async def connect(self, grant: Grant) -> None:
        """(7) Send the call; a failure gets its outcome on record and is raised."""
        connector = cast("ModelConnector", self._asked.connector)
        try:
            self._reply = await connector.open(grant, self._asked.action)
        except BrokerError as error:
            self._failure = {"kind": type(error).__name__, "code": error.error_code, "detail": error.detail}
            error.receipt = await self._close("failed", error.error_code)
            raise
        finally:
            if self._reply is None:
                await self._close("unknown", "gate.failed")
        self.status, self.headers = self._reply.status, {**self._reply.headers, **self._marks}
        if self._gathered is not None:
            self._reading = asyncio.create_task(self._read_on())
            self._pipeline.keep(self._reading)

    async def aclose(self) -> None:
        """The caller is gone. The upstream is cut, and the outcome goes on record; a keyed call is read on for a while."""
        if self._reading is None:
            await self._end()
        elif not self._reading.done():
            asyncio.get_running_loop().call_later(READ_ON_SECONDS, self._reading.cancel)

    async def _end(self) -> None:
        """End the call, read to the end or not."""
        try:
            await self._close("partial", "stream.cut")
        finally:
            if self._reply is not None:
                await self._reply.aclose()

    async def chunks(self) -> AsyncIterator[bytes]:
        """The provider's events, redacted and written anew; the last one goes out once the outcome is durable."""
        if self._reading is None:
            async for out in self._relayed():
                yield out
            return
        while (heard := await self._heard.get()) is not None:
            yield heard
        await asyncio.shield(self._reading)

    async def _read_on(self) -> None:
        """Read a keyed call to its end, whoever listens."""
        try:
            async for out in self._relayed():
                self._heard.put_nowait(out)
        finally:
            self._heard.put_nowait(None)

    async def _relayed(self) -> AsyncIterator[bytes]:
        assert self._reply is not None
        try:
            if self.status != HTTPStatus.OK:
                yield await self._refused()
                return
            splitter = SseSplitter()
            async for chunk in self._reply.chunks:
                await self._watch.check()
                for event in splitter.feed(chunk):
                    for out in await self._passed(event):
                        yield modelwire.written(out)
                    if self._closed is not None:
                        return
            raise UpstreamFailed("the provider's stream ended early", code="upstream.cut")
        except BrokerError as error:
            broken = modelwire.error_event(f"the stream broke off; what came before stands [{error.error_code}]")
            self._gather([broken])
            await self._close("partial", error.error_code)
            yield modelwire.written(broken)
        finally:
            # The reader may have gone, or the task was cancelled: the outcome is owed all the same.
            await self._end()

    async def _refused(self) -> bytes:
        """The provider's refusal, once it is on record."""
        assert self._reply is not None
        refusal = b"".join([chunk async for chunk in self._reply.chunks])
        self._refusal = {"status": self.status, "body": orjson.loads(refusal)}
        await self._close("failed", "upstream.refused")
        return refusal

    async def _passed(self, event: SseEvent) -> list[Event]:
        """One event as it may pass; the terminal ones close the call first (9). Raises ``UpstreamFailed``."""
        if not event.data:
            return []  # a comment, or an event that browsers would not see either
        read = modelwire.read_event(event.name, event.data)
        self._facts.see(event)
        released = self._gather(await self._released(event.name, read))
        # Before it goes out: a client may call a tool as soon as its block has ended.
        await self._turns.note(self._asked.principal, self._asked.request.session, self._uses.take(released))
        if event.name == "message_stop":
            await self._close("done", "")
        elif event.name == "error":
            await self._close("partial", "upstream.error")
        return released

    async def _released(self, name: str, read: dict[str, Any]) -> list[Event]:  # noqa: PLR0911 - one case an event
        match name:
            case "message_stop":
                return [*await self._flushed(), {"type": name}]
            case "error":
                return [
                    *await self._flushed(),
                    modelwire.error_event("the model provider broke off its answer", read),
                ]
            case "ping":
                return [{"type": name}]
            case "message_start":
                return [{"type": name, "message": await self._clean(read["message"])}]
            case "message_delta":
                return [*await self._flushed(), {**await self._clean(read), "type": name}]
            case "content_block_start":
                return await self._started(read)
            case "content_block_delta":
                return await self._delta(read)
            case _:
                return [*await self._flushed(read["index"]), {"type": name, "index": read["index"]}]

    def _gather(self, released: list[Event]) -> list[Event]:
        """Keep of a keyed call what its caller is told."""
        if self._gathered is not None:
            for event in released:
                self._gathered.take(event)
        return released

    async def _started(self, read: Mapping[str, Any]) -> list[Event]:
        """A block's beginning; text that stands in it already joins what follows."""
        block, kind, text = modelwire.split_start(read)
        whole = await self._clean({"type": "message", "content": [block]})
        event: Event = {"type": "content_block_start", "index": read["index"], "content_block": whole["content"][0]}
        return [event, *(await self._fed(read["index"], kind, text) if text else [])]

    async def _delta(self, read: Mapping[str, Any]) -> list[Event]:
        """A piece of a block: text by its stream, a citation as a whole, a signature as it is."""
        kind, carried = modelwire.read_delta(read)
        if kind in modelwire.DELTAS:
            return await self._fed(read["index"], kind, carried)
        if kind == "citations_delta":
            carried = await self._clean(carried)
        return [modelwire.delta_event(read["index"], kind, carried)]

    async def _fed(self, index: int, kind: str, text: str) -> list[Event]:
        """What redaction releases of a text that goes on."""
        stream = self._texts.get((index, kind))
        if stream is None:
            stream = self._redactor.stream(profile=self._profile, scope=self._asked.scope)
            self._texts[index, kind] = stream
        return self._spoken(index, kind, await stream.feed(text))

    async def _flushed(self, index: int | None = None) -> list[Event]:
        """What was held back of the texts of one block, or of all."""
        ending = [key for key in self._texts if index in {None, key[0]}]
        return [out for key in ending for out in self._spoken(*key, await self._texts.pop(key).finish())]

    def _spoken(self, index: int, kind: str, safe: str) -> list[Event]:
        if not safe:
            return []
        self._said.append((kind, safe))
        return [modelwire.delta_event(index, kind, safe)]

    async def _clean(self, value: Json) -> Any:
        """Anything but running text, redacted as a whole; ids, types and signatures stay."""
        bare, kept = modelwire.take_wire(value)
        redacted = await self._redactor.redact(bare, profile=self._profile, scope=self._asked.scope)
        return modelwire.put_back(redacted.value, kept)

    async def _break_off(self) -> None:
        """Text that was held back when the stream was cut is said, too; its last word may be half a secret."""
        while self._texts:
            (_, kind), stream = self._texts.popitem()
            with suppress(BrokerError):
                rest = await stream.finish()
                self._said.append((kind, rest[: len(rest) - len(rest.split(" ")[-1])]))

    async def _close(self, status: str, code: str) -> Receipt:
        """(9) Once, and to the end even when the reader is gone."""
        if self._closed is None:
            self._closed = asyncio.create_task(self._outcome(status, code))
            self._pipeline.keep(self._closed)
        return await asyncio.shield(self._closed)

    async def _outcome(self, status: str, code: str) -> Receipt:
        """The outcome's record; what the model said is kept as the observation."""
        asked = self._asked
        await self._break_off()
        value: Json = self._observed()
        whole: Redacted[Json] = Redacted(value, self._profile, {})
        result = Result(ResultStatus.OK if status == "done" else ResultStatus.ERROR, None, code, self._facts.units())
        shown: Json = {"status": result.status.value, "value": self._kept(value), "capped": False, "untrusted": []}
        answer: dict[str, Json] = {"result": shown, "decision": decision_body(asked.decision)}
        if self._failure:
            answer["error"] = self._failure
        self._call.end(result.units, code)
        return await self._pipeline.close(asked, End(status, whole, result, code, answer))

    def _kept(self, observed: Json) -> Json:
        """What a repetition is answered with: the whole message, or the provider's refusal."""
        if self._gathered is None:
            return observed
        return self._refusal or self._gathered.value()

    def _observed(self) -> dict[str, Json]:
        """What the model said: its text and the input of its tools, and beside it its thinking, where there was any."""
        thought = "".join(text for kind, text in self._said if kind == "thinking_delta")
        value: dict[str, Json] = {"text": "".join(text for kind, text in self._said if kind != "thinking_delta")}
        value["stop_reason"] = modelwire.word(self._facts.stop_reason)
        return {**value, "thinking": thought} if thought else value
