"""Model calls whose answer is a stream: steps 7 to 9 while the bytes go by.

The intent is durable before the first upstream byte. Text is redacted as it passes; everything else is relayed as the
provider sent it. The terminal event is held until the outcome is durable; a stream cut by either side gets the outcome
``partial``.
"""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import suppress
from typing import Any, cast

import orjson

from broker import modelwire
from broker.connectors.base import ModelConnector, ModelReply
from broker.connectors.llm_sse import TERMINAL, SseEvent, SseSplitter, StreamFacts
from broker.errors import BrokerError, Receipt, UpstreamFailed
from broker.identity import Credential
from broker.model import Json, Redacted, Result, ResultStatus
from broker.pipeline import Answer, End, Opened, Pipeline
from broker.reading import Ask
from broker.records import decision_body
from broker.redaction import Redactor, TextStream


class Streams:
    """Opens and relays streamed model calls."""

    def __init__(self, *, pipeline: Pipeline, redactor: Redactor) -> None:
        """Steps 1 to 6 are the pipeline's own."""
        self._pipeline = pipeline
        self._redactor = redactor

    async def open(self, credential: Credential, ask: Ask) -> "Answer | Relay":
        """Take a call through steps 1 to 6 and send it; a call that was answered before gives its stored answer."""
        opened = await self._pipeline.open(credential, ask)
        if isinstance(opened, Answer):
            return opened
        relay = Relay(opened, self._pipeline, self._redactor)
        await relay.connect()
        return relay


class Relay:
    """One model call under way. Iterate ``chunks`` once, to the end or not: either way its outcome goes on record."""

    def __init__(self, opened: Opened, pipeline: Pipeline, redactor: Redactor) -> None:
        """Hold the call; nothing has left yet."""
        self._asked = opened.asked
        self._granted = opened.granted
        self._pipeline = pipeline
        self._redactor = redactor
        self._facts = StreamFacts()
        self._said: list[str] = []
        self._texts: dict[tuple[int, str], TextStream] = {}
        """Text under way by block index and field."""
        self._closed: asyncio.Task[Receipt] | None = None
        self._reply: ModelReply | None = None
        self.status = 0
        self.headers: Mapping[str, str] = {}

    async def connect(self) -> None:
        """(7) Send the call; a failure gets its outcome on record and is raised."""
        connector = cast("ModelConnector", self._asked.connector)
        try:
            self._reply = await connector.open(self._granted.grant, self._asked.action)
        except BrokerError as error:
            error.receipt = await self._close("failed", error.error_code)
            raise
        finally:
            if self._reply is None:
                await self._close("unknown", "gate.failed")
        self.status, self.headers = self._reply.status, self._reply.headers

    async def aclose(self) -> None:
        """End the call, read to the end or not: cut the upstream, and the outcome goes on record."""
        await self._close("partial", "stream.cut")
        if self._reply is not None:
            await self._reply.aclose()

    async def chunks(self) -> AsyncIterator[bytes]:
        """The provider's events, redacted; ends with the terminal event once the outcome is durable."""
        assert self._reply is not None
        splitter = SseSplitter()
        try:
            async for chunk in self._reply.chunks:
                if self.status != 200:
                    yield chunk
                    continue
                for event in splitter.feed(chunk):
                    self._facts.see(event)
                    if event.name == TERMINAL:
                        await self._close("done", "")  # (8) (9)
                        yield event.raw
                        return
                    for out in await self._redacted(event):  # (8)
                        yield out
            await self._close(
                "failed" if self.status != 200 else "partial",
                "upstream.refused" if self.status != 200 else "upstream.cut",
            )
        except UpstreamFailed as error:
            await self._close("partial", error.error_code)
            yield modelwire.error_event("the provider's stream broke off; what came before stands")
        finally:
            # The reader may have gone, or the task was cancelled: the outcome is owed all the same.
            await self.aclose()

    async def _redacted(self, event: SseEvent) -> list[bytes]:
        """One event as it may pass: untouched where redaction changed and held back nothing."""
        if event.name not in ("content_block_delta", "content_block_stop"):
            return [event.raw]
        parsed = _parsed(event.data)
        if event.name == "content_block_stop":
            index = int(parsed.get("index", 0))
            rests = [(key, await self._texts.pop(key).finish()) for key in list(self._texts) if key[0] == index]
            self._said.extend(rest for _, rest in rests)
            return [*(modelwire.delta_event(index, key[1], rest) for key, rest in rests if rest), event.raw]
        found = modelwire.delta_text(parsed)
        if found is None:
            return [event.raw]
        index, key, text = found
        stream = self._texts.get((index, key))
        if stream is None:
            stream = self._texts[index, key] = self._redactor.stream(
                profile=self._granted.profile, scope=self._asked.scope
            )
        safe = await stream.feed(text)
        self._said.append(safe)
        if safe == text:
            return [event.raw]
        return [modelwire.delta_event(index, key, safe)] if safe else []

    async def _break_off(self) -> None:
        """Text that was held back when the stream was cut is said, too; its last word may be half a secret."""
        while self._texts:
            _, stream = self._texts.popitem()
            with suppress(BrokerError):
                rest = await stream.finish()
                self._said.append(rest[: len(rest) - len(rest.split(" ")[-1])])

    async def _close(self, status: str, code: str) -> Receipt:
        """(9) Once, and to the end even when the reader is gone."""
        if self._closed is None:
            self._closed = asyncio.create_task(self._outcome(status, code))
        return await asyncio.shield(self._closed)

    async def _outcome(self, status: str, code: str) -> Receipt:
        """The outcome's record; what the model said is kept as the observation."""
        asked = self._asked
        await self._break_off()
        value: Json = {"text": "".join(self._said), "stop_reason": self._facts.stop_reason}
        whole: Redacted[Json] = Redacted(value, self._granted.profile, {})
        result = Result(ResultStatus.OK if status == "done" else ResultStatus.ERROR, None, code, self._facts.units())
        shown = {"status": result.status.value, "value": value, "capped": False, "untrusted": []}
        answer = {"result": shown, "decision": decision_body(asked.decision)}
        return await self._pipeline.close(asked, End(status, whole, result, code, answer))


def _parsed(data: bytes) -> dict[str, Any]:
    """The JSON of one event; raises ``UpstreamFailed`` for text that could hide something from redaction."""
    try:
        event = orjson.loads(data)
    except orjson.JSONDecodeError:
        raise UpstreamFailed("the provider sent an event that is not JSON", code="upstream.garbage") from None
    if not isinstance(event, dict):
        raise UpstreamFailed("the provider sent an event that is not an object", code="upstream.garbage")
    return event
