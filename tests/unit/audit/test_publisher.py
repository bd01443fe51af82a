"""Publishing: idempotent, safe to stop anywhere, and never over a history that it contradicts."""

import asyncio
import contextlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from audit.checkpoint import parse_checkpoint
from audit.errors import HistoryConflict, LogUnavailable
from audit.note import parse_vkey
from audit.publisher import Publisher
from audit.signer import FileSigner
from audit.source import Folder
from audit.sqlite import SqliteStore
from audit.store import Store
from audit.verify import verify
from tests.unit.audit.room import NAME, ORIGIN, TENANT, intent, open_log, publisher


def grow(store: Store, folder: Path, size: int, tenant: str = TENANT) -> None:
    """Append until the tenant's log has `size` records."""

    async def main() -> None:
        log = open_log(store, folder)
        await log.start()
        have = len(await log.read(tenant, limit=10_000))
        await asyncio.gather(*(log.append(tenant, intent(f"{tenant}-{n}")) for n in range(have, size)))
        await log.aclose()

    asyncio.run(main())


def size_of(folder: Path) -> int:
    return parse_checkpoint((folder / "checkpoint").read_bytes())[0].size


def assert_verified(folder: Path) -> None:
    vkey = parse_vkey(folder.with_name(folder.name + ".vkey").read_text())
    report = verify(Folder(folder), vkey)
    assert report.ok, report.as_text()


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_each_size_is_published_and_verified(store: Store, tmp_path: Path) -> None:
    grow(store, tmp_path, 0)
    for size in (0, 1, 5, 256, 257, 700):
        grow(store, tmp_path, size)
        publisher(store, tmp_path).publish_all()
        assert size_of(tmp_path / "log") == size
        assert_verified(tmp_path / "log")


def test_publishing_again_changes_nothing(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "audit.db")
    grow(store, tmp_path, 300)
    publisher(store, tmp_path).publish_all()
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "log").rglob("*")}
    publisher(store, tmp_path).publish_all()
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "log").rglob("*")} == before


def test_other_tenants_are_published_beside_the_default_one(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "audit.db")
    grow(store, tmp_path, 3)
    grow(store, tmp_path, 2, "acme")
    assert set(publisher(store, tmp_path).publish_all()) == {ORIGIN, f"{NAME}/acme"}
    assert_verified(tmp_path / "log")
    assert_verified(tmp_path / "logs" / NAME / "acme")
    assert size_of(tmp_path / "logs" / NAME / "acme") == 2


def test_partial_tiles_go_once_the_full_tile_is_published(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "audit.db")
    for size in (5, 9):
        grow(store, tmp_path, size)
        publisher(store, tmp_path).publish_all()
    names = set(files(tmp_path / "log"))
    assert {"tile/0/000.p/5", "tile/0/000.p/9", "tile/entries/000.p/9"} <= names
    grow(store, tmp_path, 256)
    publisher(store, tmp_path).publish_all()
    assert set(files(tmp_path / "log")) == {"checkpoint", "tile/0/000", "tile/1/000.p/1", "tile/entries/000"}


class PowerCut(BaseException):
    """Ends the program at one system call."""


@contextlib.contextmanager
def stop_at(monkeypatch: pytest.MonkeyPatch, call: int) -> Iterator[list[int]]:
    """Raise at the n-th fsync or rename; counts the calls."""
    count = [0]
    real_fsync, real_replace = os.fsync, Path.replace

    def step() -> None:
        count[0] += 1
        if count[0] == call:
            raise PowerCut

    def fsync(descriptor: int) -> None:
        step()
        real_fsync(descriptor)

    def replace(self: Path, target: Path) -> Path:
        step()
        return real_replace(self, target)

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", fsync)
        patch.setattr(Path, "replace", replace)
        yield count


def test_a_stop_at_any_moment_leaves_a_log_that_verifies_and_continues(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = SqliteStore(tmp_path / "audit.db")
    grow(store, tmp_path, 250)
    publisher(store, tmp_path).publish_all()
    grow(store, tmp_path, 260)
    whole = tmp_path / "whole"
    call = 0
    while True:
        call += 1
        shutil.copytree(tmp_path / "log", whole / "log")
        shutil.copy(tmp_path / "log.vkey", whole / "log.vkey")
        shutil.copytree(tmp_path / "keys", whole / "keys")
        with stop_at(monkeypatch, call) as count:
            with contextlib.suppress(PowerCut):
                publisher(store, whole).publish_all()
            stopped = count[0] == call
        assert_verified(whole / "log")
        publisher(store, whole).publish_all()
        assert size_of(whole / "log") == 260
        assert_verified(whole / "log")
        shutil.rmtree(whole)
        if not stopped:
            break
    assert call > 20


def test_a_store_that_contradicts_the_published_log_is_not_published(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "audit.db")
    grow(store, tmp_path, 20)
    publisher(store, tmp_path).publish_all()
    before = files(tmp_path / "log")
    for size in (5, 20, 30):
        elsewhere = tmp_path / f"elsewhere-{size}"
        forked = SqliteStore(tmp_path / f"forked-{size}.db")
        grow(forked, elsewhere, size)
        signer = FileSigner.from_file(elsewhere / "keys" / "log.key")
        with pytest.raises(HistoryConflict, match="rolled back" if size == 5 else "rewritten or forked"):
            Publisher(changed(forked), signer, tmp_path, ORIGIN).publish_all()
    assert files(tmp_path / "log") == before


def changed(store: SqliteStore) -> SqliteStore:
    """Let somebody with rights on the database change record 3."""
    session = store.connect()
    session.rows("DROP TRIGGER audit_entry_no_update")
    session.rows("UPDATE audit_entry SET leaf = zeroblob(32) WHERE seq = 3")
    sql = "CREATE TRIGGER audit_entry_no_update BEFORE UPDATE ON audit_entry"
    session.rows(f"{sql} BEGIN SELECT RAISE(ABORT, 'the audit log is append-only'); END")
    session.close()
    return store


def test_the_signer_refuses_what_contradicts_its_memory_even_without_the_folder(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "audit.db")
    grow(store, tmp_path, 20)
    publisher(store, tmp_path).publish_all()
    shutil.rmtree(tmp_path / "log")
    with pytest.raises(HistoryConflict, match="rewritten or forked"):
        publisher(changed(store), tmp_path).publish_all()


def test_the_folder_of_another_log_or_key_is_left_alone(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "audit.db")
    grow(store, tmp_path, 3)
    publisher(store, tmp_path).publish_all()
    stranger = FileSigner.create(tmp_path / "keys" / "stranger.key", bytes(32))
    with pytest.raises(HistoryConflict, match="under this key"):
        Publisher(store, stranger, tmp_path, ORIGIN).publish_all()
    (tmp_path / "log" / "checkpoint").write_bytes(b"damaged")
    with pytest.raises(HistoryConflict, match="restore it"):
        publisher(store, tmp_path).publish_all()


def test_a_store_or_folder_that_cannot_be_used_is_said_so(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "audit.db")
    grow(store, tmp_path, 3)
    (tmp_path / "log").write_bytes(b"a file where the folder should be")
    with pytest.raises(LogUnavailable):
        publisher(store, tmp_path).publish_all()
    with pytest.raises(LogUnavailable):
        publisher(SqliteStore(tmp_path / "no" / "audit.db"), tmp_path).publish_all()
