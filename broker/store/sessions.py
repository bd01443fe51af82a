"""Rows of ``session``, and their use against budgets in ``session_use``."""

from collections.abc import Mapping
from dataclasses import asdict

from sqlalchemy import Connection, Row, bindparam, insert, literal, or_, select, true, update
from sqlalchemy.dialects import postgresql, sqlite

from broker.model import Intent, Session
from broker.store.rows import lock, pack, unpack
from broker.store.tables import session, session_use

BUDGETS = ("actions", "writes", "tokens")

_BY_ID = select(session).where(session.c.tenant == bindparam("t"), session.c.id == bindparam("i"))

_MINE = (session_use.c.tenant == bindparam("t"), session_use.c.session == bindparam("s"))
_USE = select(session_use).where(*_MINE)
_SPEND = update(session_use).where(*_MINE).values({name: bindparam(f"n_{name}") for name in BUDGETS})
_ZERO = {"tenant": bindparam("t"), "session": bindparam("s"), "actions": 0, "writes": 0, "tokens": 0}
_NEW_USE = {
    "sqlite": sqlite.insert(session_use).values(_ZERO).on_conflict_do_nothing(),
    "postgresql": postgresql.insert(session_use).values(_ZERO).on_conflict_do_nothing(),
}


def add(connection: Connection, opened: Session) -> None:
    """Insert one session."""
    connection.execute(
        insert(session).values(
            tenant=opened.tenant,
            id=opened.id,
            opened_by=opened.opened_by,
            agent=opened.agent,
            named=opened.named,
            incident=opened.incident,
            intent=pack([asdict(piece) for piece in opened.intent]),
            labels=pack(dict(opened.labels)),
            budgets=pack(dict(opened.budgets)),
            opened_at=opened.opened_at,
            expires_at=opened.expires_at,
            closed_at=opened.closed_at,
            tainted=opened.tainted,
        )
    )


def find(connection: Connection, tenant: str, session_id: str) -> Session | None:
    """Return the session of this tenant, open or not."""
    row = connection.execute(_BY_ID, {"t": tenant, "i": session_id}).one_or_none()
    return session_of(row) if row else None


def session_of(row: Row[tuple[object, ...]]) -> Session:
    """Build the session from a row that holds the columns of its table."""
    found = row._mapping  # noqa: SLF001 - the public name of a row's columns
    return Session(
        id=found["id"],
        tenant=found["tenant"],
        opened_by=found["opened_by"],
        agent=found["agent"],
        intent=tuple(Intent(**piece) for piece in unpack(found["intent"])),
        opened_at=found["opened_at"],
        expires_at=found["expires_at"],
        labels=unpack(found["labels"]),
        budgets=unpack(found["budgets"]),
        incident=found["incident"],
        tainted=bool(found["tainted"]),
        closed_at=found["closed_at"],
        named=bool(found["named"]),
    )


def close(connection: Connection, tenant: str, session_id: str, party: str, now_s: int) -> bool:
    """Close the session if ``party`` opened it or runs it; False where there is no such open session."""
    changed = connection.execute(
        update(session)
        .where(
            session.c.tenant == tenant,
            session.c.id == session_id,
            session.c.closed_at.is_(None),
            or_(session.c.opened_by == party, session.c.agent == party),
        )
        .values(closed_at=now_s)
    )
    return changed.rowcount == 1


def taint(connection: Connection, tenant: str, session_id: str) -> bool:
    """Mark that untrusted content entered, in every session of the incident; False where there is no such session.

    Nothing takes the mark away. ``tainted_incident`` and this wait for each other, so that no session slips between.
    """
    found = find(connection, tenant, session_id)
    if found is None:
        return False
    touched = session.c.id == session_id
    if found.incident:
        lock(connection, "incident", tenant, found.incident)
        touched = or_(touched, session.c.incident == found.incident)
    connection.execute(update(session).where(session.c.tenant == tenant, touched).values(tainted=True))
    return True


def assign(connection: Connection, tenant: str, session_id: str, agent: str, now_s: int) -> bool:
    """Give an incident's open session to ``agent``; False where there is none."""
    changed = connection.execute(
        update(session)
        .where(
            session.c.tenant == tenant,
            session.c.id == session_id,
            session.c.incident != "",
            session.c.closed_at.is_(None),
            session.c.expires_at > now_s,
        )
        .values(agent=agent, named=True)
    )
    return changed.rowcount == 1


def tainted_incident(connection: Connection, tenant: str, incident: str) -> bool:
    """Say whether any session of the incident, open or closed, is tainted; holds off ``taint`` until the end."""
    lock(connection, "incident", tenant, incident)
    found = connection.execute(
        select(literal(1))
        .where(session.c.tenant == tenant, session.c.incident == incident, session.c.tainted == true())
        .limit(1)
    )
    return found.first() is not None


def spend(
    connection: Connection, tenant: str, session_id: str, budgets: Mapping[str, int], units: Mapping[str, int]
) -> str:
    """Count ``units`` of use, all or none; returns the name of the first budget that would be overdrawn, else empty.

    Runs in the counter lane. A budget that is not named has no bound.
    """
    here = {"t": tenant, "s": session_id}
    connection.execute(_NEW_USE[connection.dialect.name], here)
    row = connection.execute(_USE.with_for_update(), here).one()._mapping  # noqa: SLF001
    after = {name: row[name] + units.get(name, 0) for name in BUDGETS}
    for name in BUDGETS:
        if units.get(name, 0) and after[name] > budgets.get(name, after[name]):
            return name
    connection.execute(_SPEND, here | {f"n_{name}": count for name, count in after.items()})
    return ""


def used(connection: Connection, tenant: str, session_id: str) -> dict[str, int]:
    """Return what the session has used of each budget; runs in the read or the counter lane."""
    row = connection.execute(_USE, {"t": tenant, "s": session_id}).one_or_none()
    return {name: int(row._mapping[name]) if row else 0 for name in BUDGETS}  # noqa: SLF001
