"""Rows of ``log_export`` and ``log_export_part``: exports of the log, how far they are, and their bytes until they expire."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, delete, insert, literal, select, tuple_, update

from broker.model import Json
from broker.store.logtables import log_export, log_export_part
from broker.store.rows import Page, cursor, pack, place, unpack

PART_BYTES = 1_048_576
"""Bytes of one part."""


@dataclass(frozen=True, slots=True)
class ExportRow:
    """One export. ``state`` is ``due``, ``done``, ``failed`` or ``expired``; ``seen`` of ``last`` records were read."""

    tenant: str
    id: str
    party: str
    form: str
    state: str
    error: str
    digest: str
    query: Any
    seen: int
    entries: int
    last: int
    bytes: int
    created_at: int
    changed_at: int
    expires_at: int


def add(  # noqa: PLR0913 - one keyword a column
    connection: Connection, tenant: str, export: str, *, party: str, form: str, query: Json, last: int, now_s: int
) -> None:
    """Put one down that is due; ``last`` is the number of records that the log has now."""
    values = {"tenant": tenant, "id": export, "party": party, "form": form, "query": pack(query), "last": last}
    words = {"state": "due", "error": "", "digest": ""}
    numbers = {"seen": 0, "entries": 0, "bytes": 0, "created_at": now_s, "changed_at": now_s, "expires_at": 0}
    connection.execute(insert(log_export).values(**values, **words, **numbers))


def find(connection: Connection, tenant: str, export: str) -> ExportRow | None:
    """One export of the tenant."""
    mine = (log_export.c.tenant == tenant, log_export.c.id == export)
    row = connection.execute(select(log_export).where(*mine)).one_or_none()
    return _row(row) if row else None


def page(connection: Connection, tenant: str, limit: int, after: str = "") -> Page[ExportRow]:
    """The tenant's exports, the newest first."""
    table = log_export.c
    statement = select(log_export).where(table.tenant == tenant)
    if after:
        statement = statement.where(tuple_(table.created_at, table.id) < tuple_(*map(literal, place(after))))
    rows = connection.execute(statement.order_by(table.created_at.desc(), table.id.desc()).limit(limit + 1)).all()
    items = tuple(_row(row) for row in rows[:limit])
    return Page(items, cursor(items[-1].created_at, items[-1].id) if len(rows) > limit else "")


def change(connection: Connection, tenant: str, export: str, **values: Any) -> None:
    """Write how far it is, or how it ended."""
    mine = (log_export.c.tenant == tenant, log_export.c.id == export)
    connection.execute(update(log_export).where(*mine).values(**values))


def clear(connection: Connection, tenant: str, export: str) -> None:
    """Forget its bytes."""
    part = log_export_part.c
    connection.execute(delete(log_export_part).where(part.tenant == tenant, part.export == export))


def write(connection: Connection, tenant: str, export: str, number: int, content: bytes) -> None:
    """Keep one part."""
    values = {"tenant": tenant, "export": export, "number": number, "content": content}
    connection.execute(insert(log_export_part).values(**values))


def part(connection: Connection, tenant: str, export: str, number: int) -> bytes | None:
    """One part; None beyond the last."""
    one = log_export_part.c
    mine = (one.tenant == tenant, one.export == export, one.number == number)
    found = connection.execute(select(one.content).where(*mine)).scalar()
    return None if found is None else bytes(found)


def over(connection: Connection, now_s: int) -> Iterator[tuple[str, str]]:
    """Tenant and id of exports that have expired and still have their bytes."""
    table = log_export.c
    rows = connection.execute(
        select(table.tenant, table.id).where(table.state == "done", table.expires_at <= now_s).limit(100)
    )
    return iter([(str(row.tenant), str(row.id)) for row in rows])


def _row(row: Any) -> ExportRow:
    values = dict(row._mapping)  # noqa: SLF001 - the public name of a row's columns
    return ExportRow(**values | {"query": unpack(values["query"])})
