"""The log as its callers see it, on every database."""

import asyncio
import dataclasses
import os
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import psycopg
import pytest

from audit import merkle
from audit.checkpoint import parse_checkpoint, parse_proof
from audit.errors import DuplicateEvent, HistoryConflict, KeyRefused, LogUnavailable, PayloadCorrupt, RecordInvalid
from audit.log import Erased, Log
from audit.note import signed_by
from audit.payload import LocalKey
from audit.postgres import PostgresStore
from audit.record import Draft
from audit.signer import FileSigner
from audit.sqlite import MemoryStore, SqliteStore
from audit.store import Session, Store
from tests.parts import fresh_database
from tests.unit.audit.room import KEY, NAME, ORIGIN, TENANT, erasure, intent, open_log, outcome

Connect = Callable[[Store], Session]
Use = Callable[[Log], Awaitable[Any]]


def with_log(store: Store, folder: Path, use: Use, **more: Any) -> Any:
    async def main() -> Any:
        log = open_log(store, folder, **more)
        try:
            await log.start()
            return await use(log)
        finally:
            await log.aclose()

    return asyncio.run(main())


def test_a_receipt_names_log_number_and_the_hash_of_the_stored_bytes(store: Store, tmp_path: Path) -> None:
    async def use(log: Log) -> None:
        receipt = await log.append(TENANT, intent("ev-0"))
        entry = await log.find(TENANT, "ev-0")
        assert entry is not None
        assert receipt == entry.receipt
        assert (receipt.log, receipt.seq) == (ORIGIN, 0)
        assert receipt.leaf == merkle.leaf_hash(entry.encoded).hex()
        assert entry.record["tenant"] == TENANT
        assert await log.find(TENANT, "ev-1") is None

    with_log(store, tmp_path, use)


def test_many_callers_make_one_line(store: Store, tmp_path: Path) -> None:
    async def use(log: Log) -> None:
        receipts = await asyncio.gather(*(log.append(TENANT, intent(f"ev-{n}")) for n in range(600)))
        assert sorted(receipt.seq for receipt in receipts) == list(range(600))
        entries = await log.read(TENANT, limit=1000)
        prev = merkle.EMPTY_ROOT.hex()
        for number, entry in enumerate(entries):
            place = {"id": "ses_1", "seq": number, "prev": prev}
            assert (entry.record["seq"], entry.record["prev"]) == (number, prev)
            assert entry.record["streams"] == [place]
            prev = entry.leaf

    with_log(store, tmp_path, use)


def test_an_event_id_is_taken_once_and_the_first_receipt_comes_back(store: Store, tmp_path: Path) -> None:
    async def use(log: Log) -> None:
        tries = await asyncio.gather(*(log.append(TENANT, intent("ev-0")) for _ in range(20)), return_exceptions=True)
        won = [one for one in tries if not isinstance(one, BaseException)]
        lost = [one for one in tries if isinstance(one, DuplicateEvent)]
        assert len(won) == 1
        assert len(lost) == 19
        assert {one.receipt for one in lost} == set(won)
        assert len(await log.read(TENANT, limit=50)) == 1

    with_log(store, tmp_path, use)


def test_tenants_have_logs_of_their_own(store: Store, tmp_path: Path) -> None:
    async def use(log: Log) -> None:
        first = await log.append(TENANT, intent("ev-0"))
        other = await log.append("acme", intent("ev-0"))
        assert (first.log, other.log) == (f"{NAME}/{TENANT}", f"{NAME}/acme")
        assert first.seq == other.seq == 0
        assert await log.tenants() == ["acme", TENANT]
        for bad in ("", "../x", "A", "a/b", "a" * 64, "a b"):
            with pytest.raises(RecordInvalid, match="tenant"):
                await log.append(bad, intent("ev-1"))

    with_log(store, tmp_path, use)


def test_intents_stay_open_until_an_outcome_or_a_recovery(store: Store, tmp_path: Path) -> None:
    async def use(log: Log) -> None:
        for number in range(3):
            await log.append(TENANT, intent(f"ev-{number}"))
        await log.append(TENANT, outcome("out-1", "ev-1"))
        unknown = dataclasses.replace(
            outcome("rec-0", "ev-0"), kind="recovery", body={"outcome": {"status": "unknown"}}
        )
        await log.append(TENANT, unknown)
        assert [entry.id for entry in await log.open_intents(TENANT)] == ["ev-2"]

    with_log(store, tmp_path, use)


def test_records_are_read_by_kind_stream_and_place(store: Store, tmp_path: Path) -> None:
    async def use(log: Log) -> None:
        await log.append(TENANT, intent("ev-0", stream="ses_a", streams=("inc_1",)))
        await log.append(TENANT, intent("ev-1", stream="ses_b"))
        await log.append(TENANT, outcome("ev-2", "ev-0", stream="ses_a", streams=("inc_1",)))

        async def ids(**query: Any) -> list[str]:
            return [entry.id for entry in await log.read(TENANT, **({"limit": 10} | query))]

        assert await ids() == ["ev-0", "ev-1", "ev-2"]
        assert await ids(after=0) == ["ev-1", "ev-2"]
        assert await ids(limit=1) == ["ev-0"]
        assert await ids(kinds=["outcome"]) == ["ev-2"]
        assert await ids(stream="inc_1") == ["ev-0", "ev-2"]
        assert await ids(stream="ses_a", after=0) == ["ev-2"]
        assert await ids(stream="ses_a", kinds=["intent"]) == ["ev-0"]
        assert await ids(kinds=[]) == []

    with_log(store, tmp_path, use)


def test_a_payload_reads_back_and_is_nowhere_in_clear(tmp_path: Path) -> None:
    secret = b"the prompt of jane@example.org"

    async def use(log: Log) -> None:
        await log.append(TENANT, intent("ev-0", payload=secret, payload_key="ses_1"))
        await log.append(TENANT, intent("ev-1", payload=b"x" * 100_000, payload_key="ses_1"))
        await log.append(TENANT, intent("ev-2"))
        entries = await log.read(TENANT, limit=3)
        assert [await log.payload(TENANT, entry) for entry in entries] == [secret, b"x" * 100_000, None]
        named = entries[0].record["payload"]
        assert isinstance(named, dict)
        assert (named["key"], named["bytes"]) == ("ses_1", len(secret))

    with_log(SqliteStore(tmp_path / "audit.db"), tmp_path, use)
    for file in tmp_path.glob("audit.db*"):
        assert secret not in file.read_bytes()


def test_equal_payloads_have_different_commitments(store: Store, tmp_path: Path) -> None:
    async def use(log: Log) -> None:
        await log.append(TENANT, intent("ev-0", payload=b"yes", payload_key="ses_1"))
        await log.append(TENANT, intent("ev-1", payload=b"yes", payload_key="ses_1"))
        first, second = [entry.record["payload"] for entry in await log.read(TENANT, limit=2)]
        assert isinstance(first, dict)
        assert isinstance(second, dict)
        assert first["commit"] != second["commit"]

    with_log(store, tmp_path, use)


def test_erasing_a_key_takes_its_payloads_and_nothing_else(store: Store, tmp_path: Path) -> None:
    async def use(log: Log) -> None:
        await log.append(TENANT, intent("ev-0", payload=b"gone", payload_key="ses_1"))
        await log.append(TENANT, intent("ev-1", payload=b"kept", payload_key="ses_2"))
        before = await log.read(TENANT, limit=2)
        await log.erase(TENANT, "ses_1", erasure("er-0", "ses_1"))
        assert [await log.payload(TENANT, entry) for entry in before] == [Erased("ses_1"), b"kept"]
        assert (await log.read(TENANT, limit=2)) == before
        with pytest.raises(RecordInvalid, match="was erased"):
            await log.append(TENANT, intent("ev-2", payload=b"late", payload_key="ses_1"))
        with pytest.raises(DuplicateEvent):
            await log.erase(TENANT, "ses_1", erasure("er-0", "ses_1"))

    with_log(store, tmp_path, use)


def test_erased_key_material_is_gone_from_the_files(tmp_path: Path, connect: Connect) -> None:
    store = SqliteStore(tmp_path / "audit.db")

    def on_disk(content: bytes) -> bool:
        return any(content in file.read_bytes() for file in tmp_path.glob("audit.db*"))

    async def use(log: Log) -> bytes:
        await log.append(TENANT, intent("ev-0", payload=b"gone", payload_key="ses_1"))
        wrapped = connect(store).data_keys(ORIGIN, ["ses_1"])["ses_1"]
        assert on_disk(wrapped)
        await log.erase(TENANT, "ses_1", erasure("er-0", "ses_1"))
        return wrapped

    wrapped = with_log(store, tmp_path, use)
    assert not on_disk(wrapped)


def test_an_erasure_must_name_its_key(store: Store, tmp_path: Path) -> None:
    async def use(log: Log) -> None:
        for draft in (erasure("er-0", "ses_2"), intent("er-0")):
            with pytest.raises(RecordInvalid, match="erasure"):
                await log.erase(TENANT, "ses_1", draft)

    with_log(store, tmp_path, use)


def test_a_payload_moved_to_another_record_or_changed_does_not_open(
    tmp_path: Path, memory: MemoryStore, connect: Connect
) -> None:
    store = memory

    async def use(log: Log) -> None:
        for number in range(2):
            await log.append(TENANT, intent(f"ev-{number}", payload=b"p%d" % number, payload_key="ses_1"))
        session = connect(store)
        session.rows("DROP TRIGGER audit_payload_no_update")
        boxes = dict(session.rows("SELECT seq, box FROM audit_payload"))
        session.rows("UPDATE audit_payload SET box = ? WHERE seq = 0", (boxes[1],))
        session.rows("DELETE FROM audit_payload WHERE seq = 1")
        for entry in await log.read(TENANT, limit=2):
            with pytest.raises(PayloadCorrupt):
                await log.payload(TENANT, entry)

    with_log(store, tmp_path, use)


def test_a_payload_needs_its_key_encryption_key(tmp_path: Path, memory: MemoryStore) -> None:
    store = memory

    async def first(log: Log) -> None:
        await log.append(TENANT, intent("ev-0", payload=b"p", payload_key="ses_1"))

    async def second() -> None:
        signer = FileSigner.from_file(tmp_path / "keys" / "log.key")
        log = Log(store, name=NAME, signer=signer, keys=LocalKey(bytes(32)), random=os.urandom)
        await log.start()
        entry = await log.find(TENANT, "ev-0")
        assert entry is not None
        with pytest.raises(PayloadCorrupt):
            await log.payload(TENANT, entry)
        with pytest.raises(PayloadCorrupt):
            await log.append(TENANT, intent("ev-1", payload=b"p", payload_key="ses_1"))
        await log.append(TENANT, intent("ev-2"))
        await log.aclose()

    with_log(store, tmp_path, first)
    asyncio.run(second())


def test_a_payload_without_a_key_or_too_large_is_refused(memory: MemoryStore, tmp_path: Path) -> None:
    async def use(log: Log) -> None:
        with pytest.raises(RecordInvalid, match="payload_key"):
            await log.append(TENANT, intent("ev-0", payload=b"p"))
        with pytest.raises(RecordInvalid, match="exceed"):
            await log.append(TENANT, intent("ev-0", payload=bytes(32 * 2**20 + 1), payload_key="ses_1"))
        assert await log.read(TENANT, limit=1) == []

    with_log(memory, tmp_path, use)


def test_checkpoints_and_proofs_hold(store: Store, tmp_path: Path) -> None:
    async def use(log: Log) -> None:
        await asyncio.gather(*(log.append(TENANT, intent(f"ev-{n}")) for n in range(300)))
        signer = FileSigner.from_file(tmp_path / "keys" / "log.key")
        checkpoint, note = parse_checkpoint((await log.checkpoint(TENANT)).encode())
        assert (checkpoint.origin, checkpoint.size) == (ORIGIN, 300)
        assert signed_by(note, signer.verifier(ORIGIN))
        for entry in await log.read(TENANT, limit=1, after=270):
            proof = parse_proof((await log.prove(TENANT, entry.seq)).encode())
            assert proof.holds(entry.encoded)
            assert not proof.holds(entry.encoded + b" ")
            assert signed_by(proof.note, signer.verifier(ORIGIN))
        with pytest.raises(RecordInvalid, match="none is number 300"):
            await log.prove(TENANT, 300)

    with_log(store, tmp_path, use)


def test_a_log_goes_on_where_it_stopped(store: Store, tmp_path: Path) -> None:
    async def one(log: Log) -> int:
        size = len(await log.read(TENANT, limit=100))
        return (await log.append(TENANT, intent(f"ev-{size}"))).seq

    assert [with_log(store, tmp_path, one) for _ in range(3)] == [0, 1, 2]


@pytest.mark.parametrize("size", [10, 100_000])
@pytest.mark.parametrize("detached", [False, True])
def test_a_caller_that_gave_up_before_the_write_leaves_a_record_only_where_it_is_detached(
    tmp_path: Path, connect: Connect, detached: bool, size: int
) -> None:
    store = SqliteStore(tmp_path / "audit.db", busy_seconds=30)

    async def use(log: Log) -> None:
        await log.append(TENANT, intent("ev-0"))
        blocker = connect(store)
        blocker.begin()
        first = asyncio.ensure_future(log.append(TENANT, intent("ev-1")))
        await asyncio.sleep(0)
        while log._writer._waiting.qsize():  # noqa: ASYNC110 - until the writer has taken the first and waits for the database
            await asyncio.sleep(0)
        large = replace(intent("ev-2"), payload=b"x" * size, payload_key="ses_1")
        second = asyncio.ensure_future(log.append(TENANT, large, detached=detached))
        await asyncio.sleep(0)
        second.cancel()
        await asyncio.gather(second, return_exceptions=True)
        blocker.rollback()
        await first
        await log.append(TENANT, intent("ev-3"))
        while detached and await log.find(TENANT, "ev-2") is None:  # noqa: ASYNC110 - until its thread has hashed it
            await asyncio.sleep(0)
        kept = {entry.id for entry in await log.read(TENANT, limit=9)}
        assert kept == {"ev-0", "ev-1", "ev-3"} | ({"ev-2"} if detached else set())

    with_log(store, tmp_path, use)


def test_a_full_queue_and_a_closed_log_refuse(tmp_path: Path, memory: MemoryStore) -> None:
    async def main() -> None:
        log = open_log(memory, tmp_path, max_waiting=2)
        waiting = [asyncio.ensure_future(log.append(TENANT, intent(f"ev-{n}"))) for n in range(3)]
        await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        with pytest.raises(LogUnavailable, match="2 records wait"):
            await waiting[2]
        await log.start()
        await asyncio.gather(*waiting[:2])
        await log.aclose()
        with pytest.raises(LogUnavailable, match="closed"):
            await log.append(TENANT, intent("ev-9"))
        assert not await log.healthy()

    asyncio.run(main())


def test_a_draft_that_does_not_fit_is_refused_before_anything_is_written(store: Store, tmp_path: Path) -> None:
    async def use(log: Log) -> None:
        with pytest.raises(RecordInvalid):
            await log.append(TENANT, Draft("intent", "ev-0", 1, {"note": "x"}))
        assert await log.read(TENANT, limit=1) == []
        assert await log.healthy()

    with_log(store, tmp_path, use)


def test_a_store_that_lost_signed_records_does_not_start(tmp_path: Path) -> None:
    async def grow(log: Log) -> None:
        for number in range(5):
            await log.append(TENANT, intent(f"ev-{number}"))
        await log.checkpoint(TENANT)

    async def other(log: Log) -> None:
        for number in range(9):
            await log.append(TENANT, intent(f"other-{number}"))

    with_log(SqliteStore(tmp_path / "first.db"), tmp_path, grow)
    with pytest.raises(HistoryConflict, match="rolled back"):
        with_log(SqliteStore(tmp_path / "empty.db"), tmp_path, grow)
    forked = SqliteStore(tmp_path / "forked.db")
    with_log(forked, tmp_path / "elsewhere", other)
    with pytest.raises(HistoryConflict, match="rewritten or forked"):
        with_log(forked, tmp_path, grow)


def test_keys_of_others_eyes_or_wrong_length_are_refused(tmp_path: Path) -> None:
    FileSigner.create(tmp_path / "log.key", KEY)
    assert (tmp_path / "log.key").stat().st_mode & 0o777 == 0o600
    with pytest.raises(KeyRefused, match="exists"):
        FileSigner.create(tmp_path / "log.key", KEY)
    (tmp_path / "log.key").chmod(0o640)
    with pytest.raises(KeyRefused, match="chmod 600"):
        FileSigner.from_file(tmp_path / "log.key")
    (tmp_path / "log.key").chmod(0o600)
    (tmp_path / "log.key").write_bytes(KEY + b"\n")
    with pytest.raises(KeyRefused, match="32 bytes"):
        FileSigner.from_file(tmp_path / "log.key")
    with pytest.raises(KeyRefused, match="create"):
        LocalKey.from_file(tmp_path / "absent.key")


def test_on_postgresql_the_writer_needs_no_right_to_change_the_past(tmp_path: Path) -> None:
    owner = fresh_database()
    writer = owner.replace("//gate@", "//audit_writer@")
    PostgresStore(owner).connect().close()
    with psycopg.connect(owner, autocommit=True) as raw:
        raw.execute("DO $$ BEGIN CREATE ROLE audit_writer LOGIN; EXCEPTION WHEN duplicate_object THEN NULL; END $$")
        raw.execute("GRANT SELECT, INSERT ON ALL TABLES IN SCHEMA public TO audit_writer")
        raw.execute("GRANT UPDATE ON audit_log, audit_key, audit_probe TO audit_writer")
        raw.execute("GRANT DELETE ON audit_open, audit_payload TO audit_writer")

    async def use(log: Log) -> None:
        await log.append(TENANT, intent("ev-0", payload=b"p", payload_key="ses_1"))
        await log.append(TENANT, outcome("out-0", "ev-0"))
        await log.erase(TENANT, "ses_1", erasure("er-0", "ses_1"))
        assert await log.healthy()

    with_log(PostgresStore(writer), tmp_path, use)
    with psycopg.connect(writer, autocommit=True) as raw:
        for sql in (
            "DELETE FROM audit_entry",
            "UPDATE audit_entry SET kind = 'config'",
            "TRUNCATE audit_entry",
            "DROP TRIGGER audit_entry_fixed ON audit_entry",
            "ALTER TABLE audit_entry DISABLE TRIGGER ALL",
            "DROP INDEX audit_entry_prev",
            "DELETE FROM audit_key",
            "SET session_replication_role = replica",
        ):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                raw.execute(sql)


def test_a_halted_log_refuses_until_the_next_start(store: Store, tmp_path: Path) -> None:
    async def halted(log: Log) -> None:
        await log.append(TENANT, intent("ev-0"))
        log.halt("the published log has 9 records that the store lacks")
        with pytest.raises(LogUnavailable, match="9 records that the store lacks"):
            await log.append(TENANT, intent("ev-1"))
        assert not await log.healthy()
        assert await log.find(TENANT, "ev-0") is not None

    async def again(log: Log) -> None:
        await log.append(TENANT, intent("ev-1"))

    with_log(store, tmp_path, halted)
    with_log(store, tmp_path, again)
