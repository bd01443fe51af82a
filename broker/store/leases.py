"""Rows of ``lease``: one a key, for ever, because its fence number must never go back."""

from collections.abc import Mapping, Sequence

from sqlalchemy import ColumnElement, Connection, and_, or_, select, update

from broker.store.rows import upsert
from broker.store.tables import lease


def take(  # noqa: PLR0913 - one argument a column
    connection: Connection, tenant: str, keys: Sequence[str], *, holder: str, now_s: int, until: int
) -> dict[str, int] | int:
    """Take every key for ``holder`` and return its fence; or take none and return the second at which to try again.

    ``keys`` is sorted. A holder that already has a key gets it again under a higher fence.
    """
    connection.execute(
        upsert(connection, lease)
        .values([{"tenant": tenant, "key": key, "holder": "", "fence": 0, "until": 0} for key in keys])
        .on_conflict_do_nothing()
    )
    rows = connection.execute(
        select(lease).where(lease.c.tenant == tenant, lease.c.key.in_(keys)).order_by(lease.c.key).with_for_update()
    ).all()
    busy = [row.until for row in rows if row.until > now_s and row.holder != holder]
    if busy:
        return int(max(busy))
    connection.execute(
        update(lease)
        .where(lease.c.tenant == tenant, lease.c.key.in_(keys))
        .values(holder=holder, fence=lease.c.fence + 1, until=until)
    )
    return {row.key: row.fence + 1 for row in rows}


def holds(connection: Connection, tenant: str, holder: str, fences: Mapping[str, int], now_s: int) -> bool:
    """Say whether ``holder`` still has every key under its fence."""
    rows = connection.execute(select(lease.c.key).where(_held(tenant, holder, fences), lease.c.until > now_s)).all()
    return len(rows) == len(fences)


def renew(  # noqa: PLR0913 - one argument a column
    connection: Connection, tenant: str, holder: str, fences: Mapping[str, int], *, now_s: int, until: int
) -> bool:
    """Extend every key to ``until``, or none if one of them is lost."""
    rows = connection.execute(
        select(lease.c.key)
        .where(_held(tenant, holder, fences), lease.c.until > now_s)
        .order_by(lease.c.key)
        .with_for_update()
    ).all()
    if len(rows) != len(fences):
        return False
    connection.execute(update(lease).where(_held(tenant, holder, fences)).values(until=until))
    return True


def release(connection: Connection, tenant: str, holder: str) -> None:
    """Free every key that ``holder`` still has; the others are somebody else's by now."""
    mine = (lease.c.tenant == tenant, lease.c.holder == holder)
    # Locked in the order in which everybody takes them, or two holders could wait for each other.
    keys = connection.execute(select(lease.c.key).where(*mine).order_by(lease.c.key).with_for_update()).scalars().all()
    connection.execute(update(lease).where(*mine, lease.c.key.in_(keys)).values(until=0, holder=""))


def _held(tenant: str, holder: str, fences: Mapping[str, int]) -> ColumnElement[bool]:
    """Match the rows of ``holder`` under exactly these fences."""
    return and_(
        lease.c.tenant == tenant,
        lease.c.holder == holder,
        or_(*(and_(lease.c.key == key, lease.c.fence == fence) for key, fence in fences.items())),
    )
