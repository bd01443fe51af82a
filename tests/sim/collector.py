"""An OTLP/HTTP receiver: takes what a gate exports, as the protobuf that a collector would read."""

import asyncio
from dataclasses import dataclass, field
from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from tests.sim.upstream import Seen, UpstreamSim, whole

PATH = "/v1/traces"


@dataclass
class Collector(UpstreamSim):
    """Spans as they came, oldest first; ``status`` is what it answers."""

    answer: Any = None
    spans: list[Span] = field(default_factory=list)
    status: int = 200
    bodies: list[bytes] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.answer = self._take

    @property
    def toml(self) -> str:
        """The gate's table that sends here, all the time."""
        return f'[telemetry]\ntraces_url = "{self.url}{PATH}"\nallow_networks = ["127.0.0.1/32"]\nsend_seconds = 0.05\n'

    async def _take(self, seen: Seen, writer: asyncio.StreamWriter) -> None:
        assert (seen.method, seen.target, seen.headers["content-type"]) == ("POST", PATH, "application/x-protobuf")
        if self.status == 200:
            self.bodies.append(seen.body)
            read = ExportTraceServiceRequest.FromString(seen.body)
            self.spans += [span for one in read.resource_spans for scope in one.scope_spans for span in scope.spans]
        writer.write(whole(self.status, b"", kind="application/x-protobuf"))

    def named(self, name: str) -> list[Span]:
        """Spans called ``name``."""
        return [span for span in self.spans if span.name == name]


def attributes(span: Span) -> dict[str, Any]:
    """The attributes of a span, by name."""
    return {one.key: getattr(one.value, str(one.value.WhichOneof("value"))) for one in span.attributes}
