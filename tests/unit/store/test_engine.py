"""Store: transactions, lanes, failures and recovery, on both databases."""

import asyncio
import contextlib
import resource
import sqlite3
import stat
import subprocess
import sys
import threading
import traceback
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from sqlalchemy import delete, func, insert, select

from broker.errors import BadRequest, Conflict, StoreUnavailable
from broker.store import Connection, Store, Timeouts
from broker.store.engine import HOLDS_A_CHECKPOINT
from broker.store.tables import lease, limit_counter
from tests.stores import KINDS, fresh_tenant, fresh_url, open_store

IMPATIENT = Timeouts(lock_ms=50, statement_ms=300, connect_s=2)


@pytest.fixture(params=KINDS)
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    opened = open_store(request.param, tmp_path)
    yield opened
    opened.close()


def put(key: str, fence: int = 1) -> object:
    def query(connection: Connection) -> None:
        connection.execute(insert(lease).values(tenant="t", key=key, holder="h", fence=fence, until=0))

    return query


def keys(connection: Connection) -> list[str]:
    return list(connection.execute(select(lease.c.key).order_by(lease.c.key)).scalars())


@pytest.mark.parametrize(
    "url",
    [
        "mysql://h/d",
        "sqlite://",
        "sqlite:///:memory:",
        "sqlite+aiosqlite:///x.db",
        "nonsense",
        "postgresql://h/d",
        "sqlite:///x.db?mode=ro",
    ],
)
def test_a_database_url_of_another_form_is_refused_with_the_forms_there_are(url: str) -> None:
    with pytest.raises(BadRequest) as refused:
        Store(url)
    assert refused.value.error_code == "config.database_url"
    assert "postgresql+psycopg://" in refused.value.error_remedy


def test_what_a_query_wrote_is_there_for_the_next_reader(store: Store) -> None:
    async def main() -> tuple[list[str], list[str]]:
        await store.write(put("a"))
        await store.write(put("b"), durable=False)
        return await store.read(keys), await store.glance(keys)

    assert asyncio.run(main()) == (["a", "b"], ["a", "b"])


def test_a_query_that_raises_leaves_nothing(store: Store) -> None:
    def broken(connection: Connection) -> None:
        put("a")(connection)
        raise LookupError

    async def main() -> list[str]:
        with pytest.raises(LookupError):
            await store.write(broken)
        return await store.read(keys)

    assert asyncio.run(main()) == []


def test_a_reader_cannot_write(store: Store) -> None:
    async def main() -> list[str]:
        for lane in (store.read, store.glance):
            with pytest.raises(StoreUnavailable):
                await lane(put("a"))
        return await store.read(keys)

    assert asyncio.run(main()) == []


def test_a_reader_sees_one_snapshot_while_others_write(store: Store) -> None:
    inside, written = threading.Event(), threading.Event()

    def twice(connection: Connection) -> tuple[list[str], list[str]]:
        first = keys(connection)
        inside.set()
        assert written.wait(60)
        return first, keys(connection)

    async def main() -> tuple[list[str], list[str]]:
        reading = asyncio.create_task(store.read(twice))
        await asyncio.to_thread(inside.wait, 60)
        await store.write(put("a"))
        written.set()
        return await reading

    assert asyncio.run(main()) == ([], [])


def test_a_broken_constraint_is_a_conflict_and_tells_no_values(store: Store) -> None:
    secret = fresh_tenant()  # any word that stands in no source line

    async def main() -> Conflict:
        await store.write(put(secret))
        with pytest.raises(Conflict) as refused:
            await store.write(put(secret))
        return refused.value

    refused = asyncio.run(main())
    assert refused.error_code == "store.constraint"
    shown = "".join(traceback.format_exception(refused))
    assert secret not in shown
    assert "INSERT" not in shown
    assert "IntegrityError" in shown or "UniqueViolation 23505" in shown


def test_a_value_that_no_database_can_store_is_the_callers_mistake(store: Store) -> None:
    async def main() -> None:
        with pytest.raises(BadRequest):
            await store.write(put("lone \ud800 surrogate"))
        if store.dialect == "postgresql":
            with pytest.raises(BadRequest):
                await store.write(put("nul \x00"))

    asyncio.run(main())


def test_more_calls_than_may_wait_are_refused_and_the_rest_are_served(tmp_path: Path) -> None:
    store = open_store("sqlite", tmp_path, max_waiting=2)
    go = threading.Event()

    async def main() -> list[object]:
        calls = [asyncio.create_task(store.write(lambda _c: go.wait(60))) for _ in range(3)]
        await asyncio.wait(calls, return_when=asyncio.FIRST_COMPLETED)
        go.set()
        return await asyncio.gather(*calls, return_exceptions=True)

    answers = asyncio.run(main())
    store.close()
    assert [type(answer) for answer in answers] == [bool, bool, StoreUnavailable]


def test_the_files_of_a_new_database_are_for_their_owner_only(tmp_path: Path) -> None:
    open_store("sqlite", tmp_path).close()
    assert {stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()} == {0o600}


def test_a_folder_that_is_not_there_is_an_unavailable_store(tmp_path: Path) -> None:
    with pytest.raises(StoreUnavailable):
        Store(f"sqlite:///{tmp_path}/none/gate.db").migrate()


def test_a_locked_sqlite_file_is_unavailable_and_serves_again_when_freed(tmp_path: Path) -> None:
    store = open_store("sqlite", tmp_path, timeouts=IMPATIENT)
    others = [sqlite3.connect(path, isolation_level=None) for path in tmp_path.glob("*.db")]
    assert len(others) == 2
    for other in others:
        other.execute("BEGIN IMMEDIATE")

    def tick(connection: Connection) -> None:
        connection.execute(insert(limit_counter).values(tenant="t", key="k", tat_ns=1))

    async def while_locked() -> None:
        for call in (store.write(put("a")), store.write(put("a"), durable=False), store.count(tick)):
            with pytest.raises(StoreUnavailable) as refused:
                await call
            assert refused.value.retry_after
        assert await store.read(keys) == []

    asyncio.run(while_locked())
    for other in others:
        other.execute("ROLLBACK")
        other.close()

    async def after() -> list[str]:
        await store.write(put("a"))
        await store.count(tick)
        return await store.read(keys)

    assert asyncio.run(after()) == ["a"]
    store.close()


def test_a_row_that_another_holds_is_unavailable_on_postgresql_and_free_afterwards(tmp_path: Path) -> None:
    store = open_store("postgresql", tmp_path)
    target = store._lanes["write"].engine.url
    url = target.set(drivername="postgresql").render_as_string(hide_password=False)
    hasty = Store(target.render_as_string(hide_password=False), timeouts=IMPATIENT)
    remove = delete(lease)

    async def main() -> list[str]:
        await store.write(put("a"))
        with psycopg.connect(url) as other:
            other.execute("LOCK TABLE lease IN ACCESS EXCLUSIVE MODE")
            with pytest.raises(StoreUnavailable):
                await hasty.write(lambda c: c.execute(remove).rowcount)
            with pytest.raises(StoreUnavailable):
                await hasty.read(keys)
        return await store.read(keys)

    assert asyncio.run(main()) == ["a"]
    hasty.close()
    store.close()


def test_cut_connections_to_postgresql_are_replaced_without_anybody_noticing(tmp_path: Path) -> None:
    store = open_store("postgresql", tmp_path)
    url = store._lanes["write"].engine.url.set(drivername="postgresql").render_as_string(hide_password=False)

    async def main() -> list[str]:
        await store.write(put("a"))
        with psycopg.connect(url, autocommit=True) as other:
            other.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                "WHERE datname = current_database() AND pid <> pg_backend_pid()"
            )
        await store.write(put("b"))
        return await store.read(keys)

    assert asyncio.run(main()) == ["a", "b"]
    store.close()


def test_a_connection_cut_inside_a_transaction_is_unavailable_and_leaves_nothing(tmp_path: Path) -> None:
    store = open_store("postgresql", tmp_path)

    def cut(connection: Connection) -> None:
        put("a")(connection)
        connection.execute(select(func.pg_terminate_backend(func.pg_backend_pid())))

    async def main() -> list[str]:
        with pytest.raises(StoreUnavailable):
            await store.write(cut)
        return await store.read(keys)

    assert asyncio.run(main()) == []
    store.close()


def test_an_absent_postgresql_is_unavailable(tmp_path: Path) -> None:
    store = Store("postgresql+psycopg://gate@127.0.0.1:1/none")
    with pytest.raises(StoreUnavailable):
        store.migrate()
    with pytest.raises(StoreUnavailable):
        asyncio.run(store.ready())


FULL_DISK = """
import asyncio, resource, signal, sys
from sqlalchemy import insert
from broker.errors import StoreUnavailable
from broker.store import Store
from broker.store.tables import policy_bundle, limit_counter

signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
store = Store(sys.argv[1])

def put(name, size=200_000):
    return lambda c: c.execute(insert(policy_bundle).values(digest=name, revision="", signer="", bundle=bytes(size)))

async def fill():
    for n in range(100):
        try:
            await store.write(put(str(n)))
        except StoreUnavailable:
            return n
    return -1

async def main():
    await store.write(put("first", 10))
    resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, resource.RLIM_INFINITY))
    full = await fill()
    assert 0 <= full < 20, full
    for n in range(100):  # the counters have a file of their own, and reading goes on
        await store.count(lambda c: c.execute(insert(limit_counter).values(tenant="t", key=str(n), tat_ns=n)))
    before = await store.read(lambda c: c.exec_driver_sql("SELECT count(*) FROM policy_bundle").scalar_one())
    assert before == full + 1, (before, full)
    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    await store.write(put("after"))
    assert await store.read(lambda c: c.exec_driver_sql("PRAGMA integrity_check").scalar_one()) == "ok"
    print("recovered")

asyncio.run(main())
"""


def test_a_full_disk_is_unavailable_loses_nothing_and_recovers_by_itself(tmp_path: Path) -> None:
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[1] == resource.RLIM_INFINITY
    url = fresh_url("sqlite", tmp_path)
    opened = Store(url)
    opened.migrate()
    opened.close()
    ran = subprocess.run(
        [sys.executable, "-c", FULL_DISK, url], capture_output=True, text=True, timeout=60, check=False
    )
    assert ran.stdout == "recovered\n", ran.stderr


def test_a_lost_counter_file_is_made_anew_and_the_state_stays(tmp_path: Path) -> None:
    store = open_store("sqlite", tmp_path)
    asyncio.run(store.write(put("a")))
    store.close()
    for path in tmp_path.glob("*-counters*"):
        path.unlink()
    again = Store(str(store._lanes["write"].engine.url))
    again.migrate()
    assert asyncio.run(again.read(keys)) == ["a"]
    assert asyncio.run(again.ready())
    again.close()


def test_a_query_that_fails_in_a_lane_that_nobody_waits_for_leaves_nothing(store: Store) -> None:
    def failing(connection: Connection) -> None:
        put("a")(connection)
        raise KeyError

    async def main() -> list[str]:
        for _ in range(2):
            with pytest.raises(KeyError):
                await store.hold(failing)
        await store.hold(put("b"))
        with pytest.raises(Conflict):
            await store.hold(put("b"))
        await store.hold(put("c"), gives_back=True)
        return await store.glance(keys)

    assert asyncio.run(main()) == ["b", "c"]


def test_holds_are_kept_however_often_they_pass_by_the_writer(tmp_path: Path) -> None:
    store = open_store("sqlite", tmp_path)

    async def main() -> int:
        for number in range(2 * HOLDS_A_CHECKPOINT + 1):
            await store.hold(put(f"k{number}"))
        return len(await store.read(keys))

    assert asyncio.run(main()) == 2 * HOLDS_A_CHECKPOINT + 1
    store.close()


def test_a_hold_waits_on_the_writers_thread_while_somebody_else_writes(tmp_path: Path) -> None:
    store = open_store("sqlite", tmp_path)
    path = str(store._lanes["write"].engine.url.database)

    async def main() -> list[str]:
        await store.hold(put("a"))
        with contextlib.closing(sqlite3.connect(path, isolation_level=None, check_same_thread=False)) as other:
            other.execute("BEGIN IMMEDIATE")
            waiting = asyncio.create_task(store.hold(put("b")))
            await asyncio.sleep(0)
            assert store._lanes["soft"].waiting == 1
            other.execute("COMMIT")
            await waiting
        return await store.read(keys)

    assert asyncio.run(main()) == ["a", "b"]
    store.close()
