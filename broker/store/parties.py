"""Rows of ``party``: with which roles somebody was last seen. ``seen_at`` is when the token that said so was issued."""

from collections.abc import Collection

from sqlalchemy import Connection, bindparam, select

from broker.store.hot import Hot
from broker.store.rows import lock, pack, unpack, upsert
from broker.store.tables import party


def note(  # noqa: PLR0913, PLR0917 - one argument a column
    connection: Connection, tenant: str, party_id: str, roles: Collection[str], issued_at: int, key: str = ""
) -> None:
    """Store what a token issued at ``issued_at`` said; an older one than the last changes nothing.

    ``key`` is what the token is bound to. Nobody knows which of two tokens of one second is the later: only roles that both say stay.
    """
    lock(connection, "party", tenant, party_id)
    known = connection.execute(select(party).where(party.c.tenant == tenant, party.c.id == party_id)).one_or_none()
    if known is not None and known.seen_at > issued_at:
        return
    if known is not None and known.seen_at == issued_at:
        roles = set(unpack(known.roles)) & set(roles)
    values = {"roles": pack(sorted(roles)), "seen_at": issued_at, "key": key}
    statement = upsert(connection, party).values(tenant=tenant, id=party_id, **values)
    connection.execute(statement.on_conflict_do_update(index_elements=["tenant", "id"], set_=values))


_ROLES = Hot(select(party.c.roles).where(party.c.tenant == bindparam("t"), party.c.id == bindparam("i")))


def roles_of(connection: Connection, tenant: str, ids: Collection[str]) -> dict[str, frozenset[str]]:
    """Return the roles of those of ``ids`` that were ever seen; there are few of them, nearly always one."""
    found = {one: _ROLES(connection, {"t": tenant, "i": one}) for one in ids}
    return {one: frozenset(unpack(row[0])) for one, rows in found.items() for row in rows}


def key_of(connection: Connection, tenant: str, party_id: str) -> tuple[str, int] | None:
    """What somebody's latest token is bound to, and when it was issued; none where they never came themselves."""
    row = connection.execute(
        select(party.c.key, party.c.seen_at).where(party.c.tenant == tenant, party.c.id == party_id)
    ).one_or_none()
    return (row.key, row.seen_at) if row else None


def ids(connection: Connection, tenant: str) -> list[str]:
    """Everybody of the tenant who ever asked for anything."""
    return [str(one) for one in connection.execute(select(party.c.id).where(party.c.tenant == tenant)).scalars()]
