"""The log as it grows, for many readers: one task a tenant reads it, everybody follows by sequence number.

Only what is on record is told, so replicas agree, and a reader who comes back with the last number that it saw gets what
follows: nothing twice, nothing left out. The task keeps the last lines in a ring. A follower that begins before the ring
reads the log itself until it has caught up; one that falls out of the ring later is too slow, and is told so. Nothing is
kept for anybody, so a reader who does not read costs nothing but its connection.
"""

import asyncio
from collections import deque
from dataclasses import dataclass, field
from itertools import islice

from broker.config import EventSettings
from broker.errors import BadRequest, BrokerError, LimitExceeded, Unavailable
from broker.logbook.lines import Line, Lines
from broker.model import Principal
from broker.records import Records
from broker.telemetry import Telemetry

PAGE = 500
"""Records read at once, and lines of one batch."""


@dataclass(frozen=True, slots=True)
class Filter:
    """Which lines somebody wants: all that fit every field that is given."""

    kinds: frozenset[str] = frozenset()
    action: str = ""
    """A whole name; one that ends in a dot is a beginning."""
    effect: str = ""
    session: str = ""
    incident: str = ""
    own: bool = True
    """With looks at the gate itself."""

    def fits(self, line: Line) -> bool:
        """Whether ``line`` is wanted."""
        return (
            (not self.kinds or line.kind in self.kinds)
            and (self.action in ("", line.action) or (self.action[-1] == "." and line.action.startswith(self.action)))
            and self.effect in ("", line.effect)
            and self.session in ("", line.session)
            and self.incident in ("", line.incident)
            and (self.own or not line.quiet)
        )


@dataclass(slots=True)
class _Tail:
    """The end of one tenant's log: lines from ``first`` to before ``next``, at most as many as the ring takes."""

    next: int
    lines: deque[Line]
    followers: int = 0
    grown: asyncio.Event = field(default_factory=asyncio.Event)
    task: asyncio.Task[None] | None = None

    @property
    def first(self) -> int:
        return self.lines[0].seq if self.lines else self.next


@dataclass(frozen=True, slots=True)
class Batch:
    """What is new for one follower: lines that fit, and the number up to which it has seen all."""

    lines: tuple[Line, ...]
    seen: int


class Feed:
    """Tails the logs that somebody follows."""

    def __init__(self, records: Records, lines: Lines, settings: EventSettings, telemetry: Telemetry) -> None:
        """Bounds and pace are ``settings``."""
        self._records = records
        self._lines = lines
        self._settings = settings
        self._telemetry = telemetry
        self._tails: dict[str, _Tail] = {}
        self._seats: dict[tuple[str, str], int] = {}
        self.turned_away = 0
        """Followers that found no seat."""
        self.closing = asyncio.Event()
        """Set when the gate stops: every follower ends."""

    @property
    def following(self) -> int:
        """How many follow now."""
        return sum(self._seats.values())

    def check_seat(self, principal: Principal) -> None:
        """Raise ``LimitExceeded`` (``events.too_many``) where this party, or everybody together, follows enough."""
        if self._seats.get((principal.tenant, principal.acting.id), 0) >= self._settings.streams_per_party_max:
            raise _too_many("you follow the log as often as one party may")
        if self.following >= self._settings.streams_max:
            raise _too_many("the log is followed as often as this gate allows")

    @property
    def resumed_max(self) -> int:
        """How many records a follower may still have to be told when it comes."""
        return self._settings.resume_records_max

    async def head(self, tenant: str) -> int:
        """The number that the tenant's next record gets."""
        return await self._records.size(tenant)

    async def follow(self, principal: Principal, wanted: Filter, after: int | None) -> "Follower":
        """Take a seat and begin after number ``after``, or with what comes next; give it back with ``aclose``.

        Raises as ``check_seat``, and ``BadRequest`` (``events.too_old``) where more lies between than is read again.
        """
        try:
            self.check_seat(principal)
        except LimitExceeded:
            self.turned_away += 1
            raise
        if self.closing.is_set():
            raise stopping()
        seat = (principal.tenant, principal.acting.id)
        self._seats[seat] = self._seats.get(seat, 0) + 1
        try:
            tail = await self._tail(principal.tenant)
        except BaseException:
            self._leave(seat)
            raise
        begin = tail.next if after is None else min(after + 1, tail.next)
        if tail.next - begin > self._settings.resume_records_max:
            self._leave(seat)
            raise BadRequest(
                f"more than {self._settings.resume_records_max} records follow that one",
                code="events.too_old",
                remedy="read them with GET /v1/audit/entries, then follow without Last-Event-ID",
            )
        tail.followers += 1
        self._telemetry.gauge("event_streams", self.following)
        return Follower(self, tail, seat, wanted, begin)

    async def aclose(self) -> None:
        """Let every follower end, and stop reading."""
        self.closing.set()
        for tail in self._tails.values():
            tail.grown.set()
            if tail.task is not None:
                tail.task.cancel()
        await asyncio.gather(*(tail.task for tail in self._tails.values() if tail.task), return_exceptions=True)

    async def page(self, tenant: str, after: int) -> list[Line]:
        """Lines after number ``after``, straight from the log."""
        return await self._lines.of(tenant, await self._records.entries(tenant, after=after, limit=PAGE))

    async def _tail(self, tenant: str) -> _Tail:
        if tenant not in self._tails:
            start = await self.head(tenant)
            if tenant not in self._tails:
                tail = self._tails[tenant] = _Tail(start, deque(maxlen=self._settings.lines_kept))
                tail.task = asyncio.create_task(self._read(tenant, tail))
        return self._tails[tenant]

    async def _read(self, tenant: str, tail: _Tail) -> None:
        """Read on, a few times a second, as long as somebody follows; an unreadable log is asked again."""
        while True:
            await asyncio.sleep(self._settings.pace_seconds)
            if not tail.followers:
                del self._tails[tenant]
                return
            try:
                while fresh := await self.page(tenant, tail.next - 1):
                    tail.lines.extend(fresh)
                    tail.next = fresh[-1].seq + 1
                    tail.grown.set()
                    tail.grown = asyncio.Event()
            except BrokerError as error:
                self._telemetry.warning("events.unread", code=error.error_code)

    def leave(self, tail: _Tail, seat: tuple[str, str]) -> None:
        """Give a seat back."""
        tail.followers -= 1
        self._leave(seat)
        self._telemetry.gauge("event_streams", self.following)

    def _leave(self, seat: tuple[str, str]) -> None:
        self._seats[seat] -= 1
        if not self._seats[seat]:
            del self._seats[seat]


class Follower:
    """One reader's place in a log."""

    def __init__(self, feed: Feed, tail: _Tail, seat: tuple[str, str], wanted: Filter, next_: int) -> None:
        self._feed = feed
        self._tail = tail
        self._seat = seat
        self._wanted = wanted
        self._next = next_
        self._caught_up = False
        self._open = True

    async def more(self) -> Batch:
        """What is new, when there is something; a batch may be empty and say only how far all was seen.

        May be cancelled and called again. The end is raised: ``LimitExceeded`` (``events.too_slow``), ``Unavailable``
        (``events.stopping``), or ``AuditUnavailable`` where the log cannot be read while catching up.
        """
        while True:
            grown = self._tail.grown
            if self._feed.closing.is_set():
                raise stopping()
            if fresh := await self._fresh():
                self._next = fresh[-1].seq + 1
                return Batch(tuple(line for line in fresh if self._wanted.fits(line)), fresh[-1].seq)
            await grown.wait()

    async def _fresh(self) -> list[Line]:
        """The next lines, out of the ring or, before it was reached, out of the log."""
        tail = self._tail
        if self._next >= tail.first:
            self._caught_up = True
            skipped = self._next - tail.first
            return list(islice(tail.lines, skipped, skipped + PAGE))
        if self._caught_up:
            raise LimitExceeded(
                "you read more slowly than the log grows",
                code="events.too_slow",
                remedy="connect again with Last-Event-ID; filter for less",
                retry_after=1,
            )
        return await self._feed.page(self._seat[0], self._next - 1)

    async def aclose(self) -> None:
        """Give the seat back; again does nothing."""
        if self._open:
            self._open = False
            self._feed.leave(self._tail, self._seat)


def stopping() -> Unavailable:
    """The end of a stream because the gate stops."""
    return Unavailable(
        "the gate is stopping",
        code="events.stopping",
        remedy="connect again with Last-Event-ID",
        retry_after=1,
    )


def _too_many(text: str) -> LimitExceeded:
    return LimitExceeded(
        text, code="events.too_many", remedy="close one of the streams, or wait for one to end", retry_after=5
    )
