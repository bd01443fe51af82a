"""Where records are kept: the contract and its SQL; `sqlite.py` and `postgres.py` add what differs.

The contract, which the log depends on and tests/unit/audit/test_store.py holds both databases to:

* `commit` returns only when the rows are on stable storage. If it raises, the rows may exist or not.
* From `head` until commit nobody else can append to that log (SQLite: BEGIN IMMEDIATE; PostgreSQL: the head row
  FOR UPDATE), so sequence numbers have no gaps and `prev` forms one line.
* Guards make a fork impossible even for a buggy writer: UNIQUE (log, seq), (log, prev), (log, event_id),
  (log, stream, stream_seq), and triggers against update and delete. `connect` refuses to open without them.
* Leaf bytes are kept as bytes. Every other column is an index: derived, checkable, no evidence.
* A data key row can only go from wrapped key to erased (empty); it is never removed, so it never comes back.

Nodes: `audit_node` holds the roots of full tiles, one row for 256 records (and one for 65,536, …), written in
the same transaction, so any proof reads at most 256 hashes of each level.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Final, Protocol

from audit.merkle import TILE_WIDTH, fold
from audit.record import CLOSING, Placed

Values = Sequence[Any]

TABLES: Final = (
    "audit_log",
    "audit_entry",
    "audit_stream",
    "audit_node",
    "audit_open",
    "audit_payload",
    "audit_key",
    "audit_probe",
)


@dataclass(frozen=True, slots=True)
class Place:
    """Sequence number and leaf hash of a record (or of a log's or a stream's last one)."""

    seq: int
    leaf: bytes


@dataclass(frozen=True, slots=True)
class Row:
    """A record as stored; `box` is the sealed payload under data key `key`."""

    seq: int
    prev: bytes
    leaf: bytes
    body: bytes
    event_id: str
    kind: str
    time_ns: int
    about: str | None
    streams: tuple[Placed, ...]
    key: str | None = None
    box: bytes | None = None


@dataclass(frozen=True, slots=True)
class Found:
    """A stored record, read back."""

    seq: int
    leaf: bytes
    body: bytes


@dataclass(frozen=True, slots=True)
class Standing:
    """What stands in a log: records by event id, the last record of each stream, wrapped data keys (empty: erased)."""

    records: dict[str, Place]
    streams: dict[str, Place]
    keys: dict[str, bytes]


class Store(Protocol):
    """A database that can hold logs."""

    failures: tuple[type[Exception], ...]  # what its driver raises

    def connect(self) -> Session:
        """Open a connection for one thread; makes the tables when there are none.

        Raises GuardsMissing, or one of `failures`.
        """
        ...

    def glance(self) -> Session | None:
        """Open a connection for look-ups by index that wait for nothing, on any thread; None where they would wait."""
        ...


class Session(ABC):
    """One connection; all SQL that both databases share. Question marks stand for values."""

    _places: str
    _stream_heads: str
    _data_keys: str
    _standing: str
    any_of: str  # predicate `column <any_of>` with one value made by `listed`
    each_of: str  # table of one column `value`, one row an item of a value made by `listed`

    def __init_subclass__(cls) -> None:
        """Put the database's own words into the look-ups, once.

        The plain maximum under a stream is one look-up in the index; grouped, it would read the whole stream. SQLite
        takes the tables of a CROSS JOIN in the order in which they stand.
        """
        super().__init_subclass__()
        cls._places = f"SELECT event_id, seq, leaf FROM audit_entry WHERE log = ? AND event_id {cls.any_of}"  # noqa: S608
        cls._stream_heads = (
            f"SELECT s.stream, s.stream_seq, s.leaf FROM {cls.each_of} CROSS JOIN audit_stream s"  # noqa: S608
            " WHERE s.log = ? AND s.stream = named.value AND s.stream_seq ="
            " (SELECT max(m.stream_seq) FROM audit_stream m WHERE m.log = ? AND m.stream = named.value)"
        )
        cls._data_keys = f"SELECT key_id, wrapped FROM audit_key WHERE log = ? AND key_id {cls.any_of}"  # noqa: S608
        cls._standing = (
            f"SELECT 'record', event_id, seq, leaf FROM ({cls._places}) AS records"  # noqa: S608
            f" UNION ALL SELECT 'stream', stream, stream_seq, leaf FROM ({cls._stream_heads}) AS streams"
            f" UNION ALL SELECT 'key', key_id, 0, wrapped FROM ({cls._data_keys}) AS keys"
        )

    @abstractmethod
    def rows(self, sql: str, values: Values = ()) -> list[tuple[Any, ...]]:
        """Run one statement and return its rows."""

    @abstractmethod
    def many(self, sql: str, rows: Iterable[Values]) -> None:
        """Run one statement for each row."""

    @abstractmethod
    def listed(self, items: Iterable[str]) -> Any:
        """Make the value for `any_of`."""

    @abstractmethod
    def begin(self) -> None:
        """Start a writing transaction."""

    @abstractmethod
    def commit(self) -> None:
        """Make it durable."""

    @abstractmethod
    def rollback(self) -> None:
        """Undo it."""

    @abstractmethod
    def close(self) -> None:
        """Close the connection; an open transaction is undone."""

    @abstractmethod
    def together(self) -> AbstractContextManager[object]:
        """Send the statements inside without waiting for each; none may return rows."""

    @abstractmethod
    def lock_head(self, log: str) -> list[tuple[Any, ...]]:
        """Read (size, leaf) of a log and keep other writers out until commit."""

    @abstractmethod
    def scrub(self) -> None:
        """After an erasure was committed: drop old copies of rows as far as the database can."""

    def head(self, log: str, tenant: str, first: bytes) -> Place:
        """Return the log's size and last leaf hash for appending; a log without rows begins with `first`."""
        found = self.lock_head(log)
        if not found:
            self.rows(
                "INSERT INTO audit_log (log, tenant, size, leaf) VALUES (?, ?, 0, ?) ON CONFLICT DO NOTHING",
                (log, tenant, first),
            )
            found = self.lock_head(log)
        return Place(int(found[0][0]), bytes(found[0][1]))

    def insert(self, log: str, rows: Sequence[Row]) -> None:
        """Append rows that continue the head, with their indexes and completed tiles."""
        with self.together():
            self._insert(log, rows)
        for row in rows:
            if row.seq % TILE_WIDTH == TILE_WIDTH - 1:
                self._complete(log, 0, row.seq // TILE_WIDTH)

    def _insert(self, log: str, rows: Sequence[Row]) -> None:
        self.many(
            "INSERT INTO audit_entry (log, seq, prev, leaf, body, event_id, kind, time_ns, about)"
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
            [(log, r.seq, r.prev, r.leaf, r.body, r.event_id, r.kind, r.time_ns, r.about) for r in rows],
        )
        if places := [(log, p.id, p.seq, r.seq, r.leaf) for r in rows for p in r.streams]:
            self.many("INSERT INTO audit_stream (log, stream, stream_seq, seq, leaf) VALUES (?, ?, ?, ?, ?)", places)
        if boxes := [(log, r.seq, r.key, r.box) for r in rows if r.box is not None]:
            self.many("INSERT INTO audit_payload (log, seq, key_id, box) VALUES (?, ?, ?, ?)", boxes)
        self._index_intents(log, rows)
        self.rows("UPDATE audit_log SET size = ?, leaf = ? WHERE log = ?", (rows[-1].seq + 1, rows[-1].leaf, log))

    def _index_intents(self, log: str, rows: Sequence[Row]) -> None:
        if opened := [(log, r.event_id, r.seq) for r in rows if r.kind == "intent"]:
            self.many("INSERT INTO audit_open (log, event_id, seq) VALUES (?, ?, ?)", opened)
        if closed := [(log, r.about) for r in rows if r.kind in CLOSING and r.about]:
            self.many("DELETE FROM audit_open WHERE log = ? AND event_id = ?", closed)

    def _complete(self, log: str, level: int, index: int) -> None:
        tile = self.hashes(log, level, index * TILE_WIDTH, TILE_WIDTH)
        self.rows(
            "INSERT INTO audit_node (log, level, idx, hash) VALUES (?, ?, ?, ?)", (log, level + 1, index, fold(tile))
        )
        if index % TILE_WIDTH == TILE_WIDTH - 1:
            self._complete(log, level + 1, index // TILE_WIDTH)

    def hashes(self, log: str, level: int, start: int, count: int) -> list[bytes]:
        """Return hashes of a tile level (see audit.merkle.Read)."""
        if level == 0:
            sql = "SELECT leaf FROM audit_entry WHERE log = ? AND seq >= ? AND seq < ? ORDER BY seq"
            found = self.rows(sql, (log, start, start + count))
        else:
            sql = "SELECT hash FROM audit_node WHERE log = ? AND level = ? AND idx >= ? AND idx < ? ORDER BY idx"
            found = self.rows(sql, (log, level, start, start + count))
        return [bytes(row[0]) for row in found]

    def logs(self) -> list[tuple[str, str]]:
        """Return (log, tenant) of every log."""
        return [(str(log), str(tenant)) for log, tenant in self.rows("SELECT log, tenant FROM audit_log ORDER BY log")]

    def size(self, log: str) -> int:
        """Return the number of committed records."""
        found = self.rows("SELECT size FROM audit_log WHERE log = ?", (log,))
        return int(found[0][0]) if found else 0

    def standing(self, log: str, event_ids: Iterable[str], streams: Iterable[str], keys: Iterable[str]) -> Standing:
        """Return what an append must know, in one statement: `places`, `stream_heads` and `data_keys`."""
        named = self.listed(streams)
        values = (log, self.listed(event_ids), named, log, log, log, self.listed(keys))
        standing = Standing({}, {}, {})
        for what, name, number, value in self.rows(self._standing, values):
            if what == "key":
                standing.keys[name] = bytes(value)
            else:
                (standing.records if what == "record" else standing.streams)[name] = Place(int(number), bytes(value))
        return standing

    def places(self, log: str, event_ids: Iterable[str]) -> dict[str, Place]:
        """Return where those of `event_ids` stand that the log has."""
        found = self.rows(self._places, (log, self.listed(event_ids)))
        return {i: Place(int(seq), bytes(leaf)) for i, seq, leaf in found}

    def stream_heads(self, log: str, streams: Iterable[str]) -> dict[str, Place]:
        """Return number and leaf hash of the last record of each stream that has one."""
        found = self.rows(self._stream_heads, (self.listed(streams), log, log))
        return {stream: Place(int(number), bytes(leaf)) for stream, number, leaf in found}

    def data_keys(self, log: str, keys: Iterable[str]) -> dict[str, bytes]:
        """Return wrapped data keys; empty bytes mean erased."""
        found = self.rows(self._data_keys, (log, self.listed(keys)))
        return {str(key): bytes(wrapped) for key, wrapped in found}

    def add_key(self, log: str, key: str, wrapped: bytes) -> None:
        """Store a new data key."""
        self.rows("INSERT INTO audit_key (log, key_id, wrapped) VALUES (?, ?, ?)", (log, key, wrapped))

    def erase_key(self, log: str, key: str) -> None:
        """Destroy a data key (known or not) and the boxes under it."""
        self.rows(
            "INSERT INTO audit_key (log, key_id, wrapped) VALUES (?, ?, ?)"
            " ON CONFLICT (log, key_id) DO UPDATE SET wrapped = excluded.wrapped",
            (log, key, b""),
        )
        self.rows("DELETE FROM audit_payload WHERE log = ? AND key_id = ?", (log, key))

    def box(self, log: str, seq: int) -> bytes | None:
        """Return the sealed payload of a record."""
        found = self.rows("SELECT box FROM audit_payload WHERE log = ? AND seq = ?", (log, seq))
        return bytes(found[0][0]) if found else None

    def by_event(self, log: str, event_id: str) -> Found | None:
        """Return the record with an event id."""
        found = self.rows("SELECT seq, leaf, body FROM audit_entry WHERE log = ? AND event_id = ?", (log, event_id))
        return _found(found[0]) if found else None

    def entries(
        self, log: str, after: int, limit: int, kinds: Sequence[str] | None = None, stream: str | None = None
    ) -> list[Found]:
        """Return up to `limit` records with a number greater than `after`, in order."""
        where, values = "e.log = ? AND e.seq > ?", [log, after]
        source = "audit_entry e"
        if stream is not None:
            source = "audit_stream s JOIN audit_entry e ON e.log = s.log AND e.seq = s.seq"
            where, values = f"s.log = ? AND s.stream = ? AND {where}", [log, stream, *values]
        if kinds is not None:
            where, values = f"{where} AND e.kind {self.any_of}", [*values, self.listed(kinds)]
        sql = f"SELECT e.seq, e.leaf, e.body FROM {source} WHERE {where} ORDER BY e.seq LIMIT ?"  # noqa: S608
        return [_found(row) for row in self.rows(sql, (*values, limit))]

    def open_intents(self, log: str) -> list[Found]:
        """Return the intents that nothing has closed."""
        sql = (
            "SELECT e.seq, e.leaf, e.body FROM audit_open o JOIN audit_entry e ON e.log = o.log AND e.seq = o.seq"
            " WHERE o.log = ? ORDER BY e.seq"
        )
        return [_found(row) for row in self.rows(sql, (log,))]

    def probe(self) -> None:
        """Write something durable that is no record."""
        self.rows("UPDATE audit_probe SET n = n + 1")


def _found(row: Values) -> Found:
    return Found(int(row[0]), bytes(row[1]), bytes(row[2]))
