"""Bodies under way: read whole, and counted together by what has arrived of them, whatever they announce.

Who announces much and sends nothing takes nothing from others. A body counts until its request ends or its room is given
back before; the bytes themselves go with the application that was given them. Where a room is full, nobody keeps others out
by what they hold: a body that is read or waits gives way to one whose tenant, or in its tenant whose party, has less.
"""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import NamedTuple

from starlette.types import Message, Receive

from broker.errors import BadRequest, TooLarge, Unavailable


class Whose(NamedTuple):
    """Whose a body is; empty where no caller is asked for."""

    tenant: str = ""
    party: str = ""


class Room:
    """``taken`` of the ``most`` bytes that all bodies may take together; ``refused`` requests found none or gave way."""

    def __init__(self, most: int) -> None:
        self.most = most
        self.taken = 0
        self.refused = 0
        self._held: dict[Body, None] = {}

    def take(self, body: "Body", size: int, *, always: bool) -> None:
        """Count ``size`` bytes more. Raises ``Unavailable`` (``gate.overloaded``) where nobody gives way for them."""
        while not always and self.taken + size > self.most:
            victim = self._fullest(body, size)
            if victim is None:
                raise self.full()
            victim.give_way()
        self._held[body] = None
        self.taken += size

    def give_back(self, body: "Body", size: int) -> None:
        """What ``body`` had taken."""
        self._held.pop(body, None)
        self.taken -= size

    def full(self) -> Unavailable:
        """The refusal, counted."""
        self.refused += 1
        return Unavailable("the bodies under way are too large together", code="gate.overloaded", retry_after=1)

    def _fullest(self, asker: "Body", size: int) -> "Body | None":
        """The newest of the fullest party of the fullest tenant, of those that have more than the asker will."""
        tenants: Counter[str] = Counter()
        parties: Counter[Whose] = Counter()
        for one in self._held:
            tenants[one.whose.tenant] += one.counted
            parties[one.whose] += one.counted
        tenant, mine = asker.whose.tenant, parties[asker.whose] + size

        def fuller(one: Body) -> bool:
            if one.whose.tenant == tenant:
                return parties[one.whose] > mine
            return tenants[one.whose.tenant] > tenants[tenant] + size

        newest_first = (one for one in reversed(self._held) if one.gives_way and fuller(one))
        return max(newest_first, key=lambda one: (tenants[one.whose.tenant], parties[one.whose]), default=None)


class Body:
    """One request's body."""

    def __init__(self, room: Room, whose: Whose, *, always: bool = False) -> None:
        """``always``: counted as others are, and read also where there is no room."""
        self._room = room
        self._always = always
        self._scope: asyncio.Timeout | None = None
        self._gave_way = False
        self.whose = whose
        self.counted = 0
        self.content = b""

    @property
    def gives_way(self) -> bool:
        """Whether its request is still before its turn."""
        return self._scope is not None

    def give_way(self) -> None:
        """Its room is free at once; whoever waits in ``before_its_turn`` hears of it."""
        self.drop()
        self._gave_way = True
        if self._scope is not None:
            self._scope.reschedule(0)
            self._scope = None

    @asynccontextmanager
    async def before_its_turn(self) -> AsyncIterator[None]:
        """Inside, it may have to give way to others: raises ``Unavailable`` (``gate.overloaded``) then."""
        try:
            async with asyncio.timeout(None) as self._scope:
                yield
        except TimeoutError:
            raise self._room.full() from None
        finally:
            self._scope = None

    async def read(self, receive: Receive, limit: int) -> None:
        """Collect it; one byte over ``limit`` ends it. Raises ``Unavailable`` (``gate.overloaded``) where there is no room."""
        parts: list[bytes] = []
        more = True
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":
                raise BadRequest("the connection closed before the body was complete", code="http.body_cut")
            part = message.get("body", b"")
            if self.counted + len(part) > limit:
                raise TooLarge(f"the body is larger than {limit} bytes", code="request.too_large")
            if self._gave_way:
                raise self._room.full()
            self._room.take(self, len(part), always=self._always)
            self.counted += len(part)
            parts.append(part)
            more = message.get("more_body", False)
        self.content = b"".join(parts)

    def drop(self) -> None:
        """Give its room back, once."""
        self._room.give_back(self, self.counted)
        self.counted = 0

    def replayed(self, receive: Receive, *, dropped: bool) -> Receive:
        """A ``receive`` that hands the body over once, then the connection's own events.

        ``dropped``: its room is given back with it.
        """
        given = False

        async def replay() -> Message:
            nonlocal given
            if given:
                return await receive()
            given = True
            content, self.content = self.content, b""
            if dropped:
                self.drop()
            return {"type": "http.request", "body": content, "more_body": False}

        return replay
