"""Turns of one kind of work: few at a time, a bounded queue, and every tenant in its turn."""

import asyncio
from contextlib import AsyncExitStack

import pytest

from broker.config import WebSettings
from broker.errors import Unavailable
from broker.evaluating import WAITING_SECONDS
from broker.fair import Turns

PATIENT = 60.0


def test_tenants_take_turns_and_one_alone_fills_the_queue_for_nobody_else() -> None:
    async def main() -> None:
        turns, served = Turns("x", places=1, waiting_max=3, seconds=PATIENT), []

        async def work(tenant: str) -> None:
            async with turns.of(tenant):
                served.append(tenant)

        async with turns.of("loud"):
            loud = [asyncio.create_task(work("loud")) for _ in range(4)]
            await asyncio.sleep(0)
            assert turns.lane.depth == (3, 3, 1)
            quiet = asyncio.create_task(work("quiet"))
            await asyncio.sleep(0)
            assert turns.lane.depth == (3, 3, 2)
        ended = await asyncio.gather(*loud, quiet, return_exceptions=True)
        assert served == ["loud", "quiet", "loud"]
        refused = [one for one in ended if one is not None]
        assert [getattr(one, "error_code", "") for one in refused] == ["gate.overloaded"] * 2
        assert (turns.lane.running, turns.lane.waiting, dict(turns.lane.queues)) == (0, 0, {})

    asyncio.run(main())


def test_who_has_waited_too_long_is_told_to_come_again() -> None:
    async def main() -> None:
        turns = Turns("x", places=1, waiting_max=3, seconds=0)
        async with turns.of("a"):
            with pytest.raises(Unavailable, match="too many"):
                await turns.of("a").__aenter__()
            assert turns.lane.depth == (0, 3, 1)
        assert turns.lane.running == 0

    asyncio.run(main())


def test_a_list_of_questions_hears_that_it_waited_too_long_before_its_request_is_over() -> None:
    assert WebSettings().request_seconds_max / 2 >= WAITING_SECONDS


def test_a_turn_that_comes_to_somebody_who_left_goes_to_the_next() -> None:
    async def main() -> None:
        turns = Turns("x", places=1, waiting_max=3, seconds=PATIENT)
        held = AsyncExitStack()
        await held.enter_async_context(turns.of("a"))
        first, second = (asyncio.create_task(turns.of("a").__aenter__()) for _ in range(2))
        await asyncio.sleep(0)
        await held.aclose()
        first.cancel()
        await second
        assert first.cancelled()
        assert (turns.lane.running, turns.lane.waiting) == (1, 0)

    asyncio.run(main())
