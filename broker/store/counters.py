"""Rows of ``limit_counter`` (GCRA) and ``usage_counter``; all of it runs in the counter lane.

GCRA keeps one number a key, the theoretical arrival time (TAT): the instant at which the bucket will be empty again.
A unit costs the emission interval; ``TAT - now`` is how full the bucket is, and it may not exceed its capacity. A clock
that goes back makes the bucket look fuller, never emptier. All times are whole nanoseconds.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, Executable, bindparam, delete, select, update
from sqlalchemy.dialects import postgresql, sqlite

from broker.store.hot import Hot
from broker.store.tables import limit_counter, usage_counter

DAY_S = 86_400

# Built once: making a statement costs more than running it.
_HERE = (limit_counter.c.tenant == bindparam("t"), limit_counter.c.key == bindparam("k"))
_TAT = Hot(select(limit_counter.c.tat_ns).where(*_HERE))
_SET = update(limit_counter).where(*_HERE).values(tat_ns=bindparam("n"))
_PUT = sqlite.insert(limit_counter).values(tenant=bindparam("t"), key=bindparam("k"), tat_ns=bindparam("n"))
_STORE = Hot(_PUT.on_conflict_do_update(index_elements=["tenant", "key"], set_={"tat_ns": _PUT.excluded.tat_ns}))


def _bump(insert: "sqlite.Insert | postgresql.Insert") -> Executable:
    """Count one action, and one write where ``w`` is 1."""
    first: dict[str, object] = {
        "tenant": bindparam("t"),
        "party": bindparam("p"),
        "day": bindparam("d"),
        "writes": bindparam("w"),
    }
    more = {"actions": usage_counter.c.actions + 1, "writes": usage_counter.c.writes + insert.excluded.writes}
    return insert.values(first | {"actions": 1}).on_conflict_do_update(
        index_elements=["tenant", "party", "day"], set_=more
    )


_BUMP = Hot(_bump(postgresql.insert(usage_counter)), sqlite=_bump(sqlite.insert(usage_counter)))


@dataclass(frozen=True, slots=True)
class Charge:
    """Nanoseconds to add to one bucket, and how many it may hold."""

    tenant: str
    key: str
    add_ns: int
    capacity_ns: int


@dataclass(frozen=True, slots=True)
class Shortage:
    """The charge (by position) that did not fit, and how long until it would."""

    index: int
    wait_ns: int


def take(connection: Connection, charges: Sequence[Charge], now_ns: int) -> Shortage | None:
    """Add every charge, or none of them and say which did not fit and waits the longest."""
    found = _locked(connection, sorted({(charge.tenant, charge.key) for charge in charges}))
    short: Shortage | None = None
    for index, charge in enumerate(charges):
        place = (charge.tenant, charge.key)
        arrival = max(found[place], now_ns) + charge.add_ns
        over = arrival - now_ns - charge.capacity_ns
        if over > 0 and (short is None or over > short.wait_ns):
            short = Shortage(index, over)
        found[place] = arrival
    if short is None:
        _store(connection, found)
    return short


def give_back(connection: Connection, charges: Sequence[Charge]) -> None:
    """Take ``add_ns`` out of each bucket that is there."""
    for charge in sorted(charges, key=lambda one: (one.tenant, one.key)):
        connection.execute(
            update(limit_counter)
            .where(limit_counter.c.tenant == charge.tenant, limit_counter.c.key == charge.key)
            .values(tat_ns=limit_counter.c.tat_ns - charge.add_ns)
        )


def levels(connection: Connection, places: Sequence[tuple[str, str]]) -> dict[tuple[str, str], int]:
    """The TAT of each (tenant, key) that has one; nothing is taken, locked or made."""
    found: dict[tuple[str, str], int] = {}
    for place in sorted(set(places)):
        rows = _TAT(connection, {"t": place[0], "k": place[1]})
        found |= {place: rows[0][0]} if rows else {}
    return found


def sweep(connection: Connection, before_ns: int, most: int = 1_000) -> int:
    """Forget at most ``most`` buckets that have been empty since ``before_ns``; returns how many."""
    empty = connection.execute(
        select(limit_counter.c.tenant, limit_counter.c.key)
        .where(limit_counter.c.tat_ns < before_ns)
        .limit(most)
        .with_for_update(skip_locked=True)
    ).all()
    if empty:
        connection.execute(delete(limit_counter).where(*_HERE), [{"t": row.tenant, "k": row.key} for row in empty])
    return len(empty)


def bump(connection: Connection, tenant: str, party: str, now_s: int, *, write: bool) -> None:
    """Count one action of ``party`` on the day (UTC) of ``now_s``."""
    _BUMP(connection, {"t": tenant, "p": party, "d": now_s // DAY_S, "w": int(write)})


def _locked(connection: Connection, places: Sequence[tuple[str, str]]) -> dict[tuple[str, str], int]:
    """Read the TAT of each place (0 where new) and hold its row until the transaction ends.

    ``places`` is sorted, so that two replicas never wait for each other in a ring. On SQLite the transaction holds the
    whole file; on PostgreSQL the insert makes the row that the update of nothing then locks.
    """
    if connection.dialect.name == "sqlite":
        rows = [_TAT(connection, {"t": tenant, "k": key}) for tenant, key in places]
        return {at: found[0][0] if found else 0 for at, found in zip(places, rows, strict=True)}
    statement = postgresql.insert(limit_counter).values([{"tenant": t, "key": k, "tat_ns": 0} for t, k in places])
    made = connection.execute(
        statement.on_conflict_do_update(
            index_elements=["tenant", "key"], set_={"tat_ns": limit_counter.c.tat_ns}
        ).returning(limit_counter)
    )
    return {(row.tenant, row.key): row.tat_ns for row in made}


def _store(connection: Connection, found: dict[tuple[str, str], int]) -> None:
    """Write every TAT."""
    rows = [{"t": tenant, "k": key, "n": tat} for (tenant, key), tat in sorted(found.items())]
    if connection.dialect.name != "sqlite":
        connection.execute(_SET, rows)
        return
    _STORE.many(connection, rows)
