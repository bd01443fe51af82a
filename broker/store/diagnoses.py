"""Rows of ``diagnosis``: what the gate found of an agent's claims, written once and never changed."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, func, insert, literal, select, tuple_

from broker.model import Json
from broker.store.rows import Part, Span, pack, unpack, within
from broker.store.tables import diagnosis, incident_trace

JSON_COLUMNS = ("cause", "claims", "ruled_out", "missing")
HELD, FAILED = ("mitigated",), ("rolled_back",)
"""Outcomes of an incident that say of its diagnosis that it held, or that it did not; the others say neither."""


@dataclass(frozen=True, slots=True)
class DiagnosisRow:
    """One diagnosis as stored; ``claims`` with their verdicts, ``missing`` as ``[{"code","remedy"}]``."""

    tenant: str
    id: str
    incident: str
    session: str
    verdict: str
    confidence_milli: int
    verified: int
    refuted: int
    sources: int
    signals: int
    component: str
    fault: str
    cause: Mapping[str, Json]
    claims: Sequence[Mapping[str, Json]]
    ruled_out: Sequence[Mapping[str, Json]]
    missing: Sequence[Mapping[str, Json]]
    at: int


def add(connection: Connection, row: DiagnosisRow) -> None:
    """Insert one diagnosis."""
    values = {column.name: getattr(row, column.name) for column in diagnosis.columns}
    connection.execute(insert(diagnosis).values(values | {name: pack(values[name]) for name in JSON_COLUMNS}))


def find(connection: Connection, tenant: str, diagnosis_id: str) -> DiagnosisRow | None:
    """Return one diagnosis of the tenant."""
    wanted = select(diagnosis).where(diagnosis.c.tenant == tenant, diagnosis.c.id == diagnosis_id)
    row = connection.execute(wanted).mappings().one_or_none()
    return _row_of(row) if row else None


def of_incident(connection: Connection, tenant: str, incident_id: str, limit: int = 100) -> list[DiagnosisRow]:
    """Return an incident's newest diagnoses, oldest first."""
    rows = connection.execute(
        select(diagnosis)
        .where(diagnosis.c.tenant == tenant, diagnosis.c.incident == incident_id)
        .order_by(diagnosis.c.at.desc(), diagnosis.c.id.desc())
        .limit(limit)
    )
    return [_row_of(row) for row in reversed(rows.mappings().all())]


def count(connection: Connection, tenant: str, incident_id: str) -> int:
    """How many diagnoses an incident has."""
    mine = (diagnosis.c.tenant == tenant, diagnosis.c.incident == incident_id)
    return int(connection.execute(select(func.count()).select_from(diagnosis).where(*mine)).scalar_one())


def part(connection: Connection, tenant: str, incident_id: str, span: Span) -> Part[DiagnosisRow]:
    """An incident's newest diagnoses, or those next before a place ``(at, id)``, oldest first."""
    table = diagnosis.c
    mine = (table.tenant == tenant, table.incident == incident_id)
    size = func.length(table.claims) + func.length(table.ruled_out) + func.length(table.cause)
    asked = select(table.at, table.id, size).where(*mine)
    if span.before:
        asked = asked.where(tuple_(table.at, table.id) < tuple_(*map(literal, span.before)))
    asked = asked.order_by(table.at.desc(), table.id.desc()).limit(span.limit + 1)
    sizes = [((row[0], row[1]), int(row[2])) for row in connection.execute(asked)]
    taken = within(sizes[: span.limit], span.bytes)
    rows = connection.execute(
        select(diagnosis).where(table.tenant == tenant, table.id.in_([key[1] for key, _ in taken]))
    )
    found = sorted((_row_of(row) for row in rows.mappings()), key=lambda row: (row.at, row.id))
    more = len(taken) < len(sizes)
    return Part(tuple(found), before=taken[-1][0] if more else (), bytes=sum(one for _, one in taken))


def track(connection: Connection, tenant: str, component: str, fault: str) -> tuple[int, int]:
    """How often the diagnosis of this fault of this component was put to the test, and how often it held."""
    rows = connection.execute(
        select(incident_trace.c.outcome, func.count())
        .where(
            incident_trace.c.tenant == tenant,
            incident_trace.c.component == component,
            incident_trace.c.fault == fault,
            incident_trace.c.outcome.in_((*HELD, *FAILED)),
        )
        .group_by(incident_trace.c.outcome)
    ).all()
    counts = {str(outcome): int(count) for outcome, count in rows}
    return sum(counts.values()), sum(counts.get(outcome, 0) for outcome in HELD)


def _row_of(row: Any) -> DiagnosisRow:
    """Build a diagnosis from its row."""
    values = {column.name: row[column.name] for column in diagnosis.columns}
    return DiagnosisRow(**(values | {name: unpack(values[name]) for name in JSON_COLUMNS}))
