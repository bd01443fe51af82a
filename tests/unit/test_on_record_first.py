"""A gate that dies at any point of an answer leaves none that counts and is not in the log; on both databases."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import pytest
from sqlalchemy import update

from audit.errors import HistoryConflict, LogUnavailable, PayloadCorrupt, RecordInvalid
from audit.postgres import PostgresStore
from audit.sqlite import SqliteStore
from audit.store import Store as LogStore
from broker.approvals import Answer, Approvals, Boxes, Due, Proposal
from broker.clock import SeededClock
from broker.errors import AuditUnavailable, Conflict, ReviewOwed, StoreUnavailable
from broker.model import Json, Redacted
from broker.records import Records
from broker.remedies.silence import box_facts
from broker.reviews import UNRECORDED_SECONDS, Reviews
from broker.store import Store, queues
from broker.store.tables import review_owed
from broker.telemetry import Telemetry
from broker.timebox_acts import TimeBoxActs
from tests.desks import Desk
from tests.stores import KINDS, PLAN, SHRINK, decision_of, digest_of, fresh_tenant, fresh_url, human, request_of
from tests.unit.audit.room import open_log
from tests.unit.test_time_box_rows import BOX

T = TypeVar("T")
POINTS_MAX = 40


class Killed(BaseException):
    """The process is gone: nothing of it goes on."""


class Life:
    """Lets so many points pass, one before and one after each write, and none from then on."""

    def __init__(self, points: int) -> None:
        self.points = points

    def step(self) -> None:
        if self.points <= 0:
            raise Killed
        self.points -= 1

    def bound(self, call: Callable[..., Awaitable[T]]) -> Callable[..., Awaitable[T]]:
        async def mortal(*said: Any, **more: Any) -> T:
            self.step()
            done = await call(*said, **more)
            self.step()
            return done

        return mortal


class Process:
    """One gate's rooms on a database, and how long they live."""

    def __init__(self, store: Store, log: Any, clock: SeededClock, tenant: str) -> None:
        self.store, self.log, self.clock, self.tenant = store, log, clock, tenant
        self.approvals, self.boxes, self.approved = Approvals(store, clock), Boxes(store, clock), Due()
        self.records = Records(log, clock=clock, pseudonym_key=bytes(32), is_action=lambda _name: True)
        self.reviews = Reviews(
            approvals=self.approvals, records=self.records, approved=self.approved, telemetry=Telemetry(clock.monotonic)
        )
        self.time_boxes = TimeBoxActs(boxes=self.boxes, records=self.records)

    def dies_after(self, points: int) -> "Process":
        life = Life(points)
        self.store.write = life.bound(self.store.write)  # type: ignore[assignment, method-assign]
        self.log.append = life.bound(self.log.append)
        return self

    async def approve(self, made: Proposal, who: Any) -> Proposal:
        return await self.reviews.give(who, made.id, Answer("approve", made.digest), rebind)

    async def asked(self, desk: Desk, **duty: Any) -> Proposal:
        """A request that waits, as it stands in the rows and in the log."""
        request = request_of(self.tenant, amount=50, targets=["a", "b", "c"], text="x")
        made = await asyncio.to_thread(desk.propose, request=request, **duty)
        told = {"id": made.id, "digest": made.digest, "quorum": made.quorum, "expires_at": made.expires_at}
        clean: Redacted[Json] = Redacted({}, "standard", {})
        plan = {"summary": PLAN.summary, "rollback_digest": ""}
        await self.records.proposal(desk.agent, request, decision_of(SHRINK), approval=told, plan=plan, redacted=clean)
        return made

    async def now(self, made: Proposal) -> Proposal:
        return await self.approvals.get(made.tenant, made.id)

    async def told(self, verdict: str) -> int:
        """How many answers of this kind the log has."""
        entries = await self.log.read(self.tenant, after=-1, limit=100, kinds=["review"])
        return sum(1 for one in entries if one.body["approval"]["verdict"] == verdict)


def rebind(found: Proposal, arguments: Any) -> str:
    return digest_of(arguments, found.action_id)


class House:
    """A database on which one process follows another."""

    def __init__(self, kind: str, folder: Path) -> None:
        self.clock, self.tenant, self.folder = SeededClock(), fresh_tenant(), folder
        self.url = fresh_url(kind, folder)
        self.people = [human(name, "oncall", tenant=self.tenant) for name in ("ann", "bob")]
        first = Store(self.url)
        first.migrate()
        first.close()

    def _log_store(self) -> LogStore:
        if self.url.startswith("sqlite"):
            return SqliteStore(self.folder / "log.db")
        return PostgresStore(self.url.replace("postgresql+psycopg://", "postgresql://", 1))

    @asynccontextmanager
    async def process(self) -> Any:
        store, log = Store(self.url), open_log(self._log_store(), self.folder)
        await log.start()
        try:
            yield Process(store, log, self.clock, self.tenant)
        finally:
            await log.aclose()
            store.close()


@pytest.fixture(params=KINDS)
def house(request: pytest.FixtureRequest, tmp_path: Path) -> House:
    return House(request.param, tmp_path)


async def lived(story: Callable[[], Awaitable[object]]) -> bool:
    """Whether nothing killed it on the way."""
    try:
        await story()
    except Killed:
        return False
    return True


def test_whatever_kills_a_gate_an_answer_counts_from_its_record_on_and_is_on_record_once(house: House) -> None:
    """Two people approve, the gate dies at the n-th point of it, and the next one goes on: for every n there is."""

    async def both(process: Process, made: Proposal) -> None:
        for person in house.people:
            with suppress(Conflict):  # said before
                await process.approve(made, person)

    async def dying(points: int) -> bool:
        async with house.process() as process:
            desk = Desk(process.approvals, house.clock, house.tenant)
            made = await process.asked(desk, quorum=2)
            before = await process.told("approve")
            whole = await lived(lambda: both(process.dies_after(points), made))
        async with house.process() as process:
            on_record = await process.told("approve") - before
            stands = await process.now(made)
            [facts] = process.approvals.facts(stands, desk.agent)
            assert len(facts["reviews"]) <= on_record
            assert (stands.state == "approved") <= (on_record == 2)
            if on_record < 2:
                with pytest.raises(Conflict):
                    await process.approvals.begin_execution(made.tenant, made.id, made.digest, desk.now)
            await process.reviews.catch_up()
            await both(process, made)
            stands = await process.now(made)
            assert (stands.state, await process.told("approve") - before) == ("approved", 2)
            assert all(one.counts for one in stands.reviews)
            assert (await process.approvals.owed()) == ()
            await process.approvals.begin_execution(made.tenant, made.id, made.digest, desk.now)
        return whole

    async def main() -> None:
        points = 0
        while not await dying(points):
            points += 1
            assert points < POINTS_MAX
        assert points >= 2 * 2 * 3  # before and after: answer, record, count, of two people

    asyncio.run(main())


def test_a_no_holds_at_once_and_its_record_follows(house: House) -> None:
    async def main() -> None:
        async with house.process() as process:
            desk = Desk(process.approvals, house.clock, house.tenant)
            made = await process.asked(desk)
            await process.approve(made, house.people[0])
            no = Answer("deny", made.digest, "not today")
            assert not await lived(lambda: process.dies_after(2).reviews.give(house.people[1], made.id, no, rebind))
        async with house.process() as process:
            assert ((await process.now(made)).state, await process.told("deny")) == ("denied", 0)
            with pytest.raises(Conflict):
                await process.approvals.begin_execution(made.tenant, made.id, made.digest, desk.now)
            await process.reviews.catch_up()
            assert ((await process.now(made)).state, await process.told("deny")) == ("denied", 1)

    asyncio.run(main())


def test_a_notice_counts_as_heard_from_the_record_of_it_on(house: House) -> None:
    async def dying(points: int) -> bool:
        async with house.process() as process:
            desk = Desk(process.approvals, house.clock, house.tenant)
            made = await asyncio.to_thread(desk.propose, time_box=BOX, roles=("oncall",))
            await process.boxes.told(made, "pager", last=True)
            before = await process.told("acknowledge")
            said = {"approval": made.id, "digest": made.digest, "reason": "seen"}
            act = process.dies_after(points).time_boxes.acts["gate.review.acknowledge"]
            whole = await lived(lambda: act(house.people[0], said))
        async with house.process() as process:
            told = await process.told("acknowledge") - before
            box = (await process.now(made)).box
            assert box is not None
            assert box.heard <= (told == 1)
        return whole

    async def main() -> None:
        points = 0
        while not await dying(points):
            points += 1
        assert points >= 2 * 2

    asyncio.run(main())


def test_silence_that_counted_is_no_approval_before_it_is_on_record(house: House) -> None:
    async def main() -> None:
        async with house.process() as process:
            desk = Desk(process.approvals, house.clock, house.tenant)
            made = await asyncio.to_thread(desk.propose, time_box=BOX, roles=("oncall",))
            await process.boxes.told(made, "pager", last=True)
            await process.boxes.acknowledge(house.people[0], made.id, made.digest)
            house.clock.advance(BOX.seconds)
            assert await process.boxes.count(made, BOX.per_day) == ""
            now, tenant = desk.now, house.tenant
            facts = await process.store.read(lambda c: box_facts(c, tenant, made.action_id, now, silent=False))
            assert (facts["counts"], (await process.now(made)).state) == (False, "waiting")
            with pytest.raises(Conflict):
                await process.approvals.begin_execution(tenant, made.id, made.digest, now)
            assert (await process.boxes.approve(made)).state == "approved"
            facts = await process.store.read(lambda c: box_facts(c, tenant, made.action_id, now, silent=False))
            assert facts["counts"] is True
            await process.approvals.begin_execution(tenant, made.id, made.digest, now)

    asyncio.run(main())


@contextmanager
def refusing(process: Process, error: Exception, *kinds: str, only: int | None = None) -> Iterator[list[str]]:
    """The log raises ``error`` for these kinds, or only so often; gives the events that it was asked for."""
    real, tries = process.log.append, []

    async def append(tenant: str, draft: Any, **more: Any) -> Any:
        if draft.kind in kinds:
            tries.append(draft.id)
            if only is None or len(tries) <= only:
                raise error
        return await real(tenant, draft, **more)

    process.log.append = append
    try:
        yield tries
    finally:
        process.log.append = real


async def owing(process: Process, desk: Desk, person: Any, **duty: Any) -> Proposal:
    """A request with an answer that the log did not take."""
    made = await process.asked(desk, **duty)
    with refusing(process, LogUnavailable("away"), "review"), pytest.raises(ReviewOwed):
        await process.approve(made, person)
    return made


def test_one_answer_that_cannot_be_recorded_holds_up_no_other(house: House) -> None:
    async def main() -> None:
        async with house.process() as process:
            desk = Desk(process.approvals, house.clock, house.tenant)
            made = [await owing(process, desk, house.people[0]) for _ in range(3)]
            with refusing(process, PayloadCorrupt("not ours"), "review", only=1) as tries:
                await process.reviews.catch_up()
            assert len(tries) == len(made)
            states = sorted([(await process.now(one)).state for one in made])
            assert states == ["approved", "approved", "waiting"]
            await process.reviews.catch_up()
            assert [(await process.now(one)).state for one in made] == ["approved"] * 3

    asyncio.run(main())


def test_a_log_that_is_away_is_asked_once_a_round_and_each_round_for_another_answer(house: House) -> None:
    async def main() -> None:
        async with house.process() as process:
            desk = Desk(process.approvals, house.clock, house.tenant)
            made = [await owing(process, desk, house.people[0]) for _ in range(2)]
            with refusing(process, LogUnavailable("away"), "review") as tries:
                for _ in range(3):
                    await process.reviews.catch_up()
            assert len(tries) == 3
            assert tries[0] != tries[1]
            assert tries[0] == tries[2]
            await process.reviews.catch_up()
            await process.reviews.catch_up()
            assert [(await process.now(one)).state for one in made] == ["approved"] * 2

    asyncio.run(main())


def test_how_much_is_owed_and_since_when_is_counted(house: House) -> None:
    async def main() -> None:
        async with house.process() as process:
            desk = Desk(process.approvals, house.clock, house.tenant)
            await owing(process, desk, house.people[0])
            rows = await process.store.read(lambda c: queues.totals(c, desk.now))
            assert rows["approvals", "unrecorded"] == queues.Queue("approvals", 1, desk.now)
            await process.reviews.catch_up()
            rows = await process.store.read(lambda c: queues.totals(c, desk.now))
            assert rows["approvals", "unrecorded"].length == 0

    asyncio.run(main())


def test_each_record_of_an_answer_says_which_of_the_quorum_it_was(house: House) -> None:
    async def main() -> None:
        async with house.process() as process:
            desk = Desk(process.approvals, house.clock, house.tenant)
            made = await owing(process, desk, house.people[0], quorum=2)
            await process.approve(made, house.people[1])
            await process.reviews.catch_up()
            entries = await process.log.read(house.tenant, after=-1, limit=100, kinds=["review"])
            said = {one.id.split(".")[2]: one.body["approval"]["given"] for one in entries}
            ann, bob = (process.records.ref(house.tenant, "per", one.subject.id) for one in house.people)
            assert said == {ann: 1, bob: 2}

    asyncio.run(main())


def test_an_answer_to_a_request_that_is_not_on_record_counts_for_nothing(house: House) -> None:
    async def main() -> None:
        async with house.process() as process:
            desk = Desk(process.approvals, house.clock, house.tenant)
            made = await asyncio.to_thread(desk.propose)
            with pytest.raises(AuditUnavailable) as refused:
                await process.approve(made, house.people[0])
            assert refused.value.error_code == "audit.no_proposal"
            assert ((await process.now(made)).reviews, await process.approvals.owed()) == ((), ())
            assert ((await process.now(made)).state, await process.told("approve")) == ("waiting", 0)

    asyncio.run(main())


def test_a_request_that_never_came_on_record_is_withdrawn_and_what_is_owed_to_it_with_it(house: House) -> None:
    async def main() -> None:
        async with house.process() as process:
            desk = Desk(process.approvals, house.clock, house.tenant)
            kept, dead = await process.asked(desk), await asyncio.to_thread(desk.propose)
            yes = Answer("approve", dead.digest)
            await process.approvals.review(house.people[0], dead.id, yes)
            await process.reviews.withdraw()
            await process.reviews.catch_up()
            assert ((await process.now(dead)).state, len(await process.approvals.owed())) == ("waiting", 1)
            house.clock.advance(UNRECORDED_SECONDS)
            await process.reviews.withdraw()
            await process.reviews.catch_up()
            assert [(await process.now(one)).state for one in (kept, dead)] == ["waiting", "cancelled"]
            assert (await process.approvals.owed(), await process.told("approve")) == ((), 0)
            assert [one.counts for one in (await process.now(dead)).reviews] == [False]
            rows = await process.store.read(lambda c: queues.totals(c, desk.now))
            assert rows["approvals", "unrecorded"].length == 0
            await process.reviews.withdraw()
            assert (await process.approve(await process.now(kept), house.people[0])).state == "approved"

    asyncio.run(main())


def test_an_answer_of_which_no_record_can_be_made_says_so_and_is_tried_once(house: House) -> None:
    async def main() -> None:
        async with house.process() as process:
            desk = Desk(process.approvals, house.clock, house.tenant)
            made = await process.asked(desk)
            with refusing(process, RecordInvalid("approval.given", "is no number"), "review") as tries:
                with pytest.raises(AuditUnavailable) as refused:
                    await process.approve(made, house.people[0])
                assert refused.value.error_code == "audit.record_invalid"
                await process.reviews.catch_up()
            assert (len(tries), await process.approvals.owed()) == (1, ())
            await process.reviews.catch_up()
            stands = await process.now(made)
            assert (stands.state, [one.counts for one in stands.reviews]) == ("waiting", [False])
            assert (await process.approve(made, house.people[1])).state == "approved"

    asyncio.run(main())


def test_an_answer_on_record_that_the_rows_do_not_take_yet_is_kept_and_counts_later(house: House) -> None:
    async def main() -> None:
        async with house.process() as process:
            desk = Desk(process.approvals, house.clock, house.tenant)
            made = await process.asked(desk)
            recorded = process.approvals.recorded

            async def locked(*_: Any) -> Any:
                raise StoreUnavailable

            process.approvals.recorded = locked
            with pytest.raises(ReviewOwed):
                await process.approve(made, house.people[0])
            process.approvals.recorded = recorded
            assert ((await process.now(made)).state, await process.told("approve")) == ("waiting", 1)
            await process.reviews.catch_up()
            assert ((await process.now(made)).state, await process.told("approve")) == ("approved", 1)

    asyncio.run(main())


@pytest.mark.parametrize(
    "error", [LogUnavailable("away"), HistoryConflict("forked")], ids=["the log is away", "the log contradicts itself"]
)
def test_what_a_person_answered_is_settled_only_when_all_of_it_is_on_record(house: House, error: Exception) -> None:
    async def main() -> None:
        async with house.process() as process:
            desk = Desk(process.approvals, house.clock, house.tenant)
            ann, bob = house.people
            first, others = await owing(process, desk, ann), await owing(process, desk, bob)
            with refusing(process, error, "review") as tries, pytest.raises(AuditUnavailable):
                await process.reviews.settle(house.tenant, ann.subject.id)
            assert len(tries) == 1
            await process.reviews.settle(house.tenant, ann.subject.id)
            assert [(await process.now(one)).state for one in (first, others)] == ["approved", "waiting"]

    asyncio.run(main())


@pytest.mark.parametrize("settled", [False, True], ids=["in a round", "before a key is removed"])
def test_an_answer_that_makes_no_record_is_dropped_and_holds_nothing_up(house: House, settled: bool) -> None:
    async def main() -> None:
        async with house.process() as process:
            (ann, bob), desk = house.people, Desk(process.approvals, house.clock, house.tenant)
            bad, good = [await owing(process, desk, ann) for _ in range(2)]
            spoilt = update(review_owed).where(review_owed.c.proposal == bad.id).values(said=b"{}")
            await process.store.write(lambda c: c.execute(spoilt))
            await (process.reviews.settle(house.tenant, ann.subject.id) if settled else process.reviews.catch_up())
            assert [(await process.now(one)).state for one in (bad, good)] == ["waiting", "approved"]
            assert ((await process.approve(bad, bob)).state, await process.approvals.owed()) == ("approved", ())

    asyncio.run(main())


def test_an_answer_whose_payload_does_not_seal_is_owed_until_a_key_is_removed(house: House) -> None:
    async def main() -> None:
        async with house.process() as process:
            await owing(process, Desk(process.approvals, house.clock, house.tenant), house.people[0])
            with refusing(process, PayloadCorrupt("no key"), "review") as tries:
                await process.reviews.catch_up()
                await process.reviews.settle(house.tenant, house.people[0].subject.id)
            assert (len(tries), await process.approvals.owed()) == (2, ())

    asyncio.run(main())


def test_a_request_whose_payload_does_not_open_takes_answers_all_the_same(house: House) -> None:
    async def main() -> None:
        async with house.process() as process:
            desk = Desk(process.approvals, house.clock, house.tenant)
            made = await process.asked(desk)

            async def corrupt(*_: Any) -> Any:
                raise PayloadCorrupt("its key is another")

            process.log.payload = corrupt
            assert (await process.approve(made, house.people[0])).state == "approved"
            await process.reviews.settle(house.tenant, house.people[0].subject.id)

    asyncio.run(main())


def test_silence_that_counted_for_a_request_approves_no_narrower_one(house: House) -> None:
    async def main() -> None:
        async with house.process() as process:
            desk = Desk(process.approvals, house.clock, house.tenant)
            made = await process.asked(desk, time_box=BOX, roles=("oncall",), quorum=2)
            await process.boxes.told(made, "pager", last=True)
            await process.boxes.acknowledge(house.people[0], made.id, made.digest)
            house.clock.advance(BOX.seconds)
            assert await process.boxes.count(made, BOX.per_day) == ""
            less = Answer("approve", made.digest, narrow={"amount": 20})
            with pytest.raises(Conflict) as refused:
                await process.reviews.give(house.people[1], made.id, less, rebind)
            assert refused.value.error_code == "approval.box_over"
            assert (await process.boxes.approve(replace(made, digest="0" * 64))).state == "waiting"
            assert (await process.boxes.approve(made)).state == "approved"

    asyncio.run(main())
