"""Told to end: not ready, no new work, what is under way finishes or is called unknown, the log is whole."""

import asyncio
import signal
import socket
import threading
from pathlib import Path

import pytest

from broker import background
from tests.drill.__main__ import drill
from tests.drill.verdict import records
from tests.parts import postgres_url
from tests.sim.model_server import Turn
from tests.sim.running_gate import running_gate, supervised
from tests.sim.served import until
from tests.sim.supervisor import Supervisor
from tests.sim.world import MODEL, world

TIMES = 1
"""Each costs a start; `make drill` does it more often."""


@pytest.mark.timeout(300)
@pytest.mark.parametrize("store", ["sqlite", "postgres"])
def test_ended_under_load_no_acknowledged_record_is_lost_and_every_intent_has_its_end(
    tmp_path: Path, store: str
) -> None:
    if store == "postgres":
        postgres_url()
    row = drill(store, kills=TIMES, seed=11, folder=tmp_path, told=True)
    assert row["violations"] == []
    assert row["open"] == 0
    assert row["kills"] == TIMES
    assert row["acknowledged"] >= TIMES, row


def test_from_the_moment_that_it_is_told_it_is_not_ready_and_takes_no_work_but_the_controls(tmp_path: Path) -> None:
    async def main() -> None:
        async with world(tmp_path) as it:
            agent, oncall = await it.agent(), await it.person("oncall")
            session = await it.session(agent)
            assert (await it.client.get("/readyz")).status_code == 200
            it.gate.stopping.set()
            it.clock.advance(2)
            told = await it.client.get("/readyz")
            assert (told.status_code, told.json()["missing"]) == (503, {"gate": "the gate is stopping"})
            refused = await it.act(agent, "local.process.status", session)
            assert (refused.status_code, refused.json()["code"]) == (503, "gate.stopping")
            assert refused.headers["retry-after"] == "1"
            assert (await it.client.get("/livez")).status_code == 200
            assert (await it.client.get("/v1/approvals", headers=oncall)).status_code == 200

    asyncio.run(main())


def test_what_is_not_done_when_the_time_is_over_is_on_record_as_unknown_under_the_last_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(background, "MARK_SECONDS", 90)  # however slow the disk

    async def main() -> None:
        async with world(tmp_path, turns=[Turn(hang=True)], gate="stop_seconds_max = 1") as it:
            agent = await it.agent()
            session = await it.session(agent)
            body = {"model": MODEL, "max_tokens": 10, "messages": [{"role": "user", "content": "well?"}]}
            calling = asyncio.create_task(
                it.client.post(
                    "/llm/anthropic/v1/messages", json=body, headers={**agent, "Wicketgate-Session": session}
                )
            )
            await until(lambda: bool(it.models.seen))
            stopping = asyncio.create_task(it.gate.background.aclose())
            await asyncio.gather(stopping, calling, return_exceptions=True)
            intent, outcome = [one for one in await it.records() if one["kind"] in {"intent", "outcome"}][-2:]
            assert (intent["kind"], outcome["kind"], outcome["about"]) == ("intent", "outcome", intent["id"])
            assert outcome["body"]["outcome"]["status"] == "unknown"
            size = len(await it.records())
            assert (it.data / "log" / "checkpoint").read_text().split("\n")[1] == str(size)

    asyncio.run(main())


def test_all_that_is_under_way_has_until_one_moment_from_when_it_was_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(background, "MARK_SECONDS", 90)  # however slow the disk

    async def main() -> None:
        times = "stop_seconds_max = 80000\nstop_notice_seconds = 5"
        async with world(tmp_path, turns=[Turn(hang=True)], gate=times) as it:
            agent = await it.agent()
            headers = {**agent, "Wicketgate-Session": await it.session(agent)}
            body = {"model": MODEL, "max_tokens": 10, "messages": [{"role": "user", "content": "well?"}]}
            calling = asyncio.create_task(it.client.post("/llm/anthropic/v1/messages", json=body, headers=headers))
            await until(lambda: bool(it.models.seen))
            assert it.gate.stopping.left() == 80_000
            it.gate.stopping.set()
            it.clock.advance(5)
            assert it.gate.stopping.left() == 80_000, "the notice is not of its time"
            it.clock.advance(79_000)
            it.gate.stopping.set()
            assert it.gate.stopping.left() == 1_000, "told again, it has no more"
            it.clock.advance(2_000)
            # Clients had all of the time: nothing is left to wait for, and still everything is put on record.
            async with asyncio.timeout(90):
                await it.gate.background.aclose()
            await asyncio.gather(calling, return_exceptions=True)
            intent, outcome = [one for one in await it.records() if one["kind"] in {"intent", "outcome"}][-2:]
            assert (outcome["about"], outcome["body"]["outcome"]["status"]) == (intent["id"], "unknown")

    asyncio.run(main())


def test_a_process_that_ends_begins_no_approved_action_and_the_next_one_does(tmp_path: Path) -> None:
    async def main() -> None:
        async with world(tmp_path) as it:
            agent = await it.agent()
            waiting = (await it.act(agent, "local.process.restart", await it.session(agent))).json()
            security = await it.person("security")
            it.gate.stopping.set()
            assert (await it.review(security, waiting["approval"])).status_code == 200
            await it.sweep()
            assert (await it.gate.approvals.get("default", waiting["approval"]["id"])).state == "approved"
            assert it.restarts() == 0
            await it.stop()
            await it.start()
            await it.sweep()
            assert (await it.gate.approvals.get("default", waiting["approval"]["id"])).state == "done"
            assert it.restarts() == 1

    asyncio.run(main())


def hanging(supervisor: Supervisor) -> threading.Event:
    """Restarts never answer; set when one has come."""
    arrived = threading.Event()

    async def held(_child: object, _asked: object) -> bytes:
        arrived.set()
        await asyncio.get_running_loop().create_future()
        return b""

    supervisor.restart = held  # type: ignore[method-assign, assignment]
    return arrived


@pytest.mark.timeout(300)
def test_told_to_end_while_a_client_polls_and_a_target_hangs_it_answers_the_one_and_calls_the_other_unknown(
    tmp_path: Path,
) -> None:
    with supervised("checkout") as (supervisor, toml):
        arrived = hanging(supervisor)
        with running_gate(tmp_path, "[gate]\nstop_seconds_max = 3\n" + toml) as gate:
            target = {"type": "process", "id": "checkout", "env": "prod"}
            with gate.client("agent") as agent, gate.client("security") as security:
                told = {"intent": [{"kind": "task", "text": "x"}]}
                session = agent.post("/v1/sessions", json=told, headers={"Idempotency-Key": "s"}).json()["session"]
                asked = {"session": session, "action": "local.process.restart", "resource": target, "reason": "errors"}
                waiting = agent.post(
                    "/v1/actions", json={**asked, "arguments": {}}, headers={"Idempotency-Key": "a"}
                ).json()
                said = {"verdict": "approve", "digest": waiting["approval"]["digest"], "reason": "seen"}
                path = f"/v1/approvals/{waiting['approval']['id']}/reviews"
                assert security.post(path, json=said, headers={"Idempotency-Key": "r"}).status_code == 200
                assert arrived.wait(90)
                path = f"/v1/actions/{waiting['action_id']}"
                with socket.create_connection(("localhost", gate.port), timeout=90) as polling:
                    lines = [f"GET {path}?wait=50 HTTP/1.1", f"Host: localhost:{gate.port}"]
                    lines += [f"Authorization: {agent.headers['Authorization']}", "", ""]
                    polling.sendall("\r\n".join(lines).encode())
                    assert agent.get(path).status_code == 202, (
                        "what was sent after the poll is answered, the poll is not"
                    )
                    gate.process.send_signal(signal.SIGTERM)
                    answer = b"".join(iter(lambda: polling.recv(65_536), b""))
            assert answer.startswith(b"HTTP/1.1 202"), answer
            assert b'"status":"running"' in answer
            assert gate.process.wait(120) == 0
        kept = [record for _, _, record in records(gate.data, "")]
        outcome = [one for one in kept if one["kind"] == "outcome"][-1]
        assert (outcome["about"], outcome["body"]["outcome"]["status"]) == (waiting["action_id"], "unknown")
        assert (gate.data / "log" / "checkpoint").read_text().split("\n")[1] == str(len(kept))
