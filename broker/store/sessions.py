"""Rows of ``session``, and their use against budgets in ``session_use``."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from sqlalchemy import Connection, Text, and_, bindparam, false, insert, literal, or_, select, true, union_all, update
from sqlalchemy.dialects import postgresql, sqlite

from broker.model import Intent, Session
from broker.store.hot import Hot
from broker.store.rows import lock, pack, unpack
from broker.store.tables import session, session_use

BUDGETS = ("actions", "writes", "tokens")

_COLUMNS = tuple(column.name for column in session.columns)
_BY_ID = Hot(select(session).where(session.c.tenant == bindparam("t"), session.c.id == bindparam("i")))
_INCIDENT_OF = Hot(select(session.c.incident).where(session.c.tenant == bindparam("t"), session.c.id == bindparam("i")))

_MINE = (session_use.c.tenant == bindparam("t"), session_use.c.session == bindparam("s"))
_COUNTS = [session_use.c[name] for name in BUDGETS]
_USE = Hot(select(*_COUNTS).where(*_MINE))
_USE_LOCKED = Hot(select(*_COUNTS).where(*_MINE).with_for_update())
_SPEND = Hot(update(session_use).where(*_MINE).values({name: bindparam(f"n_{name}") for name in BUDGETS}))
_ZERO = {"tenant": bindparam("t"), "session": bindparam("s"), "actions": 0, "writes": 0, "tokens": 0}
_NEW_USE = Hot(
    postgresql.insert(session_use).values(_ZERO).on_conflict_do_nothing(),
    sqlite=sqlite.insert(session_use).values(_ZERO).on_conflict_do_nothing(),
)

_INCIDENT, _PARTY, _ONE = bindparam("incident_", type_=Text), bindparam("p", type_=Text), session.alias()
_HERE = (_ONE.c.tenant == bindparam("t"), _ONE.c.tainted == false())
_NAMED = union_all(
    select(_ONE.c.id).where(*_HERE, _ONE.c.id == bindparam("i")),
    select(_ONE.c.id).where(*_HERE, _INCIDENT != "", _ONE.c.incident == _INCIDENT),
    select(_ONE.c.id).where(
        *_HERE,
        _PARTY != "",
        _ONE.c.agent == _PARTY,
        _ONE.c.closed_at.is_(None),
        _ONE.c.expires_at > bindparam("now_"),
    ),
)
"""Each by its own index; a single condition with "or" would read every session of the tenant."""
_REACHED = (session.c.tenant == bindparam("t"), session.c.tainted == false(), session.c.id.in_(_NAMED))
"""The clean sessions that untrusted content reaches."""
_CLEAN = Hot(select(session.c.id).where(*_REACHED).limit(1))
_TAINT = Hot(update(session).where(*_REACHED).values(tainted=true()))


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
    rows = _BY_ID(connection, {"t": tenant, "i": session_id})
    return session_of(rows[0]) if rows else None


def of_incident(connection: Connection, tenant: str, incident: str) -> list[str]:
    """Ids of the incident's sessions, open and closed, oldest first."""
    found = connection.execute(
        select(session.c.id)
        .where(session.c.tenant == tenant, session.c.incident == incident)
        .order_by(session.c.opened_at, session.c.id)
        .limit(64)
    )
    return [row.id for row in found]


def open_of(connection: Connection, tenant: str, agent: str, now_s: int, limit: int) -> list[Session]:
    """The open sessions that serve ``agent``, those that last the longest first."""
    serving = (session.c.tenant == tenant, session.c.agent == agent, session.c.expires_at > now_s)
    found = connection.execute(
        select(session)
        .where(*serving, session.c.closed_at.is_(None))
        .order_by(session.c.expires_at.desc(), session.c.id)
        .limit(limit)
    )
    return [session_of(tuple(row)) for row in found]


def session_of(row: Sequence[Any]) -> Session:
    """Build the session from a row that begins with the columns of its table."""
    found = dict(zip(_COLUMNS, row, strict=False))
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


def close(connection: Connection, tenant: str, session_id: str, subject: str, acting: str, now_s: int) -> bool:  # noqa: PLR0913, PLR0917 - one argument a column
    """Close the session if it serves ``acting`` for ``subject``, or that person opened it and asks alone.

    False where there is no such open session.
    """
    alone = subject == acting
    mine = [and_(session.c.opened_by == subject, session.c.agent == acting)]
    if alone:
        mine += [session.c.opened_by == subject, and_(session.c.named == true(), session.c.agent == acting)]
    changed = connection.execute(
        update(session)
        .where(
            session.c.tenant == tenant,
            session.c.id == session_id,
            session.c.closed_at.is_(None),
            or_(*mine),
        )
        .values(closed_at=now_s)
    )
    return changed.rowcount == 1


def is_settled(connection: Connection, tenant: str, session_id: str, party: str, now_s: int) -> bool:
    """Say whether ``taint`` would change nothing."""
    found = _INCIDENT_OF(connection, {"t": tenant, "i": session_id}) if session_id else [("",)]
    return bool(found) and not _CLEAN(connection, _reach(tenant, session_id, found[0][0], party, now_s))


def taint(connection: Connection, tenant: str, session_id: str, party: str, now_s: int) -> bool:
    """Mark that untrusted content entered: the session, all of its incident, and what ``party`` runs now.

    Either name may be empty. False where there is no such session. Nothing takes the mark away. ``tainted_incident``
    and this wait for each other, so that no session slips between.
    """
    found = find(connection, tenant, session_id) if session_id else None
    if session_id and found is None:
        return False
    if found is not None and found.incident:
        lock(connection, "incident", tenant, found.incident)
    _TAINT(connection, _reach(tenant, session_id, found.incident if found else "", party, now_s))
    return True


def _reach(tenant: str, session_id: str, incident: str, party: str, now_s: int) -> dict[str, Any]:
    """Values of ``_REACHED``."""
    return {"t": tenant, "i": session_id, "incident_": incident, "p": party, "now_": now_s}


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


def end(connection: Connection, tenant: str, session_id: str, now_s: int) -> None:
    """Close a session: its incident is over, or its time."""
    connection.execute(
        update(session)
        .where(session.c.tenant == tenant, session.c.id == session_id, session.c.closed_at.is_(None))
        .values(closed_at=now_s)
    )


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
    found = _USE_LOCKED(connection, here)
    if not found:
        _NEW_USE(connection, here)
        found = _USE_LOCKED(connection, here)
    after = {name: count + units.get(name, 0) for name, count in zip(BUDGETS, found[0], strict=True)}
    for name in BUDGETS:
        if units.get(name, 0) and after[name] > budgets.get(name, after[name]):
            return name
    _SPEND(connection, here | {f"n_{name}": count for name, count in after.items()})
    return ""


def used(connection: Connection, tenant: str, session_id: str) -> dict[str, int]:
    """Return what the session has used of each budget; runs in the read or the counter lane."""
    found = _USE(connection, {"t": tenant, "s": session_id})
    return dict(zip(BUDGETS, found[0], strict=True)) if found else dict.fromkeys(BUDGETS, 0)
