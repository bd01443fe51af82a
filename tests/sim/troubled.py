"""An incident in a running world, driven as an agent, people and the background would; the shop's counters follow a script."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import httpx

from tests.sim.world import World

Headers = Mapping[str, str]
RATE = 10
"""Requests a second of every service."""


@dataclass
class Counters:
    """Counters of a service whose share of failures changes at instants: ``[(from second, share)]``."""

    shares: dict[str, list[tuple[int, float]]] = field(default_factory=dict)

    def set(self, name: str, at: int, share: float) -> None:
        """From ``at`` on, ``share`` of the requests of ``name`` fail."""
        self.shares.setdefault(name, []).append((at, share))

    def __call__(self, name: str, asked: Mapping[str, Any]) -> list[dict[str, Any]]:
        """The history's answer."""
        instants = range(asked["since_s"], asked["until_s"] + 1, asked["step_s"])
        failing = asked["metric"] == "shop_errors_total"
        points = [[at, f"{self._failed(name, at) if failing else at * RATE:.3f}"] for at in instants]
        return [{"labels": {"service": name}, "points": points}]

    def _failed(self, name: str, until: int) -> float:
        """Failures up to ``until``: counted from long ago, so that it only grows."""
        steps = sorted([(0, 0.0), *self.shares.get(name, [])])
        ends = [at for at, _ in steps[1:]] + [until]
        return sum(max(0, min(end, until) - at) * RATE * share for (at, share), end in zip(steps, ends, strict=True))


@dataclass
class Troubled:
    """One incident of checkout."""

    it: World
    counters: Counters
    incident: str = ""
    agent: Headers = field(default_factory=dict)
    held: dict[str, Any] = field(default_factory=dict)
    diagnosis: str = ""

    @property
    def now(self) -> int:
        """The world's second."""
        return self.it.clock.now_ns() // 10**9

    async def open(self, *, service: str = "checkout", severity: str = "critical", share: float = 0.5) -> None:
        """``service`` fails, and its alert comes in."""
        self.it.supervisor.series = self.counters
        self.counters.set(service, self.now - 60, share)
        self.agent = await self.it.agent()
        labels = {"alertname": "ErrorRate", "service": service, "env": "prod", "severity": severity}
        alert = {
            "status": "firing",
            "labels": labels,
            "annotations": {"summary": f"{service} fails"},
            "startsAt": datetime.fromtimestamp(self.now, UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
            "endsAt": "0001-01-01T00:00:00Z",
            "fingerprint": f"{abs(hash((service, severity))):016x}"[:16],
        }
        said = {"version": "4", "receiver": "gate", "status": "firing", "alerts": [alert], "truncatedAlerts": 0}
        reporter = await self.it.agent("alerts-1")
        answer = await self.it.client.post("/v1/webhooks/alertmanager", json=said, headers=reporter)
        assert answer.status_code == 200, answer.text
        [self.incident] = answer.json()["incidents"]

    async def post(self, path: str, body: Mapping[str, Any], who: Headers | None = None) -> httpx.Response:
        """POST with a fresh key."""
        return await self.it.client.post(path, json=body, headers={**(who or self.agent), **self.it.key()})

    async def claim(self) -> dict[str, Any]:
        """The agent takes the incident's next step."""
        await self.turn()
        answer = await self.post("/v1/work/claim", {"kinds": ["incident"], "hold_seconds": 600})
        assert answer.status_code == 200, (answer.status_code, answer.text, await self.state())
        self.held = answer.json()
        return self.held

    async def finish(self, to: str, **body: Any) -> None:
        """The agent ends its step."""
        held = self.held
        said = {"fence": held["fence"], "step": held["step"], "to": to, "body": body, "session": held["session"]}
        answer = await self.post(f"/v1/work/{held['work']}/finish", said)
        assert answer.status_code == 200, answer.text

    async def investigate(self) -> str:
        """The agent takes the incident to its investigation; returns the session."""
        await self.claim()
        await self.finish("investigating")
        return str((await self.claim())["session"])

    async def diagnose(
        self, component: str = "checkout", fault: str = "crash-loop", *, sure: bool = True, accept: bool = True
    ) -> None:
        """The agent looks, claims what it saw, and the gate finds it proven; ``sure`` adds another kind of signal."""
        session = await self.investigate()
        claims = await self.claims(component, session, sure=sure)
        body = {"cause": {"component": component, "fault": fault}, "claims": claims, "session": session}
        answer = await self.post(f"/v1/incidents/{self.incident}/diagnoses", body)
        assert answer.status_code == 201, answer.text
        self.diagnosis = answer.json()["diagnosis"]
        if accept:
            assert answer.json()["verdict"] == "diagnosed", answer.text
            await self.finish("diagnosed", diagnosis=self.diagnosis)
            await self.claim()

    async def claims(self, component: str, session: str, *, sure: bool) -> list[dict[str, Any]]:
        """True claims over what the agent reads now."""
        window = {"since_s": self.now - 600, "until_s": self.now, "step_s": 1}
        said = {"metric": "shop_errors_total", **window}
        metric = await self.seen("local.metrics.range", session, said, component)
        status = await self.seen("local.process.status", session, {}, component)
        state = "running" if self.it.supervisor.children[component].running.returncode is None else "failed"
        found = [
            {"observation": metric, "selector": "$.series[0].points[*] | delta", "op": "gt", "value": "100"},
            {"observation": status, "selector": "$.state", "op": "eq", "value": state},
        ]
        if sure:
            log = await self.seen("local.logs.search", session, {"window_seconds": 3600}, component)
            selector = "$.lines[?text~/card declined/] | count"
            found.append({"observation": log, "selector": selector, "op": "eq", "value": 1})
        return [{**claim, "role": "cause"} for claim in found]

    async def seen(self, action: str, session: str, arguments: Mapping[str, Any], component: str) -> str:
        """The observation of one read."""
        answer = await self.it.act(self.agent, action, session, arguments, id_=component)
        assert answer.status_code == 200, answer.text
        return str(answer.json()["observation"])

    async def ask(
        self,
        action: str,
        arguments: Mapping[str, Any] | None = None,
        *,
        type_: str = "process",
        id_: str = "checkout",
        key: Mapping[str, str] | None = None,
        **more: Any,
    ) -> httpx.Response:
        """The agent asks for a remedy, in its piece of work and on its diagnosis."""
        body = {
            "session": self.held["session"],
            "action": action,
            "resource": {"type": type_, "id": id_, "env": "prod"},
            "arguments": dict(arguments or {}),
            "reason": "it heals what was found",
            "diagnosis": self.diagnosis,
            "work": {"id": self.held["work"], "fence": self.held["fence"]},
            **more,
        }
        headers = {**self.agent, **(key if key is not None else self.it.key())}
        return await self.it.client.post("/v1/actions", json=body, headers=headers)

    async def ask_afresh(self) -> httpx.Response:
        """The hold ran out: the agent claims the step again and asks for the remedy."""
        await self.claim()
        return await self.ask("local.cache.clear")

    async def turn(self) -> None:
        """The background's round: events on record, approvals resumed, the gate's own work done."""
        await self.it.gate.incident_acts.record()
        await self.it.sweep()
        await self.it.work_off()
        # What the work itself put down must be on record before anything more is due.
        await self.it.gate.incident_acts.record()

    async def pass_time(self, seconds: int, step: int = 30) -> None:
        """Time goes by, and the background takes its turns."""
        for _ in range(0, seconds, step):
            self.it.clock.advance(step)
            await self.turn()

    async def state(self) -> str:
        """Where the incident is."""
        return (await self.it.gate.incidents.get("default", self.incident)).state

    async def events(self) -> list[Any]:
        """All that happened."""
        return await self.it.gate.incidents.events("default", self.incident)
