"""MCP servers over Streamable HTTP: a real one in both versions, and answers that no library would send."""

import asyncio
import json
import socket
import subprocess
import sys
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any

import pytest

from broker.egress import Egress
from broker.errors import BrokerError, Conflict, UpstreamFailed
from broker.model import ResultStatus
from tests.sim import mcp_raw
from tests.sim.upstream import Seen, UpstreamSim, traps, whole
from tests.unit.connectors.mcp_cases import PATIENT, TOOLS, actions, connector, grant, hurried, listed

Run = Callable[[Coroutine[Any, Any, Any]], Any]
SECRET = "server-secret-51c8"
NAMES = actions()
READ, CREDIT, ACT, DO = (NAMES[f"tickets.tool.{name}"] for name in ("read_ticket", "give_credit", "act", "do"))


class Served:
    """A server of the SDK in a process of its own."""

    def __init__(self, folder: Path) -> None:
        self.rug, self.seen = folder / "rug", folder / "seen"
        environment = {"PATH": "/usr/bin:/bin", "MCP_TOOLS_RUG": str(self.rug), "MCP_TOOLS_SEEN": str(self.seen)}
        with socket.create_server(("127.0.0.1", 0)) as bound:
            self.port, file = bound.getsockname()[1], bound.fileno()
            command = [sys.executable, TOOLS, "http", str(file)]
            self._process = subprocess.Popen(command, env=environment, pass_fds=[file])

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/mcp"

    def table(self, protocol: str, **more: Any) -> dict[str, Any]:
        return {
            "base_url": self.url,
            "allow_networks": ["127.0.0.1/32"],
            "protocol": protocol,
            "timeout_seconds": 60,
            "again_seconds": 0.05,
            "again_seconds_max": 0.2,
            **more,
        }

    def said(self, what: str) -> list[dict[str, Any]]:
        lines = self.seen.read_text(encoding="utf-8").splitlines() if self.seen.exists() else []
        return [told for line in lines if (told := json.loads(line))["what"] == what]

    def end(self) -> None:
        self._process.terminate()
        self._process.wait()


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    server = Served(tmp_path_factory.mktemp("mcp"))
    yield server
    server.end()


VERSIONS = pytest.mark.parametrize("protocol", ["2025-11-25", "2026-07-28"])


@VERSIONS
def test_a_server_of_the_sdk_answers_in_either_version(run: Run, served: Served, protocol: str) -> None:
    async def main() -> None:
        async with connector(served.table(protocol)) as tools:
            await listed(tools)
            read = await tools.execute(grant(READ.name, {"ticket_id": 3}), READ)
            assert read.value["structured"] == {"id": 3, "text": "ask alice.miller@example.org", "state": "open"}
            given = await tools.execute(grant(CREDIT.name, {"customer": "c", "amount": "12"}, "act_8"), CREDIT)
            assert given.value["structured"] == {"amount": 12}
            assert (await tools.status_of("act_8", CREDIT)).status == "done"
            assert served.said("called")[-2]["arguments"] == {"customer": "c", "amount": 12, "key": "act_8"}

    run(main())


@VERSIONS
@pytest.mark.parametrize(("what", "status"), [("nothing", "empty"), ("fail", "error"), ("binary", "truncated"), ("long", "truncated"), ("hello", "ok")])  # fmt: skip
def test_empty_failed_cut_and_whole_answers_are_different(
    run: Run, served: Served, protocol: str, what: str, status: str
) -> None:
    async def main() -> Any:
        async with connector(served.table(protocol, text_bytes_max=10_000)) as tools:
            await listed(tools)
            return await tools.execute(grant(ACT.name, {"what": what}), ACT)

    result = run(main())
    assert result.status == ResultStatus(status)
    if what == "fail":
        assert result.value["content"] == [{"type": "text", "text": "no such customer: bob@example.org"}]
    if what == "long":
        (part,) = result.value["content"]
        assert part["text"].endswith("line of text")
        assert len(part["text"]) <= 10_000
        assert result.detail == "1 texts cut to 10000 bytes"
    if what == "binary":
        kinds = [(one["type"], "withheld" in one) for one in result.value["content"]]
        assert kinds == [("image", True), ("resource", True), ("resource", False), ("resource_link", False)]
        assert "iVBOR" not in repr(result)
        assert result.value["content"][0]["bytes"] == 70


@VERSIONS
def test_a_server_may_not_ask_our_model(run: Run, served: Served, protocol: str) -> None:
    async def main() -> None:
        async with connector(served.table(protocol)) as tools:
            await listed(tools)
            result = await tools.execute(grant(ACT.name, {"what": "sample"}), ACT)
            assert result.status is ResultStatus.ERROR
            assert "the model said" not in repr(result)

    run(main())


@VERSIONS
def test_a_call_that_takes_too_long_is_called_off_at_the_server(run: Run, served: Served, protocol: str) -> None:
    async def main() -> None:
        before = len(served.said("cancelled"))
        async with connector(served.table(protocol, **PATIENT)) as tools:
            await hurried(tools)
            with pytest.raises(UpstreamFailed) as caught:
                await tools.execute(grant(ACT.name, {"what": "hang"}), ACT)
            assert (caught.value.error_code, caught.value.sent) == ("upstream.timeout", True)
            for _ in range(3_000):
                if len(served.said("cancelled")) > before:
                    break
                await asyncio.sleep(0.02)
        assert len(served.said("cancelled")) > before

    run(main())


@VERSIONS
@pytest.mark.parametrize(("rug", "code"), [
    ("description", "mcp.tool_changed"), ("schema", "mcp.tool_changed"), ("annotations", "mcp.tool_changed"),
    ("bidi", "mcp.tool_changed"), ("hidden", "mcp.tool_absent"), ("twice", "mcp.tool_twice"),
])  # fmt: skip
def test_a_pulled_rug_puts_one_tool_in_quarantine_and_no_other(
    run: Run, served: Served, protocol: str, rug: str, code: str
) -> None:
    async def main() -> None:
        async with connector(served.table(protocol)) as tools:
            await listed(tools)
            asked = grant(READ.name, {"ticket_id": 3})
            assert (await tools.execute(asked, READ)).status is ResultStatus.OK
            before = (await tools.plan(asked.request, READ)).fingerprint
            served.rug.write_text(rug)
            calls = len(served.said("called"))
            for ask in (tools.execute(asked, READ), tools.plan(asked.request, READ)):
                with pytest.raises(Conflict) as caught:
                    await ask
                assert caught.value.error_code == code
            assert [(one.action, one.code) for one in tools.drift([READ, ACT, CREDIT])] == [(READ.name, code)]
            assert len(served.said("called")) == calls
            assert (await tools.execute(grant(ACT.name, {"what": "x"}), ACT)).status is ResultStatus.OK
            served.rug.write_text("")
            assert (await tools.plan(asked.request, READ)).fingerprint == before
            assert (await tools.execute(asked, READ)).status is ResultStatus.OK
            assert tools.drift([READ, ACT, CREDIT]) == ()

    try:
        run(main())
    finally:
        served.rug.write_text("")


# -- what no library sends ------------------------------------------------------------------------------------------------


def reply(seen: Seen, result: Any) -> bytes:
    return whole(200, {"jsonrpc": "2.0", "id": seen.json.get("id"), "result": result})


def scripted(call: Callable[[Seen], bytes]) -> UpstreamSim:
    """A server of 2025-11-25 with the tool ``do``, whose calls ``call`` answers byte by byte."""

    async def answer(seen: Seen, writer: asyncio.StreamWriter) -> None:
        method = seen.json.get("method") if seen.body else ""
        if method == "initialize":
            told = {
                "protocolVersion": "2025-11-25",
                "capabilities": {"tools": {}},
                "serverInfo": {"name": "s", "version": "1"},
            }
            writer.write(whole(200, {"jsonrpc": "2.0", "id": seen.json["id"], "result": told}, Mcp_Session_Id="s-1"))
        elif method == "tools/list":
            writer.write(reply(seen, {"tools": [mcp_raw.TOOL]}))
        elif method == "tools/call":
            writer.write(call(seen))
        else:
            writer.write(whole(202 if seen.method == "POST" else 405, b""))

    return UpstreamSim(answer)


def events(*messages: Any) -> bytes:
    return whole(
        200, b"".join(b"data: " + json.dumps(one).encode() + b"\r\n\r\n" for one in messages), kind="text/event-stream"
    )


def done(request: Any) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "id": request, "result": {"content": [{"type": "text", "text": "done"}]}}


def table(sim: UpstreamSim, **more: Any) -> dict[str, Any]:
    return {
        "base_url": sim.url + "/mcp",
        "allow_networks": ["127.0.0.1/32"],
        "protocol": "2025-11-25",
        "timeout_seconds": 60,
        **more,
    }


CALLS: list[tuple[str, Callable[[Seen], bytes], str]] = [
    ("another id", lambda seen: whole(200, done(seen.json["id"] + 1)), "upstream.contract"),
    ("another id in events", lambda seen: events(done(seen.json["id"] + 1)), "upstream.contract"),
    ("no id", lambda seen: whole(200, {"jsonrpc": "2.0", "result": {}}), "upstream.garbage"),
    ("no answer in events", lambda seen: events(mcp_raw.PROGRESS), "upstream.cut"),
    ("only questions", lambda seen: events(*[mcp_raw.ASKS] * 40), "upstream.contract"),
    ("garbage", lambda seen: whole(200, b"<html>"), "upstream.garbage"),
    ("a list", lambda seen: whole(200, [done(seen.json["id"])]), "upstream.garbage"),
    ("too much", lambda seen: whole(200, {**done(seen.json["id"]), "more": "x" * 300_000}), "upstream.too_large"),
    ("too much in events", lambda seen: events(*[mcp_raw.PROGRESS] * 9_000), "upstream.too_large"),
    ("accepted", lambda seen: whole(202, b""), "upstream.status"),
    ("refused", lambda seen: whole(403, b"go away: " + SECRET.encode(), kind="text/plain"), "upstream.status"),
    ("down", lambda seen: whole(503, {"error": "stack trace"}), "upstream.status"),
    ("compressed", lambda seen: whole(200, b"x", Content_Encoding="gzip"), "upstream.encoding"),
]  # fmt: skip


@pytest.mark.parametrize(("call", "code"), [case[1:] for case in CALLS], ids=[case[0] for case in CALLS])
def test_an_answer_outside_the_contract_is_in_doubt_and_not_repeated(
    run: Run, call: Callable[[Seen], bytes], code: str
) -> None:
    async def main() -> None:
        async with (
            scripted(call) as sim,
            connector(table(sim, answer_bytes_max=200_000)) as server,
        ):
            with pytest.raises(UpstreamFailed) as caught:
                await server.execute(grant(DO.name, {}), DO)
            assert (caught.value.error_code, caught.value.sent) == (code, True)
            assert SECRET not in caught.value.detail
            assert sum(one.body != b"" and one.json.get("method") == "tools/call" for one in sim.seen) == 1

    run(main())


def test_questions_before_the_answer_are_refused_at_the_server(run: Run) -> None:
    async def main() -> None:
        async with scripted(lambda seen: events(mcp_raw.ASKS, done(seen.json["id"]))) as sim:
            async with connector(table(sim)) as server:
                assert (await server.execute(grant(DO.name, {}), DO)).status is ResultStatus.OK
            refusals = [one.json for one in sim.seen if one.body and one.json.get("id") == "theirs"]
            assert [one["error"]["code"] for one in refusals] == [-32601]

    run(main())


@pytest.mark.parametrize(
    "location", ["http://127.0.0.2:{port}/mcp", "http://169.254.169.254/latest", "//127.0.0.2:{port}/", "/mcp/"]
)
def test_no_redirect_is_followed_and_the_credential_goes_nowhere(run: Run, tmp_path: Path, location: str) -> None:
    (tmp_path / "key").write_text(SECRET)

    async def main() -> None:
        async with traps() as trap:
            moved = whole(307, b"", location=location.format(port=trap.port))
            async with scripted(lambda _: moved) as sim:
                secret = {"credential": "bearer", "credential_file": str(tmp_path / "key")}
                async with connector(table(sim, **secret)) as server:
                    with pytest.raises(UpstreamFailed) as caught:
                        await server.execute(grant(DO.name, {}), DO)
                    assert caught.value.error_code == "upstream.redirect"
                assert trap.caught() == 0
                assert all(one.headers["authorization"] == f"Bearer {SECRET}" for one in sim.seen)

    run(main())


@pytest.mark.parametrize(
    "names", [["127.0.0.1"], ["10.1.1.1", "127.0.0.1"], ["::1"], ["169.254.169.254"], ["::ffff:127.0.0.1"]]
)
def test_no_server_is_reached_at_an_address_off_its_list(run: Run, names: list[str]) -> None:
    async def resolve(host: str, port: int) -> list[str]:
        return names

    async def main() -> None:
        async with traps() as trap:
            settings = {"base_url": f"http://inside.example:{trap.port}/mcp", "allow_networks": ["10.0.0.0/8"]}
            async with connector(settings, Egress(resolve=resolve)) as server:
                with pytest.raises(BrokerError) as caught:
                    await server.execute(grant(DO.name, {}), DO)
                assert caught.value.error_code == "egress.forbidden"
            assert trap.caught() == 0

    run(main())


def test_a_session_that_the_server_forgot_is_made_anew_and_the_call_not_repeated(run: Run) -> None:
    async def main() -> None:
        async with scripted(lambda _: whole(404, b"")) as sim, connector(table(sim, again_seconds=0.05)) as server:
            with pytest.raises(UpstreamFailed) as caught:
                await server.execute(grant(DO.name, {}), DO)
            assert (caught.value.error_code, caught.value.sent) == ("upstream.cut", True)
            for _ in range(3_000):
                begun = [one for one in sim.seen if one.body and one.json.get("method") == "initialize"]
                if len(begun) > 1:
                    break
                await asyncio.sleep(0.02)
            assert len(begun) == 2
            assert sum(one.body != b"" and one.json.get("method") == "tools/call" for one in sim.seen) == 1

    run(main())
