"""Rows of ``party``: with which roles somebody was last seen. ``seen_at`` is when the token that said so was issued."""

from collections.abc import Collection

from sqlalchemy import Connection, select

from broker.store.rows import lock, pack, unpack, upsert
from broker.store.tables import party


def note(connection: Connection, tenant: str, party_id: str, roles: Collection[str], issued_at: int) -> None:
    """Store what a token issued at ``issued_at`` said; an older one than the last changes nothing.

    Nobody knows which of two tokens of one second is the later: only roles that both say stay.
    """
    lock(connection, "party", tenant, party_id)
    known = connection.execute(select(party).where(party.c.tenant == tenant, party.c.id == party_id)).one_or_none()
    if known is not None and known.seen_at > issued_at:
        return
    if known is not None and known.seen_at == issued_at:
        roles = set(unpack(known.roles)) & set(roles)
    values = {"roles": pack(sorted(roles)), "seen_at": issued_at}
    statement = upsert(connection, party).values(tenant=tenant, id=party_id, **values)
    connection.execute(statement.on_conflict_do_update(index_elements=["tenant", "id"], set_=values))


def roles_of(connection: Connection, tenant: str, ids: Collection[str]) -> dict[str, frozenset[str]]:
    """Return the roles of those of ``ids`` that were ever seen."""
    rows = connection.execute(
        select(party.c.id, party.c.roles).where(party.c.tenant == tenant, party.c.id.in_(sorted(ids)))
    )
    return {row.id: frozenset(unpack(row.roles)) for row in rows}


def ids(connection: Connection, tenant: str) -> list[str]:
    """Everybody of the tenant who ever asked for anything."""
    return [str(one) for one in connection.execute(select(party.c.id).where(party.c.tenant == tenant)).scalars()]
