"""Telemetry: a structured logger and metrics for operators. Evidence lives in the audit log, never here.

Nothing of a request's content, of a credential or of a person's name is ever an argument here: events carry codes,
counts, ids and durations. Errors are named by their class and stable code; their texts are not written, because a
library's text may quote its input.
"""

import sys
import traceback
from pathlib import Path

import structlog
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)


class Telemetry:
    """One per process; passed to whoever reports something."""

    def __init__(self) -> None:
        """Write JSON lines to stderr."""
        self.registry = CollectorRegistry()
        self._logger = structlog.wrap_logger(
            structlog.WriteLoggerFactory(sys.stderr)(),
            processors=[
                structlog.processors.add_log_level,
                structlog.processors.TimeStamper(fmt="iso", utc=True),
                structlog.processors.JSONRenderer(),
            ],
        )
        self._requests = Counter(
            "wicketgate_requests_total", "HTTP answers by route and status", ["route", "status"], registry=self.registry
        )
        self._seconds = Histogram(
            "wicketgate_request_seconds",
            "Seconds from request to answer",
            ["route"],
            buckets=BUCKETS,
            registry=self.registry,
        )
        self._refusals = Counter("wicketgate_refusals_total", "Refusals by code", ["code"], registry=self.registry)
        self._crashes = Counter(
            "wicketgate_crashes_total", "Unexpected failures by place", ["place"], registry=self.registry
        )
        self._attempts = Counter(
            "wicketgate_attempts_refused_total", "Requests over the rate of one party", registry=self.registry
        )
        self._gauges: dict[str, Gauge] = {}
        self._answers: dict[tuple[str, int], tuple[Counter, Histogram]] = {}
        """Counters by route and status: finding them by label costs more than counting."""

    def event(self, name: str, **fields: str | int | float | bool) -> None:
        """One line for the operator; ``name`` is ``<object>.<past participle>``."""
        self._logger.info(name, **fields)

    def warning(self, name: str, **fields: str | int | float | bool) -> None:
        """As ``event``, for what somebody should look at."""
        self._logger.warning(name, **fields)

    def answered(self, route: str, status: int, seconds: float) -> None:
        """Count one HTTP answer."""
        counters = self._answers.get((route, status))
        if counters is None:
            counters = self._requests.labels(route, str(status)), self._seconds.labels(route)
            self._answers[route, status] = counters
        counters[0].inc()
        counters[1].observe(seconds)

    def refused(self, code: str) -> None:
        """Count one refusal by its stable code."""
        self._refusals.labels(code).inc()

    def attempt_refused(self) -> None:
        """Count one request of a party that asks too often; most of these are not on record one by one."""
        self._attempts.inc()

    def crash(self, place: str, error: BaseException, reference: str = "") -> None:
        """Report an unexpected failure by class and place in our code, without its text; ``reference`` was told the caller."""
        self._crashes.labels(place).inc()
        frames = [
            f"{'/'.join(Path(frame.filename).parts[-2:])}:{frame.lineno}"
            for frame in traceback.extract_tb(error.__traceback__)[-4:]
        ]
        told = {"reference": reference} if reference else {}
        at = " < ".join(reversed(frames))
        self._logger.error("gate.crashed", place=place, error=type(error).__name__, at=at, **told)

    def gauge(self, name: str, text: str, value: float) -> None:
        """Set a gauge, making it at first use."""
        if name not in self._gauges:
            self._gauges[name] = Gauge(f"wicketgate_{name}", text, registry=self.registry)
        self._gauges[name].set(value)

    def exposition(self) -> bytes:
        """All metrics in Prometheus' text format."""
        return generate_latest(self.registry)
