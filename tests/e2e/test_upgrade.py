"""Upgrading: a database of the release before is brought up with what it holds, and replicas old and new change over."""

import asyncio
import json
from pathlib import Path

import pytest
from alembic import command
from alembic.script import ScriptDirectory
from sqlalchemy import create_engine, text

from broker.store import Store, migrate
from tests.parts import fresh_database
from tests.sim.policies import folder_of
from tests.sim.world import replica, world


def url_of(database: str, folder: Path) -> str:
    if database == "sqlite":
        folder.mkdir(parents=True, exist_ok=True)
        return f"sqlite:///{folder / 'gate.db'}"
    return fresh_database().replace("postgresql://", "postgresql+psycopg://")


def made_by_the_release_before(url: str) -> None:
    """A database as the last but one migration leaves it, with a pulled kill switch in it."""
    config = migrate._config()
    before = [one.revision for one in ScriptDirectory.from_config(config).walk_revisions()][1]
    engine = create_engine(url)
    with engine.connect() as connection, connection.begin():
        config.attributes.update(connection=connection, parts=("state", "counters"))
        command.upgrade(config, before)
        connection.execute(
            text(
                "INSERT INTO kill_switch (tenant, scope, target, active, pulled_by, pulled_at, reason, resumed_by, resumed_at)"
                " VALUES ('default', 'agent', 'x:y', :yes, 'x:z', 1, :why, '', 0)"
            ),
            {"yes": True, "why": b"because"},
        )
    engine.dispose()


@pytest.mark.parametrize("database", ["sqlite", "postgresql"])
def test_a_database_of_the_release_before_is_brought_up_with_what_it_holds(tmp_path: Path, database: str) -> None:
    url = url_of(database, tmp_path / "data")
    made_by_the_release_before(url)
    store = Store(url)
    try:
        assert asyncio.run(store.ready()) is False
        store.migrate()
        assert asyncio.run(store.ready()) is True
        kept = asyncio.run(store.read(lambda c: c.exec_driver_sql("SELECT target FROM kill_switch").scalars().all()))
        assert kept == ["x:y"]
    finally:
        store.close()


def test_a_replica_of_the_release_before_lets_the_new_one_take_over(tmp_path: Path) -> None:
    """The new release has migrated: the old one finishes what it has, takes no new start, and is not ready."""
    url = url_of("postgresql", tmp_path)

    async def main() -> None:
        async with world(tmp_path, store_url=url) as old:
            agent = await old.agent()
            session = await old.session(agent)
            newest = await old.gate.store.read(migrate.is_current)
            assert newest is True
            await _version(old.gate.store, "m9999")
            old.clock.advance(5)
            ready = await old.client.get("/readyz")
            assert (ready.status_code, set(ready.json()["missing"])) == (503, {"store"})
            under_way = await old.act(agent, "local.process.status", session)
            assert under_way.status_code == 200, "a balancer looks elsewhere; who is here is served"
            (tmp_path / "late").mkdir()
            with pytest.raises(RuntimeError, match="made by a newer release"):
                async with replica(old, tmp_path / "late"):
                    pass
            await _version(old.gate.store, _head())
            old.clock.advance(5)
            assert (await old.client.get("/readyz")).status_code == 200
            async with replica(old, tmp_path / "new") as new:
                there = await new.agent()
                answer = await new.act(there, "local.process.status", session, key={"Idempotency-Key": "new"})
                assert answer.status_code == 200, answer.text

    asyncio.run(main())


def _head() -> str:
    return str(ScriptDirectory.from_config(migrate._config()).get_current_head())


async def _version(store: Store, name: str) -> None:
    """Write the database's form as another release would."""
    await store.write(lambda c: c.exec_driver_sql("UPDATE alembic_version SET version_num = %s", (name,)))


def test_a_bundle_of_the_release_before_goes_on_deciding(tmp_path: Path) -> None:
    policies = folder_of(tmp_path / "policies", {})
    schema = policies / "schemas" / "input.v1.schema.json"
    told = json.loads(schema.read_text())
    context = told["properties"]["context"]
    del context["properties"]["turn"]
    context["required"].remove("turn")
    schema.write_text(json.dumps(told))
    bases = policies / "golden" / "bases.yaml"
    bases.write_text("".join(line for line in bases.read_text().splitlines(keepends=True) if " turn: " not in line))

    async def main() -> None:
        async with world(tmp_path, policies=policies) as it:
            agent = await it.agent()
            looked = await it.act(agent, "local.process.status", await it.session(agent))
            assert looked.status_code == 200, looked.text

    asyncio.run(main())
