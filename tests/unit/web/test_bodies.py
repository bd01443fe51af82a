"""Rooms of bodies: what is counted, and who gives way to whom where one is full."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from starlette.types import Message

from broker.errors import Unavailable
from broker.web.bodies import Body, Room, Whose

WATCH = Whose("default", "dev:watch")
AGENT = Whose("default", "dev:agent-1")
OTHER = Whose("acme", "dev:other")
THIRD = Whose("third", "dev:third")


class Sent:
    """One request's body under way: ``size`` bytes have come, its end has not."""

    def __init__(self, room: Room, whose: Whose, size: int) -> None:
        self.body = Body(room, whose)
        self.size = size
        self._come: asyncio.Queue[Message] = asyncio.Queue()
        self.request = asyncio.create_task(self._serve())

    async def _serve(self) -> None:
        try:
            async with self.body.before_its_turn():
                await self.body.read(self._come.get, 1_000)
        finally:
            self.body.drop()

    def more(self, size: int) -> None:
        """``size`` bytes come."""
        self._come.put_nowait({"type": "http.request", "body": bytes(size), "more_body": True})

    @property
    def turned_away(self) -> bool:
        """Whether its request was refused."""
        return self.request.done() and isinstance(self.request.exception(), Unavailable)


@asynccontextmanager
async def sending(room: Room, *bodies: tuple[Whose, int]) -> AsyncIterator[list[Sent]]:
    """Bodies come after each other, each as far as it is let; then nothing more of them."""
    found = []
    for whose, size in bodies:
        one = Sent(room, whose, size)
        found.append(one)
        one.more(size)
        await settled()
    try:
        yield found
    finally:
        for one in found:
            one.request.cancel()
        await asyncio.gather(*(one.request for one in found), return_exceptions=True)
        assert (room.taken, room._held) == (0, {})


async def settled() -> None:
    """Everybody has gone as far as they can: no step here waits for more than the loop's next rounds."""
    for _ in range(10):
        await asyncio.sleep(0)


@pytest.mark.parametrize(
    ("bodies", "away"),
    [
        ([(AGENT, 40), (AGENT, 40), (AGENT, 30)], [2]),
        ([(AGENT, 40), (AGENT, 40), (WATCH, 30)], [1]),
        ([(AGENT, 40), (AGENT, 40), (OTHER, 30)], [1]),
        ([(AGENT, 30), (WATCH, 40), (OTHER, 50)], [1]),
        ([(AGENT, 30), (WATCH, 30), (OTHER, 70)], [2]),
        ([(AGENT, 50), (OTHER, 50), (WATCH, 10)], [0]),
        ([(AGENT, 45), (OTHER, 55), (WATCH, 20)], [0]),
        ([(AGENT, 30), (AGENT, 30), (WATCH, 40), (OTHER, 60)], [1, 2]),
        ([(OTHER, 50), (THIRD, 50), (AGENT, 50)], [2]),
        ([(OTHER, 100), (AGENT, 101)], [1]),
    ],
)
def test_in_a_full_room_the_newest_of_whoever_has_most_gives_way_to_whoever_has_less(
    bodies: list[tuple[Whose, int]], away: list[int]
) -> None:
    async def main() -> None:
        room = Room(100)
        async with sending(room, *bodies) as sent:
            assert [number for number, one in enumerate(sent) if one.turned_away] == away
            assert room.refused == len(away)
            assert room.taken == sum(one.size for one in sent if not one.turned_away)

    asyncio.run(main())


def test_what_comes_of_a_body_that_gave_way_takes_no_room_again() -> None:
    async def main() -> None:
        room = Room(100)
        async with sending(room, (AGENT, 60), (AGENT, 40)) as sent:
            sent[1].more(1)
            sent[1].body.give_way()
            await settled()
            assert (sent[1].turned_away, room.taken) == (True, 60)

    asyncio.run(main())


def test_a_body_whose_turn_has_come_gives_way_to_nobody() -> None:
    async def main() -> None:
        room, come = Room(100), asyncio.Queue[Message]()
        body = Body(room, AGENT)
        come.put_nowait({"type": "http.request", "body": bytes(90), "more_body": False})
        async with body.before_its_turn():
            await body.read(come.get, 1_000)
        async with sending(room, (WATCH, 50), (WATCH, 5)) as sent:
            assert [one.turned_away for one in sent] == [True, False]
            assert (room.taken, len(body.content)) == (95, 90)
            body.drop()

    asyncio.run(main())


def test_what_is_read_always_takes_room_from_nobody() -> None:
    async def main() -> None:
        room, come = Room(100), asyncio.Queue[Message]()
        body = Body(room, WATCH, always=True)
        come.put_nowait({"type": "http.request", "body": bytes(90), "more_body": False})
        async with sending(room, (AGENT, 60)) as [held]:
            async with body.before_its_turn():
                await body.read(come.get, 1_000)
            assert (held.turned_away, room.taken) == (False, 150)
            body.drop()

    asyncio.run(main())
