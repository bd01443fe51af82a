"""Rows of ``breakglass``: what two people opened for a while, and whether somebody looked back at it."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from sqlalchemy import BindParameter, Connection, Exists, bindparam, exists, select, text, update

from broker.errors import Conflict
from broker.model import Json
from broker.store.hot import Hot
from broker.store.rows import lock, pack, unpack, upsert
from broker.store.strongtables import OWED_BREAKGLASS_SQL, breakglass

MOST_LISTED = 100
_BLOBS = ("actions", "targets", "people")


@dataclass(frozen=True, slots=True)
class Breakglass:
    """One break-glass. Times in seconds, 0 for one that has not come.

    ``waiting`` for a second person until ``confirm_until``, ``open`` until ``until``, ``over`` until somebody looked back,
    then ``reviewed``; ``dropped`` where nobody confirmed it.
    """

    tenant: str
    id: str
    state: str
    reason: str
    actions: tuple[str, ...]
    targets: tuple[Mapping[str, str], ...]
    """``type``, ``id`` and ``env`` each."""
    people: tuple[str, ...]
    """Party ids of those who may act."""
    seconds: int
    opened_by: str
    opened_at: int
    confirm_until: int
    confirmed_by: str = ""
    until: int = 0
    ended_by: str = ""
    ended_at: int = 0
    review_due: int = 0
    reviewed_by: str = ""
    reviewed_at: int = 0
    review: str = ""

    def at(self, now_s: int) -> "Breakglass":
        """Return it as it stands at ``now_s``, whether that is stored or not."""
        if self.state == "waiting" and now_s >= self.confirm_until:
            return replace(self, state="dropped", ended_at=self.confirm_until)
        if self.state == "open" and now_s >= self.until:
            return replace(self, state="over", ended_at=self.until)
        return self

    def overdue(self, now_s: int) -> bool:
        """Say whether it is over and nobody looked back in time."""
        return self.at(now_s).state == "over" and now_s >= self.review_due


_OWED = Hot(
    select(breakglass)
    .where(breakglass.c.tenant == bindparam("tenant_"), text(OWED_BREAKGLASS_SQL))
    .order_by(breakglass.c.id)
)


def some_owed(tenant: BindParameter[str]) -> Exists:
    """The condition that ``owed`` may find something."""
    return exists(select(breakglass.c.id).where(breakglass.c.tenant == tenant, text(OWED_BREAKGLASS_SQL)))


_NAMES = tuple(column.name for column in breakglass.columns)


def owed(connection: Connection, tenant: str, now_s: int) -> tuple[Breakglass, ...]:
    """Return those of which something is still to come; nearly always none, or one."""
    found = (_of(dict(zip(_NAMES, row, strict=True))).at(now_s) for row in _OWED(connection, {"tenant_": tenant}))
    return tuple(one for one in found if one.state in ("waiting", "open", "over"))


def facts(found: tuple[Breakglass, ...], now_s: int) -> dict[str, Json]:
    """What policy is told of ``owed``: the one that is open, empty values for none, and whether a review is overdue."""
    opened = next((one for one in found if one.state == "open"), None)
    overdue = any(one.overdue(now_s) for one in found)
    if opened is None:
        return {"id": "", "actions": [], "targets": [], "people": [], "until_s": 0, "overdue": overdue}
    return {
        "id": opened.id,
        "actions": list(opened.actions),
        "targets": [dict(one) for one in opened.targets],
        "people": list(opened.people),
        "until_s": opened.until,
        "overdue": overdue,
    }


def find(connection: Connection, tenant: str, breakglass_id: str) -> Breakglass | None:
    """Return one, as it is stored."""
    asked = select(breakglass).where(breakglass.c.tenant == tenant, breakglass.c.id == breakglass_id)
    row = connection.execute(asked).mappings().one_or_none()
    return None if row is None else _of(dict(row))


def listed(connection: Connection, tenant: str) -> tuple[Breakglass, ...]:
    """Return the newest, newest first."""
    asked = select(breakglass).where(breakglass.c.tenant == tenant)
    rows = connection.execute(asked.order_by(breakglass.c.opened_at.desc(), breakglass.c.id).limit(MOST_LISTED))
    return tuple(_of(dict(row)) for row in rows.mappings())


def add(connection: Connection, new: Breakglass) -> None:
    """Insert; raises ``Conflict`` (``breakglass.open``) where another waits or is open."""
    lock(connection, "breakglass", new.tenant)
    settle(connection, new.tenant, new.opened_at)
    row = upsert(connection, breakglass).values(_values(new))
    if connection.execute(row.on_conflict_do_nothing().returning(breakglass.c.id)).one_or_none() is None:
        raise open_already()


def open_already() -> Conflict:
    """Build the answer where another of the tenant waits or is open."""
    return Conflict(
        "a break-glass of this tenant waits or is open already",
        code="breakglass.open",
        remedy="use that one, or end it first",
    )


def move(connection: Connection, stands: Breakglass, **values: Any) -> bool:
    """Write ``values`` if it is still in the state in which it is stored now; False where somebody was faster."""
    done = connection.execute(
        update(breakglass)
        .where(breakglass.c.tenant == stands.tenant, breakglass.c.id == stands.id, breakglass.c.state == stands.state)
        .values(**values)
    )
    return done.rowcount == 1


def settle(connection: Connection, tenant: str, now_s: int) -> None:
    """Store what time alone has changed, so that it holds up nothing and stays."""
    rows = connection.execute(select(breakglass).where(breakglass.c.tenant == tenant, text(OWED_BREAKGLASS_SQL)))
    for row in rows.mappings().all():
        stands = _of(dict(row))
        if (now := stands.at(now_s)).state != stands.state:
            move(connection, stands, state=now.state, ended_at=now.ended_at)


def _values(one: Breakglass) -> dict[str, Json]:
    values = {name: getattr(one, name) for name in Breakglass.__slots__}
    packed = {
        name: pack([dict(item) if isinstance(item, Mapping) else item for item in values[name]]) for name in _BLOBS
    }
    return {**values, **packed, "reason": one.reason.encode(), "review": one.review.encode()}


def _of(row: dict[str, Any]) -> Breakglass:
    read = {name: tuple(unpack(row[name])) for name in _BLOBS}
    return Breakglass(**{**row, **read, "reason": row["reason"].decode(), "review": row["review"].decode()})
