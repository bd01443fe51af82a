"""The gate's HTTP API as its clients see it, with answers that a test chooses. Real sockets, real wire; no decisions.

``rules`` maps an action to what happens to it: a mapping is its result, ``"wait"`` lets it wait for a review, a
``Refusal`` is a problem, and a callable chooses by the request. Idempotency keys hold as the contract says.
"""

import json
import secrets
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs, urlsplit

from demo.wire import Answer, Asked
from tests.sim.loopback import on_loopback

Json = Any
TOKEN = "sim-token"


@dataclass(frozen=True)
class Refusal:
    """A problem answer, given ``times`` times after the action was permitted ``after`` times."""

    status: int
    code: str
    retry_after: float | None = None
    times: int = 1_000_000
    after: int = 0
    title: str = "policy denies this request"


@dataclass
class Waiting:
    """An action that waits for a review."""

    action_id: str
    approval: str
    digest: str
    verdict: str = ""
    result: Json = None


@dataclass
class SimGate:
    """State of one simulated gate; ``seen`` is every request that came."""

    rules: dict[str, Json] = field(default_factory=dict)
    model: Callable[[Asked], Answer] | None = None
    tokens: set[str] = field(default_factory=lambda: {TOKEN})
    seen: list[Asked] = field(default_factory=list)
    drop_next: int = 0
    url: str = ""

    def __post_init__(self) -> None:
        self._stored: dict[str, Answer] = {}
        self._waiting: dict[str, Waiting] = {}
        self._given: dict[str, int] = {}
        self._changed = threading.Condition()
        self._seq = 0

    def route(self, asked: Asked) -> Answer:
        """Answer any request; only health needs no token."""
        self.seen.append(asked)
        if self.drop_next:
            self.drop_next -= 1
            raise ConnectionAbortedError("the simulated connection breaks")
        path = urlsplit(asked.path).path
        if path in {"/livez", "/readyz"}:
            return Answer(200, {"ok": True})
        if asked.headers.get("authorization", "").removeprefix("Bearer ") not in self.tokens:
            return self.problem(Refusal(401, "identity.required"))
        return self._known(asked, path)

    def _known(self, asked: Asked, path: str) -> Answer:
        match (asked.method, *path.strip("/").split("/")):
            case ("POST", "v1", "sessions"):
                return Answer(
                    201, {"session": "ses_" + "a" * 26, "expires_at": 1_900_000_000, "budgets": {"actions": 10}}
                )
            case ("POST", "v1", "actions"):
                return self._act(asked)
            case ("GET", "v1", "actions", action_id):
                return self._wait(action_id, parse_qs(urlsplit(asked.path).query))
            case ("POST", "v1", "approvals", approval, "reviews"):
                return self._review(approval, asked.json())
            case ("POST", "llm", "anthropic", *_) if self.model is not None:
                return self.model(asked)
            case _:
                return self.problem(Refusal(404, "resource.not_found"))

    def bodies(self, path: str) -> list[dict[str, Json]]:
        """The JSON bodies that came to one path."""
        return [asked.json() for asked in self.seen if asked.path == path]

    def keys(self) -> list[str]:
        """The idempotency keys that came with actions."""
        return [asked.headers["idempotency-key"] for asked in self.seen if asked.path == "/v1/actions"]

    def problem(self, refusal: Refusal) -> Answer:
        body = {
            "type": "urn:wicketgate:problem:" + refusal.code,
            "title": refusal.title,
            "status": refusal.status,
            "detail": "it was refused",
            "code": refusal.code,
            "remedy": "do something else",
            "decision_id": "dec_" + "a" * 26,
            "reasons": [{"code": refusal.code, "remedy": "do something else"}],
            "receipt": self._receipt(),
        }
        retry = {"retry-after": str(refusal.retry_after)} if refusal.retry_after is not None else {}
        return Answer(refusal.status, json.dumps(body).encode(), "application/problem+json", headers=retry)

    def _act(self, asked: Asked) -> Answer:
        key, request = asked.headers.get("idempotency-key", ""), asked.json()
        if key and key in self._stored:
            return self._stored[key]
        rule = self.rules.get(request["action"], {})
        rule = rule(request) if callable(rule) else rule
        if isinstance(rule, Refusal):
            self._given[request["action"]] = self._given.get(request["action"], 0) + 1
            if rule.after < self._given[request["action"]] <= rule.after + rule.times:
                return self.problem(rule)
            rule = {}
        action_id = "act_" + secrets.token_hex(13)
        if rule == "wait":
            waiting = Waiting(
                action_id,
                "apr_" + secrets.token_hex(13),
                secrets.token_hex(32),
                result={"restarted": request["resource"]["id"]},
            )
            self._waiting[action_id] = waiting
            answer = self._pending(waiting)
        else:
            answer = self._done(action_id, rule)
        self._stored[key] = answer
        return answer

    def _wait(self, action_id: str, query: Mapping[str, list[str]]) -> Answer:
        waiting = self._waiting[action_id]
        with self._changed:
            self._changed.wait_for(lambda: waiting.verdict, timeout=float(query.get("wait", ["0"])[0]))
        if waiting.verdict == "deny":
            return self.problem(Refusal(403, "approval.denied"))
        return self._done(action_id, waiting.result) if waiting.verdict else self._pending(waiting)

    def _review(self, approval: str, review: Mapping[str, Json]) -> Answer:
        waiting = next(one for one in self._waiting.values() if one.approval == approval)
        if review["digest"] != waiting.digest:
            return self.problem(Refusal(409, "approval.digest"))
        if isinstance(rule := self.rules.get("gate.review.create"), Refusal):
            return self.problem(rule)
        self.decide(waiting.action_id, review["verdict"])
        return Answer(200, {"approval": self._brief(waiting), "receipt": self._receipt()})

    def decide(self, action_id: str, verdict: str) -> None:
        """A person answers."""
        with self._changed:
            self._waiting[action_id].verdict = verdict
            self._changed.notify_all()

    def _done(self, action_id: str, value: Json) -> Answer:
        result = {"status": "ok", "value": value, "capped": False, "untrusted": []}
        decision = {"id": "dec_x", "effect": "permit", "tier": 0, "reasons": [], "obligations": ["redact"]}
        body = {
            "action_id": action_id,
            "status": "done",
            "observation": "obs_x",
            "result": result,
            "decision": decision,
        }
        return Answer(200, {**body, "receipt": self._receipt()})

    def _pending(self, waiting: Waiting) -> Answer:
        approval = {
            "id": waiting.approval,
            "digest": waiting.digest,
            "quorum": 1,
            "expires_at": 1_900_000_000,
            "url": "/v1/approvals/x",
        }
        decision = {"id": "dec_x", "effect": "permit", "tier": 2, "reasons": [], "obligations": ["requireapproval"]}
        body = {"action_id": waiting.action_id, "status": "waiting", "approval": approval, "decision": decision}
        return Answer(202, {**body, "receipt": self._receipt()})

    def _brief(self, waiting: Waiting) -> dict[str, Json]:
        return {
            "id": waiting.approval,
            "action_id": waiting.action_id,
            "action": "local.process.restart",
            "resource": {},
            "requester": "dev:agent-1",
            "state": "approved" if waiting.verdict == "approve" else "denied",
            "tier": 2,
            "digest": waiting.digest,
            "quorum": 1,
            "expires_at": 1_900_000_000,
        }

    def _receipt(self) -> dict[str, Json]:
        self._seq += 1
        return {"log": "sim/log/default", "seq": self._seq, "leaf": secrets.token_hex(32)}


@contextmanager
def simulated_gate(**rules: Json) -> Iterator[SimGate]:
    """A simulated gate on a free port; keyword ``local__process__restart="wait"`` is a rule (``__`` for the dots)."""
    gate = SimGate({name.replace("__", "."): rule for name, rule in rules.items()})
    with on_loopback(gate.route) as gate.url:
        yield gate
