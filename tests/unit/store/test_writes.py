"""Writes on targets and what meets them, on both databases."""

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from broker.store import Connection, Store, incidents, writes
from broker.store.incidents import Incident
from broker.store.writes import Write
from tests.stores import KINDS, open_store

NOW = 1_767_225_600


@pytest.fixture(params=KINDS)
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    opened = open_store(request.param, tmp_path)
    yield opened
    opened.close()


def write(number: int, **more: Any) -> Write:
    kept: dict[str, Any] = {
        "tenant": "default",
        "env": "prod",
        "target": "checkout",
        "action_id": f"act_{number}",
        "action": "local.cache.clear",
        "incident": "inc_1",
        "at": NOW + number,
        "outcome": "",
        "plan": {"undo": None, "digest": ""},
    }
    return Write(**kept | more)


def add(store: Store, *rows: Write) -> None:
    def insert(connection: Connection) -> None:
        for row in rows:
            writes.begin(connection, row)

    asyncio.run(store.write(insert))


def recent(store: Store, since: int = NOW, **place: str) -> list[str]:
    where = {"tenant": "default", "env": "prod", "target": "checkout"} | place
    found = asyncio.run(store.read(lambda c: writes.recent(c, **where, since=since)))
    return [row.action_id for row in found]


def test_a_target_s_past_is_its_own_and_in_order(store: Store) -> None:
    add(store, write(2), write(1), write(3, target="payments"), write(4, env="staging"), write(5, tenant="acme"))
    assert recent(store) == ["act_1", "act_2"]
    assert recent(store, since=NOW + 2) == ["act_2"]
    assert recent(store, tenant="acme") == ["act_5"]


def test_a_write_is_put_down_once_and_its_outcome_once(store: Store) -> None:
    add(store, write(1, plan={"undo": {"action": "a"}}), write(1, plan={"undo": None}))
    for outcome in ("improved", "worse"):
        asyncio.run(store.write(lambda c, said=outcome: writes.close(c, "default", "act_1", said)))
    found = asyncio.run(store.read(lambda c: writes.find(c, "default", "act_1")))
    assert found is not None
    assert (found.outcome, found.plan) == ("improved", {"undo": {"action": "a"}})
    assert asyncio.run(store.read(lambda c: writes.find(c, "acme", "act_1"))) is None


def incident(number: int, **more: Any) -> Incident:
    kept: dict[str, Any] = {
        "id": f"inc_{number}",
        "tenant": "default",
        "state": "received",
        "version": 0,
        "title": "t",
        "service": f"service-{number}",
        "env": "prod",
        "severity": 2,
        "fingerprint": f"f{number}",
        "session": "",
        "merged_into": "",
        "action_id": "",
        "diagnosis": "",
        "since": NOW,
        "until": None,
        "opened_at": NOW + number,
        "changed_at": NOW,
        "closed_at": None,
        "holder": "",
        "alert": {},
    }
    return Incident(**kept | more)


def test_neighbours_are_the_live_incidents_of_the_environment(store: Store) -> None:
    rows = [incident(1), incident(2, severity=4), incident(3, env="staging"), incident(4), incident(5, tenant="acme")]

    def insert(connection: Connection) -> None:
        for row in rows:
            incidents.add(connection, row)
        incidents.change(connection, rows[3], kind="linked", by="gate", now_s=NOW, to="linked")

    asyncio.run(store.write(insert))
    found = asyncio.run(store.read(lambda c: writes.neighbours(c, "default", "prod", "inc_9")))
    assert [(one.id, one.severity, one.service, one.component) for one in found] == [
        ("inc_2", 4, "service-2", ""),
        ("inc_1", 2, "service-1", ""),
    ]
    assert [one.id for one in asyncio.run(store.read(lambda c: writes.neighbours(c, "default", "prod", "inc_2")))] == [
        "inc_1"
    ]
