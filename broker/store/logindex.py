"""Rows of ``log_line``, ``log_code`` and ``log_tail``: the log's records for searching.

A page never looks at more than ``LOOKED_AT_MAX`` records, whatever is asked: the most telling filter leads through its own
index, the others are compared there, and where that was not enough the page says how far it looked. A window of time is a
range of numbers (``placed_at``), so every page is a range of one index.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Connection, Select, bindparam, delete, func, insert, literal_column, select, union

from broker.model import Json
from broker.store import logusage
from broker.store.hot import Hot
from broker.store.logtables import NO_LOOK_SQL, log_code, log_line, log_tail
from broker.store.rows import lock, pack, unpack, upsert

LOOKED_AT_FIRST, LOOKED_AT_MAX = 200, 4_000
"""How many records a page looks at; a few at first, because most pages are full soon."""
NAMES_MAX = 12
"""Actions that a beginning may stand for, to be looked up one by one."""
_LEADING = ("session", "incident", "resource", "action", "tier", "effect")
"""Columns whose index leads the search, the most telling first; after code and principal, before kinds and looks."""
_NO_LOOK: ColumnElement[bool] = literal_column(NO_LOOK_SQL)


@dataclass(frozen=True, slots=True)
class Sought:
    """What is searched for: all that is given; ``since`` and ``until`` in seconds, ``until`` excluded."""

    since: int = 0
    until: int = 0
    kinds: tuple[str, ...] = ()
    principal: str = ""
    """Keyed pseudonym of who acted, or for whom."""
    action: str = ""
    """A whole name; one that ends in a dot is a beginning."""
    resource: str = ""
    """Keyed pseudonym."""
    effect: str = ""
    code: str = ""
    tier: int = -1
    session: str = ""
    incident: str = ""
    own: bool = True
    """With looks at the gate itself."""

    def fits(self, line: Any, placed_at: int) -> bool:
        """Whether a line (attributes as columns, ``codes``, ``quiet``) is sought: the same as a page's conditions."""
        named = all(
            getattr(self, name) in ("", getattr(line, name)) for name in ("resource", "effect", "session", "incident")
        )
        beginning = self.action.endswith(".") and line.action.startswith(self.action)
        return (
            named
            and placed_at >= self.since
            and (not self.until or placed_at < self.until)
            and (not self.kinds or line.kind in self.kinds)
            and (not self.principal or self.principal in (line.who, line.behalf))
            and (self.action in ("", line.action) or beginning)
            and (not self.code or self.code in line.codes)
            and self.tier in (-1, line.tier)
            and (self.own or not line.quiet)
        )


@dataclass(frozen=True, slots=True)
class FoundLines:
    """One page, newest first. ``older`` and ``newer`` are the numbers to go on from, -1 where nothing is left."""

    lines: tuple[Mapping[str, Json], ...]
    older: int
    newer: int


@dataclass(frozen=True, slots=True)
class Tail:
    """How far the index has come: the number of the next record, and the latest time until there."""

    next: int = 0
    placed_at: int = 0


_LINE, _CODE = Hot(insert(log_line)), Hot(insert(log_code))
_NAMES = tuple(column.name for column in log_line.c if column.name not in ("tenant", "placed_at", "line"))
_TAIL = Hot(select(log_tail.c.next, log_tail.c.placed_at).where(log_tail.c.tenant == bindparam("t")))


def tail(connection: Connection, tenant: str) -> Tail:
    """Where the tenant's index ends."""
    return next((Tail(*row) for row in _TAIL(connection, {"t": tenant})), Tail())


def add(connection: Connection, tenant: str, lines: Sequence[Mapping[str, Any]]) -> bool:
    """Add lines that follow the index's end; False where another replica was first, and nothing is changed.

    A line has ``seq``, ``at``, ``codes``, ``own``, the columns of ``log_line`` by name, and whatever lists show.
    """
    lock(connection, "log_index", tenant)
    end = tail(connection, tenant)
    if not lines or lines[0]["seq"] != end.next:
        return False
    rows, codes, placed_at = [], [], end.placed_at
    for line in lines:
        placed_at = max(placed_at, line["at"])
        row = {name: line[name] for name in _NAMES}
        rows.append(row | {"tenant": tenant, "placed_at": placed_at, "line": pack(dict(line))})
        codes += [{"tenant": tenant, "code": code, "seq": line["seq"]} for code in line["codes"]]
    _LINE.many(connection, rows)
    if codes:
        _CODE.many(connection, codes)
    logusage.add(connection, tenant, lines)
    values = {"next": lines[-1]["seq"] + 1, "placed_at": placed_at}
    statement = upsert(connection, log_tail).values(tenant=tenant, **values)
    connection.execute(statement.on_conflict_do_update(index_elements=["tenant"], set_=values))
    return True


def forget(connection: Connection, tenant: str) -> None:
    """Empty the tenant's index; it is made anew from the log."""
    lock(connection, "log_index", tenant)
    logusage.forget(connection, tenant)
    for table in (log_line, log_code, log_tail):
        connection.execute(delete(table).where(table.c.tenant == tenant))


def page(  # noqa: PLR0913 - two cursors
    connection: Connection, tenant: str, sought: Sought, *, before: int = -1, after: int = -1, limit: int
) -> FoundLines:
    """A page of what fits: the newest, those before number ``before``, or those next after number ``after``."""
    up = after >= 0
    low, high = _range(connection, tenant, sought)
    low, high = (max(low, after + 1), high) if up else (low, min(high, before - 1) if before >= 0 else high)
    names = _beginning_so(connection, tenant, sought.action) if sought.action.endswith(".") else ()
    for most in (LOOKED_AT_FIRST, LOOKED_AT_MAX):
        looked_at = _candidates(tenant, sought, names, low, high, up=up, most=most).subquery()
        order = log_line.c.seq if up else log_line.c.seq.desc()
        statement = (
            select(log_line.c.seq, log_line.c.line)
            .join(looked_at, looked_at.c.seq == log_line.c.seq)
            .where(log_line.c.tenant == tenant, *_conditions(sought))
            .order_by(order)
            .limit(limit + 1)
        )
        rows = connection.execute(statement).all()
        items, on = rows[:limit], -1
        if len(rows) > limit:
            on = items[-1].seq
            break
        count, least, greatest = connection.execute(
            select(func.count(), func.min(looked_at.c.seq), func.max(looked_at.c.seq)).select_from(looked_at)
        ).one()
        if count < most:
            break
        on = greatest if up else least
    found = tuple(unpack(row.line) for row in (reversed(items) if up else items))
    if up:
        return FoundLines(found, items[0].seq if items else after + 1, on)
    newest = items[0].seq if items else before - 1
    return FoundLines(found, on, max(newest, 0) if before >= 0 else -1)


def _range(connection: Connection, tenant: str, sought: Sought) -> tuple[int, int]:
    """First and last number of the window; empty as (0, -1)."""
    table = log_line.c
    low, high = 0, 2**53
    if sought.since:
        forward = select(table.seq).where(table.tenant == tenant, table.placed_at >= sought.since)
        found = connection.execute(forward.order_by(table.placed_at, table.seq).limit(1)).scalar()
        if found is None:
            return 0, -1
        low = int(found)
    if sought.until:
        back = select(table.seq).where(table.tenant == tenant, table.placed_at < sought.until)
        found = connection.execute(back.order_by(table.placed_at.desc(), table.seq.desc()).limit(1)).scalar()
        high = -1 if found is None else int(found)
    return low, high


def _beginning_so(connection: Connection, tenant: str, beginning: str) -> Sequence[str]:
    """Names of actions on record that begin so, each found by one seek; empty where there are more than ``NAMES_MAX``."""
    line, last = log_line.c, beginning
    names: list[str] = []
    while len(names) <= NAMES_MAX:
        within = (line.tenant == tenant, line.action > last, line.action < _end_of(beginning))
        found = connection.execute(select(line.action).where(*within).order_by(line.action).limit(1)).scalar()
        if found is None:
            return names or [beginning]  # no action is called so: a search for it finds nothing at once
        names.append(last := str(found))
    return ()


def _end_of(beginning: str) -> str:
    """The character after the dot ends the range of names that begin so."""
    return beginning[:-1] + "/"


def _candidates(  # noqa: PLR0913 - a range and how to go through it
    tenant: str, sought: Sought, names: Sequence[str], low: int, high: int, *, up: bool, most: int
) -> Select[Any]:
    """Numbers that one index gives, at most ``most``; ``names`` are those that a sought beginning stands for."""

    def of(table: Any, *leading: ColumnElement[bool]) -> Select[Any]:
        within = (table.tenant == tenant, *leading, table.seq >= low, table.seq <= high)
        order = table.seq if up else table.seq.desc()
        return select(table.seq).where(*within).order_by(order).limit(most)

    def of_each(*leading: ColumnElement[bool]) -> Select[Any]:
        # Each by its own index; the union may hold as many of each.
        each = [of(line, one).subquery() for one in leading]
        joined = union(*(select(one.c.seq) for one in each)).subquery()
        order = joined.c.seq if up else joined.c.seq.desc()
        return select(joined.c.seq).order_by(order).limit(most)

    line = log_line.c
    if sought.code:
        return of(log_code.c, log_code.c.code == sought.code)
    if sought.principal:
        return of_each(line.who == sought.principal, line.behalf == sought.principal)
    for name in _LEADING:
        value = getattr(sought, name)
        if name == "action" and names:
            return of_each(*(line.action == one for one in names))
        if value not in ("", -1) and not (name == "action" and value.endswith(".")):
            return of(line, line[name] == value)
    if len(sought.kinds) == 1:
        return of(line, line.kind == sought.kinds[0])
    return of(line) if sought.own else of(line, _NO_LOOK)


def _conditions(sought: Sought) -> list[ColumnElement[bool]]:
    """Everything that a line must fit besides its window; the code leads always."""
    line = log_line.c
    names = [name for name in ("session", "incident", "resource", "effect") if getattr(sought, name)]
    wanted: list[ColumnElement[bool]] = [line[name] == getattr(sought, name) for name in names]
    if sought.action.endswith("."):
        wanted += [line.action >= sought.action, line.action < _end_of(sought.action)]
    elif sought.action:
        wanted.append(line.action == sought.action)
    if sought.principal:
        wanted.append((line.who == sought.principal) | (line.behalf == sought.principal))
    if sought.kinds:
        wanted.append(line.kind.in_(sought.kinds))
    if sought.tier >= 0:
        wanted.append(line.tier == sought.tier)
    if not sought.own:
        wanted.append(_NO_LOOK)
    return wanted
