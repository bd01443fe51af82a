"""Break-glass needs two people, lasts its time and no longer, and is looked back at by somebody else; on both databases."""

import asyncio
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from broker.breakglass import BreakGlass, Breakglass
from broker.clock import SeededClock
from broker.config import BreakglassSettings
from broker.errors import BrokerError
from broker.store import Store
from tests.stores import KINDS, fresh_tenant, human, open_store

CHECKOUT = {"type": "process", "id": "checkout", "env": "prod"}
RESTART = "local.process.restart"


@pytest.fixture(scope="module", params=KINDS)
def store(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    opened = open_store(request.param, tmp_path_factory.mktemp("store"))
    yield opened
    opened.close()


class Room:
    """One tenant's break-glass, in the words of a test."""

    def __init__(self, store: Store) -> None:
        self.clock, self.tenant = SeededClock(), fresh_tenant()
        self.desk = BreakGlass(store, self.clock, BreakglassSettings())
        self.again = BreakGlass(store, self.clock, BreakglassSettings())
        self.ann, self.bob = human("ann", "oncall", tenant=self.tenant), human("bob", "security", tenant=self.tenant)

    def ask(self, **changes: Any) -> Breakglass:
        said = {"actions": [RESTART], "targets": [CHECKOUT], "people": [], "minutes": 0, "reason": "nobody answers"}
        new = self.desk.drafted(self.ann, **{**said, **changes})
        asyncio.run(self.desk.add(new))
        return new

    def open(self, new: Breakglass, who: Any = None, desk: BreakGlass | None = None) -> None:
        desk = desk or self.desk
        stands = asyncio.run(desk.get(self.tenant, new.id))
        asyncio.run(desk.open(desk.confirmed(who or self.bob, stands)))

    def now(self, one: Breakglass) -> Breakglass:
        return asyncio.run(self.again.get(self.tenant, one.id))

    def end(self, one: Breakglass) -> None:
        asyncio.run(self.desk.end(self.ann, self.now(one)))

    def review(self, one: Breakglass, who: Any = None) -> None:
        asyncio.run(self.desk.close(self.desk.reviewed(who or self.bob, self.now(one), "it was right")))


@pytest.fixture
def room(store: Store) -> Room:
    return Room(store)


def refused(code: str, call: Callable[[], object]) -> None:
    with pytest.raises(BrokerError) as error:
        call()
    assert error.value.error_code == code


def test_one_person_alone_opens_nothing(room: Room) -> None:
    new = room.ask()
    assert room.now(new).state == "waiting"
    refused("breakglass.same_person", lambda: room.open(new, room.ann))
    assert [one.state for one in asyncio.run(room.desk.owed(room.tenant))] == ["waiting"]
    refused("breakglass.over", lambda: asyncio.run(room.desk.until(room.tenant, new.id)))
    room.open(new)
    stands = room.now(new)
    assert (stands.state, stands.people, stands.confirmed_by) == ("open", ("dev:ann",), "dev:bob")
    assert stands.until == stands.opened_at + 1800
    assert asyncio.run(room.desk.until(room.tenant, new.id)) == stands.until


def test_it_waits_for_the_second_person_for_a_while_only(room: Room) -> None:
    new = room.ask()
    room.clock.advance(600)
    assert room.now(new).state == "dropped"
    refused("breakglass.state", lambda: room.open(new))
    refused("breakglass.state", lambda: room.end(new))
    assert asyncio.run(room.desk.owed(room.tenant)) == ()
    assert room.ask().state == "waiting", "what nobody confirmed holds up nothing"


def test_a_confirmation_that_was_made_in_time_and_comes_too_late_opens_nothing(room: Room) -> None:
    new = room.ask()
    opened = room.desk.confirmed(room.bob, room.now(new))
    room.clock.advance(600)
    refused("breakglass.state", lambda: asyncio.run(room.desk.open(opened)))


def test_it_is_over_by_itself_to_the_second_and_somebody_else_looks_back(room: Room) -> None:
    new = room.ask(minutes=5)
    room.open(new)
    room.clock.advance(299)
    assert room.now(new).state == "open"
    room.clock.advance(1)
    stands = room.now(new)
    assert (stands.state, stands.ended_at, stands.ended_by) == ("over", stands.until, "")
    refused("breakglass.over", lambda: asyncio.run(room.desk.until(room.tenant, new.id)))
    refused("breakglass.state", lambda: room.end(new))
    refused("breakglass.own_review", lambda: room.review(new, room.ann))
    room.clock.advance(86_399)
    assert not room.now(new).overdue(stands.until + 86_399)
    assert room.now(new).overdue(stands.until + 86_400)
    room.review(new)
    assert (room.now(new).state, room.now(new).review) == ("reviewed", "it was right")
    refused("breakglass.state", lambda: room.review(new))


def test_what_is_over_by_its_time_stays_over_when_the_clock_goes_back(room: Room) -> None:
    waits = room.ask(minutes=5)
    room.clock.advance(60)
    asyncio.run(room.desk.settle(room.tenant))
    assert room.now(waits).state == "waiting"
    room.open(waits)
    room.clock.advance(300)
    asyncio.run(room.desk.settle(room.tenant))
    room.clock.step_wall(-3_600)
    stands = room.now(waits)
    assert (stands.state, stands.ended_at) == ("over", stands.until)
    refused("breakglass.over", lambda: asyncio.run(room.desk.until(room.tenant, waits.id)))
    room.review(waits)
    assert room.now(waits).state == "reviewed"


def test_it_is_ended_early_and_the_review_is_due_from_then_on(room: Room) -> None:
    new = room.ask()
    room.open(new)
    room.clock.advance(60)
    room.end(new)
    stands = room.now(new)
    assert (stands.state, stands.ended_by, stands.ended_at) == ("over", "dev:ann", new.opened_at + 60)
    assert stands.review_due == stands.ended_at + 86_400
    refused("breakglass.over", lambda: asyncio.run(room.desk.until(room.tenant, new.id)))


def test_of_a_tenant_one_waits_or_is_open_at_a_time(room: Room, store: Store) -> None:
    new = room.ask()
    refused("breakglass.open", room.ask)
    room.open(new)
    refused("breakglass.open", room.ask)
    assert Room(store).ask().state == "waiting", "another tenant's is its own"
    room.clock.advance(1800)
    assert room.ask().state == "waiting"
    assert room.now(new).state == "over"


def test_of_two_that_confirm_at_once_one_opens_it(room: Room) -> None:
    new = room.ask()
    eve = human("eve", "security", tenant=room.tenant)

    async def both() -> list[object]:
        stands = await room.desk.get(room.tenant, new.id)
        made = [(desk, desk.confirmed(who, stands)) for desk, who in ((room.desk, room.bob), (room.again, eve))]
        return list(await asyncio.gather(*(desk.open(one) for desk, one in made), return_exceptions=True))

    done = asyncio.run(both())
    [lost] = [one for one in done if one is not None]
    assert isinstance(lost, BrokerError)
    assert lost.error_code == "breakglass.state"
    assert room.now(new).confirmed_by in {"dev:bob", "dev:eve"}


def test_of_many_that_ask_at_once_one_waits(room: Room) -> None:
    async def ask() -> None:
        new = room.desk.drafted(
            room.ann, actions=[RESTART], targets=[CHECKOUT], people=[], minutes=0, reason="nobody answers"
        )
        await room.desk.add(new)

    async def all_() -> list[object]:
        return list(await asyncio.gather(*(ask() for _ in range(6)), return_exceptions=True))

    done = asyncio.run(all_())
    assert sum(1 for one in done if one is None) == 1, done
    assert {one.error_code for one in done if isinstance(one, BrokerError)} == {"breakglass.open"}


def test_it_lasts_no_longer_than_configured_and_another_tenants_does_not_exist(room: Room, store: Store) -> None:
    refused("breakglass.too_long", lambda: room.ask(minutes=31))
    new = room.ask()
    refused("breakglass.not_found", lambda: Room(store).now(new))
