"""What is due: claimed, held by a lease with a fence, finished by compare-and-set.

Any number of workers on any machines ask for the next row; one gets it. A holder whose time ran out, or whose step was
finished or withdrawn by somebody else, is stale: nothing that it asks for happens. Expiry is compared at use; nothing
here runs by a timer. Nothing of an incident is due while the log lacks one of its events.
"""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace

from broker.clock import Clock, seconds
from broker.errors import BadRequest, Conflict
from broker.model import Json, Session
from broker.store import Connection, Store, incidents
from broker.store import sessions as session_rows
from broker.store import work as rows
from broker.store.incidents import Incident
from broker.store.rows import EVERY_TENANT, new_id
from broker.store.work import ATTEMPTS_MAX, CALLS_S, HOLD_MAX_S, WorkRow

AGENTS_KIND = "incident"
"""The one kind that agents claim."""
GATE_KINDS = ("baseline", "follow", "verify", "rollback", "notify", "learn", "export", "breakglass", "time_box")
SETTLED = frozenset({"mitigated", "noise", "learning"})
"""Live states in which nobody needs to be called because the gate's own work fails."""

_Write = Callable[[Connection, WorkRow], bool]


@dataclass(frozen=True, slots=True)
class Claimed:
    """A step that its holder may do until ``until``; ``fence`` proves it."""

    tenant: str
    id: str
    kind: str
    subject: str
    incident: str
    session: str
    """The incident's session, which serves the holder now; empty for the gate's own kinds."""
    step: int
    fence: int
    until: int
    holder: str
    attempts: int = 1
    body: Mapping[str, Json] | None = None


class Work:
    """Claims, renews, checks and ends work, for all replicas that share ``store``."""

    def __init__(self, store: Store, clock: Clock) -> None:
        """Keep rows in ``store``; expiry is compared with ``clock``."""
        self._store = store
        self._clock = clock

    async def claim(self, tenant: str, kinds: Collection[str], holder: str, hold_s: int) -> Claimed | None:
        """Take the first row that is due, for ``hold_s`` seconds; None where nothing is.

        ``tenant`` may be ``*`` for the gate's own kinds. An agent that claims an incident gets its session: from now on
        that serves the holder, and is a new one where the one before has ended. A row that was tried ``ATTEMPTS_MAX``
        times is set aside instead, which is an event, and calls people unless the incident is settled; one that tells
        people (``CALLS_S``) only when its time is over, too, and it was tried after that.
        """
        if not kinds or not holder or not 1 <= hold_s <= HOLD_MAX_S:
            raise BadRequest(
                f"field `hold_seconds` must be 1 to {HOLD_MAX_S}, and `kinds` name something", code="work.claim"
            )
        if tenant == EVERY_TENANT and not set(kinds) <= set(GATE_KINDS):
            raise BadRequest("field `kinds` names work that belongs to one tenant", code="work.claim")
        now = seconds(self._clock)
        return await self._store.write(lambda c: _claim(c, tenant, frozenset(kinds), holder, now, now + hold_s))

    async def is_due(self, tenant: str, kinds: Collection[str]) -> bool:
        """Say whether anything can be claimed now."""
        now = seconds(self._clock)
        return await self._store.read(lambda c: rows.is_due(c, tenant, kinds, now))

    async def renew(self, tenant: str, work_id: str, *, holder: str, fence: int, hold_s: int) -> Claimed:
        """Hold it for ``hold_s`` seconds from now; raises ``Conflict`` (``work.stale``)."""
        if not 1 <= hold_s <= HOLD_MAX_S:
            raise BadRequest(f"field `hold_seconds` must be 1 to {HOLD_MAX_S}", code="work.claim")
        now = seconds(self._clock)

        def renewed(connection: Connection) -> Claimed:
            row = held(connection, tenant, work_id, holder=holder, fence=fence, now_s=now, lock=True)
            if not rows.renew(connection, row, now + hold_s):
                raise stale()
            return _claimed(connection, replace(row, until=now + hold_s))

        return await self._store.write(renewed)

    async def check(self, tenant: str, work_id: str, *, holder: str, fence: int) -> Claimed:
        """Return what is held if ``holder`` still has it under ``fence``; else raises ``Conflict`` (``work.stale``)."""
        now = seconds(self._clock)
        return await self._store.read(
            lambda c: _claimed(c, held(c, tenant, work_id, holder=holder, fence=fence, now_s=now))
        )

    async def done(self, claimed: Claimed) -> None:
        """End work that changes no incident's state; raises ``Conflict`` (``work.stale``)."""
        await self._end(claimed, lambda c, row: rows.end(c, row, "done"))

    async def pass_on(self, claimed: Claimed) -> None:
        """The gate's part of this state is done: the agents' is due; raises ``Conflict`` (``work.stale``)."""

        def passed(connection: Connection) -> None:
            now = seconds(self._clock)
            stands = incidents.find(connection, claimed.tenant, claimed.incident, lock="wait")
            settle(connection, claimed, now)
            if stands is None or claimed.kind not in GATE_KINDS or claimed.id != rows.id_of_incident(stands.id):
                raise stale()
            rows.plan(connection, stands, AGENTS_KIND, now)

        await self._store.write(passed)

    async def postpone(self, claimed: Claimed, delay_s: int, *, attempts: int = 0) -> None:
        """Come back in ``delay_s`` seconds; ``attempts`` were lost in a row by then. ``Conflict`` (``work.stale``)."""
        due = seconds(self._clock) + delay_s
        await self._end(claimed, lambda c, row: rows.give_back(c, row, due, attempts))

    async def put(  # noqa: PLR0913 - one keyword a column
        self,
        tenant: str,
        kind: str,
        subject: str,
        *,
        incident: str = "",
        body: Mapping[str, Json] | None = None,
        due: int | None = None,
        severity: int = 1,
    ) -> str:
        """Make work of the gate's own due, once by kind and subject; returns its id."""
        if kind not in GATE_KINDS or not subject:
            raise BadRequest("field `kind` is no work of the gate's own, or `subject` is empty", code="work.kind")
        now = seconds(self._clock)
        return await self._store.write(
            lambda c: rows.put(
                c,
                tenant,
                kind,
                subject,
                incident=incident,
                body=body or {},
                severity=severity,
                now_s=now,
                due=now if due is None else due,
            )
        )

    async def page(self, tenant: str, *, states: Collection[str] = ("due", "aside"), most: int = 200) -> list[WorkRow]:
        """Rows in ``states`` in the order of their turn: what waits, who holds what, what was set aside."""
        return await self._store.read(lambda c: rows.page(c, tenant, states, most))

    async def _end(self, claimed: Claimed, write: _Write) -> None:
        now = seconds(self._clock)

        def ended(connection: Connection) -> None:
            if not write(connection, settle(connection, claimed, now)):
                raise stale()

        await self._store.write(ended)


def held(  # noqa: PLR0913 - one keyword a part of the proof
    connection: Connection, tenant: str, work_id: str, *, holder: str, fence: int, now_s: int, lock: bool = False
) -> WorkRow:
    """Return the row if ``holder`` has it under ``fence``; else raises ``Conflict`` (``work.stale``)."""
    row = rows.find(connection, tenant, work_id, lock=lock)
    if row is None or not row.held_by(holder, fence, now_s):
        raise stale()
    return row


def settle(connection: Connection, claimed: Claimed, now_s: int) -> WorkRow:
    """Lock the row of ``claimed`` and return it, if it is still its holder's at that step; else ``Conflict``."""
    row = held(
        connection,
        claimed.tenant,
        claimed.id,
        holder=claimed.holder,
        fence=claimed.fence,
        now_s=now_s,
        lock=True,
    )
    if row.step != claimed.step:
        raise stale()
    return row


def stale() -> Conflict:
    """Build the answer to a holder whose step is not its own any more."""
    return Conflict(
        "this step of the work is not held under that fence any more",
        code="work.stale",
        remedy="drop what you have of it and claim again",
    )


def _claim(  # noqa: PLR0913, PLR0917 - one argument a column
    connection: Connection, tenant: str, kinds: frozenset[str], holder: str, now_s: int, until: int
) -> Claimed | None:
    """Take the first row that nobody else is at."""
    passed: list[str] = []
    while len(passed) < rows.BUSY_MAX:
        row = rows.next_due(connection, tenant, kinds, now_s, passed)
        if row is None:
            return None
        passed.append(row.id)
        stands = incidents.find(connection, row.tenant, row.incident, lock="skip") if row.incident else None
        if row.incident and (stands is None or incidents.has_unrecorded(connection, row.tenant, row.incident)):
            continue  # somebody changes it at this moment, or just did
        if row.attempts >= ATTEMPTS_MAX and _is_over(row, now_s):
            _set_aside(connection, row, stands, now_s)
        elif rows.take(connection, row, holder, until):
            if row.kind == AGENTS_KIND and stands is not None:
                _assign(connection, stands, holder, now_s)
            taken = replace(row, holder=holder, fence=row.fence + 1, until=until, attempts=row.attempts + 1)
            return _claimed(connection, taken)
    return None


def _is_over(row: WorkRow, now_s: int) -> bool:
    """Whether no more is hoped for: of a call for people once its time is over and a try came after that.

    The gate itself may have been down meanwhile. A try that ended left the row's next turn, one that died its hold.
    """
    if row.kind not in CALLS_S:
        return True
    over = row.created_at + CALLS_S[row.kind]
    return now_s >= over and max(row.due, row.until) >= over


def _set_aside(connection: Connection, row: WorkRow, stands: Incident | None, now_s: int) -> None:
    """Leave work alone that nobody could do, where people see it, and call them if its incident hangs on it."""
    rows.end(connection, row, "aside")
    if stands is None:
        return
    body = {"work": row.id, "kind": row.kind, "step": row.step, "attempts": row.attempts}
    if row.id != rows.id_of_incident(stands.id) or stands.state in SETTLED:
        incidents.change(connection, stands, kind="set_aside", by="gate", now_s=now_s, body=body)
        return
    reason = {"reason": "set_aside", **body}
    # The row stays set aside: an escalated incident waits for a person, whose next word makes it due afresh.
    after, event = incidents.change(
        connection, stands, kind="set_aside", by="gate", now_s=now_s, body=reason, to="escalated"
    )
    rows.put(
        connection,
        row.tenant,
        "notify",
        event.id,
        incident=after.id,
        body=event.body,
        severity=after.severity,
        now_s=now_s,
        due=now_s,
    )


def _assign(connection: Connection, stands: Incident, holder: str, now_s: int) -> None:
    """Let the incident's session serve ``holder``; where it has ended, one like it goes on."""
    if session_rows.assign(connection, stands.tenant, stands.session, holder, now_s):
        return
    before = session_rows.find(connection, stands.tenant, stands.session)
    if before is None:
        raise Conflict("the incident has no session", code="incident.session", remedy="tell the operator")
    after = _like(before, holder, now_s)
    if not after.tainted and session_rows.tainted_incident(connection, stands.tenant, stands.id):
        after = replace(after, tainted=True)
    session_rows.add(connection, after)
    incidents.renew_session(connection, stands.tenant, stands.id, after.id)


def _like(before: Session, holder: str, now_s: int) -> Session:
    """A fresh session with the purpose and bounds of ``before``."""
    lifetime = before.expires_at - before.opened_at
    return replace(
        before, id=new_id("ses"), agent=holder, named=True, opened_at=now_s, expires_at=now_s + lifetime, closed_at=None
    )


def _claimed(connection: Connection, row: WorkRow) -> Claimed:
    """What its holder is told."""
    stands = incidents.find(connection, row.tenant, row.incident) if row.incident else None
    return Claimed(
        tenant=row.tenant,
        id=row.id,
        kind=row.kind,
        subject=row.subject,
        incident=row.incident,
        session=stands.session if stands and row.kind == AGENTS_KIND else "",
        step=row.step,
        fence=row.fence,
        until=row.until,
        holder=row.holder,
        attempts=row.attempts,
        body=row.body,
    )
