"""One service of the shop: ``python -m demo.shop NAME --folder DIR``; the control token on standard input.

storefront -> checkout -> inventory and payments -> the card network outside, over real HTTP. Each service reads its
configuration (TOML, as deployed) and its cache once at start, exposes ``/metrics`` in Prometheus' text format and
``/healthz``, and writes one log file, JSON or logfmt, as careless as real ones: with the customers' data in it. An error
of its own is answered 500, 503 or 504; one of what it needs is passed on as 502, and the metric ``shop_errors_total``
tells the two apart by ``origin``.

Exit code 3: its cache on disk is corrupt.
"""

import argparse
import json
import sqlite3
import sys
import threading
import time
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from prometheus_client import generate_latest

from demo import stock, warm
from demo.housekeeping import Housekeeping
from demo.servicelog import LogFile, Metrics
from demo.state import RATES, OwnError, State
from demo.wire import Answer, Asked, Json, LoopbackServer, call

SERVICES = ("storefront", "checkout", "payments", "inventory")
CARD_NETWORK = "cardnet"
NEEDS: Mapping[str, tuple[str, ...]] = {
    "storefront": ("checkout",),
    "checkout": ("inventory", "payments"),
    "payments": (CARD_NETWORK,),
}
CALL_SECONDS = {CARD_NETWORK: 1.5}
CALL_SECONDS_OTHERWISE = 15.0
SLOW_QUERY_STEPS = 1_000_000
"""Work of the database, as it counts itself: thirty times what the look-up takes, and a twentieth of a scan."""
CORRUPT_EXIT = 3


@dataclass(frozen=True, slots=True)
class Config:
    """What a service reads at start; ``commit`` is the configuration's own."""

    version: str
    log_format: str
    pool_size: int
    database_url: str
    order_cents_max: int
    currencies: tuple[str, ...]
    stock_table: str
    credentials: Mapping[str, str]
    commit: str

    @classmethod
    def read(cls, folder: Path, name: str) -> "Config":
        """Parse the service's deployed TOML file."""
        table = tomllib.loads((folder / f"{name}.toml").read_text(encoding="utf-8"))
        commit = folder / "COMMIT"
        return cls(
            version=table["version"],
            log_format=table["log_format"],
            pool_size=table["database"]["pool_size"],
            database_url=table["database"]["url"],
            order_cents_max=table.get("orders", {}).get("cents_max", 0),
            currencies=tuple(table.get("charging", {}).get("currencies", ())),
            stock_table=table.get("stock", {}).get("table", stock.TABLE),
            credentials=table.get("credentials", {}),
            commit=commit.read_text(encoding="ascii").strip()[:12] if commit.exists() else "",
        )


class BehindError(Exception):
    """Something that this service needs failed; the answer is 502."""


class Service:
    """One running service."""

    def __init__(self, name: str, folder: Path, config: Config, log: LogFile, control: str) -> None:
        self.name = name
        self.config = config
        self.log = log
        self.control = control
        self.metrics = Metrics(name, config.version, config.commit, NEEDS.get(name, ()))
        self.housekeeping = Housekeeping(self.metrics.queue.labels(name), log)
        self._addresses: Mapping[str, str] = json.loads((folder / "addresses.json").read_text(encoding="utf-8"))
        self._database = folder / "data" / stock.FILE
        self._schema = 0
        self._mute = False
        entries, self._fresh_cache = warm.load(folder / "cache" / name, RATES)
        self.state = State(config.pool_size, entries)
        work: Mapping[str, Callable[[dict[str, Json]], dict[str, Json]]] = {
            "storefront": self._buy,
            "checkout": self._order,
            "payments": self._charge,
            "inventory": self._reserve,
        }
        self._work = work[name]

    @property
    def port(self) -> int:
        """Where it listens, by the registry of addresses."""
        return int(self._addresses[self.name].rpartition(":")[2])

    def greet(self) -> None:
        """Log the start, as careless code does: with everything that it was configured with."""
        of_config: dict[str, str | int] = {"config": self.config.commit, "pool_size": self.config.pool_size}
        self.log.write("info", f"{self.name} {self.config.version} starting", **of_config)
        if self._fresh_cache:
            self.log.write("info", "cache built anew")
        self.log.write("debug", f"connecting to {self.config.database_url}")
        for key, value in self.config.credentials.items():
            self.log.write("debug", f"environment: {key}={value}")

    def route(self, asked: Asked) -> Answer:
        """Answer one request."""
        if asked.path == "/metrics":
            if self._mute:
                return Answer(503, {"error": "the exporter does not answer"})
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
        wish = asked.json()
        match wish.get("name"):
            case "noisy-alert":
                self.housekeeping.flood(int(wish["jobs"]), int(wish["times"]))
            case "healthy":
                self._mute = True
            case name:
                self.state.strike(str(name))
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
        if order["amount"] > self.config.order_cents_max:
            raise OwnError(500, f"order over the configured limit of {self.config.order_cents_max} cents")
        self._ask("inventory", order)
        return self._ask("payments", order)

    def _charge(self, order: dict[str, Json]) -> dict[str, Json]:
        if order["currency"] not in self.config.currencies:
            raise OwnError(500, f"currency {order['currency']} is not enabled in the configuration")
        cents = order["amount"] * self.state.rate(order["currency"]) // 1_000_000
        self.log.write("info", f"charging {order['card']}", order=order["order"], cents=cents, refund_to=order["iban"])
        self._ask(CARD_NETWORK, {"card": order["card"], "cents": cents})
        return {"order": order["order"], "cents": cents}

    def _reserve(self, order: dict[str, Json]) -> dict[str, Json]:
        self._query(order["sku"])
        with self.state.stock():
            self.log.write("info", "reserved", order=order["order"], sku=order["sku"], contact=order["phone"])
        return {"order": order["order"]}

    def _query(self, sku: str) -> None:
        """Ask the database; a query that is much work is logged with the database's own plan."""
        begun = time.perf_counter()
        try:
            database = stock.Stock(self._database, self.config.stock_table)
            version = database.version()
            if version != self._schema:
                if self._schema:
                    self.log.write("info", f"schema of {stock.FILE} changed", version=version, before=self._schema)
                self._schema = version
            database.free(sku)
        except sqlite3.Error as error:
            raise OwnError(500, f"database error: {error}") from None
        taken = time.perf_counter() - begun
        self.metrics.query_seconds.labels(self.name).observe(taken)
        if database.steps > SLOW_QUERY_STEPS:
            told: dict[str, str | int] = {"steps": database.steps, "ms": round(taken * 1000), "sku": sku}
            self.log.write("warning", f"slow query: {database.plan(sku)}", **told)
        database.close()

    def _ask(self, to: str, order: dict[str, Json]) -> dict[str, Json]:
        """Call what this service needs; raises ``BehindError``."""
        path = "/authorise" if to == CARD_NETWORK else "/work"
        try:
            seconds = CALL_SECONDS.get(to, CALL_SECONDS_OTHERWISE)
            status, body = call("POST", self._addresses[to] + path, order, seconds=seconds)
        except OSError as error:
            result = "timeout" if isinstance(error, TimeoutError) else "refused"
            self.metrics.calls.labels(self.name, to, result).inc()
            raise BehindError(
                f"{to} does not answer: {'timeout' if result == 'timeout' else 'connection refused'}"
            ) from None
        self.metrics.calls.labels(self.name, to, "ok" if status == 200 else "error").inc()
        if status != 200:
            raise BehindError(f"{to} answered {status}")
        return dict(json.loads(body))


def main() -> int:
    """Run one service until it is ended; the control token comes on standard input."""
    options = argparse.ArgumentParser(prog="demo.shop")
    options.add_argument("name", choices=SERVICES)
    options.add_argument("--folder", type=Path, required=True)
    given = options.parse_args()
    config = Config.read(given.folder / "deployed", given.name)
    log = LogFile(given.folder / "logs" / f"{given.name}.log", given.name, config.log_format)
    try:
        service = Service(given.name, given.folder, config, log, input())
    except warm.Corrupt as error:
        log.write("error", f"cannot start: cache is corrupt: {error}", exit_code=CORRUPT_EXIT)
        return CORRUPT_EXIT
    service.greet()
    threading.Thread(target=service.housekeeping.run, daemon=True).start()
    LoopbackServer(service.port, service.route).serve_forever()
    return 0


if __name__ == "__main__":
    sys.exit(main())
