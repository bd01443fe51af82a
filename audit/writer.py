"""One thread that appends: takes everything that waits, commits it in one transaction, then answers.

Group commit without a timer: while one commit waits for the disk, the next batch gathers. After a failed commit
the outcome of each record is looked up by its event id on a fresh connection: a record is either durable, and
its caller gets the receipt, or its caller gets LogUnavailable. The thread survives every failure of the store.
"""

from __future__ import annotations

import contextlib
import threading
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from audit import payload
from audit.errors import AuditError, DuplicateEvent, LogUnavailable, Receipt, RecordInvalid
from audit.merkle import EMPTY_ROOT, leaf_hash
from audit.record import Draft, Placed, Prepared
from audit.store import Place, Row, Session, Store

MAX_BATCH: Final = 256
MAX_BATCH_BYTES: Final = 8 * 2**20


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


@dataclass(frozen=True, slots=True, eq=False)
class Probe:
    """A question whether the store takes writes now."""


Answer = Receipt | AuditError
Deliver = Callable[[Sequence[tuple[Wish | Probe, Answer | None]]], None]


class Writer:
    """The thread and its queue. `deliver` is called on the thread with each batch's answers."""

    def __init__(
        self, store: Store, keys: payload.KeyWrap, random: payload.Random, deliver: Deliver, max_waiting: int
    ) -> None:
        self._store, self._keys, self._random, self._deliver = store, keys, random, deliver
        self._expected: tuple[type[Exception], ...] = (*store.failures, AuditError)
        self._max_waiting = max_waiting
        self._waiting: deque[Wish | Probe] = deque()
        self._wake = threading.Condition()
        self._open = True
        self._session: Session | None = None
        self._thread = threading.Thread(target=self._run, name="audit-writer", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def stop(self) -> None:
        """Take no more, write what waits, and return when the thread has ended."""
        with self._wake:
            self._open = False
            self._wake.notify()
        self._thread.join()

    def submit(self, wish: Wish | Probe) -> None:
        """Queue a record.

        Raises:
            LogUnavailable: too many wait already, or the writer is stopping.
        """
        with self._wake:
            if not self._open:
                raise LogUnavailable("the audit log is closed")
            if len(self._waiting) >= self._max_waiting:
                raise LogUnavailable(f"{self._max_waiting} records wait for the audit log already")
            self._waiting.append(wish)
            self._wake.notify()

    def _run(self) -> None:
        while batch := self._take():
            try:
                answers = self._settle(batch)
            except Exception as error:  # noqa: BLE001 - the edge of the thread: no defect may leave callers waiting
                self._drop()
                answers = [(wish, LogUnavailable(f"the audit writer failed: {error!r}")) for wish in batch]
            self._deliver(answers)
        self._drop()

    def _take(self) -> list[Wish | Probe]:
        with self._wake:
            self._wake.wait_for(lambda: self._waiting or not self._open)
            batch: list[Wish | Probe] = []
            weight = 0
            while self._waiting and len(batch) < MAX_BATCH and weight < MAX_BATCH_BYTES:
                wish = self._waiting.popleft()
                weight += len(wish.opened.plaintext) if isinstance(wish, Wish) and wish.opened else 0
                batch.append(wish)
            return batch

    def _settle(self, batch: Sequence[Wish | Probe]) -> list[tuple[Wish | Probe, Answer | None]]:
        probes = [wish for wish in batch if isinstance(wish, Probe)]
        wishes = [wish for wish in batch if isinstance(wish, Wish) and wish.wanted()]
        attempt = Attempt()
        try:
            session = self._connected()
            attempt.run(session, wishes, self._keys, self._random)
            for wish in wishes:
                if wish.erases is not None and isinstance(attempt.answers.get(wish), Receipt):
                    session.scrub()
        except self._expected as error:
            self._drop()
            unknown = LogUnavailable(f"the audit log did not take the record: {error}")
            answers = self._resolve(attempt) if attempt.committing else {}
            return [*((w, answers.get(w, unknown)) for w in wishes), *((p, unknown) for p in probes)]
        return [*attempt.answers.items(), *((probe, None) for probe in probes)]

    def _resolve(self, attempt: Attempt) -> dict[Wish, Answer]:
        """After a commit that raised: which of the records are in the log after all?"""
        answers: dict[Wish, Answer] = dict(attempt.answers)
        try:
            session = self._connected()
            for log in {wish.log for wish in attempt.leaves}:
                mine = {wish: leaf for wish, leaf in attempt.leaves.items() if wish.log == log}
                found = session.places(log, [wish.draft.id for wish in mine])
                for wish, leaf in mine.items():
                    place = found.get(wish.draft.id)
                    if place is None or place.leaf != leaf:
                        del answers[wish]
        except self._expected:
            self._drop()
            return {wish: answer for wish, answer in answers.items() if wish not in attempt.leaves}
        return answers

    def _connected(self) -> Session:
        if self._session is None:
            self._session = self._store.connect()
        return self._session

    def _drop(self) -> None:
        if self._session is not None:
            with contextlib.suppress(*self._store.failures):
                self._session.close()
        self._session = None


class Attempt:
    """One transaction: what it answered so far, and the leaf hash of each record that it placed."""

    def __init__(self) -> None:
        self.answers: dict[Wish, Answer] = {}
        self.leaves: dict[Wish, bytes] = {}
        self.committing = False

    def run(self, session: Session, wishes: Sequence[Wish], keys: payload.KeyWrap, random: payload.Random) -> None:
        """Append all wishes, log by log in one order, so that two writers cannot wait for each other."""
        session.begin()
        try:
            session.probe()
            for log in sorted({wish.log for wish in wishes}):
                mine = [wish for wish in wishes if wish.log == log]
                Chain(session, log, mine, keys, random).append(self)
            self.committing = True
            session.commit()
        except BaseException:
            with contextlib.suppress(Exception):
                session.rollback()
            raise


class Chain:
    """The records of one log in one transaction."""

    def __init__(
        self, session: Session, log: str, wishes: Sequence[Wish], keys: payload.KeyWrap, random: payload.Random
    ) -> None:
        self._session, self._log, self._wishes, self._wrap, self._random = session, log, wishes, keys, random
        self._head = session.head(log, wishes[0].tenant, EMPTY_ROOT)
        self._known = session.places(log, [wish.draft.id for wish in wishes])
        named = _distinct(stream for wish in wishes for stream in wish.prepared.streams)
        self._streams = session.stream_heads(log, named) if named else {}
        used = _distinct(wish.draft.payload_key for wish in wishes if wish.opened)
        self._wrapped = session.data_keys(log, used) if used else {}
        self._data_keys: dict[str, bytes] = {}

    def append(self, attempt: Attempt) -> None:
        """Place each wish behind the one before it, and store the rows."""
        rows: list[Row] = []
        erased: list[str] = []
        for wish in self._wishes:
            first = self._known.get(wish.draft.id)
            if first is not None:
                receipt = Receipt(self._log, first.seq, first.leaf.hex())
                attempt.answers[wish] = DuplicateEvent(wish.draft.id, receipt)
                continue
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

    def _row(self, wish: Wish) -> Row:
        draft, head = wish.draft, self._head
        box = self._box(wish) if wish.opened else None
        placed = tuple(self._place(stream) for stream in wish.prepared.streams)
        body = wish.prepared.at(head.seq, head.leaf.hex(), placed)
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

    def _box(self, wish: Wish) -> bytes:
        key = wish.draft.payload_key
        assert key is not None
        assert wish.opened is not None
        context = f"{self._log} {key}"
        if self._wrapped.get(key) == b"":
            raise RecordInvalid("payload_key", f"the data key {key} was erased", "use a new session")
        if key not in self._wrapped:
            self._data_keys[key] = self._random(payload.KEY_BYTES)
            self._wrapped[key] = self._wrap.wrap(context, self._data_keys[key], self._random(payload.NONCE_BYTES))
            self._session.add_key(self._log, key, self._wrapped[key])
        if key not in self._data_keys:
            self._data_keys[key] = self._wrap.unwrap(context, self._wrapped[key])
        box_context = f"{self._log} {wish.draft.id}"
        return payload.seal(self._data_keys[key], box_context, wish.opened, self._random(payload.NONCE_BYTES))


def _distinct(items: Iterable[str | None]) -> list[str]:
    return [item for item in dict.fromkeys(items) if item is not None]
