"""The shop: what it plants, how it fails, and what its metrics say."""

import json
import re
import threading
import zlib
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path

import pytest

from demo import repository, stock, warm
from demo.cardnet import Network
from demo.faults import FAULTS, IN_MEMORY, choose
from demo.plant import plant
from demo.servicelog import LogFile
from demo.shop import CARD_NETWORK, SERVICES, Config, Service
from demo.sli import Totals, parse
from demo.traffic import orders
from demo.wire import Answer, Asked, LoopbackServer

CONTROL = "control"


@pytest.fixture(scope="module")
def network() -> Iterator[LoopbackServer]:
    server = LoopbackServer(0, Network(CONTROL).route)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, network: LoopbackServer) -> Path:
    """A shop's folder with its configuration deployed, its database, and the card network to call."""
    made = tmp_path_factory.mktemp("shop")
    for name in ("deployed", "data", "cache"):
        (made / name).mkdir()
    repository.make(made / "config.git", plant(7))
    repository.deploy(made / "config.git", repository.head(made / "config.git"), made / "deployed")
    stock.create(made / "data" / stock.FILE, 7)
    addresses = {**dict.fromkeys(SERVICES, "http://127.0.0.1:1"), CARD_NETWORK: f"http://127.0.0.1:{network.port}"}
    (made / "addresses.json").write_text(json.dumps(addresses))
    return made


@pytest.fixture
def make(folder: Path, tmp_path: Path) -> Iterator[Callable[[str], Service]]:
    logs: list[LogFile] = []

    def service(name: str) -> Service:
        log = LogFile(tmp_path / f"{name}.log", name, "json")
        logs.append(log)
        return Service(name, folder, Config.read(folder / "deployed", name), log, CONTROL)

    yield service
    for log in logs:
        log.close()


def work(service: Service, count: int) -> list[int]:
    """Statuses of ``count`` orders."""
    bodies = (json.dumps(order).encode() for order in islice(orders(7), count))
    return [service.route(Asked("POST", "/work", {}, body)).status for body in bodies]


def strike(service: Service, fault: str, control: str = CONTROL, **values: int) -> Answer:
    body = json.dumps({"name": fault, **values}).encode()
    return service.route(Asked("POST", "/fault", {"authorization": f"Bearer {control}"}, body))


def totals(service: Service) -> Totals:
    body = service.route(Asked("GET", "/metrics", {}, b"")).body
    assert isinstance(body, bytes)
    return Totals.of(parse(body.decode()))


@pytest.mark.parametrize(("fault", "service"), [item for item in IN_MEMORY.items() if item[1] != "checkout"])
def test_a_fault_makes_the_service_fail_by_itself_and_a_fresh_process_is_healthy(
    fault: str, service: str, make: Callable[[str], Service]
) -> None:
    struck = make(service)
    assert set(work(struck, 4)) == {200}
    assert strike(struck, fault).status == 200
    statuses = work(struck, 10)
    assert any(status in {500, 503, 504} for status in statuses)
    after = totals(struck)
    assert after.errors == sum(status != 200 for status in statuses)
    assert after.requests == 14
    assert set(work(make(service), 10)) == {200}


def test_a_leaking_pool_is_empty_after_twice_its_size(make: Callable[[str], Service]) -> None:
    struck = make("checkout")
    assert strike(struck, "pool-leak").status == 200
    statuses = work(struck, 2 * struck.config.pool_size + 2)
    assert 503 not in statuses[: 2 * struck.config.pool_size - 2]
    assert statuses[-1] == 503


def test_a_failure_behind_a_service_is_not_its_own(make: Callable[[str], Service]) -> None:
    alone = make("storefront")
    assert work(alone, 1) == [502]
    exposition = alone.route(Asked("GET", "/metrics", {}, b"")).body
    assert isinstance(exposition, bytes)
    assert 'shop_errors_total{origin="upstream",service="storefront"} 1.0' in exposition.decode()
    assert 'shop_errors_total{origin="self",service="storefront"} 0.0' in exposition.decode()


def test_every_way_in_which_a_call_can_end_is_counted_from_nought(make: Callable[[str], Service]) -> None:
    """A series that begins with the first failure would not show that there was none before."""
    exposition = make("checkout").route(Asked("GET", "/metrics", {}, b"")).body
    assert isinstance(exposition, bytes)
    for to in ("inventory", "payments"):
        for result in ("ok", "error", "refused", "timeout"):
            assert f'shop_calls_total{{result="{result}",service="checkout",to="{to}"}} 0.0' in exposition.decode()


def test_a_fault_needs_the_control_token(make: Callable[[str], Service]) -> None:
    service = make("inventory")
    assert strike(service, "lock-hang", control="guess").status == 401
    assert set(work(service, 2)) == {200}


def test_equal_seeds_plant_and_buy_the_same_and_others_do_not() -> None:
    assert plant(3) == plant(3)
    assert list(islice(orders(3), 40)) == list(islice(orders(3), 40))
    first, second = plant(3).by_kind(), plant(4).by_kind()
    assert all(not set(first[kind]) & set(second[kind]) for kind in first if kind != "phone")


@pytest.mark.parametrize("seed", range(8))
def test_planted_values_are_well_formed(seed: int) -> None:
    planted = plant(seed)
    assert all(len(value) >= 6 for values in planted.by_kind().values() for value in values)
    for customer in planted.customers:
        digits = [int(digit) for digit in customer.card]
        doubled = [sum(divmod(2 * digit, 10)) for digit in digits[-2::-2]]
        assert (sum(digits[::-2]) + sum(doubled)) % 10 == 0
        moved = customer.iban[4:] + customer.iban[:4]
        assert int("".join(str(int(char, 36)) for char in moved)) % 97 == 1
        assert re.fullmatch(r"\+44 20 7946 0\d{3}", customer.phone)
    body, check = planted.forge_token[4:34], planted.forge_token[34:]
    alphabet = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
    assert sum(alphabet.index(char) * 62 ** (5 - place) for place, char in enumerate(check)) == zlib.crc32(
        body.encode()
    )


def test_what_is_planted_stands_in_the_logs_and_the_configuration(
    folder: Path, tmp_path: Path, make: Callable[[str], Service]
) -> None:
    for name in SERVICES:
        service = make(name)
        service.greet()
        work(service, 24)
    texts = "".join(path.read_text() for path in (*tmp_path.glob("*.log"), *(folder / "deployed").glob("*.toml")))
    missing = [kind for kind, values in plant(7).by_kind().items() for value in values if value not in texts]
    assert missing == []


# -- what breaks outside of memory -------------------------------------------------------------------------------------


@pytest.mark.parametrize("fault", FAULTS)
def test_the_seed_alone_decides_what_breaks(fault: str) -> None:
    assert [choose(fault, seed) for seed in range(12)] == [choose(fault, seed) for seed in range(12)]
    assert choose(fault, 1).component in {*SERVICES, CARD_NETWORK}


@pytest.mark.parametrize("fault", ["bad-config", "crash-loop", "dependency-down", "noisy-alert", "healthy"])
def test_seeds_differ(fault: str) -> None:
    strikes = [choose(fault, seed) for seed in range(20)]
    assert len({str((strike.component, strike.change, strike.values)) for strike in strikes}) > 1


def test_each_bad_change_makes_its_service_fail_by_itself_and_its_revert_heals(
    tmp_path: Path, network: LoopbackServer
) -> None:
    strikes = {
        strike.change.message.split(" ", 2)[2]: strike
        for seed in range(60)
        if (strike := choose("bad-config", seed)).change
    }
    assert {strike.component for strike in strikes.values()} == {"checkout", "payments", "inventory"}
    shop = tmp_path / "shop"
    for name in ("deployed", "data", "logs"):
        (shop / name).mkdir(parents=True)
    bare = shop / "config.git"
    repository.make(bare, plant(7))
    repository.deploy(bare, repository.head(bare), shop / "deployed")
    stock.create(shop / "data" / stock.FILE, 7)
    addresses = {
        **dict.fromkeys(SERVICES, f"http://127.0.0.1:{network.port}"),
        CARD_NETWORK: f"http://127.0.0.1:{network.port}",
    }
    (shop / "addresses.json").write_text(json.dumps(addresses))

    def own_errors(name: str) -> float:
        log = LogFile(shop / "logs" / f"{name}.log", name, "json")
        service = Service(name, shop, Config.read(shop / "deployed", name), log, CONTROL)
        work(service, 12)
        log.close()
        body = service.route(Asked("GET", "/metrics", {}, b"")).body
        assert isinstance(body, bytes)
        return parse(body.decode())[("__name__", "shop_errors_total"), ("origin", "self"), ("service", name)]

    for strike in strikes.values():
        good = repository.head(bare)
        assert strike.change is not None
        bad = repository.apply(bare, strike.change)
        assert repository.deploy(bare, bad, shop / "deployed") == [strike.component]
        assert own_errors(strike.component) > 0, strike
        assert repository.deploy(bare, good, shop / "deployed") == [strike.component]
        assert own_errors(strike.component) == 0, strike
        repository.make(bare, plant(7))


def test_a_cache_that_a_killed_write_left_behind_is_not_believed(tmp_path: Path) -> None:
    assert warm.load(tmp_path, {"EUR": 1, "USD": 2}) == ({"EUR": 1, "USD": 2}, True)
    assert warm.load(tmp_path, {}) == ({"EUR": 1, "USD": 2}, False)
    for share in (0.9, 0.5, 0.1):
        warm.damage(tmp_path, share)
        with pytest.raises(warm.Corrupt):
            warm.load(tmp_path, {})
    (tmp_path / warm.FILE).write_text('{"checksum": "x", "entries": {"EUR": 2}}')
    with pytest.raises(warm.Corrupt, match="checksum"):
        warm.load(tmp_path, {})


def test_without_its_index_the_same_query_scans_and_says_so(tmp_path: Path) -> None:
    path = tmp_path / "stock.db"
    stock.create(path, 3)
    opened = stock.Stock(path, stock.TABLE)
    free, version = opened.free("sku-500"), opened.version()
    assert "USING INDEX reservation_sku" in opened.plan("sku-500")
    stock.drop_index(path)
    assert opened.plan("sku-500").startswith("SCAN")
    assert opened.version() != version
    stock.create_index(path, "reservation_sku")
    assert "USING INDEX reservation_sku" in opened.plan("sku-500")
    assert opened.free("sku-500") == free
    opened.close()


def test_a_busy_machine_makes_no_slow_query_and_a_missing_index_makes_one_of_every_query(
    make: Callable[[str], Service], folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a query costs is counted by the database: time that passes beside it counts for nothing."""
    service, path = make("inventory"), folder / "data" / stock.FILE
    hours = iter(range(0, 10**9, 3600))
    monkeypatch.setattr("demo.shop.time.perf_counter", lambda: float(next(hours)))
    assert set(work(service, 3)) == {200}
    written = Path(service.log.path)
    assert "slow query" not in written.read_text()
    stock.drop_index(path)
    try:
        assert set(work(service, 3)) == {200}
        slow = [line for line in map(json.loads, written.read_text().splitlines()) if "slow query" in line["msg"]]
        assert [line["msg"] for line in slow] == ["slow query: SCAN r"] * 3
        assert all(line["steps"] > 10_000_000 for line in slow)
    finally:
        stock.create_index(path, "reservation_sku")


def test_a_flooded_queue_shows_its_depth_and_costs_no_request(make: Callable[[str], Service]) -> None:
    service = make("inventory")
    assert strike(service, "noisy-alert", jobs=300, times=1).status == 200
    while totals(service).queue < 300:
        pass
    assert set(work(service, 5)) == {200}
    assert totals(service).errors == 0


def test_metrics_that_cannot_be_read_cost_no_request(make: Callable[[str], Service]) -> None:
    service = make("inventory")
    assert strike(service, "healthy").status == 200
    assert service.route(Asked("GET", "/metrics", {}, b"")).status == 503
    assert set(work(service, 5)) == {200}


@pytest.mark.parametrize(("manner", "said"), [("errors", "cardnet answered 503"), ("refused", "connection refused")])
def test_an_outside_dependency_that_fails_is_passed_on_and_named(
    manner: str, said: str, folder: Path, tmp_path: Path, network: LoopbackServer
) -> None:
    addresses = json.loads((folder / "addresses.json").read_text())
    broken = LoopbackServer(0, Network(CONTROL).route)
    threading.Thread(target=broken.serve_forever, daemon=True).start()
    if manner == "errors":
        broken.route(Asked("POST", "/fault", {"authorization": f"Bearer {CONTROL}"}, b'{"name": "errors"}'))
    else:
        broken.shutdown()
        broken.server_close()
    shop = tmp_path / "shop"
    shop.mkdir()
    for name in ("deployed", "data"):
        (shop / name).symlink_to(folder / name)
    (shop / "addresses.json").write_text(
        json.dumps(
            {
                **addresses,
                CARD_NETWORK: f"http://127.0.0.1:{broken.port if manner == 'errors' else broken.server_address[1]}",
            }
        )
    )
    log = LogFile(tmp_path / "payments.log", "payments", "logfmt")
    service = Service("payments", shop, Config.read(shop / "deployed", "payments"), log, CONTROL)
    assert set(work(service, 3)) == {502}
    log.close()
    assert said in (tmp_path / "payments.log").read_text()
    if manner == "errors":
        broken.shutdown()
        broken.server_close()


def test_a_logfmt_line_begins_with_its_time_and_quotes_what_needs_it(tmp_path: Path) -> None:
    log = LogFile(tmp_path / "x.log", "x", "logfmt")
    log.write("info", 'said "a b"', order=3, empty="")
    log.close()
    line = (tmp_path / "x.log").read_text()
    assert re.fullmatch(r'\d{4}-\d\d-\d\dT[\d:.]+Z level=info service=x msg="said \\"a b\\"" order=3 empty=""\n', line)


def test_counters_that_went_back_count_whole() -> None:
    before = Totals(100, 10, 3.0, {0.1: 90, float("inf"): 100})
    after = Totals(7, 1, 0.5, {0.1: 7, float("inf"): 7})
    assert after.since(before) == after
    assert Totals(110, 12, 4.0, {0.1: 95, float("inf"): 110}).since(before) == Totals(
        10, 2, 1.0, {0.1: 5, float("inf"): 10}
    )


@pytest.mark.parametrize(
    ("buckets", "expected"),
    [
        ({0.1: 99, 1.0: 100, float("inf"): 100}, 100.0),
        ({0.1: 98, 1.0: 100, float("inf"): 100}, 1000.0),
        ({0.1: 0, float("inf"): 5}, 100.0),
        ({}, 0.0),
    ],
)
def test_the_99th_percentile_is_the_bound_of_its_bucket(buckets: dict[float, float], expected: float) -> None:
    assert Totals(100, 0, 0.0, buckets).p99_ms == expected


def test_the_configuration_s_history_is_the_same_for_equal_seeds(tmp_path: Path) -> None:
    heads = set()
    for name in ("a", "b"):
        repository.make(tmp_path / name, plant(7))
        heads.add(repository.head(tmp_path / name))
    assert len(heads) == 1
