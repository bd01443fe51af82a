"""Every route x method x caller, checked in as text: a new route without rows fails, and so does any changed answer.

Rewrite the reviewed artefact with ``WICKETGATE_UPDATE=1`` and read its difference.
"""

import asyncio
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import httpx

from broker.web.app import is_console
from broker.web.routes import ROUTES, Route
from tests.sim.sse import reading
from tests.sim.world import MODEL, World, world

ARTEFACT = Path(__file__).with_name("access.txt")
CALLERS = ("nobody", "forged", "agent", "alerts", "oncall", "security", "auditor", "stranger")
ALERT = {
    "status": "resolved",
    "labels": {"alertname": "x"},
    "startsAt": "2026-01-01T00:00:00Z",
    "endsAt": "2026-01-01T00:00:01Z",
    "fingerprint": "ab",
}
GATE_RESOURCE = {"type": "process", "id": "checkout", "env": "prod"}


def test_every_route_answers_every_kind_of_caller_as_reviewed(tmp_path: Path) -> None:
    text = asyncio.run(_matrix(tmp_path))
    if os.environ.get("WICKETGATE_UPDATE"):
        ARTEFACT.write_text(text)
    assert text == ARTEFACT.read_text()


def test_the_application_serves_nothing_beside_the_table(tmp_path: Path) -> None:
    async def main() -> set[tuple[str, str]]:
        async with world(tmp_path) as it:
            document = (await it.client.get("/openapi.json")).json()
            undeclared = [
                path
                for path in ("/docs", "/redoc", "/v1", "/v1/", "/admin")
                if (await it.client.get(path)).status_code != 404
            ]
            assert undeclared == []
            return {(method.upper(), path) for path, methods in document["paths"].items() for method in methods}

    assert asyncio.run(main()) == {(route.method, route.path) for route in ROUTES}


async def _matrix(folder: Path) -> str:
    async with world(folder) as it:
        lines = [f"{'route':<55}" + "".join(f"{caller:<34}" for caller in CALLERS)]
        for route in ROUTES:
            if is_console(route.path):
                continue  # people with a cookie: test_console.py
            cells = []
            for caller in CALLERS:
                things = {"digest": "", **await _things(it, route.path)}
                if caller not in {"agent", "alerts"}:
                    things |= {"incident_session": ""}
                answer = await _ask(it, route, await _caller(it, caller), things)
                # Limits are not what this matrix is about: let every bucket refill.
                it.clock.advance(3600)
                cells.append(f"{_cell(answer):<34}")
            lines.append(f"{route.method + ' ' + route.path:<55}" + "".join(cells).rstrip())
        return "\n".join(line.rstrip() for line in lines) + "\n"


async def _caller(it: World, name: str) -> dict[str, str]:
    """Fresh headers of one caller."""
    match name:
        case "nobody":
            return {}
        case "forged":
            return await _forged(it)
        case "agent" | "alerts":
            return await it.agent(f"{name}-1")
        case _:
            return await it.person(name)


async def _forged(it: World) -> dict[str, str]:
    """The agent's token with one character of its signature changed."""
    token = (await it.agent())["Authorization"]
    return {"Authorization": token[:-6] + ("A" if token[-6] != "A" else "B") + token[-5:]}


async def _things(it: World, path: str) -> dict[str, Any]:
    """Ids of the agent's own things, for a route that names one; fresh each time, because some answers change them."""
    if "{id}" not in path:
        return {}
    agent = await it.agent()
    if path.startswith(("/v1/incidents", "/v1/work")):
        return await _incident(it, agent)
    session = await it.session(agent)
    if path.startswith("/v1/approvals"):
        proposed = await it.act(agent, "local.process.restart", session)
        assert proposed.status_code == 202, proposed.text
        approval = proposed.json()["approval"]
        return {"approval": approval["id"], "digest": approval["digest"]}
    done = (await it.act(agent, "local.process.status", session)).json()
    return {"session": session, "action": done["action_id"], "observation": done["observation"]}


async def _incident(it: World, agent: Mapping[str, str]) -> dict[str, Any]:
    """An incident that the agent works on."""
    alert = {"title": "x", "service": "checkout", "env": "prod", "fingerprint": it.key()["Idempotency-Key"]}
    reported = await it.client.post("/v1/incidents", json=alert, headers=await it.agent("alerts-1"))
    assert reported.status_code == 201, reported.text
    claimed = await it.client.post("/v1/work/claim", json={"kinds": ["incident"]}, headers={**agent, **it.key()})
    held = claimed.json()
    incident = {"incident": held["subject"], "incident_session": held["session"], "work": held["work"]}
    return {**incident, "fence": held["fence"], "step": held["step"]}


async def _ask(it: World, route: Route, who: Mapping[str, str], things: Mapping[str, Any]) -> httpx.Response:
    ids = {
        "/v1/sessions": "session",
        "/v1/actions": "action",
        "/v1/observations": "observation",
        "/v1/approvals": "approval",
        "/v1/incidents": "incident",
        "/v1/work": "work",
    }
    path = route.path.replace("{seq}", "0").replace("{export}", "exp_none")
    for prefix, name in ids.items():
        if path.startswith(prefix):
            path = path.replace("{id}", str(things.get(name, "-")))
    if route.handler == "observation":
        path += f"?session={things['session']}"
    if route.method == "GET" and route.path.startswith("/v1/incidents/"):
        path += f"?session={things['incident_session']}" if things["incident_session"] else ""
    body = body_of(route, things)
    headers = {**who, **it.key()}
    if route.stream and route.method == "GET":
        async with reading(it.app, path, who) as reader:
            if reader.status == 200:
                return httpx.Response(200)
            await reader.until(lambda r: r.ended)
            return httpx.Response(reader.status, content=bytes(reader.body))
    return (
        await it.client.request(route.method, path, json=body, headers=headers)
        if body is not None
        else await it.client.request(route.method, path, headers=headers)
    )


def body_of(route: Route, things: Mapping[str, Any]) -> Any:
    """A body that is right in form, so that the answer is about the caller."""
    asked = {"subject": {"type": "human", "id": "dev:somebody"}, "action": {"name": "local.process.status"}}
    target = {"type": "process", "id": "checkout"}
    bodies: dict[str, Any] = {
        "open_session": {"intent": [{"kind": "task", "text": "x"}]},
        "act": {"action": "local.process.status", "resource": GATE_RESOURCE, "reason": "x"},
        "review": {"verdict": "deny", "digest": things["digest"], "reason": "x"},
        "acknowledge": {"digest": things["digest"], "reason": "x"},
        "simulate": {"action": "local.process.restart", "resource": GATE_RESOURCE},
        "activate": {"bundle": "", "signature": ""},
        "rollback": {"digest": "0" * 64},
        "exports_create": {"form": "jsonl", "reason": "x"},
        "redact": {"text": "x"},
        "alertmanager": {"version": "4", "alerts": [ALERT]},
        "report": {"title": "x", "service": "inventory", "env": "prod"},
        "event": {"kind": "take_over", "text": "x"},
        "diagnose": {
            "cause": {"component": "checkout", "fault": "x"},
            "claims": [],
            "session": things.get("incident_session", ""),
        },
        "claim": {"kinds": ["incident"]},
        "renew": {"fence": things.get("fence", 0), "session": things.get("incident_session", "")},
        "finish": {
            "fence": things.get("fence", 0),
            "step": things.get("step", 0),
            "to": "investigating",
            "session": things.get("incident_session", ""),
        },
        "breakglass_open": {"actions": ["local.process.restart"], "targets": [GATE_RESOURCE], "reason": "x"},
        "breakglass_confirm": {"reason": "x"},
        "breakglass_end": {"reason": "x"},
        "breakglass_review": {"reason": "x"},
        "kill": {"scope": "agent", "target": "dev:nobody", "reason": "x"},
        "resume": {"scope": "agent", "target": "dev:nobody", "reason": "x"},
        "authzen_evaluation": {**asked, "resource": target},
        "authzen_evaluations": {**asked, "evaluations": [{"resource": target}]},
        "authzen_search_subject": {**asked, "subject": {"type": "human"}, "resource": target},
        "authzen_search_resource": {**asked, "resource": {"type": "process"}},
        "authzen_search_action": {"subject": asked["subject"], "resource": target},
        "messages": {"model": MODEL, "max_tokens": 10, "messages": [{"role": "user", "content": "x"}]},
        "mcp": {"jsonrpc": "2.0", "id": 1, "method": "tools/list"},
        "count": {"model": MODEL, "messages": [{"role": "user", "content": "x"}]},
    }
    return bodies.get(route.handler)


def _cell(answer: httpx.Response) -> str:
    """Status and, for refusals, the stable code."""
    if answer.status_code < 400:
        return str(answer.status_code)
    body = answer.json()
    return f"{answer.status_code} {body.get('code') or body.get('wicketgate', {}).get('code', '')}"
