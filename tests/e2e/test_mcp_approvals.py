"""While people decide: rounds, held calls and answers that it waits, over the Model Context Protocol."""

import asyncio
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tests.parts import fresh_database
from tests.sim.mcp_client import LEGACY, TARGET, Mcp
from tests.sim.world import World, replica, world

BRIEFLY = "[mcp]\nhold_seconds = 0.2\nrounds_max = 3\n"
PATIENTLY = "[mcp]\nhold_seconds = 300\n"
RESTART = {"name": "local_process_restart", "arguments": {"resource": TARGET, "reason": "it does not answer"}}


async def waiting(it: World, who: Mapping[str, str], count: int = 1) -> list[dict[str, Any]]:
    """What waits, once there are ``count``."""
    for _ in range(9_000):
        found: list[dict[str, Any]] = (await it.client.get("/v1/approvals", headers=who)).json()["approvals"]
        if len(found) >= count:
            return found
        await asyncio.sleep(0.01)
    raise AssertionError("nothing waits")


def test_a_client_without_handshake_waits_in_rounds_and_gets_the_result(tmp_path: Path) -> None:
    async def main() -> None:
        async with world(tmp_path, extra=BRIEFLY) as it:
            agent, person = Mcp(it, await it.agent()), await it.person("oncall")
            first = await agent.restart()
            assert first["resultType"] == "input_required"
            assert "inputRequests" not in first
            second = await agent.restart(requestState=first["requestState"])
            assert second["resultType"] == "input_required"
            [approval] = await waiting(it, person)
            assert it.restarts() == 0
            assert (await it.review(person, approval)).status_code == 200
            await it.outcome(agent.who, approval["action_id"])
            done = await agent.restart(requestState=second["requestState"])
            assert done["structuredContent"]["status"] == "done", done
            assert done["isError"] is False
            assert it.restarts() == 1
            # The same round once more tells the same, and does nothing.
            again = await agent.restart(requestState=second["requestState"])
            assert again["structuredContent"] == done["structuredContent"]
            assert it.restarts() == 1

    asyncio.run(main())


def test_after_the_last_round_it_says_that_it_waits_and_how_to_ask_again(tmp_path: Path) -> None:
    async def main() -> None:
        async with world(tmp_path, extra=BRIEFLY) as it:
            agent, person = Mcp(it, await it.agent()), await it.person("oncall")
            answer, rounds = await agent.restart(), 0
            while answer["resultType"] == "input_required":
                rounds += 1
                answer = await agent.restart(requestState=answer["requestState"])
            assert rounds == 3
            shown = answer["structuredContent"]
            assert (shown["status"], answer["isError"]) == ("waiting", False)
            assert shown["approval"]["page"].endswith(f"/console/inbox/{shown['approval']['id']}")
            assert "gate_actions_read" in shown["next"]
            [approval] = await waiting(it, person)
            await it.review(person, approval)
            await it.outcome(agent.who, approval["action_id"])
            asked = {"arguments": {"action": shown["action_id"]}}
            assert (await agent.call("gate_actions_read", asked))["structuredContent"]["status"] == "done"
            stranger = Mcp(it, await it.agent("agent-2"))
            theirs = await stranger.call("gate_actions_read", asked)
            assert theirs["structuredContent"]["error"]["code"] == "action.not_found"

    asyncio.run(main())


def test_an_address_is_shown_where_the_client_can_and_what_it_answers_is_no_approval(tmp_path: Path) -> None:
    async def main() -> None:
        async with world(tmp_path, extra=BRIEFLY) as it:
            agent = Mcp(it, await it.agent(), capabilities={"elicitation": {"form": {}, "url": {}}})
            first = await agent.restart()
            shown = first["inputRequests"]["approval"]
            [approval] = await waiting(it, await it.person("oncall"))
            assert shown["params"]["url"] == f"http://localhost:8480/console/inbox/{approval['id']}"
            for said in ("accept", "decline", "cancel"):
                answer = await agent.restart(
                    requestState=first["requestState"], inputResponses={"approval": {"action": said}}
                )
                assert answer["resultType"] == "input_required"
            assert len(await waiting(it, await it.person("oncall"))) == 1
            assert it.restarts() == 0

    asyncio.run(main())


def test_an_older_client_is_held_with_progress_until_people_answered(tmp_path: Path) -> None:
    async def main() -> None:
        async with world(tmp_path, extra=PATIENTLY) as it:
            agent, person = Mcp(it, await it.agent(), LEGACY), await it.person("oncall")
            await agent.hello()
            call = asyncio.create_task(agent.restart(_meta={"progressToken": "p"}))
            [approval] = await waiting(it, person)
            assert not call.done()
            await it.review(person, approval)
            done = await call
            assert done["structuredContent"]["status"] == "done"
            assert it.restarts() == 1
            progress = [one["params"]["progress"] for one in agent.seen if one["method"] == "notifications/progress"]
            assert progress[0] == 0
            assert progress == sorted(progress)

    asyncio.run(main())


def test_what_people_refuse_is_a_tools_error(tmp_path: Path) -> None:
    async def main() -> None:
        async with world(tmp_path, extra=PATIENTLY) as it:
            agent, person = Mcp(it, await it.agent()), await it.person("oncall")
            call = asyncio.create_task(agent.restart())
            [approval] = await waiting(it, person)
            await it.review(person, approval, "deny")
            refused = await call
            assert refused["isError"]
            assert refused["structuredContent"]["error"]["code"] == "approval.denied"

    asyncio.run(main())


def test_a_state_that_is_forged_anothers_or_of_another_request_is_refused(tmp_path: Path) -> None:
    async def main() -> None:
        async with world(tmp_path, extra=BRIEFLY) as it:
            agent, other = Mcp(it, await it.agent()), Mcp(it, await it.agent("agent-2"))
            behalf = Mcp(it, await it.on_behalf(await it.person("oncall")))
            state = (await agent.restart())["requestState"]
            another = {"resource": TARGET, "reason": "another reason"}
            tries = [
                (agent, {**RESTART, "requestState": state[:-4] + "AAAA"}),
                (agent, {**RESTART, "requestState": json.dumps({"action": "act_1", "round": 1})}),
                (agent, {**RESTART, "arguments": another, "requestState": state}),
                (agent, {"name": "local_process_status", "arguments": {"resource": TARGET}, "requestState": state}),
                (other, {**RESTART, "requestState": state}),
                (behalf, {**RESTART, "requestState": state}),
            ]
            before = len(await it.records())
            for client, params in tries:
                answer = await client.ask("tools/call", params)
                assert answer["error"]["message"] == "Invalid or expired requestState", params
            assert len(await it.records()) == before
            assert it.restarts() == 0

    asyncio.run(main())


def test_a_kill_switch_ends_a_held_call_and_what_it_waits_for_does_not_run(tmp_path: Path) -> None:
    async def main() -> None:
        async with world(tmp_path, extra=PATIENTLY) as it:
            agent, person = Mcp(it, await it.agent()), await it.person("oncall")
            call = asyncio.create_task(agent.restart())
            [approval] = await waiting(it, person)
            stop = {"scope": "agent", "target": "dev:agent-1", "reason": "it misbehaves"}
            assert (await it.client.post("/v1/kill", json=stop, headers={**person, **it.key()})).status_code == 200
            ended = await call
            assert ended["structuredContent"]["error"]["code"] == "kill.pulled"
            await it.review(person, approval)
            await it.work_off()
            assert it.restarts() == 0

    asyncio.run(main())


def test_a_sign_in_that_ends_ends_a_held_call(tmp_path: Path) -> None:
    async def main() -> None:
        async with world(tmp_path, extra=PATIENTLY) as it:
            agent, person = Mcp(it, await it.agent()), await it.person("oncall")
            call = asyncio.create_task(agent.restart())
            await waiting(it, person)
            it.clock.advance(700)
            ended = await call
            assert ended["structuredContent"]["error"]["code"].startswith("identity.")

    asyncio.run(main())


def test_a_party_holds_so_many_calls_and_no_more(tmp_path: Path) -> None:
    async def main() -> None:
        async with world(tmp_path, extra=PATIENTLY + "held_per_party_max = 1\n") as it:
            agent, person = Mcp(it, await it.agent()), await it.person("oncall")
            call = asyncio.create_task(agent.restart())
            [approval] = await waiting(it, person)
            further = await agent.restart()
            assert further["structuredContent"]["status"] == "waiting"
            await it.review(person, approval)
            assert (await call)["structuredContent"]["status"] == "done"

    asyncio.run(main())


def test_a_round_may_end_at_another_replica(tmp_path: Path) -> None:
    async def main() -> None:
        url = fresh_database().replace("postgresql://", "postgresql+psycopg://")
        async with world(tmp_path, store_url=url, extra=BRIEFLY) as it:
            agent, person = Mcp(it, await it.agent()), await it.person("oncall")
            state = (await agent.restart())["requestState"]
            (tmp_path / "b").mkdir()
            async with replica(it, tmp_path / "b") as other:
                [approval] = await waiting(it, person)
                assert (await it.review(person, approval)).status_code == 200
                await it.outcome(agent.who, approval["action_id"])
                elsewhere = Mcp(other, await other.agent())
                done = await elsewhere.restart(requestState=state)
                assert done["structuredContent"]["status"] == "done", done
                assert it.restarts() == 1
                # The door's own session is the same one there, too.
                here = await agent.call("local_process_status", {"resource": TARGET})
                there = await elsewhere.call("local_process_status", {"resource": TARGET})
                sessions = [one.get("session") for one in await it.records() if one["kind"] == "intent"][-2:]
                assert sessions[0] == sessions[1], (here, there)

    asyncio.run(main())
