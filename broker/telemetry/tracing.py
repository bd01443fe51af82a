"""Traces: the one home of OpenTelemetry. Off unless configured; a collector that is away costs a counter.

Spans of the steps of an action, and of model calls with the names of the GenAI conventions
(https://opentelemetry.io/docs/specs/semconv/gen-ai/); they hold codes, ids and counts that pass ``scrub``, never a prompt, an
argument, a result, nor the text of an error. What has ended waits in a bounded queue; one task sends it as OTLP/HTTP
(protobuf) with the ``post`` that it was given, which is the gate's own egress. A full queue drops what comes.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal, TypeVar

from opentelemetry import context as contexts
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, SpanLimits, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.sampling import ParentBased, TraceIdRatioBased
from opentelemetry.trace import (
    Link,
    Span,
    SpanKind,
    Status,
    StatusCode,
    get_current_span,
    set_span_in_context,
)
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from broker.errors import BrokerError
from broker.telemetry.scrub import scrubbed

T = TypeVar("T")
Value = str | int | float | bool
Post = Callable[[bytes], Awaitable[int]]
"""Sends one OTLP body and returns the collector's status."""
Count = Callable[[str, int], None]
"""``sent`` or ``dropped``, and how many."""
Inbound = Literal["ignore", "link", "parent"]
BATCH = 256
_KINDS = {"internal": SpanKind.INTERNAL, "server": SpanKind.SERVER, "client": SpanKind.CLIENT}
_MARK = TraceContextTextMapPropagator()
_HTTP_OK = 200


@dataclass(frozen=True, slots=True)
class TraceBounds:
    """``ratio`` of all traces is kept, whatever a caller's own mark says of sampling; so many spans wait at most."""

    ratio: float = 1.0
    waiting_max: int = 4096
    inbound: Inbound = "ignore"
    """What a caller's ``traceparent`` is: nothing, a link, or the parent; a link holds the ids that the caller wrote."""


class Tracing:
    """Makes spans and sends them."""

    def __init__(self, bounds: TraceBounds, *, now_ns: Callable[[], int], version: str, count: Count) -> None:
        """``now_ns`` is the wall clock; ``count`` is told what became of spans."""
        own = TraceIdRatioBased(bounds.ratio)
        self._now_ns = now_ns
        self._inbound = bounds.inbound
        self._count = count
        self._waiting = _Waiting(bounds.waiting_max, count)
        provider = TracerProvider(
            sampler=ParentBased(own, remote_parent_sampled=own, remote_parent_not_sampled=own),
            resource=Resource({"service.name": "wicketgate", "service.version": version}),
            shutdown_on_exit=False,
            span_limits=SpanLimits(max_attributes=32, max_events=0, max_links=1),
        )
        provider.add_span_processor(self._waiting)
        self._tracer = provider.get_tracer("wicketgate", version)

    @contextmanager
    def span(
        self, name: str, kind: str = "internal", attributes: Mapping[str, Value] | None = None, caller: str = ""
    ) -> Iterator["Mark"]:
        """A span around what happens inside; ``caller`` is the ``traceparent`` that came from outside."""
        mark = self.begin(name, kind, attributes, caller)
        token = contexts.attach(set_span_in_context(mark.span))
        try:
            yield mark
        except BaseException as error:
            mark.failed(error)
            raise
        finally:
            contexts.detach(token)
            mark.end()

    def begin(
        self, name: str, kind: str = "internal", attributes: Mapping[str, Value] | None = None, caller: str = ""
    ) -> "Mark":
        """A span that its caller ends."""
        parent, links = None, None
        if caller and self._inbound != "ignore":
            outside = _MARK.extract({"traceparent": caller}, contexts.Context())
            told = get_current_span(outside).get_span_context()
            if told.is_valid and self._inbound == "parent":
                parent = outside
            elif told.is_valid:
                links = [Link(told)]
        made = self._tracer.start_span(
            name, parent, _KINDS[kind], links=links, start_time=self._now_ns(), record_exception=False
        )
        mark = Mark(made, self._now_ns)
        mark.set(attributes or {})
        return mark

    async def around(self, name: str, work: Awaitable[T]) -> T:
        """``work`` inside a span of its own."""
        with self.span(name):
            return await work

    @staticmethod
    def trace_id() -> str:
        """Of what is under way here; empty where nothing is."""
        told = get_current_span().get_span_context()
        return f"{told.trace_id:032x}" if told.is_valid else ""

    @staticmethod
    def traceparent() -> str:
        """The mark to hand on (W3C Trace Context); empty where nothing is under way."""
        carrier: dict[str, str] = {}
        _MARK.inject(carrier)
        return carrier.get("traceparent", "")

    @property
    def waiting(self) -> int:
        """How many spans wait to be sent."""
        return len(self._waiting)

    async def send_for_ever(self, post: Post, pause_seconds: float) -> None:
        """Send what waits, a batch at a time, until cancelled; what a collector does not take is dropped and counted."""
        while True:
            await asyncio.sleep(pause_seconds)
            await self.flush(post)

    async def flush(self, post: Post) -> None:
        """Send what waits now."""
        while batch := self._waiting.take():
            body = await asyncio.to_thread(_encoded, batch)
            try:
                status = await post(body)
            except BrokerError:
                status = 0
            self._count("sent" if status == _HTTP_OK else "dropped", len(batch))
            if status != _HTTP_OK:
                return  # the rest waits, in its bound, for a collector that is back


class Mark:
    """One span under way."""

    def __init__(self, span: Span, now_ns: Callable[[], int]) -> None:
        self.span = span
        self._now_ns = now_ns

    def set(self, attributes: Mapping[str, Value]) -> None:
        """Say more; each value only as ``scrub`` lets it pass."""
        if self.span.is_recording():
            self.span.set_attributes({name: scrubbed(name, value) for name, value in attributes.items()})

    def failed(self, error: BaseException) -> None:
        """By its code or its class; never by its text."""
        code = error.error_code if isinstance(error, BrokerError) else type(error).__name__
        self.fault(code)

    def fault(self, code: str) -> None:
        """It went wrong."""
        self.set({"error.type": code})
        self.span.set_status(Status(StatusCode.ERROR))

    def end(self) -> None:
        """It is over; again does nothing."""
        if self.span.is_recording():
            self.span.end(self._now_ns())


class _Waiting(SpanProcessor):
    """Spans that have ended, at most so many."""

    def __init__(self, most: int, count: Count) -> None:
        self._most = most
        self._count = count
        self._ended: deque[ReadableSpan] = deque()

    def on_end(self, span: ReadableSpan) -> None:
        """Keep it, or count it as dropped."""
        if span.context is None or not span.context.trace_flags.sampled:
            return
        if len(self._ended) >= self._most:
            self._count("dropped", 1)
        else:
            self._ended.append(span)

    def take(self) -> list[ReadableSpan]:
        """The oldest, at most a batch."""
        return [self._ended.popleft() for _ in range(min(BATCH, len(self._ended)))]

    def __len__(self) -> int:
        """How many wait."""
        return len(self._ended)


def _encoded(spans: Sequence[ReadableSpan]) -> bytes:
    """An OTLP ``ExportTraceServiceRequest``."""
    body: bytes = encode_spans(spans).SerializeToString()
    return body
