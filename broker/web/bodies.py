"""Bodies under way: read whole, and counted together by what has arrived of them, whatever they announce.

Who announces much and sends nothing takes nothing from others. A body counts until its request ends or its room is given
back before; the bytes themselves go with the application that was given them.
"""

from dataclasses import dataclass

from starlette.types import Message, Receive

from broker.errors import BadRequest, TooLarge, Unavailable


@dataclass(slots=True)
class Room:
    """``taken`` of the ``most`` bytes that all bodies may take together; ``refused`` requests found none."""

    most: int
    taken: int = 0
    refused: int = 0


class Body:
    """One request's body."""

    def __init__(self, room: Room, *, always: bool) -> None:
        """``always``: counted as others are, and read also where there is no room."""
        self._room = room
        self._always = always
        self._counted = 0
        self.content = b""

    async def read(self, receive: Receive, limit: int) -> None:
        """Collect it; one byte over ``limit`` ends it. Raises ``Unavailable`` (``gate.overloaded``) where there is no room."""
        parts: list[bytes] = []
        more = True
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":
                raise BadRequest("the connection closed before the body was complete", code="http.body_cut")
            part = message.get("body", b"")
            if self._counted + len(part) > limit:
                raise TooLarge(f"the body is larger than {limit} bytes", code="request.too_large")
            self._count(len(part))
            parts.append(part)
            more = message.get("more_body", False)
        self.content = b"".join(parts)

    def _count(self, size: int) -> None:
        if not self._always and self._room.taken + size > self._room.most:
            self._room.refused += 1
            raise Unavailable("the bodies under way are too large together", code="gate.overloaded", retry_after=1)
        self._room.taken += size
        self._counted += size

    def drop(self) -> None:
        """Give its room back, once."""
        self._room.taken -= self._counted
        self._counted = 0

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
