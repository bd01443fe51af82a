"""Calls of MCP clients that must come from a model turn which the gate itself relayed, and the attacks on that.

The client is Claude Code's as it looks on the wire: its model calls name its run, its tool calls name the tool use.
"""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.test_mcp_approvals import BRIEFLY
from tests.parts import fresh_database
from tests.sim.mcp_client import LEGACY, TARGET, Mcp
from tests.sim.model_server import Turn
from tests.sim.policies import folder_of
from tests.sim.world import MODEL, World, replica, world

STATUS, RESTART = "local_process_status", "local_process_restart"
LOOK = {"resource": TARGET, "reason": "a look"}
AGAIN = {"resource": TARGET, "reason": "it does not answer"}
ASKING = {"model": MODEL, "max_tokens": 64, "messages": [{"role": "user", "content": "look after checkout"}]}
LISTED = {"config/guardrails/data.yaml": ('parties: ["dev:coding-agent"]', 'parties: ["dev:agent-1"]')}
SELDOM = "looks: {scope: actor, tiers: [0], holders: [agent], actions: [local.process.status], except: [], max: 1, window_s: 60, burst: 1, cost: action}"  # fmt: skip
LONG = "[sessions]\nseconds_max = 14400\n"
SLOWLY = ("tier: 2, quorum: 1, roles: [oncall, security], expires_s: 900", "tier: 2, quorum: 1, roles: [oncall, security], expires_s: 9000")  # fmt: skip
NO_TURN, OTHER, LIMIT = "turn.not_relayed", "turn.other_call", "limit.exceeded"


@dataclass
class Coder:
    """A coding agent: a model behind the gate, and the gate's tools."""

    it: World
    mcp: Mcp
    told: list[Any] = field(default_factory=list)
    """Inputs of the tool uses of the last streamed turn."""

    async def turn(self, *, stream: bool = True, **headers: str) -> list[str]:
        """Let the model answer; the ids of the tool uses in what came back."""
        run = {} if headers else {"x-claude-code-session-id": "run"}
        answer = await self.it.client.post(
            "/llm/anthropic/v1/messages", json={**ASKING, "stream": stream}, headers={**self.mcp.who, **run, **headers}
        )
        assert answer.status_code == 200, answer.text
        if not stream:
            return [one["id"] for one in answer.json()["content"] if one["type"] == "tool_use"]
        events = [json.loads(line[6:]) for line in answer.text.splitlines() if line.startswith("data: ")]
        pieces: dict[int, str] = {}
        for event in events:
            if event["type"] == "content_block_delta" and event["delta"]["type"] == "input_json_delta":
                pieces[event["index"]] = pieces.get(event["index"], "") + event["delta"]["partial_json"]
        self.told = [json.loads(piece) for piece in pieces.values()]
        blocks = [event["content_block"] for event in events if event["type"] == "content_block_start"]
        return [one["id"] for one in blocks if one["type"] == "tool_use"]

    async def call(self, use: str, arguments: Any = LOOK, tool: str = STATUS, **more: str) -> str:
        """Call a tool; empty where it was done or waits, else the refusal's code."""
        meta = {"claudecode/toolUseId": use, **more} if use else more
        told = (await self.mcp.call(tool, arguments, _meta=meta)).get("structuredContent", {})
        return str(told.get("error", {}).get("code", ""))


@asynccontextmanager
async def coding(
    folder: Path, *tools: tuple[str, Any], changes: Any = LISTED, store_url: str = "", extra: str = ""
) -> AsyncIterator[Coder]:
    """A gate whose model asks for ``tools`` at each turn; ``changes`` of policy list the agent."""
    policies = folder_of(folder / "policies", changes)
    named = tuple((f"mcp__wicketgate__{name}", given) for name, given in tools)
    async with world(
        folder, turns=[Turn("", named)], policies=policies, store_url=store_url, extra=BRIEFLY + extra
    ) as it:
        yield Coder(it, Mcp(it, await it.agent()))


async def turns(it: World, action: str) -> list[Any]:
    """What the records of an action say of its turn, beside the kind."""
    return [(one["kind"], one["body"].get("turn")) for one in await it.records() if one["body"].get("action", {}).get("name") == action and one["kind"] != "outcome"]  # fmt: skip


@pytest.mark.parametrize("stream", [True, False])
def test_a_call_that_a_relayed_turn_asked_for_is_done_once(tmp_path: Path, stream: bool) -> None:
    async def main() -> None:
        async with coding(tmp_path, (STATUS, LOOK), (STATUS, {**LOOK, "reason": "another"})) as coder:
            first, second = await coder.turn(stream=stream)
            assert await coder.call(first) == ""
            assert await coder.call(first) == NO_TURN, "it was used"
            assert await coder.call("") == NO_TURN, "none is named"
            assert await coder.call("toolu_invented") == NO_TURN
            assert await coder.call(second) == OTHER, "other arguments than the model gave"
            assert await coder.call(second, AGAIN, RESTART) == OTHER, "another tool"
            assert await coder.call(second, {**LOOK, "reason": "another"}) == "", "what was tried with it spent nothing"
            yes, no = {"relayed": True, "matches": True}, {"relayed": False, "matches": False}
            assert await turns(coder.it, "local.process.status") == [("intent", yes), *[("refusal", no)] * 3, ("refusal", {"relayed": True, "matches": False}), ("intent", yes)]  # fmt: skip
            assert coder.it.restarts() == 0

    asyncio.run(main())


def test_a_turn_serves_its_own_session_and_party_for_an_hour(tmp_path: Path) -> None:
    async def main() -> None:
        async with coding(tmp_path, (STATUS, LOOK)) as coder:
            it, agent = coder.it, coder.mcp.who
            other = Coder(it, Mcp(it, agent, headers={"Wicketgate-Session": await it.session(agent)}))
            [use] = await coder.turn()
            assert await other.call(use) == NO_TURN, "another session of the same agent"
            person = await it.person("oncall")
            theirs = Coder(it, Mcp(it, await it.on_behalf(person)))
            assert await theirs.call(use) == NO_TURN, "the same agent for somebody else"
            assert await coder.call(use) == ""
            [late] = await coder.turn()
            it.clock.advance(3_600)
            coder.mcp.who = await it.agent()
            assert await coder.call(late) == NO_TURN, "too long ago"
            [fresh] = await coder.turn()
            assert await coder.call(fresh) == ""
            # A client that shakes hands has a session of its own: it names it at the model's endpoint, too.
            older = Coder(it, Mcp(it, coder.mcp.who, LEGACY))
            await older.mcp.hello()
            [its] = await older.turn(**{"Wicketgate-Session": older.mcp.headers["Mcp-Session-Id"]})
            assert await coder.call(its) == NO_TURN
            assert await older.call(its) == ""

    asyncio.run(main())


def test_of_many_calls_at_two_replicas_one_uses_a_turn(tmp_path: Path) -> None:
    async def main() -> None:
        url = fresh_database().replace("postgresql://", "postgresql+psycopg://")
        async with coding(tmp_path, (STATUS, LOOK), store_url=url) as coder:
            (tmp_path / "b").mkdir()
            async with replica(coder.it, tmp_path / "b") as second:
                elsewhere = Coder(second, Mcp(second, await second.agent()))
                [use] = await coder.turn()
                answers = await asyncio.gather(*(one.call(use) for one in (coder, elsewhere) * 2))
                assert sorted(answers) == ["", *[NO_TURN] * 3]
                [next_] = await elsewhere.turn()
                assert await coder.call(next_) == "", "what one replica relayed, the other knows"
                assert await elsewhere.call(next_) == NO_TURN

    asyncio.run(main())


def test_what_waits_for_people_keeps_its_turn_and_a_repetition_is_the_same_call(tmp_path: Path) -> None:
    async def main() -> None:
        async with coding(tmp_path, (RESTART, AGAIN)) as coder:
            it = coder.it
            [use] = await coder.turn()
            assert await coder.call(use, AGAIN, RESTART) == ""
            person = await it.person("oncall")
            [approval] = (await it.client.get("/v1/approvals", headers=person)).json()["approvals"]
            assert (await it.review(person, approval)).status_code == 200
            done = await it.outcome(coder.mcp.who, approval["action_id"])
            assert done.json()["status"] == "done", done.text
            assert await coder.call(use, AGAIN, RESTART) == "", "the same call: its stored answer"
            assert await coder.call(use, {**AGAIN, "resource": {**TARGET, "id": "payments"}}, RESTART) != ""
            assert it.restarts() == 1
            relayed = {"relayed": True, "matches": True}
            assert [one for one in await turns(it, "local.process.restart") if one[0] != "refusal"] == [("proposal", relayed), ("intent", relayed)]  # fmt: skip

    asyncio.run(main())


def test_a_turn_is_compared_as_it_went_out(tmp_path: Path) -> None:
    async def main() -> None:
        said = {**LOOK, "reason": "alice.miller@example.org says that it is down"}
        async with coding(tmp_path, (STATUS, said)) as coder:
            [use] = await coder.turn()
            [told] = coder.told
            assert "alice.miller" not in told["reason"]
            assert await coder.call(use, said) == OTHER, "the client never saw that"
            assert await coder.call(use, told) == ""

    asyncio.run(main())


def test_nobody_is_held_to_it_who_is_not_listed(tmp_path: Path) -> None:
    async def main() -> None:
        async with coding(tmp_path, (STATUS, LOOK), changes={}) as coder:
            [use] = await coder.turn()
            assert await coder.call("") == ""
            assert await coder.call(use, {**LOOK, "reason": "other"}) == ""
            assert await turns(coder.it, "local.process.status") == [("intent", {"relayed": False, "matches": False}), ("intent", {"relayed": True, "matches": False})]  # fmt: skip
            session = await coder.it.session(coder.mcp.who)
            assert (await coder.it.act(coder.mcp.who, "local.process.status", session)).status_code == 200
            assert (await turns(coder.it, "local.process.status"))[-1] == ("intent", None), "no call of an MCP client"

    asyncio.run(main())


@pytest.mark.parametrize("stream", [True, False])
def test_an_answer_that_is_paid_for_goes_out_though_its_turn_cannot_be_remembered(
    tmp_path: Path, stream: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    async def main() -> None:
        async with coding(tmp_path, (STATUS, LOOK)) as coder:
            store = coder.it.gate.store
            await coder.turn(stream=stream)
            await store.write(lambda c: c.exec_driver_sql("ALTER TABLE relayed_turn RENAME TO away"))
            capsys.readouterr()
            [lost] = await coder.turn(stream=stream)
            told = [one for one in capsys.readouterr().err.splitlines() if "turn.forgotten" in one]
            [line] = map(json.loads, told)
            assert (line["level"], line["code"]) == ("warning", "store.unavailable")
            await store.write(lambda c: c.exec_driver_sql("ALTER TABLE away RENAME TO relayed_turn"))
            assert await coder.call(lost) == NO_TURN
            [kept] = await coder.turn(stream=stream)
            assert await coder.call(kept) == ""

    asyncio.run(main())


def test_a_read_that_is_refused_before_it_begins_may_be_sent_again(tmp_path: Path) -> None:
    seldom = LISTED | {"config/limits/data.yaml": ("", SELDOM)}

    async def main() -> None:
        async with coding(tmp_path, (STATUS, LOOK), (STATUS, {**LOOK, "reason": "another"}), changes=seldom) as coder:
            first, second = await coder.turn()
            assert await coder.call(first) == ""
            for _ in range(2):
                assert await coder.call(second, {**LOOK, "reason": "another"}) == LIMIT
            coder.it.clock.advance(60)
            assert await coder.call(first) == NO_TURN, "it was done"
            assert await coder.call(second, {**LOOK, "reason": "another"}) == ""
            coder.it.clock.advance(60)
            assert await coder.call(second, {**LOOK, "reason": "another"}) == NO_TURN

    asyncio.run(main())


def test_what_waits_is_the_same_call_though_its_turn_is_long_ago(tmp_path: Path) -> None:
    slowly = LISTED | {"config/approval/data.yaml": SLOWLY}

    async def main() -> None:
        async with coding(tmp_path, (RESTART, AGAIN), changes=slowly, extra=LONG) as coder:
            it, keyed = coder.it, {"wicketgate/idempotencyKey": "restart-1"}
            [use] = await coder.turn()
            assert await coder.call(use, AGAIN, RESTART, **keyed) == ""
            it.clock.advance(3_700)
            coder.mcp.who = await it.agent()
            assert await coder.call(use, AGAIN, RESTART, **keyed) == "", "it waits still"
            other = {"wicketgate/idempotencyKey": "restart-2"}
            assert await coder.call(use, AGAIN, RESTART, **other) == NO_TURN, "another call is another one"
            person = await it.person("oncall")
            [approval] = (await it.client.get("/v1/approvals", headers=person)).json()["approvals"]
            assert (await it.review(person, approval)).status_code == 200
            # Who asked signed in too long ago for the gate to go on by itself: their call does.
            assert await coder.call(use, AGAIN, RESTART, **keyed) == ""
            assert it.restarts() == 1

    asyncio.run(main())
