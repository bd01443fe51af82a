"""Rows of ``party``: with which roles somebody was last seen."""

from collections.abc import Collection

from sqlalchemy import Connection, select

from broker.store.rows import pack, unpack, upsert
from broker.store.tables import party


def note(connection: Connection, tenant: str, party_id: str, roles: Collection[str], now_s: int) -> None:
    """Store what a fresh token said; a row that was seen later than ``now_s`` stays."""
    values = {"roles": pack(sorted(roles)), "seen_at": now_s}
    statement = upsert(connection, party).values(tenant=tenant, id=party_id, **values)
    connection.execute(
        statement.on_conflict_do_update(index_elements=["tenant", "id"], set_=values, where=party.c.seen_at <= now_s)
    )


def roles_of(connection: Connection, tenant: str, ids: Collection[str]) -> dict[str, frozenset[str]]:
    """Return the roles of those of ``ids`` that were ever seen."""
    rows = connection.execute(
        select(party.c.id, party.c.roles).where(party.c.tenant == tenant, party.c.id.in_(sorted(ids)))
    )
    return {row.id: frozenset(unpack(row.roles)) for row in rows}
