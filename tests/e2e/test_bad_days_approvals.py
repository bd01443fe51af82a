"""An approval fits one exact request, once, for a while, and whatever changed since is seen when it is used."""

import asyncio
import contextlib
import json
import shutil
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import httpx

from broker.policy import keys as policy_keys
from broker.policy.bundle import build_bundle
from tests.parts import fresh_database
from tests.sim import few_goldens
from tests.sim.world import World, replica, world

RESTART = "local.process.restart"
NO_GRACE = "[sessions]\napproval_grace_seconds = 0\n"


def code(answer: httpx.Response) -> tuple[int, str]:
    return answer.status_code, answer.json().get("code", answer.json().get("status", ""))


async def proposed(it: World, who: Mapping[str, str], session: str, **more: Any) -> dict[str, Any]:
    answer = await it.act(who, RESTART, session, **more)
    assert answer.status_code == 202, answer.text
    return dict(answer.json())


class Idle:
    """A restart that was approved when its requester's sign-in had run out: it waits for the requester itself."""

    def __init__(self, it: World) -> None:
        self.it = it
        self.key = it.key()

    async def prepare(self) -> "Idle":
        first = await self.it.agent()
        self.session = await self.it.session(first)
        self.waiting = await proposed(self.it, first, self.session, key=self.key)
        self.it.clock.advance(700)
        done = await self.it.review(await self.it.person("security"), self.waiting["approval"])
        assert code(done)[0] == 200, done.text
        await self.it.sweep()
        assert self.it.restarts() == 0
        self.agent = await self.it.agent()
        return self

    async def use(self) -> httpx.Response:
        return await self.it.act(self.agent, RESTART, self.session, key=self.key)


@contextlib.asynccontextmanager
async def idle(folder: Path, **more: Any) -> AsyncIterator[tuple[World, Idle]]:
    async with world(folder, extra=NO_GRACE, **more) as it:
        yield it, await Idle(it).prepare()


def test_nobody_approves_for_themselves_nor_without_the_role(tmp_path: Path) -> None:
    async def main() -> None:
        async with world(tmp_path) as it:
            agent, oncall, security = await it.agent(), await it.person("oncall"), await it.person("security")
            session, own = await it.session(agent), await it.session(oncall)
            of_agent = (await proposed(it, agent, session))["approval"]
            of_person = (await proposed(it, oncall, own))["approval"]
            assert code(await it.review(agent, of_agent)) == (403, "allowlist.action_not_granted")
            assert code(await it.review(await it.person("auditor"), of_agent)) == (403, "allowlist.action_not_granted")
            assert code(await it.review(await it.person("stranger"), of_agent)) == (404, "approval.not_found")
            assert code(await it.review(oncall, of_person)) == (403, "approval.own")
            assert it.restarts() == 0
            assert code(await it.review(security, of_person))[0] == 200
            reviews = [record for record in await it.records() if record["kind"] == "review"]
            assert len(reviews) == 1

    asyncio.run(main())


def test_an_approval_is_for_what_was_shown_and_serves_once(tmp_path: Path) -> None:
    async def main() -> None:
        async with world(tmp_path) as it:
            agent, security, oncall = await it.agent(), await it.person("security"), await it.person("oncall")
            session, key = await it.session(agent), it.key()
            waiting = await proposed(it, agent, session, key=key)
            other = await proposed(it, agent, await it.session(agent))
            approval = waiting["approval"]
            assert approval["digest"] != other["approval"]["digest"], "another request has another digest"
            crossed = {**approval, "digest": other["approval"]["digest"]}
            assert code(await it.review(security, crossed)) == (409, "approval.digest")
            assert code(await it.review(security, {**approval, "digest": "0" * 64})) == (409, "approval.digest")
            assert code(await it.act(agent, RESTART, session, id_="storefront", key=key)) == (
                422,
                "idempotency.key_reused",
            )
            assert code(await it.act(agent, RESTART, session, {"x": 1}, key=key))[0] in {400, 422}
            assert it.restarts() == 0
            assert code(await it.review(security, approval))[0] == 200
            assert code(await it.outcome(agent, waiting["action_id"])) == (200, "done")
            assert it.restarts() == 1
            assert code(await it.review(security, approval)) == (409, "approval.closed")
            assert code(await it.review(oncall, approval)) == (409, "approval.closed")
            assert code(await it.act(agent, RESTART, session, id_="storefront", key=key)) == (
                422,
                "idempotency.key_reused",
            )
            assert code(await it.act(agent, RESTART, session, key=key)) == (200, "done")
            fresh = await it.act(agent, RESTART, session, key=it.key())
            assert fresh.status_code == 202, "a new request asks people again"
            # The other proposal was planned on the process that the first restart ended.
            assert code(await it.review(security, other["approval"]))[0] == 200
            assert code(await it.outcome(agent, other["action_id"]))[0] == 403
            assert it.restarts() == 1

    asyncio.run(main())


def test_a_requester_whose_sign_in_ran_out_resumes_with_a_fresh_request_only(tmp_path: Path) -> None:
    async def main() -> None:
        async with idle(tmp_path) as (it, approved):
            stale = await it.gate.approvals.get("default", approved.waiting["approval"]["id"])
            assert stale.state == "approved"
            assert code(await approved.use()) == (200, "done")
            assert it.restarts() == 1
            await it.sweep()
            assert it.restarts() == 1

    asyncio.run(main())


def test_a_policy_activated_after_the_approval_is_asked_afresh(tmp_path: Path) -> None:
    async def main() -> None:
        async with idle(tmp_path) as (it, approved):
            key = policy_keys.dev_key(it.data / "keys", dev=True)
            bundle = build_bundle(it.policies, key, "7")
            await it.gate.policy.activate(bundle.archive, bundle.signature, by="dev:test")
            assert code(await approved.use()) == (403, "approval.policy_changed")
            assert it.restarts() == 0
            refused = (await it.records())[-1]
            assert (refused["kind"], refused["body"]["error"]) == ("refusal", "approval.policy_changed")

    asyncio.run(main())


def test_a_policy_activated_while_it_waits_makes_the_approval_worthless(tmp_path: Path) -> None:
    async def main() -> None:
        async with world(tmp_path) as it:
            agent = await it.agent()
            waiting = await proposed(it, agent, await it.session(agent))
            bundle = build_bundle(it.policies, policy_keys.dev_key(it.data / "keys", dev=True), "7")
            await it.gate.policy.activate(bundle.archive, bundle.signature, by="dev:test")
            await it.review(await it.person("security"), waiting["approval"])
            answer = await it.outcome(agent, waiting["action_id"])
            assert code(answer) == (403, "approval.cancelled")
            assert it.restarts() == 0

    asyncio.run(main())


def test_a_kill_switch_pulled_after_the_approval_stops_it(tmp_path: Path) -> None:
    async def main() -> None:
        async with idle(tmp_path) as (it, approved):
            oncall, security = await it.person("oncall"), await it.person("security")
            pull = {"scope": "agent", "target": "dev:agent-1", "reason": "it restarts too much"}
            assert (await it.client.post("/v1/kill", json=pull, headers={**oncall, **it.key()})).status_code == 200
            assert code(await approved.use()) == (403, "kill.stopped")
            assert it.restarts() == 0
            own = await it.client.post("/v1/kill/resume", json=pull, headers={**approved.agent, **it.key()})
            assert own.status_code == 403
            resumed = await it.client.post("/v1/kill/resume", json=pull, headers={**security, **it.key()})
            assert resumed.status_code == 200, resumed.text
            assert code(await approved.use()) == (200, "done")
            assert it.restarts() == 1

    asyncio.run(main())


def test_a_kill_switch_pulled_while_it_waits_ends_it_at_the_approval(tmp_path: Path) -> None:
    async def main() -> None:
        async with world(tmp_path) as it:
            agent, security = await it.agent(), await it.person("security")
            waiting = await proposed(it, agent, await it.session(agent))
            pull = {"scope": "connector", "target": "local", "reason": "stop"}
            assert (await it.client.post("/v1/kill", json=pull, headers={**security, **it.key()})).status_code == 200
            await it.review(security, waiting["approval"])
            assert code(await it.outcome(agent, waiting["action_id"])) == (403, "approval.cancelled")
            assert it.restarts() == 0

    asyncio.run(main())


def test_a_target_that_changed_after_the_plan_is_planned_again(tmp_path: Path) -> None:
    async def main() -> None:
        async with world(tmp_path) as it:
            agent = await it.agent()
            waiting = await proposed(it, agent, await it.session(agent))
            child = it.supervisor.children["checkout"]
            await it.supervisor.restart(child, {"action_id": "somebody-else", "expected_pid": child.running.pid})
            pid = child.running.pid
            await it.review(await it.person("security"), waiting["approval"])
            assert code(await it.outcome(agent, waiting["action_id"])) == (403, "approval.cancelled")
            refusals = [record["body"]["error"] for record in await it.records() if record["kind"] == "refusal"]
            assert refusals == ["approval.plan_drifted"]
            assert child.running.pid == pid

    asyncio.run(main())


def test_an_approval_that_comes_too_late_is_none(tmp_path: Path) -> None:
    async def main() -> None:
        async with world(tmp_path) as it:
            agent = await it.agent()
            session, key = await it.session(agent), it.key()
            waiting = await proposed(it, agent, session, key=key)
            it.clock.advance(901)
            agent, security = await it.agent(), await it.person("security")
            assert code(await it.review(security, waiting["approval"])) == (409, "approval.expired")
            assert code(await it.outcome(agent, waiting["action_id"])) == (403, "approval.expired")
            await it.gate.background.sweep()
            assert code(await it.outcome(agent, waiting["action_id"])) == (403, "approval.expired")
            assert it.restarts() == 0

    asyncio.run(main())


def test_an_approval_that_was_not_used_in_time_is_none(tmp_path: Path) -> None:
    async def main() -> None:
        async with idle(tmp_path) as (it, approved):
            it.clock.advance(250)
            answer = await approved.use()
            assert answer.status_code in {202, 403, 409}, answer.text
            assert it.restarts() == 0
            if answer.status_code == 202:
                assert answer.json()["approval"]["id"] != approved.waiting["approval"]["id"]

    asyncio.run(main())


def test_a_denied_request_stays_denied(tmp_path: Path) -> None:
    async def main() -> None:
        async with world(tmp_path) as it:
            agent, security = await it.agent(), await it.person("security")
            session, key = await it.session(agent), it.key()
            waiting = await proposed(it, agent, session, key=key)
            assert code(await it.review(security, waiting["approval"], "deny"))[0] == 200
            assert code(await it.outcome(agent, waiting["action_id"])) == (403, "approval.denied")
            assert code(await it.act(agent, RESTART, session, key=key))[0] == 403
            assert code(await it.review(security, waiting["approval"])) == (409, "approval.closed")
            assert it.restarts() == 0

    asyncio.run(main())


def test_every_surface_at_once_gives_one_execution(tmp_path: Path) -> None:
    async def main() -> None:
        async with world(tmp_path) as it:
            agent, security, oncall = await it.agent(), await it.person("security"), await it.person("oncall")
            session, key = await it.session(agent), it.key()
            waiting = await proposed(it, agent, session, key=key)
            surfaces = [
                it.review(security, waiting["approval"]),
                it.review(oncall, waiting["approval"]),
                *(it.outcome(agent, waiting["action_id"]) for _ in range(3)),
                *(it.act(agent, RESTART, session, key=key) for _ in range(3)),
                it.gate.background.sweep(),
                it.gate.background.sweep(),
            ]
            answers = [one for one in await asyncio.gather(*surfaces) if one is not None]
            assert {answer.status_code for answer in answers} <= {200, 202, 409}, [answer.text for answer in answers]
            assert code(await it.outcome(agent, waiting["action_id"])) == (200, "done")
            await it.sweep()
            assert it.restarts() == 1
            kinds = [
                record["kind"] for record in await it.records() if record.get("id", "").startswith(waiting["action_id"])
            ]
            assert kinds.count("intent") == kinds.count("outcome") == 1

    asyncio.run(main())


def test_two_gates_on_one_database_give_one_execution(tmp_path: Path) -> None:
    url = fresh_database().replace("postgresql://", "postgresql+psycopg://")

    async def main() -> None:
        async with world(tmp_path, store_url=url) as one, replica(one, tmp_path / "second") as two:
            # Each development provider signs with a key of its own; the parties have the same ids on both.
            agent, security = await one.agent(), await one.person("security")
            agent_there, oncall = await two.agent(), await two.person("oncall")
            session, key = await one.session(agent), one.key()
            for round_ in range(1, 4):
                waiting = await proposed(one, agent, session, key=key)
                seen = await two.act(agent_there, RESTART, session, key=key)
                assert seen.status_code == 202, seen.text
                assert seen.json()["approval"]["id"] == waiting["approval"]["id"]
                await asyncio.gather(
                    one.review(security, waiting["approval"]),
                    two.review(oncall, waiting["approval"]),
                    one.act(agent, RESTART, session, key=key),
                    two.act(agent_there, RESTART, session, key=key),
                    one.gate.background.sweep(),
                    two.gate.background.sweep(),
                )
                assert code(await one.outcome(agent, waiting["action_id"])) == (200, "done")
                assert code(await two.outcome(agent_there, waiting["action_id"])) == (200, "done")
                await two.gate.background.sweep()
                assert one.restarts() == round_
                key = {"Idempotency-Key": f"round-{round_}"}
            intents = [
                record
                for record in await two.records()
                if record["kind"] == "intent" and record["body"]["action"]["name"] == RESTART
            ]
            assert len(intents) == 3

    asyncio.run(main())


def policies_with_a_bound(folder: Path) -> Path:
    """The policy folder, with a bounded argument on the restart."""
    shutil.copytree(few_goldens.policies(), folder)
    manifest = folder / "manifests" / "local.yaml"
    head, name, rest = manifest.read_text().partition("  local.process.restart:\n")
    bounded = rest.replace(
        "arguments: {}", "arguments:\n      wait_s: {type: integer, minimum: 0, maximum: 60, default: 30}", 1
    )
    manifest.write_text(head + name + bounded)
    return folder


def test_a_reviewer_may_only_narrow_and_what_was_narrowed_is_what_runs(tmp_path: Path) -> None:
    async def main() -> None:
        async with world(tmp_path, policies=policies_with_a_bound(tmp_path / "policies")) as it:
            agent, security = await it.agent(), await it.person("security")
            session, key = await it.session(agent), it.key()
            waiting = await proposed(it, agent, session, arguments={"wait_s": 20}, key=key)
            approval = waiting["approval"]
            for wider in ({"wait_s": 21}, {"wait_s": "5"}, {"wait_s": True}, {"other": 1}, {"wait_s": -1}):
                assert code(await it.review(security, approval, narrow=wider)) == (400, "approval.not_narrower"), wider
            assert it.restarts() == 0
            assert code(await it.review(security, approval, narrow={"wait_s": 5}))[0] == 200
            assert code(await it.outcome(agent, waiting["action_id"])) == (200, "done")
            intent = await it.gate.log.find("default", waiting["action_id"])
            assert intent is not None
            payload = await it.gate.log.payload("default", intent)
            assert isinstance(payload, bytes)
            assert json.loads(payload)["arguments"] == {"wait_s": 5}
            assert intent.record["body"]["request_digest"] != approval["digest"]
            assert it.restarts() == 1
            assert code(await it.act(agent, RESTART, session, {"wait_s": 20}, key=key)) == (200, "done")
            assert it.restarts() == 1

    asyncio.run(main())
