"""The state table: the database holds the same pairs as the code, and every step leaves its event, or nothing."""

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import delete, update

from broker.errors import BadRequest, Conflict, Denied
from broker.incidents import AGENT_MAY, LIVE, STATES, TRANSITIONS, WORK_OF, Incident
from broker.store import Connection
from broker.store import incidents as rows
from broker.store.rows import new_id
from broker.store.tables import incident, incident_event, work
from broker.work import GATE_KINDS
from tests.shop import AGENT, Shop, refuse_inserts
from tests.stores import fresh_tenant

Run = Callable[[Any], Any]


def route(to: str) -> tuple[str, ...]:
    """The shortest way from the beginning to a state."""
    ways: dict[str, tuple[str, ...]] = {"received": ()}
    queue = deque(["received"])
    while queue:
        here = queue.popleft()
        for there in sorted(new for old, new in TRANSITIONS if old == here):
            if there not in ways:
                ways[there] = (*ways[here], there)
                queue.append(there)
    return ways[to]


def test_every_state_can_be_reached_and_every_live_one_can_be_left() -> None:
    assert all((("received", *route(state))[-1]) == state for state in STATES)
    assert {old for old, _ in TRANSITIONS} == LIVE
    for state in LIVE:
        for way_out in ("escalated", "human_hold"):
            assert state == way_out or (state, way_out) in TRANSITIONS


def test_what_agents_may_ask_for_is_in_the_table_and_never_an_effect() -> None:
    for state, steps in AGENT_MAY.items():
        assert {(state, to) for to in steps} <= TRANSITIONS
    asked = set().union(*AGENT_MAY.values())
    assert asked == {"investigating", "noise", "linked", "escalated", "diagnosed", "inconclusive", "proposed"}


def test_every_live_state_has_work_or_waits_for_people() -> None:
    waiting = LIVE - WORK_OF.keys()
    assert waiting == {"received", "inconclusive", "escalated", "human_hold"}
    assert set(WORK_OF.values()) <= {"incident", *GATE_KINDS}


def draft(**changes: Any) -> Incident:
    """A row as intake writes it."""
    values: dict[str, Any] = {
        "id": new_id("inc"),
        "tenant": fresh_tenant(),
        "state": "received",
        "version": 0,
        "title": "t",
        "service": "checkout",
        "env": "prod",
        "severity": 2,
        "fingerprint": "f",
        "session": "",
        "merged_into": "",
        "action_id": "",
        "diagnosis": "",
        "since": 1,
        "until": None,
        "opened_at": 1,
        "changed_at": 1,
        "closed_at": None,
        "holder": "",
        "alert": {},
    }
    return Incident(**{**values, **changes})


@pytest.mark.parametrize("old", STATES)
def test_the_database_allows_exactly_the_transitions_of_the_table(shop: Shop, run: Run, old: str) -> None:
    def walk(connection: Connection, born: Incident) -> None:
        rows.add(connection, born)
        for state in route(old):
            force(connection, born, state)

    def force(connection: Connection, born: Incident, state: str) -> None:
        connection.execute(update(incident).where(incident.c.id == born.id).values(state=state))

    async def main() -> None:
        for new in STATES:
            born = draft()
            await shop.store.write(lambda c, b=born: walk(c, b), durable=False)
            allowed = new == old or (old, new) in TRANSITIONS
            if allowed:
                await shop.store.write(lambda c, b=born, n=new: force(c, b, n), durable=False)
            else:
                with pytest.raises(Conflict):
                    await shop.store.write(lambda c, b=born, n=new: force(c, b, n), durable=False)
            found = await shop.incidents.get(born.tenant, born.id)
            assert found.state == (new if allowed else old)

    run(main())


@pytest.mark.parametrize("state", [state for state in STATES if state != "received"])
def test_an_incident_is_born_received(shop: Shop, run: Run, state: str) -> None:
    with pytest.raises(Conflict):
        run(shop.store.write(lambda c: rows.add(c, draft(state=state))))


def test_of_one_fingerprint_the_database_holds_at_most_one_live_incident(shop: Shop, run: Run) -> None:
    first = draft()
    run(shop.store.write(lambda c: rows.add(c, first)))
    with pytest.raises(Conflict):
        run(shop.store.write(lambda c: rows.add(c, draft(tenant=first.tenant))))


@pytest.mark.parametrize("column", ["fingerprint", "service", "env"])
def test_what_an_incident_is_about_never_changes(shop: Shop, run: Run, column: str) -> None:
    async def main() -> None:
        opened = await shop.receive()
        changed = update(incident).where(incident.c.id == opened.id).values({column: "other"})
        with pytest.raises(Conflict):
            await shop.store.write(lambda c: c.execute(changed))

    run(main())


@pytest.mark.parametrize(
    "statement",
    [
        update(incident_event).values(kind="other"),
        update(incident_event).values(body=b"{}"),
        update(incident_event).values(recorded=False),
        delete(incident_event),
        delete(incident),
    ],
)
def test_events_are_neither_rewritten_nor_taken_back(shop: Shop, run: Run, statement: Any) -> None:
    async def main() -> None:
        opened = await shop.receive()
        table = statement.table
        with pytest.raises(Conflict):
            await shop.store.write(lambda c: c.execute(statement.where(table.c.tenant == shop.tenant)))
        assert await shop.kinds(opened) == ["received", "triaging"]

    run(main())


def test_each_change_is_one_event_and_the_version_is_its_number(shop: Shop, run: Run) -> None:
    async def main() -> None:
        opened = await shop.to_state(await shop.receive(), "investigating", "diagnosed", "proposed")
        events = await shop.incidents.events(shop.tenant, opened.id)
        assert [event.seq for event in events] == list(range(1, opened.version + 1))
        assert [event.id for event in events] == [f"{opened.id}.{number}" for number in range(1, opened.version + 1)]
        chain = [(event.from_state, event.to_state) for event in events if event.from_state != event.to_state]
        assert chain == [
            ("received", "triaging"),
            ("triaging", "investigating"),
            ("investigating", "diagnosed"),
            ("diagnosed", "proposed"),
        ]

    run(main())


def test_a_transition_whose_event_cannot_be_written_did_not_happen(shop: Shop, run: Run) -> None:
    async def main() -> None:
        opened = await shop.receive()
        claimed = await shop.claim()
        await shop.store.write(lambda c: refuse_inserts(c, "incident_event", shop.tenant))
        with pytest.raises(Conflict):
            await shop.finish(claimed, "investigating")
        assert await shop.get(opened) == opened
        assert (await shop.work.check(shop.tenant, claimed.id, holder=AGENT, fence=claimed.fence)).step == claimed.step

    run(main())


def test_a_pair_that_is_not_in_the_table_is_refused_with_both_names(shop: Shop, run: Run) -> None:
    async def main() -> None:
        opened = await shop.receive()
        for to in ("executing", "closed", "mitigated", "triaging", "nonsense"):
            with pytest.raises(Conflict) as refused:
                await shop.step(opened, to)
            assert refused.value.error_code == "incident.transition"
            assert to in refused.value.detail
        assert await shop.get(opened) == opened

    run(main())


def test_a_step_that_was_decided_on_an_older_version_is_refused(shop: Shop, run: Run) -> None:
    async def main() -> None:
        opened = await shop.receive()
        await shop.incidents.note(shop.tenant, opened.id, kind="note", by="dev:ann", body={"text": "look at payments"})
        with pytest.raises(Conflict) as refused:
            await shop.incidents.advance(shop.tenant, opened.id, to="investigating", by="gate", version=opened.version)
        assert refused.value.error_code == "incident.version"

    run(main())


def test_a_change_of_what_was_read_before_another_change_is_refused(shop: Shop, run: Run) -> None:
    async def main() -> None:
        opened = await shop.receive()
        await shop.step(opened, "investigating")
        with pytest.raises(Conflict) as refused:
            await shop.store.write(lambda c: rows.change(c, opened, kind="note", by="dev:ann", now_s=opened.changed_at))
        assert refused.value.error_code == "incident.version"

    run(main())


def test_of_many_steps_at_once_one_is_taken(shop: Shop, run: Run) -> None:
    async def main() -> None:
        opened = await shop.receive()
        done = await asyncio.gather(
            *(
                shop.incidents.advance(shop.tenant, opened.id, to=to, by="gate", version=opened.version)
                for to in ("investigating", "noise", "escalated", "investigating", "noise")
            ),
            return_exceptions=True,
        )
        assert sum(not isinstance(one, Exception) for one in done) == 1
        assert all(isinstance(one, Conflict) for one in done if isinstance(one, Exception))

    run(main())


@pytest.mark.parametrize("state", sorted(AGENT_MAY))
def test_an_agent_may_finish_only_with_its_own_steps(shop: Shop, run: Run, state: str) -> None:
    async def main() -> None:
        opened = await shop.receive()
        await shop.to_state(opened, *route(state)[1:])
        if state == "diagnosed":
            await shop.work.pass_on(await shop.claim("baseline"))
        claimed = await shop.claim()
        for to in set(STATES) - AGENT_MAY[state]:
            with pytest.raises(Denied) as refused:
                await shop.finish(claimed, to)
            assert refused.value.error_code == "incident.not_agents"
        assert (await shop.get(opened)).state == state

    run(main())


def test_a_diagnosis_counts_only_if_the_gate_found_it_to_hold_for_this_incident(shop: Shop, run: Run) -> None:
    async def main() -> None:
        opened = await shop.to_state(await shop.receive("payments"), "investigating")
        other = await shop.receive("search")
        for wrong in (
            await shop.diagnosed(opened, "inconclusive"),
            await shop.diagnosed(other),
            "dgn_invented",
        ):
            with pytest.raises(Conflict) as refused:
                await shop.step(opened, "diagnosed", diagnosis=wrong)
            assert refused.value.error_code == "incident.diagnosis"
        with pytest.raises(BadRequest):
            await shop.step(opened, "diagnosed")
        held = await shop.diagnosed(opened)
        assert (await shop.step(opened, "diagnosed", diagnosis=held)).diagnosis == held

    run(main())


def test_a_proposal_names_its_action(shop: Shop, run: Run) -> None:
    async def main() -> None:
        opened = await shop.to_state(await shop.receive(), "investigating", "diagnosed")
        with pytest.raises(BadRequest) as refused:
            await shop.step(opened, "proposed")
        assert "`action_id`" in refused.value.detail
        assert (await shop.step(opened, "proposed", action_id="act_7")).action_id == "act_7"

    run(main())


def test_not_knowing_calls_people_in_the_same_transaction(shop: Shop, run: Run) -> None:
    async def main() -> None:
        opened = await shop.to_state(await shop.receive(), "investigating")
        claimed = await shop.claim()
        assert (await shop.finish(claimed, "inconclusive", missing=["traces"])).state == "escalated"
        assert (await shop.kinds(opened))[-2:] == ["inconclusive", "escalated"]
        notified = await shop.claim("notify")
        assert notified.subject == (await shop.last(opened)).id
        assert notified.body == {"reason": "inconclusive", "missing": ["traces"]}
        assert not await shop.work.is_due(shop.tenant, ["incident"])

    run(main())


def test_every_way_to_an_escalation_calls_people_once(shop: Shop, run: Run) -> None:
    async def main() -> None:
        opened = await shop.step(await shop.receive(), "escalated", why="asked")
        await shop.work.done(await shop.claim("notify"))
        await shop.record()
        assert not await shop.work.is_due(shop.tenant, ["notify"])
        assert (await shop.get(opened)).state == "escalated"

    run(main())


def test_an_agent_links_only_along_the_topology_and_takes_along_what_is_linked_already(shop: Shop, run: Run) -> None:
    async def main() -> None:
        checkout = await shop.receive("checkout")
        linked = await shop.receive("storefront")
        payments = await shop.receive("payments")
        search = await shop.receive("search")
        for into in (search.id, checkout.id, linked.id, "inc_invented"):
            with pytest.raises(Conflict) as refused:
                await shop.step(checkout, "linked", into=into)
            assert refused.value.error_code == "incident.unrelated"
        await shop.step(checkout, "linked", into=payments.id)
        assert {one.id for one in await shop.incidents.linked(shop.tenant, payments.id)} == {checkout.id, linked.id}
        assert (await shop.last(payments)).body["incident"] == checkout.id

    run(main())


def test_two_incidents_that_are_linked_into_each_other_at_once_leave_one_open(shop: Shop, run: Run) -> None:
    async def main() -> None:
        one, other = await shop.receive("checkout"), await shop.receive("payments")
        done = await asyncio.gather(
            shop.step(one, "linked", into=other.id), shop.step(other, "linked", into=one.id), return_exceptions=True
        )
        assert sum(isinstance(found, Conflict) for found in done) == 1
        states = sorted([(await shop.get(one)).state, (await shop.get(other)).state])
        assert states == ["linked", "triaging"]

    run(main())


def test_the_work_of_each_state_is_due_and_no_other(shop: Shop, run: Run) -> None:
    async def main() -> None:
        opened = await shop.receive()
        for state in ("investigating", "diagnosed", "proposed", "awaiting_approval", "leased", "executing", "verifying",
                      "rolling_back", "rolled_back", "escalated", "learning"):  # fmt: skip
            await shop.to_state(opened, state)
            await shop.record()
            due = [kind for kind in ("incident", *GATE_KINDS) if await shop.work.is_due(shop.tenant, [kind])]
            assert due == ([WORK_OF[state]] if state in WORK_OF else ["notify"])
            if state == "escalated":
                await shop.work.done(await shop.claim("notify"))
        found = await shop.store.read(lambda c: c.execute(work.select().where(work.c.tenant == shop.tenant)).all())
        assert len(found) == 2

    run(main())


def test_events_and_work_of_a_tenant_that_is_not_there_are_nothing(shop: Shop, run: Run) -> None:
    async def main() -> None:
        await shop.receive()
        assert await shop.incidents.unrecorded("nobody") == []
        assert not await shop.work.is_due("nobody", ["incident"])
        await shop.incidents.recorded("nobody", "inc_x.1")
        for wrong in ("", "x", "inc.", ".1", "inc_x.-1", "inc_x.1e3"):
            with pytest.raises(BadRequest):
                await shop.incidents.recorded(shop.tenant, wrong)

    run(main())
