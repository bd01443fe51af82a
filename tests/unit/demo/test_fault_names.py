"""What the rules call each fault of the demo, from what the shop itself then logs, measures and commits.

The services run here over real loopback HTTP with real orders; only the time of what they say is the test's, a step a
sample. Nothing of the fault reaches the rules but the answers of the tools that they would be given.
"""

import asyncio
import json
import re
import threading
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping
from itertools import islice
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from agents.rules import Facts, Finding, investigate
from agents.rules.plan import ERROR_WORDS
from broker.connectors.log_lines import parsed_line
from broker.connectors.log_templates import Miner
from demo import repository, stock, warm
from demo.cardnet import Network
from demo.faults import IN_MEMORY, Strike, choose
from demo.gateconfig import REPOSITORY
from demo.outcome import EXPECTED
from demo.plant import plant
from demo.servicelog import LogFile
from demo.shop import CARD_NETWORK, NEEDS, SERVICES, Config, Service
from demo.sli import parse
from demo.supervised import NotUp, Supervised
from demo.traffic import orders
from demo.wire import Asked, LoopbackServer, free_port
from tests.unit.rules.views import BEGIN, STEP, MemoryView

Json = Any
CONTROL = "control"
WELL_STEPS, ILL_STEPS = 24, 10
STRUCK_AT = BEGIN + WELL_STEPS * STEP
STARTS = 3
QUICK = 20
"""How much faster the clock of the slow shop goes than ours: its queries are small, so that nobody waits for this."""
_ERROR_WORDS = re.compile(ERROR_WORDS)


class Shop:
    """The four services and the card network, and what could be read of them so far."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.at = folder, BEGIN
        for name in ("deployed", "data", "logs", "cache"):
            (folder / name).mkdir(parents=True)
        self.history = folder / "config.git"
        repository.make(self.history, plant(7))
        repository.deploy(self.history, repository.head(self.history), folder / "deployed")
        stock.create(folder / "data" / stock.FILE, 7)
        self.addresses = {name: f"http://127.0.0.1:{free_port()}" for name in (*SERVICES, CARD_NETWORK)}
        (folder / "addresses.json").write_text(json.dumps(self.addresses))
        self.servers: dict[str, LoopbackServer] = {}
        self.services: dict[str, Service] = {}
        self._logs: list[LogFile] = []
        self._serve(CARD_NETWORK, LoopbackServer(self._port(CARD_NETWORK), Network(CONTROL).route))
        for name in SERVICES:
            self.start(name)
        self._orders = orders(7)
        self._read = dict.fromkeys(SERVICES, 0)
        self.answers: dict[tuple[str, str, str], Json] = {
            ("local.process.status", name, ""): {
                "name": name,
                "pid": 4711,
                "state": "running",
                "restarts": 0,
                "exits": 0,
            }
            for name in SERVICES
        }
        self._points: dict[tuple[str, str], dict[Any, list[list[Any]]]] = defaultdict(lambda: defaultdict(list))
        self._lines: dict[str, list[Json]] = defaultdict(list)
        self._miners = {name: Miner() for name in SERVICES}

    def start(self, name: str) -> None:
        """A fresh process of the service, as far as it can tell; the old one's is gone."""
        log = LogFile(self.folder / "logs" / f"{name}.log", name, "logfmt")
        self._logs.append(log)
        service = Service(name, self.folder, Config.read(self.folder / "deployed", name), log, CONTROL)
        self.services[name] = service
        if name in self.servers:
            self.servers[name].route = service.route
        else:
            self._serve(name, LoopbackServer(service.port, service.route))

    def end(self, name: str) -> None:
        """Nobody listens there any more."""
        server = self.servers.pop(name)
        server.shutdown()
        server.server_close()
        self.services.pop(name, None)

    def close(self) -> None:
        for name in list(self.servers):
            self.end(name)
        for log in self._logs:
            log.close()

    def live(self, steps: int) -> None:
        """Customers buy, and somebody looks: an order and a sample a step."""
        for order in islice(self._orders, steps):
            self.services["storefront"].route(Asked("POST", "/work", {}, json.dumps(order).encode()))
            self._sample()
            self.at += STEP

    def tell(self, name: str, wish: Mapping[str, Json]) -> None:
        """Switch a fault on that the service, or the card network, is told of."""
        headers = {"authorization": f"Bearer {CONTROL}"}
        self.servers[name].route(Asked("POST", "/fault", headers, json.dumps(dict(wish)).encode()))

    def commit(self, strike: Strike) -> None:
        """Commit the bad change, deploy it, and start its service anew."""
        assert strike.change is not None
        made = repository.apply(self.history, strike.change)
        assert repository.deploy(self.history, made, self.folder / "deployed") == [strike.component]
        self.start(strike.component)
        change = {"commit": made, "at": self.at, "author": strike.change.author.name, "subject": strike.change.message}
        listed = {"commits": [{**change, "paths": [f"{strike.component}.toml"]}]}
        self.answers["git.history.list", REPOSITORY, ""] = listed

    def kill(self, strike: Strike) -> None:
        """Kill the service while it writes its cache; its supervisor, a real one, tries to start it again and again."""
        name = strike.component
        self.end(name)
        warm.damage(self.folder / "cache" / name, strike.values["share"])
        kept = Supervised(name, self.addresses[name], self.folder, CONTROL)
        for _ in range(STARTS):
            with pytest.raises(NotUp):
                kept.start()
        self.answers["local.process.status", name, ""] = kept.state()

    def found(self) -> Finding:
        """What the rules make of all that."""
        for (name, metric), series in self._points.items():
            rows = [{"labels": dict(labels), "points": points} for labels, points in series.items()]
            self.answers["local.metrics.range", name, metric] = {"metric": metric, "series": rows}
        for name, lines in self._lines.items():
            self.answers["local.logs.search", name, ""] = {"lines": lines, "matched": len(lines)}
        for name, miner in self._miners.items():
            rows = [
                {
                    "template": one.text,
                    "count": one.count,
                    "first_s": one.first_s,
                    "last_s": one.last_s,
                    "level": one.level,
                }
                for one in miner.templates
            ]
            self.answers["logs.templates.count", name, ""] = {"templates": rows}
        indexes = stock.compare(self.folder / "data" / stock.FILE)
        self.answers["local.schema.compare", "inventory", ""] = {"indexes": indexes}
        nodes = {**dict.fromkeys(SERVICES, "process"), CARD_NETWORK: "external", REPOSITORY: "repository"}
        edges = [(one, to) for one, needed in NEEDS.items() for to in needed]
        edges += [(name, REPOSITORY) for name in SERVICES]
        facts = Facts("inc_1", "CustomerErrorRateHigh", "storefront", "prod", BEGIN, self.at, nodes=nodes, edges=edges)
        return asyncio.run(investigate(MemoryView(facts, self.answers)))

    def _sample(self) -> None:
        for name, service in self.services.items():
            body = service.route(Asked("GET", "/metrics", {}, b"")).body
            values = parse(body.decode()) if isinstance(body, bytes) else {}
            for key, value in values.items():
                labels = dict(key)
                metric = labels.pop("__name__")
                self._points[name, metric][tuple(sorted(labels.items()))].append([self.at, f"{value:g}"])
        for name in SERVICES:
            text = (self.folder / "logs" / f"{name}.log").read_text()
            fresh, self._read[name] = text[self._read[name] :].splitlines(), len(text)
            said = [{"at": self.at, "file": f"{name}.log", "text": line} for line in fresh if _ERROR_WORDS.search(line)]
            self._lines[name] += said
            for line in filter(None, map(parsed_line, fresh)):
                self._miners[name].add(line.message, self.at, line.level)

    def _serve(self, name: str, server: LoopbackServer) -> None:
        self.servers[name] = server
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()

    def _port(self, name: str) -> int:
        return int(self.addresses[name].rpartition(":")[2])


@pytest.fixture
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Shop]:
    monkeypatch.setattr("demo.state.PATIENCE_SECONDS", 0.02)
    monkeypatch.setattr("demo.stock.RESERVATIONS", 8000)
    made = Shop(tmp_path / "shop")
    yield made
    made.close()


def struck(shop: Shop, strike: Strike) -> Finding:
    """The shop lives, is struck, and lives on."""
    shop.live(WELL_STEPS)
    match strike.fault:
        case "bad-config":
            shop.commit(strike)
        case "crash-loop":
            shop.kill(strike)
        case "slow-query":
            stock.drop_index(shop.folder / "data" / stock.FILE)
        case "dependency-down" if strike.values["manner"] == "refused":
            shop.end(CARD_NETWORK)
        case "dependency-down":
            shop.tell(CARD_NETWORK, {"name": strike.values["manner"]})
        case fault:
            shop.tell(strike.component, {"name": fault, **strike.values})
    # A pool that leaks is empty after twice its size; what else is wrong shows at once.
    shop.live(ILL_STEPS + (2 * shop.services["checkout"].config.pool_size if strike.fault == "pool-leak" else 0))
    return shop.found()


def changes() -> list[Strike]:
    """One strike for each kind of bad change."""
    known = [choose("bad-config", seed) for seed in range(60)]
    return list({one.change.old: one for one in known if one.change}.values())


STRIKES = [
    *changes(),
    *(Strike("crash-loop", name, 0, values={"share": 0.6}) for name in ("payments", "inventory")),
    *(Strike("dependency-down", CARD_NETWORK, 0, values={"manner": manner}) for manner in ("refused", "errors")),
    choose("slow-query", 1),
    *(choose(fault, 1) for fault in IN_MEMORY),
]


@pytest.mark.parametrize("strike", STRIKES, ids=lambda one: f"{one.fault}-{one.component}")
def test_each_fault_is_called_by_its_name_at_its_place(
    strike: Strike, shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    if strike.fault == "slow-query":
        monkeypatch.setattr("demo.shop.time", SimpleNamespace(perf_counter=lambda: QUICK * time.perf_counter()))
    finding = struck(shop, strike)
    assert finding.verdict == "sure", finding.why
    assert (finding.ranked[0].component, finding.ranked[0].fault) == (strike.component, strike.fault)
    assert EXPECTED[strike.fault].named == (strike.fault,), "and by no other name is the demo content"


@pytest.mark.parametrize("fault", ["noisy-alert", "healthy"])
def test_what_is_no_fault_gets_no_name(fault: str, shop: Shop) -> None:
    finding = struck(shop, choose(fault, 1))
    assert (finding.verdict, list(finding.ranked)) != ("sure", []), finding.why
    assert finding.ranked == []
