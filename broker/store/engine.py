"""The database behind ``await store.read(fn)``, ``glance(fn)``, ``write(fn)`` and ``count(fn)``.

``fn`` gets a ``Connection`` inside one transaction, on a thread of a small pool; it must not wait for anything else.
It commits when ``fn`` returns and rolls back when it raises. A caller that is cancelled does not undo a transaction
that has begun. A database that is away, locked, full, slow or read-only raises ``StoreUnavailable``; the next call
tries again, so that recovery needs nobody.

======  ============================================  =================================================
lane    SQLite                                        PostgreSQL
======  ============================================  =================================================
read    4 threads, WAL snapshot, counters attached    REPEATABLE READ, READ ONLY
write   1 thread, BEGIN IMMEDIATE, synchronous=FULL   READ COMMITTED, row locks
soft    the same thread, synchronous=NORMAL           the same, synchronous_commit=off for the transaction
hold    as soft                                       as write; as soft for what only gives back
count   own file, synchronous=OFF                     the same as soft
======  ============================================  =================================================

On SQLite a hop to a thread costs more than a small query. ``glance`` (a read), ``count`` and ``hold`` therefore try once
on the event loop's own thread without waiting for any lock, and hop only where that did not work.
"""

import asyncio
import os
import sqlite3
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar

from sqlalchemy import URL, Connection, Engine, create_engine, event, make_url
from sqlalchemy.exc import ArgumentError, DataError, DBAPIError, IntegrityError, SQLAlchemyError
from sqlalchemy.pool import ConnectionPoolEntry

from broker.errors import BadRequest, Conflict, StoreUnavailable
from broker.store import migrate

T = TypeVar("T")
HOLDS_A_CHECKPOINT = 200
"""Every so many holds one goes over the writer thread, which empties the write-ahead log when it has grown."""
Query = Callable[[Connection], T]


@dataclass(frozen=True, slots=True)
class Timeouts:
    """How long one call may wait: for a lock, for a statement, for a connection."""

    lock_ms: int = 2_000
    statement_ms: int = 5_000
    connect_s: int = 5


class Store:
    """One database, shared by every replica that has its URL (two files on SQLite, one of them for counters)."""

    def __init__(
        self, url: str, *, threads: int = 4, max_waiting: int = 1_024, timeouts: Timeouts | None = None
    ) -> None:
        """Prepare; nothing is opened yet.

        ``url`` is ``sqlite:///path`` or ``postgresql+psycopg://…``, else ``BadRequest`` (``config.database_url``).
        More than ``max_waiting`` calls under way or queued in a lane are refused with ``StoreUnavailable``.
        """
        target = _parsed(url)
        limits = timeouts or Timeouts()
        lanes = _sqlite_lanes if target.get_backend_name() == "sqlite" else _postgres_lanes
        self._lanes = lanes(target, threads, max_waiting, limits)
        self._holds = 0
        self.dialect = target.get_backend_name()

    async def read(self, query: Query[T]) -> T:
        """Run ``query`` on one consistent snapshot; it cannot write."""
        return await self._lanes["read"].run(query)

    async def glance(self, query: Query[T]) -> T:
        """Run a few indexed look-ups on one snapshot: as ``read``, in half the time on SQLite. No scans here."""
        return await self._at_once("glance", "read", query)

    async def write(self, query: Query[T], *, durable: bool = True) -> T:
        """Run ``query`` alone among writers (SQLite) or under its row locks (PostgreSQL).

        When this returns, the change is on disk. With ``durable=False`` it survives a crash of the gate, but a loss of
        power may undo it whole: for changes that the audit log repeats.
        """
        return await self._lanes["write" if durable else "soft"].run(query)

    async def count(self, query: Query[T]) -> T:
        """Run ``query`` on the counter tables; never waits for a sync."""
        return await self._at_once("tally", "count", query)

    async def hold(self, query: Query[T], *, gives_back: bool = False) -> T:
        """Run ``query`` on what somebody holds for the time of one action.

        SQLite: without a sync, for whoever holds falls together with the database. PostgreSQL outlives its gates: the
        change is on disk on return, unless it only ``gives_back``.
        """
        patient = "soft" if gives_back or self.dialect == "sqlite" else "write"
        self._holds += 1
        if self._holds % HOLDS_A_CHECKPOINT == 0:
            return await self._lanes[patient].run(query)
        return await self._at_once("swift", patient, query)

    async def _at_once(self, quick: str, patient: str, query: Query[T]) -> T:
        """Run ``query`` here if the database has a lane ``quick`` and is free, else on a thread of ``patient``."""
        lane = self._lanes.get(quick)
        if lane is not None:
            try:
                return lane.call(query)
            except StoreUnavailable:  # nothing was committed; the patient lane waits for locks
                pass
        return await self._lanes[patient].run(query)

    def migrate(self) -> None:
        """Make or renew the tables, under a lock; blocks, for start-up. Raises ``StoreUnavailable``."""
        if self.dialect == "sqlite":
            self._lanes["write"].call(lambda connection: migrate.upgrade(connection, ("state",)))
            self._lanes["count"].call(lambda connection: migrate.upgrade(connection, ("counters",)))
        else:
            self._lanes["write"].call(lambda connection: migrate.upgrade(connection, ("state", "counters")))

    async def ready(self) -> bool:
        """Say whether the database answers and has the newest form; raises ``StoreUnavailable`` if it does not answer."""
        return await self._lanes["read"].run(migrate.is_current)

    def depths(self) -> Iterator[tuple[str, tuple[int, int, int]]]:
        """Of each lane: calls under way or queued, the most there may be, and how many were turned away."""
        for name, lane in self._lanes.items():
            yield name, (lane.waiting, lane.max_waiting, lane.turned_away)

    def close(self) -> None:
        """Let transactions under way end, then close every connection."""
        for lane in self._lanes.values():
            lane.pool.shutdown(wait=True)
        for lane in self._lanes.values():
            lane.dispose()


@dataclass(slots=True)
class _Lane:
    """One way of running transactions: an engine, the threads that may use it, and what each transaction begins with."""

    engine: Engine
    pool: ThreadPoolExecutor
    max_waiting: int
    prologue: str = ""
    begin: str = ""
    """How a transaction begins in a lane that nobody waits for: it has one connection, and its own way around SQLAlchemy."""
    waiting: int = 0
    turned_away: int = 0
    kept: list[Connection] = field(default_factory=list)
    """That connection between two calls."""

    async def run(self, query: Query[T]) -> T:
        """Run ``query`` on a thread of the pool."""
        if self.waiting >= self.max_waiting:
            self.turned_away += 1
            raise StoreUnavailable("too many database calls are waiting", code="store.overloaded", retry_after=1.0)
        self.waiting += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self.pool, self.call, query)
        finally:
            self.waiting -= 1

    def call(self, query: Query[T]) -> T:
        """Run ``query`` on this thread, in one transaction; turns the driver's errors into the gate's."""
        try:
            if self.begin:
                return self._at_once(query)
            with self.engine.connect() as connection, connection.begin():
                if self.prologue:
                    connection.exec_driver_sql(self.prologue)
                return query(connection)
        except IntegrityError as error:
            raise Conflict("the database holds a rule against this change", code="store.constraint") from _bare(error)
        except (DataError, UnicodeError) as error:
            text = "a value holds a character or size that cannot be stored"
            raise BadRequest(text, code="request.unstorable") from _bare(error)
        except (DBAPIError, SQLAlchemyError, sqlite3.Error, OSError) as error:
            raise StoreUnavailable(retry_after=1.0) from _bare(error)

    def _at_once(self, query: Query[T]) -> T:
        """Run ``query`` on the kept connection, or a new one; what goes wrong is undone as the pool takes it back."""
        connection = self.kept.pop() if self.kept else self.engine.connect()
        try:
            # Begun and ended at the driver: SQLAlchemy's own way costs as much as the small queries in between.
            driver: Any = connection.connection.dbapi_connection
            driver.execute(self.begin)
            result = query(connection)
            if connection.in_transaction():  # an ordinary statement made SQLAlchemy join in
                connection.commit()
            else:
                driver.commit()
        except BaseException:
            connection.close()
            raise
        self.kept.append(connection)
        return result

    def dispose(self) -> None:
        """Close every connection."""
        while self.kept:
            self.kept.pop().close()
        self.engine.dispose()


def _bare(error: Exception) -> Exception:
    """Name an error of the driver without its text, which may quote rows (PostgreSQL's DETAIL) and statements."""
    driver = error.orig if isinstance(error, DBAPIError) else error
    code = getattr(driver, "sqlstate", None) or getattr(driver, "sqlite_errorname", None) or ""
    return RuntimeError(f"{type(driver).__name__} {code}".rstrip())


def _parsed(url: str) -> URL:
    """Read the database URL; raises ``BadRequest`` that says which forms there are."""
    try:
        target = make_url(url)
    except ArgumentError:
        target = None
    forms = ("sqlite", "postgresql+psycopg")
    good = target is not None and target.drivername in forms
    if good and target is not None and target.drivername == "sqlite":
        good = bool(target.database) and target.database != ":memory:" and not target.query
    if target is None or not good:
        raise BadRequest(
            "field `database_url` is not a database that the gate can use",
            code="config.database_url",
            remedy="write sqlite:///path/to/file or postgresql+psycopg://user@host/name",
        )
    return target


def _postgres_lanes(target: URL, threads: int, max_waiting: int, limits: Timeouts) -> dict[str, _Lane]:
    """One pool of connections, three ways to begin."""
    engine = create_engine(
        target,
        pool_size=2 * threads,
        max_overflow=0,
        pool_timeout=limits.connect_s,
        pool_pre_ping=True,
        hide_parameters=True,
        connect_args={"connect_timeout": limits.connect_s},
    )

    @event.listens_for(engine, "connect")
    def _bound_waits(connection: Any, _entry: ConnectionPoolEntry) -> None:
        connection.execute(
            f"SET lock_timeout = {limits.lock_ms}; SET statement_timeout = {limits.statement_ms}; "
            f"SET idle_in_transaction_session_timeout = {4 * limits.statement_ms}"
        )
        connection.commit()

    snapshot = engine.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)
    readers = ThreadPoolExecutor(threads, thread_name_prefix="store-read")
    writers = ThreadPoolExecutor(threads, thread_name_prefix="store-write")
    relaxed = "SET LOCAL synchronous_commit = off"
    return {
        "read": _Lane(snapshot, readers, max_waiting),
        "write": _Lane(engine, writers, max_waiting),
        "soft": _Lane(engine, writers, max_waiting, relaxed),
        "count": _Lane(engine, writers, max_waiting, relaxed),
    }


def _sqlite_lanes(target: URL, threads: int, max_waiting: int, limits: Timeouts) -> dict[str, _Lane]:
    """Readers with the counters attached; one writer thread for the state file, one for the counters."""
    state = Path(str(target.database))
    counters = state.with_name(state.stem + "-counters" + (state.suffix or ".db"))
    hurried = replace(limits, lock_ms=0, connect_s=0)
    reader = ThreadPoolExecutor(threads, thread_name_prefix="store-read")
    writer = ThreadPoolExecutor(1, thread_name_prefix="store-write")
    counter = ThreadPoolExecutor(1, thread_name_prefix="store-count")
    now = "BEGIN IMMEDIATE"
    glance = _sqlite(state, 1, hurried, "BEGIN", "FULL", attach=counters)
    swift = _sqlite(state, 1, hurried, now, "NORMAL", idle=True)
    tally = _sqlite(counters, 1, hurried, now, "OFF")
    return {
        "read": _Lane(_sqlite(state, threads, limits, "BEGIN", "FULL", attach=counters), reader, max_waiting),
        "glance": _Lane(glance, reader, max_waiting, begin="BEGIN"),
        "write": _Lane(_sqlite(state, 1, limits, now, "FULL"), writer, max_waiting),
        "soft": _Lane(_sqlite(state, 1, limits, now, "NORMAL"), writer, max_waiting),
        "swift": _Lane(swift, writer, max_waiting, begin=now),
        "count": _Lane(_sqlite(counters, 1, limits, now, "OFF"), counter, max_waiting),
        "tally": _Lane(tally, counter, max_waiting, begin=now),
    }


def _sqlite(  # noqa: PLR0913 - one argument a setting
    path: Path,
    size: int,
    limits: Timeouts,
    begin: str,
    synchronous: str,
    *,
    attach: Path | None = None,
    idle: bool = False,
) -> Engine:
    """Engine for one SQLite file; every transaction starts with ``begin``; ``idle`` leaves checkpoints to others."""
    engine = create_engine(
        URL.create("sqlite", database=str(path)),
        pool_size=size,
        max_overflow=0,
        pool_timeout=limits.connect_s,
        hide_parameters=True,
        connect_args={"timeout": limits.lock_ms / 1000, "check_same_thread": False},
    )

    @event.listens_for(engine, "do_connect")
    def _private(*_args: object) -> None:
        if not path.exists():
            os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))

    @event.listens_for(engine, "connect")
    def _prepare(connection: sqlite3.Connection, _entry: ConnectionPoolEntry) -> None:
        # The driver's own transaction control would begin without IMMEDIATE.
        connection.isolation_level = None
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute(f"PRAGMA synchronous={synchronous}")
        connection.execute("PRAGMA foreign_keys=ON")
        # A shredded key must not stay readable in a freed page.
        connection.execute("PRAGMA secure_delete=ON")
        if idle:
            # A checkpoint waits for the disk, and this connection is used on the event loop.
            connection.execute("PRAGMA wal_autocheckpoint=0")
        if attach:
            # Unqualified names of counter tables are found here, so one query reads both files.
            connection.execute("ATTACH DATABASE ? AS counters", (str(attach),))
            connection.execute("PRAGMA query_only=ON")

    @event.listens_for(engine, "begin")
    def _begin(connection: Connection) -> None:
        # Straight to the driver: this stands before every transaction, and the long way costs a tenth of a small query.
        driver: Any = connection.connection.driver_connection
        if not driver.in_transaction:
            driver.execute(begin)

    return engine
