"""A gate that dies between its own row of a remedy and the intent leaves nothing that is followed for ever."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.test_remedies import QUICK, last, outcome, play
from tests.sim.troubled import Counters, Troubled
from tests.sim.world import world

RAN_OUT = 400
"""Seconds after which nobody can be between the two any more."""


def dies_before_the_intent(it: Troubled, monkeypatch: pytest.MonkeyPatch) -> asyncio.Event:
    """The process ends right before the log is asked to take the remedy's intent."""
    records, reached = it.it.gate.records, asyncio.Event()
    intent: Callable[..., Awaitable[Any]] = records.intent

    async def gone(principal: Any, request: Any, *rest: Any, **named: Any) -> Any:
        if request.action == "local.cache.clear":
            reached.set()
            raise asyncio.CancelledError
        return await intent(principal, request, *rest, **named)

    monkeypatch.setattr(records, "intent", gone)
    return reached


async def again(it: Troubled, monkeypatch: pytest.MonkeyPatch) -> None:
    """The gate starts anew, and the agent signs in anew."""
    monkeypatch.undo()
    await it.it.stop()
    await it.it.start()
    it.agent = await it.it.agent()


def test_an_automatic_remedy_that_never_began_calls_people(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def scene(it: Troubled) -> None:
        await it.diagnose()
        reached = dies_before_the_intent(it, monkeypatch)
        with pytest.raises(asyncio.CancelledError):
            await it.ask("local.cache.clear")
        assert reached.is_set()
        await again(it, monkeypatch)
        asked = await it.it.gate.incidents.asked("default", it.incident)
        await it.finish("proposed", action_id=asked)
        await it.turn()
        assert await it.state() == "executing"
        await it.pass_time(RAN_OUT)
        assert await it.state() == "escalated"
        assert (await last(it, "escalated"))["reason"] == "action.not_begun"
        assert await outcome(it, asked) == "cancelled"
        assert it.it.supervisor.caches == {"checkout": b"rotten"}

    play(tmp_path, scene)


def test_an_approved_remedy_that_never_began_calls_people(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def scene(it: Troubled) -> None:
        await it.diagnose(sure=False)
        body = (await it.ask("local.cache.clear")).json()
        await it.finish("proposed", action_id=body["action_id"])
        await it.turn()
        reached = dies_before_the_intent(it, monkeypatch)
        assert (await it.it.review(await it.it.person("oncall"), body["approval"])).status_code == 200
        await asyncio.wait_for(reached.wait(), 90)
        # Its state was seen meanwhile.
        assert await it.it.gate.aftermath.settle("default", it.incident) is not None
        assert await it.state() == "executing"
        await again(it, monkeypatch)
        await it.pass_time(RAN_OUT)
        assert await it.state() == "escalated"
        assert (await last(it, "escalated"))["reason"] == "action.not_begun"
        assert await outcome(it, body["action_id"]) == "cancelled"
        assert it.it.supervisor.caches == {"checkout": b"rotten"}

    play(tmp_path, scene)


def test_nothing_is_measured_again_and_again_for_a_requester_who_is_gone(tmp_path: Path) -> None:
    async def main() -> None:
        async with world(tmp_path, extra=QUICK + "[sessions]\napproval_grace_seconds = 0\n") as it:
            it.supervisor.caches["checkout"] = b"rotten"
            child = it.supervisor.children["checkout"]
            child.running.kill()
            await child.running.wait()
            trouble = Troubled(it, Counters())
            await trouble.open(severity="critical")
            await trouble.diagnose(sure=False)
            body = (await trouble.ask("local.cache.clear")).json()
            await trouble.finish("proposed", action_id=body["action_id"])
            await trouble.turn()
            it.clock.advance(650)
            assert (await it.review(await it.person("oncall"), body["approval"])).status_code == 200
            background = it.gate.background
            waiting = await it.gate.approvals.get("default", body["approval"]["id"])
            for _ in range(9_000):
                if waiting.action_id not in background._resuming:
                    break
                await asyncio.sleep(0.01)  # the gate's own loop is at it in this moment
            await background.resume(waiting)
            assert (await it.gate.approvals.get("default", body["approval"]["id"])).state == "approved"
            assert [event.kind for event in await trouble.events()].count("baseline") == 1

    asyncio.run(main())
