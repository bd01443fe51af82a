"""Work that nobody can do is set aside where people see it, and strands no incident."""

from collections.abc import Callable
from typing import Any

import pytest

from broker.clock import seconds
from broker.store import queues
from broker.store.work import ATTEMPTS_MAX, CALLS_S
from broker.work import Claimed
from tests.shop import AGENT, EXECUTED, Shop

Run = Callable[[Any], Any]


async def exhaust(shop: Shop, *kinds: str) -> Claimed:
    """Claim again and again as workers that die; returns the last claim."""
    for _ in range(ATTEMPTS_MAX):
        last = await shop.claim(*kinds)
        shop.clock.advance(60)
    assert last.attempts == ATTEMPTS_MAX
    assert await shop.work.claim(shop.tenant, kinds or ["incident"], "dev:next", 60) is None
    await shop.record()
    return last


@pytest.mark.parametrize("path", [(), ("investigating",)])
def test_a_step_that_five_workers_died_at_calls_people(shop: Shop, run: Run, path: tuple[str, ...]) -> None:
    async def main() -> None:
        opened = await shop.to_state(await shop.receive(), *path)
        last = await exhaust(shop)
        now = await shop.get(opened)
        assert now.state == "escalated"
        event = await shop.last(opened)
        assert (event.kind, event.body["attempts"], event.body["work"]) == ("set_aside", ATTEMPTS_MAX, last.id)
        [row] = [one for one in await shop.work.page(shop.tenant, states=["aside"]) if one.subject == opened.id]
        assert (row.id, row.attempts) == (last.id, ATTEMPTS_MAX)
        assert (await shop.claim("notify")).body["reason"] == "set_aside"

    run(main())


def test_what_is_set_aside_is_counted_where_people_look_and_told_in_the_incident(shop: Shop, run: Run) -> None:
    async def main() -> None:
        opened = await shop.receive()
        await exhaust(shop)
        waiting = await shop.store.read(lambda c: queues.lengths(c, shop.tenant, seconds(shop.clock)))
        [aside] = [one for one in waiting if one.name == "work_aside"]
        assert (aside.length, aside.oldest) == (1, opened.opened_at)
        told = await shop.incidents.postmortem(shop.tenant, opened.id)
        [line] = [one for one in told["timeline"] if one["kind"] == "set_aside"]
        assert line["text"] == "triaging to escalated; reason: set_aside"
        assert "reason: set" in told["markdown"]

    run(main())


def test_a_person_makes_it_due_afresh(shop: Shop, run: Run) -> None:
    async def main() -> None:
        opened = await shop.receive()
        await exhaust(shop)
        await shop.incidents.note(shop.tenant, opened.id, kind="hand_back", by="dev:ann", body={"to": "investigating"})
        claimed = await shop.claim()
        assert (claimed.subject, claimed.attempts) == (opened.id, 1)
        assert await shop.work.page(shop.tenant, states=["aside"]) == []

    run(main())


def test_the_gates_own_step_that_fails_again_and_again_calls_people_too(shop: Shop, run: Run) -> None:
    async def main() -> None:
        opened = await shop.to_state(await shop.receive(), *EXECUTED)
        await exhaust(shop, "verify")
        assert (await shop.get(opened)).state == "escalated"

    run(main())


def test_learning_that_fails_calls_nobody_but_is_seen(shop: Shop, run: Run) -> None:
    async def main() -> None:
        opened = await shop.to_state(await shop.receive(), "noise")
        await exhaust(shop, "learn")
        assert (await shop.get(opened)).state == "noise"
        assert (await shop.last(opened)).kind == "set_aside"
        assert [row.kind for row in await shop.work.page(shop.tenant, states=["aside"])] == ["learn"]
        assert not await shop.work.is_due(shop.tenant, ["notify"])

    run(main())


@pytest.mark.parametrize("died", [False, True], ids=["its last try failed", "its last holder died"])
def test_a_notification_that_cannot_be_sent_for_a_day_is_set_aside_and_the_incident_stays_with_people(
    shop: Shop, run: Run, died: bool
) -> None:
    async def main() -> None:
        opened = await shop.step(await shop.receive(), "escalated")
        first = await shop.claim("notify")
        for number in range(2, 4 * ATTEMPTS_MAX):
            await shop.work.postpone(first, 60, attempts=first.attempts)
            shop.clock.advance(60)
            first = await shop.claim("notify")
            assert first.attempts == number
        await shop.work.postpone(first, 60, attempts=first.attempts)
        shop.clock.advance(CALLS_S["notify"])
        last = await shop.claim("notify")
        assert last.id == first.id, "whoever was down for long tries once more"
        if died:
            shop.clock.advance(60)
        else:
            await shop.work.postpone(last, 0, attempts=last.attempts)
        assert await shop.work.claim(shop.tenant, ["notify"], "gate", 60) is None
        await shop.record()
        assert (await shop.get(opened)).state == "escalated"
        assert (await shop.last(opened)).body["kind"] == "notify"
        assert not await shop.work.is_due(shop.tenant, ["notify"])

    run(main())


def test_poison_holds_up_nothing_behind_it(shop: Shop, run: Run) -> None:
    async def main() -> None:
        bad = await shop.receive("search", severity="critical")
        for _ in range(ATTEMPTS_MAX):
            assert (await shop.claim()).subject == bad.id
            shop.clock.advance(60)
        good = await shop.receive("payments", severity="info")
        claimed = await shop.work.claim(shop.tenant, ["incident"], AGENT, 60)
        assert claimed is not None
        assert claimed.subject == good.id

    run(main())


def test_a_finished_step_begins_to_count_anew_and_a_lost_try_counts(shop: Shop, run: Run) -> None:
    async def main() -> None:
        await shop.receive()
        for _ in range(ATTEMPTS_MAX - 1):
            claimed = await shop.claim()
            shop.clock.advance(60)
        claimed = await shop.claim()
        await shop.finish(claimed, "investigating")
        assert (await shop.claim()).attempts == 1
        await shop.work.put(shop.tenant, "notify", "n")
        await shop.work.postpone(await shop.claim("notify"), 0, attempts=1)
        assert (await shop.claim("notify")).attempts == 2

    run(main())
