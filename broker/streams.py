"""Model calls whose answer is a stream: steps 7 to 9 while the bytes go by.

The intent is durable before the first upstream byte. Text is redacted as it passes; everything else is relayed as the
provider sent it. The terminal event is held until the outcome is durable; a stream cut by either side gets the outcome
``partial``.
"""

import asyncio
from collections.abc import AsyncIterator, Mapping
from typing import Any

import orjson

from broker import modelwire
from broker.connectors.llm import events_of
from broker.errors import BrokerError, UpstreamFailed
from broker.identity import Credential
from broker.model import Json, Receipt, Redacted, Result, ResultStatus
from broker.obligations import Asked, Granted
from broker.pipeline import Answer, Opened, Pipeline
from broker.reading import Ask
from broker.records import Records, decision_body
from broker.redaction import Redactor, TextStream

TERMINAL = "message_stop"


class Streams:
    """Opens and relays streamed model calls."""

    def __init__(self, *, pipeline: Pipeline, records: Records, redactor: Redactor) -> None:
        """Steps 1 to 6 are the pipeline's own."""
        self._pipeline = pipeline
        self._records = records
        self._redactor = redactor

    async def open(self, credential: Credential, ask: Ask) -> "Answer | Relay":
        """Take a call through steps 1 to 6; a call that was answered before gives its stored answer."""
        opened = await self._pipeline.open(credential, ask)
        if isinstance(opened, Answer):
            return opened
        return Relay(opened, self._pipeline, self._records, self._redactor)


class Relay:
    """One open model call. ``start`` connects; iterate ``chunks`` once; ``aclose`` always."""

    def __init__(self, opened: Opened, pipeline: Pipeline, records: Records, redactor: Redactor) -> None:
        """Hold the call; nothing has left yet."""
        self._opened = opened
        self._pipeline = pipeline
        self._records = records
        self._redactor = redactor
        self._units: dict[str, int] = {}
        self._said: list[str] = []
        self._closed: asyncio.Task[Receipt] | None = None
        self.action_id = opened.asked.request.id

    async def chunks(self) -> AsyncIterator[bytes]:
        """The provider's events, redacted; ends with the terminal event once the outcome is durable."""
        asked, granted = self._opened.asked, self._opened.granted
        texts: dict[tuple[int, str], TextStream] = {}
        try:
            async with asked.connector.open(granted.grant, asked.action) as reply:  # (7)
                async for name, raw in events_of(reply.chunks):
                    event = _parsed(raw)
                    self._units |= modelwire.usage(event)
                    if name == TERMINAL:
                        await self._close("done", "")  # (8) (9)
                        yield raw
                        return
                    for out in self._redacted(event, raw, texts):  # (8)
                        yield out
            await self._close("partial", "upstream.cut")
        except BrokerError as error:
            await self._close("failed" if not self._said else "partial", error.error_code)
            raise
        finally:
            # The reader went away, or the task was cancelled: the outcome is owed all the same.
            await self._close("partial", "stream.cut")

    def _redacted(self, event: Mapping[str, Any], raw: bytes, texts: dict[tuple[int, str], TextStream]) -> list[bytes]:
        """One event as it may pass: untouched where redaction changed and held back nothing."""
        found = modelwire.delta_text(event)
        if found is None:
            if event.get("type") != "content_block_stop":
                return [raw]
            index = int(event.get("index", 0))
            rests = [(key, texts.pop(key).finish()) for key in [key for key in texts if key[0] == index]]
            self._said.extend(rest for _, rest in rests)
            return [*(modelwire.delta_event(index, key[1], rest) for key, rest in rests if rest), raw]
        index, key, text = found
        stream = texts.get((index, key))
        if stream is None:
            stream = texts[index, key] = self._redactor.stream(profile=self._opened.granted.profile, scope=self._opened.asked.scope)
        safe = stream.feed(text)
        self._said.append(safe)
        if safe == text:
            return [raw]
        return [modelwire.delta_event(index, key, safe)] if safe else []

    async def _close(self, status: str, code: str) -> None:
        """(9) Once, and to the end even when the reader is gone."""
        if self._closed is None:
            self._closed = asyncio.create_task(self._outcome(status, code))
        await asyncio.shield(self._closed)

    async def _outcome(self, status: str, code: str) -> Receipt:
        """The outcome's record; what the model said is kept as the observation."""
        asked = self._opened.asked
        said = "".join(self._said)
        whole: Redacted[Json] = Redacted({"text": said}, self._opened.granted.profile, {})
        result = Result(ResultStatus.OK if status == "done" else ResultStatus.ERROR, None, code, self._units)
        answer = {"result": {"status": result.status.value, "value": {"text": said}, "capped": False, "untrusted": []}, "decision": decision_body(asked.decision)}
        return await self._records.outcome(
            asked.principal, asked.request, status=status, redacted=whole, result=result, code=code, answer=answer
        )


def _parsed(raw: bytes) -> dict[str, Any]:
    """The JSON of one server-sent event; {} for comments and pings without data."""
    data = b"\n".join(line[5:].strip() for line in raw.splitlines() if line.startswith(b"data:"))
    if not data:
        return {}
    try:
        event = orjson.loads(data)
    except orjson.JSONDecodeError:
        raise UpstreamFailed("the provider sent an event that is not JSON", code="model.bad_event") from None
    return event if isinstance(event, dict) else {}
