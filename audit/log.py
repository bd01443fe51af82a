"""The log as the gate sees it: append and get a receipt when the record is durable; read; prove; erase."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Any, Final, TypeVar

from audit import merkle
from audit.canonical import JSON, Plain
from audit.chain import Answer, Sealing, Wish
from audit.checkpoint import Checkpoint, prove
from audit.errors import AuditError, DuplicateEvent, LogUnavailable, PayloadCorrupt, Receipt, RecordInvalid
from audit.note import Verifier
from audit.payload import SALT_BYTES, Erased, KeyWrap, Opened, Random, commitment, open_box
from audit.record import Draft, is_origin, is_tenant, prepare, read
from audit.signer import Signer, require_consistent
from audit.store import Found, Session, Store
from audit.writer import Asked, Probe, Timed, Writer

__all__ = ["DuplicateEvent", "Entry", "Erased", "Log", "LogUnavailable", "Receipt"]

_T = TypeVar("_T")
_LARGE: Final = 65_536  # bytes of payload from which HMAC leaves the event loop
MAX_PAYLOAD: Final = 32 * 2**20


@dataclass(frozen=True, slots=True)
class Entry:
    """A record in its place: exact leaf bytes and what they say."""

    log: str
    seq: int
    leaf: str
    encoded: bytes
    record: dict[str, Plain]
    kind: str
    time_ns: int
    id: str

    @property
    def body(self) -> dict[str, Any]:
        """Return what the record says, as its kind's fields; every record was checked when it was read."""
        body = self.record["body"]
        assert isinstance(body, dict)
        return body

    @property
    def receipt(self) -> Receipt:
        """Return what append returned."""
        return Receipt(self.log, self.seq, self.leaf)


class Log:
    """All logs of one store, one a tenant, named `<name>/<tenant>`.

    `random` returns n random bytes. `timed` is entered around each commit. `commit_seconds` bounds how long an append may wait; one that ran out may
    still become durable later, so its caller must act as after any LogUnavailable: not at all.
    """

    def __init__(  # noqa: PLR0913 - every part is injected
        self,
        store: Store,
        *,
        name: str,
        signer: Signer,
        keys: KeyWrap,
        random: Random,
        max_waiting: int = 4096,
        commit_seconds: float = 15.0,
        timed: Timed = contextlib.nullcontext,
    ) -> None:
        if not is_origin(name):
            raise RecordInvalid(
                "name", f"{name!r} cannot begin an origin", "use lower-case words like example.org/audit"
            )
        self._name, self._store, self._signer, self._keys, self._random = name, store, signer, keys, random
        self._commit_seconds = commit_seconds
        self._futures: dict[Asked, asyncio.Future[Receipt | None]] = {}
        self._writer = Writer(store, Sealing(keys, random), self._deliver, max_waiting, timed)
        self.waiting_max = max_waiting
        self._reader = ThreadPoolExecutor(1, thread_name_prefix="audit-reader")
        self._session: Session | None = None
        self._quick: Session | None = None

    def origin(self, tenant: str) -> str:
        """Return the name of a tenant's log; raises RecordInvalid for what cannot be a tenant."""
        if not is_tenant(tenant):
            raise RecordInvalid("tenant", f"{tenant!r} is not a tenant", "use lower-case letters, digits, hyphens")
        return f"{self._name}/{tenant}"

    async def start(self) -> None:
        """Open the store and compare it with what the signer remembers.

        Raises:
            LogUnavailable: the store cannot be opened now.
            GuardsMissing: it lacks a guard.
            HistoryConflict: it has lost or changed records that were signed.
        """
        await self._read(self._check_history)
        with contextlib.suppress(*self._store.failures):  # it is only the quicker way
            self._quick = await asyncio.to_thread(self._store.glance)
        self._writer.start()

    async def aclose(self) -> None:
        """Write what waits and close."""
        await asyncio.to_thread(self._writer.stop)
        self._drop_quick()
        with contextlib.suppress(LogUnavailable):
            await self._read(lambda session: session.close())
        self._reader.shutdown()

    async def append(self, tenant: str, draft: Draft, *, detached: bool = False) -> Receipt:
        """Append a record; it is durable when this returns.

        A caller that is cancelled meanwhile leaves no record, if it is not written yet; `detached`: it leaves one.

        Raises:
            DuplicateEvent: the event id is in the log; carries the first receipt.
            LogUnavailable: nothing is promised; do not act.
            RecordInvalid: the draft does not fit the format, or its data key was erased.
        """
        if detached and draft.payload is not None and len(draft.payload) >= _LARGE:
            # This one waits before it is queued, so a task of its own carries it there.
            return await asyncio.shield(self._append(tenant, draft, None))
        return await self._append(tenant, draft, None, detached=detached)

    async def erase(self, tenant: str, payload_key: str, draft: Draft) -> Receipt:
        """Destroy a data key, and with it its payloads, in one transaction with the record that says so.

        Raises as append does; `draft` is of kind erasure and names the key.
        """
        named = draft.body.get("erasure")
        if draft.kind != "erasure" or not isinstance(named, dict) or named.get("key") != payload_key:
            raise RecordInvalid("body.erasure.key", f"does not name {payload_key}", "use a draft of kind erasure")
        return await self._append(tenant, draft, payload_key)

    async def find(self, tenant: str, event_id: str) -> Entry | None:
        """Return the record with an event id; raises LogUnavailable."""
        log = self.origin(tenant)
        found = await self._glance(lambda session: session.by_event(log, event_id))
        return None if found is None else _entry(log, found)

    async def read(
        self,
        tenant: str,
        *,
        after: int = -1,
        limit: int,
        kinds: Sequence[str] | None = None,
        stream: str | None = None,
    ) -> list[Entry]:
        """Return up to `limit` records after number `after`, oldest first; raises LogUnavailable."""
        log = self.origin(tenant)
        found = await self._read(lambda session: session.entries(log, after, limit, kinds, stream))
        return [_entry(log, one) for one in found]

    async def open_intents(self, tenant: str) -> list[Entry]:
        """Return intents that no outcome or recovery has closed; raises LogUnavailable."""
        log = self.origin(tenant)
        return [_entry(log, one) for one in await self._read(lambda session: session.open_intents(log))]

    async def tenants(self) -> list[str]:
        """Return the tenants that have a log; raises LogUnavailable."""
        return [tenant for log, tenant in await self._read(lambda s: s.logs()) if log == f"{self._name}/{tenant}"]

    async def payload(self, tenant: str, entry: Entry) -> bytes | Erased | None:
        """Return a record's payload, checked against its commitment; Erased; or None when it has none.

        Raises PayloadCorrupt, LogUnavailable.
        """
        opened = await self.opened(tenant, entry)
        return opened.plaintext if isinstance(opened, Opened) else opened

    async def opened(self, tenant: str, entry: Entry) -> Opened | Erased | None:
        """Return payload and salt, for an export that proves payloads; raises as `payload`."""
        log, named = self.origin(tenant), entry.record.get("payload")
        if not isinstance(named, dict):
            return None
        key = str(named["key"])

        def stored(session: Session) -> tuple[bytes | None, bytes | None]:
            return session.data_keys(log, [key]).get(key), session.box(log, entry.seq)

        wrapped, box = await self._read(stored)
        if wrapped == b"":
            return Erased(key)
        if wrapped is None or box is None:
            raise PayloadCorrupt(
                f"record {entry.seq} of {log}: its payload or data key is missing, and nobody erased it"
            )
        data_key = self._keys.unwrap(f"{log} {key}", wrapped)
        return open_box(data_key, f"{log} {entry.id}", box, str(named["commit"]))

    async def checkpoint(self, tenant: str) -> str:
        """Sign the log as it stands; raises HistoryConflict, LogUnavailable."""
        log = self.origin(tenant)
        return await self._read(lambda session: sign(session, self._signer, log))

    async def prove(self, tenant: str, seq: int) -> str:
        """Return the C2SP tlog-proof of record `seq` under a fresh checkpoint; raises as checkpoint.

        Raises:
            RecordInvalid: there is no such record.
        """
        log = self.origin(tenant)

        def proof(session: Session) -> str:
            if not 0 <= seq < (size := session.size(log)):
                raise RecordInvalid("seq", f"{log} has {size} records, none is number {seq}")
            return str(prove(seq, partial(session.hashes, log), sign(session, self._signer, log).encode()))

        return await self._read(proof)

    async def inclusions(self, tenant: str, seqs: Sequence[int], size: int) -> list[list[bytes]]:
        """Return the audit path of each record in the tree of the first `size`; raises LogUnavailable.

        Raises:
            RecordInvalid: the log has not so many.
        """
        log = self.origin(tenant)

        def paths(session: Session) -> list[list[bytes]]:
            if not all(0 <= seq < size <= session.size(log) for seq in seqs):
                raise RecordInvalid("seq", f"{log} has no tree of {size} with all of those")
            return [merkle.inclusion(seq, size, partial(session.hashes, log)) for seq in seqs]

        return await self._read(paths)

    async def consistency(self, tenant: str, old: int, new: int) -> list[bytes]:
        """Return the proof that the first `old` records are the beginning of the first `new`; raises LogUnavailable.

        Raises:
            RecordInvalid: the log has not so many.
        """
        log = self.origin(tenant)

        def proof(session: Session) -> list[bytes]:
            if not 0 <= old <= new <= (size := session.size(log)):
                raise RecordInvalid("size", f"{log} has {size} records")
            return consistency_of(session, log, old, new)

        return await self._read(proof)

    async def size(self, tenant: str) -> int:
        """Return the number of records; raises LogUnavailable."""
        log = self.origin(tenant)
        return await self._glance(lambda session: session.size(log))

    def verifier(self, tenant: str) -> Verifier:
        """Return the public key under the name of the tenant's log."""
        return self._signer.verifier(self.origin(tenant))

    def halt(self, reason: str) -> None:
        """Refuse every append from now until the next start: somebody found that history does not fit."""
        self._writer.halt(reason)

    @property
    def waiting(self) -> int:
        """How many records wait to be written."""
        return self._writer.waiting

    @property
    def turned_away(self) -> int:
        """How many found the queue full."""
        return self._writer.turned_away

    @property
    def halted(self) -> bool:
        """Whether `halt` was called."""
        return self._writer.halted

    async def healthy(self) -> bool:
        """Whether a write was durable just now."""
        try:
            await self._submit(Probe())
        except LogUnavailable:
            return False
        return True

    async def _append(self, tenant: str, draft: Draft, erases: str | None, *, detached: bool = False) -> Receipt:
        log = self.origin(tenant)
        opened: Opened | None = None
        committed: dict[str, JSON] | None = None
        if draft.payload is not None:
            if draft.payload_key is None:
                raise RecordInvalid("payload_key", "is missing", "name the session whose data key encrypts the payload")
            if len(draft.payload) > MAX_PAYLOAD:
                raise RecordInvalid("payload", f"{len(draft.payload)} bytes exceed {MAX_PAYLOAD}", "store it elsewhere")
            opened = Opened(self._random(SALT_BYTES), draft.payload)
            hashing = partial(commitment, opened.salt, opened.plaintext)
            commit = await asyncio.to_thread(hashing) if len(draft.payload) >= _LARGE else hashing()
            committed = {"key": draft.payload_key, "bytes": len(draft.payload), "commit": commit}
        prepared = prepare(log, tenant, draft, committed)
        loop_future: asyncio.Future[Receipt | None] = asyncio.get_running_loop().create_future()

        def wanted() -> bool:
            # A detached caller may go, but what was told that nothing is promised is not written after all.
            return not loop_future.done() or (detached and loop_future.cancelled())

        wish = Wish(log, tenant, draft, prepared, opened, erases, wanted)
        receipt = await self._submit(wish, loop_future)
        assert receipt is not None
        return receipt

    async def _submit(self, wish: Asked, future: asyncio.Future[Receipt | None] | None = None) -> Receipt | None:
        loop = asyncio.get_running_loop()
        future = future or loop.create_future()
        self._futures[wish] = future
        # A timer on the future itself: `asyncio.timeout` around the await costs several times as much.
        expiry = loop.call_later(self._commit_seconds, _expire, future, self._commit_seconds)
        try:
            self._writer.submit(wish)
            return await future
        finally:
            expiry.cancel()
            self._futures.pop(wish, None)

    def _deliver(self, answers: Sequence[tuple[Asked, Answer | None]]) -> None:
        """On the writer's thread: wake each event loop once."""
        by_loop: dict[asyncio.AbstractEventLoop, list[tuple[asyncio.Future[Receipt | None], Answer | None]]] = {}
        for wish, answer in answers:
            if future := self._futures.get(wish):
                by_loop.setdefault(future.get_loop(), []).append((future, answer))
        for loop, ready in by_loop.items():
            with contextlib.suppress(RuntimeError):  # the loop of callers that are gone is closed
                loop.call_soon_threadsafe(_resolve, ready)

    async def _glance(self, question: Callable[[Session], _T]) -> _T:
        """Ask here and now, for a row or two by index, if the store can; else as `_read`."""
        if self._quick is not None:
            try:
                return question(self._quick)
            except self._store.failures:
                self._drop_quick()
        return await self._read(question)

    def _drop_quick(self) -> None:
        if self._quick is not None:
            with contextlib.suppress(*self._store.failures):
                self._quick.close()
        self._quick = None

    async def _read(self, question: Callable[[Session], _T]) -> _T:
        return await asyncio.get_running_loop().run_in_executor(self._reader, self._ask, question)

    def _ask(self, question: Callable[[Session], _T]) -> _T:
        try:
            if self._session is None:
                self._session = self._store.connect()
            return question(self._session)
        except self._store.failures as error:
            if self._session is not None:
                with contextlib.suppress(*self._store.failures):
                    self._session.close()
            self._session = None
            raise LogUnavailable(f"the audit log cannot be read: {error}") from None

    def _check_history(self, session: Session) -> None:
        for log in self._signer.origins():
            if last := self._signer.remembered(log):
                require_consistent(last, tree_of(session, log), partial(consistency_of, session, log))


def tree_of(session: Session, log: str) -> Checkpoint:
    """Return the log's size and root as the store has them."""
    size = session.size(log)
    return Checkpoint(log, size, merkle.root(size, partial(session.hashes, log)))


def consistency_of(session: Session, log: str, old: int, new: int) -> list[bytes]:
    """Return a consistency proof out of the store; ValueError when it has fewer than `new` records."""
    if session.size(log) < new:
        raise ValueError(new)
    return merkle.consistency(old, new, partial(session.hashes, log))


def sign(session: Session, signer: Signer, log: str) -> str:
    """Sign the log as the store has it; raises HistoryConflict."""
    return str(signer.sign(tree_of(session, log), partial(consistency_of, session, log)))


def _entry(log: str, found: Found) -> Entry:
    record = read(found.body)
    return Entry(
        log=log,
        seq=found.seq,
        leaf=found.leaf.hex(),
        encoded=found.body,
        record=record,
        kind=str(record["kind"]),
        time_ns=int(str(record["time_ns"])),
        id=str(record["id"]),
    )


def _expire(future: asyncio.Future[Receipt | None], seconds: float) -> None:
    if not future.done():
        future.set_exception(LogUnavailable(f"no durable write within {seconds} s"))


def _resolve(ready: Sequence[tuple[asyncio.Future[Receipt | None], Answer | None]]) -> None:
    for future, answer in ready:
        if future.done():
            continue
        if isinstance(answer, AuditError):
            future.set_exception(answer)
        else:
            future.set_result(answer)
