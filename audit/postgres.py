"""The store on PostgreSQL, with psycopg and no layer between.

The head row `FOR UPDATE` serialises the appends of one log across replicas and survives connection poolers;
`synchronous_commit = on` is set in each transaction, whatever the server's default. All tables are in the schema
that the connection's search path names first.
"""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import AbstractContextManager
from typing import Any, Final, LiteralString

import psycopg

from audit.errors import GuardsMissing
from audit.store import Session, Store, Values

_SCHEMA_LOCK: Final = 0x61756469  # "audi": serialises the first start of several replicas

_TABLES: Final = (
    (
        "audit_log (log text PRIMARY KEY, tenant text NOT NULL, size bigint NOT NULL CHECK (size >= 0),"
        " leaf bytea NOT NULL CHECK (length(leaf) = 32))"
    ),
    (
        "audit_entry (log text NOT NULL, seq bigint NOT NULL CHECK (seq >= 0), prev bytea NOT NULL"
        " CHECK (length(prev) = 32), leaf bytea NOT NULL CHECK (length(leaf) = 32), body bytea NOT NULL"
        " CHECK (length(body) <= 65535), event_id text NOT NULL, kind text NOT NULL, time_ns bigint NOT NULL, about text)"
    ),
    (
        "audit_stream (log text NOT NULL, stream text NOT NULL, stream_seq bigint NOT NULL, seq bigint NOT NULL,"
        " leaf bytea NOT NULL)"
    ),
    (
        "audit_node (log text NOT NULL, level integer NOT NULL, idx bigint NOT NULL,"
        " hash bytea NOT NULL CHECK (length(hash) = 32))"
    ),
    "audit_open (log text NOT NULL, event_id text NOT NULL, seq bigint NOT NULL, PRIMARY KEY (log, event_id))",
    (
        "audit_payload (log text NOT NULL, seq bigint NOT NULL, key_id text NOT NULL, box bytea NOT NULL,"
        " PRIMARY KEY (log, seq))"
    ),
    "audit_key (log text NOT NULL, key_id text NOT NULL, wrapped bytea NOT NULL, PRIMARY KEY (log, key_id))",
    "audit_probe (n bigint NOT NULL)",
)
_INDEXES: Final = {
    "audit_entry_seq": "audit_entry (log, seq)",
    "audit_entry_prev": "audit_entry (log, prev)",
    "audit_entry_event": "audit_entry (log, event_id)",
    "audit_stream_seq": "audit_stream (log, stream, stream_seq)",
    "audit_node_idx": "audit_node (log, level, idx)",
}
_APPEND_ONLY: Final = "audit_append_only"
_GROWS: Final = "audit_grows"
_ERASED: Final = "audit_erased"
_FUNCTIONS: Final = {
    _APPEND_ONLY: " BEGIN RAISE EXCEPTION 'the audit log is append-only'; END ",
    _GROWS: " BEGIN IF NEW.log <> OLD.log OR NEW.tenant <> OLD.tenant OR NEW.size <= OLD.size THEN"
    " RAISE EXCEPTION 'the audit log only grows'; END IF; RETURN NEW; END ",
    _ERASED: " BEGIN IF length(NEW.wrapped) > 0 THEN RAISE EXCEPTION 'a data key can only be erased'; END IF;"
    " RETURN NEW; END ",
}
_TRIGGERS: Final = {
    "audit_log_grows": ("BEFORE UPDATE ON audit_log FOR EACH ROW", _GROWS),
    "audit_key_erased": ("BEFORE UPDATE ON audit_key FOR EACH ROW", _ERASED),
    "audit_entry_fixed": ("BEFORE DELETE OR UPDATE ON audit_entry FOR EACH ROW", _APPEND_ONLY),
    "audit_stream_fixed": ("BEFORE DELETE OR UPDATE ON audit_stream FOR EACH ROW", _APPEND_ONLY),
    "audit_node_fixed": ("BEFORE DELETE OR UPDATE ON audit_node FOR EACH ROW", _APPEND_ONLY),
    "audit_payload_fixed": ("BEFORE UPDATE ON audit_payload FOR EACH ROW", _APPEND_ONLY),
    "audit_key_kept": ("BEFORE DELETE ON audit_key FOR EACH ROW", _APPEND_ONLY),
    "audit_log_kept": ("BEFORE DELETE ON audit_log FOR EACH ROW", _APPEND_ONLY),
} | {
    f"{table}_whole": (f"BEFORE TRUNCATE ON {table} FOR EACH STATEMENT", _APPEND_ONLY)
    for table in ("audit_log", "audit_entry", "audit_stream", "audit_node", "audit_payload", "audit_key")
}


class PostgresStore(Store):
    """Logs in one PostgreSQL database.

    `wait_seconds` bounds connecting and waiting for a lock; a statement may take twice as long.
    """

    failures = (psycopg.Error, OSError)

    def __init__(self, url: str, *, wait_seconds: int = 5) -> None:
        self._url, self._wait = url, wait_seconds

    def connect(self) -> Session:
        """See Store."""
        milliseconds = self._wait * 1000
        connection = psycopg.connect(
            self._url, autocommit=True, connect_timeout=self._wait, tcp_user_timeout=milliseconds
        )
        try:
            return PostgresSession(connection, milliseconds)
        except BaseException:
            connection.close()
            raise

    def glance(self) -> Session | None:
        """See Store: every look-up is a round trip."""
        return None


class PostgresSession(Session):
    """One PostgreSQL connection."""

    any_of = "= ANY(?)"
    each_of = "unnest(?::text[]) AS named(value)"

    def __init__(self, connection: psycopg.Connection, milliseconds: int) -> None:
        self._connection = connection
        self._begin = (
            "BEGIN; SET LOCAL synchronous_commit = on;"
            f" SET LOCAL lock_timeout = {milliseconds}; SET LOCAL statement_timeout = {2 * milliseconds};"
            f" SET LOCAL idle_in_transaction_session_timeout = {2 * milliseconds}"
        )
        if not self.rows("SELECT to_regclass('audit_log') IS NOT NULL")[0][0]:
            self._create()
        self._check_guards()

    def _create(self) -> None:
        self.begin()
        self.rows("SELECT pg_advisory_xact_lock(?)", (_SCHEMA_LOCK,))
        if not self.rows("SELECT to_regclass('audit_log') IS NOT NULL")[0][0]:
            for table in _TABLES:
                self.rows(f"CREATE TABLE {table}")
            for name, columns in _INDEXES.items():
                self.rows(f"CREATE UNIQUE INDEX {name} ON {columns}")
            self.rows("CREATE INDEX audit_entry_kind ON audit_entry (log, kind, seq)")
            self.rows("CREATE INDEX audit_payload_key ON audit_payload (log, key_id)")
            for name, body in _FUNCTIONS.items():
                self.rows(f"CREATE FUNCTION {name}() RETURNS trigger LANGUAGE plpgsql AS $${body}$$")
            for name, (when, function) in _TRIGGERS.items():
                self.rows(f"CREATE TRIGGER {name} {when} EXECUTE FUNCTION {function}()")
            self.rows("INSERT INTO audit_probe (n) VALUES (0)")
        self.commit()

    def _check_guards(self) -> None:
        indexes = self.rows(
            "SELECT c.relname, pg_get_indexdef(i.indexrelid) FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid"
            " WHERE i.indisunique AND i.indisvalid AND i.indimmediate AND c.relnamespace = current_schema()::regnamespace"
        )
        triggers = self.rows(
            "SELECT t.tgname, pg_get_triggerdef(t.oid), p.prosrc FROM pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid"
            " JOIN pg_proc p ON p.oid = t.tgfoid WHERE t.tgenabled IN ('O', 'A') AND NOT t.tgisinternal"
            " AND c.relnamespace = current_schema()::regnamespace"
        )
        found = {name: _bare(text).split(" ON ", 1)[1].replace(" USING btree", "") for name, text in indexes}
        acting = {name: (_bare(text), source) for name, text, source in triggers}
        for name, columns in _INDEXES.items():
            if found.get(name) != columns:
                raise GuardsMissing(f"unique index {name} is missing or altered; restore it, then verify the log")
        for name, (when, function) in _TRIGGERS.items():
            expected = (f"CREATE TRIGGER {name} {when} EXECUTE FUNCTION {function}()", _FUNCTIONS[function])
            if acting.get(name) != expected:
                raise GuardsMissing(f"trigger {name} is missing, off or altered; restore it, then verify the log")

    def rows(self, sql: str, values: Values = ()) -> list[tuple[Any, ...]]:
        """See Session."""
        cursor = self._connection.execute(_placed(sql), values or None)
        return cursor.fetchall() if cursor.description else []

    def many(self, sql: str, rows: Iterable[Values]) -> None:
        """See Session: one round trip for all rows."""
        with self._connection.cursor() as cursor:
            cursor.executemany(_placed(sql), rows)

    def listed(self, items: Iterable[str]) -> list[str]:
        """See Session."""
        return list(items)

    def begin(self) -> None:
        """See Session."""
        self.rows(self._begin)

    def commit(self) -> None:
        """See Session."""
        self.rows("COMMIT")

    def rollback(self) -> None:
        """See Session."""
        self.rows("ROLLBACK")

    def close(self) -> None:
        """See Session."""
        self._connection.close()

    def together(self) -> AbstractContextManager[object]:
        """See Session: one round trip."""
        return self._connection.pipeline()

    def lock_head(self, log: str) -> list[tuple[Any, ...]]:
        """See Session."""
        return self.rows("SELECT size, leaf FROM audit_log WHERE log = ? FOR UPDATE", (log,))

    def scrub(self) -> None:
        """See Session: the old row version of the key goes as soon as no older snapshot can see it."""
        self.rows("VACUUM audit_key, audit_payload")


def _placed(sql: str) -> LiteralString:
    return sql.replace("?", "%s")


def _bare(definition: str) -> str:
    """Drop schema names, so that the tables may live in any schema."""
    words = (word.rsplit(".", 1)[-1] if "." in word and "'" not in word else word for word in definition.split(" "))
    return " ".join(words)
