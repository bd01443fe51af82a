"""Rows of ``target_write``, and what stands around a target: other incidents that meet it."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Row, and_, exists, literal_column, select, update

from broker.model import Json
from broker.store.rows import lock, pack, unpack, upsert
from broker.store.tables import (
    LIVE_INCIDENT_SQL,
    LIVE_SQL,
    diagnosis,
    incident,
    proposal,
    session,
    target_write,
)

UNJUDGED = ("diagnosed", "proposed", "awaiting_approval", "auto_ok", "leased", "executing", "verifying", "rolling_back")
"""States of an incident in which a write without an outcome is still to be judged."""
LONGEST_S = 86_400
"""No verification lasts longer."""
MOST = 100
"""Rows that one question reads."""


@dataclass(frozen=True, slots=True)
class Write:
    """One write on a target, and what verification found of it (empty until then).

    ``plan``: ``{"resource": {"type","id","env"}, "session", "undo": request or null, "digest": of undo or ""}``.
    """

    tenant: str
    env: str
    target: str
    action_id: str
    action: str
    incident: str
    at: int
    outcome: str
    plan: Mapping[str, Json]


@dataclass(frozen=True, slots=True)
class Neighbour:
    """Another live incident: what it is about, and what its diagnosis names."""

    id: str
    state: str
    severity: int
    opened_at: int
    service: str
    component: str
    written: bool = False
    """It has written to a target, and that is not judged yet."""


def begin(connection: Connection, write: Write, near: Collection[str] = ()) -> bool:
    """Insert one write before its effect; the same action again changes nothing.

    False, and nothing is inserted, while the same incident has another write, or another live incident has written to
    one of ``near``, and nobody has judged it.
    """
    lock(connection, "target_write", write.tenant, write.env)
    if near and (_again(connection, write) or _meets(connection, write, near)):
        return False
    values = {column.name: getattr(write, column.name) for column in target_write.columns}
    connection.execute(
        upsert(connection, target_write).values(values | {"plan": pack(dict(write.plan))}).on_conflict_do_nothing()
    )
    return True


def close(connection: Connection, tenant: str, action_id: str, outcome: str) -> None:
    """Put down what became of a write that has no outcome yet."""
    connection.execute(
        update(target_write)
        .where(
            target_write.c.tenant == tenant,
            target_write.c.action_id == action_id,
            target_write.c.outcome == "",
        )
        .values(outcome=outcome)
    )


def find(connection: Connection, tenant: str, action_id: str) -> Write | None:
    """The write that this action was."""
    row = connection.execute(
        select(target_write).where(target_write.c.tenant == tenant, target_write.c.action_id == action_id)
    ).first()
    return _write_of(row) if row else None


def recent(connection: Connection, tenant: str, env: str, target: str, since: int) -> list[Write]:
    """Writes on one target since ``since``, oldest first."""
    rows = connection.execute(
        select(target_write)
        .where(
            target_write.c.tenant == tenant,
            target_write.c.env == env,
            target_write.c.target == target,
            target_write.c.at >= since,
        )
        .order_by(target_write.c.at.desc(), target_write.c.action_id)
        .limit(MOST)
    ).all()
    return [_write_of(row) for row in reversed(rows)]


def neighbours(connection: Connection, tenant: str, env: str, but: str) -> Sequence[Neighbour]:
    """Other live incidents of the environment, the most severe first."""
    rows = connection.execute(
        select(
            incident.c.id,
            incident.c.state,
            incident.c.severity,
            incident.c.opened_at,
            incident.c.service,
            diagnosis.c.component,
            exists(
                select(target_write.c.action_id).where(
                    target_write.c.tenant == incident.c.tenant,
                    target_write.c.env == incident.c.env,
                    target_write.c.incident == incident.c.id,
                    target_write.c.outcome == "",
                )
            ),
        )
        .outerjoin(diagnosis, and_(diagnosis.c.tenant == incident.c.tenant, diagnosis.c.id == incident.c.diagnosis))
        .where(
            incident.c.tenant == tenant,
            incident.c.env == env,
            incident.c.id != but,
            literal_column(f"incident.{LIVE_INCIDENT_SQL}"),
        )
        .order_by(incident.c.severity.desc(), incident.c.opened_at, incident.c.id)
        .limit(MOST)
    ).all()
    return [
        Neighbour(row[0], row[1], row[2], row[3], row[4], component=row[5] or "", written=bool(row[6])) for row in rows
    ]


def asked_in(connection: Connection, tenant: str, incident_id: str) -> list[str]:
    """Actions of an incident that wait for people, run, or are not judged yet."""
    done = select(target_write.c.action_id).where(
        target_write.c.tenant == tenant, target_write.c.incident == incident_id, target_write.c.outcome == ""
    )
    own = select(session.c.id).where(session.c.tenant == tenant, session.c.incident == incident_id)
    live = select(proposal.c.action_id).where(
        proposal.c.tenant == tenant,
        proposal.c.session.in_(own),
        literal_column(f"proposal.{LIVE_SQL}"),
        proposal.c.action.not_like("gate.%"),
    )
    return sorted({row[0] for row in connection.execute(done.union(live))})


def incident_of_session(connection: Connection, tenant: str, session_id: str) -> str:
    """The incident that a session was opened for; empty for none."""
    found = connection.execute(
        select(session.c.incident).where(session.c.tenant == tenant, session.c.id == session_id)
    ).scalar_one_or_none()
    return found or ""


def _again(connection: Connection, write: Write) -> bool:
    """Whether this incident has another write that is under way or being judged."""
    found = connection.execute(
        select(target_write.c.action_id)
        .where(
            target_write.c.tenant == write.tenant,
            target_write.c.incident == write.incident,
            target_write.c.outcome == "",
            target_write.c.action_id != write.action_id,
        )
        .limit(1)
    )
    return found.first() is not None


def _meets(connection: Connection, write: Write, near: Collection[str]) -> bool:
    """Whether a write of another incident near this one is under way or being judged."""
    found = connection.execute(
        select(target_write.c.action_id)
        .join(incident, and_(incident.c.tenant == target_write.c.tenant, incident.c.id == target_write.c.incident))
        .where(
            target_write.c.tenant == write.tenant,
            target_write.c.env == write.env,
            target_write.c.target.in_(sorted(near)),
            target_write.c.outcome == "",
            target_write.c.at >= write.at - LONGEST_S,
            target_write.c.incident != write.incident,
            incident.c.state.in_(UNJUDGED),
        )
        .limit(1)
    )
    return found.first() is not None


def _write_of(row: Row[Any]) -> Write:
    values = dict(row._mapping)  # noqa: SLF001 - the public name of a row's columns
    return Write(**values | {"plan": unpack(values["plan"])})
