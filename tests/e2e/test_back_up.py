"""Back up under load, restore elsewhere: the log verifies, and nothing that is on record is done a second time."""

import asyncio
import contextlib
import shutil
import sqlite3
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tests.parts import POSTGRES_BIN, fresh_database
from tests.sim.world import World, world
from tests.unit.cli.test_host_commands import wicketgate

RESTART = "local.process.restart"
ACTIONS = 8
SQLITE = ("gate.db", "audit.db")
"""In this order: the log, taken last, knows everything that the state knows. Counters begin anew."""


def back_up(data: Path, url: str, to: Path) -> None:
    """As docs/operations.md says, while the gate runs: keys, the published log, then the database."""
    shutil.copytree(data / "keys", to / "keys")
    shutil.copytree(data / "log", to / "log", ignore=shutil.ignore_patterns(".*.tmp"))
    shutil.copy(data / "log.vkey", to / "log.vkey")
    if url:
        run("pg_dump", "--format=custom", f"--file={to / 'gate.dump'}", url.replace("+psycopg", ""))
        return
    for name in SQLITE:
        with (
            contextlib.closing(sqlite3.connect(data / name)) as running,
            contextlib.closing(sqlite3.connect(to / name)) as copy,
        ):
            running.backup(copy)
    if (data / "policy").exists():
        shutil.copytree(data / "policy", to / "policy")


def restore(backup: Path, to: Path) -> str:
    """Bring a back-up to life in another place; the address of its database, empty for SQLite."""
    shutil.copytree(backup, to, ignore=shutil.ignore_patterns("*.dump"))
    if not (backup / "gate.dump").exists():
        return ""
    url = fresh_database()
    run("pg_restore", "--no-owner", "--exit-on-error", f"--dbname={url}", str(backup / "gate.dump"))
    return url.replace("postgresql://", "postgresql+psycopg://")


def run(program: str, *arguments: str) -> None:
    done = subprocess.run([POSTGRES_BIN[-1] / program, *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@contextlib.asynccontextmanager
async def restored(it: World, folder: Path, backup: Path) -> AsyncIterator[World]:
    """A gate on what was backed up, with the targets of ``it``; ``it`` has stopped."""
    (folder / "restored").mkdir()
    url = await asyncio.to_thread(restore, backup, folder / "restored" / "data")
    settings = it.settings.model_copy(
        update={
            "gate": it.settings.gate.model_copy(update={"data": folder / "restored" / "data"}),
            "store": it.settings.store.model_copy(update={"url": url}),
        }
    )
    made = World(folder / "restored", it.clock, it.supervisor, it.models, settings, url, it.policies)
    await made.start()
    try:
        yield made
    finally:
        await made.stop()


def key(number: int) -> dict[str, str]:
    return {"Idempotency-Key": f"load-{number}"}


async def restart(it: World, session: str, number: int) -> dict[str, Any]:
    """Restart a process of staging, which needs nobody, under the key of ``number``."""
    it.clock.advance(1000)  # within policy's limit of writes on one resource
    answer = await it.act(await it.agent(), RESTART, session, env="staging", key=key(number))
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


def begun(records: list[dict[str, Any]]) -> set[str]:
    """Actions that the log says were begun."""
    return {str(one["id"]) for one in records if one["kind"] == "intent" and one["body"]["action"]["name"] == RESTART}


@pytest.mark.parametrize("database", ["sqlite", "postgresql"])
def test_a_back_up_under_load_restores_to_a_log_that_verifies_and_does_nothing_twice(
    tmp_path: Path, database: str
) -> None:
    url = fresh_database().replace("postgresql://", "postgresql+psycopg://") if database == "postgresql" else ""
    backup = tmp_path / "backup"
    backup.mkdir()

    async def main() -> None:
        async with world(tmp_path, store_url=url) as it:
            session = await it.session(await it.agent())
            first = [await restart(it, session, number) for number in range(2)]
            assert [one["status"] for one in first] == ["done", "done"], first
            await it.gate.background.publish()
            loading = asyncio.create_task(load(it, session))
            await asyncio.to_thread(back_up, it.data, url, backup)
            done = first + await loading
            await it.stop()
            kept = it.restarts()
            async with restored(it, tmp_path, backup) as there:
                on_record = begun(await there.records())
                assert {one["action_id"] for one in first} <= on_record
                for number, one in enumerate(done):
                    if one["action_id"] not in on_record:
                        continue  # acknowledged after the back-up: the back-up cannot know it
                    again = await restart(there, session, number)
                    assert again["action_id"] == one["action_id"]
                assert it.restarts() == kept, "nothing on record runs again"
                late = await restart(there, await there.session(await there.agent()), 1000)
                assert (late["status"], it.restarts()) == ("done", kept + 1), "and it goes on"
            await it.start()

    asyncio.run(main())
    log = tmp_path / "restored" / "data" / "log"
    known = backup / "log" / "checkpoint"
    options = ("--vkey", str(log.parent / "log.vkey"), "--known-checkpoint", str(known), "--json")
    verified = wicketgate("audit", "verify", str(log), *options)
    assert verified.exit_code == 0, verified.stdout + verified.stderr


async def load(it: World, session: str) -> list[dict[str, Any]]:
    """Actions one after the other, while somebody backs up."""
    return [await restart(it, session, number) for number in range(2, ACTIONS)]
