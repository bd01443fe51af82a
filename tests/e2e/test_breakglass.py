"""Break-glass through the whole gate: two people, named scope, the record, the banner, its end, and the review after."""

import asyncio
import contextlib
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import httpx
import pytest

from audit.ledger import Verdict
from audit.source import Folder
from audit.verify import verify
from broker.errors import StoreUnavailable, Unavailable
from broker.obligations import Obligations
from broker.web.routes import ROUTES
from tests.e2e.test_incident_notices import receiver
from tests.parts import fresh_database
from tests.sim.upstream import Seen, UpstreamSim, whole
from tests.sim.visitor import signed_in
from tests.sim.world import World, replica, world

RESTART = "local.process.restart"
CHECKOUT = {"type": "process", "id": "checkout", "env": "prod"}
ASKED = {"actions": [RESTART], "targets": [CHECKOUT], "people": [], "minutes": 5, "reason": "nobody answers the pager"}
CRITICAL = (
    '[[inventory]]\ntype = "process"\nid = "payments"\nenv = "prod"\nregion = "us-east-1"\n'
    'labels = {tier = "critical"}\ndepends_on = []\n'
)


def code(answer: httpx.Response) -> tuple[int, str]:
    return answer.status_code, answer.json().get("code", answer.json().get("status", answer.json().get("state", "")))


async def ask(it: World, who: Mapping[str, str], **changes: Any) -> httpx.Response:
    return await it.client.post("/v1/breakglass", json={**ASKED, **changes}, headers={**who, **it.key()})


async def step(it: World, who: Mapping[str, str], glass: str, verb: str, reason: str = "seen") -> httpx.Response:
    return await it.client.post(f"/v1/breakglass/{glass}/{verb}", json={"reason": reason}, headers={**who, **it.key()})


async def opened(it: World, **changes: Any) -> str:
    """Asked for by the person on call, opened by security."""
    made = await ask(it, await it.person("oncall"), **changes)
    assert code(made) == (201, "waiting"), made.text
    glass = str(made.json()["id"])
    done = await step(it, await it.person("security"), glass, "confirm")
    assert code(done) == (200, "open"), done.text
    return glass


async def restart(it: World, who: Mapping[str, str], **more: Any) -> httpx.Response:
    return await it.act(who, RESTART, await it.session(who), **more)


def test_what_two_people_opened_runs_at_once_and_all_of_it_is_one_numbered_stream(tmp_path: Path) -> None:
    async def main() -> None:
        async with world(tmp_path, extra=CRITICAL) as it:
            oncall = await it.person("oncall")
            assert code(await restart(it, oncall))[0] == 202
            payments = {"type": "process", "id": "payments", "env": "prod"}
            glass = await opened(it, targets=[CHECKOUT, payments])
            done = await restart(it, await it.person("oncall"))
            assert code(done) == (200, "done"), done.text
            told = done.json()["decision"]
            assert (told["tier"], told["breakglass"]) == (2, glass)
            assert "breakglass.used" in [one["code"] for one in told["reasons"]]
            manual = await restart(it, await it.person("oncall"), id_="payments")
            assert (code(manual), manual.json()["decision"]["tier"]) == ((200, "done"), 3)
            assert (it.restarts(), it.restarts("payments")) == (1, 1)
            other = await restart(it, await it.person("oncall"), id_="storefront")
            assert code(other)[0] == 202, "what it does not name waits as ever"
            ended = await step(it, await it.person("oncall"), glass, "end")
            assert code(ended) == (200, "over")
            assert code(await restart(it, await it.person("oncall")))[0] == 202
            back = await step(it, await it.person("security"), glass, "review", "two restarts, both needed")
            assert code(back) == (200, "reviewed")
            stream = [one for one in await it.records() if any(s["id"] == glass for s in one.get("streams", []))]
            assert [(one["kind"], one["body"]["breakglass"]["verb"]) for one in stream] == [
                ("breakglass", "asked"),
                ("breakglass", "opened"),
                *[("intent", "used"), ("outcome", "used")] * 2,
                ("breakglass", "ended"),
                ("breakglass", "reviewed"),
            ]
            await it.gate.background.publish()
            checks = {one.name: one.verdict for one in verify(Folder(it.data / "log")).checks}
            assert checks["streams"] is Verdict.OK

    asyncio.run(main())


def test_one_person_alone_opens_nothing_and_no_agent_opens_or_uses_it(tmp_path: Path) -> None:
    async def main() -> None:
        async with world(tmp_path) as it:
            security, agent = await it.person("security"), await it.agent()
            made = await ask(it, security)
            glass = made.json()["id"]
            assert code(await step(it, security, glass, "confirm")) == (403, "breakglass.same_person")
            assert code(await step(it, await it.person("oncall"), glass, "confirm"))[0] == 403
            assert code(await restart(it, await it.person("security")))[0] in {202, 403}
            assert code(await ask(it, agent)) == (403, "allowlist.action_not_granted")
            behalf = await it.on_behalf(await it.person("deputy"))
            assert code(await step(it, behalf, glass, "confirm"))[0] == 403
            assert code(await step(it, await it.person("stranger"), glass, "confirm")) == (404, "breakglass.not_found")
            assert it.restarts() == 0
            assert code(await step(it, security, glass, "end")) == (200, "dropped")
            glass = await opened(it)
            assert code(await restart(it, agent))[0] == 202, "an agent that is not named waits"
            oncall = await it.person("oncall")
            between = await it.on_behalf(oncall)
            assert code(await restart(it, between))[0] == 202, "so does a named person with an agent in between"
            assert it.restarts() == 0
            await step(it, oncall, glass, "end")
            await opened(it, people=["dev:agent-1"])
            assert code(await restart(it, await it.agent())) == (200, "done"), "an agent that is named does not"
            assert code(await restart(it, await it.person("oncall")))[0] == 202

    asyncio.run(main())


def test_of_two_who_look_back_at_once_one_does_and_its_stream_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def main() -> None:
        async with world(tmp_path) as it:
            glass = await opened(it)
            await step(it, await it.person("oncall"), glass, "end")
            security, deputy = await it.person("security"), await it.person("deputy")
            on_record, faster = it.gate.records.of_person, True

            async def meanwhile(*who: Any, **told: Any) -> Any:
                nonlocal faster
                done = await on_record(*who, **told)
                if faster:
                    faster = False
                    assert code(await step(it, deputy, glass, "review", "both needed")) == (200, "reviewed")
                return done

            monkeypatch.setattr(it.gate.records, "of_person", meanwhile)
            assert code(await step(it, security, glass, "review", "none needed")) == (409, "breakglass.state")
            assert (await it.gate.breakglass.get("default", glass)).review == "both needed"
            stream = [one for one in await it.records() if any(s["id"] == glass for s in one.get("streams", []))]
            verbs = [one["body"]["breakglass"]["verb"] for one in stream]
            assert verbs == ["asked", "opened", "ended", "reviewed", "reviewed", "void"]
            assert stream[-1]["id"] == f"{stream[-3]['id']}.void"
            await it.gate.background.publish()
            checks = {one.name: one.verdict for one in verify(Folder(it.data / "log")).checks}
            assert checks["streams"] is Verdict.OK

    asyncio.run(main())


@pytest.mark.parametrize("happened", [False, True])
def test_a_step_that_the_database_did_not_take_is_void_and_one_that_it_took_is_done(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, happened: bool
) -> None:
    async def main() -> None:
        async with world(tmp_path) as it:
            oncall, security = await it.person("oncall"), await it.person("security")
            glass, desk = "", it.gate.breakglass

            def cut(real: Any) -> Any:
                async def stored(one: Any) -> None:
                    if happened:
                        await real(one)
                    raise StoreUnavailable

                return stored

            for name, act in (("add", ask(it, oncall)), ("open", None), ("close", None)):
                with monkeypatch.context() as patched:
                    patched.setattr(desk, name, cut(getattr(desk, name)))
                    verb = {"open": "confirm", "close": "review"}.get(name, "")
                    answer = await (act or step(it, security, glass, verb))
                assert answer.status_code == (503 if not happened else 201 if name == "add" else 200), answer.text
                if not happened and name == "add":
                    answer = await ask(it, oncall)
                elif not happened:
                    answer = await step(it, security, glass, verb)
                glass = glass or answer.json()["id"]
                if name == "open":
                    await step(it, oncall, glass, "end")
            assert (await desk.get("default", glass)).state == "reviewed"
            verbs = [one["body"]["breakglass"]["verb"] for one in await it.records() if one["kind"] == "breakglass"]
            twice = [] if happened else ["void"]
            assert verbs == [
                *(["asked", "void"] if twice else []),
                *("asked", "opened"),
                *([*twice, "opened"] if twice else []),
                *("ended", "reviewed"),
                *([*twice, "reviewed"] if twice else []),
            ]

    asyncio.run(main())


def test_people_are_told_also_where_the_replica_dies_right_after_it_opened(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def main() -> None:
        async with world(tmp_path) as it:
            glass = (await ask(it, await it.person("oncall"))).json()["id"]
            real = it.gate.breakglass.open

            async def dies(one: Any) -> None:
                await real(one)
                raise Unavailable("the replica died", code="gate.failed")

            await it.gate.background.aclose()  # nobody does what is due
            monkeypatch.setattr(it.gate.breakglass, "open", dies)
            assert code(await step(it, await it.person("security"), glass, "confirm")) == (503, "gate.failed")
            stands = await it.gate.breakglass.get("default", glass)
            rows = {one.subject: one.due for one in await it.gate.work.page("default") if one.kind == "breakglass"}
            assert rows == {f"{glass}.opened": stands.until - 300, f"{glass}.ended": stands.until}

    asyncio.run(main())


def test_both_steps_need_a_fresh_sign_in(tmp_path: Path) -> None:
    async def main() -> None:
        async with world(tmp_path) as it:
            oncall, security = await it.person("oncall"), await it.person("security")
            made = await ask(it, oncall)
            it.clock.advance(301)
            late = await step(it, security, made.json()["id"], "confirm")
            assert code(late) == (401, "identity.presence_not_fresh")
            assert code(await ask(it, oncall)) == (401, "identity.presence_not_fresh")

    asyncio.run(main())


def test_it_ends_to_the_second_and_the_kill_switch_and_grants_hold_meanwhile(tmp_path: Path) -> None:
    async def main() -> None:
        async with world(tmp_path) as it:
            await opened(it, actions=[RESTART, "local.config.write"], people=["dev:oncall", "dev:auditor"])
            auditor = await it.person("auditor")
            assert code(await it.act(auditor, RESTART)) == (403, "allowlist.action_not_granted")
            kill = {"scope": "tenant", "reason": "stop"}
            stop = await it.client.post("/v1/kill", json=kill, headers={**await it.person("security"), **it.key()})
            assert stop.status_code == 200, stop.text
            oncall = await it.person("oncall")
            assert code(await it.act(oncall, RESTART)) == (403, "kill.stopped")
            assert code(await ask(it, oncall)) == (403, "kill.stopped")
            resume = {**await it.person("security"), **it.key()}
            assert (await it.client.post("/v1/kill/resume", json=kill, headers=resume)).status_code == 200
            it.clock.advance(299)
            assert code(await it.act(await it.person("oncall"), RESTART)) == (200, "done")
            it.clock.advance(1)
            assert code(await it.act(await it.person("oncall"), RESTART))[0] == 202
            assert it.restarts() == 1

    asyncio.run(main())


def test_what_was_decided_in_its_time_and_begins_after_it_does_not_begin(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The clock moves, or somebody ends it, between policy's answer and the intent."""

    async def main() -> None:
        async with world(tmp_path) as it:
            glass = await opened(it)
            oncall = await it.person("oncall")
            real = Obligations.before

            async def slow(self: Obligations, asked: Any) -> Any:
                granted = await real(self, asked)
                if asked.request.action == RESTART:
                    it.clock.step_wall(300)  # whoever asked still waits: only the grant is too old
                return granted

            async def ended(self: Obligations, asked: Any) -> Any:
                if asked.request.action == RESTART:
                    assert code(await step(it, await it.person("oncall"), glass, "end")) == (200, "over")
                return await real(self, asked)

            monkeypatch.setattr(Obligations, "before", ended)
            assert code(await it.act(oncall, RESTART)) == (403, "breakglass.over")
            monkeypatch.setattr(Obligations, "before", real)
            glass = await opened(it)
            monkeypatch.setattr(Obligations, "before", slow)
            assert code(await it.act(await it.person("oncall"), RESTART)) == (403, "grant.expired")
            assert it.restarts() == 0
            assert not any(
                one["kind"] == "intent" and one["body"]["action"]["name"] == RESTART for one in await it.records()
            )

    asyncio.run(main())


def test_a_review_that_is_overdue_keeps_the_next_one_shut(tmp_path: Path) -> None:
    async def main() -> None:
        async with world(tmp_path) as it:
            glass = await opened(it)
            it.clock.advance(300 + 86_400 - 1)
            assert code(await ask(it, await it.person("oncall"))) == (201, "waiting")
            it.clock.advance(601)
            oncall = await it.person("oncall")
            assert code(await ask(it, oncall)) == (403, "breakglass.review_overdue")
            [first] = [
                one
                for one in (await it.client.get("/v1/breakglass", headers=oncall)).json()["breakglass"]
                if one["id"] == glass
            ]
            assert (first["state"], first["overdue"]) == ("over", True)
            assert code(await step(it, oncall, glass, "review"))[0] == 403
            assert code(await step(it, await it.person("security"), glass, "review")) == (200, "reviewed")
            assert code(await ask(it, await it.person("oncall"))) == (201, "waiting")

    asyncio.run(main())


@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_it_outlives_a_restart_and_holds_on_every_replica(tmp_path: Path, kind: str) -> None:
    async def main() -> None:
        url = "" if kind == "sqlite" else fresh_database().replace("postgresql://", "postgresql+psycopg://", 1)
        async with contextlib.AsyncExitStack() as stack:
            it = await stack.enter_async_context(world(tmp_path, store_url=url))
            made = await ask(it, await it.person("oncall"))
            glass = made.json()["id"]
            await it.stop()
            await it.start()
            there = it
            if url:
                (tmp_path / "b").mkdir()
                there = await stack.enter_async_context(replica(it, tmp_path / "b"))
                there._keys = 1_000
            both = await asyncio.gather(
                step(it, await it.person("security"), glass, "confirm"),
                step(there, await there.person("deputy"), glass, "confirm"),
            )
            assert sorted(answer.status_code for answer in both) == [200, 409], [answer.text for answer in both]
            await it.stop()
            await it.start()
            assert code(await restart(it, await it.person("oncall"))) == (200, "done")
            assert code(await restart(there, await there.person("oncall"))) == (200, "done")

    asyncio.run(main())


PAGES = [
    route.path
    for route in ROUTES
    if route.access == "console" and route.method == "GET" and not route.stream and "{" not in route.path
]


def test_every_page_of_the_console_says_that_it_is_open_to_every_reader(tmp_path: Path) -> None:
    async def main() -> None:
        async with world(tmp_path) as it:
            said = "Break-glass is open"
            people = {name: await signed_in(it, name) for name in ("oncall", "security", "auditor", "stranger")}
            assert said not in (await people["oncall"].open("/console/inbox")).text
            glass = await opened(it, minutes=30)
            for name in ("oncall", "security", "auditor"):
                for path in [*PAGES, "/console/nothing"]:
                    page = await people[name].open(path)
                    if page.status_code not in {303, 307}:
                        assert said in page.text, f"{path} for {name}: {page.status_code}"
            assert said not in (await people["stranger"].open("/console/inbox")).text
            await step(it, await it.person("oncall"), glass, "end")
            assert said not in (await people["oncall"].open("/console/inbox")).text
            it.clock.advance(86_400)
            late = await signed_in(it, "auditor")
            assert "Nobody has looked back at the last break-glass" in (await late.open("/console/inbox")).text
            for visitor in [*people.values(), late]:
                await visitor.client.aclose()

    asyncio.run(main())


def test_the_console_takes_both_steps_the_end_and_the_review(tmp_path: Path) -> None:
    async def main() -> None:
        async with world(tmp_path) as it:
            page = "/console/agents/breakglass"
            ann, sue = await signed_in(it, "oncall"), await signed_in(it, "security")
            fields = {
                "actions": RESTART,
                "targets": "process/checkout (prod)",
                "people": "",
                "minutes": "5",
                "reason": "x",
            }
            wrong = await ann.send(page, {**fields, "targets": "checkout", "key": "k0"})
            assert (wrong.status_code, "breakglass.target" in wrong.text) == (400, True)
            assert (await ann.send(page, {**fields, "key": "k1"})).status_code == 303
            glass = re.search(r"bgl_[a-z0-9]{26}", (await ann.open(page)).text)
            assert glass
            path = f"{page}/{glass[0]}"
            alone = await ann.send(f"{path}/confirm", {"reason": "me", "key": "k2"})
            assert alone.status_code == 403
            assert (await sue.send(f"{path}/confirm", {"reason": "by telephone", "key": "k3"})).status_code == 303
            assert "End it" in (await ann.open(page)).text
            assert (await ann.send(f"{path}/end", {"reason": "done", "key": "k4"})).status_code == 303
            assert (await sue.send(f"{path}/review", {"reason": "all right", "key": "k5"})).status_code == 303
            assert "all right" in (await ann.open(page)).text
            await ann.client.aclose()
            await sue.client.aclose()

    asyncio.run(main())


def test_peoples_systems_are_told_when_it_opens_and_when_it_is_over(tmp_path: Path) -> None:
    async def main() -> None:
        async with UpstreamSim.fixed(whole(204)) as sim, world(tmp_path, extra=receiver(tmp_path, sim)) as it:
            glass = await opened(it)
            await it.work_off()
            await it.work_off()
            [seen] = sim.seen
            told = seen.json["data"]
            assert (seen.json["type"], told["breakglass"]) == ("breakglass.opened", glass)
            assert (told["by"], told["confirmed_by"], told["actions"]) == ("dev:oncall", "dev:security", [RESTART])
            it.clock.advance(300)
            await it.work_off()
            assert [one.json["type"] for one in sim.seen] == ["breakglass.opened", "breakglass.ended"]
            intents = [one for one in await it.records() if one["kind"] == "intent"]
            assert "notify.breakglass.send" in {one["body"]["action"]["name"] for one in intents}

    asyncio.run(main())


def test_a_receiver_that_was_down_when_it_opened_is_told_later_under_the_same_id(tmp_path: Path) -> None:
    async def main() -> None:
        statuses = [500, 503, 204]

        async def answer(_: Seen, writer: asyncio.StreamWriter) -> None:
            writer.write(whole(statuses.pop(0) if len(statuses) > 1 else statuses[0]))

        async with UpstreamSim(answer) as sim, world(tmp_path, extra=receiver(tmp_path, sim)) as it:
            await opened(it)
            for _ in range(4):
                await it.work_off()
                it.clock.advance(10)
            assert [one.json["type"] for one in sim.seen] == ["breakglass.opened"] * 3
            assert len({one.headers["webhook-id"] for one in sim.seen}) == 1

    asyncio.run(main())


def test_a_receiver_that_was_down_is_told_although_somebody_ended_it_meanwhile(tmp_path: Path) -> None:
    """What is told then is another message than the one that did not arrive; and it does not arrive twice."""

    async def main() -> None:
        statuses = [503, 204]

        async def answer(_: Seen, writer: asyncio.StreamWriter) -> None:
            writer.write(whole(statuses.pop(0) if len(statuses) > 1 else statuses[0]))

        async with UpstreamSim(answer) as sim, world(tmp_path, extra=receiver(tmp_path, sim)) as it:
            glass = await opened(it)
            await it.work_off()
            it.clock.advance(10)
            assert code(await step(it, await it.person("oncall"), glass, "end")) == (200, "over")
            await it.work_off()
            it.clock.advance(300)
            await it.work_off()
            first, second, _ = told = [one.json["data"] for one in sim.seen]
            assert [one["kind"] for one in told] == ["opened", "opened", "ended"]
            assert first["review_due"] != second["review_due"]
            assert first["event"] == second["event"]
            assert {one.state for one in await it.gate.work.page("default") if one.kind == "breakglass"} <= {"done"}

    asyncio.run(main())


def test_an_action_that_does_not_exist_or_half_a_target_is_refused(tmp_path: Path) -> None:
    async def main() -> None:
        async with world(tmp_path) as it:
            oncall = await it.person("oncall")
            assert code(await ask(it, oncall, actions=["local.process.destroy"])) == (400, "breakglass.unknown_action")
            assert code(await ask(it, oncall, minutes=31)) == (400, "breakglass.too_long")
            assert code(await ask(it, oncall, targets=[{"type": "process", "id": "checkout"}]))[0] == 400
            assert code(await ask(it, oncall, reason=""))[0] == 400
            assert json.loads((await it.client.get("/v1/breakglass", headers=oncall)).text)["breakglass"] == []

    asyncio.run(main())
