"""One transaction of appends: gives each record its place, links it, seals its payload."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from audit import payload
from audit.canonical import encode_plain
from audit.errors import AuditError, DuplicateEvent, HistoryConflict, Receipt, RecordInvalid
from audit.merkle import EMPTY_ROOT, leaf_hash
from audit.record import Draft, Placed, Prepared
from audit.store import Place, Row, Session


@dataclass(frozen=True, slots=True, eq=False)
class Wish:
    """One caller's record. `erases` names a data key to destroy with it; `wanted` is false once nobody waits."""

    log: str
    tenant: str
    draft: Draft
    prepared: Prepared
    opened: payload.Opened | None
    erases: str | None
    wanted: Callable[[], bool]


@dataclass(frozen=True, slots=True)
class Sealing:
    """What encrypting a payload needs."""

    keys: payload.KeyWrap
    random: payload.Random


Answer = Receipt | AuditError


class Attempt:
    """One transaction: what it answered so far, and the leaf hash of each record that it placed.

    `seen` holds, for each log, size and last leaf hash as this writer last saw them durable.
    """

    def __init__(self, seen: Mapping[str, Place]) -> None:
        self._seen = seen
        self.heads: dict[str, Place] = {}
        self.answers: dict[Wish, Answer] = {}
        self.leaves: dict[Wish, bytes] = {}
        self.committing = False

    def run(self, session: Session, wishes: Sequence[Wish], seal: Sealing, *, probing: bool) -> None:
        """Append all wishes, log by log in one order, so that two writers cannot wait for each other."""
        session.begin()
        try:
            if probing:
                session.probe()
            for log in sorted({wish.log for wish in wishes}):
                chain = _Chain(session, [wish for wish in wishes if wish.log == log], seal)
                chain.require_grown(self._seen.get(log))
                self.heads[log] = chain.append(self)
            self.committing = True
            session.commit()
        except BaseException:
            with contextlib.suppress(Exception):  # the connection is dropped next, which undoes what is open
                session.rollback()
            raise


class _Chain:
    """The records of one log in one transaction."""

    def __init__(self, session: Session, wishes: Sequence[Wish], seal: Sealing) -> None:
        self._log = log = wishes[0].log
        self._session, self._wishes, self._seal = session, wishes, seal
        self._head = session.head(log, wishes[0].tenant, EMPTY_ROOT)
        standing = session.standing(
            log,
            [wish.draft.id for wish in wishes],
            _distinct(stream for wish in wishes for stream in wish.prepared.streams),
            _distinct(wish.draft.payload_key for wish in wishes if wish.opened),
        )
        self._known, self._streams, self._wrapped = standing.records, standing.streams, standing.keys
        self._data_keys: dict[str, bytes] = {}

    def require_grown(self, seen: Place | None) -> None:
        """Refuse a store that lost what this writer saw durable: a failover to a stale copy, a restored backup."""
        if seen is None or seen == self._head or seen.seq == 0:
            return
        if self._head.seq <= seen.seq or self._session.hashes(self._log, 0, seen.seq - 1, 1) != [seen.leaf]:
            raise HistoryConflict(
                f"{self._log}: the store no longer has the {seen.seq} records that were durable; stop and restore them"
            )

    def append(self, attempt: Attempt) -> Place:
        """Place each wish behind the one before it, store the rows, and return the new head."""
        rows: list[Row] = []
        erased: list[str] = []
        for wish in self._wishes:
            try:
                row = self._row(wish)
            except AuditError as refused:
                attempt.answers[wish] = refused
                continue
            rows.append(row)
            attempt.leaves[wish] = row.leaf
            attempt.answers[wish] = Receipt(self._log, row.seq, row.leaf.hex())
            if wish.erases is not None:
                erased.append(wish.erases)
                self._wrapped[wish.erases] = b""
        if rows:
            self._session.insert(self._log, rows)
        for key in erased:
            self._session.erase_key(self._log, key)
        return self._head

    def _row(self, wish: Wish) -> Row:
        draft, head = wish.draft, self._head
        if (first := self._known.get(draft.id)) is not None:
            raise DuplicateEvent(draft.id, Receipt(self._log, first.seq, first.leaf.hex()))
        box = None if wish.opened is None else self._box(draft, wish.opened)
        placed = tuple(self._place(stream) for stream in wish.prepared.streams)
        body = encode_plain(wish.prepared.at(head.seq, head.leaf.hex(), placed))
        row = Row(
            seq=head.seq,
            prev=head.leaf,
            leaf=leaf_hash(body),
            body=body,
            event_id=draft.id,
            kind=draft.kind,
            time_ns=draft.time_ns,
            about=draft.about,
            streams=placed,
            key=draft.payload_key,
            box=box,
        )
        self._head = Place(row.seq + 1, row.leaf)
        self._known[draft.id] = Place(row.seq, row.leaf)
        self._streams |= {place.id: Place(place.seq, row.leaf) for place in placed}
        return row

    def _place(self, stream: str) -> Placed:
        last = self._streams.get(stream)
        return Placed(stream, 0, EMPTY_ROOT.hex()) if last is None else Placed(stream, last.seq + 1, last.leaf.hex())

    def _box(self, draft: Draft, opened: payload.Opened) -> bytes:
        assert draft.payload_key is not None
        data_key = self._data_key(draft.payload_key)
        return payload.seal(data_key, f"{self._log} {draft.id}", opened, self._seal.random(payload.NONCE_BYTES))

    def _data_key(self, key: str) -> bytes:
        """Return the session's data key; the first payload makes it."""
        context = f"{self._log} {key}"
        if self._wrapped.get(key) == b"":
            raise RecordInvalid("payload_key", f"the data key {key} was erased", "use a new session")
        if key not in self._wrapped:
            self._data_keys[key] = self._seal.random(payload.KEY_BYTES)
            nonce = self._seal.random(payload.NONCE_BYTES)
            self._wrapped[key] = self._seal.keys.wrap(context, self._data_keys[key], nonce)
            self._session.add_key(self._log, key, self._wrapped[key])
        if key not in self._data_keys:
            self._data_keys[key] = self._seal.keys.unwrap(context, self._wrapped[key])
        return self._data_keys[key]


def _distinct(items: Iterable[str | None]) -> list[str]:
    return [item for item in dict.fromkeys(items) if item is not None]
