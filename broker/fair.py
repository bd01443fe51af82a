"""Fair queues: bounded, and within one the tenants take turns.

Where a queue is full it is the tenant with most in it that gives way. Used from one event loop alone.
"""

import asyncio
from collections import OrderedDict, deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from broker.errors import Unavailable


@dataclass(slots=True)
class _Waiter:
    lane: "Lane"
    tenant: str
    turn: asyncio.Future[None]


@dataclass(slots=True)
class Lane:
    """``running`` of at most ``places``; who waits, by tenant."""

    name: str
    places: int
    waiting_max: int
    running: int = 0
    waiting: int = 0
    refused: int = 0
    queues: OrderedDict[str, deque[_Waiter]] = field(default_factory=OrderedDict)

    @property
    def full(self) -> bool:
        """Whether nobody more may wait."""
        return self.waiting >= self.waiting_max

    @property
    def depth(self) -> tuple[int, int, int]:
        """How many wait, how many may, how many were turned away."""
        return self.waiting, self.waiting_max, self.refused

    async def wait(self, tenant: str, seconds: float, leave: Callable[["Lane"], None]) -> None:
        """Wait to be given a place by ``give``; one that comes too late goes to ``leave``.

        Raises ``Unavailable`` (``gate.overloaded``) where nobody more may wait, or after ``seconds``.
        """
        if self.full and not self.give_way(tenant):
            raise overloaded(self)
        waiter = _Waiter(self, tenant, asyncio.get_running_loop().create_future())
        self.put(waiter)
        try:
            async with asyncio.timeout(seconds):
                await waiter.turn
        except TimeoutError:
            self._forget(waiter, leave)
            raise overloaded(self) from None
        except asyncio.CancelledError:
            self._forget(waiter, leave)
            raise

    def give(self) -> bool:
        """A free place for whoever is next; False where nobody waits."""
        waiter = self.pop()
        if waiter is None:
            return False
        self.running += 1
        waiter.turn.set_result(None)
        return True

    def put(self, waiter: _Waiter) -> None:
        """At the end of its tenant's queue."""
        self.queues.setdefault(waiter.tenant, deque()).append(waiter)
        self.waiting += 1

    def pop(self) -> _Waiter | None:
        """The first of the tenant whose turn it is, who then goes behind the others."""
        while self.queues:
            tenant, queue = next(iter(self.queues.items()))
            waiter = queue.popleft()
            self.waiting -= 1
            if queue:
                self.queues.move_to_end(tenant)
            else:
                del self.queues[tenant]
            if not waiter.turn.done():
                return waiter
        return None

    def drop(self, waiter: _Waiter) -> None:
        """Take out one that waits no more."""
        queue = self.queues.get(waiter.tenant)
        if queue is not None and waiter in queue:
            queue.remove(waiter)
            self.waiting -= 1
            if not queue:
                del self.queues[waiter.tenant]

    def room_for(self, tenant: str) -> bool:
        """Whether one of ``tenant`` may wait though the queue is full: another tenant has more in it."""
        return len(self.queues.get(tenant, ())) + 1 < max(map(len, self.queues.values()), default=0)

    def give_way(self, tenant: str) -> bool:
        """Make room for one of ``tenant``, if it may have some: the newest of the fullest one goes."""
        if not self.room_for(tenant):
            return False
        longest = max(self.queues, key=lambda one: len(self.queues[one]))
        newest = self.queues[longest][-1]
        self.drop(newest)
        if not newest.turn.done():
            newest.turn.set_exception(overloaded(self))
        return True

    def _forget(self, waiter: _Waiter, leave: Callable[["Lane"], None]) -> None:
        """One who waits no more; a place that was given meanwhile goes to the next."""
        if waiter.turn.done() and not waiter.turn.cancelled() and waiter.turn.exception() is None:
            leave(self)
        else:
            self.drop(waiter)


class Turns:
    """Some places for work of one kind."""

    def __init__(self, name: str, *, places: int, waiting_max: int, seconds: float) -> None:
        """``seconds``: how long somebody waits at most."""
        self.lane = Lane(name, places, waiting_max)
        self._seconds = seconds

    @asynccontextmanager
    async def of(self, tenant: str) -> AsyncIterator[None]:
        """Inside, one of the places is ``tenant``'s. Raises ``Unavailable`` (``gate.overloaded``)."""
        if self.lane.running < self.lane.places and not self.lane.waiting:
            self.lane.running += 1
        else:
            await self.lane.wait(tenant, self._seconds, self._leave)
        try:
            yield
        finally:
            self._leave(self.lane)

    def _leave(self, lane: Lane) -> None:
        lane.running -= 1
        while lane.running < lane.places and lane.give():
            pass


def overloaded(lane: Lane) -> Unavailable:
    """The refusal, counted."""
    lane.refused += 1
    return Unavailable("too many requests are under way", code="gate.overloaded", retry_after=1)
