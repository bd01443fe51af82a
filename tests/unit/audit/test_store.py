"""The storage contract, on every database that the log runs on."""

import sqlite3
import threading
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import psycopg
import pytest

from audit import sqlite
from audit.errors import GuardsMissing
from audit.merkle import EMPTY_ROOT, fold, leaf_hash
from audit.postgres import PostgresStore
from audit.record import Placed
from audit.sqlite import MemoryStore, SqliteSession, SqliteStore
from audit.store import Place, Row, Session, Standing, Store
from tests.parts import fresh_database
from tests.unit.audit.room import ORIGIN, TENANT

Connect = Callable[[Store], Session]
GUARD = "(?i)append-only|only grows|only be erased"


def row(seq: int, prev: bytes, **more: object) -> Row:
    body = f'{{"seq":{seq}}}'.encode()
    fields = {"seq": seq, "prev": prev, "leaf": leaf_hash(body), "body": body, "event_id": f"ev-{seq}"}
    fields |= {"kind": "intent", "time_ns": 5, "about": None, "streams": (Placed("ses_1", seq, ""),)}
    return Row(**(fields | more))  # type: ignore[arg-type]


def rows(count: int) -> list[Row]:
    made: list[Row] = []
    for seq in range(count):
        made.append(row(seq, made[-1].leaf if made else EMPTY_ROOT))
    return made


def insert(session: Session, new: list[Row]) -> None:
    session.begin()
    session.head(ORIGIN, TENANT, EMPTY_ROOT)
    session.insert(ORIGIN, new)
    session.commit()


def test_what_was_committed_reads_back_from_another_connection(store: Store, connect: Connect) -> None:
    made = rows(3)
    insert(connect(store), made)
    session = connect(store)
    assert session.size(ORIGIN) == 3
    assert session.logs() == [(ORIGIN, TENANT)]
    assert [found.body for found in session.entries(ORIGIN, -1, 10)] == [one.body for one in made]
    assert session.places(ORIGIN, ["ev-1", "ev-9"]) == {"ev-1": Place(1, made[1].leaf)}
    assert session.stream_heads(ORIGIN, ["ses_1", "ses_2"]) == {"ses_1": Place(2, made[2].leaf)}
    session.add_key(ORIGIN, "ses_1", b"wrapped")
    standing = session.standing(ORIGIN, ["ev-1", "ev-9"], ["ses_1", "ses_2"], ["ses_1", "ses_2"])
    assert standing.records == session.places(ORIGIN, ["ev-1", "ev-9"])
    assert standing.streams == session.stream_heads(ORIGIN, ["ses_1", "ses_2"])
    assert standing.keys == {"ses_1": b"wrapped"} == session.data_keys(ORIGIN, ["ses_1", "ses_2"])
    assert session.standing(ORIGIN, [], [], []) == Standing({}, {}, {})
    assert [found.seq for found in session.open_intents(ORIGIN)] == [0, 1, 2]
    assert session.size("example.org/audit/other") == 0


def test_finding_the_end_of_a_stream_takes_no_longer_when_the_stream_is_long() -> None:
    session, steps = SqliteSession(sqlite3.connect(":memory:", isolation_level=None), threading.RLock(), shared=True), 0

    def count() -> int:
        nonlocal steps
        steps += 1
        return 0

    def asked() -> int:
        nonlocal steps
        steps = 0
        session._connection.set_progress_handler(count, 1)
        assert session.stream_heads(ORIGIN, ["ses_1"])
        session._connection.set_progress_handler(None, 1)
        return steps

    made = rows(2_000)
    insert(session, made[:5])
    short = asked()
    insert(session, made[5:])
    assert asked() <= 2 * short


def test_a_rolled_back_transaction_leaves_nothing(store: Store, connect: Connect) -> None:
    session = connect(store)
    session.begin()
    session.head(ORIGIN, TENANT, EMPTY_ROOT)
    session.insert(ORIGIN, rows(2))
    session.rollback()
    assert session.size(ORIGIN) == 0
    assert session.entries(ORIGIN, -1, 10) == []


def test_full_tiles_have_their_root_stored(store: Store, connect: Connect) -> None:
    made = rows(513)
    session = connect(store)
    insert(session, made)
    expected = [fold([one.leaf for one in made[i : i + 256]]) for i in (0, 256)]
    assert session.hashes(ORIGIN, 1, 0, 256) == expected
    assert session.hashes(ORIGIN, 2, 0, 256) == []
    assert session.hashes(ORIGIN, 0, 512, 1) == [made[512].leaf]


@pytest.mark.parametrize(
    "fork",
    [
        {"event_id": "ev-other", "prev": b"\1" * 32},  # same number
        {"seq": 3, "event_id": "ev-other", "streams": ()},  # same predecessor
        {"seq": 3, "prev": b"\1" * 32, "event_id": "ev-2", "streams": ()},  # same event
        {"seq": 3, "prev": b"\1" * 32, "streams": (Placed("ses_1", 2, ""),)},  # same place in a stream
    ],
)
def test_guards_refuse_a_fork_even_from_a_buggy_writer(store: Store, fork: dict[str, object], connect: Connect) -> None:
    made = rows(3)
    session = connect(store)
    insert(session, made)
    last = made[-1]
    with pytest.raises((sqlite3.IntegrityError, psycopg.errors.UniqueViolation)):
        insert(session, [row(**({"seq": 2, "prev": last.prev} | fork))])  # type: ignore[arg-type]
    session.rollback()
    assert session.size(ORIGIN) == 3


@pytest.mark.parametrize(
    "sql",
    [
        "UPDATE audit_entry SET kind = 'refusal' WHERE seq = 1",
        "DELETE FROM audit_entry WHERE seq = 2",
        "UPDATE audit_stream SET seq = 0",
        "DELETE FROM audit_stream",
        "DELETE FROM audit_log",
        "UPDATE audit_log SET size = 2",
        "UPDATE audit_log SET tenant = 'acme', size = size + 1",
        "UPDATE audit_key SET wrapped = leaf FROM audit_log",
        "DELETE FROM audit_key",
    ],
)
def test_triggers_refuse_changes_of_the_past(store: Store, sql: str, connect: Connect) -> None:
    session = connect(store)
    insert(session, rows(3))
    session.begin()
    session.add_key(ORIGIN, "ses_1", b"wrapped")
    session.commit()
    with pytest.raises((sqlite3.IntegrityError, psycopg.errors.RaiseException), match=GUARD):
        session.rows(sql)
    assert session.size(ORIGIN) == 3


def test_sqlite_refuses_to_replace_a_record(memory: MemoryStore, connect: Connect) -> None:
    session = connect(memory)
    insert(session, rows(3))
    with pytest.raises(sqlite3.IntegrityError, match=GUARD):
        session.rows("INSERT OR REPLACE INTO audit_entry SELECT * FROM audit_entry WHERE seq = 1")


def test_postgresql_refuses_to_truncate(connect: Connect) -> None:
    session = connect(PostgresStore(fresh_database()))
    insert(session, rows(3))
    with pytest.raises(psycopg.errors.RaiseException, match=GUARD):
        session.rows("TRUNCATE audit_entry")


def test_an_erased_key_never_comes_back(store: Store, connect: Connect) -> None:
    session = connect(store)
    session.begin()
    session.add_key(ORIGIN, "ses_1", b"wrapped")
    session.erase_key(ORIGIN, "ses_1")
    session.erase_key(ORIGIN, "ses_never_seen")
    session.commit()
    assert session.data_keys(ORIGIN, ["ses_1", "ses_never_seen"]) == {"ses_1": b"", "ses_never_seen": b""}
    with pytest.raises((sqlite3.IntegrityError, psycopg.errors.UniqueViolation)):
        session.add_key(ORIGIN, "ses_1", b"again")


@pytest.mark.parametrize("name", sorted(sqlite._DDL))
def test_sqlite_does_not_open_when_any_guard_is_missing(tmp_path: Path, name: str, connect: Connect) -> None:
    store = SqliteStore(tmp_path / "audit.db")
    store.connect().close()
    kind = next(word for word in sqlite._DDL[name].split() if word != "UNIQUE")
    with closing(sqlite3.connect(tmp_path / "audit.db", isolation_level=None)) as raw:
        raw.execute(f"DROP {kind} {name}")
    with pytest.raises(GuardsMissing):
        connect(store)


def test_sqlite_does_not_open_when_a_guard_was_weakened(tmp_path: Path, connect: Connect) -> None:
    store = SqliteStore(tmp_path / "audit.db")
    store.connect().close()
    with closing(sqlite3.connect(tmp_path / "audit.db", isolation_level=None)) as raw:
        raw.execute("DROP INDEX audit_entry_prev")
        raw.execute("CREATE INDEX audit_entry_prev ON audit_entry (log, prev)")
    with pytest.raises(GuardsMissing, match="audit_entry_prev"):
        connect(store)


@pytest.mark.parametrize(
    "harm",
    [
        "DROP INDEX audit_entry_prev",
        "DROP INDEX audit_entry_event; CREATE INDEX audit_entry_event ON audit_entry (log, event_id)",
        "DROP INDEX audit_entry_seq; CREATE UNIQUE INDEX audit_entry_seq ON audit_entry (log, seq) WHERE seq > 5",
        "DROP TRIGGER audit_entry_fixed ON audit_entry",
        "ALTER TABLE audit_entry DISABLE TRIGGER audit_entry_fixed",
        "ALTER TABLE audit_entry DISABLE TRIGGER USER",
        "CREATE OR REPLACE FUNCTION audit_append_only() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END'",
    ],
)
def test_postgresql_does_not_open_when_a_guard_is_missing_or_weakened(harm: str, connect: Connect) -> None:
    url = fresh_database()
    store = PostgresStore(url)
    store.connect().close()
    with psycopg.connect(url, autocommit=True) as raw:
        raw.execute(harm)  # type: ignore[arg-type]
    with pytest.raises(GuardsMissing):
        connect(store)


def test_postgresql_tables_may_live_in_any_schema(connect: Connect) -> None:
    url = fresh_database()
    with psycopg.connect(url, autocommit=True) as raw:
        raw.execute("CREATE SCHEMA evidence")
        raw.execute("ALTER ROLE CURRENT_USER IN DATABASE " + url.rsplit("/", 1)[1] + " SET search_path = evidence")
    session = connect(PostgresStore(url))
    insert(session, rows(2))
    assert session.rows("SELECT count(*) FROM evidence.audit_entry") == [(2,)]
    assert connect(PostgresStore(url)).size(ORIGIN) == 2


def test_sqlite_is_durable_and_asks_for_a_real_disk(tmp_path: Path, connect: Connect) -> None:
    session = connect(SqliteStore(tmp_path / "audit.db"))
    assert session.rows("PRAGMA journal_mode") == [("wal",)]
    assert session.rows("PRAGMA synchronous") == [(2,)]
    assert session.rows("PRAGMA secure_delete") == [(1,)]


def test_postgresql_is_durable_whatever_the_servers_default(connect: Connect) -> None:
    url = fresh_database()
    with psycopg.connect(url, autocommit=True) as raw:
        raw.execute("ALTER ROLE CURRENT_USER IN DATABASE " + url.rsplit("/", 1)[1] + " SET synchronous_commit = off")
    session = connect(PostgresStore(url))
    assert session.rows("SHOW synchronous_commit") == [("off",)]
    session.begin()
    assert session.rows("SHOW synchronous_commit") == [("on",)]
    session.rollback()


def test_on_sqlite_the_head_is_held_from_the_start_of_the_transaction(tmp_path: Path, connect: Connect) -> None:
    store = SqliteStore(tmp_path / "audit.db", busy_seconds=0)
    first, second = connect(store), connect(store)
    first.begin()
    with pytest.raises(sqlite3.OperationalError, match="locked"):
        second.begin()
    first.rollback()
    second.begin()
    second.rollback()


def test_on_postgresql_the_head_of_one_log_is_held_and_others_are_free(connect: Connect) -> None:
    url = fresh_database()
    first, second = connect(PostgresStore(url)), connect(PostgresStore(url, wait_seconds=1))
    insert(first, rows(1))
    first.begin()
    first.head(ORIGIN, TENANT, EMPTY_ROOT)
    second.begin()
    assert second.head("example.org/audit/acme", "acme", EMPTY_ROOT).seq == 0
    with pytest.raises(psycopg.errors.LockNotAvailable):
        second.head(ORIGIN, TENANT, EMPTY_ROOT)
    second.rollback()
    first.rollback()
