"""A worker that is killed in the middle of anything: the next one ends the step, and nothing is bought or done twice."""

import asyncio
import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.sim.responding import HOLD_SECONDS, REMEDIED, broken, incident, report, responder, worker
from tests.sim.served import until
from tests.sim.world import World, world

Json = Any
MODES = ("before", "after", "amid")
"""Where a request is when its worker dies: not yet at the gate, carried out but not answered, half answered."""


class Killing:
    """The gate as a worker reaches it; kills the worker at chosen requests, each counted once however often it comes."""

    def __init__(self, app: Any, mode: str, chosen: Callable[[int], bool], ends: str | tuple[str, ...] = "") -> None:
        self.app = app
        self.ends = ends
        self.mode = mode
        self.chosen = chosen
        self.known: list[str] = []
        self.killed: list[str] = []
        self.kill: Callable[[], object] = lambda: None

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        mark = _mark(scope) if scope["type"] == "http" and scope["path"].endswith(self.ends) else ""
        first = bool(mark) and mark not in self.known
        if first:
            self.known.append(mark)
        if not first or not self.chosen(len(self.known)):
            await self.app(scope, receive, send)
            return
        self.killed.append(mark)
        if self.mode == "before":
            self.kill()
            await asyncio.Event().wait()

        async def cut(message: Any) -> None:
            if self.mode == "amid" and message["type"] == "http.response.start":
                self.kill()

        await self.app(scope, receive, cut)
        self.kill()


def _mark(scope: Any) -> str:
    """What a request is, over all repetitions; nothing for a claim, and for three reads of four, which are alike."""
    if scope["type"] != "http":
        return ""
    headers = dict(scope["headers"])
    key = headers.get(b"idempotency-key", b"").decode()
    path = scope["path"]
    if path == "/v1/work/claim" or (path == "/v1/actions" and key and int(key[-1], 16) % 4):
        return ""
    return f"{scope['method']} {path} {key.partition('.')[2]}"


async def died(it: World, killing: Killing, name: str) -> None:
    """One worker's life, ended by the killing or by having nothing to do; then its hold runs out."""
    async with worker(it, app=killing, name=name) as one:
        life = asyncio.create_task(one.run(once=True))
        killing.kill = life.cancel
        await asyncio.wait({life})
        if not life.cancelled():
            life.result()
    await it.gate.pipeline.drain()
    it.clock.advance(HOLD_SECONDS + 1)


@pytest.mark.parametrize("mode", MODES)
def test_a_worker_killed_anywhere_buys_nothing_and_does_nothing_twice(tmp_path: Path, mode: str) -> None:
    async def main() -> None:
        async with world(tmp_path) as it:
            it.models.script = responder
            for turn, service in enumerate(("payments", "inventory")):
                it.models.seen.clear()
                broken(it, service)
                id_ = await report(it, service)
                part = (turn + MODES.index(mode)) % 3
                killing = Killing(it.app, mode, lambda n, part=part: n % 3 == part)  # type: ignore[misc]
                whole = await worked(it, id_, killing)
                assert len(killing.killed) >= 4
                asked = [json.dumps(seen.json) for seen in it.models.seen]
                assert len(asked) == len(set(asked)) == 4, "the model was asked each thing once"
                assert len(whole["diagnoses"]) == 2
                await approved(it, whole["incident"])
                await until(lambda: bool(it.supervisor.aside))
                assert len(it.supervisor.actions) == turn + 1
                it.supervisor.aside.clear()
                await ended(it, id_)

    asyncio.run(main())


async def worked(it: World, id_: str, killing: Killing, *names: str) -> dict[str, Json]:
    """Workers live and die, one identity after the other, until the remedy waits for people or is on its way."""
    for number in range(60):
        await died(it, killing, names[number % len(names)] if names else "agent-1")
        whole = await incident(it, id_)
        if whole["incident"]["state"] in REMEDIED:
            return whole
        assert whole["incident"]["state"] in {"triaging", "investigating", "diagnosed", "proposed"}, whole["events"][-1]
    raise AssertionError("it did not come so far")


def test_workers_of_two_identities_do_nothing_twice_between_them(tmp_path: Path) -> None:
    async def main() -> None:
        async with world(tmp_path) as it:
            it.models.script = responder
            broken(it, "payments")
            id_ = await report(it, "payments")
            # Whoever first comes to the end of a step, all that it asked for done, dies before it says so.
            killing = Killing(it.app, "before", lambda n: n % 2 == 1, ends=("/finish",))
            whole = await worked(it, id_, killing, "agent-1", "agent-2")
            assert len(killing.killed) == 3
            await approved(it, whole["incident"])
            await until(lambda: bool(it.supervisor.aside))
            assert len(it.supervisor.actions) == 1
            per_answer = Counter(json.dumps(seen.json) for seen in it.models.seen)
            assert max(per_answer.values()) <= 2, "keys belong to an identity: each asks the model once at most"

    asyncio.run(main())


async def approved(it: World, incident: Json) -> None:
    """A person says yes to the one remedy that was asked for, where it waits for one."""
    oncall = await it.person("oncall")
    rows = (await it.client.get("/v1/approvals", headers=oncall)).json()["approvals"]
    waiting = [one for one in rows if one["state"] == "waiting"]
    assert len(waiting) == (incident["state"] == "awaiting_approval")
    for one in waiting:
        assert one["action_id"] == incident["action_id"]
        assert (await it.review(oncall, one)).status_code == 200


async def ended(it: World, id_: str) -> None:
    """A person takes the incident over and closes it."""
    oncall = await it.person("oncall")
    for kind in ("take_over", "close"):
        body = {"kind": kind, "text": "done"}
        answer = await it.client.post(f"/v1/incidents/{id_}/events", json=body, headers={**oncall, **it.key()})
        assert answer.status_code == 201, answer.text
