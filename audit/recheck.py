"""Checks a store against itself: leaf hashes, heads, nodes and every index column against the records' bytes.

Only bytes under a signed checkpoint are evidence; this finds a database whose convenient columns were edited
(an intent hidden from the open ones, a record moved to another stream) or damaged. The broker runs it where it
has the database; an auditor needs the published folder only.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any, Final

from audit import merkle
from audit.canonical import Plain
from audit.errors import RecordInvalid
from audit.ledger import Check, Ledger, Verdict
from audit.record import CLOSING, read
from audit.store import Session

_PAGE: Final = 500
_COLUMNS: Final = "SELECT seq, prev, leaf, body, event_id, kind, time_ns, about FROM audit_entry"


def recheck(session: Session, log: str) -> list[Check]:
    """Return the verdicts on one log of a store; raises what the store's driver raises."""
    size = session.size(log)
    return _Recheck(session, log, size).run()


class _Recheck:
    def __init__(self, session: Session, log: str, size: int) -> None:
        self._session, self._log, self._size = session, log, size
        self._ledger = Ledger(log, None)
        self._tree = merkle.CompactRange()
        self._bad: Check | None = None
        self._open: set[str] = set()
        self._streams: dict[tuple[str, int], tuple[int, bytes]] = {}

    def run(self) -> list[Check]:
        for row in self._rows():
            self._entry(*row)
        self._totals()
        indexes = self._bad or Check("indexes", Verdict.OK, f"{self._size} records agree with every index")
        return [indexes, *self._ledger.checks()]

    def _rows(self) -> Iterator[tuple[Any, ...]]:
        after = -1
        while True:
            sql = f"{_COLUMNS} WHERE log = ? AND seq > ? AND seq < ? ORDER BY seq LIMIT ?"
            page = self._session.rows(sql, (self._log, after, self._size, _PAGE))
            if not page:
                return
            yield from page
            after = int(page[-1][0])

    def _entry(self, seq: int, prev: bytes, leaf: bytes, body: bytes, *columns: object) -> None:
        number = self._tree.size
        if seq != number:
            self._note(number, f"record {number} is missing")
        if merkle.leaf_hash(bytes(body)) != bytes(leaf):
            self._note(seq, f"record {seq}: its bytes do not hash to its leaf")
        self._ledger.take(number, bytes(body), bytes(leaf))
        self._tree.add(bytes(leaf))
        try:
            record = read(bytes(body))
        except RecordInvalid as error:
            self._note(seq, f"record {seq}: {error}")
            return
        stated = (seq, bytes(prev).hex(), *columns)
        expected = (record["seq"], record["prev"], record["id"], record["kind"], int(str(record["time_ns"])))
        if stated != (*expected, record.get("about")):
            self._note(seq, f"record {seq}: a column differs from the record")
        self._index(seq, bytes(leaf), record)

    def _index(self, seq: int, leaf: bytes, record: dict[str, Plain]) -> None:
        if record["kind"] == "intent":
            self._open.add(str(record["id"]))
        elif record["kind"] in CLOSING:
            self._open.discard(str(record["about"]))
        streams = record.get("streams", [])
        assert isinstance(streams, list)
        for place in streams:
            assert isinstance(place, dict)
            self._streams[str(place["id"]), int(str(place["seq"]))] = (seq, leaf)

    def _totals(self) -> None:
        """Compare what is left: head, nodes, streams, open intents. Records after the size read first are left out."""
        if self._tree.size != self._size:
            self._note(self._tree.size, f"{self._tree.size} records are left of {self._size}")
        elif merkle.root(self._size, partial(self._session.hashes, self._log)) != self._tree.root():
            self._note(None, "a stored tile root does not follow from the records")
        sql = "SELECT stream, stream_seq, seq, leaf FROM audit_stream WHERE log = ? AND seq < ?"
        rows = self._session.rows(sql, (self._log, self._size))
        if {(str(s), int(n)): (int(q), bytes(h)) for s, n, q, h in rows} != self._streams:
            self._note(None, "the index of streams differs from the records")
        rows = self._session.rows("SELECT event_id FROM audit_open WHERE log = ? AND seq < ?", (self._log, self._size))
        listed = {str(row[0]) for row in rows}
        if self._session.size(self._log) == self._size and listed != self._open:
            hidden = sorted(self._open ^ listed)
            self._note(None, f"the index of open intents differs from the records, first at {hidden[0]}")

    def _note(self, record: int | None, detail: str) -> None:
        if self._bad is None:
            self._bad = Check("indexes", Verdict.FAILED, detail, record)
