"""Rows of ``incident`` and ``incident_event``.

An incident's state moves only along ``tables.INCIDENT_TRANSITIONS``. Every change of an incident is one event: ``change``
writes both in the transaction of its caller, and the incident's ``version`` is the number of that event. Locks are
taken in one order everywhere: incident, then work, then session.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    Row,
    and_,
    func,
    insert,
    literal,
    literal_column,
    or_,
    select,
    true,
    tuple_,
    update,
)

from broker.errors import Conflict
from broker.model import Json
from broker.store.rows import Page, Part, Place, Span, cursor, pack, place, unpack, within
from broker.store.tables import INCIDENT_STATES, INCIDENT_TRANSITIONS, LIVE_INCIDENT_SQL, incident, incident_event

JSON_COLUMNS = ("alert",)
PEOPLES = ("note", "rule_out", "correct", "take_over", "hand_back", "outside_change", "override")
"""Kinds of events by which people take part."""
_LIVE: ColumnElement[bool] = literal_column(LIVE_INCIDENT_SQL)
_MOVED = incident_event.c.from_state != incident_event.c.to_state
ONLY: Mapping[str, ColumnElement[bool]] = {
    "": true(),
    "acts": or_(_MOVED, incident_event.c.kind.in_(PEOPLES)),
    "verdicts": and_(_MOVED, incident_event.c.from_state == "verifying"),
}
"""Which events: all; what moved the incident or was said by people; what verification found."""


@dataclass(frozen=True, slots=True)
class Incident:
    """One incident as it stands; ``version`` is the number of its last event."""

    id: str
    tenant: str
    state: str
    version: int
    title: str
    service: str
    env: str
    severity: int
    """1 (info) to 4 (critical)."""
    fingerprint: str
    session: str
    merged_into: str
    action_id: str
    diagnosis: str
    since: int
    """When the alert began, by its own word."""
    until: int | None
    """When the alert ended; None while it fires."""
    opened_at: int
    changed_at: int
    closed_at: int | None
    holder: str
    """The person who took it over, or empty."""
    alert: Mapping[str, Json]
    alerts: int = 1
    """How often the alert came."""
    counted_at: int = 0
    """When a repetition was last put down as an event."""

    @property
    def live(self) -> bool:
        """Neither linked into another one nor closed."""
        return self.state not in {"linked", "closed"}


@dataclass(frozen=True, slots=True)
class Event:
    """One thing that happened in an incident, never changed; ``recorded`` once the log has it."""

    tenant: str
    incident: str
    seq: int
    kind: str
    at: int
    actor: str
    from_state: str
    to_state: str
    body: Mapping[str, Json]
    recorded: bool = False

    @property
    def id(self) -> str:
        """Its name in the log."""
        return f"{self.incident}.{self.seq}"

    @property
    def by_people(self) -> bool:
        """Whether a person took part by it; a note may be an agent's (``body.machine``)."""
        return self.kind in PEOPLES and self.actor not in {"gate", ""} and not self.body.get("machine")


def add(connection: Connection, draft: Incident) -> None:
    """Insert a new incident in the state ``received``; its first event follows by ``change``."""
    values = {column.name: getattr(draft, column.name) for column in incident.columns}
    connection.execute(insert(incident).values(values | {"title": draft.title.encode(), "alert": pack(draft.alert)}))


def find(connection: Connection, tenant: str, incident_id: str, *, lock: str = "") -> Incident | None:
    """Return one incident; ``lock`` is ``wait`` to hold its row until the end, ``skip`` to give up if another does."""
    statement = select(incident).where(incident.c.tenant == tenant, incident.c.id == incident_id)
    if lock:
        statement = statement.with_for_update(skip_locked=lock == "skip")
    row = connection.execute(statement).one_or_none()
    return _incident_of(row) if row else None


def of_fingerprint(connection: Connection, tenant: str, fingerprint: str) -> Incident | None:
    """Return the live incident of this fingerprint, else its newest."""
    statement = (
        select(incident)
        .where(incident.c.tenant == tenant, incident.c.fingerprint == fingerprint)
        .order_by(_LIVE.desc(), incident.c.opened_at.desc(), incident.c.id.desc())
        .limit(1)
        .with_for_update()
    )
    row = connection.execute(statement).one_or_none()
    return _incident_of(row) if row else None


def live(connection: Connection, tenant: str, env: str = "", services: Collection[str] = ()) -> list[Incident]:
    """Live incidents of the tenant, oldest first; of ``services`` in ``env`` where they are named."""
    statement = select(incident).where(incident.c.tenant == tenant, _LIVE)
    if env:
        statement = statement.where(incident.c.env == env, incident.c.service.in_(sorted(services)))
    rows = connection.execute(statement.order_by(incident.c.opened_at, incident.c.id)).all()
    return [_incident_of(row) for row in rows]


def merged(connection: Connection, tenant: str, incident_id: str, *, firing: bool = False) -> list[Incident]:
    """Incidents linked into this one, oldest first; ``firing`` leaves out those whose alert has ended."""
    statement = select(incident).where(incident.c.tenant == tenant, incident.c.merged_into == incident_id)
    if firing:
        statement = statement.where(incident.c.until.is_(None))
    rows = connection.execute(statement.order_by(incident.c.opened_at, incident.c.id)).all()
    return [_incident_of(row) for row in rows]


def count(connection: Connection, tenant: str, *, merged_into: str = "", but: str = "") -> int:
    """Count the tenant's live incidents but those of one fingerprint, or those that are linked into one."""
    which = incident.c.merged_into == merged_into if merged_into else and_(_LIVE, incident.c.fingerprint != but)
    statement = select(func.count()).select_from(incident).where(incident.c.tenant == tenant, which)
    return int(connection.execute(statement).scalar_one())


def page(connection: Connection, tenant: str, states: Iterable[str], limit: int, after: str = "") -> Page[Incident]:
    """Return one page of the tenant's incidents in ``states`` (all, if none is named), newest first."""
    table = incident.c
    wanted = sorted(set(states) & set(INCIDENT_STATES))
    statement = select(incident).where(table.tenant == tenant, *([table.state.in_(wanted)] if states else []))
    if after:
        statement = statement.where(tuple_(table.opened_at, table.id) < tuple_(*map(literal, place(after))))
    rows = connection.execute(statement.order_by(table.opened_at.desc(), table.id.desc()).limit(limit + 1)).all()
    items = tuple(_incident_of(row) for row in rows[:limit])
    return Page(items, cursor(items[-1].opened_at, items[-1].id) if len(rows) > limit else "")


def change(  # noqa: PLR0913 - one keyword a part of the event
    connection: Connection,
    stands: Incident,
    *,
    kind: str,
    by: str,
    now_s: int,
    body: Mapping[str, Json] | None = None,
    to: str = "",
    **columns: Any,
) -> tuple[Incident, Event]:
    """Write one event and what it changes: the state ``to``, and ``columns`` of the incident.

    Raises ``Conflict``: ``incident.transition`` for a pair that is not in the table, ``incident.version`` if somebody
    changed the incident since ``stands`` was read.
    """
    to_state = to or stands.state
    if to and (stands.state, to) not in INCIDENT_TRANSITIONS:
        raise refused(stands, to)
    after = replace(stands, version=stands.version + 1, state=to_state, changed_at=now_s, **columns)
    stored = {name: _stored(name, getattr(after, name)) for name in ("version", "state", "changed_at", *columns)}
    changed = connection.execute(
        update(incident)
        .where(incident.c.tenant == stands.tenant, incident.c.id == stands.id, incident.c.version == stands.version)
        .values(stored)
    )
    if changed.rowcount != 1:
        raise Conflict(
            "the incident changed meanwhile", code="incident.version", remedy="read the incident and decide again"
        )
    event = Event(
        tenant=stands.tenant,
        incident=stands.id,
        seq=after.version,
        kind=kind,
        at=now_s,
        actor=by,
        from_state=stands.state,
        to_state=to_state,
        body=dict(body or {}),
    )
    connection.execute(
        insert(incident_event).values(
            tenant=event.tenant,
            incident=event.incident,
            seq=event.seq,
            kind=event.kind,
            at=event.at,
            actor=event.actor,
            from_state=event.from_state,
            to_state=event.to_state,
            body=pack(event.body),
            recorded=False,
        )
    )
    return after, event


def counted(connection: Connection, stands: Incident) -> Incident:
    """Count one more coming of the alert, without an event."""
    connection.execute(
        update(incident)
        .where(incident.c.tenant == stands.tenant, incident.c.id == stands.id)
        .values(alerts=incident.c.alerts + 1)
    )
    return replace(stands, alerts=stands.alerts + 1)


def repoint(connection: Connection, tenant: str, old: str, new: str) -> None:
    """Let what is linked into ``old`` be linked into ``new``."""
    connection.execute(
        update(incident).where(incident.c.tenant == tenant, incident.c.merged_into == old).values(merged_into=new)
    )


def renew_session(connection: Connection, tenant: str, incident_id: str, session_id: str) -> None:
    """Name the session that goes on where the one before ended."""
    connection.execute(
        update(incident).where(incident.c.tenant == tenant, incident.c.id == incident_id).values(session=session_id)
    )


def events(
    connection: Connection, tenant: str, incident_id: str, after: int = 0, most: int | None = None
) -> list[Event]:
    """Events of one incident in order, after the number ``after``; the first ``most`` of them."""
    table = incident_event.c
    rows = connection.execute(
        select(incident_event)
        .where(table.tenant == tenant, table.incident == incident_id, table.seq > after)
        .order_by(table.seq)
        .limit(most)
    ).all()
    return [_event_of(row) for row in rows]


def event_part(  # noqa: PLR0913 - one keyword a part of the question
    connection: Connection, tenant: str, incident_id: str, span: Span, *, by_time: bool = False, only: str = ""
) -> Part[Event]:
    """Events that stand together, in order of their numbers (places ``(seq,)``) or of time (``(at, seq)``)."""
    table = incident_event.c
    keys = (table.at, table.seq) if by_time else (table.seq,)
    mine = (table.tenant == tenant, table.incident == incident_id, ONLY[only])
    asked = select(*keys, func.length(table.body)).where(*mine)
    if span.before:
        asked = asked.where(tuple_(*keys) < tuple_(*map(literal, span.before)))
    if span.after:
        asked = asked.where(tuple_(*keys) > tuple_(*map(literal, span.after)))
    order = keys if span.after else tuple(key.desc() for key in keys)
    sizes = [(tuple(row[:-1]), int(row[-1])) for row in connection.execute(asked.order_by(*order).limit(span.limit))]
    taken = within(sizes, span.bytes)
    ends = [key for key, _ in taken]
    rows = connection.execute(select(incident_event).where(*mine[:2], table.seq.in_([key[-1] for key in ends])))
    found = sorted(map(_event_of, rows), key=lambda event: (event.at, event.seq) if by_time else (event.seq,))

    def beyond(edge: ColumnElement[bool]) -> bool:
        return connection.execute(select(table.seq).where(*mine, edge).limit(1)).first() is not None

    low, high = (min(ends), max(ends)) if ends else ((), ())
    return Part(
        tuple(found),
        before=low if low and beyond(tuple_(*keys) < tuple_(*map(literal, low))) else (),
        after=high if high and beyond(tuple_(*keys) > tuple_(*map(literal, high))) else (),
        bytes=sum(size for _, size in taken),
    )


def event_ends(connection: Connection, tenant: str, incident_id: str) -> tuple[Place, Place] | None:
    """The first and the last place in order of time, ``(at, seq)``; None while there is no event."""
    table = incident_event.c
    asked = select(table.at, table.seq).where(table.tenant == tenant, table.incident == incident_id).limit(1)
    first = connection.execute(asked.order_by(table.at, table.seq)).first()
    last = connection.execute(asked.order_by(table.at.desc(), table.seq.desc())).first()
    return (tuple(first), tuple(last)) if first and last else None


def acts_of_people(
    connection: Connection, tenant: str, services: Sequence[str], kinds: Sequence[str], most: int
) -> list[tuple[str, str, str, int]]:
    """Newest acts of ``kinds`` in incidents of ``services``: (actor, kind, incident, at)."""
    table = incident_event.c
    rows = connection.execute(
        select(table.actor, table.kind, table.incident, table.at)
        .join(incident, and_(incident.c.tenant == table.tenant, incident.c.id == table.incident))
        .where(table.tenant == tenant, incident.c.service.in_(sorted(services)), table.kind.in_(sorted(kinds)))
        .order_by(table.at.desc(), table.incident, table.seq.desc())
        .limit(most)
    ).all()
    return [(row.actor, row.kind, row.incident, row.at) for row in rows]


def unrecorded(connection: Connection, most: int, tenant: str = "", incident_id: str = "") -> list[Event]:
    """Events that the log does not have yet, each incident's in order; of any tenant and incident, or of one."""
    table = incident_event.c
    which = [table.tenant == tenant] if tenant else []
    which += [table.incident == incident_id] if incident_id else []
    rows = connection.execute(
        select(incident_event)
        .where(literal_column("NOT recorded"), *which)
        .order_by(table.tenant, table.incident, table.seq)
        .limit(most)
    ).all()
    return [_event_of(row) for row in rows]


def has_unrecorded(connection: Connection, tenant: str, incident_id: str) -> bool:
    """Say whether the log still lacks an event of this incident."""
    table = incident_event.c
    found = connection.execute(
        select(table.seq)
        .where(table.tenant == tenant, table.incident == incident_id, literal_column("NOT recorded"))
        .limit(1)
    )
    return found.first() is not None


def recorded(connection: Connection, tenant: str, incident_id: str, seq: int) -> bool:
    """Mark that the log has this event; False where it was marked before, or there is none."""
    table = incident_event.c
    changed = connection.execute(
        update(incident_event)
        .where(
            table.tenant == tenant,
            table.incident == incident_id,
            table.seq == seq,
            literal_column("NOT recorded"),
        )
        .values(recorded=true())
    )
    return changed.rowcount == 1


def refused(stands: Incident, to: str) -> Conflict:
    """Build the answer to a transition that may not happen."""
    return Conflict(
        f"an incident in the state `{stands.state}` cannot become `{to}`",
        code="incident.transition",
        remedy="read the incident and ask for a step that its state allows",
    )


def _stored(name: str, value: Any) -> Any:
    """Write one value of an incident as its column holds it."""
    if name == "title":
        return str(value).encode()
    return pack(value) if name in JSON_COLUMNS else value


def _incident_of(row: Row[Any]) -> Incident:
    """Build an incident from a row of its table."""
    values = dict(row._mapping)  # noqa: SLF001 - the public name of a row's columns
    return Incident(**values | {"title": values["title"].decode(), "alert": unpack(values["alert"])})


def _event_of(row: Row[Any]) -> Event:
    """Build an event from a row of its table."""
    values = dict(row._mapping)  # noqa: SLF001 - the public name of a row's columns
    return Event(**values | {"body": unpack(values["body"]), "recorded": bool(values["recorded"])})
