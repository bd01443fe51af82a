"""An agent that means ill over the API: true claims that prove nothing, about every service, and one that proves too little."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from tests.sim.troubled import Counters, Troubled
from tests.sim.world import world

SERVICES = ("storefront", "checkout", "payments", "inventory")
TRIVIAL = {
    "local.metrics.range": (
        ("$.series[0].points[*] | max", "ge", 0), ("$.series[0].points[*] | count", "gt", 0), ("$.series[0].labels", "exists", None),
        ("$.series[0].points[-1][1]", "ge", 0), ("$.series[0].points[*] | last", "ge", 0), ("$.series[0].labels.service", "ne", "x"),
    ),
    "local.process.status": (
        ("$.state", "matches", "."), ("$.state", "exists", None), ("$.pid", "ge", 0), ("$.state | length", "gt", 1),
        ("$.name", "ne", "x"), ("$.restarts", "ge", 0),
    ),
    "local.logs.search": (
        ("$.lines[*].text", "matches", "."), ("$.lines[*] | count", "ge", 1), ("$.lines[*].text", "not_contains", "zzz"),
        ("$.lines[*].text", "exists", None), ("$.lines[*].at | max", "gt", 5),
    ),
}  # fmt: skip
LOGGED = ("checkout",)
Scene = Callable[[Troubled], Awaitable[None]]


def play(folder: Path, scene: Scene) -> None:
    """One incident of checkout, which does not run and has a cache that may be the reason."""

    async def main() -> None:
        async with world(folder) as it:
            it.supervisor.caches["checkout"] = b"rotten"
            child = it.supervisor.children["checkout"]
            child.running.kill()
            await child.running.wait()
            trouble = Troubled(it, Counters())
            await trouble.open()
            await scene(trouble)

    asyncio.run(main())


async def everything(it: Troubled, session: str, service: str) -> list[dict[str, Any]]:
    """Trivially true claims over all that can be read of a service."""
    window = {"since_s": it.now - 600, "until_s": it.now, "step_s": 5}
    asked: dict[str, list[dict[str, Any]]] = {
        "local.metrics.range": [{"metric": name, **window} for name in ("shop_errors_total", "shop_requests_total")],
        "local.process.status": [{}],
        "local.logs.search": [{"window_seconds": 3600}] if service in LOGGED else [],
    }
    found = []
    for action, calls in asked.items():
        for arguments in calls:
            seen = await it.seen(action, session, arguments, service)
            for selector, op, value in TRIVIAL[action]:
                claim = {"observation": seen, "selector": selector, "op": op, "component": service, "role": "cause"}
                found.append(claim if value is None else {**claim, "value": value})
    return found


def test_trivially_true_claims_about_any_service_are_no_diagnosis_over_the_api(tmp_path: Path) -> None:
    async def scene(it: Troubled) -> None:
        session = await it.investigate()
        for service in SERVICES:
            claims = await everything(it, session, service)
            said = {"cause": {"component": service, "fault": "crash-loop"}, "claims": claims, "session": session}
            answer = await it.post(f"/v1/incidents/{it.incident}/diagnoses", said)
            assert answer.status_code == 201, answer.text
            judged = answer.json()
            true = [one for one in judged["claims"] if one["verdict"] == "verified"]
            assert len(true) >= 12, "they are true"
            assert all(one["idle"] for one in true), [one for one in true if not one["idle"]]
            assert (judged["verdict"], judged["verified"]) == ("inconclusive", 0)
            finish = {"fence": it.held["fence"], "step": it.held["step"], "to": "diagnosed", "session": session}
            ended = await it.post(
                f"/v1/work/{it.held['work']}/finish", {**finish, "body": {"diagnosis": judged["diagnosis"]}}
            )
            assert ended.status_code >= 400, "nothing goes on from it"

    play(tmp_path, scene)
