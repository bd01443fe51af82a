"""An MCP server behind the gate: pinned by the command, reviewed, called through ``/mcp``, and put into quarantine."""

import asyncio
import json
import re
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from broker.cli import pins
from broker.cli.exits import Stop
from broker.cli.policy import policy as command
from tests.parts import ROOT
from tests.sim.mcp_client import Mcp
from tests.sim.policies import folder_of
from tests.sim.world import World, world
from tests.unit.connectors.mcp_cases import TOOLS

GRANTED = "  tickets.ticket.read: {environments: [prod], resource_types: [project]}\n"
SHOP = {"type": "project", "id": "shop", "env": "prod"}
MANIFEST = "manifests/helpdesk.yaml"


def settings(folder: Path) -> str:
    """The lines of the specification, with the test's own server in place of the one that it names."""
    text = (ROOT / "broker/connectors/README.md").read_text(encoding="utf-8")
    table: str
    (table,) = [block for block in re.findall(r"```toml\n(.*?)```", text, re.DOTALL) if "# mcp:" in block]
    command = json.dumps([sys.executable, TOOLS, "stdio"])
    environment = {"MCP_TOOLS_RUG": str(folder / "rug"), "MCP_TOOLS_SEEN": str(folder / "seen")}
    told = ", ".join(f"{name} = {json.dumps(value)}" for name, value in environment.items())
    assert '["/opt/helpdesk/server", "stdio"]' in table
    return table.replace('["/opt/helpdesk/server", "stdio"]', command) + f"environment = {{ {told} }}\n"


def pinned(folder: Path) -> Path:
    """A policy folder with the manifest that the command wrote, one tool of it reviewed, two of them granted."""
    grants = "".join(
        f"  helpdesk.tool.{name}: {{environments: [prod], resource_types: [project, unreviewed]}}\n"
        for name in ("give_credit", "read_ticket")
    )
    policies = folder_of(folder / "policies", {"config/grants/data.yaml": (GRANTED, grants + GRANTED)})
    (folder / "pin.toml").write_text(settings(folder))
    done = CliRunner().invoke(command, ["mcp-pin", "helpdesk", "--config", str(folder / "pin.toml"), "--manifest", str(policies / MANIFEST), "--write"])  # fmt: skip
    assert done.exit_code == 0, done.output
    text = (policies / MANIFEST).read_text()
    for old, new in (("effect: write", "effect: read"), ("irreversible", "reversible"), ("[unreviewed]", "[project]")):
        text = text.replace(old, new, 1)
    (policies / MANIFEST).write_text(text)
    return policies


@asynccontextmanager
async def gated(folder: Path) -> AsyncIterator[World]:
    policies = await asyncio.to_thread(pinned, folder)
    async with world(folder, extra=settings(folder), policies=policies) as it:
        yield it


async def quarantined(it: World, number: int) -> dict[str, Any]:
    """What a person is shown of the gate's health, once so many actions are in quarantine."""
    person = await it.person("security")
    for _ in range(3_000):
        health = await it.act(person, "gate.health.read", id_="gate", type_="gate")
        value: dict[str, Any] = health.json()["result"]["value"]
        if len(value["quarantine"]) == number and not value["unreachable"]:
            return value
        await asyncio.sleep(0.05)
    raise AssertionError(f"{value['quarantine']} {value['unreachable']}")


def calls(folder: Path) -> int:
    seen = (folder / "seen").read_text().splitlines() if (folder / "seen").exists() else []
    return sum(json.loads(line)["what"] == "called" for line in seen)


async def nobodys(it: World, folder: Path) -> None:
    """What nobody reviewed or pinned is denied; what was, runs, and taints whoever asked."""
    agent = await it.agent()
    session = await it.session(agent)
    credit = {"customer": "c", "amount": "1"}
    nowhere = await it.act(agent, "helpdesk.tool.give_credit", session, credit, type_="unreviewed", id_="x")
    assert nowhere.status_code == 403, nowhere.text
    assert nowhere.json()["decision_id"]
    somewhere = await it.act(agent, "helpdesk.tool.give_credit", session, credit, type_="project", id_="shop")
    assert (somewhere.status_code, somewhere.json()["code"]) == (400, "request.resource_type")
    unknown = await it.act(agent, "helpdesk.tool.other", session, {}, type_="project", id_="shop")
    assert unknown.status_code == 403
    assert calls(folder) == 0
    read = {"ticket_id": 3, "project": "shop"}
    done = await it.act(agent, "helpdesk.tool.read_ticket", session, read, type_="project", id_="shop")
    assert done.json()["status"] == "done", done.text
    # Whatever an upstream answers is an outsider's word.
    (own,) = [one for one in await it.gate.sessions.open_of("default", "dev:agent-1", 99) if one.id == session]
    assert own.tainted
    wrong = await it.act(agent, "helpdesk.tool.read_ticket", session, {"ticket_id": 3, "project": "SHOP"}, type_="project", id_="shop")  # fmt: skip
    assert (wrong.status_code, wrong.json()["code"]) == (400, "request.arguments")
    assert calls(folder) == 1


def test_a_pinned_tool_is_called_through_the_gate_and_a_changed_one_is_not(tmp_path: Path) -> None:
    async def main() -> None:
        async with gated(tmp_path) as it:
            assert (await quarantined(it, 0))["connectors"][-1] == "helpdesk"
            await nobodys(it, tmp_path)
            agent = Mcp(it, await it.agent())
            assert "helpdesk_tool_read_ticket" in await agent.names()
            asked = {"resource": SHOP, "arguments": {"ticket_id": 3, "project": "shop"}}
            found = await agent.call("helpdesk_tool_read_ticket", asked)
            structured = found["structuredContent"]["result"]["value"]["structured"]
            assert (structured["id"], structured["state"]) == (3, "open")
            assert "alice.miller@example.org" not in json.dumps(found)
            assert "alice.miller@example.org" not in it.everything_stored().decode("latin-1")
            records = await it.records()
            assert [one["kind"] for one in records[-2:]] == ["intent", "outcome"]
            assert found["_meta"]["wicketgate/receipt"]["seq"] == records[-1]["seq"]
            assert calls(tmp_path) == 2

            (tmp_path / "rug").write_text("description")
            refused = await agent.call("helpdesk_tool_read_ticket", asked)
            assert refused["isError"]
            assert refused["structuredContent"]["error"]["code"] == "mcp.tool_changed"
            assert "mcp-pin" in refused["structuredContent"]["error"]["remedy"]
            assert "id_rsa" not in json.dumps(refused)
            assert calls(tmp_path) == 2
            (told,) = (await quarantined(it, 1))["quarantine"]
            assert (told["action"], told["code"]) == ("helpdesk.tool.read_ticket", "mcp.tool_changed")
            with pytest.raises(Stop) as said:
                await asyncio.to_thread(pins.pinned, it.settings)
            assert str(said.value) == "helpdesk.tool.read_ticket: mcp.tool_changed"
            metrics = (await it.client.get("/metrics")).text
            assert 'wicketgate_tools_quarantined{connector="helpdesk"} 1.0' in metrics
            (record,) = [one for one in await it.records() if one["id"].startswith("tool.")]
            policy = record["body"]["policy"]
            assert policy["verb"] == "quarantine.helpdesk.tool.read_ticket"
            assert (policy["previous"], policy["digest"]) == (told["pinned"], told["found"])

            (tmp_path / "rug").write_text("")
            assert not (await agent.call("helpdesk_tool_read_ticket", asked)).get("isError")
            await quarantined(it, 0)
            assert await asyncio.to_thread(pins.pinned, it.settings) == "4 tools are as they were pinned"

    asyncio.run(main())
