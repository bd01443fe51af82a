"""The store on SQLite: one file, WAL, synchronous=FULL, or memory for tests.

Only for a local disk: WAL needs shared memory, so network file systems are out. NORMAL instead of FULL would be
thirty times faster and lose acknowledged records on power loss.
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any, Final

import orjson

from audit.errors import GuardsMissing
from audit.store import Session, Store, Values

_DDL: Final = {
    "audit_log": "TABLE audit_log (log TEXT PRIMARY KEY, tenant TEXT NOT NULL,"
    " size INTEGER NOT NULL CHECK (size >= 0), leaf BLOB NOT NULL CHECK (length(leaf) = 32)) STRICT",
    "audit_entry": "TABLE audit_entry (log TEXT NOT NULL, seq INTEGER NOT NULL CHECK (seq >= 0),"
    " prev BLOB NOT NULL CHECK (length(prev) = 32), leaf BLOB NOT NULL CHECK (length(leaf) = 32),"
    " body BLOB NOT NULL CHECK (length(body) <= 65535), event_id TEXT NOT NULL, kind TEXT NOT NULL,"
    " time_ns INTEGER NOT NULL, about TEXT) STRICT",
    "audit_entry_seq": "UNIQUE INDEX audit_entry_seq ON audit_entry (log, seq)",
    "audit_entry_prev": "UNIQUE INDEX audit_entry_prev ON audit_entry (log, prev)",
    "audit_entry_event": "UNIQUE INDEX audit_entry_event ON audit_entry (log, event_id)",
    "audit_entry_kind": "INDEX audit_entry_kind ON audit_entry (log, kind, seq)",
    "audit_stream": "TABLE audit_stream (log TEXT NOT NULL, stream TEXT NOT NULL, stream_seq INTEGER NOT NULL,"
    " seq INTEGER NOT NULL, leaf BLOB NOT NULL) STRICT",
    "audit_stream_seq": "UNIQUE INDEX audit_stream_seq ON audit_stream (log, stream, stream_seq)",
    "audit_node": "TABLE audit_node (log TEXT NOT NULL, level INTEGER NOT NULL, idx INTEGER NOT NULL,"
    " hash BLOB NOT NULL CHECK (length(hash) = 32), PRIMARY KEY (log, level, idx)) STRICT, WITHOUT ROWID",
    "audit_open": "TABLE audit_open (log TEXT NOT NULL, event_id TEXT NOT NULL, seq INTEGER NOT NULL,"
    " PRIMARY KEY (log, event_id)) STRICT, WITHOUT ROWID",
    "audit_payload": "TABLE audit_payload (log TEXT NOT NULL, seq INTEGER NOT NULL, key_id TEXT NOT NULL,"
    " box BLOB NOT NULL, PRIMARY KEY (log, seq)) STRICT",
    "audit_payload_key": "INDEX audit_payload_key ON audit_payload (log, key_id)",
    "audit_key": "TABLE audit_key (log TEXT NOT NULL, key_id TEXT NOT NULL, wrapped BLOB NOT NULL,"
    " PRIMARY KEY (log, key_id)) STRICT, WITHOUT ROWID",
    "audit_probe": "TABLE audit_probe (n INTEGER NOT NULL) STRICT",
    "audit_log_grows": "TRIGGER audit_log_grows BEFORE UPDATE ON audit_log WHEN NEW.log <> OLD.log"
    " OR NEW.tenant <> OLD.tenant OR NEW.size <= OLD.size"
    " BEGIN SELECT RAISE(ABORT, 'the audit log only grows'); END",
    "audit_key_erased": "TRIGGER audit_key_erased BEFORE UPDATE ON audit_key WHEN length(NEW.wrapped) > 0"
    " BEGIN SELECT RAISE(ABORT, 'a data key can only be erased'); END",
} | {
    f"{table}_no_{verb}": f"TRIGGER {table}_no_{verb} BEFORE {verb.upper()} ON {table}"
    " BEGIN SELECT RAISE(ABORT, 'the audit log is append-only'); END"
    for table, verb in (
        ("audit_entry", "update"),
        ("audit_entry", "delete"),
        ("audit_stream", "update"),
        ("audit_stream", "delete"),
        ("audit_node", "update"),
        ("audit_node", "delete"),
        ("audit_payload", "update"),
        ("audit_key", "delete"),
        ("audit_log", "delete"),
    )
}


class SqliteStore(Store):
    """Logs in one SQLite file. `busy_seconds` is how long a writer waits for another process."""

    failures = (sqlite3.Error, OSError)

    def __init__(self, path: Path, *, busy_seconds: float = 5.0) -> None:
        self._path, self._busy = path, busy_seconds

    def connect(self) -> Session:
        """See Store."""
        return self._opened(self._busy)

    def glance(self) -> Session | None:
        """See Store: readers of a write-ahead log wait for nobody, and a hop to a thread costs more than the look-up."""
        return self._opened(0)

    def _opened(self, busy_seconds: float) -> Session:
        connection = sqlite3.connect(
            self._path, isolation_level=None, timeout=busy_seconds, check_same_thread=False, cached_statements=64
        )
        try:
            return SqliteSession(connection, threading.RLock())
        except BaseException:
            connection.close()
            raise


class MemoryStore(Store):
    """Logs in memory, for tests: the same SQL, one connection that threads take in turn."""

    failures = (sqlite3.Error,)

    def __init__(self) -> None:
        self._connection = sqlite3.connect(":memory:", isolation_level=None, check_same_thread=False)
        self._lock = threading.RLock()

    def connect(self) -> Session:
        """See Store."""
        return SqliteSession(self._connection, self._lock, shared=True)

    def glance(self) -> Session | None:
        """See Store: here readers wait for the writer."""
        return None

    def close(self) -> None:
        """Forget everything."""
        self._connection.close()


class SqliteSession(Session):
    """One SQLite connection; `lock` is held through a transaction where threads share the connection."""

    any_of = "IN (SELECT value FROM json_each(?))"
    each_of = "json_each(?) AS named"

    def __init__(self, connection: sqlite3.Connection, lock: threading.RLock, *, shared: bool = False) -> None:
        self._connection, self._lock, self._shared = connection, lock, shared
        mode = self.rows("PRAGMA journal_mode = WAL")[0][0]
        if mode != "wal" and not shared:
            raise sqlite3.OperationalError(f"the file system gives journal mode {mode}; WAL needs a local disk")
        for pragma in ("synchronous = FULL", "secure_delete = ON", "recursive_triggers = ON", "trusted_schema = OFF"):
            self.rows(f"PRAGMA {pragma}")
        self._prepare()

    def _prepare(self) -> None:
        if not self._objects():
            self.begin()
            if not self._objects():
                for ddl in _DDL.values():
                    self.rows(f"CREATE {ddl}")
                self.rows("INSERT INTO audit_probe (n) VALUES (0)")
            self.commit()
        found = self._objects()
        for name, ddl in _DDL.items():
            if found.get(name) != f"CREATE {ddl}":
                raise GuardsMissing(
                    f"{name} is missing or altered in the audit database; restore it, then verify the log"
                )

    def _objects(self) -> dict[str, str]:
        sql = "SELECT name, sql FROM sqlite_master WHERE name LIKE 'audit\\_%' ESCAPE '\\'"
        return {str(name): str(text) for name, text in self.rows(sql)}

    def rows(self, sql: str, values: Values = ()) -> list[tuple[Any, ...]]:
        """See Session."""
        with self._lock:
            return self._connection.execute(sql, values).fetchall()

    def many(self, sql: str, rows: Iterable[Values]) -> None:
        """See Session."""
        self._connection.executemany(sql, rows)

    def listed(self, items: Iterable[str]) -> str:
        """See Session."""
        return orjson.dumps(list(items)).decode()

    def begin(self) -> None:
        """See Session."""
        self._lock.acquire()
        try:
            self._connection.execute("BEGIN IMMEDIATE")
        except BaseException:
            self._lock.release()
            raise

    def commit(self) -> None:
        """See Session."""
        self._connection.execute("COMMIT")
        self._lock.release()

    def rollback(self) -> None:
        """See Session."""
        if self._connection.in_transaction:
            self._connection.execute("ROLLBACK")
        self._lock.release()

    def close(self) -> None:
        """See Session."""
        if not self._shared:
            self._connection.close()

    def together(self) -> AbstractContextManager[object]:
        """See Session."""
        return nullcontext()

    def lock_head(self, log: str) -> list[tuple[Any, ...]]:
        """See Session: BEGIN IMMEDIATE keeps every other writer out."""
        return self.rows("SELECT size, leaf FROM audit_log WHERE log = ?", (log,))

    def scrub(self) -> None:
        """See Session: empties the write-ahead log, where the old page may still stand."""
        if not self._shared:
            self.rows("PRAGMA wal_checkpoint(TRUNCATE)")
