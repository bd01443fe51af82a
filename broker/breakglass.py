"""Break-glass: for a while, named people may do named actions on named targets without waiting for an approval.

Two people open it: one asks, another confirms. Its time is compared at every use, it is over by itself, and somebody else
than the opener must look back at it afterwards. What it lifts is policy's to say (``policies/broker/breakglass``); it
never lifts a right, a limit, redaction, the tenant, the log or the kill switch, since nothing of that asks it.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from broker.clock import Clock, seconds
from broker.config import BreakglassSettings
from broker.errors import BadRequest, Conflict, Denied, NotFound
from broker.model import Principal
from broker.store import Connection, Store
from broker.store import breakglass as rows
from broker.store import work as work_rows
from broker.store.breakglass import Breakglass
from broker.store.rows import new_id

__all__ = ["WORK", "BreakGlass", "Breakglass"]

WORK = "breakglass"
"""The kind of the gate's own work that tells people's systems."""


class BreakGlass:
    """For all replicas that share ``store``."""

    def __init__(self, store: Store, clock: Clock, bounds: BreakglassSettings) -> None:
        """``bounds`` are how long it may last, wait, and go without a review."""
        self._store = store
        self._clock = clock
        self._bounds = bounds

    @property
    def minutes_max(self) -> int:
        """How long one may last."""
        return self._bounds.minutes_max

    async def owed(self, tenant: str) -> tuple[Breakglass, ...]:
        """What waits, is open, or is to be looked back at."""
        now = seconds(self._clock)
        return await self._store.glance(lambda c: rows.owed(c, tenant, now))

    async def listed(self, tenant: str) -> tuple[Breakglass, ...]:
        """The newest, newest first, as they stand now."""
        now = seconds(self._clock)
        found = await self._store.read(lambda c: rows.listed(c, tenant))
        return tuple(one.at(now) for one in found)

    async def get(self, tenant: str, breakglass_id: str) -> Breakglass:
        """One as it stands now; raises ``NotFound``."""
        found = await self._store.read(lambda c: rows.find(c, tenant, breakglass_id))
        if found is None:
            raise NotFound("there is no such break-glass", code="breakglass.not_found")
        return found.at(seconds(self._clock))

    def drafted(  # noqa: PLR0913 - one keyword a part of it
        self,
        opener: Principal,
        *,
        actions: Sequence[str],
        targets: Sequence[Mapping[str, str]],
        people: Sequence[str],
        minutes: int,
        reason: str,
    ) -> Breakglass:
        """One that waits for a second person; nothing is stored yet. Raises ``BadRequest`` (``breakglass.too_long``)."""
        most = self._bounds.minutes_max
        if minutes > most:
            raise BadRequest(
                f"field `minutes` is at most {most} here", code="breakglass.too_long", remedy=f"ask for {most} minutes"
            )
        now = seconds(self._clock)
        return Breakglass(
            tenant=opener.tenant,
            id=new_id("bgl"),
            state="waiting",
            reason=reason,
            actions=tuple(sorted(set(actions))),
            targets=tuple(dict(one) for one in targets),
            people=tuple(sorted(set(people) or {opener.subject.id})),
            seconds=60 * (minutes or most),
            opened_by=opener.subject.id,
            opened_at=now,
            confirm_until=now + 60 * self._bounds.confirm_minutes,
        )

    async def check_new(self, new: Breakglass) -> None:
        """Raise ``Conflict`` (``breakglass.open``) where another waits or is open."""
        if any(one.state in ("waiting", "open") for one in await self.owed(new.tenant)):
            raise rows.open_already()

    async def add(self, new: Breakglass) -> None:
        """Store it; raises ``Conflict`` (``breakglass.open``) where another waits or is open."""
        await self._store.write(lambda c: rows.add(c, new))

    def confirmed(self, person: Principal, stands: Breakglass) -> Breakglass:
        """``stands``, opened by ``person``; nothing is stored yet.

        Raises ``Denied`` (``breakglass.same_person``), ``Conflict`` (``breakglass.state``).
        """
        if stands.opened_by == person.subject.id:
            raise Denied(
                "the one who asked for it does not open it",
                code="breakglass.same_person",
                remedy="ask another person with the role security to confirm it",
            )
        if stands.state != "waiting":
            raise _state(stands)
        now = seconds(self._clock)
        until = now + stands.seconds
        due = until + 3600 * self._bounds.review_hours
        return replace(stands, state="open", confirmed_by=person.subject.id, until=until, review_due=due)

    async def open(self, opened: Breakglass) -> None:
        """Store what ``confirmed`` made, and that people's systems are to be told, now and at its end; of two at once one does.

        Raises ``Conflict`` (``breakglass.state``).
        """

        def told(connection: Connection) -> None:
            now = seconds(self._clock)
            for kind, due in (("opened", now), ("ended", opened.until)):
                about = f"{opened.id}.{kind}"
                work_rows.put(
                    connection, opened.tenant, WORK, about, incident="", body={}, severity=1, now_s=now, due=due
                )

        await self._move(
            replace(opened, state="waiting"),
            told,
            state="open",
            confirmed_by=opened.confirmed_by,
            until=opened.until,
            review_due=opened.review_due,
        )

    async def end(self, person: Principal, stands: Breakglass) -> Breakglass:
        """End it before its time, or withdraw it; raises ``Conflict`` (``breakglass.state``)."""
        now = seconds(self._clock)
        if stands.state not in ("waiting", "open"):
            raise _state(stands)
        over = replace(
            stands, state="over" if stands.state == "open" else "dropped", ended_by=person.subject.id, ended_at=now
        )
        if stands.state == "open":
            over = replace(over, review_due=stands.review_due - (stands.until - now))
        await self._move(
            stands, state=over.state, ended_by=over.ended_by, ended_at=over.ended_at, review_due=over.review_due
        )
        return over

    def reviewed(self, person: Principal, stands: Breakglass, text: str) -> Breakglass:
        """``stands``, looked back at by ``person``; nothing is stored yet. Raises ``Denied`` (``breakglass.own_review``), ``Conflict`` (``breakglass.state``)."""
        if stands.opened_by == person.subject.id:
            raise Denied(
                "the one who opened it does not review it",
                code="breakglass.own_review",
                remedy="ask another person with the role security to look back at it",
            )
        if stands.state != "over":
            raise _state(stands)
        now = seconds(self._clock)
        return replace(stands, state="reviewed", reviewed_by=person.subject.id, reviewed_at=now, review=text)

    async def settle(self, tenant: str) -> None:
        """Store what time alone has ended: a clock that goes back does not open it again."""
        now = seconds(self._clock)
        await self._store.write(lambda c: rows.settle(c, tenant, now))

    async def close(self, done: Breakglass) -> None:
        """Store what ``reviewed`` made; of two at the same time one does. Raises ``Conflict`` (``breakglass.state``)."""
        await self._move(
            replace(done, state="over"),
            state="reviewed",
            ended_at=done.ended_at,
            reviewed_by=done.reviewed_by,
            reviewed_at=done.reviewed_at,
            review=done.review.encode(),
        )

    async def until(self, tenant: str, breakglass_id: str) -> int:
        """When it ends, in seconds; raises ``Denied`` (``breakglass.over``) where it is not open any more."""
        for one in await self.owed(tenant):
            if one.id == breakglass_id and one.state == "open":
                return one.until
        raise Denied(
            "the break-glass ended before this began",
            code="breakglass.over",
            remedy="ask the usual way: a person approves it",
        )

    async def _move(
        self, stands: Breakglass, beside: Callable[[Connection], None] | None = None, **values: object
    ) -> None:
        """One change of state, from the state that it has in the database and by the clock, and what comes ``beside`` it."""

        def change(connection: Connection) -> bool:
            kept = rows.find(connection, stands.tenant, stands.id)
            if kept is None or kept.at(seconds(self._clock)).state != stands.state:
                return False
            moved = rows.move(connection, kept, **values)
            if moved and beside is not None:
                beside(connection)
            return moved

        if not await self._store.write(change):
            raise _state(await self.get(stands.tenant, stands.id))


def _state(stands: Breakglass) -> Conflict:
    return Conflict(
        f"this break-glass is {stands.state}",
        code="breakglass.state",
        remedy="read how it stands now; wicketgate breakglass list shows it",
    )
