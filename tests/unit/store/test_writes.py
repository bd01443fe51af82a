"""Writes on targets and what meets them, on both databases."""

import asyncio
from collections.abc import Iterator
from functools import partial
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
    add(store, write(1, plan={"undo": {"action": "a"}}))
    for outcome in ("improved", "worse"):
        Life(store).close(outcome)
    found = asyncio.run(store.read(lambda c: writes.find(c, "default", "act_1")))
    assert found is not None
    assert (found.outcome, found.state, found.plan["undo"]) == ("improved", "improved", {"action": "a"})
    assert asyncio.run(store.read(lambda c: writes.find(c, "acme", "act_1"))) is None


class Life:
    """One action as its runs, the gate and verification move it."""

    def __init__(self, store: Store) -> None:
        self.store = store

    def begin(self, run: str, at: int = 0) -> str:
        row = write(1, at=NOW + at, plan={"undo": {"of": run}, "run": run})
        return asyncio.run(self.store.write(lambda c: writes.begin(c, row)))

    def intend(self, run: str) -> bool:
        return asyncio.run(self.store.write(lambda c: writes.intend(c, "default", "prod", "act_1", run)))

    def let_go(self, run: str) -> None:
        asyncio.run(self.store.write(lambda c: writes.let_go(c, "default", "prod", "act_1", run)))

    def close(self, outcome: str) -> None:
        asyncio.run(self.store.write(lambda c: writes.close(c, "default", "act_1", outcome)))

    def stands(self) -> tuple[str, str, str]:
        """State, run, and whose undoing it is."""
        found = asyncio.run(self.store.read(lambda c: writes.find(c, "default", "act_1")))
        assert found is not None
        undo: Any = found.plan["undo"]
        return found.state, found.run, undo["of"]


@pytest.fixture
def life(store: Store) -> Life:
    return Life(store)


def test_a_second_run_of_one_action_neither_takes_nor_closes_what_the_first_holds(life: Life) -> None:
    assert life.begin("one") == ""
    assert life.begin("two", at=10) == "held"
    life.let_go("two")
    assert life.stands() == ("held", "one", "one")
    assert not life.intend("two")
    assert life.intend("one")
    life.let_go("two")
    life.let_go("one")
    assert life.stands() == ("intended", "one", "one")
    assert life.begin("two", at=writes.HOLD_S + 1) == ""  # the log refuses its intent; here nothing changes
    assert life.stands() == ("intended", "one", "one")


def test_a_run_after_one_that_gave_up_has_its_own_undoing(life: Life) -> None:
    life.begin("one")
    life.let_go("one")
    assert life.stands()[0] == "cancelled"
    assert life.begin("two", at=1) == ""
    assert life.stands() == ("held", "two", "two")
    assert not life.intend("one")
    assert life.intend("two")


def test_a_run_after_one_that_died_takes_over_once_that_one_cannot_be_on_the_way(life: Life) -> None:
    life.begin("one")
    assert life.begin("two", at=writes.HOLD_S - 1) == "held"
    assert life.begin("two", at=writes.HOLD_S) == ""
    assert life.stands() == ("held", "two", "two")
    # The first one was only slow: its intent came first, and still it does not act on what another holds.
    assert not life.intend("one")


@pytest.mark.parametrize("outcome", ["failed", "improved", "unchanged", "worse", "unknown"])
def test_what_is_judged_stays_judged(life: Life, outcome: str) -> None:
    life.begin("one")
    life.intend("one")
    life.close(outcome)
    life.let_go("one")
    life.close("improved")
    assert life.begin("two", at=writes.HOLD_S * 2) == ""
    assert not life.intend("two")
    assert life.stands() == (outcome, "one", "one")


def test_of_many_runs_at_once_one_holds_the_write_and_only_that_one_may_act(store: Store) -> None:
    async def main() -> None:
        def begun(run: str) -> Any:
            row = write(1, plan={"undo": {"of": run}, "run": run})
            return store.write(lambda c: writes.begin(c, row))

        runs = [f"run-{number}" for number in range(8)]
        answers = await asyncio.gather(*map(begun, runs))
        assert sorted(answers) == ["", *["held"] * 7]
        intended = await asyncio.gather(
            *(
                store.write(partial(writes.intend, tenant="default", env="prod", action_id="act_1", run=run))
                for run in runs
            )
        )
        assert [run for run, mine in zip(runs, intended, strict=True) if mine] == [runs[answers.index("")]]

    asyncio.run(main())


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
