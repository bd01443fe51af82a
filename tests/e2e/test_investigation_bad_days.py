"""Bad days of an investigation: the gate restarts under it, the alert ends, people step in, a service above fails too."""

import asyncio
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.sim.responding import REMEDIED, broken, incident, report, responder, worker
from tests.sim.world import World, world

Json = Any
DUE = {"triaging", "investigating", "diagnosed"}


class Between:
    """The gate as the world has it now; ``do`` happens before the n-th request that ``fits``."""

    def __init__(self, it: World, fits: Callable[[str], bool], do: Any, *, at: int = 1) -> None:
        self.it = it
        self.fits = fits
        self.do = do
        self.at = at
        self.seen = 0

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http" and self.fits(f"{scope['method']} {scope['path']}"):
            self.seen += 1
            if self.seen == self.at:
                await self.do()
        await self.it.app(scope, receive, send)


async def worked(it: World, id_: str, app: Any = None, *, model: bool = True) -> dict[str, Json]:
    """Workers take what is due until the incident waits for somebody else."""
    told: list[Json] = []
    async with worker(it, app=app, model=model, tell=lambda event, **fields: told.append((event, fields))) as one:
        for _ in range(2_000):
            await one.run(once=True)
            whole = await incident(it, id_)
            if whole["incident"]["state"] not in DUE | {"proposed"}:
                return whole
            await asyncio.sleep(0.02)
    raise AssertionError(told[-3:])


def test_the_gate_restarts_under_a_running_investigation(tmp_path: Path) -> None:
    async def main() -> None:
        async with world(tmp_path) as it:
            it.models.script = responder
            broken(it)
            id_ = await report(it)

            async def restart() -> None:
                await it.stop()
                await it.start()

            app: Any = Between(it, lambda what: "/diagnoses" in what, restart)
            app = _chained(app, Between(it, lambda what: "/llm/" in what, restart, at=2))
            whole = await worked(it, id_, app)
            assert whole["incident"]["state"] == "awaiting_approval"
            asked = [json.dumps(seen.json) for seen in it.models.seen]
            assert len(asked) == len(set(asked)) == 4
            assert len(whole["diagnoses"]) == 2

    asyncio.run(main())


def _chained(first: Between, then: Between) -> Any:
    """Both, one after the other."""

    async def both(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http" and first.fits(f"{scope['method']} {scope['path']}"):
            await first(scope, receive, send)
        else:
            await then(scope, receive, send)

    return both


def test_an_alert_that_ends_in_the_middle_ends_the_investigation_as_noise(tmp_path: Path) -> None:
    async def main() -> None:
        async with world(tmp_path) as it:
            it.models.script = responder
            broken(it)
            id_ = await report(it, fingerprint="f1")

            async def resolve() -> None:
                await report(it, fingerprint="f1", status="resolved")

            whole = await worked(it, id_, Between(it, lambda what: "/llm/" in what, resolve, at=2))
            states = [event["to_state"] for event in whole["events"]]
            assert "noise" in states
            assert "diagnosed" not in states
            assert it.supervisor.actions == {}

    asyncio.run(main())


def test_a_person_who_takes_over_stops_the_agent_s_step(tmp_path: Path) -> None:
    async def main() -> None:
        async with world(tmp_path) as it:
            it.models.script = responder
            broken(it)
            id_ = await report(it)

            async def take() -> None:
                oncall = await it.person("oncall")
                body = {"kind": "take_over", "text": "mine"}
                await it.client.post(f"/v1/incidents/{id_}/events", json=body, headers={**oncall, **it.key()})

            whole = await worked(it, id_, Between(it, lambda what: "/llm/" in what, take, at=2))
            assert whole["incident"]["state"] == "human_hold"
            assert not any(event["kind"] == "diagnosed" for event in whole["events"])

    asyncio.run(main())


def test_what_a_person_ruled_out_is_not_diagnosed_again(tmp_path: Path) -> None:
    async def main() -> None:
        async with world(tmp_path) as it:
            broken(it)
            (tmp_path / "logs" / "checkout.log").write_text(
                '2026-01-01T00:00:00Z level=error msg="process exited with code 1"\n'
            )
            id_ = await report(it)
            oncall = await it.person("oncall")
            body = {"kind": "rule_out", "component": "checkout", "fault": "crash-loop", "text": "I looked"}
            answer = await it.client.post(f"/v1/incidents/{id_}/events", json=body, headers={**oncall, **it.key()})
            assert answer.status_code == 201
            whole = await worked(it, id_, model=False)
            assert whole["incident"]["state"] == "escalated"
            assert not any(one["cause"]["fault"] == "crash-loop" for one in whole["diagnoses"])

    asyncio.run(main())


def test_an_alert_of_a_service_above_joins_the_incident_below_and_is_not_acted_on_twice(tmp_path: Path) -> None:
    async def main() -> None:
        async with world(tmp_path) as it:
            it.models.script = responder
            broken(it, "payments")
            below = await report(it, "payments")
            above = await report(it, "checkout")
            assert (await incident(it, above))["incident"]["state"] == "linked"
            assert (await worked(it, below))["incident"]["state"] in REMEDIED

    asyncio.run(main())


def test_of_an_alert_above_that_came_first_the_agent_makes_one_incident(tmp_path: Path) -> None:
    async def main() -> None:
        async with world(tmp_path) as it:
            it.models.script = responder
            broken(it, "payments")
            above = await report(it, "checkout")
            below = await report(it, "payments")
            first = await worked(it, above)
            assert (first["incident"]["state"], first["incident"]["merged_into"]) == ("linked", below)
            assert (await worked(it, below))["incident"]["state"] in REMEDIED
            assert len({json.dumps(seen.json) for seen in it.models.seen}) == 4

    asyncio.run(main())
