"""Rows of ``time_box``: a proposal that may run by itself once its time is over, and what was done to make that known.

``open`` until silence counted (``counted``) or it was found that it cannot (``void``, with the code that said so).
``due`` is the end of the box, 0 until every receiver took the notice; it is compared at use.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Row, func, insert, select, update

from broker.store.boxtables import time_box
from broker.store.rows import pack, unpack

DAY_S = 86_400


@dataclass(frozen=True, slots=True)
class TimeBoxRow:
    """One proposal's time box. Times are seconds since the epoch, 0 for never."""

    tenant: str
    proposal: str
    rule: str
    """Which rule of policy lets silence count."""
    seconds: int
    per_day: int
    acknowledge: tuple[str, ...]
    """Roles, one of which must acknowledge the notice."""
    state: str
    told: tuple[str, ...]
    """Receivers that took the notice."""
    told_at: int
    due: int
    acknowledged_by: str
    acknowledged_roles: tuple[str, ...]
    acknowledged_at: int
    code: str
    """Why silence could not count."""
    opened_at: int
    changed_at: int

    @property
    def heard(self) -> bool:
        """Whether everybody was told and somebody said so."""
        return self.told_at > 0 and bool(self.acknowledged_by)


_LISTS = ("acknowledge", "told", "acknowledged_roles")


def add(connection: Connection, box: TimeBoxRow) -> None:
    """Insert a new box."""
    values = {column.name: getattr(box, column.name) for column in time_box.columns}
    connection.execute(insert(time_box).values(values | {name: pack(list(values[name])) for name in _LISTS}))


def of(connection: Connection, tenant: str, proposals: Collection[str]) -> Mapping[str, TimeBoxRow]:
    """Return the boxes that these proposals have, by proposal."""
    if not proposals:
        return {}
    asked = select(time_box).where(time_box.c.tenant == tenant, time_box.c.proposal.in_(sorted(proposals)))
    return {row.proposal: _box(row) for row in connection.execute(asked)}


def change(connection: Connection, box: TimeBoxRow, now_s: int, **values: Any) -> bool:
    """Change columns of a box that is still open as ``box`` shows it; False if it is not."""
    packed = {name: pack(list(value)) if name in _LISTS else value for name, value in values.items()}
    changed = connection.execute(
        update(time_box)
        .where(
            time_box.c.tenant == box.tenant,
            time_box.c.proposal == box.proposal,
            time_box.c.state == "open",
            time_box.c.told_at == box.told_at,
            time_box.c.due == box.due,
            time_box.c.acknowledged_by == box.acknowledged_by,
        )
        .values(packed | {"changed_at": now_s})
    )
    return changed.rowcount == 1


def counted_today(connection: Connection, tenant: str, now_s: int, but: str = "") -> int:
    """How often silence has counted in the tenant since midnight (UTC), without the proposal ``but``."""
    asked = (
        select(func.count())
        .select_from(time_box)
        .where(
            time_box.c.tenant == tenant,
            time_box.c.state == "counted",
            time_box.c.changed_at >= now_s - now_s % DAY_S,
            time_box.c.proposal != but,
        )
    )
    return int(connection.execute(asked).scalar_one())


def _box(row: Row[Any]) -> TimeBoxRow:
    values = dict(row._mapping)  # noqa: SLF001 - the public name of a row's columns
    return TimeBoxRow(**values | {name: tuple(unpack(values[name])) for name in _LISTS})
