"""The shop: what it plants, how it fails, and what its metrics say."""

import json
import re
import zlib
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path

import pytest

from demo import repository
from demo.faults import FAULTS
from demo.plant import plant
from demo.shop import SERVICES, Config, LogFile, Service
from demo.sli import Totals
from demo.traffic import orders
from demo.wire import Answer, Asked

CONTROL = "control"


@pytest.fixture(scope="module")
def configuration(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("shop") / "config"
    repository.make(folder, dict.fromkeys(SERVICES, 1), plant(7))
    return folder


@pytest.fixture
def make(configuration: Path, tmp_path: Path) -> Iterator[Callable[[str], Service]]:
    logs: list[LogFile] = []

    def service(name: str) -> Service:
        log = LogFile(tmp_path / f"{name}.log", name, "json")
        logs.append(log)
        return Service(name, Config.read(configuration / f"{name}.toml"), log, CONTROL)

    yield service
    for log in logs:
        log.close()


def work(service: Service, count: int) -> list[int]:
    """Statuses of ``count`` orders."""
    bodies = (json.dumps(order).encode() for order in islice(orders(7), count))
    return [service.route(Asked("POST", "/work", {}, body)).status for body in bodies]


def strike(service: Service, fault: str, control: str = CONTROL) -> Answer:
    body = json.dumps({"name": fault}).encode()
    return service.route(Asked("POST", "/fault", {"authorization": f"Bearer {control}"}, body))


def totals(service: Service) -> Totals:
    body = service.route(Asked("GET", "/metrics", {}, b"")).body
    assert isinstance(body, bytes)
    return Totals.parse(body.decode())


@pytest.mark.parametrize(("fault", "service"), [item for item in FAULTS.items() if item[1] != "checkout"])
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
    configuration: Path, tmp_path: Path, make: Callable[[str], Service]
) -> None:
    for name in SERVICES:
        service = make(name)
        service.greet()
        work(service, 24)
    texts = "".join(path.read_text() for path in (*tmp_path.glob("*.log"), *configuration.glob("*.toml")))
    missing = [kind for kind, values in plant(7).by_kind().items() for value in values if value not in texts]
    assert missing == []


def test_a_logfmt_line_begins_with_its_time_and_quotes_what_needs_it(tmp_path: Path) -> None:
    log = LogFile(tmp_path / "x.log", "x", "logfmt")
    log.write("info", 'said "a b"', order=3, empty="")
    log.close()
    line = (tmp_path / "x.log").read_text()
    assert re.fullmatch(r'\d{4}-\d\d-\d\dT[\d:.]+Z level=info service=x msg="said \\"a b\\"" order=3 empty=""\n', line)


def test_counters_that_went_back_count_whole() -> None:
    before = Totals(100, 10, {0.1: 90, float("inf"): 100})
    after = Totals(7, 1, {0.1: 7, float("inf"): 7})
    assert after.since(before) == after
    assert Totals(110, 12, {0.1: 95, float("inf"): 110}).since(before) == Totals(10, 2, {0.1: 5, float("inf"): 10})


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
    assert Totals(100, 0, buckets).p99_ms == expected


def test_the_configuration_s_history_is_the_same_for_equal_seeds(tmp_path: Path) -> None:
    heads = set()
    for name in ("a", "b"):
        repository.make(tmp_path / name, dict.fromkeys(SERVICES, 1), plant(7))
        heads.add((tmp_path / name / ".git" / "refs" / "heads" / "main").read_text())
    assert len(heads) == 1
