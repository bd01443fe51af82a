"""An escalated incident is told to people's systems: signed, with the evidence, once; and again where it did not arrive."""

import asyncio
import base64
import contextlib
import json
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from audit.errors import LogUnavailable
from broker.background import HOLD_SECONDS, POSTPONED_SECONDS_MAX
from broker.connectors.notify import signed
from broker.errors import Conflict, Denied, LimitExceeded, Unavailable
from broker.model import DryRun, RequireApproval
from broker.notices import ACTION
from broker.obligations import GRANT_SECONDS
from broker.store.work import ATTEMPTS_MAX, CALLS_S
from tests.e2e.test_incidents import claim, finish, opened, read
from tests.sim.troubled import Counters, Troubled
from tests.sim.upstream import Seen, UpstreamSim, whole
from tests.sim.world import World, replica, world
from tests.stores import fresh_url

SECRET = base64.b64encode(b"a key of thirty-two bytes, no less").decode()


def receiver(folder: Path, sim: UpstreamSim) -> str:
    (folder / "pager.secret").write_text(f"whsec_{SECRET}\n")
    return f"""
[incidents]
notify = ["pager"]
[[inventory]]
type = "webhook"
id = "pager"
env = "prod"
region = "eu-west-1"
[[connectors]]
name = "notify"
adapter = "notify"
[connectors.settings.hooks.pager]
url = "{sim.url}/hook"
secret_file = {json.dumps(str(folder / "pager.secret"))}
region = "eu-west-1"
allow_networks = ["127.0.0.1/32"]
"""


async def escalated(it: World) -> str:
    """An incident in which an agent looked, claimed something false, and gave up."""
    incident = await opened(it)
    agent = await it.agent()
    await finish(it, agent, await claim(it, agent), "investigating")
    held = await claim(it, agent)
    seen = (await it.act(agent, "local.process.status", held["session"])).json()["observation"]
    said: dict[str, Any] = {
        "cause": {"component": "checkout", "fault": "crash-loop"},
        "claims": [{"observation": seen, "selector": "$.state", "op": "eq", "value": "stopped", "text": "it is down"}],
        "ruled_out": [{"component": "payments", "fault": "slow-query", "why": "its latency did not change"}],
        "session": held["session"],
    }
    answer = await it.client.post(f"/v1/incidents/{incident}/diagnoses", json=said, headers={**agent, **it.key()})
    assert answer.status_code == 201, answer.text
    assert (await finish(it, agent, held, "inconclusive")).json()["state"] == "escalated"
    return incident


def test_an_escalation_is_told_once_with_its_evidence_and_is_on_record(tmp_path: Path) -> None:
    async def main() -> None:
        async with UpstreamSim.fixed(whole(204)) as sim, world(tmp_path, extra=receiver(tmp_path, sim)) as it:
            incident = await escalated(it)
            await it.work_off()
            await it.work_off()
            [seen] = sim.seen
            told = seen.json["data"]
            assert (seen.json["type"], told["incident"]) == ("incident.escalated", incident)
            assert [claim["verdict"] for claim in told["evidence"]] == ["refuted"]
            assert told["ruled_out"][0]["component"] == "payments"
            again = signed(base64.b64decode(SECRET), seen.headers["webhook-id"], seen.json["timestamp"], seen.body)
            assert seen.headers["webhook-signature"] == again["webhook-signature"]
            records = await it.records()
            [intent] = [
                one
                for one in records
                if one["kind"] == "intent" and one["body"]["action"]["name"] == "notify.incident.send"
            ]
            asked = await it.gate.records.told("default", intent["id"])
            assert asked is not None
            assert asked[1]["arguments"]["event"] == seen.headers["webhook-id"]
            assert seen.headers["webhook-id"].startswith(incident)
            assert [one["body"]["outcome"]["status"] for one in records if one.get("about") == intent["id"]] == ["done"]
            events = (await read(it, await it.person("oncall"), incident))["events"]
            assert [event["kind"] for event in events][-1] == "notification"

    asyncio.run(main())


def test_a_manual_remedy_is_refused_to_the_agent_and_the_call_for_people_says_so(tmp_path: Path) -> None:
    """The diagnosis names the index by a verified claim; the catalogue makes the request of it; policy keeps it for people."""

    async def main() -> None:
        async with UpstreamSim.fixed(whole(204)) as sim, world(tmp_path, extra=receiver(tmp_path, sim)) as it:
            missing = {"index": "by_sku", "table": "reservation", "columns": ["sku"], "present": False}
            it.supervisor.schema = [missing]
            trouble = Troubled(it, Counters())
            await trouble.open()
            session = await trouble.investigate()
            schema = await trouble.seen("local.schema.compare", session, {}, "checkout")
            claims = await trouble.claims("checkout", session, sure=True)
            named = "$.indexes[?present==false].index"
            claims.append({"observation": schema, "selector": named, "op": "eq", "value": "by_sku", "role": "cause"})
            said = {"cause": {"component": "checkout", "fault": "slow-query"}, "claims": claims, "session": session}
            judged = (await trouble.post(f"/v1/incidents/{trouble.incident}/diagnoses", said)).json()
            assert judged["verdict"] == "diagnosed", judged
            trouble.diagnosis = judged["diagnosis"]
            await trouble.finish("diagnosed", diagnosis=trouble.diagnosis)
            await trouble.claim()
            offered = (await read(it, trouble.agent, trouble.incident, session=session))["remedies"]
            [remedy] = [one for one in offered if "slow-query" in one["faults"]]
            assert (remedy["action"], remedy["arguments"], remedy["open"]) == (
                "local.index.create", {"index": "by_sku"}, [],
            )  # fmt: skip
            answer = await trouble.ask("local.index.create", remedy["arguments"])
            assert answer.status_code == 403
            assert [one["code"] for one in answer.json()["reasons"]] == ["risk.manual_only"]
            await trouble.finish("escalated", reason="the gate refused the remedy", diagnosis=trouble.diagnosis)
            await trouble.turn()
            told = sim.seen[0].json["data"]
            [refused] = told["tried"]
            assert (refused["action"], refused["status"]) == ("local.index.create", "refused")
            assert (refused["code"], refused["reasons"]) == ("risk.manual_only", ["risk.manual_only"])
            assert it.supervisor.indexes == set()

    asyncio.run(main())


def test_a_receiver_that_is_down_is_told_later(tmp_path: Path) -> None:
    async def main() -> None:
        statuses = iter((500, 503, 204))

        async def answer(_: Seen, writer: asyncio.StreamWriter) -> None:
            writer.write(whole(next(statuses)))

        async with UpstreamSim(answer) as sim, world(tmp_path, extra=receiver(tmp_path, sim)) as it:
            await escalated(it)
            for _ in range(3):
                await it.work_off()
                it.clock.advance(60)
            await it.work_off()
            assert len(sim.seen) == 3
            assert {seen.json["data"]["incident"] for seen in sim.seen} == {sim.seen[0].json["data"]["incident"]}

    asyncio.run(main())


def test_a_receiver_that_is_down_for_long_is_told_in_the_end_of_an_incident_and_of_a_break_glass(
    tmp_path: Path,
) -> None:
    async def main() -> None:
        down = True

        async def answer(_: Seen, writer: asyncio.StreamWriter) -> None:
            writer.write(whole(503 if down else 204))

        async with UpstreamSim(answer) as sim, world(tmp_path, extra=receiver(tmp_path, sim)) as it:
            await escalated(it)
            oncall, security = await it.person("oncall"), await it.person("security")
            target = {"type": "process", "id": "checkout", "env": "prod"}
            asked = {"actions": ["local.process.restart"], "targets": [target], "people": [], "minutes": 5}
            made = await it.client.post("/v1/breakglass", json={**asked, "reason": "x"}, headers={**oncall, **it.key()})
            confirm = f"/v1/breakglass/{made.json()['id']}/confirm"
            done = await it.client.post(confirm, json={"reason": "seen"}, headers={**security, **it.key()})
            assert done.status_code == 200, done.text
            tries = 2 * ATTEMPTS_MAX
            for _ in range(tries):
                await it.work_off()
                it.clock.advance(POSTPONED_SECONDS_MAX)
            told = [one.json["type"] for one in sim.seen]
            assert [told.count(kind) for kind in ("incident.escalated", "breakglass.opened")] == [tries, tries]
            down = False
            await it.work_off()
            await it.work_off()
            assert sorted(one.json["type"] for one in sim.seen[len(told) :]) == [
                "breakglass.ended",
                "breakglass.opened",
                "incident.escalated",
            ]
            it.clock.advance(POSTPONED_SECONDS_MAX)
            await it.work_off()
            assert [one.kind for one in await it.gate.work.page("default") if one.kind in CALLS_S] == []

    asyncio.run(main())


def test_a_failed_try_to_tell_comes_again_soon_then_later_and_later(tmp_path: Path) -> None:
    async def main() -> None:
        async with UpstreamSim.fixed(whole(503)) as sim, world(tmp_path, extra=receiver(tmp_path, sim)) as it:
            await escalated(it)
            delays = []
            for _ in range(8):
                await it.work_off()
                [row] = [one for one in await it.gate.work.page("default") if one.kind == "notify"]
                delays.append(row.due - it.clock.now_ns() // 10**9)
                it.clock.advance(delays[-1])
            assert delays == [5, 10, 20, 40, 80, 160, 300, 300]
            assert len(sim.seen) == 8

    asyncio.run(main())


@pytest.mark.parametrize("first", ["pager", "chat"])
def test_one_receiver_that_is_down_sets_nothing_aside_for_another_whose_turn_comes_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, first: str
) -> None:
    """Whichever of the two comes last in the configuration."""

    async def main() -> None:
        async with (
            UpstreamSim.fixed(whole(503)) as sim,
            world(tmp_path, extra=both(receiver(tmp_path, sim), sim.url, sim.url)) as it,
        ):
            await escalated(it)
            own = it.gate.pipeline.own

            async def bounded(principal: Any, ask: Any, **more: Any) -> Any:
                if ask.resource["id"] == first:
                    raise LimitExceeded("others were told so much", code="limit.exceeded", retry_after=30.0)
                return await own(principal, ask, **more)

            monkeypatch.setattr(it.gate.pipeline, "own", bounded)
            stands = []
            for _ in range(ATTEMPTS_MAX + 2):
                await it.work_off()
                [row] = [one for one in await it.gate.work.page("default") if one.kind == "notify"]
                stands.append((row.attempts, row.due - it.clock.now_ns() // 10**9))
                it.clock.advance(stands[-1][1])
            most = ATTEMPTS_MAX - 1
            assert stands == [(1, 30), (2, 30), (3, 30), (most, 40), *[(most, 80)] * 3]
            it.clock.advance(CALLS_S["notify"])
            await it.work_off()
            it.clock.advance(POSTPONED_SECONDS_MAX)
            await it.work_off()
            [row] = [one for one in await it.gate.work.page("default") if one.kind == "notify"]
            assert row.state == "due"

    asyncio.run(main())


@pytest.mark.parametrize(("status", "code"), [("waiting", "approval.waiting"), ("planned", "obligation.dry_run")])
def test_a_notice_that_policy_lets_wait_or_only_plans_is_not_taken_for_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, status: str, code: str
) -> None:
    async def main() -> None:
        async with UpstreamSim.fixed(whole(204)) as sim, world(tmp_path, extra=receiver(tmp_path, sim)) as it:
            incident = await escalated(it)
            decide = it.gate.policy.decide
            duty = RequireApproval(1, ("oncall",), 600) if status == "waiting" else DryRun()

            async def wants(sheet: Any) -> Any:
                decision = await decide(sheet)
                asked = sheet["action"]["name"] == ACTION
                return replace(decision, obligations=(*decision.obligations, duty)) if asked else decision

            monkeypatch.setattr(it.gate.policy, "decide", wants)
            told = {"incident": incident, "kind": "escalated"}
            with pytest.raises((Conflict, Denied)) as refused:
                await it.gate.messages.send("default", "pager", told, action=ACTION, event=f"{incident}.1", reason="x")
            assert refused.value.error_code == code
            await it.work_off()
            assert (await notified(it, incident), sim.seen) == ([], [])

    asyncio.run(main())


def test_a_try_whose_outcome_is_still_owed_is_not_followed_by_another_before_its_grant_is_over(tmp_path: Path) -> None:
    async def main() -> None:
        async with UpstreamSim.fixed(whole(204)) as sim, world(tmp_path, extra=receiver(tmp_path, sim)) as it:
            await escalated(it)
            real = it.gate.log.append

            async def append(tenant: str, draft: Any, **more: Any) -> Any:
                if draft.kind == "outcome":
                    raise LogUnavailable("away")
                return await real(tenant, draft, **more)

            it.gate.log.append = append  # type: ignore[method-assign]
            for _ in range(3):
                await it.work_off()
                assert len(sim.seen) == 1
                it.clock.advance(GRANT_SECONDS // 4)
            it.clock.advance(GRANT_SECONDS)
            await it.work_off()
            first, second = sim.seen
            assert first.headers["webhook-id"] == second.headers["webhook-id"], "nobody knows; the receiver can tell"
            it.gate.log.append = real  # type: ignore[method-assign]

    asyncio.run(main())


def test_what_changed_since_the_try_that_failed_is_told_and_who_was_told_before_is_not_told_again(
    tmp_path: Path,
) -> None:
    """A receiver took it, but that was not noted; the other was down; then somebody rules a cause out: another message."""

    async def main() -> None:
        statuses = iter((503, 204))

        async def answer(_: Seen, writer: asyncio.StreamWriter) -> None:
            writer.write(whole(next(statuses)))

        async with (
            UpstreamSim.fixed(whole(204)) as pager,
            UpstreamSim(answer) as chat,
            world(tmp_path, extra=both(receiver(tmp_path, pager), pager.url, chat.url)) as it,
        ):
            incident = await escalated(it)
            note = it.gate.incidents.note

            async def lost(*_: Any, **__: Any) -> Any:
                raise Unavailable("the replica died", code="gate.failed")

            it.gate.incidents.note = lost  # type: ignore[method-assign]
            await it.work_off()
            it.gate.incidents.note = note  # type: ignore[method-assign]
            ruled = {"component": "payments", "fault": "bad-deploy"}
            await note("default", incident, kind="rule_out", by="dev:oncall", body=ruled)
            await it.gate.incident_acts.record("default", incident)
            it.clock.advance(60)
            await it.work_off()
            first, second = chat.seen
            assert first.json["data"]["ruled_out"] != second.json["data"]["ruled_out"]
            assert first.headers["webhook-id"] == second.headers["webhook-id"]
            assert len(pager.seen) == 1
            [noted] = await notified(it, incident)
            assert set(noted.body["told"]) == {"pager", "chat"}

    asyncio.run(main())


def both(extra: str, pager: str, chat: str) -> str:
    """The configuration ``extra`` with a second receiver, ``chat``, behind the first one."""
    extra = extra.replace('["pager"]', '["pager", "chat"]')
    entry, hook = (
        part.replace('"pager"', '"chat"').replace("hooks.pager", "hooks.chat").replace(pager, chat)
        for part in (
            extra[extra.index("[[inventory]]") : extra.index("[[connectors]]")],
            extra[extra.index("[connectors.settings") :],
        )
    )
    return extra + hook + entry


def test_who_was_told_is_not_told_again_because_another_cannot_be_reached(tmp_path: Path) -> None:
    async def main() -> None:
        statuses = iter((503, 503, 204))

        async def answer(_: Seen, writer: asyncio.StreamWriter) -> None:
            writer.write(whole(next(statuses)))

        async with (
            UpstreamSim.fixed(whole(204)) as pager,
            UpstreamSim(answer) as chat,
            world(tmp_path, extra=both(receiver(tmp_path, pager), pager.url, chat.url)) as it,
        ):
            await escalated(it)
            for _ in range(4):
                await it.work_off()
                it.clock.advance(60)
            assert len(chat.seen) == 3
            assert len(pager.seen) == 1

    asyncio.run(main())


def test_a_call_for_people_that_must_wait_its_turn_is_never_set_aside(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def main() -> None:
        async with UpstreamSim.fixed(whole(204)) as sim, world(tmp_path, extra=receiver(tmp_path, sim)) as it:
            full = LimitExceeded("others were told so much", code="limit.exceeded", retry_after=30.0)

            async def refused(*_: Any, **__: Any) -> Any:
                raise full

            await escalated(it)
            own = it.gate.pipeline.own
            monkeypatch.setattr(it.gate.pipeline, "own", refused)
            for _ in range(8):
                await it.work_off()
                it.clock.advance(31)
            [row] = [one for one in await it.gate.work.page("default") if one.kind == "notify"]
            assert row.state == "due"
            monkeypatch.setattr(it.gate.pipeline, "own", own)
            await it.work_off()
            assert len(sim.seen) == 1

    asyncio.run(main())


def test_without_a_receiver_an_escalation_waits_for_people_in_the_gate(tmp_path: Path) -> None:
    async def main() -> None:
        async with world(tmp_path) as it:
            incident = await escalated(it)
            await it.work_off()
            whole_ = await read(it, await it.person("oncall"), incident)
            assert whole_["incident"]["state"] == "escalated"
            assert "notification" not in [event["kind"] for event in whole_["events"]]

    asyncio.run(main())


@contextlib.asynccontextmanager
async def two(folder: Path, sim: UpstreamSim) -> AsyncIterator[tuple[World, World]]:
    """Two gates on one database, that know one receiver."""
    url = fresh_url("postgresql", folder)
    async with world(folder, extra=receiver(folder, sim), store_url=url) as it:
        (folder / "second").mkdir()
        async with replica(it, folder / "second") as second:
            yield it, second


def test_of_two_replicas_at_once_one_tells_and_it_tells_once(tmp_path: Path) -> None:
    async def main() -> None:
        async with UpstreamSim.fixed(whole(204)) as sim, two(tmp_path, sim) as (it, second):
            incident = await escalated(it)
            await asyncio.gather(*(gate.background.work_off() for gate in (it.gate, second.gate) for _ in range(4)))
            await it.work_off()
            assert [one.json["data"]["incident"] for one in sim.seen] == [incident]

    asyncio.run(main())


@pytest.mark.parametrize("when", ["before the receiver answered", "before it was noted"])
def test_where_a_replica_dies_on_the_way_another_tells_under_the_same_id(tmp_path: Path, when: str) -> None:
    """Whether the receiver got the first one nobody can know, so it may get a second: by its id it knows that it is one."""

    async def main() -> None:
        answered = when == "before it was noted"
        reached, never = asyncio.Event(), asyncio.Event()

        async def answer(seen: Seen, writer: asyncio.StreamWriter) -> None:
            first = not reached.is_set()
            reached.set()
            if first and not answered:
                await never.wait()
            writer.write(whole(204))

        async with UpstreamSim(answer) as sim, two(tmp_path, sim) as (it, second):
            gone = asyncio.Event()
            for gate in (it.gate, second.gate):
                note = gate.incidents.note

                async def noted(*said: Any, _note: Any = note, **more: Any) -> Any:
                    if more["kind"] == "notification" and answered and not gone.is_set():
                        gone.set()
                        await never.wait()  # a process that is gone notes nothing
                    return await _note(*said, **more)

                gate.incidents.note = noted  # type: ignore[method-assign]
            incident = await escalated(it)
            tasks = [asyncio.create_task(gate.background.work_off()) for gate in (it.gate, second.gate)]
            await (gone if answered else reached).wait()
            it.clock.advance(HOLD_SECONDS + 1)
            while not await notified(it, incident):
                await asyncio.gather(it.gate.background.work_off(), second.gate.background.work_off())
                if not await held(it):  # a gate's own loop may be at it, and what it holds must not run out
                    it.clock.advance(5)
                await asyncio.sleep(0.01)
            ids = {one.headers["webhook-id"] for one in sim.seen}
            assert len(ids) == 1
            assert len(sim.seen) == (1 if answered else 2), "what is known to have arrived is not sent again"
            never.set()
            await asyncio.gather(*tasks, return_exceptions=True)

    asyncio.run(main())


async def held(it: World) -> bool:
    """Whether some gate is at its work in this moment."""
    now = it.clock.now_ns() // 10**9
    return any(one.holder.startswith("gate:") and one.until > now for one in await it.gate.work.page("default"))


async def notified(it: World, incident: str) -> list[Any]:
    """Events that say who was told."""
    return [one for one in await it.gate.incidents.events("default", incident) if one.kind == "notification"]
