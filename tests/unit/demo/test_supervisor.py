"""The supervisor with real processes: a restart happens once for each action, and is on record."""

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from demo import repository, tally
from demo.children import Children
from demo.plant import plant
from demo.shop import SERVICES
from demo.wire import call, free_port

AUTH = {"authorization": "Bearer control"}


class Shop:
    """A running supervisor and its services."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port = free_port()
        self.children = Children(folder, remove=None)
        repository.make(folder / "config", {name: free_port() for name in SERVICES}, plant(1))
        self.start()

    def start(self) -> None:
        before = len(tally.lines(self.folder / "processes.jsonl"))
        command = [sys.executable, "-m", "demo.supervisor", "--folder", str(self.folder), "--port", str(self.port)]
        self.children.start("supervisor", command, environment={}, first_line="control")
        up = before + len(SERVICES)
        self.children.until(
            "start", lambda: len(tally.lines(self.folder / "processes.jsonl")) >= up and self.answers(), seconds=20
        )

    def answers(self) -> bool:
        try:
            return self.ask("GET", "/processes/checkout")[0] == 200
        except OSError:
            return False

    def ask(
        self, method: str, path: str, body: dict[str, Any] | None = None, headers: dict[str, str] = AUTH
    ) -> tuple[int, Any]:
        status, content = call(method, f"http://127.0.0.1:{self.port}{path}", body, headers=headers, seconds=20)
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


def test_a_restart_needs_an_action_id(shop: Shop) -> None:
    assert shop.ask("POST", "/processes/checkout/restart", {})[0] == 400
