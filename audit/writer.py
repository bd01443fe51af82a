"""One thread that appends: takes everything that waits, commits it in one transaction, then answers.

Group commit without a timer: while one commit waits for the disk, the next batch gathers. After a failed commit
the outcome of each record is looked up by its event id on a fresh connection: a record is either durable, and
its caller gets the receipt, or its caller gets LogUnavailable. The thread survives every failure of the store.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from queue import Empty, SimpleQueue
from typing import Final

from audit.chain import Answer, Attempt, Sealing, Wish
from audit.errors import AuditError, DuplicateEvent, LogUnavailable, Receipt
from audit.store import Place, Session, Store

MAX_BATCH: Final = 256
MAX_BATCH_BYTES: Final = 8 * 2**20


class Probe:
    """A question whether the store takes writes now; the answer None means yes."""


Asked = Wish | Probe
Deliver = Callable[[Sequence[tuple[Asked, Answer | None]]], None]
Timed = Callable[[int], AbstractContextManager[object]]
"""Entered around the commit of so many records, on the writer's thread."""


class Writer:
    """The thread and its queue. `deliver` is called on the thread with each batch's answers."""

    def __init__(
        self, store: Store, seal: Sealing, deliver: Deliver, max_waiting: int, timed: Timed = nullcontext
    ) -> None:
        self._timed = timed
        self._store, self._seal, self._deliver, self._max_waiting = store, seal, deliver, max_waiting
        self._expected: tuple[type[Exception], ...] = (*store.failures, AuditError)
        self._seen: dict[str, Place] = {}
        self._waiting: SimpleQueue[Asked | None] = SimpleQueue()
        """None ends the thread: nothing is queued behind it."""
        self._lock = threading.Lock()
        self._closed = ""
        self.halted = False
        """Somebody found that history does not fit."""
        self.turned_away = 0
        self._session: Session | None = None
        self._thread = threading.Thread(target=self._run, name="audit-writer", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def stop(self) -> None:
        """Take no more, write what waits, and return when the thread has ended."""
        with self._lock:
            self._closed = self._closed or "the audit log is closed"
            self._waiting.put(None)
        if self._thread.is_alive():
            self._thread.join()

    def halt(self, reason: str) -> None:
        """Take no more, because of `reason`."""
        with self._lock:
            self._closed, self.halted = reason, True

    @property
    def waiting(self) -> int:
        """How many records wait."""
        return self._waiting.qsize()

    def submit(self, asked: Asked) -> None:
        """Queue a record.

        Raises:
            LogUnavailable: too many wait already, or the writer is stopping.
        """
        with self._lock:
            if self._closed:
                raise LogUnavailable(self._closed)
            if self._waiting.qsize() >= self._max_waiting:
                self.turned_away += 1
                raise LogUnavailable(f"{self._max_waiting} records wait for the audit log already")
            self._waiting.put(asked)

    def _run(self) -> None:
        while batch := self._take():
            try:
                with self._timed(len(batch)):
                    answers = self._settle(batch)
            except Exception as error:  # noqa: BLE001 - the edge of the thread: no defect may leave callers waiting
                self._drop()
                answers = [(asked, LogUnavailable(f"the audit writer failed: {error!r}")) for asked in batch]
            self._deliver(answers)
        self._drop()

    def _take(self) -> list[Asked]:
        """Wait for a record and take what else is there; empty at the end."""
        batch: list[Asked] = []
        weight = 0
        asked = self._waiting.get()
        while asked is not None:
            batch.append(asked)
            weight += len(asked.opened.plaintext) if isinstance(asked, Wish) and asked.opened else 0
            if len(batch) >= MAX_BATCH or weight >= MAX_BATCH_BYTES:
                return batch
            try:
                asked = self._waiting.get_nowait()
            except Empty:
                return batch
        self._waiting.put(None)  # the end, after this batch
        return batch

    def _settle(self, batch: Sequence[Asked]) -> list[tuple[Asked, Answer | None]]:
        probes = [asked for asked in batch if isinstance(asked, Probe)]
        wishes = [asked for asked in batch if isinstance(asked, Wish) and asked.wanted()]
        attempt = Attempt(self._seen)
        try:
            session = self._connected()
            attempt.run(session, wishes, self._seal, probing=bool(probes))
            self._seen |= attempt.heads
            if any(wish.erases and isinstance(attempt.answers[wish], Receipt) for wish in wishes):
                session.scrub()
        except self._expected as error:
            self._drop()
            unknown = LogUnavailable(f"the audit log did not take the record: {error}")
            answers = self._resolve(attempt) if attempt.committing else {}
            return [*((w, answers.get(w, unknown)) for w in wishes), *((p, unknown) for p in probes)]
        return [*attempt.answers.items(), *((probe, None) for probe in probes)]

    def _resolve(self, attempt: Attempt) -> dict[Wish, Answer]:
        """After a commit that raised: keep the answers that are true. A place holds only with the same leaf hash."""
        leaves: set[str] = set()
        try:
            session = self._connected()
            for log in sorted({wish.log for wish in attempt.leaves}):
                mine = {wish.draft.id: leaf for wish, leaf in attempt.leaves.items() if wish.log == log}
                found = session.places(log, mine)
                leaves |= {place.leaf.hex() for event_id, place in found.items() if place.leaf == mine[event_id]}
        except self._expected:
            self._drop()
        lost = {leaf.hex() for leaf in attempt.leaves.values()} - leaves
        return {wish: answer for wish, answer in attempt.answers.items() if _leaf(answer) not in lost}

    def _connected(self) -> Session:
        if self._session is None:
            self._session = self._store.connect()
        return self._session

    def _drop(self) -> None:
        if self._session is not None:
            with contextlib.suppress(*self._store.failures):
                self._session.close()
        self._session = None


def _leaf(answer: Answer) -> str | None:
    """Return the leaf hash on whose durability an answer rests."""
    if isinstance(answer, DuplicateEvent):
        return answer.receipt.leaf
    return answer.leaf if isinstance(answer, Receipt) else None
