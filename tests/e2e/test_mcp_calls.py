"""Tools by the Model Context Protocol: what is listed, what a call is, and what comes back."""

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from broker.web.mcp import listing
from tests.sim.mcp_client import LEGACY, MODERN, TARGET, Mcp
from tests.sim.policies import built, folder_of, sent
from tests.sim.world import World, world

REVISIONS = (LEGACY, MODERN)
STATUS = {"resource": TARGET}
NOBODYS = ("mcp.no_tool", -32602)


async def client(it: World, who: dict[str, str], revision: str = MODERN, **more: Any) -> Mcp:
    """A client that is ready to ask."""
    made = Mcp(it, who, revision, **more)
    if revision == LEGACY:
        await made.hello()
    return made


async def without_cache_clear(it: World, folder: Path) -> None:
    """Activate a policy that grants an agent one action less."""
    granted = "  local.cache.clear: {environments: [prod, staging], resource_types: [process]}\n"
    changed = folder_of(folder, {"config/grants/data.yaml": (granted, "")})
    person, deputy = await it.person("security"), await it.person("deputy")
    proposed = (await sent(it, person, built(it, changed, "2-fewer"))).json()
    assert (await it.review(deputy, proposed["approval"])).status_code == 200
    done = await it.outcome(person, proposed["action_id"])
    assert done.json()["status"] == "done", done.text


def test_tools_are_those_that_policy_could_permit_the_caller(tmp_path: Path) -> None:
    async def main() -> None:
        async with world(tmp_path) as it:
            agent, auditor = await client(it, await it.agent()), await client(it, await it.person("auditor"))
            names, few = await agent.names(), await auditor.names()
            assert "local_process_restart" in names
            assert "local_process_restart" not in few
            assert {"gate_review_create", "gate_kill_resume", "llm_messages_create"}.isdisjoint(names)
            # A tier-3 action is a person's work, so it is no agent's tool in production; elsewhere it may be.
            index = next(
                one for one in (await agent.ask("tools/list"))["result"]["tools"] if one["name"] == "local_index_create"
            )
            assert index["inputSchema"]["properties"]["resource"]["properties"]["env"]["enum"] == ["staging"]
            assert names == sorted(names)
            older = await client(it, await it.agent(), LEGACY)
            assert await older.names() == names

    asyncio.run(main())


def test_a_hidden_tool_and_a_name_that_nobody_has_get_the_same_answer_on_record(tmp_path: Path) -> None:
    async def main() -> None:
        async with world(tmp_path) as it:
            auditor = await client(it, await it.person("auditor"))
            assert not (await auditor.call("gate_incidents_read", {}))["isError"]  # and no session can be opened
            before = len(await it.records())
            # With arguments that are right, wrong or none at all, it does not show whether there is such a thing.
            for name in ("local_process_restart", "no_such_tool"):
                for arguments in ({"resource": TARGET, "reason": "x"}, {"nope": 1}, {}):
                    answer = await auditor.ask("tools/call", {"name": name, "arguments": arguments})
                    assert answer["error"]["code"] == -32602
                    assert answer["error"]["message"] == f"Unknown tool: {name}"
                    assert answer["error"]["data"] == {"code": "mcp.no_tool", "remedy": "list the tools"}
            refused = [one for one in (await it.records())[before:] if one["kind"] == "refusal"]
            assert len(refused) == 6, "each of the six is on record"
            assert it.restarts() == 0

    asyncio.run(main())


def test_peoples_own_acts_are_nobodys_tools(tmp_path: Path) -> None:
    async def main() -> None:
        async with world(tmp_path, extra="[mcp]\nhold_seconds = 0.2\n") as it:
            agent = await client(it, await it.agent())
            waits = await agent.restart(_meta={"progressToken": 1})
            assert waits["resultType"] == "input_required"
            person = await it.person("oncall")
            [approval] = (await it.client.get("/v1/approvals", headers=person)).json()["approvals"]
            review = {"approval": approval["id"], "verdict": "approve", "digest": approval["digest"]}
            model = await client(it, person)
            answer = await model.ask("tools/call", {"name": "gate_review_create", "arguments": {"arguments": review}})
            assert answer["error"]["code"] == -32602
            assert it.restarts() == 0

    asyncio.run(main())


@pytest.mark.parametrize("revision", REVISIONS)
def test_a_call_is_one_action_and_its_result_is_redacted_as_data_and_as_text(tmp_path: Path, revision: str) -> None:
    async def main() -> None:
        async with world(tmp_path) as it:
            agent = await client(it, await it.agent(), revision)
            before = len(await it.records())
            asked = {"resource": TARGET, "arguments": {"window_seconds": 3600}}
            found = await agent.call("local_logs_search", asked)
            assert found["structuredContent"]["result"]["value"]["lines"], found
            text = found["content"][0]["text"]
            assert json.loads(text) == found["structuredContent"]
            whole = json.dumps(found)
            for planted in ("alice.miller@example.org", "4111111111111111", "AKIAIOSFODNN7EXAMPLE"):
                assert planted not in whole
            marks = found["_meta"]
            assert found["structuredContent"]["observation"] == marks["wicketgate/observation"]
            kinds = [one["kind"] for one in (await it.records())[before:]]
            assert kinds[-2:] == ["intent", "outcome"]
            assert marks["wicketgate/receipt"]["seq"] == len(await it.records()) - 1

    asyncio.run(main())


def test_a_refusal_is_a_tools_error_that_says_what_to_do_next(tmp_path: Path) -> None:
    async def main() -> None:
        async with world(tmp_path) as it:
            agent = await client(it, await it.agent())
            cases: list[tuple[dict[str, Any], str]] = [
                ({"resource": TARGET}, "reason.missing"),
                ({"resource": {**TARGET, "id": "nobody"}, "reason": "x"}, "residency.home_unknown"),
                ({"resource": TARGET, "reason": "x", "arguments": {"force": True}}, "request.arguments"),
                ({"reason": "x"}, "request.field"),
                ({"resource": TARGET, "reason": "x", "why": 1}, "request.field"),
                ({"resource": TARGET, "reason": "x", "arguments": {"seconds": 0.5}}, "json.float"),
            ]
            for arguments, code in cases:
                answer = await agent.call("local_process_restart", arguments)
                assert answer["isError"], code
                told = answer["structuredContent"]["error"]
                assert told["code"] == code
                assert told["remedy"]
                assert json.loads(answer["content"][0]["text"])["error"]["code"] == code
                if code in {"reason.missing", "residency.home_unknown"}:
                    assert told["decision_id"].startswith("dec_")
            assert it.restarts() == 0

    asyncio.run(main())


def test_pages_are_of_one_policy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listing, "PAGE", 5)

    async def main() -> None:
        async with world(tmp_path / "w") as it:
            agent = await client(it, await it.agent())
            names = await agent.names()
            assert len(names) > 10
            assert names == sorted(set(names))
            first = (await agent.ask("tools/list"))["result"]
            await without_cache_clear(it, tmp_path / "changed")
            later = await agent.ask("tools/list", {"cursor": first["nextCursor"]})
            assert later["error"]["code"] == -32602
            assert "local_cache_clear" not in await agent.names()
            answer = await agent.ask("tools/call", {"name": "local_cache_clear", "arguments": STATUS})
            assert answer["error"]["message"] == "Unknown tool: local_cache_clear"
            bad = await agent.ask("tools/list", {"cursor": "\u00e9" * 9})
            assert bad["error"]["code"] == -32602

    (tmp_path / "w").mkdir()
    asyncio.run(main())


def test_a_list_is_private_and_fresh_for_a_while(tmp_path: Path) -> None:
    async def main() -> None:
        async with world(tmp_path) as it:
            listed = (await (await client(it, await it.agent())).ask("tools/list"))["result"]
            assert (listed["cacheScope"], listed["ttlMs"] > 0) == ("private", True)

    asyncio.run(main())
