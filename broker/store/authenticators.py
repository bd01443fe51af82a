"""Rows of ``authenticator`` and ``signature_use``: with what people sign, and what was signed already."""

from dataclasses import dataclass

from sqlalchemy import Connection, or_, select, update

from broker.store.rows import pack, unpack, upsert
from broker.store.strongtables import authenticator, signature_use


@dataclass(frozen=True, slots=True)
class Authenticator:
    """One person's authenticator. Times in seconds, 0 for one that has not come; the key is a COSE key."""

    tenant: str
    id: str
    """Credential id, base64url without padding."""
    party: str
    public_key: bytes
    sign_count: int
    aaguid: str
    transports: tuple[str, ...]
    created_at: int
    confirmed_by: str = ""
    confirmed_at: int = 0
    used_at: int = 0
    removed_by: str = ""
    removed_at: int = 0

    @property
    def state(self) -> str:
        """``waiting`` for a second person, ``ready``, or ``removed``."""
        return "removed" if self.removed_at else "ready" if self.confirmed_at else "waiting"


_OF_TENANT = select(authenticator).order_by(authenticator.c.created_at, authenticator.c.id)


def add(connection: Connection, new: Authenticator) -> bool:
    """Insert; False where this credential is known here, whoever's it is."""
    values = {name: getattr(new, name) for name in Authenticator.__slots__}
    row = upsert(connection, authenticator).values({**values, "transports": pack(list(new.transports))})
    added = row.on_conflict_do_nothing().returning(authenticator.c.id)
    return connection.execute(added).one_or_none() is not None


def find(connection: Connection, tenant: str, credential: str) -> Authenticator | None:
    """Return one by its credential id."""
    row = (
        connection.execute(
            select(authenticator).where(authenticator.c.tenant == tenant, authenticator.c.id == credential)
        )
        .mappings()
        .one_or_none()
    )
    return None if row is None else _of({**row})


def listed(connection: Connection, tenant: str, party: str = "") -> tuple[Authenticator, ...]:
    """Return a person's (all of the tenant where ``party`` is empty), removed ones among them, oldest first."""
    statement = _OF_TENANT.where(authenticator.c.tenant == tenant)
    rows = connection.execute(statement.where(authenticator.c.party == party) if party else statement).mappings()
    return tuple(_of({**row}) for row in rows)


def confirm(connection: Connection, tenant: str, credential: str, *, by: str, now_s: int) -> bool:
    """Make it ready; False where it is not waiting, or ``by`` is its owner."""
    done = connection.execute(
        update(authenticator)
        .where(
            authenticator.c.tenant == tenant,
            authenticator.c.id == credential,
            authenticator.c.party != by,
            authenticator.c.confirmed_at == 0,
            authenticator.c.removed_at == 0,
        )
        .values(confirmed_by=by, confirmed_at=now_s)
    )
    return done.rowcount == 1


def remove(connection: Connection, tenant: str, credential: str, *, by: str, now_s: int) -> bool:
    """Take it away for good; False where it is gone already."""
    done = connection.execute(
        update(authenticator)
        .where(authenticator.c.tenant == tenant, authenticator.c.id == credential, authenticator.c.removed_at == 0)
        .values(removed_by=by, removed_at=now_s)
    )
    return done.rowcount == 1


def count_up(connection: Connection, tenant: str, credential: str, *, to: int, now_s: int) -> bool:
    """Keep the new signature counter; False where it is not ready, or the counter did not rise (0 twice counts as none)."""
    rises = authenticator.c.sign_count < to
    none = authenticator.c.sign_count == 0 if to == 0 else rises
    done = connection.execute(
        update(authenticator)
        .where(
            authenticator.c.tenant == tenant,
            authenticator.c.id == credential,
            authenticator.c.confirmed_at != 0,
            authenticator.c.removed_at == 0,
            or_(rises, none),
        )
        .values(sign_count=to, used_at=now_s)
    )
    return done.rowcount == 1


def used_before(connection: Connection, tenant: str, signed: str) -> bool:
    """Whether these signed bytes counted before."""
    found = select(signature_use.c.id).where(signature_use.c.tenant == tenant, signature_use.c.id == signed)
    return connection.execute(found).first() is not None


def use(connection: Connection, known: Authenticator, signed: str, *, approval: str, now_s: int) -> bool:
    """Note that these signed bytes counted; False where they did before, in another transaction too."""
    row = upsert(connection, signature_use).values(
        tenant=known.tenant, id=signed, authenticator=known.id, approval=approval, at=now_s
    )
    added = row.on_conflict_do_nothing().returning(signature_use.c.id)
    return connection.execute(added).one_or_none() is not None


def _of(row: dict[str, object]) -> Authenticator:
    return Authenticator(**{**row, "transports": tuple(unpack(row["transports"]))})  # type: ignore[arg-type]
