"""Rows of ``vault_key`` and ``vault_token``: a wrapped key a session, and one sealed value a pseudonym.

Nothing here can be read without the region's key, which the database never sees. Deleting a session's key row makes
its tokens unreadable for good.
"""

from collections.abc import Callable, Sequence
from typing import Generic, Protocol, TypeVar

from sqlalchemy import Connection, bindparam, delete, or_, select

from broker.errors import NotFound
from broker.store.engine import Store
from broker.store.rows import upsert
from broker.store.tables import session, vault_key, vault_token


class SealedRow(Protocol):
    """One pseudonym's row: token, entity type, nonce and ciphertext."""

    @property
    def token(self) -> str:
        """The pseudonym."""

    @property
    def entity(self) -> str:
        """The entity type."""

    @property
    def sealed(self) -> bytes:
        """Nonce and ciphertext with tag."""


R = TypeVar("R", bound=SealedRow)

_KEY = select(vault_key.c.wrapped).where(vault_key.c.tenant == bindparam("t"), vault_key.c.session == bindparam("s"))
_TOKENS = (
    select(vault_token.c.token, vault_token.c.entity, vault_token.c.sealed)
    .where(vault_token.c.tenant == bindparam("t"), vault_token.c.session == bindparam("s"))
    .order_by(vault_token.c.token)
)


class VaultTable(Generic[R]):
    """The vault's rows in the database; ``row`` makes the caller's own type from token, entity and sealed bytes."""

    def __init__(self, store: Store, row: Callable[[str, str, bytes], R]) -> None:
        """Keep rows in ``store``; every method is one transaction and raises ``StoreUnavailable``."""
        self._store = store
        self._row = row

    async def session_key(self, tenant: str, session: str) -> bytes | None:
        """Return the session's wrapped data key, or None."""
        return await self._store.glance(lambda c: key(c, tenant, session))

    async def put_session_key(self, tenant: str, session: str, wrapped: bytes) -> bytes:
        """Store ``wrapped`` unless the session has a key; return the key that is stored now."""
        return await self._store.write(lambda c: put_key(c, tenant, session, wrapped))

    async def load(self, tenant: str, session: str) -> Sequence[R]:
        """Return all rows of the session."""
        rows = await self._store.read(lambda c: c.execute(_TOKENS, {"t": tenant, "s": session}).all())
        return [self._row(row.token, row.entity, row.sealed) for row in rows]

    async def put(self, tenant: str, session: str, rows: Sequence[R]) -> None:
        """Add ``rows``, durable on return; a token that is there already keeps its row. ``NotFound`` once shredded."""
        if rows:
            await self._store.write(lambda c: put_tokens(c, tenant, session, rows))

    async def shred(self, tenant: str, session: str) -> None:
        """Delete the session's key and rows."""
        await self._store.write(lambda c: shred(c, tenant, session))


def key(connection: Connection, tenant: str, session_id: str) -> bytes | None:
    """Return the wrapped key, or None."""
    return connection.execute(_KEY, {"t": tenant, "s": session_id}).scalar_one_or_none()


def put_key(connection: Connection, tenant: str, session_id: str, wrapped: bytes) -> bytes:
    """Insert the key unless there is one; return the one that is there. First writer wins on every replica."""
    connection.execute(
        upsert(connection, vault_key)
        .values(tenant=tenant, session=session_id, wrapped=wrapped)
        .on_conflict_do_nothing()
    )
    return key(connection, tenant, session_id) or wrapped


def put_tokens(connection: Connection, tenant: str, session_id: str, rows: Sequence[SealedRow]) -> None:
    """Insert rows in the order of their tokens; first writer wins. ``NotFound`` once the session is shredded."""
    if connection.execute(_KEY.with_for_update(read=True), {"t": tenant, "s": session_id}).one_or_none() is None:
        raise NotFound("the session's vault is closed", code="vault.closed", remedy="open a new session")
    values = [
        {"tenant": tenant, "session": session_id, "token": row.token, "entity": row.entity, "sealed": row.sealed}
        for row in sorted(rows, key=lambda one: one.token)
    ]
    connection.execute(upsert(connection, vault_token).on_conflict_do_nothing(), values)


def shred(connection: Connection, tenant: str, session_id: str) -> None:
    """Delete the key and every row of a session."""
    connection.execute(delete(vault_key).where(vault_key.c.tenant == tenant, vault_key.c.session == session_id))
    connection.execute(delete(vault_token).where(vault_token.c.tenant == tenant, vault_token.c.session == session_id))


def due(connection: Connection, before_s: int, most: int) -> tuple[tuple[str, str], ...]:
    """Return (tenant, session) of sessions that ended before ``before_s`` and still have a key, at most ``most``."""
    rows = connection.execute(
        select(session.c.tenant, session.c.id)
        .join_from(vault_key, session, (vault_key.c.tenant == session.c.tenant) & (vault_key.c.session == session.c.id))
        .where(or_(session.c.expires_at < before_s, session.c.closed_at < before_s))
        .order_by(session.c.expires_at, session.c.id)
        .limit(most)
    )
    return tuple((row.tenant, row.id) for row in rows)
