"""Agents in the console: who acts here, everything about one, and the kill switch: two steps, once a form, and back."""

import asyncio
import html
import sqlite3
from pathlib import Path
from typing import Any

from sqlalchemy import func, select

from broker.store.tables import COUNTER_TABLES, metadata
from tests.sim.visitor import SAME_ORIGIN, signed_in
from tests.sim.world import World, world


def test_stopping_takes_two_steps_and_a_reason_and_holds_at_once(tmp_path: Path) -> None:
    async def main() -> None:
        async with world(tmp_path) as it:
            agent = await it.agent()
            session = await it.session(agent)
            assert (await it.act(agent, "local.process.status", session)).status_code == 200
            oncall = await signed_in(it, "oncall")
            page = await oncall.open("/console/agents")
            assert "Nothing is stopped" in page.text
            step = await oncall.open("/console/agents/stop?scope=agent&target=dev:agent-1")
            assert step.status_code == 200
            assert "every request of this agent is refused" in step.text
            assert (await it.act(agent, "local.process.status", session)).status_code == 200, "a look stops nothing"
            switch = {"scope": "agent", "target": "dev:agent-1", "key": "k-stop"}
            assert (await oncall.send("/console/agents/kill", switch)).status_code == 400, "without a reason"
            assert (await oncall.send("/console/agents/kill", {**switch, "reason": "runs wild"})).status_code == 303
            assert (await it.act(agent, "local.process.status", session)).status_code == 403
            assert "dev:agent-1" in (await oncall.open("/console/agents")).text
            assert [one["body"]["kill"]["scope"] for one in await it.records() if one["kind"] == "kill"] == ["agent"]
            back = {**switch, "reason": "mended", "key": "k-back"}
            assert (await oncall.send("/console/agents/resume", back)).status_code == 303
            assert (await it.act(agent, "local.process.status", session)).status_code == 200
            await oncall.client.aclose()

    asyncio.run(main())


def test_who_may_not_stop_is_told_why_and_text_in_a_target_stays_text(tmp_path: Path) -> None:
    async def main() -> None:
        async with world(tmp_path) as it:
            auditor, oncall = await signed_in(it, "auditor"), await signed_in(it, "oncall")
            assert 'aria-disabled="true"' in (await auditor.open("/console/agents")).text.partition("<main")[2]
            switch = {"scope": "agent", "target": "dev:agent-1", "reason": "x", "key": "k"}
            assert (await auditor.send("/console/agents/kill", switch)).status_code == 403
            assert (await oncall.send("/console/agents/kill", switch, token="0" * 64)).status_code == 403
            for wrong in ("scope=agent", "scope=tenant&target=x", "scope=moon", "scope=agent&target=" + "x" * 301):
                assert (await oncall.open(f"/console/agents/stop?{wrong}")).status_code == 400, wrong
            shown = await oncall.open("/console/agents/stop?scope=agent&target=%22%3E%3Cimg%20src%3Dx%3E%E2%80%AE")
            assert shown.status_code == 200
            assert "<img" not in shown.text
            assert "U+202E" in shown.text
            for one in (auditor, oncall):
                await one.client.aclose()

    asyncio.run(main())


def test_a_form_sent_twice_or_reloaded_later_stops_and_resumes_once(tmp_path: Path) -> None:
    async def main() -> None:
        async with world(tmp_path) as it, await signed_in(it, "oncall") as oncall:
            agent = await it.agent()
            session = await it.session(agent)
            kill = {"scope": "agent", "target": "dev:agent-1", "reason": "runs wild", "key": "k-stop"}
            token = await oncall.token()
            twice = await asyncio.gather(
                *(
                    oncall.client.post("/console/agents/kill", data={**kill, "csrf": token}, headers=SAME_ORIGIN)
                    for _ in range(2)
                )
            )
            assert [one.status_code for one in twice] == [303, 303]
            assert len(await kinds(it, "kill")) == 1
            back = {**kill, "reason": "mended", "key": "k-back"}
            assert (await oncall.send("/console/agents/resume", back)).status_code == 303
            it.clock.advance(5)
            assert (await oncall.send("/console/agents/kill", kill)).status_code == 303, (
                "the browser sends the old form again"
            )
            said = (await oncall.open("/console/agents")).text
            assert "nothing was stopped now" in said
            assert (await it.act(agent, "local.process.status", session)).status_code == 200
            assert len(await kinds(it, "kill")) == 1
            again = {**kill, "key": "k-again"}
            assert (await oncall.send("/console/agents/kill", again)).status_code == 303
            assert (await it.act(agent, "local.process.status", session)).status_code == 403, "a new form is a new pull"
            assert (await oncall.send("/console/agents/resume", back)).status_code == 303, "an old one resumes nothing"
            assert (await it.act(agent, "local.process.status", session)).status_code == 403
            assert len(await kinds(it, "resume")) == 1

    asyncio.run(main())


def test_a_pull_that_was_recorded_and_never_took_hold_takes_hold_when_it_is_sent_again(tmp_path: Path) -> None:
    async def main() -> None:
        async with world(tmp_path) as it:
            agent, head = await it.agent(), {**await it.person("oncall"), "Idempotency-Key": "k1"}
            session = await it.session(agent)
            body = {"scope": "agent", "target": "dev:agent-1", "reason": "runs wild"}
            database = it.data / "gate.db"
            assert database.exists()
            blocked = sqlite3.connect(database, isolation_level=None)
            blocked.execute("CREATE TRIGGER away BEFORE INSERT ON kill_switch BEGIN SELECT RAISE(ABORT, 'away'); END")
            failed = await it.client.post("/v1/kill", json=body, headers=head)
            assert failed.status_code >= 400
            assert len(await kinds(it, "kill")) == 1
            blocked.execute("DROP TRIGGER away")
            blocked.close()
            done = await it.client.post("/v1/kill", json=body, headers=head)
            assert (done.status_code, done.json()["changed"], done.json()["stopped"]) == (200, True, True)
            assert (await it.act(agent, "local.process.status", session)).status_code == 403
            assert len(await kinds(it, "kill")) == 1

    asyncio.run(main())


async def kinds(it: World, kind: str) -> list[dict[str, Any]]:
    return [one for one in await it.records() if one["kind"] == kind]


def test_the_list_says_who_acts_here_and_each_page_everything_about_one(tmp_path: Path) -> None:
    async def main() -> None:
        async with world(tmp_path) as it, await signed_in(it, "security") as security:
            agent = await it.agent()
            session = await it.session(agent)
            for _ in range(3):
                assert (await it.act(agent, "local.process.status", session)).status_code == 200
            for name in ("nothing-like-it", "nor-this"):
                assert (await it.act(agent, "local.process.restart", session, id_=name)).status_code == 403
            seen = it.clock.now_ns() // 10**9
            it.clock.advance(90)
            behalf = await it.on_behalf(await it.person("oncall"), "agent-2")
            assert (await it.act(behalf, "local.process.status", await it.session(behalf))).status_code == 200
            listed = (await it.client.get("/v1/agents?what=page&kind=agent", headers=await it.person("auditor"))).json()
            assert [(one["name"], one["kind"], one["roles"]) for one in listed["agents"]] == [
                ("dev:agent-2", "agent", ["agent"]),
                ("dev:agent-1", "agent", ["agent"]),
            ]
            assert listed["agents"][1]["last_at"] == seen
            page = html.unescape((await security.open("/console/agents?kind=agent")).text)
            assert page.index("dev:agent-2") < page.index("dev:agent-1"), "the last seen first"
            who = listed["agents"][1]["who"]
            assert f'href="/console/agents/one?agent={who}"' in page
            one = html.unescape((await security.open(f"/console/agents/one?agent={who}")).text)
            for text in (
                *("localhost:8480/dev-idp", "not bound to a key", session, "look after checkout"),
                *("actions: ", "local.logs.search", "in prod"[3:]),
            ):
                assert text in one, text
            by_id = (await it.client.get("/v1/agents?agent=dev:agent-1", headers=await it.person("auditor"))).json()
            told = by_id["agent"]
            assert (told["who"], told["profile"], told["subject"]) == (who, "dev", "agent-1")
            assert told["sessions"][0]["session"] == session
            assert sum(each["count"] for each in told["refusals"]) == 2
            records = [each for each in await it.records() if each["kind"] == "refusal"]
            assert {each["code"] for each in told["refusals"]} == {each["body"]["error"] for each in records}
            assert told["today"]["actions"] == 3
            granted = {each["action"]: each for each in told["grants"]}
            grants = it.gate.policy.active.content.config["grants"]["agent"]
            assert granted.keys() == grants.keys()
            assert granted["local.logs.search"]["environments"] == sorted(grants["local.logs.search"]["environments"])
            other = html.unescape((await security.open("/console/agents/one?agent=dev:agent-2")).text)
            assert "It never came by itself" in other
            assert (await security.open("/console/agents/one?agent=dev:nobody")).status_code == 404
            assert (await security.open("/console/agents/one")).status_code == 400

    asyncio.run(main())


def test_pages_of_the_list_go_on_where_the_last_one_ended(tmp_path: Path) -> None:
    async def main() -> None:
        async with world(tmp_path) as it:
            for name in ("oncall", "security", "deputy"):
                await it.client.get("/v1/agents", headers=await it.person(name))
            await it.session(await it.agent())
            found: list[str] = []
            head, after = await it.person("auditor"), ""
            while True:
                said = "/v1/actions"
                body = {
                    "action": "gate.agents.read",
                    "resource": {"type": "gate", "id": "gate", "env": "prod"},
                    "reason": "",
                    "arguments": {"what": "page", "limit": 1, "after": after},
                }
                page = (await it.client.post(said, json=body, headers=head)).json()["result"]["value"]
                found += [one["name"] for one in page["agents"] if one["name"] != "dev:auditor"]
                after = page["after"]
                if not after:
                    break
            assert sorted(found) == ["dev:agent-1", "dev:deputy", "dev:oncall", "dev:security"]
            wrong = await it.client.get("/v1/agents?what=page&after=x", headers=head)
            assert (wrong.status_code, wrong.json()["code"]) == (400, "request.after")

    asyncio.run(main())


def test_nobody_of_another_tenant_is_listed_or_found(tmp_path: Path) -> None:
    async def main() -> None:
        async with world(tmp_path) as it, await signed_in(it, "stranger") as stranger:
            await it.session(await it.agent())
            ours = (await it.client.get("/v1/agents?what=page", headers=await it.person("auditor"))).json()
            page = (await stranger.open("/console/agents")).text
            assert "dev:agent-1" not in page
            assert "dev:stranger" in page
            for one in ours["agents"]:
                for name in (one["who"], one["name"]):
                    assert (await stranger.open(f"/console/agents/one?agent={name}")).status_code == 404

    asyncio.run(main())


def test_looking_costs_the_agents_no_write(tmp_path: Path) -> None:
    """Last seen comes from records that are there anyway: an agent's request writes the same rows as before."""

    async def main() -> None:
        async with world(tmp_path) as it:
            agent = await it.agent()
            session = await it.session(agent)
            assert (await it.act(agent, "local.process.status", session)).status_code == 200

            async def rows() -> dict[str, int]:
                return await it.gate.store.read(
                    lambda c: {
                        name: c.execute(select(func.count()).select_from(table)).scalar_one()
                        for name, table in metadata.tables.items()
                        if name not in COUNTER_TABLES
                    }
                )

            before = await rows()
            for _ in range(5):
                assert (await it.act(agent, "local.process.status", session)).status_code == 200
            assert await rows() == before

    asyncio.run(main())
