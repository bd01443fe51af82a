"""Rows of ``kill_switch``: the last state of each switch; the audit log has its history."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Connection, and_, bindparam, or_, select, true, update

from broker.store.hot import Hot
from broker.store.rows import EVERY_TENANT, upsert
from broker.store.tables import kill_switch

SCOPES = ("agent", "connector", "tenant", "all")


@dataclass(frozen=True, slots=True)
class Kill:
    """A pulled switch. ``target`` is a party id or connector, empty for ``tenant`` and ``all``."""

    tenant: str
    scope: str
    target: str
    pulled_by: str
    pulled_at: int
    reason: str


def stops(tenant: object, parties: Sequence[Any], connector: object) -> ColumnElement[bool]:
    """Match the pulled switches that stop an action; the arguments are values, columns or bind parameters.

    ``parties``: who acts, for whom, and who opened the session; one that is stopped stops the action.
    """
    table = kill_switch.c
    return and_(
        table.active == true(),
        or_(
            table.tenant == EVERY_TENANT,
            and_(
                table.tenant == tenant,
                or_(
                    table.scope == "tenant",
                    and_(table.scope == "agent", table.target.in_(parties)),
                    and_(table.scope == "connector", table.target == connector),
                ),
            ),
        ),
    )


_STOPPED = Hot(
    select(kill_switch.c.scope)
    .where(stops(bindparam("t"), (bindparam("a"), bindparam("s"), bindparam("o")), bindparam("c")))
    .limit(1)
)


def is_killed(connection: Connection, tenant: str, parties: tuple[str, str, str], connector: str) -> bool:
    """Say whether a pulled switch stops this connector, this tenant or one of (acting, subject, session's opener)."""
    acting, subject, opener = parties
    return bool(_STOPPED(connection, {"t": tenant, "a": acting, "s": subject, "o": opener, "c": connector}))


def pull(connection: Connection, kill: Kill) -> bool:
    """Pull the switch; False where it was pulled already, and then the first puller's row stays, but nobody's resume."""
    on = {
        "active": True,
        "pulled_by": kill.pulled_by,
        "pulled_at": kill.pulled_at,
        "reason": kill.reason.encode(),
        "resumed_by": "",
        "resumed_at": 0,
    }
    statement = upsert(connection, kill_switch).values(tenant=kill.tenant, scope=kill.scope, target=kill.target, **on)
    changed = connection.execute(
        statement.on_conflict_do_update(
            index_elements=["tenant", "scope", "target"], set_=on, where=kill_switch.c.active != true()
        ).returning(kill_switch.c.scope)
    )
    if changed.one_or_none() is not None:
        return True
    resuming(connection, kill.tenant, kill.scope, kill.target, "")
    return False


def resuming(connection: Connection, tenant: str, scope: str, target: str, mark: str) -> bool:
    """Mark a pulled switch as one that ``mark`` is about to let go, or that nobody is; False where it is not pulled."""
    marked = connection.execute(update(kill_switch).where(_pulled(tenant, scope, target)).values(resumed_by=mark))
    return marked.rowcount == 1


def resume(  # noqa: PLR0913 - one argument a column
    connection: Connection, tenant: str, scope: str, target: str, mark: str, *, by: str, now_s: int
) -> bool:
    """Let the switch go if it bears ``mark``; False where it does not, or was not pulled."""
    changed = connection.execute(
        update(kill_switch)
        .where(_pulled(tenant, scope, target), kill_switch.c.resumed_by == mark)
        .values(active=False, resumed_by=by, resumed_at=now_s)
    )
    return changed.rowcount == 1


def _pulled(tenant: str, scope: str, target: str) -> ColumnElement[bool]:
    table = kill_switch.c
    return and_(table.tenant == tenant, table.scope == scope, table.target == target, table.active == true())


def state(connection: Connection, tenant: str, scope: str, target: str) -> tuple[bool, int] | None:
    """Whether one switch is pulled, and when it was let go last (0: never); none where it never was pulled."""
    row = connection.execute(
        select(kill_switch.c.active, kill_switch.c.resumed_at).where(
            kill_switch.c.tenant == tenant, kill_switch.c.scope == scope, kill_switch.c.target == target
        )
    ).one_or_none()
    return (bool(row.active), row.resumed_at) if row else None


def pulled(connection: Connection, tenant: str) -> tuple[Kill, ...]:
    """Return the pulled switches that concern ``tenant``, those for every tenant included."""
    rows = connection.execute(
        select(kill_switch)
        .where(kill_switch.c.tenant.in_((tenant, EVERY_TENANT)), kill_switch.c.active == true())
        .order_by(kill_switch.c.scope, kill_switch.c.target)
    )
    return tuple(
        Kill(row.tenant, row.scope, row.target, row.pulled_by, row.pulled_at, row.reason.decode()) for row in rows
    )
