"""Rows of ``lease``: one a key, for ever, because its fence number must never go back."""

from collections.abc import Iterable, Mapping, Sequence

from sqlalchemy import ColumnElement, Connection, and_, bindparam, or_, select, update
from sqlalchemy.dialects import postgresql, sqlite

from broker.store.hot import Hot
from broker.store.tables import lease

_KEY = (lease.c.tenant == bindparam("t"), lease.c.key == bindparam("k"))
_NEW = {"tenant": bindparam("t"), "key": bindparam("k"), "holder": "", "fence": 0, "until": 0}
_MAKE = Hot(
    postgresql.insert(lease).values(_NEW).on_conflict_do_nothing(),
    sqlite=sqlite.insert(lease).values(_NEW).on_conflict_do_nothing(),
)
_SEE = Hot(select(lease.c.holder, lease.c.fence, lease.c.until).where(*_KEY).with_for_update())
_TAKE = Hot(update(lease).where(*_KEY).values(holder=bindparam("h"), fence=lease.c.fence + 1, until=bindparam("u")))
_MINE = (lease.c.tenant == bindparam("t"), lease.c.holder == bindparam("h"))
_HELD = Hot(select(lease.c.key).where(*_MINE).order_by(lease.c.key).with_for_update())
_FREE = Hot(update(lease).where(*_KEY, lease.c.holder == bindparam("h")).values(until=0, holder=""))


def take(  # noqa: PLR0913 - one argument a column
    connection: Connection, tenant: str, keys: Sequence[str], *, holder: str, now_s: int, until: int
) -> tuple[dict[str, int], bool] | int:
    """Take every key for ``holder`` and return its fence; or take none and return the second at which to try again.

    ``keys`` is sorted. A holder that already has a key gets it again under a higher fence, and is told that it had one.
    """
    again = False
    fences: dict[str, int] = {}
    busy: list[int] = []
    for key in keys:
        here = {"t": tenant, "k": key}
        found = _SEE(connection, here)
        if not found:
            _MAKE(connection, here)
            found = _SEE(connection, here)
        [(held_by, fence, held_until)] = found
        if held_until > now_s and held_by != holder:
            busy.append(held_until)
        again = again or (held_until > now_s and held_by == holder)
        fences[key] = fence + 1
    if busy:
        return max(busy)
    for key in keys:
        _TAKE(connection, {"t": tenant, "k": key, "h": holder, "u": until})
    return fences, again


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


def release(connection: Connection, tenant: str, holder: str, keys: Iterable[str] = ()) -> None:
    """Free every key that ``holder`` still has, all of them in ``keys`` if any are named; others are somebody else's now."""
    # Locked in the order in which everybody takes them, or two holders could wait for each other.
    mine = {"t": tenant, "h": holder}
    for key in sorted(keys) or [key for (key,) in _HELD(connection, mine)]:
        _FREE(connection, mine | {"k": key})


def _held(tenant: str, holder: str, fences: Mapping[str, int]) -> ColumnElement[bool]:
    """Match the rows of ``holder`` under exactly these fences."""
    return and_(
        lease.c.tenant == tenant,
        lease.c.holder == holder,
        or_(*(and_(lease.c.key == key, lease.c.fence == fence) for key, fence in fences.items())),
    )
