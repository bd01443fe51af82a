"""A database that is locked, full, read-only or away: nothing happens, the answer says why, and it heals by itself."""

import asyncio
import contextlib
import os
import sqlite3
import subprocess
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import psycopg
import pytest

from audit.sqlite import SqliteStore
from broker.errors import BrokerError
from broker.store.engine import Store, Timeouts
from broker.wiring import watching
from tests.parts import fresh_database
from tests.sim.world import MODEL, World, world
from tests.stores import PATIENT

RESTART = "local.process.restart"


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Wait a tenth of a second for a lock, not seconds: what happens then is the same."""
    monkeypatch.setattr(SqliteStore.__init__, "__kwdefaults__", {"busy_seconds": 0.1})
    monkeypatch.setitem(Store.__init__.__kwdefaults__, "timeouts", Timeouts(lock_ms=100, statement_ms=1_000))


@contextlib.contextmanager
def locked(database: Path) -> Iterator[None]:
    """Another process holds the write lock."""
    other = sqlite3.connect(database, isolation_level=None, timeout=60)
    other.execute("BEGIN EXCLUSIVE")
    try:
        yield
    finally:
        other.execute("ROLLBACK")
        other.close()


async def everything_refused(it: World, agent: dict[str, str], session: str, code: str) -> None:
    """A read, an automatic write and a model call are refused with ``code``, and nothing happened."""
    model = {"model": MODEL, "max_tokens": 10, "messages": [{"role": "user", "content": "hello"}]}
    answers = await asyncio.gather(
        it.act(agent, "local.process.status", session),
        it.act(agent, RESTART, session, env="staging"),
        it.client.post("/llm/anthropic/v1/messages", json=model, headers={**agent, "Wicketgate-Session": session}),
        it.client.post(
            "/llm/anthropic/v1/messages",
            json={**model, "stream": True},
            headers={**agent, "Wicketgate-Session": session},
        ),
    )
    for answer in answers:
        assert answer.status_code == 503, answer.text
        assert int(answer.headers["retry-after"]) >= 1
    for answer in answers[:2]:
        assert answer.json()["code"] == code
        assert "nothing was done" in answer.json()["title"]
    assert [answer.json()["wicketgate"]["code"] for answer in answers[2:]] == [code, code]
    assert it.restarts() == 0
    assert it.models.seen == []
    assert not [seen for seen in it.supervisor.server.seen if seen.method == "POST"]


async def works(it: World, agent: dict[str, str], session: str, restarts: int) -> None:
    """The same requests go through, with nobody's help."""
    for _ in range(1_200):
        answer = await it.act(agent, "local.process.status", session)
        if answer.status_code == 200:
            break
        assert answer.status_code == 503, answer.text
        await asyncio.sleep(0.05)
    assert answer.status_code == 200
    done = await it.act(agent, RESTART, session, env="staging")
    assert done.status_code == 200, done.text
    assert it.restarts() == restarts
    it.clock.advance(1)  # Readiness is looked at once a second.
    assert (await it.client.get("/readyz")).status_code == 200


async def missing(it: World) -> dict[str, str]:
    it.clock.advance(1)
    answer = await it.client.get("/readyz")
    assert answer.status_code == 503
    return dict(answer.json()["missing"])


def operators_see(it: World) -> dict[tuple[str, str], float]:
    """The gauges of readiness and of rows, by name and label."""
    rows = {"ready", "approvals", "approvals_oldest_timestamp_seconds", "incidents", "work", "kill_switches"}
    return {
        (sample.name, next(iter(sample.labels.values()))): sample.value
        for family in it.gate.telemetry.metrics.registry.collect()
        if family.name.removeprefix("wicketgate_") in rows
        for sample in family.samples
    }


@contextlib.asynccontextmanager
async def at_work(folder: Path, store_url: str = "") -> AsyncIterator[tuple[World, dict[str, str], str]]:
    async with world(folder, store_url=store_url) as it:
        agent = await it.agent()
        yield it, agent, await it.session(agent)


def test_a_locked_log_stops_everything_until_it_is_free(tmp_path: Path) -> None:
    async def main() -> None:
        async with at_work(tmp_path) as (it, agent, session):
            before = await it.records()
            with locked(it.data / "audit.db"):
                await everything_refused(it, agent, session, "audit.unavailable")
                assert set(await missing(it)) == {"log"}
                assert (await it.client.get("/livez")).status_code == 200
            await works(it, agent, session, 1)
            assert (await it.records())[: len(before)] == before

    asyncio.run(main())


def test_a_locked_state_lets_no_write_through(tmp_path: Path) -> None:
    async def main() -> None:
        async with at_work(tmp_path) as (it, agent, session):
            with locked(it.data / "gate.db"):
                for env in ("staging", "prod"):
                    answer = await it.act(agent, RESTART, session, env=env)
                    assert (answer.status_code, answer.json()["code"]) == (503, "store.unavailable")
                opened = await it.client.post(
                    "/v1/sessions", json={"intent": [{"kind": "task", "text": "x"}]}, headers={**agent, **it.key()}
                )
                assert opened.status_code == 503
                assert it.restarts() == 0
            await works(it, agent, session, 1)

    asyncio.run(main())


def test_locked_counters_let_nothing_through(tmp_path: Path) -> None:
    async def main() -> None:
        async with at_work(tmp_path) as (it, agent, session):
            with locked(it.data / "gate-counters.db"):
                await everything_refused(it, agent, session, "store.unavailable")
            await works(it, agent, session, 1)

    asyncio.run(main())


def test_an_approved_action_waits_for_the_log_and_then_runs_once(tmp_path: Path) -> None:
    async def main() -> None:
        async with at_work(tmp_path) as (it, agent, session):
            security, key = await it.person("security"), it.key()
            waiting = (await it.act(agent, RESTART, session, key=key)).json()
            real = it.gate.background.resume
            it.gate.background.resume = _nothing  # type: ignore[method-assign]
            assert (await it.review(security, waiting["approval"])).status_code == 200
            it.gate.background.resume = real  # type: ignore[method-assign]
            with locked(it.data / "audit.db"):
                assert (await it.act(agent, RESTART, session, key=key)).status_code == 503
                assert it.restarts() == 0
            again = await it.outcome(agent, waiting["action_id"])
            # It either runs now, once, or it is withdrawn and says so; it does not hang.
            said = again.json()
            assert (again.status_code, said.get("code", said["status"])) in {(200, "done"), (403, "approval.cancelled")}
            assert it.restarts() == (1 if again.status_code == 200 else 0)
            fresh = await it.act(agent, RESTART, session)
            assert fresh.status_code == 202, "its lease was given back"

    asyncio.run(main())


async def _nothing(_: object) -> None:
    return None


@pytest.mark.parametrize("part", ["audit.db", "gate.db"])
def test_an_effect_whose_end_cannot_be_stored_is_owed_its_outcome(tmp_path: Path, part: str) -> None:
    async def main() -> None:
        async with at_work(tmp_path) as (it, agent, session):
            arrived, released = asyncio.Event(), asyncio.Event()
            restart = it.supervisor.restart

            async def held(child: object, asked: dict[str, object]) -> bytes:
                arrived.set()
                await released.wait()
                return await restart(child, asked)  # type: ignore[arg-type]

            it.supervisor.restart = held  # type: ignore[method-assign, assignment]
            key = it.key()
            answer = asyncio.create_task(it.act(agent, RESTART, session, env="staging", key=key))
            await arrived.wait()
            with locked(it.data / part):
                released.set()
                first = await answer
                assert it.restarts() == 1
                assert first.status_code in {200, 503}
                if first.status_code == 503:
                    assert "nothing was done" not in first.text, "the effect stands, and the answer must not deny it"
            action = next(record["id"] for record in reversed(await it.records()) if record["kind"] == "intent")
            for _ in range(1_200):
                state = await it.client.get(f"/v1/actions/{action}", headers=agent)
                if state.status_code != 202:
                    break
                await asyncio.sleep(0.05)
            assert (state.status_code, state.json()["status"]) == (200, "done"), state.text
            again = await it.act(agent, RESTART, session, env="staging", key=key)
            assert (again.status_code, again.json()["status"]) == (200, "done")
            assert it.restarts() == 1

    asyncio.run(main())


def test_an_approved_effect_whose_row_cannot_be_closed_is_done_all_the_same(tmp_path: Path) -> None:
    async def main() -> None:
        async with at_work(tmp_path) as (it, agent, session):
            arrived, released = asyncio.Event(), asyncio.Event()
            restart = it.supervisor.restart

            async def held(child: object, asked: dict[str, object]) -> bytes:
                arrived.set()
                await released.wait()
                return await restart(child, asked)  # type: ignore[arg-type]

            it.supervisor.restart = held  # type: ignore[method-assign, assignment]
            key, real = it.key(), it.gate.background.resume
            waiting = (await it.act(agent, RESTART, session, key=key)).json()
            it.gate.background.resume = _nothing  # type: ignore[method-assign]
            assert (await it.review(await it.person("security"), waiting["approval"])).status_code == 200
            # The requester itself uses the approval, and is told what came of it.
            asked_again = asyncio.create_task(it.act(agent, RESTART, session, key=key))
            await arrived.wait()
            with locked(it.data / "gate.db"):
                released.set()
                done = await asked_again
                assert (done.status_code, done.json()["status"]) == (200, "done"), done.text
                await it.gate.pipeline.drain()
                assert await it.gate.log.open_intents("default") == []
            it.gate.background.resume = real  # type: ignore[method-assign]
            await it.sweep()
            assert (await it.gate.approvals.get("default", waiting["approval"]["id"])).state == "done"
            assert it.restarts() == 1

    asyncio.run(main())


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of a few megabytes."""
    if os.geteuid() != 0:
        pytest.skip("mounting a small tmpfs needs root")
    folder = tmp_path / "data"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=12m,mode=0700", "tmpfs", folder], check=False, capture_output=True
    )
    if mounted.returncode:
        pytest.skip("this machine does not let us mount a tmpfs")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", folder], check=True)


def _fill(disk: Path) -> Path:
    """Write until not one more byte fits."""
    filler = disk / "filler"
    with filler.open("wb", buffering=0) as file:
        for size in (65_536, 4096, 1):
            with contextlib.suppress(OSError):
                while file.write(b"\0" * size):
                    pass
    return filler


def test_a_full_disk_stops_everything_until_there_is_room(tmp_path: Path, small_disk: Path) -> None:
    async def main() -> None:
        async with at_work(tmp_path) as (it, agent, session):
            filler = _fill(small_disk)
            for _ in range(200):
                # The write-ahead log may still have room in its last block.
                answer = await it.act(agent, "local.process.status", session)
                if answer.status_code != 200:
                    break
            assert answer.status_code == 503, answer.text
            restart = await it.act(agent, RESTART, session, env="staging")
            assert (restart.status_code, restart.json()["code"]) in {
                (503, "audit.unavailable"),
                (503, "store.unavailable"),
            }
            assert it.restarts() == 0
            assert "log" in await missing(it)
            filler.unlink()
            await works(it, agent, session, 1)

    asyncio.run(main())


def test_a_database_that_turns_read_only_or_drops_us_stops_everything_until_it_is_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(Store.__init__.__kwdefaults__, "timeouts", PATIENT)  # nobody holds a lock here
    url = fresh_database()
    name = url.rsplit("/", 1)[1]

    def admin(*statements: str) -> None:
        with psycopg.connect(url.rsplit("/", 1)[0] + "/postgres", autocommit=True) as connection:
            for statement in statements:
                connection.execute(statement.encode())

    drop = f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'"

    async def main() -> None:
        async with at_work(tmp_path, url.replace("postgresql://", "postgresql+psycopg://")) as (it, agent, session):
            await asyncio.to_thread(admin, f'ALTER DATABASE "{name}" SET default_transaction_read_only = on', drop)
            first = await it.act(agent, RESTART, session, env="staging")
            assert first.status_code == 503, first.text
            assert it.restarts() == 0
            assert "log" in await missing(it)
            await asyncio.to_thread(admin, f'ALTER DATABASE "{name}" SET default_transaction_read_only = off', drop)
            await works(it, agent, session, 1)
            await watching.count(it.gate)
            counted = operators_see(it)
            assert counted["wicketgate_ready", "store"] == counted["wicketgate_ready", "log"] == 1
            assert ("wicketgate_approvals", "waiting") in counted
            await asyncio.to_thread(admin, f'ALTER DATABASE "{name}" ALLOW_CONNECTIONS false', drop)
            gone = await it.act(agent, RESTART, session, env="staging")
            assert gone.status_code == 503, gone.text
            assert set(await missing(it)) >= {"log", "store"}
            assert it.restarts() == 1
            with pytest.raises(BrokerError):
                await watching.count(it.gate)
            counted = operators_see(it)
            assert counted["wicketgate_ready", "store"] == counted["wicketgate_ready", "log"] == 0
            assert counted["wicketgate_ready", "policy"] == 1
            assert {name for name, _ in counted} == {"wicketgate_ready"}, "what cannot be counted is not told"
            await asyncio.to_thread(admin, f'ALTER DATABASE "{name}" ALLOW_CONNECTIONS true')
            await works(it, agent, session, 2)
            await watching.count(it.gate)
            assert operators_see(it)["wicketgate_ready", "store"] == 1

    asyncio.run(main())


def test_what_is_not_ready_is_named(tmp_path: Path) -> None:
    async def main() -> None:
        async with world(tmp_path) as it:
            assert (await it.client.get("/readyz")).json() == {"ready": True, "missing": {}}
            snapshot, it.gate.policy._active = it.gate.policy._active, None
            assert set(await missing(it)) == {"policy"}
            agent = await it.agent()
            refused = await it.act(agent, "local.process.status")
            assert (refused.status_code, refused.json()["code"]) == (503, "policy.not_loaded")
            it.gate.policy._active = snapshot
            assert (await it.act(agent, "local.process.status")).status_code == 200

    asyncio.run(main())
