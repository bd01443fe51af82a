"""Time boxes as rows: who may acknowledge, what silence counts for, and that of all replicas one lets it count."""

import asyncio
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from broker.approvals import Approvals, Boxes, Proposal
from broker.clock import SeededClock
from broker.errors import BrokerError, Conflict, Denied
from broker.model import Principal, TimeBox
from broker.store import Store
from tests.desks import Desk
from tests.stores import KINDS, PATIENT, agent, fresh_tenant, fresh_url, human, open_store
from tests.unit.test_approval_races import together

BOX = TimeBox("broker.timebox/x/prod", 300, 2, ("oncall",))


@pytest.fixture(params=KINDS)
def replicas(request: pytest.FixtureRequest, tmp_path: Path, clock: SeededClock) -> Iterator[list["Room"]]:
    url, tenant = fresh_url(request.param, tmp_path), fresh_tenant()
    stores = [Store(url, timeouts=PATIENT) for _ in range(2)]
    stores[0].migrate()
    yield [Room(store, clock, tenant) for store in stores]
    for store in stores:
        store.close()


class Room:
    """A tenant's desk with its boxes."""

    def __init__(self, store: Store, clock: SeededClock, tenant: str) -> None:
        self.clock = clock
        self.desk = Desk(Approvals(store, clock), clock, tenant)
        self.boxes = Boxes(store, clock)
        self.cid = human("cid", "oncall", tenant=tenant)

    def propose(self, **more: Any) -> Proposal:
        return self.desk.propose(time_box=BOX, roles=("oncall", "security"), **more)

    def told(self, made: Proposal) -> Proposal:
        asyncio.run(self.boxes.told(made, "pager", last=True))
        return self.now(made)

    def now(self, made: Proposal) -> Proposal:
        return asyncio.run(self.desk.approvals.get(made.tenant, made.id))

    def acknowledge(self, made: Proposal, who: Principal | None = None, digest: str = "") -> Proposal:
        return asyncio.run(self.boxes.acknowledge(who or self.cid, made.id, digest or made.digest))

    def count(self, made: Proposal) -> str:
        code = asyncio.run(self.boxes.count(made, BOX.per_day))
        if not code:
            asyncio.run(self.boxes.approve(made))
        return code

    def heard(self) -> Proposal:
        """A proposal whose notice was taken and acknowledged, and whose time is over."""
        made = self.propose()
        self.told(made)
        self.acknowledge(made)
        self.clock.advance(BOX.seconds)
        return made


@pytest.fixture
def room(tmp_path: Path, clock: SeededClock) -> Iterator[Room]:
    store = open_store("sqlite", tmp_path)
    yield Room(store, clock, fresh_tenant())
    store.close()


def test_silence_counts_once_on_all_replicas(replicas: list[Room]) -> None:
    for _ in range(BOX.per_day):
        made = replicas[0].heard()
        answers = together([partial(replicas[number % 2].count, made) for number in range(8)])
        assert sorted(map(str, answers)) == [""] + ["approval.closed"] * 7
        assert replicas[1].now(made).state == "approved"


def test_a_denial_and_the_end_at_once_never_both_happen(replicas: list[Room]) -> None:
    for _ in range(BOX.per_day):
        made = replicas[0].heard()
        denied, counted = together(
            [partial(replicas[0].desk.review, made, replicas[0].desk.ann, "deny"), partial(replicas[1].count, made)]
        )
        # Who says no may do so until it runs: a denial after the end ends it, too.
        assert replicas[0].now(made).state == "denied"
        assert isinstance(denied, Proposal)
        assert counted in {"", "approval.closed"}
        with pytest.raises(BrokerError):
            replicas[0].desk.begin(made)


def test_no_more_count_a_day_than_may_whatever_replica_asks(replicas: list[Room]) -> None:
    made = [replicas[0].propose() for _ in range(BOX.per_day + 2)]
    for one in made:
        replicas[0].told(one)
        replicas[0].acknowledge(one)
    replicas[0].clock.advance(BOX.seconds)
    answers = together([partial(replicas[number % 2].count, one) for number, one in enumerate(made)])
    assert sorted(map(str, answers)) == ["", "", "timebox.used_up", "timebox.used_up"]
    replicas[0].clock.advance(86_400)
    assert replicas[0].count(replicas[0].heard()) == "", "a new day"


def test_an_approved_one_may_be_denied_until_it_begins(room: Room) -> None:
    made = room.heard()
    assert room.count(made) == ""
    assert room.desk.review(made, room.desk.ann, "deny").state == "denied"


@pytest.mark.parametrize(
    ("lacks", "code"),
    [
        ("notice", "timebox.not_told"),
        ("acknowledgement", "timebox.not_acknowledged"),
        ("time", "timebox.not_over"),
        ("box", "approval.no_time_box"),
        ("life", "approval.closed"),
        ("digest", "approval.digest"),
    ],
)
def test_each_row_of_proof_is_asked_for_when_it_counts(room: Room, lacks: str, code: str) -> None:
    made = room.propose()
    if lacks != "notice":
        room.told(made)
    if lacks not in {"notice", "acknowledgement"}:
        room.acknowledge(made)
    room.clock.advance(BOX.seconds - (1 if lacks == "time" else 0))
    if lacks == "box":
        asyncio.run(room.boxes.void(made, "timebox.hours"))
    if lacks == "life":
        room.clock.advance(900)
    if lacks == "digest":
        made = room.desk.propose(time_box=BOX, quorum=2)
        room.desk.review(made, room.desk.ann, narrow={"amount": 1})
        room.told(made)
    assert room.count(made) == code
    assert room.now(made).state != "approved"


def test_nobody_who_asked_nor_the_person_behind_acknowledges(room: Room) -> None:
    made = room.propose(by=agent("agent-1", room.desk.tenant, behalf=room.desk.ann))
    room.told(made)
    for who, code in (
        (room.desk.ann, "approval.own"),
        (room.desk.agent, "approval.not_a_person"),
        (human("eve", "security", tenant=room.desk.tenant), "approval.role"),
    ):
        with pytest.raises(Denied) as refused:
            room.acknowledge(made, who)
        assert refused.value.error_code == code
    assert room.acknowledge(made).box is not None


@pytest.mark.parametrize(
    ("when", "code"),
    [
        ("before the notice", "approval.box_not_begun"),
        ("at the end", "approval.box_over"),
        ("with another digest", "approval.digest"),
        ("twice", "approval.reviewed"),
        ("where silence counts for nothing", "approval.no_time_box"),
        ("when it is denied", "approval.closed"),
    ],
)
def test_an_acknowledgement_is_of_what_is_shown_and_in_time(room: Room, when: str, code: str) -> None:
    made = room.propose()
    if when != "before the notice":
        room.told(made)
    if when == "at the end":
        room.clock.advance(BOX.seconds)
    if when == "twice":
        room.acknowledge(made)
    if when == "where silence counts for nothing":
        asyncio.run(room.boxes.void(made, "timebox.hours"))
    if when == "when it is denied":
        room.desk.review(made, room.desk.bob, "deny")
    with pytest.raises(Conflict) as refused:
        room.acknowledge(made, digest="0" * 64 if when == "with another digest" else "")
    assert refused.value.error_code == code


def test_a_box_begins_with_the_last_receiver_and_ends_from_then(room: Room) -> None:
    made = room.propose()
    asyncio.run(room.boxes.told(made, "pager", last=False))
    found = room.now(made).box
    assert found is not None
    assert (found.told, found.told_at, found.due) == (("pager",), 0, 0)
    room.clock.advance(60)
    asyncio.run(room.boxes.told(made, "chat", last=True))
    found = room.now(made).box
    assert found is not None
    assert (found.told, found.due - found.told_at) == (("pager", "chat"), BOX.seconds)
    assert found.told_at == room.desk.now
