"""When disk or database fail: nothing is promised, nothing promised is lost, and the log recovers by itself."""

import asyncio
import contextlib
import resource
import shutil
import sqlite3
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import pytest

from audit.chain import Wish
from audit.errors import DuplicateEvent, LogUnavailable
from audit.log import Log, _expire
from audit.postgres import PostgresStore
from audit.source import Folder
from audit.sqlite import MemoryStore, SqliteSession, SqliteStore
from audit.store import Session, Store
from audit.verify import verify
from tests.parts import fresh_database
from tests.unit.audit.room import ORIGIN, TENANT, intent, open_log, publisher

Connect = Callable[[Store], Session]


def run_log(store: Store, folder: Path, use: Callable[[Log], object]) -> None:
    async def main() -> None:
        log = open_log(store, folder)
        await log.start()
        try:
            await use(log)  # type: ignore[misc]
        finally:
            await log.aclose()

    asyncio.run(main())


def test_a_locked_database_refuses_and_then_recovers(tmp_path: Path, connect: Connect) -> None:
    store = SqliteStore(tmp_path / "audit.db", busy_seconds=0.05)

    async def use(log: Log) -> None:
        await log.append(TENANT, intent("ev-0"))
        blocker = connect(store)
        blocker.begin()
        with pytest.raises(LogUnavailable, match="locked"):
            await log.append(TENANT, intent("ev-1"))
        assert not await log.healthy()
        blocker.rollback()
        assert await log.healthy()
        assert (await log.append(TENANT, intent("ev-1"))).seq == 1

    run_log(store, tmp_path, use)


def test_a_writer_that_hangs_refuses_in_time(tmp_path: Path, connect: Connect) -> None:
    store = SqliteStore(tmp_path / "audit.db", busy_seconds=30)

    async def main() -> None:
        log = open_log(store, tmp_path, commit_seconds=0.05)
        await log.start()
        blocker = connect(store)
        blocker.begin()
        with pytest.raises(LogUnavailable, match=r"no durable write within 0\.05 s"):
            await log.append(TENANT, intent("ev-0"))
        blocker.rollback()
        await log.aclose()

    asyncio.run(main())


@pytest.mark.parametrize("detached", [False, True])
def test_what_ran_out_of_time_in_the_queue_is_never_written(tmp_path: Path, connect: Connect, detached: bool) -> None:
    store = SqliteStore(tmp_path / "audit.db", busy_seconds=60)
    inside, go_on = threading.Event(), threading.Event()

    @contextlib.contextmanager
    def held(_: int) -> Iterator[None]:
        inside.set()
        go_on.wait()
        yield

    async def main() -> None:
        log = open_log(store, tmp_path, commit_seconds=3_600, timed=held)
        await log.start()
        first = asyncio.ensure_future(log.append(TENANT, intent("ev-0")))
        await asyncio.to_thread(inside.wait)
        late = asyncio.ensure_future(log.append(TENANT, intent("ev-1"), detached=detached))
        while not log._writer.waiting:  # noqa: ASYNC110 - until it is queued, behind the batch that is being written
            await asyncio.sleep(0)
        [future] = [
            future for wish, future in log._futures.items() if isinstance(wish, Wish) and wish.draft.id == "ev-1"
        ]
        _expire(future, 3_600)
        with pytest.raises(LogUnavailable):
            await late
        go_on.set()
        assert (await first).seq == 0
        await log.aclose()
        assert set(connect(store).places(ORIGIN, ["ev-0", "ev-1"])) == {"ev-0"}

    asyncio.run(main())


@contextlib.contextmanager
def small_disk(folder: Path) -> Iterator[None]:
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", folder], check=False, capture_output=True
    )
    if mounted.returncode:
        pytest.skip("mounting a small file system needs root; the file size limit test covers the rest")
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", folder], check=True)


async def fill_and_recover(log: Log, fill: Callable[[], object], free: Callable[[], object]) -> None:
    await log.append(TENANT, intent("ev-0", payload=b"first", payload_key="ses_1"))
    fill()
    refused = 0
    for number in range(40):
        try:
            await log.append(TENANT, intent(f"full-{number}", payload=bytes(20_000), payload_key="ses_1"))
        except LogUnavailable:
            refused += 1
    assert refused > 0
    free()
    assert await log.healthy()
    accepted = [entry.id for entry in await log.read(TENANT, limit=100)]
    assert len(accepted) == 1 + 40 - refused
    assert (await log.append(TENANT, intent("ev-1"))).seq == len(accepted)


def test_a_full_disk_refuses_and_then_recovers(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    with small_disk(disk):
        filler = disk / "filler"

        def fill() -> None:
            with filler.open("wb", buffering=0) as file, contextlib.suppress(OSError):
                while True:
                    file.write(bytes(4096))

        async def use(log: Log) -> None:
            await fill_and_recover(log, fill, filler.unlink)

        store = SqliteStore(disk / "audit.db")
        run_log(store, tmp_path, use)
        publisher(store, tmp_path).publish_all()
    assert verify(Folder(tmp_path / "log")).ok


def test_a_file_that_may_not_grow_refuses_and_then_recovers(tmp_path: Path) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)

    def fill() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, hard))

    def free() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))

    async def use(log: Log) -> None:
        try:
            await fill_and_recover(log, fill, free)
        finally:
            free()

    store = SqliteStore(tmp_path / "audit.db")
    run_log(store, tmp_path, use)
    publisher(store, tmp_path).publish_all()
    assert verify(Folder(tmp_path / "log")).ok


def test_a_lost_connection_refuses_and_then_recovers(tmp_path: Path) -> None:
    url = fresh_database()

    async def use(log: Log) -> None:
        await log.append(TENANT, intent("ev-0"))
        with psycopg.connect(url, autocommit=True) as killer:
            killer.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE datname = current_database() AND pid <> pg_backend_pid()"
            )
        with pytest.raises(LogUnavailable):
            await log.append(TENANT, intent("ev-1"))
        assert (await log.append(TENANT, intent("ev-1"))).seq == 1
        with pytest.raises(LogUnavailable):
            await log.find(TENANT, "ev-1")
        assert await log.find(TENANT, "ev-1") is not None

    run_log(PostgresStore(url), tmp_path, use)


def test_a_database_that_comes_back_is_used_again(tmp_path: Path) -> None:
    folder = tmp_path / "volume"
    folder.mkdir()

    async def use(log: Log) -> None:
        shutil.move(folder, tmp_path / "unmounted")
        log._writer._drop()
        with pytest.raises(LogUnavailable):
            await log.append(TENANT, intent("ev-0"))
        shutil.move(tmp_path / "unmounted", folder)
        assert (await log.append(TENANT, intent("ev-0"))).seq == 0

    run_log(SqliteStore(folder / "audit.db"), tmp_path, use)


class LostAnswer(SqliteStore):
    """A database whose answer to COMMIT gets lost: `after` the commit was durable, or before it happened."""

    def __init__(self, path: Path, *, after: bool) -> None:
        super().__init__(path)
        self.after, self.armed = after, False

    def connect(self) -> Session:
        session = super().connect()
        assert isinstance(session, SqliteSession)
        real, store = session.commit, self

        def commit() -> None:
            if store.armed and not store.after:
                store.armed = False
                raise sqlite3.OperationalError("disk I/O error")
            real()
            if store.armed:
                store.armed = False
                raise sqlite3.OperationalError("disk I/O error")

        session.commit = commit  # type: ignore[method-assign]
        return session


@pytest.mark.parametrize("after", [True, False])
def test_records_in_doubt_are_looked_up_by_their_event_id(tmp_path: Path, after: bool) -> None:
    store = LostAnswer(tmp_path / "audit.db", after=after)

    async def main() -> None:
        log = open_log(store, tmp_path)
        await log.start()
        first = await log.append(TENANT, intent("ev-0"))
        await log.aclose()

        log = open_log(store, tmp_path)
        drafts = [intent(event_id) for event_id in ("ev-0", "ev-1", "ev-2", "ev-1")]
        waiting = [asyncio.ensure_future(log.append(TENANT, draft)) for draft in drafts]
        await asyncio.sleep(0)
        store.armed = True
        await log.start()  # the writer takes all four in one transaction
        answers = await asyncio.gather(*waiting, return_exceptions=True)
        stored = [entry.receipt for entry in await log.read(TENANT, limit=9)]
        assert isinstance(answers[0], DuplicateEvent)
        assert answers[0].receipt == first
        if after:
            assert answers[1:3] == stored[1:]
            assert isinstance(answers[3], DuplicateEvent)
            assert answers[3].receipt == stored[1]
        else:
            assert [type(answer) for answer in answers[1:]] == [LogUnavailable] * 3
            assert stored == [first]
        assert (await log.append(TENANT, intent("ev-9"))).seq == len(stored)
        await log.aclose()

    asyncio.run(main())


def test_a_failover_to_a_copy_that_lacks_durable_records_stops_the_log(tmp_path: Path) -> None:
    path = tmp_path / "audit.db"

    def copy(source: Path, target: Path) -> None:
        with contextlib.closing(sqlite3.connect(source)) as one, contextlib.closing(sqlite3.connect(target)) as other:
            one.backup(other)

    async def use(log: Log) -> None:
        await log.append(TENANT, intent("ev-0"))
        copy(path, tmp_path / "stale.db")
        await log.append(TENANT, intent("ev-1"))
        copy(tmp_path / "stale.db", path)
        for event_id in ("ev-2", "ev-3"):
            with pytest.raises(LogUnavailable, match="no longer has the 2 records"):
                await log.append(TENANT, intent(event_id))
        assert not [entry for entry in await log.read(TENANT, limit=9) if entry.id != "ev-0"]

    run_log(SqliteStore(path), tmp_path, use)


def test_a_defect_in_the_writer_answers_its_callers_and_does_not_end_it(
    memory: MemoryStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def use(log: Log) -> None:
        with monkeypatch.context() as patch:
            patch.setattr(SqliteSession, "standing", None)
            with pytest.raises(LogUnavailable, match="TypeError"):
                await log.append(TENANT, intent("ev-0"))
        assert (await log.append(TENANT, intent("ev-0"))).seq == 0

    run_log(memory, tmp_path, use)
