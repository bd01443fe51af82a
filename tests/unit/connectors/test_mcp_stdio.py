"""MCP servers as children: real ones, and ones that do what no server should."""

import asyncio
import os
import signal
import sys
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import orjson
import pytest

from broker.connectors.mcp_wire import hear
from broker.errors import BadRequest, BrokerError, Conflict, UpstreamFailed
from broker.model import ResultStatus
from tests.parts import ROOT
from tests.unit.connectors.mcp_cases import (
    PATIENT,
    TOOLS,
    actions,
    alive,
    come_true,
    connector,
    grant,
    hurried,
    raw,
    seen,
    text,
    until,
)

Run = Callable[[Coroutine[Any, Any, Any]], Any]
DO = actions()["tickets.tool.do"]


def pids(folder: Path, word: str) -> list[int]:
    return [int(line.partition(":")[2]) for line in seen(folder) if line.startswith(word + ":")]


async def gone(processes: list[int]) -> None:
    """Wait until none of them runs."""
    await come_true(lambda: not any(alive(process) for process in processes))


@pytest.mark.parametrize("protocol", ["2025-11-25", "2026-07-28"])
def test_a_server_of_the_sdk_answers_in_either_version(run: Run, protocol: str) -> None:
    declared = actions()

    async def main() -> None:
        table = {"command": [sys.executable, TOOLS, "stdio"], "protocol": protocol, "timeout_seconds": 60}
        async with connector(table) as tools:
            read = await tools.execute(
                grant("tickets.tool.read_ticket", {"ticket_id": 3}), declared["tickets.tool.read_ticket"]
            )
            assert read.status is ResultStatus.OK
            assert read.value["structured"] == {"id": 3, "text": "ask alice.miller@example.org", "state": "open"}
            credit = declared["tickets.tool.give_credit"]
            assert (await tools.status_of("act_7", credit)).status == "not_done"
            given = await tools.execute(
                grant("tickets.tool.give_credit", {"customer": "c", "amount": "0.10"}, "act_7"), credit
            )
            assert given.value["structured"] == {"amount": 0.1}
            assert (await tools.status_of("act_7", credit)).status == "done"
            assert (await tools.status_of("act_7", declared["tickets.tool.act"])).status == "unknown"

    run(main())


def test_a_call_that_gets_no_answer_is_in_doubt_is_called_off_and_not_repeated(run: Run, tmp_path: Path) -> None:
    async def main() -> None:
        async with connector(raw(tmp_path, "hang", **PATIENT)) as server:
            await hurried(server)
            with pytest.raises(UpstreamFailed) as caught:
                await server.execute(grant(DO.name, {}), DO)
            assert (caught.value.error_code, caught.value.sent) == ("upstream.timeout", True)
            assert (await until(tmp_path, "cancelled")).count("called") == 1

    run(main())


@pytest.mark.parametrize(
    "behaviour", ["die", "huge", "flood", "line", "garbage", "deep", "asks_always", "answers_always", "answers_again"]
)
def test_a_server_that_breaks_its_connection_is_ended_and_started_again_without_a_second_call(
    run: Run, tmp_path: Path, behaviour: str
) -> None:
    async def main() -> None:
        async with connector(raw(tmp_path, behaviour, answer_bytes_max=200_000, timeout_seconds=60)) as server:
            with pytest.raises(UpstreamFailed) as caught:
                await server.execute(grant(DO.name, {}), DO)
            assert (caught.value.error_code, caught.value.sent) == ("upstream.cut", True)
            await come_true(lambda: len(pids(tmp_path, "started")) > 1)
            first, *_ = pids(tmp_path, "started")
            await gone([first])
            assert seen(tmp_path).count("called") == 1

    run(main())


def test_an_answer_to_a_request_that_was_not_made_is_nobodys(run: Run, tmp_path: Path) -> None:
    async def main() -> None:
        async with connector(raw(tmp_path, "other", **PATIENT)) as server:
            await hurried(server)
            with pytest.raises(UpstreamFailed) as caught:
                await server.execute(grant(DO.name, {}), DO)
            assert caught.value.error_code == "upstream.timeout"

    run(main())


def test_a_server_may_ask_neither_our_model_nor_our_people(run: Run, tmp_path: Path) -> None:
    async def main() -> None:
        async with connector(raw(tmp_path, "asks", timeout_seconds=60)) as server:
            answer = await server.execute(grant(DO.name, {}), DO)
            assert answer.status is ResultStatus.OK
            told = next(line for line in seen(tmp_path) if line.startswith("asked:"))
            assert '"error"' in told
            assert "-32601" in told

    run(main())


def test_nothing_that_a_server_started_outlives_it(run: Run, tmp_path: Path) -> None:
    async def main() -> None:
        async with connector(raw(tmp_path, "forks", timeout_seconds=60)) as server:
            await server.execute(grant(DO.name, {}), DO)
            started = pids(tmp_path, "started") + pids(tmp_path, "child")
            assert len(started) == 2
            assert all(alive(process) for process in started)
        await gone(started)

    run(main())


def test_a_server_with_too_many_processes_is_ended_with_all_of_them(run: Run, tmp_path: Path) -> None:
    async def main() -> None:
        async with connector(raw(tmp_path, "bomb", timeout_seconds=60, processes_max=10)) as server:
            with pytest.raises(UpstreamFailed) as caught:
                await server.execute(grant(DO.name, {}), DO)
            assert caught.value.error_code == "upstream.cut"
            assert len(pids(tmp_path, "child")) >= 9, "the eleventh process, itself counted, may not be on record yet"
            await gone(pids(tmp_path, "child"))

    run(main())


def test_a_server_gets_no_more_memory_than_it_may_have(run: Run, tmp_path: Path) -> None:
    async def main(hoard: int) -> str:
        table = raw(
            tmp_path, "memory", environment={"MCP_HOARD": str(hoard)}, memory_bytes_max=200 << 20, timeout_seconds=60
        )
        async with connector(table) as server:
            try:
                return text((await server.execute(grant(DO.name, {}), DO)).value)
            except UpstreamFailed as error:
                return error.error_code

    assert str(50 << 20) in run(main(50 << 20))
    assert run(main(400 << 20)) == "upstream.cut"


def test_a_server_ends_when_the_gate_is_killed(tmp_path: Path) -> None:
    program = f"""
import asyncio
from pathlib import Path
from tests.unit.connectors.mcp_cases import connector, raw
async def main():
    async with connector(raw(Path({str(tmp_path)!r}), "forks")) as server:
        server.start()
        await asyncio.sleep(3600)
asyncio.run(main())
"""

    async def main() -> None:
        gate = await asyncio.create_subprocess_exec(sys.executable, "-c", program, cwd=ROOT)
        try:
            await until(tmp_path, "listed")
        finally:
            gate.kill()
            await gate.wait()
        await gone(pids(tmp_path, "started"))

    asyncio.run(main())


def test_a_server_finds_nothing_of_the_gates_in_its_environment(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WICKETGATE_SECRET", "the gate's own")
    (tmp_path / "token").write_text("t-1234567\n")

    async def main() -> Any:
        table = raw(
            tmp_path, "environment", timeout_seconds=60, secret_environment={"API_TOKEN": str(tmp_path / "token")}
        )
        async with connector(table) as server:
            assert "t-1234567" not in repr(server)
            return (await server.execute(grant(DO.name, {}), DO)).value["structured"]

    told = run(main())
    assert set(told["environment"]) <= {"PATH", "LANG", "LC_CTYPE", "TZ", "MCP_SEEN", "API_TOKEN"}
    assert told["environment"]["API_TOKEN"] == "t-1234567"
    assert told["sid"] != os.getsid(0)
    assert told["group"] != os.getpgid(0)


@pytest.mark.parametrize("behaviour", ["error", "looks_unsent"])
def test_the_words_of_a_refusal_stay_where_they_came_from_and_prove_nothing(
    run: Run, tmp_path: Path, behaviour: str
) -> None:
    async def main() -> None:
        async with connector(raw(tmp_path, behaviour, timeout_seconds=60)) as server:
            answer = await server.execute(grant(DO.name, {}), DO)
            assert answer.status is ResultStatus.ERROR
            assert answer.value == {"code": -32000 if behaviour == "error" else -32603}
            assert "hunter2" not in repr(answer)

    run(main())


def test_an_answer_that_mcp_does_not_know_is_refused(run: Run, tmp_path: Path) -> None:
    async def main() -> None:
        async with connector(raw(tmp_path, "no_result", timeout_seconds=60)) as server:
            with pytest.raises(UpstreamFailed) as caught:
                await server.execute(grant(DO.name, {}), DO)
            assert (caught.value.error_code, caught.value.sent) == ("upstream.contract", True)

    run(main())


def test_a_tool_list_without_end_is_given_up_and_nothing_is_called(run: Run, tmp_path: Path) -> None:
    async def main() -> None:
        async with connector(raw(tmp_path, "pages", timeout_seconds=60)) as server:
            with pytest.raises(UpstreamFailed) as caught:
                await server.execute(grant(DO.name, {}), DO)
            assert (caught.value.error_code, caught.value.sent) == ("upstream.too_large", False)
            assert "called" not in seen(tmp_path)

    run(main())


def test_a_tool_that_changes_after_it_was_listed_is_found_without_a_call_and_is_not_called(
    run: Run, tmp_path: Path
) -> None:
    async def main() -> None:
        async with connector(raw(tmp_path, "rug", timeout_seconds=60)) as server:
            server.start()
            await come_true(lambda: server.drift([DO]))
            drift = server.drift([DO])
            assert [(one.action, one.code) for one in drift] == [(DO.name, "mcp.tool_changed")]
            assert drift[0].pinned == DO.transport["digest"] != drift[0].found
            for ask in (server.execute(grant(DO.name, {}), DO), server.plan(grant(DO.name, {}).request, DO)):
                with pytest.raises(Conflict) as caught:
                    await ask
                assert caught.value.error_code == "mcp.tool_changed"
                assert "mcp-pin" in caught.value.error_remedy
            assert "called" not in seen(tmp_path)

    run(main())


def test_more_calls_than_places_are_refused_at_once(run: Run, tmp_path: Path) -> None:
    async def main() -> None:
        async with connector(raw(tmp_path, "hang", timeout_seconds=60, concurrency=1)) as server:
            waiting = asyncio.create_task(server.execute(grant(DO.name, {}), DO))
            await until(tmp_path, "called")
            with pytest.raises(UpstreamFailed) as caught:
                await server.execute(grant(DO.name, {}), DO)
            assert (caught.value.error_code, caught.value.sent) == ("upstream.busy", False)
            waiting.cancel()
            with pytest.raises(asyncio.CancelledError):
                await waiting
            await until(tmp_path, "cancelled")

    run(main())


def test_a_command_that_cannot_be_started_refuses_and_sends_nothing(run: Run, tmp_path: Path) -> None:
    async def main() -> None:
        async with connector(raw(tmp_path, "hang") | {"command": ["/nonexistent/server"]}) as server:
            with pytest.raises(UpstreamFailed) as caught:
                await server.execute(grant(DO.name, {}), DO)
            assert not caught.value.sent
            assert server.problem

    run(main())


@pytest.mark.parametrize("table", [
    {}, {"base_url": "https://a.example/mcp", "command": ["/bin/true"]}, {"command": ["true"]},
    {"command": ["/bin/true"], "secret_environment": {"A": "/nonexistent"}},
])  # fmt: skip
def test_settings_that_say_too_little_or_too_much_stop_the_start(run: Run, table: dict[str, Any]) -> None:
    async def main() -> None:
        async with connector(table):
            pass

    with pytest.raises(BadRequest) as caught:
        run(main())
    assert caught.value.error_code in {"config.invalid", "config.secret"}


def test_arguments_are_held_against_the_pinned_schema_before_anything_leaves(run: Run, tmp_path: Path) -> None:
    async def main() -> None:
        async with connector(raw(tmp_path, "die")) as server:
            with pytest.raises(BrokerError) as caught:
                await server.execute(grant(DO.name, {"n": "seven"}), DO)
            assert caught.value.error_code == "request.arguments"
            assert "seven" not in caught.value.detail
            assert seen(tmp_path) == []

    run(main())


def test_the_gate_may_be_stopped_while_a_server_does_not_listen(run: Run, tmp_path: Path) -> None:
    async def main() -> None:
        async with connector(raw(tmp_path, "hang", timeout_seconds=60)) as server:
            server.start()
            await until(tmp_path, "listed")
            os.kill(pids(tmp_path, "started")[0], signal.SIGSTOP)
        await gone(pids(tmp_path, "started"))

    run(main())


@pytest.mark.parametrize("code", [-32000, -32001, -32022, -32603, 7])
def test_no_word_of_an_error_gets_as_far_as_the_library_that_writes_traces(code: int) -> None:
    said = {"code": code, "message": "password is hunter2", "data": {"why": "hunter2", "supported": ["2025-11-25"]}}
    heard = hear("tickets", orjson.dumps({"jsonrpc": "2.0", "id": 1, "error": said}))
    assert heard.answers == 1
    assert "hunter2" not in repr(heard)
