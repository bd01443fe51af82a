"""The vault's rows: first writer wins, shredding is final, nobody else's rows."""

import asyncio
from dataclasses import dataclass
from pathlib import Path

import pytest

from broker.clock import SeededClock
from broker.errors import NotFound
from broker.sessions import Opening, Sessions
from broker.store import Store, vault
from broker.store.vault import VaultTable
from tests.stores import agent, fresh_tenant, open_store


@dataclass(frozen=True)
class Row:
    token: str
    entity: str
    sealed: bytes


A = Row("EMAIL_A", "EMAIL", b"\x00one")
B = Row("EMAIL_B", "EMAIL", b"\xfftwo")


def test_the_first_key_of_a_session_stays(store: Store) -> None:
    table, tenant = VaultTable(store, Row), fresh_tenant()

    async def main() -> None:
        assert await table.session_key(tenant, "s") is None
        assert await table.put_session_key(tenant, "s", b"first") == b"first"
        assert await table.put_session_key(tenant, "s", b"second") == b"first"
        assert await table.session_key(tenant, "s") == b"first"

    asyncio.run(main())


def test_racing_replicas_agree_on_one_key(store: Store) -> None:
    table, tenant = VaultTable(store, Row), fresh_tenant()

    async def main() -> set[bytes]:
        racers = (table.put_session_key(tenant, "s", bytes([n])) for n in range(16))
        return set(await asyncio.gather(*racers))

    assert len(asyncio.run(main())) == 1


def test_a_token_keeps_its_first_row_and_rows_come_back_as_they_went_in(store: Store) -> None:
    table, tenant = VaultTable(store, Row), fresh_tenant()

    async def main() -> None:
        await table.put_session_key(tenant, "s", b"k")
        await table.put(tenant, "s", [B, A])
        await table.put(tenant, "s", [Row("EMAIL_A", "PERSON", b"other")])
        await table.put(tenant, "s", [])
        assert await table.load(tenant, "s") == [A, B]

    asyncio.run(main())


def test_a_shredded_session_has_neither_key_nor_rows_and_takes_no_more(store: Store) -> None:
    table, tenant = VaultTable(store, Row), fresh_tenant()

    async def main() -> None:
        for name in ("s", "t"):
            await table.put_session_key(tenant, name, b"k")
            await table.put(tenant, name, [A])
        await table.shred(tenant, "s")
        assert await table.session_key(tenant, "s") is None
        assert await table.load(tenant, "s") == []
        with pytest.raises(NotFound):
            await table.put(tenant, "s", [B])
        assert await table.load(tenant, "t") == [A]

    asyncio.run(main())


def test_a_shredded_key_is_not_left_in_a_free_page_of_the_file(tmp_path: Path) -> None:
    store = open_store("sqlite", tmp_path)
    table = VaultTable(store, Row)
    secret = b"wrapped-key-bytes-that-must-go"

    async def main() -> None:
        await table.put_session_key("t", "s", secret)
        await table.shred("t", "s")

    asyncio.run(main())
    store.close()  # the last connection moves the write-ahead log into the file
    assert not any(secret in path.read_bytes() for path in tmp_path.iterdir())


def test_sessions_that_ended_long_ago_are_due_for_shredding(store: Store) -> None:
    clock, tenant = SeededClock(), fresh_tenant()
    sessions, table, owner = Sessions(store, clock), VaultTable(store, Row), agent("agent-1", tenant)

    async def main() -> tuple[set[str], str]:
        ended = await sessions.open(owner, Opening((), 60))
        closed = await sessions.open(owner, Opening((), 9_000))
        running = await sessions.open(owner, Opening((), 9_000))
        for one in (ended, closed, running):
            await table.put_session_key(tenant, one.id, b"k")
        await sessions.close(owner, closed.id)
        clock.advance(100)
        before = clock.now_ns() // 10**9
        found = await store.read(lambda c: vault.due(c, before, 100))
        return {one for where, one in found if where == tenant} ^ {ended.id, closed.id}, running.id

    difference, _running = asyncio.run(main())
    assert difference == set()
