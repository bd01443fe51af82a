"""A service's log file, JSON or logfmt, and its metrics in Prometheus' text format."""

import json
import threading
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from itertools import product
from pathlib import Path

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector

BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)


RESULTS = ("ok", "error", "refused", "timeout")
"""How a call to another service can end."""


class LogFile:
    """Appends one line an event, flushed at once."""

    def __init__(self, path: Path, service: str, form: str) -> None:
        """``form`` is ``json`` or ``logfmt``."""
        self.path = path
        self._file = path.open("a", encoding="utf-8", buffering=1)
        self._service = service
        self._form = form
        self._turn = threading.Lock()

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def write(self, level: str, text: str, **fields: str | int) -> None:
        """Write one event."""
        now = datetime.now(tz=UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        event = {"ts": now, "level": level, "service": self._service, "msg": text, **fields}
        line = json.dumps(event) if self._form == "json" else _logfmt(event)
        with self._turn:
            self._file.write(line + "\n")


def _logfmt(event: Mapping[str, str | int]) -> str:
    """A line that begins with its time; the rest is key=value."""
    return " ".join([str(event["ts"]), *(f"{key}={_quoted(value)}" for key, value in event.items() if key != "ts")])


def _quoted(value: str | int) -> str:
    """A logfmt value."""
    text = str(value)
    return json.dumps(text) if " " in text or "=" in text or '"' in text or not text else text


class Metrics:
    """The service's own registry."""

    def __init__(self, service: str, version: str, config: str, needs: Sequence[str] = ()) -> None:
        """``config`` is the commit of the configuration that the process was started with; ``needs`` is what it calls."""
        self.registry = own = CollectorRegistry()
        self.requests = Counter("shop_requests", "Requests answered", ["service", "route", "code"], registry=own)
        self.errors = Counter("shop_errors", "Requests failed, by whose fault", ["service", "origin"], registry=own)
        self.calls = Counter(
            "shop_calls", "Calls to what this one needs, by result", ["service", "to", "result"], registry=own
        )
        self.seconds = Histogram("shop_request_seconds", "Time to answer", ["service"], buckets=BUCKETS, registry=own)
        self.query_seconds = Histogram(
            "shop_query_seconds", "Time of the database's query", ["service"], buckets=BUCKETS, registry=own
        )
        self.queue = Gauge("shop_queue_depth", "Jobs of the housekeeping that wait", ["service"], registry=own)
        Gauge("shop_build_info", "Version and configuration", ["service", "version", "config"], registry=own).labels(
            service, version, config
        ).set(1)
        ProcessCollector(registry=own)
        self.queue.labels(service).set(0)
        # A series that begins at nought shows when it began to count; one that begins with the first failure does not.
        for origin in ("self", "upstream"):
            self.errors.labels(service, origin)
        for to, result in product(needs, RESULTS):
            self.calls.labels(service, to, result)
