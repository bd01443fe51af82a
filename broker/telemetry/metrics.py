"""The metrics: one table of what there is, and a registry that holds it to its bounds.

Names follow Prometheus' conventions (https://prometheus.io/docs/practices/naming/): base units, ``_total`` on counters,
``_timestamp_seconds`` for moments. Every label takes a bounded set of values: what comes after ``VALUES_MAX`` different
ones is counted as ``other``, so that nobody outside can make the gate's memory grow. No label holds what a caller wrote.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    disable_created_metrics,
    generate_latest,
)
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector

VALUES_MAX = 200
OTHER = "other"
FAST = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)
SLOW = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
COUNTS = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0)
Counted = TypeVar("Counted", Counter, Histogram)
Sample = tuple[tuple[str, ...], float]
"""Label values in the table's order, and what they count."""


@dataclass(frozen=True, slots=True)
class Metric:
    """One row of the table. ``pulled`` ones are asked when somebody looks."""

    name: str
    kind: Literal["counter", "gauge", "histogram"]
    text: str
    labels: tuple[str, ...] = ()
    buckets: tuple[float, ...] = ()
    pulled: bool = False


METRICS: tuple[Metric, ...] = (
    # what comes in
    Metric("requests_total", "counter", "HTTP answers by route and status", ("route", "status")),
    Metric("request_seconds", "histogram", "Seconds from request to answer", ("route",), SLOW),
    Metric("refusals_total", "counter", "Refusals by code", ("code",)),
    Metric("attempts_refused_total", "counter", "Requests over the rate of one party"),
    Metric("crashes_total", "counter", "Unexpected failures by place", ("place",)),
    Metric("connections_refused_total", "counter", "Connections that were closed, by reason", ("reason",)),
    # what is decided and done
    Metric("decisions_total", "counter", "Policy's answers; code is the first reason's", ("effect", "tier", "code")),
    Metric("policy_seconds", "histogram", "Seconds of one decision, facts included", (), FAST),
    Metric("policy_workers_lost_total", "counter", "Policy workers that died or were ended", (), (), pulled=True),
    Metric("actions_total", "counter", "Outcomes by connector, effect and status", ("connector", "effect", "status")),
    Metric("upstream_seconds", "histogram", "Seconds of one execution at a connector", ("connector",), SLOW),
    Metric("upstream_errors_total", "counter", "Executions that failed, by code", ("connector", "code")),
    Metric("model_tokens_total", "counter", "Tokens of model calls", ("model", "direction")),
    Metric("redaction_findings_total", "counter", "What redaction found, by kind", ("kind",)),
    # what waits
    Metric(
        "queue_depth", "gauge", "What waits or is under way in a queue of this process", ("queue",), (), pulled=True
    ),
    Metric("queue_limit", "gauge", "How much the queue takes", ("queue",), (), pulled=True),
    Metric("queue_refusals_total", "counter", "What a full or slow queue turned away", ("queue",), (), pulled=True),
    Metric("tools_quarantined", "gauge", "Pinned tools that are not what was pinned", ("connector",), (), pulled=True),
    Metric("event_streams", "gauge", "Streams of events that are open"),
    Metric(
        "approvals",
        "gauge",
        "Requests by state: waiting for people, approved and not begun; `unrecorded`: answers that the log lacks",
        ("state",),
    ),
    Metric("approvals_oldest_timestamp_seconds", "gauge", "Since when the oldest waits; 0 for none", ("state",)),
    Metric("incidents", "gauge", "Incidents that are not over, by state", ("state",)),
    Metric("work", "gauge", "Steps by state: due, held, set aside after too many tries", ("state",)),
    Metric("kill_switches", "gauge", "Switches that are pulled, by scope", ("scope",)),
    # the log
    Metric("log_commit_seconds", "histogram", "Seconds of one commit of the audit log", (), FAST),
    Metric("log_batch_records", "histogram", "Records of one commit", (), COUNTS),
    Metric("log_size", "gauge", "Records of all logs"),
    Metric("log_index_lag", "gauge", "Records that the index of the log lacked"),
    Metric("log_halted", "gauge", "1 when the log takes nothing until a person has looked", (), (), pulled=True),
    Metric("checkpoint_timestamp_seconds", "gauge", "When this replica last published signed checkpoints"),
    # the gate itself
    Metric("tasks", "gauge", "Tasks of the event loop", (), (), pulled=True),
    Metric("ready", "gauge", "1 where a part that readiness needs is there", ("part",)),
    Metric("build_info", "gauge", "Always 1", ("version", "python")),
    Metric("policy_info", "gauge", "1 for the active revision and engine", ("revision", "engine")),
    Metric("spans_total", "counter", "Spans by what became of them: sent, dropped", ("end",)),
)


class Metrics:
    """The table, filled. Whoever counts may be on any thread."""

    def __init__(self) -> None:
        """Make every metric, so that each is there before it first counts."""
        # A series more for each counter, of no use here.
        disable_created_metrics()  # type: ignore[no-untyped-call]
        self.registry = CollectorRegistry()
        self._counters: dict[str, Counter] = {}
        self._gauges: dict[str, Gauge] = {}
        self._histograms: dict[str, Histogram] = {}
        self._known: dict[tuple[str, tuple[str, ...]], Any] = {}
        """Series of counters and histograms, which never go, by the labels that were asked for."""
        self._values: dict[tuple[str, int], set[str]] = {}
        self._pulls: dict[str, list[Callable[[], Iterable[Sample]]]] = {}
        for one in METRICS:
            self._make(one)
        self.registry.register(_Pulled(self._pulls))
        ProcessCollector(registry=self.registry)

    def inc(self, name: str, *labels: str, by: float = 1) -> None:
        """Count."""
        self._series(self._counters[name], name, labels).inc(by)

    def observe(self, name: str, value: float, *labels: str) -> None:
        """One value of a distribution."""
        self._series(self._histograms[name], name, labels).observe(value)

    def set(self, name: str, value: float, *labels: str) -> None:
        """How it is now."""
        gauge = self._gauges[name]
        (gauge.labels(*self._bounded(name, labels)) if labels else gauge).set(value)

    def only(self, name: str, values: Mapping[tuple[str, ...], float]) -> None:
        """How it is now, for all values of the labels: what is not named any more goes."""
        self._gauges[name].clear()
        for labels, value in values.items():
            self.set(name, value, *labels)

    def pull(self, name: str, ask: Callable[[], Iterable[Sample]]) -> None:
        """Ask for the samples of a pulled metric whenever somebody looks."""
        self._pulls[name].append(ask)

    def exposition(self) -> bytes:
        """All of it in Prometheus' text format."""
        return generate_latest(self.registry)

    def _make(self, one: Metric) -> None:
        name = f"wicketgate_{one.name}"
        if one.pulled:
            self._pulls[one.name] = []
        elif one.kind == "counter":
            self._counters[one.name] = Counter(name, one.text, one.labels, registry=self.registry)
        elif one.kind == "gauge":
            self._gauges[one.name] = Gauge(name, one.text, one.labels, registry=self.registry)
        else:
            buckets = one.buckets
            self._histograms[one.name] = Histogram(name, one.text, one.labels, buckets=buckets, registry=self.registry)

    def _series(self, metric: Counted, name: str, labels: tuple[str, ...]) -> Counted:
        """The series of ``metric`` with ``labels``; looking it up in the library costs more than counting."""
        if not labels:
            return metric
        found: Counted | None = self._known.get((name, labels))
        if found is None:
            found = metric.labels(*self._bounded(name, labels))
            if len(self._known) < VALUES_MAX * len(METRICS):
                self._known[name, labels] = found
        return found

    def _bounded(self, name: str, labels: tuple[str, ...]) -> tuple[str, ...]:
        """``labels``, each one of at most ``VALUES_MAX`` values of its own."""
        kept = []
        for position, value in enumerate(labels):
            values = self._values.setdefault((name, position), set())
            if value in values or len(values) < VALUES_MAX:
                values.add(value)
                kept.append(value)
            else:
                kept.append(OTHER)
        return tuple(kept)


class _Pulled(Collector):
    """Asks the parts of the gate when somebody looks; samples of the same labels are added up."""

    def __init__(self, pulls: Mapping[str, list[Callable[[], Iterable[Sample]]]]) -> None:
        self._pulls = pulls

    def collect(self) -> Iterator[CounterMetricFamily | GaugeMetricFamily]:
        for one in METRICS:
            if not one.pulled:
                continue
            family = CounterMetricFamily if one.kind == "counter" else GaugeMetricFamily
            made = family(f"wicketgate_{one.name}", one.text, labels=one.labels)
            sums: dict[tuple[str, ...], float] = {}
            for ask in self._pulls[one.name]:
                for labels, value in ask():
                    sums[labels] = sums.get(labels, 0) + value
            for labels, value in sums.items():
                made.add_metric(labels, value)
            yield made

    def describe(self) -> list[CounterMetricFamily | GaugeMetricFamily]:
        """Nothing is asked before somebody looks."""
        return []
