"""Sessions: whom a run serves, how long, with which intent and budgets.

A session exists only for its tenant and its principal: to everybody else, and once it is closed or expired, it is
``NotFound``. The principal is the pair (subject, acting party) that opened it; where a human named an agent at opening
it is that agent, under its own identity or on behalf of the same human.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from broker.clock import Clock, seconds
from broker.errors import BadRequest, Denied, LimitExceeded, NotFound
from broker.model import Intent, PartyKind, Principal, Session
from broker.store import Connection, Query, Store
from broker.store import sessions as rows
from broker.store.rows import new_id

OPENED_BY_GATE = "gate"
"""``opened_by`` of an incident's session; no party has an id without a colon."""


@dataclass(frozen=True, slots=True)
class Opening:
    """What a session is opened with. ``lifetime_s`` is bounded by the caller's configuration."""

    intent: Sequence[Intent]
    lifetime_s: int
    agent: str = ""
    """Party id of the agent that a human names, else empty."""
    id: str = ""
    """The session's id where the caller derived one; empty makes a fresh one."""
    incident: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)
    budgets: Mapping[str, int] = field(default_factory=dict)
    """Bounds by name: ``actions``, ``writes``, ``tokens``; one that is left out has no bound."""


class Sessions:
    """Opens, finds and closes sessions."""

    def __init__(self, store: Store, clock: Clock) -> None:
        """Keep sessions in ``store``; expiry is compared with ``clock`` at every use."""
        self._store = store
        self._clock = clock

    async def open(self, principal: Principal, opening: Opening) -> Session:
        """Open a session for ``principal``, or for the agent that it names.

        It starts tainted if a piece of its intent is untrusted, or if a session of its incident is: a new session does
        not wash taint away. Raises ``Denied`` (``session.naming``, ``session.incident``) where anybody but a human names
        an agent or an incident: an agent comes into an incident's session by its work.
        """
        acting = principal.acting
        person = acting.kind is PartyKind.HUMAN and principal.actor is None
        if opening.agent and opening.agent != acting.id and not person:
            raise Denied(
                "only a human may open a session for another agent",
                code="session.naming",
                remedy="leave `agent` out, or let a person open the session",
            )
        if opening.incident and not person:
            raise Denied(
                "only a human may open a session in an incident",
                code="session.incident",
                remedy="leave `incident` out, or let a person open the session and name the agent",
            )
        named = bool(opening.agent) and opening.agent != acting.id
        draft = self._draft(principal.tenant, opening)
        return await self._add(
            replace(draft, opened_by=principal.subject.id, agent=opening.agent or acting.id, named=named)
        )

    async def open_for_incident(self, tenant: str, opening: Opening) -> Session:
        """Open an incident's session by the gate itself; it serves nobody until ``assign`` names an agent."""
        return await self._add(self.draft_for_incident(tenant, opening))

    def draft_for_incident(self, tenant: str, opening: Opening) -> Session:
        """Shape an incident's session, for one who stores it together with the incident itself."""
        if not opening.incident:
            raise BadRequest("field `incident` is empty", remedy="name the incident that the session belongs to")
        return replace(self._draft(tenant, opening), opened_by=OPENED_BY_GATE, named=True)

    async def assign(self, tenant: str, session_id: str, agent: str) -> None:
        """Let an incident's session serve ``agent`` from now on, and the one before no more; ``NotFound`` if closed."""
        now = seconds(self._clock)
        if not await self._store.write(lambda c: rows.assign(c, tenant, session_id, agent, now)):
            raise _absent()

    async def get(self, principal: Principal, session_id: str) -> Session:
        """Return the open session that serves ``principal``; raises ``NotFound``."""
        found = await self._store.read(lambda c: rows.find(c, principal.tenant, session_id))
        try:
            return self.serving(found, principal)
        except NotFound:
            await self.keep_end(found)
            raise

    async def keep_end(self, found: Session | None) -> None:
        """Once somebody is told that a session's time is over, it is: a clock that goes back does not open it again."""
        if found is not None and found.closed_at is None and seconds(self._clock) >= found.expires_at:
            await self._store.write(lambda c: rows.end(c, found.tenant, found.id, found.expires_at))

    def serving(self, found: Session | None, principal: Principal) -> Session:
        """Return ``found`` if it is open and serves ``principal``; raises ``NotFound`` alike for every other case."""
        if found is None or found.closed_at is not None or seconds(self._clock) >= found.expires_at:
            raise _absent()
        if found.tenant != principal.tenant or found.agent != principal.acting.id:
            raise _absent()
        alone = found.named and principal.subject.id == found.agent
        if not alone and principal.subject.id != found.opened_by:
            raise _absent()
        return found

    async def incident_of(self, tenant: str, session_id: str) -> str:
        """The incident that the session, open or closed, was opened in; empty for none."""
        found = await self._store.glance(lambda c: rows.find(c, tenant, session_id)) if session_id else None
        return found.incident if found else ""

    async def of_incident(self, tenant: str, incident: str) -> list[str]:
        """Ids of the sessions that were opened in an incident, oldest first."""
        return await self._store.read(lambda c: rows.of_incident(c, tenant, incident))

    async def open_of(self, tenant: str, agent: str, limit: int) -> list[Session]:
        """The open sessions that serve ``agent``, those that last the longest first."""
        now = seconds(self._clock)
        return await self._store.read(lambda c: rows.open_of(c, tenant, agent, now, limit))

    async def close(self, principal: Principal, session_id: str) -> None:
        """Close for good, by whom it serves or who opened it in person; ``NotFound`` for others and the second time."""
        now, subject, acting = seconds(self._clock), principal.subject.id, principal.acting.id
        if not await self._store.write(lambda c: rows.close(c, principal.tenant, session_id, subject, acting, now)):
            raise _absent()

    async def taint(self, tenant: str, session_id: str = "", *, party: str = "") -> None:
        """Mark that untrusted content entered, before it is shown: for good, and in every session of the incident.

        It reaches every session that ``party`` runs now, too: who read it carries it along. Raises ``NotFound`` where
        there is no such session.
        """
        now = seconds(self._clock)
        if await self._store.glance(lambda c: rows.is_settled(c, tenant, session_id, party, now)):
            return
        if not await self._store.write(lambda c: rows.taint(c, tenant, session_id, party, now)):
            raise _absent()

    async def spend(self, session: Session, units: Mapping[str, int]) -> None:
        """Count use against the budgets, all or none; raises ``LimitExceeded`` (``session.budget``) at the first spent."""
        await self._store.count(self.spending(session, units))

    def spending(self, session: Session, units: Mapping[str, int]) -> Query[None]:
        """``spend`` as a part of somebody's transaction in the counter lane; raising, it undoes that transaction."""

        def count(connection: Connection) -> None:
            spent = rows.spend(connection, session.tenant, session.id, session.budgets, units)
            if spent:
                raise LimitExceeded(
                    f"the session's budget of {spent} is spent",
                    code="session.budget",
                    remedy="open a new session, or ask the owner of the policy for a larger budget",
                )

        return count

    async def used(self, session: Session) -> dict[str, int]:
        """Return what the session has used: ``actions``, ``writes``, ``tokens``."""
        return await self._store.read(lambda c: rows.used(c, session.tenant, session.id))

    def _draft(self, tenant: str, opening: Opening) -> Session:
        """Shape a session from ``opening``; names wrong budgets and lifetimes."""
        now = seconds(self._clock)
        if opening.lifetime_s <= 0:
            raise BadRequest("field `lifetime_s` must be positive")
        for name, bound in opening.budgets.items():
            if name not in rows.BUDGETS or bound < 0:
                raise BadRequest(f"field `budgets` may hold {', '.join(rows.BUDGETS)} of 0 or more")
        return Session(
            id=opening.id or new_id("ses"),
            tenant=tenant,
            opened_by="",
            agent="",
            intent=tuple(opening.intent),
            opened_at=now,
            expires_at=now + opening.lifetime_s,
            labels=dict(opening.labels),
            budgets=dict(opening.budgets),
            incident=opening.incident,
            tainted=any(not piece.trusted for piece in opening.intent),
        )

    async def _add(self, draft: Session) -> Session:
        """Store ``draft`` with its incident's taint, in one transaction."""

        def insert(connection: Connection) -> Session:
            tainted = draft.tainted
            if draft.incident and not tainted:
                tainted = rows.tainted_incident(connection, draft.tenant, draft.incident)
            opened = replace(draft, tainted=tainted)
            rows.add(connection, opened)
            return opened

        return await self._store.write(insert)


def _absent() -> NotFound:
    """Build the one answer for a session that is not there for the asker."""
    return NotFound("there is no such open session", code="session.not_found", remedy="open a session and use its id")
