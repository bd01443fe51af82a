"""The worker: one step of what is due, under a hold, and nothing kept; triage by rule."""

import asyncio
import json
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from wicketgate import Gate, NotAuthenticated

from agents.keys import key_of
from agents.worker import Setup, Worker
from demo.wire import Answer, Asked
from tests.sim.gate import TOKEN, Refusal
from tests.sim.incident_gate import INCIDENT, SINCE, IncidentGate, incident, incident_gate
from tests.unit.agents.responder import HOLD_SECONDS, Told, Waits, work

Json = Any


def triaging(*events: Json, **row: Json) -> dict[str, Json]:
    made = incident(incident={"state": "triaging", **row})
    made["events"] = [
        {
            "id": f"{INCIDENT}.{n}",
            "seq": n,
            "at": SINCE,
            "actor": "x",
            "body": {},
            "from_state": "",
            "to_state": "",
            **event,
        }
        for n, event in enumerate([*events, {"kind": "triaging", "from_state": "received", "to_state": "triaging"}], 1)
    ]
    return made


def ended(gate: IncidentGate) -> tuple[str, dict[str, Json]]:
    assert len(gate.finished) == 1
    return gate.finished[0]["to"], gate.finished[0]["body"]


# -- triage --------------------------------------------------------------------------------------------------------------


def test_a_signal_is_investigated_without_a_query_or_a_model() -> None:
    with incident_gate() as gate:
        gate.detail = triaging()
        work(gate)
        to, body = ended(gate)
    assert (to, body["queries"], body["model_calls"]) == ("investigating", 0, 0)


def test_what_is_over_by_itself_is_noise() -> None:
    with incident_gate() as gate:
        gate.detail = triaging(until=SINCE + 5)
        work(gate)
        assert ended(gate)[0] == "noise"


def test_an_alert_that_comes_and_goes_is_marked_and_looked_into() -> None:
    with incident_gate() as gate:
        gate.detail = triaging(*({"kind": "fired_again"} for _ in range(3)))
        work(gate)
        to, body = ended(gate)
    assert (to, body["flapping"], body["came_back"]) == ("investigating", True, 3)


@pytest.mark.parametrize(
    ("state", "to"), [("investigating", "linked"), ("escalated", "linked"), ("noise", "investigating")]
)
def test_a_live_incident_of_what_the_service_needs_takes_it_in(state: str, to: str) -> None:
    below = {
        "id": "payments",
        "distance": 1,
        "incidents": [{"id": "inc_2", "state": state, "severity": 3, "title": "x"}],
    }
    with incident_gate() as gate:
        gate.detail = triaging()
        gate.impact = {"depends_on": [below]}
        work(gate)
        found, body = ended(gate)
    assert found == to
    assert body.get("into") == ("inc_2" if to == "linked" else None)


def test_past_noise_never_ends_an_incident_unseen() -> None:
    with incident_gate() as gate:
        gate.detail = {**triaging(), "memory": [{"outcome": "noise", "fault": "", "component": ""}] * 3}
        work(gate)
        assert ended(gate)[0] == "investigating"


# -- holds ---------------------------------------------------------------------------------------------------------------


def test_a_finish_under_a_stale_fence_ends_the_step_and_the_worker_goes_on() -> None:
    with incident_gate() as gate:
        gate.detail = triaging()
        known = gate._fresh

        def overtaken(asked: Asked, path: str) -> Answer:
            if path.endswith("/finish"):
                gate.fence = 7
            return known(asked, path)

        gate._fresh = overtaken  # type: ignore[method-assign]
        told = work(gate)
        assert gate.finished == []
    assert [one["code"] for one in told.of("lost")] == ["work.stale"]


def test_a_hold_that_cannot_be_renewed_stops_the_step_wherever_it_is() -> None:
    class Renewing(Waits):
        renewing = True

    with incident_gate() as gate:
        gate.detail = triaging()
        known = gate._fresh
        reads = 0

        def stuck(asked: Asked, path: str) -> Answer:
            nonlocal reads
            if path.endswith("/impact"):
                gate.fence, reads = 7, reads + 1
                return gate.problem(Refusal(503, "gate.unavailable", retry_after=1))
            return known(asked, path)

        gate._fresh = stuck  # type: ignore[method-assign]
        told = work(gate, waits=Renewing())
        assert gate.finished == []
        assert reads < 1000
    assert told.of("lost")


@pytest.mark.parametrize(
    ("refusal", "waited"),
    [
        (Refusal(429, "limit.exceeded", retry_after=100, times=2), 100),
        (Refusal(429, "work.polls", retry_after=1, times=2), 2),
        (Refusal(403, "kill.stopped", times=2), 30),
    ],
    ids=lambda case: getattr(case, "code", None),
)
def test_a_worker_that_may_not_look_for_work_comes_again_when_it_was_told_to(refusal: Refusal, waited: float) -> None:
    with incident_gate() as gate:
        gate.due, known, refused = 1, gate._fresh, 0

        def bounded(asked: Asked, path: str) -> Answer:
            nonlocal refused
            if path.endswith("/claim") and refused < refusal.times:
                refused += 1
                return gate.problem(refusal)
            return known(asked, path)

        gate._fresh = bounded  # type: ignore[method-assign]
        gate.detail, waits, told = triaging(), Waits(), Told()

        async def main() -> None:
            async def pause(seconds: float) -> None:
                if gate.finished:
                    working.cancel()
                await waits.pause(seconds)

            async with Gate(gate.url, TOKEN, patience=0.0) as client:
                worker = Worker(client, Setup(gate.url, TOKEN, hold_seconds=HOLD_SECONDS), tell=told.tell, pause=pause)
                working = asyncio.create_task(worker.run())
                await asyncio.wait({working})

        asyncio.run(main())
    assert waits[:2] == [waited, waited]
    assert [one["code"] for one in told.of("failed")] == [refusal.code] * 2


def test_a_state_that_asks_nothing_of_an_agent_is_left_alone() -> None:
    with incident_gate() as gate:
        gate.detail = incident(incident={"state": "verifying"})
        told = work(gate)
        assert gate.finished == []
    assert [one["code"] for one in told.of("lost")] == ["state.verifying"]


def test_what_nobody_foresaw_ends_the_step_and_is_told_by_its_class_alone() -> None:
    with incident_gate() as gate:
        gate.detail = {**triaging(), "topology": {"nodes": [{"secret": "s3cr3t"}]}}

        async def main() -> Told:
            told = Told()
            async with Gate(gate.url, TOKEN) as client:
                worker = Worker(client, Setup(gate.url, TOKEN), tell=told.tell, pause=Waits().pause)
                with pytest.raises(KeyError):
                    await worker.run(once=True)
            return told

        told = asyncio.run(main())
    assert told.of("failed") == [
        {"event": "failed", "code": "agent.crashed", "detail": "KeyError", "remedy": "tell the agent's owner"}
    ]


def test_a_credential_that_does_not_hold_ends_the_worker() -> None:
    with incident_gate() as gate:

        async def main() -> None:
            async with Gate(gate.url, "another") as client:
                await Worker(client, Setup(gate.url, "another"), tell=Told().tell, pause=Waits().pause).run()

        with pytest.raises(NotAuthenticated):
            asyncio.run(main())


def test_several_workers_side_by_side_finish_each_step_once() -> None:
    with incident_gate() as gate:
        gate.detail = triaging()

        async def main() -> list[int]:
            async with Gate(gate.url, TOKEN) as client:
                setup = Setup(gate.url, TOKEN, hold_seconds=HOLD_SECONDS)
                workers = [Worker(client, setup, tell=Told().tell, pause=Waits().pause) for _ in range(4)]
                return await asyncio.gather(*(one.run(once=True) for one in workers))

        assert sum(asyncio.run(main())) == 1
        assert len(gate.finished) == 1


# -- keys ----------------------------------------------------------------------------------------------------------------


def test_a_key_is_made_of_the_incident_the_step_and_what_is_asked() -> None:
    key = key_of(INCIDENT, 3, {"b": 1, "a": ["ä", None]})
    assert key == key_of(INCIDENT, 3, {"a": ["ä", None], "b": 1})
    assert key.startswith(f"{INCIDENT}.3.")
    assert len(key) == len(f"{INCIDENT}.3.") + 24
    others = {
        key_of(INCIDENT, 4, {"b": 1, "a": ["ä", None]}),
        key_of(INCIDENT, 3, {"b": 2}),
        key_of("inc_2", 3, {"b": 1}),
    }
    assert key not in others
    assert len(others) == 3


def test_a_read_is_asked_for_once_in_a_step_and_under_the_same_key_in_the_next_run() -> None:
    with incident_gate() as gate:
        gate.detail = triaging()
        work(gate)
        gate.due, gate.fence = 1, 1
        gate.finished.clear()
        work(gate)
        keys = [one.headers["idempotency-key"] for one in gate.seen if one.path.endswith("/finish")]
    assert len(keys) == 2
    assert keys[0] == keys[1]


# -- the process -----------------------------------------------------------------------------------------------------------


def command(gate: IncidentGate, folder: Path, *more: str) -> list[str]:
    token = folder / "token"
    token.write_text(TOKEN)
    return [sys.executable, "-m", "agents", "worker", "--gate", gate.url, "--token-file", str(token), *more]


def test_the_command_does_what_is_due_once_and_tells_it(tmp_path: Path) -> None:
    with incident_gate() as gate:
        gate.detail = triaging()
        done = subprocess.run(
            command(gate, tmp_path, "--once", "--no-model"), capture_output=True, text=True, timeout=180, check=False
        )
    assert done.returncode == 0, done.stderr
    events = [json.loads(line) for line in done.stdout.splitlines()]
    assert [one["event"] for one in events] == ["claimed", "finished", "stopped"]


def test_sigterm_ends_it_cleanly(tmp_path: Path) -> None:
    with incident_gate() as gate:
        gate.due = 0
        process = subprocess.Popen(command(gate, tmp_path), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        try:
            assert gate.polled.wait(60), "it never asked for work"
            process.send_signal(signal.SIGTERM)
            out, problems = process.communicate(timeout=90)
        finally:
            process.kill()
    assert process.returncode == 0, problems
    assert json.loads(out.splitlines()[-1])["event"] == "stopped"


@pytest.mark.parametrize(
    "more",
    [
        ["--model", "m", "--dollars", "1"],
        ["--model", "m", "--dollars", "1", "--prices", "missing.json"],
        ["--model", "m", "--no-model"],
    ],
)
def test_a_limit_in_money_without_a_price_is_a_usage_error(tmp_path: Path, more: list[str]) -> None:
    with incident_gate() as gate:
        done = subprocess.run(command(gate, tmp_path, *more), capture_output=True, text=True, timeout=180, check=False)
    assert done.returncode == 2
