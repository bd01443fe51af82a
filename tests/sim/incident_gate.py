"""A simulated gate with one incident on it: its session's reads, the model endpoint with keys, the judge, the work.

Answers are a test's own; what holds as the contract says are the keys (the same key gives the same answer, another payload
is refused), the fence, and that a result is stored before it is given. ``judge`` decides what the gate would recompute.
"""

import hashlib
import json
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from demo.wire import Answer, Asked
from tests.sim.gate import Refusal, SimGate
from tests.sim.loopback import on_loopback

Json = Any
INCIDENT = "inc_" + "a" * 26
SESSION = "ses_" + "b" * 26
MODEL = "claude-sonnet-5-5"
SINCE = 1_800_000_000
STARTED = SINCE - 300


def window_schema(**more: Json) -> dict[str, Json]:
    """JSON Schema of a read over a window."""
    number = {"type": "integer"}
    properties = {"since_s": number, "until_s": number, **more}
    return {
        "type": "object",
        "properties": properties,
        "required": ["since_s", "until_s"],
        "additionalProperties": False,
    }


READS: list[dict[str, Json]] = [
    {"name": "shop.metrics.range", "title": "Read a metric", "effect": "read", "resource_types": ["process"],
     "arguments": window_schema(metric={"type": "string"})},
    {"name": "shop.logs.search", "title": "Search a log", "effect": "read", "resource_types": ["process"],
     "arguments": window_schema(pattern={"type": "string"})},
    {"name": "shop.change.list", "title": "List changes", "effect": "read", "resource_types": ["repository"],
     "arguments": window_schema()},
    {"name": "shop.process.restart", "title": "Restart", "effect": "write", "resource_types": ["process"],
     "arguments": {"type": "object", "properties": {}}},
    {"name": "gate.incidents.read", "title": "See incidents", "effect": "read", "resource_types": ["gate"],
     "arguments": {"type": "object", "properties": {}}},
]  # fmt: skip


def incident(**more: Json) -> dict[str, Json]:
    """An incident in the state ``investigating``, as the gate tells it."""
    row = {
        "id": INCIDENT, "state": "investigating", "version": 3, "severity": 3, "title": "errors at checkout",
        "service": "checkout", "env": "prod", "fingerprint": "f1", "session": SESSION, "since": STARTED,
        "opened_at": SINCE - 60, "changed_at": SINCE, "alert": {"labels": {"alertname": "HighErrorRate"}},
    }  # fmt: skip
    events = [
        {"id": f"{INCIDENT}.1", "seq": 1, "kind": "received", "at": SINCE - 60, "actor": "x", "to_state": "", "body": {}},
        {"id": f"{INCIDENT}.2", "seq": 2, "kind": "investigating", "at": SINCE, "actor": "x",
         "from_state": "triaging", "to_state": "investigating", "body": {}},
    ]  # fmt: skip
    nodes = [
        {"id": name, "type": kind, "env": "prod", "owners": []}
        for name, kind in (("checkout", "process"), ("payments", "process"), ("config", "repository"))
    ]
    detail: dict[str, Json] = {
        "incident": row,
        "events": events,
        "diagnoses": [],
        "topology": {"nodes": nodes, "edges": [["checkout", "payments"]]},
        "memory": [],
        "remedies": [],
    }
    for name, value in more.items():
        detail[name] = {**row, **value} if name == "incident" else value
    return detail


Judge = Callable[[Mapping[str, Json]], dict[str, Json]]


def believing(body: Mapping[str, Json]) -> dict[str, Json]:
    """A judge that finds every claim true; one of value ``false claim`` is not."""
    claims = [
        {**one, "verdict": "refuted" if one.get("value") == "false claim" else "verified", "actual": one.get("value")}
        for one in body["claims"]
    ]
    deciding = [one for one in claims if one["role"] in {"cause", "prediction"}]
    held = len(claims) > 1 and all(one["verdict"] == "verified" for one in deciding)
    missing = [] if held else [{"code": "evidence.refuted", "remedy": "mend the claim"}]
    return {"verdict": "diagnosed" if held else "inconclusive", "claims": claims, "missing": missing}


@dataclass
class IncidentGate(SimGate):
    """One incident. ``finished`` and ``diagnosed`` are what was asked for; ``model`` answers a call's body."""

    detail: dict[str, Json] = field(default_factory=incident)
    judge: Judge = believing
    think: Callable[[Mapping[str, Json]], Answer] | None = None
    impact: dict[str, Json] = field(default_factory=lambda: {"depends_on": []})
    fence: int = 1
    due: int = 1
    """Claims that find the incident due."""
    finished: list[dict[str, Json]] = field(default_factory=list)
    diagnosed: list[dict[str, Json]] = field(default_factory=list)
    thought: list[dict[str, Json]] = field(default_factory=list)
    """Bodies of model calls that reached the model."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.polled = threading.Event()
        """Set once somebody has asked for work."""
        self._kept: dict[str, tuple[str, Answer]] = {}
        self._turn = threading.RLock()

    def _known(self, asked: Asked, path: str) -> Answer:
        key = asked.headers.get("idempotency-key", "")
        if not key or asked.method != "POST" or path.endswith("/claim"):
            return self._fresh(asked, path)
        with self._turn:
            digest = hashlib.sha256(_payload(asked)).hexdigest()
            if key in self._kept:
                stored, answer = self._kept[key]
                return answer if stored == digest else self.problem(Refusal(422, "idempotency.key_reused"))
            answer = self._fresh(asked, path)
            if answer.status < 300 or path.startswith("/llm/"):
                self._kept[key] = digest, answer
            return answer

    def _fresh(self, asked: Asked, path: str) -> Answer:  # noqa: PLR0911 - one case a route
        match (asked.method, *path.strip("/").split("/")):
            case ("GET", "v1", "actions"):
                return Answer(200, {"actions": READS})
            case ("GET", "v1", "incidents", _):
                return Answer(200, self.detail)
            case ("GET", "v1", "incidents", _, "impact"):
                return Answer(200, self.impact)
            case ("POST", "v1", "incidents", _, "diagnoses"):
                return self._diagnose(asked.json())
            case ("POST", "v1", "work", "claim"):
                self.polled.set()
                return self._claim()
            case ("POST", "v1", "work", _, verb):
                return self._held(verb, asked.json())
            case ("POST", "llm", "anthropic", *_) if self.think is not None:
                self.thought.append(asked.json())
                return self.think(asked.json())
            case ("POST", "v1", "actions"):
                return self._act(asked)
            case _:
                return super()._known(asked, path)

    def _diagnose(self, body: Mapping[str, Json]) -> Answer:
        self.diagnosed.append(dict(body))
        named = f"dgn_{len(self.diagnosed)}"
        judged = self.judge(body)
        return Answer(201, {"diagnosis": named, "confidence_milli": 700, **judged})

    def _claim(self) -> Answer:
        if not self.due:
            return Answer(204, b"")
        self.due -= 1
        claimed = {"work": "wrk_1", "kind": "incident", "subject": INCIDENT, "session": SESSION, "step": 3}
        return Answer(200, {**claimed, "fence": self.fence, "until": SINCE + 600})

    def _held(self, verb: str, body: Mapping[str, Json]) -> Answer:
        if body["fence"] != self.fence:
            return self.problem(Refusal(409, "work.stale"))
        if verb == "renew":
            return Answer(200, {"until": SINCE + 600})
        self.finished.append(dict(body))
        self.fence += 1
        return Answer(200, {"state": body["to"]})

    def _done(self, action_id: str, value: Json) -> Answer:
        """A read's answer is kept as an observation; ``__status`` says how it ended."""
        status = "ok"
        if isinstance(value, dict):
            value = dict(value)
            status = value.pop("__status", status)
        body = super()._done(action_id, value).body
        assert isinstance(body, dict)
        body["result"]["status"] = status
        return Answer(200, {**body, "observation": action_id.replace("act_", "obs_")})


def _payload(asked: Asked) -> bytes:
    """What a digest covers: not the proof that the caller still holds the work."""
    body = {name: value for name, value in asked.json().items() if name != "work"}
    return json.dumps([asked.path, body], sort_keys=True).encode()


@contextmanager
def incident_gate(**rules: Json) -> Iterator[IncidentGate]:
    """A simulated gate on a free port; keyword ``shop__logs__search=…`` is the answer of a read (``__`` for the dots)."""
    gate = IncidentGate({name.replace("__", "."): rule for name, rule in rules.items()})
    with on_loopback(gate.route) as gate.url:
        yield gate


def path_of(asked: Asked) -> str:
    """The path alone."""
    return urlsplit(asked.path).path
