"""Service levels of the shop, sampled once a second from each ``/metrics`` into ``sli.jsonl``, and the samples kept.

One line a service and second: ``{"at": epoch seconds, "service", "requests", "errors", "p99_ms"}``, all of that second;
``p99_ms`` is the upper bound of the histogram bucket that holds the 99th percentile, 0 without requests. A service that
does not answer has no line.
"""

import json
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from prometheus_client.parser import text_string_to_metric_families

from demo.history import History, Series
from demo.wire import call

SCRAPE_SECONDS = 3.0


@dataclass(frozen=True, slots=True)
class Totals:
    """Counters since a service's start; ``buckets`` are cumulative counts by upper bound in seconds."""

    requests: float = 0
    errors: float = 0
    seconds: float = 0
    buckets: Mapping[float, float] = field(default_factory=dict)
    queue: float = 0

    @classmethod
    def of(cls, samples: Series) -> "Totals":
        """Sum up one scrape."""
        requests = errors = seconds = queue = 0.0
        buckets: dict[float, float] = {}
        for key, value in samples.items():
            labels = dict(key)
            match labels["__name__"]:
                case "shop_requests_total":
                    requests += value
                case "shop_errors_total":
                    errors += value
                case "shop_request_seconds_sum":
                    seconds += value
                case "shop_queue_depth":
                    queue = value
                case "shop_request_seconds_bucket":
                    buckets[float(labels["le"])] = value
                case _:
                    pass
        return cls(requests, errors, seconds, buckets, queue)

    def since(self, earlier: "Totals") -> "Totals":
        """The difference; a counter that went back was started anew, so it counts whole."""
        if self.requests < earlier.requests:
            return self
        buckets = {bound: count - earlier.buckets.get(bound, 0) for bound, count in self.buckets.items()}
        requests, errors = self.requests - earlier.requests, self.errors - earlier.errors
        return Totals(requests, errors, self.seconds - earlier.seconds, buckets, self.queue)

    @property
    def p99_ms(self) -> float:
        """Upper bound in milliseconds of the bucket that holds the 99th percentile; the last finite one at most."""
        finite = sorted(bound for bound in self.buckets if bound != float("inf"))
        wanted = 0.99 * self.buckets.get(float("inf"), 0)
        if not wanted:
            return 0.0
        return 1000 * next((bound for bound in finite if self.buckets[bound] >= wanted), finite[-1])


def scrape(address: str) -> Series | None:
    """One scrape of ``/metrics``; None where it does not answer with one."""
    try:
        status, body = call("GET", address + "/metrics", seconds=SCRAPE_SECONDS)
    except OSError:
        return None
    return parse(body.decode()) if status == 200 else None


def parse(exposition: str) -> Series:
    """Read Prometheus' text format."""
    return {
        tuple(sorted({**sample.labels, "__name__": sample.name}.items())): sample.value
        for family in text_string_to_metric_families(exposition)
        for sample in family.samples
        if not sample.name.endswith("_created")
    }


class Sampler:
    """Watches the services until it is stopped."""

    def __init__(self, addresses: Mapping[str, str], path: Path, history: History) -> None:
        """``addresses``: service -> base URL; lines are appended to ``path``, whole scrapes go to ``history``."""
        self._addresses = addresses
        self._path = path
        self._history = history
        self._last: dict[str, Totals] = {}
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def start(self) -> None:
        """Begin sampling."""
        self._thread.start()

    def stop(self) -> None:
        """End sampling; the file is complete then."""
        self._stop.set()
        self._thread.join()

    def sample(self) -> None:
        """Take one sample of each service that answers."""
        with self._path.open("a", encoding="utf-8") as out:
            for service, address in self._addresses.items():
                samples = scrape(address)
                if samples is None:
                    continue
                at = time.time()
                self._history.add(service, at, samples)
                totals = Totals.of(samples)
                new = totals.since(self._last.get(service, Totals()))
                self._last[service] = totals
                line = {
                    "service": service,
                    "requests": int(new.requests),
                    "errors": int(new.errors),
                    "p99_ms": new.p99_ms,
                }
                out.write(json.dumps({"at": round(at, 3), **line}) + "\n")

    def _watch(self) -> None:
        due = time.monotonic()
        while not self._stop.wait(max(0.0, due - time.monotonic())):
            self.sample()
            due = max(due + 1.0, time.monotonic())
