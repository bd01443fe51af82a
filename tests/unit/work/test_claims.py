"""Work is claimed by one, held for a while under a fence, and ended only by who still has it."""

import asyncio
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import psycopg
import pytest

from broker.errors import BadRequest, Conflict, NotFound
from broker.store import Store
from broker.store import sessions as session_rows
from broker.work import Claimed, Work
from tests.shop import AGENT, Shop
from tests.stores import agent, open_store

Run = Callable[[Any], Any]


def refused_as_stale(refused: Any) -> bool:
    """Whether the answer is that of a holder whose step is gone."""
    return bool(refused.value.error_code == "work.stale" and refused.value.error_remedy)


def test_one_row_is_one_claim_until_its_time_is_over(shop: Shop, run: Run) -> None:
    async def main() -> None:
        await shop.receive()
        first = await shop.claim(hold_s=60)
        assert await shop.work.claim(shop.tenant, ["incident"], "dev:agent-2", 60) is None
        shop.clock.advance(59)
        assert await shop.work.claim(shop.tenant, ["incident"], "dev:agent-2", 60) is None
        shop.clock.advance(1)
        second = await shop.work.claim(shop.tenant, ["incident"], "dev:agent-2", 60)
        assert second is not None
        assert (second.id, second.step, second.fence, second.attempts) == (first.id, first.step, first.fence + 1, 2)

    run(main())


def test_who_was_overtaken_can_neither_renew_nor_finish_nor_act(shop: Shop, run: Run) -> None:
    async def main() -> None:
        opened = await shop.receive()
        first = await shop.claim()
        shop.clock.advance(60)
        second = await shop.claim()
        assert second.holder == first.holder
        for ask in (
            shop.work.renew(shop.tenant, first.id, holder=AGENT, fence=first.fence, hold_s=60),
            shop.work.check(shop.tenant, first.id, holder=AGENT, fence=first.fence),
            shop.finish(first, "noise"),
        ):
            with pytest.raises(Conflict) as refused:
                await ask
            assert refused_as_stale(refused)
        assert (await shop.get(opened)).state == "triaging"
        assert (await shop.finish(second, "investigating")).state == "investigating"

    run(main())


def test_time_that_ran_out_counts_although_nobody_else_came(shop: Shop, run: Run) -> None:
    async def main() -> None:
        await shop.receive()
        claimed = await shop.claim(hold_s=60)
        shop.clock.advance(60)
        for ask in (
            shop.work.renew(shop.tenant, claimed.id, holder=AGENT, fence=claimed.fence, hold_s=60),
            shop.work.check(shop.tenant, claimed.id, holder=AGENT, fence=claimed.fence),
            shop.finish(claimed, "investigating"),
        ):
            with pytest.raises(Conflict) as refused:
                await ask
            assert refused_as_stale(refused)

    run(main())


def test_a_renewal_holds_it_from_now_on(shop: Shop, run: Run) -> None:
    async def main() -> None:
        await shop.receive()
        claimed = await shop.claim(hold_s=60)
        shop.clock.advance(50)
        renewed = await shop.work.renew(shop.tenant, claimed.id, holder=AGENT, fence=claimed.fence, hold_s=60)
        assert (renewed.until, renewed.fence) == (claimed.until + 50, claimed.fence)
        shop.clock.advance(59)
        held = await shop.work.check(shop.tenant, claimed.id, holder=AGENT, fence=claimed.fence)
        assert (held.subject, held.step, held.session) == (claimed.subject, claimed.step, claimed.session)

    run(main())


@pytest.mark.parametrize("wrong", ["holder", "fence", "id", "step"])
def test_every_part_of_the_proof_counts(shop: Shop, run: Run, wrong: str) -> None:
    async def main() -> None:
        await shop.receive()
        claimed = await shop.claim()
        changed: dict[str, Claimed] = {
            "holder": replace(claimed, holder="dev:agent-2"),
            "fence": replace(claimed, fence=claimed.fence + 1),
            "id": replace(claimed, id="wrk_other"),
            "step": replace(claimed, step=claimed.step + 1),
        }
        with pytest.raises(Conflict) as refused:
            await shop.finish(changed[wrong], "investigating")
        assert refused_as_stale(refused)

    run(main())


def test_a_step_is_finished_once(shop: Shop, run: Run) -> None:
    async def main() -> None:
        opened = await shop.receive()
        claimed = await shop.claim()
        done = await asyncio.gather(*(shop.finish(claimed, "investigating") for _ in range(8)), return_exceptions=True)
        assert sum(not isinstance(one, Exception) for one in done) == 1
        assert (await shop.kinds(opened)).count("investigating") == 1

    run(main())


def test_of_many_that_claim_at_once_each_row_goes_to_one(shop: Shop, run: Run) -> None:
    async def main() -> None:
        for number in range(5):
            await shop.receive("search", env=f"env-{number}", fingerprint=f"f{number}")
        found = await asyncio.gather(
            *(shop.work.claim(shop.tenant, ["incident"], f"dev:agent-{number}", 60) for number in range(12))
        )
        taken = [one.subject for one in found if one]
        assert len(set(taken)) == len(taken)
        rest = [await shop.work.claim(shop.tenant, ["incident"], "dev:late", 60) for _ in range(5)]
        assert len(taken) + sum(one is not None for one in rest) == 5

    run(main())


def test_what_somebody_is_at_is_passed_over_and_not_waited_for(run: Run, tmp_path: Path) -> None:
    store = open_store("postgresql", tmp_path)
    url = store._lanes["write"].engine.url.set(drivername="postgresql").render_as_string(hide_password=False)

    async def main(table: str, name: str) -> None:
        shop = Shop(store)
        first = await shop.receive("search", severity="critical")
        second = await shop.receive("payments", severity="info")
        with psycopg.connect(url) as other:
            other.execute(
                f"SELECT 1 FROM {table} WHERE tenant = %s AND {name} = %s FOR UPDATE", (shop.tenant, first.id)
            )
            async with asyncio.timeout(60):
                claimed = await shop.work.claim(shop.tenant, ["incident"], AGENT, 60)
                assert claimed is not None
                assert claimed.subject == second.id
                assert await shop.work.claim(shop.tenant, ["incident"], AGENT, 60) is None
            other.rollback()
        assert (await shop.claim()).subject == first.id

    run(main("work", "subject"))
    run(main("incident", "id"))
    store.close()


def test_nothing_is_due_while_the_log_lacks_an_event(shop: Shop, run: Run) -> None:
    async def main() -> None:
        opened = await shop.receive()
        await shop.incidents.note(shop.tenant, opened.id, kind="note", by="dev:ann", body={"text": "wait"})
        assert not await shop.work.is_due(shop.tenant, ["incident"])
        assert await shop.work.claim(shop.tenant, ["incident"], AGENT, 60) is None
        [event] = await shop.incidents.unrecorded(shop.tenant, opened.id)
        await shop.incidents.recorded(shop.tenant, event.id)
        await shop.incidents.recorded(shop.tenant, event.id)
        assert await shop.work.is_due(shop.tenant, ["incident"])
        assert (await shop.claim()).subject == opened.id

    run(main())


def test_an_unrecorded_event_of_one_incident_holds_up_no_other(shop: Shop, run: Run) -> None:
    async def main() -> None:
        loud = await shop.receive("search", severity="critical")
        calm = await shop.receive("payments", severity="info")
        await shop.incidents.note(shop.tenant, loud.id, kind="note", by="dev:ann")
        claimed = await shop.work.claim(shop.tenant, ["incident"], AGENT, 60)
        assert claimed is not None
        assert claimed.subject == calm.id

    run(main())


def test_severity_comes_first_and_age_overcomes_it(shop: Shop, run: Run) -> None:
    async def main() -> None:
        old = await shop.receive("search", severity="info")
        shop.clock.advance(14_401)
        young = await shop.receive("payments", severity="critical")
        assert (await shop.claim(hold_s=3600)).subject == old.id
        assert (await shop.claim(hold_s=3600)).subject == young.id
        older = await shop.receive("inventory", severity="warning", env="staging", fingerprint="a")
        shop.clock.advance(60)
        louder = await shop.receive("inventory", severity="critical")
        assert [(await shop.claim(hold_s=3600)).subject for _ in range(2)] == [louder.id, older.id]

    run(main())


def test_an_agent_gets_the_incidents_session_and_the_one_before_loses_it(shop: Shop, run: Run) -> None:
    async def main() -> None:
        await shop.receive()
        first = await shop.claim(holder="dev:agent-1")
        one, other = agent("agent-1", shop.tenant), agent("agent-2", shop.tenant)
        assert (await shop.sessions.get(one, first.session)).id == first.session
        shop.clock.advance(60)
        second = await shop.claim(holder="dev:agent-2")
        assert second.session == first.session
        assert (await shop.sessions.get(other, first.session)).agent == "dev:agent-2"
        with pytest.raises(Exception, match="no such open session"):
            await shop.sessions.get(one, first.session)

    run(main())


def test_where_the_session_has_ended_a_new_one_like_it_goes_on_and_keeps_the_taint(store: Store, run: Run) -> None:
    shop = Shop(store, session_seconds=600)

    async def main() -> None:
        opened = await shop.receive(trusted={"alertname": "Errors"})
        first = await shop.claim()
        shop.clock.advance(600)
        second = await shop.claim()
        assert second.session != first.session
        assert (await shop.get(opened)).session == second.session
        before, after = [
            await store.read(lambda c, s=name: session_rows.find(c, shop.tenant, s))
            for name in (first.session, second.session)
        ]
        assert before is not None
        assert after is not None
        assert (after.intent, after.budgets, after.incident) == (before.intent, before.budgets, opened.id)
        assert (after.tainted, after.agent) == (True, AGENT)
        assert after.expires_at == second.until - 60 + 600

    run(main())


@pytest.mark.parametrize("ending", ["linked", "closed"])
def test_the_session_ends_with_the_incident(shop: Shop, run: Run, ending: str) -> None:
    async def main() -> None:
        await shop.receive("checkout")
        claimed = await shop.claim()
        mine = agent("agent-1", shop.tenant)
        assert (await shop.sessions.get(mine, claimed.session)).incident == claimed.incident
        if ending == "linked":
            await shop.finish(claimed, "linked", into=(await shop.receive("payments")).id)
        else:
            await shop.finish(claimed, "noise")
            await shop.incidents.learn(await shop.claim("learn"))
        with pytest.raises(NotFound):
            await shop.sessions.get(mine, claimed.session)

    run(main())


def test_a_hold_of_a_clock_that_was_set_back_since_holds_nothing(shop: Shop, run: Run) -> None:
    async def main() -> None:
        await shop.receive()
        claimed = await shop.claim(hold_s=60)
        shop.clock.step_wall(-7_200)
        with pytest.raises(Conflict):
            await shop.work.check(shop.tenant, claimed.id, holder=AGENT, fence=claimed.fence)

    run(main())


def test_work_is_a_tenants_own(store: Store, run: Run) -> None:
    one, other = Shop(store), Shop(store)

    async def main() -> None:
        await one.receive()
        claimed = await one.claim()
        assert await other.work.claim(other.tenant, ["incident"], AGENT, 60) is None
        for ask in (
            other.work.renew(other.tenant, claimed.id, holder=AGENT, fence=claimed.fence, hold_s=60),
            other.work.check(other.tenant, claimed.id, holder=AGENT, fence=claimed.fence),
            other.finish(claimed, "investigating"),
            other.work.done(replace(claimed, tenant=other.tenant)),
        ):
            with pytest.raises(Conflict) as refused:
                await ask
            assert refused_as_stale(refused)
        assert await other.work.page(other.tenant) == []

    run(main())


def test_the_gates_own_work_is_claimed_for_all_tenants_and_agents_work_never(store: Store, run: Run) -> None:
    one, other = Shop(store), Shop(store)

    async def main() -> None:
        for shop in (one, other):
            await shop.step(await shop.receive(), "escalated")
            await shop.record()
        found = set()
        while claimed := await one.work.claim("*", ["notify"], "gate", 60):
            found.add(claimed.tenant)
        assert {one.tenant, other.tenant} <= found
        with pytest.raises(BadRequest):
            await one.work.claim("*", ["incident"], AGENT, 60)

    run(main())


@pytest.mark.parametrize(
    ("kinds", "holder", "hold_s"),
    [([], AGENT, 60), (["incident"], "", 60), (["incident"], AGENT, 0), (["incident"], AGENT, 3601)],
)
def test_a_claim_names_kinds_holder_and_a_bounded_time(
    shop: Shop, run: Run, kinds: list[str], holder: str, hold_s: int
) -> None:
    with pytest.raises(BadRequest) as refused:
        run(shop.work.claim(shop.tenant, kinds, holder, hold_s))
    assert refused.value.error_code == "work.claim"


def test_other_work_of_the_gate_is_put_once_ended_once_and_kept(shop: Shop, run: Run) -> None:
    async def main() -> None:
        first = await shop.work.put(shop.tenant, "export", "exp_1", body={"from": 1})
        assert await shop.work.put(shop.tenant, "export", "exp_1", body={"from": 2}) == first
        assert await shop.work.put(shop.tenant, "notify", "exp_1") != first
        claimed = await shop.claim("export")
        assert (claimed.subject, claimed.body, claimed.session) == ("exp_1", {"from": 1}, "")
        with pytest.raises(Conflict):
            await shop.work.done(replace(claimed, step=claimed.step + 1))
        await shop.work.done(claimed)
        with pytest.raises(Conflict):
            await shop.work.done(claimed)
        await shop.work.put(shop.tenant, "export", "exp_1")
        assert not await shop.work.is_due(shop.tenant, ["export"])
        assert [row.id for row in await shop.work.page(shop.tenant, states=["done"])] == [first]

    run(main())


def test_work_is_not_due_before_its_time(shop: Shop, run: Run) -> None:
    async def main() -> None:
        now = shop.clock.now_ns() // 10**9
        await shop.work.put(shop.tenant, "notify", "n", due=now + 30)
        assert not await shop.work.is_due(shop.tenant, ["notify"])
        shop.clock.advance(30)
        assert (await shop.claim("notify")).subject == "n"

    run(main())


@pytest.mark.parametrize("kind", ["incident", "nonsense", ""])
def test_nobody_puts_agents_work_or_work_of_no_kind(shop: Shop, run: Run, kind: str) -> None:
    with pytest.raises(BadRequest) as refused:
        run(shop.work.put(shop.tenant, kind, "x"))
    assert refused.value.error_code == "work.kind"


def test_what_was_postponed_comes_back_later_under_a_new_fence(shop: Shop, run: Run) -> None:
    async def main() -> None:
        await shop.work.put(shop.tenant, "notify", "n")
        claimed = await shop.claim("notify")
        await shop.work.postpone(claimed, 30)
        assert not await shop.work.is_due(shop.tenant, ["notify"])
        shop.clock.advance(30)
        again = await shop.claim("notify")
        assert (again.fence, again.attempts) == (claimed.fence + 1, 1)
        with pytest.raises(Conflict):
            await shop.work.postpone(claimed, 30)

    run(main())


def test_the_baseline_comes_before_the_agents_step(shop: Shop, run: Run) -> None:
    async def main() -> None:
        opened = await shop.to_state(await shop.receive(), "investigating", "diagnosed")
        await shop.record()
        assert not await shop.work.is_due(shop.tenant, ["incident"])
        baseline = await shop.claim("baseline")
        await shop.work.pass_on(baseline)
        with pytest.raises(Conflict):
            await shop.work.pass_on(baseline)
        claimed = await shop.claim()
        assert (claimed.subject, claimed.step) == (opened.id, baseline.step + 1)
        with pytest.raises(Conflict):
            await shop.work.pass_on(claimed)

    run(main())


def test_a_row_that_is_not_an_incidents_own_moves_no_incident(shop: Shop, run: Run) -> None:
    async def main() -> None:
        opened = await shop.step(await shop.receive(), "escalated")
        notify = await shop.claim("notify")
        for ask in (
            shop.work.pass_on(notify),
            shop.incidents.advance(shop.tenant, opened.id, to="learning", by="gate", claimed=notify),
            shop.incidents.learn(notify),
        ):
            with pytest.raises(Conflict) as refused:
                await ask
            assert refused_as_stale(refused)

    run(main())


def test_a_replica_with_another_store_object_sees_the_same_claims(shop: Shop, run: Run) -> None:
    async def main() -> None:
        await shop.receive()
        claimed = await shop.claim()
        other = Work(shop.store, shop.clock)
        assert await other.claim(shop.tenant, ["incident"], "dev:agent-2", 60) is None
        assert (await other.check(shop.tenant, claimed.id, holder=AGENT, fence=claimed.fence)).id == claimed.id

    run(main())
