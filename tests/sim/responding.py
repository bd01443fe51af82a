"""An agent at work in a world: a worker in the test's own loop, a scripted model that sees only its prompt, and a broken shop."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import Any

from wicketgate import Gate

from agents.asking import Budget
from agents.worker import Setup, Worker
from tests.sim.model_server import Turn
from tests.sim.served import HOST, served
from tests.sim.thinking import is_skeptic, results, used
from tests.sim.world import MODEL, World

Json = Any
Body = Mapping[str, Json]
HOLD_SECONDS = 60


def rehosted(app: Any) -> Any:
    """``app`` as a proxy in front of it would show it: under the gate's own name, whatever the port."""

    async def shown(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http":
            headers = [(name, HOST if name == b"host" else value) for name, value in scope["headers"]]
            scope = {**scope, "headers": headers}
        await app(scope, receive, send)

    return shown


async def no_time(_seconds: float) -> None:
    """A pause that takes none."""
    await asyncio.sleep(0)


async def patient(seconds: float) -> None:
    """A pause that takes no time; the renewal of a hold never comes."""
    if seconds >= HOLD_SECONDS / 3:
        await asyncio.Event().wait()
    await asyncio.sleep(0)


@contextlib.asynccontextmanager
async def worker(
    it: World, *, model: bool = True, tell: Callable[..., None] = lambda *_, **__: None, app: Any = None,
    pause: Callable[[float], Awaitable[None]] = patient, name: str = "agent-1",
) -> AsyncIterator[Worker]:  # fmt: skip
    """A worker with the identity ``name`` on the world's gate, over a real socket."""

    known: dict[int, str] = {}

    async def token() -> str:
        now = it.clock.now_ns() // 10**9
        if now not in known:
            known[now] = (await it.agent(name))["Authorization"].removeprefix("Bearer ")
        return known[now]

    token.forget = known.clear  # type: ignore[attr-defined]
    async with served(rehosted(app or it.app)) as port:
        url = f"http://127.0.0.1:{port}"
        async with Gate(url, token, sleep=no_time) as gate:
            setup = Setup(url, token, MODEL if model else "", Budget(), HOLD_SECONDS)
            yield Worker(gate, setup, tell=tell, pause=pause)


async def report(it: World, service: str = "checkout", **more: Json) -> str:
    """An alert comes in; the incident's id."""
    body = {"title": "errors", "service": service, "env": "prod", "severity": "critical", **more}
    answer = await it.client.post("/v1/incidents", json=body, headers={**await it.person("oncall"), **it.key()})
    assert answer.status_code == 201, answer.text
    return str(answer.json()["incident"])


async def incident(it: World, id_: str) -> dict[str, Json]:
    """All of it, as a person sees it."""
    answer = await it.client.get(f"/v1/incidents/{id_}", headers=await it.person("oncall"))
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


REMEDIED = frozenset({"awaiting_approval", "auto_ok", "leased", "executing", "verifying"})
"""The remedy waits for a person, or is on its way."""


def broken(it: World, service: str = "checkout") -> None:
    """The service's cache is bad, its process ends again and again, and it counts seconds faster than before."""
    it.supervisor.caches[service] = b"bad"
    now = it.clock.now_ns() // 10**9
    points = [[now - 900 + 15 * n, f"{0.01 * n if n < 40 else 0.4 + 0.9 * (n - 39):.2f}"] for n in range(60)]
    it.supervisor.series = [{"name": "shop_request_seconds_sum", "labels": {"service": service}, "points": points}]
    running = it.supervisor.children[service].running
    if running.returncode is None:
        running.kill()


# -- the scripted model ---------------------------------------------------------------------------------------------------


def opening(body: Body) -> dict[str, Json]:
    """What the conversation began with."""
    told: dict[str, Json] = json.loads(body["messages"][0]["content"])
    return told


def queries(body: Body, service: str) -> dict[str, dict[str, Json]]:
    """Reads of ``service``, by what they are for."""
    window = opening(body)["window"]
    range_ = {"since_s": window["since"], "until_s": window["until"], "step_s": 15}
    log = {"window_seconds": 900, "pattern": "error", "end_s": window["until"]}
    return {
        "state": {"tool": "local_process_status", "input": {"resource": f"process:{service}"}},
        "metric": {
            "tool": "local_metrics_range",
            "input": {"resource": f"process:{service}", "metric": "shop_request_seconds_sum", **range_},
        },
        "log": {"tool": "local_logs_search", "input": {"resource": f"process:{service}", **log}},
    }


def claim(observation: str, selector: str, op: str, value: Json, role: str) -> dict[str, Json]:
    """One claim on the wire."""
    return {
        "observation": observation,
        "selector": selector,
        "op": op,
        "value": value,
        "role": role,
        "text": "it shows",
    }


def responder(body: Body) -> Turn:
    """A model that finds what ``broken`` broke; as a skeptic it looks closer, and predicts that it is slow there, too."""
    if is_skeptic(body):
        service = opening(body)["symptom_at"]
        metric = queries(body, service)["metric"]
        if not used(body):
            return Turn(tools=((metric["tool"], {**metric["input"], "step_s": 30}),))
        slow = claim(results(body)[0]["observation"], "$.series[*].points[*] | max", "gt", "0.5", "prediction")
        return Turn(tools=(("submit", {"predictions": [slow]}),))
    told = opening(body)
    service = told["incident"]["service"]
    ask = queries(body, service)
    if "propose" not in used(body):
        rows = [("h1", "upstream_dependency", "dependency-down", "log"), ("h2", "recent_change", "crash-loop", "state"),
                ("h3", "no_fault", "unknown", "metric")]  # fmt: skip
        given = [
            {
                "id": n,
                "kind": kind,
                "component": service,
                "fault": fault,
                "statement": "it may be",
                "refuting_query": ask[q],
            }
            for n, kind, fault, q in rows
        ]
        return Turn("I look.", tools=(("propose", {"hypotheses": given}),))
    answers = next(one["answers"] for one in results(body) if "answers" in one)
    claims = [
        claim(answers["h2"]["observation"], "$.state", "eq", "failed", "cause"),
        claim(answers["h3"]["observation"], "$.series[*].points[*] | max", "gt", "0.5", "symptom"),
        # What nobody can show keeps its confidence under what an agent may act alone on: people are asked.
        *(claim(answers["h2"]["observation"], f"$.unsaid_{n}", "eq", "so", "context") for n in range(4)),
    ]
    return Turn(tools=(("submit", {"leader": "h2", "claims": claims, "summary": "the process is down"}),))
