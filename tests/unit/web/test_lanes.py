"""Lanes: who is served next, who waits how long, and who is turned away."""

import asyncio
from collections.abc import Coroutine
from typing import Any

import pytest

from broker.config import WebSettings
from broker.errors import Unavailable
from broker.web.lanes import Lanes, Name, Place

PATIENT = 60.0


def lanes(**bounds: Any) -> Lanes:
    """Lanes with few places, where nobody is told to go for having waited too long."""
    return Lanes(WebSettings(**{"work_places": 1, "control_places": 1, "waiting_seconds_max": PATIENT, **bounds}))


async def queued(it: Lanes, *wanted: tuple[Name, str]) -> list[tuple[Name, str, "asyncio.Task[Place]"]]:
    """Somebody who waits for each, in order."""
    found = []
    for name, tenant in wanted:
        found.append((name, tenant, asyncio.create_task(it.enter(name, tenant))))
        await asyncio.sleep(0)
    return found


async def order(it: Lanes, place: Place, waiting: list[tuple[Name, str, "asyncio.Task[Place]"]]) -> list[str]:
    """Who is served after each other once ``place`` is given back."""
    served: list[str] = []
    place.leave()
    for _ in waiting:
        done = None
        while done is None:
            await asyncio.sleep(0)
            done = next((one for one in waiting if one[2].done() and one[1] not in served), None)
        served.append(done[1])
        done[2].result().leave()
    assert all(lane.running == lane.waiting == 0 for lane in it.lanes.values())
    return served


async def filled(it: Lanes, name: Name) -> int:
    """How many got in before one was turned away."""
    for taken in range(99):
        try:
            await it.enter(name, "")
        except Unavailable:
            return taken
    raise AssertionError(name)


def run(main: Coroutine[Any, Any, None]) -> None:
    """One loop a test."""
    asyncio.run(main)


def test_writes_are_served_before_reads_and_reads_before_model_calls() -> None:
    async def main() -> None:
        it = lanes()
        first = await it.enter("write", "")
        waiting = await queued(it, ("model", "m"), ("read", "r"), ("write", "w"), ("read", "r2"), ("write", "w2"))
        assert await order(it, first, waiting) == ["w", "w2", "r", "r2", "m"]

    run(main())


def test_the_controls_have_places_of_their_own() -> None:
    async def main() -> None:
        it = lanes(waiting_max=0)
        held = await it.enter("write", "")
        with pytest.raises(Unavailable):
            await it.enter("write", "")
        control = await it.enter("control", "")
        control.leave()
        held.leave()

    run(main())


def test_neither_reads_nor_model_calls_take_every_place() -> None:
    async def main() -> None:
        it = lanes(work_places=8, waiting_max=0)
        assert [await filled(it, name) for name in ("model", "read", "write")] == [4, 4, 0]
        alone = lanes(work_places=8, waiting_max=0)
        for _ in range(6):
            await alone.enter("read", "")
        with pytest.raises(Unavailable):
            await alone.enter("read", "")
        await alone.enter("write", "")
        await alone.enter("write", "")

    run(main())


def test_a_tenant_that_floods_waits_behind_itself() -> None:
    async def main() -> None:
        it = lanes()
        first = await it.enter("write", "")
        flood = [("write", f"loud-{number}") for number in range(3)]
        waiting: list[Any] = []
        for name, label in flood:
            waiting += [(name, label, asyncio.create_task(it.enter(name, "loud")))]  # type: ignore[arg-type]
            await asyncio.sleep(0)
        waiting += await queued(it, ("write", "quiet"))
        assert await order(it, first, waiting) == ["loud-0", "quiet", "loud-1", "loud-2"]

    run(main())


def test_in_a_full_queue_the_tenant_with_most_in_it_gives_way() -> None:
    async def main() -> None:
        it = lanes(waiting_max=3)
        first = await it.enter("write", "")
        flood: list[tuple[Name, str]] = [("write", "loud")] * 3
        loud = [one for _, _, one in await queued(it, *flood)]
        with pytest.raises(Unavailable):
            await it.enter("write", "loud")
        quiet = asyncio.create_task(it.enter("write", "quiet"))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert isinstance(loud[2].exception(), Unavailable)
        assert not any(one.done() for one in (loud[0], loud[1], quiet))
        assert it.lanes["write"].refused == 2
        first.leave()
        (await loud[0]).leave()
        (await quiet).leave()
        (await loud[1]).leave()

    run(main())


def test_who_waits_too_long_is_told_to_come_again_and_leaves_no_trace() -> None:
    async def main() -> None:
        it = lanes(waiting_seconds_max=0.001)
        first = await it.enter("write", "")
        with pytest.raises(Unavailable) as refused:
            await it.enter("write", "")
        assert (refused.value.error_code, refused.value.retry_after) == ("gate.overloaded", 1)
        assert it.lanes["write"].waiting == 0
        first.leave()
        (await it.enter("write", "")).leave()

    run(main())


def test_a_caller_that_goes_while_it_waits_gives_its_turn_away() -> None:
    async def main() -> None:
        it = lanes()
        first = await it.enter("write", "")
        ((_, _, gone), (_, _, after)) = await queued(it, ("write", "a"), ("write", "b"))
        # Its turn has come, and it is cancelled before it learns of it.
        first.leave()
        gone.cancel()
        await asyncio.gather(gone, return_exceptions=True)
        (await after).leave()
        assert (it.lanes["write"].running, it.lanes["write"].waiting) == (0, 0)

    run(main())


def test_who_waits_for_an_upstream_leaves_its_place_to_others_up_to_a_bound() -> None:
    async def main() -> None:
        it = lanes(outside_max=2, waiting_max=0)
        slow = [await it.enter("write", ""), None, None]
        for number in range(2):
            found = slow[number]
            assert found is not None
            found.step_out()
            if number == 0:
                slow[1] = await it.enter("write", "")
        assert it.outside == 2
        with pytest.raises(Unavailable):
            await it.enter("write", "")
        assert slow[0] is not None
        assert slow[1] is not None
        slow[0].step_in()
        # What was begun goes on, and what comes waits for it.
        slow[1].step_in()
        assert it.lanes["write"].running == 2
        with pytest.raises(Unavailable):
            await it.enter("write", "")
        for place in (slow[0], slow[1]):
            place.leave()
            place.leave()
            place.step_out()
        assert (it.lanes["write"].running, it.outside) == (0, 0)

    run(main())
