"""Upgrading: a database of the release before is brought up with what it holds, and replicas old and new change over."""

import asyncio
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml
from alembic import command
from alembic.script import ScriptDirectory
from sqlalchemy import create_engine, text

from broker.store import Store, migrate
from tests.parts import fresh_database
from tests.sim.policies import ACTS, folder_of
from tests.sim.world import World, replica, world


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


def policies_of_the_release_before(folder: Path) -> Path:
    """Without the fact `turn` and `gate.decision.own_search`: `gate.decision.own` searched, too, and by any number of questions."""
    policies = folder_of(folder, {})
    schema = policies / "schemas" / "input.v1.schema.json"
    told = json.loads(schema.read_text())
    context = told["properties"]["context"]
    del context["properties"]["turn"]
    context["required"].remove("turn")
    schema.write_text(json.dumps(told))
    bases = policies / "golden" / "bases.yaml"
    bases.write_text("".join(line for line in bases.read_text().splitlines(keepends=True) if " turn: " not in line))
    manifest, grants, golden = (policies / one for one in ("manifests/gate.yaml", "config/grants/data.yaml", ACTS))
    declared = yaml.safe_load(manifest.read_text())
    actions = declared["actions"]
    del actions["gate.decision.own_search"]
    own, search = actions["gate.decision.own"], actions["gate.decision.search"]
    search["arguments"]["asked"]["maxItems"] = search["arguments"]["properties"]["maxItems"] = 50
    paging = {name: search["arguments"][name] for name in ("limit", "after")}
    own["arguments"] |= {"find": {"type": "string", "enum": ["", "action", "resource"], "default": ""}, **paging}
    del own["cost_by"]
    own["cost"] = search["cost"]
    manifest.write_text(yaml.safe_dump(declared))
    kept = (line for line in grants.read_text().splitlines(keepends=True) if "gate.decision.own_search" not in line)
    grants.write_text("".join(kept))
    cases = yaml.safe_load(golden.read_text())
    cases["cases"] = [one for one in cases["cases"] if "gate.decision.own_search" not in str(one)]
    golden.write_text(yaml.safe_dump(cases))
    return policies


def test_a_bundle_of_the_release_before_goes_on_deciding(tmp_path: Path) -> None:
    policies = policies_of_the_release_before(tmp_path / "policies")

    async def main() -> None:
        async with world(tmp_path, policies=policies) as it:
            agent, auditor = await it.agent(), await it.person("auditor")
            looked = await it.act(agent, "local.process.status", await it.session(agent))
            assert looked.status_code == 200, looked.text
            for who, type_, name in ((agent, "agent", "agent-1"), (auditor, "human", "auditor")):
                asked = {
                    "subject": {"type": type_, "id": f"dev:{name}"},
                    "resource": {"type": "process", "id": "checkout"},
                }
                found = await it.client.post("/access/v1/search/action", json=asked, headers=dict(who))
                assert found.status_code == 200, found.text
            other = {**asked, "subject": {"type": "human", "id": "dev:oncall"}}
            refused = await _straight(it, agent, "gate.decision.own", [other])
            assert (refused.status_code, refused.json()["code"]) == (403, "decision.not_own"), refused.text
            many = await _straight(it, auditor, "gate.decision.search", [other, other])
            assert (many.status_code, many.json()["code"]) == (400, "request.field"), many.text

    asyncio.run(main())


async def _straight(it: World, who: Mapping[str, str], action: str, asked: list[Any]) -> httpx.Response:
    """A search by the act's own name."""
    gate = {"type": "gate", "id": "gate", "env": "prod"}
    body = {"session": "", "action": action, "resource": gate, "arguments": {"find": "action", "asked": asked}}
    return await it.client.post("/v1/actions", json=body, headers={**who, **it.key()})
