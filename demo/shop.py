"""One service of the shop: ``python -m demo.shop NAME --config FILE --logs DIR``.

storefront -> checkout -> inventory and payments, over real HTTP. Each service reads its configuration (TOML) once at
start, exposes ``/metrics`` in Prometheus' text format and ``/healthz``, and writes one log file, JSON or logfmt, as
careless as real ones: with the customers' data in it. An error of its own is answered 500, 503 or 504; one of a service
behind it is passed on as 502, and the metric ``shop_errors_total`` tells the two apart by ``origin``.
"""

import argparse
import json
import threading
import time
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, generate_latest

from demo.faults import OwnError, State
from demo.wire import Answer, Asked, Json, LoopbackServer, call

SERVICES = ("storefront", "checkout", "payments", "inventory")
BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)


@dataclass(frozen=True, slots=True)
class Config:
    """What a service reads at start: port, version, log format, and the addresses of the services behind it."""

    port: int
    version: str
    log_format: str
    pool_size: int
    database_url: str
    behind: Mapping[str, str]
    credentials: Mapping[str, str]

    @classmethod
    def read(cls, path: Path) -> "Config":
        """Parse the service's TOML file."""
        table = tomllib.loads(path.read_text(encoding="utf-8"))
        return cls(
            port=table["listen"]["port"],
            version=table["version"],
            log_format=table["log_format"],
            pool_size=table["database"]["pool_size"],
            database_url=table["database"]["url"],
            behind=table.get("behind", {}),
            credentials=table.get("credentials", {}),
        )


class LogFile:
    """Appends one line an event, JSON or logfmt, flushed at once."""

    def __init__(self, path: Path, service: str, form: str) -> None:
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

    def __init__(self, service: str, version: str) -> None:
        self.registry = CollectorRegistry()
        own = self.registry
        self.requests = Counter("shop_requests", "Requests answered", ["service", "route", "code"], registry=own)
        self.errors = Counter("shop_errors", "Requests failed, by whose fault", ["service", "origin"], registry=own)
        self.seconds = Histogram("shop_request_seconds", "Time to answer", ["service"], buckets=BUCKETS, registry=own)
        Gauge("shop_build_info", "The running version", ["service", "version"], registry=own).labels(
            service, version
        ).set(1)
        ProcessCollector(registry=self.registry)
        for origin in ("self", "upstream"):
            self.errors.labels(service, origin)


class BehindError(Exception):
    """A service behind this one failed; the answer is 502."""


class Service:
    """One running service."""

    def __init__(self, name: str, config: Config, log: LogFile, control: str) -> None:
        self.name = name
        self.config = config
        self.log = log
        self.control = control
        self.state = State(config.pool_size)
        self.metrics = Metrics(name, config.version)
        work: Mapping[str, Callable[[dict[str, Json]], dict[str, Json]]] = {
            "storefront": self._buy,
            "checkout": self._order,
            "payments": self._charge,
            "inventory": self._reserve,
        }
        self._work = work[name]

    def greet(self) -> None:
        """Log the start, as careless code does: with everything that it was configured with."""
        self.log.write("info", f"{self.name} {self.config.version} starting", pool_size=self.config.pool_size)
        self.log.write("debug", f"connecting to {self.config.database_url}")
        for key, value in self.config.credentials.items():
            self.log.write("debug", f"environment: {key}={value}")

    def route(self, asked: Asked) -> Answer:
        """Answer one request."""
        if asked.path == "/metrics":
            return Answer(200, generate_latest(self.metrics.registry), "text/plain; version=0.0.4; charset=utf-8")
        if asked.path == "/healthz":
            return Answer(200, {"service": self.name, "version": self.config.version})
        if (asked.method, asked.path) == ("POST", "/fault"):
            return self._fault(asked)
        if (asked.method, asked.path) == ("POST", "/work"):
            return self._measured(asked.json())
        return Answer(404, {"error": "no such route"})

    def _fault(self, asked: Asked) -> Answer:
        """Switch a fault on; only for who started the shop."""
        if asked.headers.get("authorization") != f"Bearer {self.control}":
            return Answer(401, {"error": "the control token is required"})
        self.state.strike(str(asked.json().get("name")))
        return Answer(200, {"service": self.name})

    def _measured(self, order: dict[str, Json]) -> Answer:
        """Do the work, count it, time it, and log it."""
        begun = time.perf_counter()
        who = {key: order[key] for key in ("order", "email") if key in order}
        try:
            with self.state.connection():
                answer = Answer(200, self._work(order))
        except OwnError as error:
            self.metrics.errors.labels(self.name, "self").inc()
            self.log.write("error", error.text, code=error.status, **who)
            answer = Answer(error.status, {"error": error.text})
        except BehindError as error:
            self.metrics.errors.labels(self.name, "upstream").inc()
            self.log.write("warning", str(error), code=502, **who)
            answer = Answer(502, {"error": str(error)})
        self.metrics.requests.labels(self.name, "/work", str(answer.status)).inc()
        self.metrics.seconds.labels(self.name).observe(time.perf_counter() - begun)
        return answer

    def _buy(self, order: dict[str, Json]) -> dict[str, Json]:
        self.log.write("info", "order received", order=order["order"], email=order["email"], phone=order["phone"])
        return self._ask("checkout", order)

    def _order(self, order: dict[str, Json]) -> dict[str, Json]:
        self.log.write("info", f"checking out for {order['email']}", order=order["order"], amount=order["amount"])
        self._ask("inventory", order)
        return self._ask("payments", order)

    def _charge(self, order: dict[str, Json]) -> dict[str, Json]:
        cents = order["amount"] * self.state.rate(order["currency"]) // 1_000_000
        self.log.write("info", f"charged {order['card']}", order=order["order"], cents=cents, refund_to=order["iban"])
        return {"order": order["order"], "cents": cents}

    def _reserve(self, order: dict[str, Json]) -> dict[str, Json]:
        with self.state.stock():
            self.log.write("info", "reserved", order=order["order"], sku=order["sku"], contact=order["phone"])
        return {"order": order["order"]}

    def _ask(self, service: str, order: dict[str, Json]) -> dict[str, Json]:
        """Call a service behind this one; raises ``BehindError``."""
        try:
            status, body = call("POST", self.config.behind[service] + "/work", order, seconds=1.0)
        except OSError:
            raise BehindError(f"{service} does not answer") from None
        if status != 200:
            raise BehindError(f"{service} answered {status}")
        return dict(json.loads(body))


def main() -> None:
    """Run one service until it is ended; the control token comes on standard input."""
    options = argparse.ArgumentParser(prog="demo.shop")
    options.add_argument("name", choices=SERVICES)
    options.add_argument("--config", type=Path, required=True)
    options.add_argument("--logs", type=Path, required=True)
    given = options.parse_args()
    config = Config.read(given.config)
    log = LogFile(given.logs / f"{given.name}.log", given.name, config.log_format)
    service = Service(given.name, config, log, input())
    service.greet()
    LoopbackServer(config.port, service.route).serve_forever()


if __name__ == "__main__":
    main()
