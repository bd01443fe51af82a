"""Rows of ``work``: what is due, who holds it, and how often it was tried.

An incident has one row, whose kind follows its state (``WORK_OF``) and whose ``step`` grows with every transition, so
that what is due can never disagree with the state that it serves. ``move`` writes all of it in one transaction. Other
rows (a notification, an export) stand beside it under an id that their kind and subject give.
"""

import base64
import hashlib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, and_, exists, insert, literal_column, not_, or_, select, update

from broker.model import Json
from broker.store import incidents, sessions
from broker.store.incidents import Event, Incident
from broker.store.rows import EVERY_TENANT, pack, unpack, upsert
from broker.store.tables import incident_event, work

WORK_OF: Mapping[str, str] = {
    "triaging": "incident",
    "investigating": "incident",
    "diagnosed": "baseline",
    "proposed": "follow",
    "awaiting_approval": "follow",
    "auto_ok": "follow",
    "leased": "follow",
    "executing": "follow",
    "verifying": "verify",
    "rolling_back": "rollback",
    "rolled_back": "rollback",
    "mitigated": "learn",
    "noise": "learn",
    "learning": "learn",
}
"""Kind of work that each state waits for; the others wait for a person, or for nothing."""
HEAD_START_S = {1: 0, 2: 900, 3: 3_600, 4: 14_400}
"""By severity: how much younger work is overtaken. Every row's turn comes, for rank is an instant and time goes on."""
HOLD_MAX_S = 3_600
ATTEMPTS_MAX = 5
_DAY_S = 86_400
CALLS_S: Mapping[str, int] = {"notify": _DAY_S, "breakglass": 2 * _DAY_S, "time_box": 7 * _DAY_S}
"""Kinds that tell people, and for how long from the beginning no failed try sets one aside: a receiver may be down for long.
A break-glass's end comes hours after its row; a time box lives as long as its proposal, at most a week."""
BUSY_MAX = 8
"""Rows that one claim passes over because another transaction has their incident."""


@dataclass(frozen=True, slots=True)
class WorkRow:
    """One row; ``holder`` has it until ``until`` under ``fence``."""

    tenant: str
    id: str
    kind: str
    subject: str
    incident: str
    step: int
    state: str
    due: int
    holder: str
    fence: int
    until: int
    attempts: int
    severity: int
    created_at: int
    rank: int
    body: Mapping[str, Json]

    def held_by(self, holder: str, fence: int, now_s: int) -> bool:
        """Say whether ``holder`` still has it under ``fence``."""
        return (self.holder, self.fence, self.state) == (holder, fence, "due") and _in_time(self.until, now_s)


def id_of(kind: str, subject: str) -> str:
    """Return the id of a row beside an incident's own: the same work is never put twice."""
    digest = hashlib.sha256(f"{kind}\n{subject}".encode()).digest()[:16]
    return f"wrk_{base64.b32encode(digest).decode().rstrip('=').lower()}"


def id_of_incident(incident_id: str) -> str:
    """Return the id of an incident's own row."""
    return f"wrk_{incident_id.removeprefix('inc_')}"


def move(  # noqa: PLR0913 - one keyword a part of the event
    connection: Connection,
    stands: Incident,
    *,
    kind: str,
    to: str,
    by: str,
    now_s: int,
    body: Mapping[str, Json] | None = None,
    due: int = 0,
    **columns: Any,
) -> tuple[Incident, Event]:
    """Change the state and write its event and what is due next; the caller holds the incident's row.

    Becoming ``inconclusive`` escalates at once, becoming ``escalated`` puts a notification, and the end closes the
    incident's session. Raises as ``incidents.change``.
    """
    if to == "closed":
        columns["closed_at"] = now_s
    after, event = incidents.change(connection, stands, kind=kind, by=by, now_s=now_s, body=body, to=to, **columns)
    plan(connection, after, WORK_OF.get(to, ""), now_s, due=due)
    if not after.live and after.session:
        sessions.end(connection, after.tenant, after.session, now_s)
    if to == "inconclusive":
        reason = {"reason": "inconclusive", **dict(body or {})}
        return move(connection, after, kind="escalated", to="escalated", by="gate", now_s=now_s, body=reason)
    if to == "escalated":
        put(
            connection,
            after.tenant,
            "notify",
            event.id,
            incident=after.id,
            body=event.body,
            severity=after.severity,
            now_s=now_s,
            due=now_s,
        )
    return after, event


def plan(connection: Connection, stands: Incident, kind: str, now_s: int, *, due: int = 0) -> None:
    """Make the incident's next step due (none, if ``kind`` is empty); whoever held the one before is stale."""
    mine = (work.c.tenant == stands.tenant, work.c.id == id_of_incident(stands.id))
    values: dict[str, Any] = {
        "kind": kind or "incident",
        "state": "due" if kind else "idle",
        "due": max(due, now_s),
        "holder": "",
        "until": 0,
        "attempts": 0,
        "severity": stands.severity,
        "rank": stands.opened_at - HEAD_START_S[stands.severity],
    }
    changed = connection.execute(update(work).where(*mine).values(values | {"step": work.c.step + 1}))
    if changed.rowcount == 0:
        connection.execute(
            insert(work).values(
                values
                | {"tenant": stands.tenant, "id": id_of_incident(stands.id), "subject": stands.id}
                | {"incident": stands.id, "step": 1, "fence": 0, "created_at": stands.opened_at, "body": pack({})}
            )
        )


def put(  # noqa: PLR0913 - one keyword a column
    connection: Connection,
    tenant: str,
    kind: str,
    subject: str,
    *,
    incident: str,
    body: Mapping[str, Json],
    severity: int,
    now_s: int,
    due: int,
) -> str:
    """Put one row of work beside an incident's own, unless it is there; returns its id."""
    row_id = id_of(kind, subject)
    connection.execute(
        upsert(connection, work)
        .values(
            tenant=tenant,
            id=row_id,
            kind=kind,
            subject=subject,
            incident=incident,
            step=1,
            state="due",
            due=due,
            holder="",
            fence=0,
            until=0,
            attempts=0,
            severity=severity,
            created_at=now_s,
            rank=now_s - HEAD_START_S[severity],
            body=pack(dict(body)),
        )
        .on_conflict_do_nothing()
    )
    return row_id


def raised(connection: Connection, stands: Incident) -> None:
    """Let the incident's work stand where its severity puts it now."""
    connection.execute(
        update(work)
        .where(work.c.tenant == stands.tenant, work.c.id == id_of_incident(stands.id))
        .values(severity=stands.severity, rank=stands.opened_at - HEAD_START_S[stands.severity])
    )


def find(connection: Connection, tenant: str, work_id: str, *, lock: bool = False) -> WorkRow | None:
    """Return one row; ``lock`` holds it until the transaction ends."""
    statement = select(work).where(work.c.tenant == tenant, work.c.id == work_id)
    row = connection.execute(statement.with_for_update() if lock else statement).one_or_none()
    return _row_of(row) if row else None


def next_due(
    connection: Connection, tenant: str, kinds: Collection[str], now_s: int, passed: Sequence[str] = ()
) -> WorkRow | None:
    """Return the first free row and lock it, skipping what others have locked and the ids in ``passed``."""
    statement = _due(tenant, kinds, now_s).where(work.c.id.not_in(passed))
    statement = statement.order_by(work.c.rank, work.c.id).limit(1)
    row = connection.execute(statement.with_for_update(skip_locked=True)).one_or_none()
    return _row_of(row) if row else None


def is_due(connection: Connection, tenant: str, kinds: Collection[str], now_s: int) -> bool:
    """Say whether ``next_due`` would find anything."""
    return connection.execute(_due(tenant, kinds, now_s).limit(1)).first() is not None


def take(connection: Connection, row: WorkRow, holder: str, until: int) -> bool:
    """Give a free row to ``holder`` under a new fence; False if it changed since it was read."""
    return _compare_and_set(connection, row, holder=holder, fence=row.fence + 1, until=until, attempts=row.attempts + 1)


def renew(connection: Connection, row: WorkRow, until: int) -> bool:
    """Let its holder keep it until ``until``; False if it changed since it was read."""
    return _compare_and_set(connection, row, until=until)


def end(connection: Connection, row: WorkRow, state: str) -> bool:
    """Leave the row as ``done`` or ``aside``; False if it changed since it was read."""
    return _compare_and_set(connection, row, state=state, holder="", until=0)


def give_back(connection: Connection, row: WorkRow, due: int, attempts: int) -> bool:
    """Free the row until ``due``; False if it changed since it was read."""
    return _compare_and_set(connection, row, holder="", until=0, due=due, attempts=attempts)


def page(connection: Connection, tenant: str, states: Collection[str], most: int) -> list[WorkRow]:
    """Rows in ``states`` in the order of their turn."""
    rows = connection.execute(
        select(work)
        .where(work.c.tenant == tenant, work.c.state.in_(sorted(states)))
        .order_by(work.c.rank, work.c.id)
        .limit(most)
    ).all()
    return [_row_of(row) for row in rows]


def _due(tenant: str, kinds: Collection[str], now_s: int) -> Any:
    """Free rows of ``kinds`` whose time has come and whose incident is whole in the log."""
    table, event = work.c, incident_event.c
    unrecorded = exists().where(
        event.tenant == table.tenant, event.incident == table.incident, literal_column("NOT recorded")
    )
    free: ColumnElement[bool] = or_(table.until <= now_s, table.until > now_s + HOLD_MAX_S)
    statement = select(work).where(
        table.state == "due", table.kind.in_(sorted(kinds)), table.due <= now_s, free, not_(unrecorded)
    )
    return statement if tenant == EVERY_TENANT else statement.where(table.tenant == tenant)


def _in_time(until: int, now_s: int) -> bool:
    """Say whether a hold still stands. One far ahead is of a clock that was set back since: it holds nothing."""
    return now_s < until <= now_s + HOLD_MAX_S


def _compare_and_set(connection: Connection, row: WorkRow, **values: Any) -> bool:
    """Change the row if it still is at the same step under the same fence."""
    changed = connection.execute(
        update(work)
        .where(
            and_(work.c.tenant == row.tenant, work.c.id == row.id),
            work.c.step == row.step,
            work.c.fence == row.fence,
            work.c.state == row.state,
        )
        .values(values)
    )
    return changed.rowcount == 1


def _row_of(row: Row[Any]) -> WorkRow:
    """Build the row's own type."""
    values = dict(row._mapping)  # noqa: SLF001 - the public name of a row's columns
    return WorkRow(**values | {"body": unpack(values["body"])})
