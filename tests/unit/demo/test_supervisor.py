"""The supervisor with real processes: a restart happens once for each action, and is on record."""

import json
import os
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from demo import repository, stock, tally, warm
from demo.children import Children
from demo.faults import choose
from demo.plant import plant
from demo.shop import CARD_NETWORK, SERVICES
from demo.wire import call, free_port

AUTH = {"authorization": "Bearer control"}


class Shop:
    """A running supervisor and its services."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port = free_port()
        self.children = Children(folder, remove=None)
        self.bare = folder / "config.git"
        repository.make(self.bare, plant(1))
        (folder / "data").mkdir()
        stock.create(folder / "data" / stock.FILE, 1)
        addresses = {name: f"http://127.0.0.1:{free_port()}" for name in (*SERVICES, CARD_NETWORK)}
        (folder / "addresses.json").write_text(json.dumps(addresses))
        self.start()

    def start(self) -> None:
        before = len(tally.lines(self.folder / "processes.jsonl"))
        command = [sys.executable, "-m", "demo.supervisor", "--folder", str(self.folder), "--port", str(self.port)]
        self.children.start("supervisor", command, environment={}, first_line="control")
        up = before + len(SERVICES)
        self.children.until(
            "start", lambda: len(tally.lines(self.folder / "processes.jsonl")) >= up and self.answers(), seconds=100
        )

    def answers(self) -> bool:
        try:
            return self.ask("GET", "/processes/checkout")[0] == 200
        except OSError:
            return False

    def ask(
        self, method: str, path: str, body: dict[str, Any] | None = None, headers: dict[str, str] = AUTH
    ) -> tuple[int, Any]:
        status, content = call(method, f"http://127.0.0.1:{self.port}{path}", body, headers=headers, seconds=100)
        return status, json.loads(content)

    def events(self) -> list[tuple[str, str]]:
        return [(line["service"], line["event"]) for line in tally.lines(self.folder / "processes.jsonl")]


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    running = Shop(tmp_path_factory.mktemp("shop"))
    yield running
    running.children.close(keep=True)


def test_a_restart_gives_a_fresh_process_once_for_an_action_id_even_past_the_supervisor(shop: Shop) -> None:
    before = shop.ask("GET", "/processes/checkout")[1]
    wish = {"action_id": "act_1", "expected_pid": before["pid"]}
    status, first = shop.ask("POST", "/processes/checkout/restart", wish)
    assert (status, first["state"]) == (200, "done")
    after = first["process"]
    assert after["pid"] != before["pid"]
    assert (after["restarts"], after["state"]) == (1, "running")
    assert after["started_at_ns"] > before["started_at_ns"]
    assert shop.ask("POST", "/processes/checkout/restart", wish) == (200, first)
    assert shop.ask("GET", "/actions/act_1") == (200, first)
    shop.children.end("supervisor")
    shop.start()
    assert shop.ask("POST", "/processes/checkout/restart", wish) == (200, first)
    assert shop.events().count(("checkout", "restarted")) == 1


def test_another_process_than_the_expected_one_is_left_alone(shop: Shop) -> None:
    before = shop.ask("GET", "/processes/payments")[1]
    status, _ = shop.ask(
        "POST", "/processes/payments/restart", {"action_id": "act_2", "expected_pid": before["pid"] + 1}
    )
    assert status == 409
    assert shop.ask("GET", "/processes/payments")[1] == before
    assert shop.ask("GET", "/actions/act_2")[0] == 404


@pytest.mark.parametrize(
    ("method", "path"), [("GET", "/processes/vault"), ("GET", "/actions/none"), ("DELETE", "/processes/checkout")]
)
def test_what_is_not_there_is_404(shop: Shop, method: str, path: str) -> None:
    assert shop.ask(method, path)[0] == 404


def test_without_the_control_token_nothing_is_told_or_done(shop: Shop) -> None:
    assert shop.ask("GET", "/processes/checkout", headers={})[0] == 401
    assert (
        shop.ask("POST", "/processes/checkout/restart", {"action_id": "act_3"}, headers={"authorization": "Bearer x"})[
            0
        ]
        == 401
    )
    assert shop.ask("GET", "/actions/act_3")[0] == 404


def test_a_commit_is_deployed_and_its_revert_too(shop: Shop) -> None:
    change = next(
        strike.change for seed in range(40) if (strike := choose("bad-config", seed)).component == "inventory"
    )
    assert change is not None
    before = shop.ask("GET", "/processes/inventory")[1]["pid"]
    commit = repository.apply(shop.bare, change)
    shop.children.until("deployment", lambda: ("inventory", "deployed") in shop.events(), seconds=100)
    assert shop.ask("GET", "/deployed")[1] == {"commit": commit}
    assert shop.ask("GET", "/processes/inventory")[1]["pid"] != before
    assert [name for name, event in shop.events() if event == "deployed"] == ["inventory"]
    repository.make(shop.bare, plant(1))
    shop.children.until("the way back", lambda: shop.events().count(("inventory", "deployed")) == 2, seconds=100)
    assert '"stock"' in (shop.folder / "deployed" / "inventory.toml").read_text()


def test_a_service_that_dies_at_its_start_is_tried_again_until_its_cache_is_cleared(shop: Shop) -> None:
    cache = shop.folder / "cache" / "payments"
    warm.damage(cache, 0.5)
    broken = (cache / warm.FILE).read_bytes()
    os.kill(shop.ask("GET", "/processes/payments")[1]["pid"], signal.SIGKILL)
    shop.children.until("the loop", lambda: shop.events().count(("payments", "exited")) >= 3, seconds=100)
    looping = shop.ask("GET", "/processes/payments")[1]
    assert looping["exits"] >= 2
    assert looping["exit_code"] in {3, -signal.SIGKILL}
    held = shop.ask("GET", "/processes/payments/cache")[1]
    wish = {"action_id": "act_c", "expected_digest": held["digest"]}
    assert shop.ask("POST", "/processes/payments/cache/clear", {**wish, "expected_digest": "0" * 64})[0] == 409
    status, done = shop.ask("POST", "/processes/payments/cache/clear", wish)
    assert (status, done["process"]["state"]) == (200, "running")
    assert shop.ask("POST", "/processes/payments/cache/clear", wish) == (200, done)
    assert warm.load(cache, {})[1] is False
    undo = {"action_id": "act_u", "digest": held["digest"]}
    assert shop.ask("POST", "/processes/payments/cache/restore", undo)[0] == 200
    assert (cache / warm.FILE).read_bytes() == broken
    unknown = {"action_id": "act_v", "digest": "1" * 64}
    assert shop.ask("POST", "/processes/payments/cache/restore", unknown)[0] == 500
    assert shop.ask("GET", "/actions/act_v")[1]["state"] == "failed"


def test_the_past_of_a_metric_is_kept_as_it_was_scraped(shop: Shop) -> None:
    def past(**labels: str) -> Any:
        now = int(time.time())
        asked = {"metric": "shop_requests_total", "labels": labels, "since_s": now - 60, "until_s": now, "step_s": 1}
        return shop.ask("POST", "/processes/storefront/metrics", asked)[1]["series"]

    address = json.loads((shop.folder / "addresses.json").read_text())["storefront"]
    order = {
        "order": 1,
        "sku": "sku-200",
        "amount": 700,
        "currency": "EUR",
        "email": "a@b.c",
        "phone": "1",
        "card": "2",
        "iban": "3",
    }
    assert call("POST", address + "/work", order, seconds=100)[0] in {200, 502}
    shop.children.until("a sample", lambda: bool(past()), seconds=100)
    (series,) = past()
    assert series["labels"]["__name__"] == "shop_requests_total"
    assert series["points"][-1][1] == "1"
    assert past(code="418") == []
    assert shop.ask("POST", "/processes/storefront/metrics", {"metric": "x"})[0] == 400


def test_an_index_of_the_schema_is_created_and_no_other(shop: Shop) -> None:
    path = shop.folder / "data" / stock.FILE
    stock.drop_index(path)
    assert shop.ask("POST", "/processes/inventory/index", {"action_id": "act_x", "index": "other"})[0] == 404
    assert shop.ask("POST", "/processes/checkout/index", {"action_id": "act_x", "index": "reservation_sku"})[0] == 404
    lacking = {"index": "reservation_sku", "table": "reservation", "columns": ["sku", "released"], "present": False}
    assert shop.ask("GET", "/processes/inventory/schema") == (200, {"indexes": [lacking]})
    assert shop.ask("GET", "/processes/checkout/schema") == (200, {"indexes": []})
    wish = {"action_id": "act_i", "index": "reservation_sku"}
    assert shop.ask("POST", "/processes/inventory/index", wish)[0] == 200
    assert shop.ask("GET", "/processes/inventory/schema") == (200, {"indexes": [{**lacking, "present": True}]})
    opened = stock.Stock(path, stock.TABLE)
    assert "reservation_sku" in opened.plan("sku-1")
    opened.close()


def test_a_stopped_process_stays_stopped_and_start_starts_it(shop: Shop) -> None:
    running = shop.ask("GET", "/processes/checkout")[1]["pid"]
    status, done = shop.ask("POST", "/processes/checkout/start", {"action_id": "act_s"})
    assert (status, done["process"]["pid"]) == (200, running)


def test_a_restart_needs_an_action_id(shop: Shop) -> None:
    assert shop.ask("POST", "/processes/checkout/restart", {})[0] == 400
