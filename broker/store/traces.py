"""Rows of ``incident_trace``, and the writes on targets that a trace tells of."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Row, or_, select

from broker.model import Json
from broker.store.rows import pack, unpack, upsert
from broker.store.tables import incident_trace, target_write


@dataclass(frozen=True, slots=True)
class Trace:
    """How one incident was solved, or not; ``id`` is the incident's."""

    tenant: str
    id: str
    fingerprint: str
    service: str
    env: str
    fault: str
    component: str
    outcome: str
    trace: Mapping[str, Json]
    at: int


def keep(connection: Connection, made: Trace) -> None:
    """Store a trace; that of an incident that was learned from before is replaced."""
    values = {column.name: getattr(made, column.name) for column in incident_trace.columns}
    values["trace"] = pack(dict(made.trace))
    renewed = {name: value for name, value in values.items() if name not in {"tenant", "id"}}
    connection.execute(
        upsert(connection, incident_trace)
        .values(values)
        .on_conflict_do_update(index_elements=["tenant", "id"], set_=renewed)
    )


def near(  # noqa: PLR0913, PLR0917 - one argument a column
    connection: Connection, tenant: str, fingerprint: str, services: Sequence[str], fault: str, most: int
) -> list[Trace]:
    """Newest traces of this fingerprint, of one of the services, or of the fault."""
    table = incident_trace.c
    which = [table.fingerprint == fingerprint, table.service.in_(sorted(services))]
    if fault:
        which.append(table.fault == fault)
    rows = connection.execute(
        select(incident_trace)
        .where(table.tenant == tenant, or_(*which))
        .order_by(table.at.desc(), table.id)
        .limit(most)
    ).all()
    return [_trace_of(row) for row in rows]


def writes(connection: Connection, tenant: str, incident_id: str) -> list[dict[str, Json]]:
    """The incident's writes on targets and their outcomes, oldest first."""
    rows = connection.execute(
        select(target_write)
        .where(target_write.c.tenant == tenant, target_write.c.incident == incident_id)
        .order_by(target_write.c.at, target_write.c.action_id, target_write.c.target)
    ).all()
    return [_read(row) for row in rows]


def _read(row: Row[Any]) -> dict[str, Json]:
    """A row as JSON; bytes are JSON already."""
    values: dict[str, Json] = {}
    for name, value in row._mapping.items():  # noqa: SLF001 - the public name of a row's columns
        values[name] = (unpack(value) if value else None) if isinstance(value, bytes) else value
    return values


def _trace_of(row: Row[Any]) -> Trace:
    """Build the row's own type."""
    values = dict(row._mapping)  # noqa: SLF001 - the public name of a row's columns
    return Trace(**values | {"trace": unpack(values["trace"])})
