"""Real clients of the Model Context Protocol, signed in by OAuth as the gate's own metadata leads them."""

import asyncio
import json
import os
import re
import subprocess
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import httpx2
import pytest
from mcp import Client
from mcp.client.auth import TokenStorage
from mcp.client.auth.extensions.client_credentials import PrivateKeyJWTOAuthProvider
from mcp.client.streamable_http import streamable_http_client
from mcp.shared.auth import OAuthClientInformationFull, OAuthToken

from broker.identity.dev import agent_key, client_assertion
from demo.wire import free_port
from tests.parts import ROOT, missing, require
from tests.sim.mcp_client import TARGET
from tests.sim.running_gate import CODE, RunningGate, running_gate, supervised

INSPECTOR = ROOT / ".parts" / "mcp-referees" / "node_modules" / ".bin" / "mcp-inspector"
RESTART = {"resource": TARGET, "reason": "it does not answer"}


@pytest.fixture(scope="module")
def gate(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningGate]:
    """A gate as a process of its own, with one real process behind it."""
    with supervised("checkout") as (_, toml), running_gate(tmp_path_factory.mktemp("mcp"), toml) as made:
        yield made


class Kept(TokenStorage):
    """What the SDK keeps of a sign-in, for one client."""

    def __init__(self) -> None:
        self.token: OAuthToken | None = None
        self.client: OAuthClientInformationFull | None = None

    async def get_tokens(self) -> OAuthToken | None:
        return self.token

    async def set_tokens(self, tokens: OAuthToken) -> None:
        self.token = tokens

    async def get_client_info(self) -> OAuthClientInformationFull | None:
        return self.client

    async def set_client_info(self, client_info: OAuthClientInformationFull) -> None:
        self.client = client_info


@asynccontextmanager
async def agent(gate: RunningGate, mode: Any) -> AsyncIterator[Client]:
    """The SDK's client with the agent's key and no token: it finds the provider by the gate's metadata."""
    key = agent_key(gate.data / "keys" / "agent-1.jwk")

    async def assertion(audience: str) -> str:
        return client_assertion(key, "agent-1", audience, int(time.time()))

    url = f"{gate.url}/mcp"
    sign_in = PrivateKeyJWTOAuthProvider(url, Kept(), "agent-1", assertion, issuer=f"{gate.url}/dev-idp")
    async with (
        httpx2.AsyncClient(auth=sign_in, timeout=90, trust_env=False) as http,
        Client(streamable_http_client(url, http_client=http), mode=mode) as client,
    ):
        yield client


@pytest.mark.parametrize("mode", ["legacy", "2026-07-28", "auto"])
def test_the_sdks_own_client_signs_in_lists_and_calls(gate: RunningGate, mode: str) -> None:
    async def main() -> None:
        async with agent(gate, mode) as client:
            names = [tool.name for tool in (await client.list_tools()).tools]
            assert "local_process_status" in names
            answer = await client.call_tool("local_process_status", {"resource": TARGET})
            assert not answer.is_error
            assert answer.structured_content["result"]["value"]["state"] == "running"
            refused = await client.call_tool("local_process_restart", {"resource": TARGET})
            assert refused.structured_content["error"]["code"] == "reason.missing"

    asyncio.run(main())


@pytest.mark.parametrize("mode", ["legacy", "2026-07-28"])
def test_the_sdks_own_client_waits_while_a_person_decides(gate: RunningGate, mode: str) -> None:
    async def main() -> None:
        async with agent(gate, mode) as client:
            call = asyncio.create_task(client.call_tool("local_process_restart", RESTART))
            with gate.client("oncall") as person:
                approval = await asyncio.to_thread(_first, person)
                review = {"verdict": "approve", "digest": approval["digest"], "reason": "seen"}
                answer = person.post(
                    f"/v1/approvals/{approval['id']}/reviews", json=review, headers={"Idempotency-Key": approval["id"]}
                )
                assert answer.status_code == 200, answer.text
            done = await call
            assert done.structured_content["status"] == "done", done

    asyncio.run(main())


def _first(person: httpx.Client) -> dict[str, Any]:
    """What waits, once something does: with each line of the stream of events, a silent one's beats too, it looks again."""
    with person.stream("GET", "/v1/events") as events:
        for _ in events.iter_lines():
            if found := person.get("/v1/approvals").json()["approvals"]:
                return dict(found[0])
    raise AssertionError("nothing waits, and the stream has ended")


def test_the_inspector_signs_a_person_in_and_lists_and_calls(gate: RunningGate, tmp_path: Path) -> None:
    if not INSPECTOR.exists():
        missing("the MCP Inspector", "`make parts` installs it")
    for era in ("legacy", "modern"):
        listed = inspected(gate, tmp_path, "--protocol-era", era, "--method", "tools/list", "--strict")
        assert "local_process_status" in [tool["name"] for tool in listed["tools"]]
    asked = ["--tool-name", "local_process_status", "--tool-args-json", json.dumps({"resource": TARGET})]
    called = inspected(gate, tmp_path, "--method", "tools/call", *asked)
    assert called["structuredContent"]["result"]["value"]["name"] == "checkout"


def inspected(gate: RunningGate, home: Path, *arguments: str) -> dict[str, Any]:
    """Run the Inspector and be its person's browser; its result. It takes a port's number: another, where that was taken."""
    for _ in range(5):
        code, said, result = _inspected(gate, home, *arguments)
        if "EADDRINUSE" not in said:
            break
    assert code == 0, (said, result)
    return dict(json.loads(result)["result"])


def _inspected(gate: RunningGate, home: Path, *arguments: str) -> tuple[int, str, str]:
    command = [require("node"), str(INSPECTOR), "--cli", "--server-url", f"{gate.url}/mcp", "--transport", "http"]
    command += ["--client-id", "wicketgate-cli", "--callback-url", f"http://127.0.0.1:{free_port()}/callback"]
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(home),
        "BROWSER": "none",
        "MCP_AUTO_OPEN_ENABLED": "true",
        "MCP_INSPECTOR_SECRET_STORE": "memory",
    }
    pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    command += ["--format", "json", *arguments]
    with subprocess.Popen(command, env=environment, stdin=subprocess.DEVNULL, **pipes) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        said = []
        for line in process.stderr:
            said.append(line)
            if found := re.search(r"http://\S+/dev-idp/authorize\?\S+", line):
                form = {"persona": "oncall", "code": CODE, "verdict": "allow"}
                back = httpx.post(found[0], data=form, trust_env=False, timeout=90)
                assert httpx.get(back.headers["location"], trust_env=False, timeout=90).status_code == 200
        result = process.stdout.read()
        return process.wait(90), "".join(said), result
