"""Each call of the client is one request of the contract, and its answer is read as the gate writes it."""

import asyncio
import base64
import json
from collections.abc import Awaitable, Callable
from typing import Any

import httpx
import pytest
from wicketgate import Gate, Intent

RECEIPT = {"log": "l/default", "seq": 1, "leaf": "ab"}
APPROVAL = {
    "id": "apr_1", "action_id": "act_1", "action": "local.process.restart", "resource": {"type": "process"}, "requester": "dev:agent-1",
    "state": "waiting", "tier": 2, "digest": "d", "quorum": 1, "expires_at": 1, "url": "/v1/approvals/apr_1",
}  # fmt: skip
FULL = {**APPROVAL, "arguments": {"grace_s": 5}, "reason": "r", "plan": {"summary": "s"}, "roles": ["oncall"], "separation": "actor",
        "policy_revision": "1", "reviews": []}  # fmt: skip


def exchange(call: Callable[[Gate], Awaitable[Any]], *answers: Any) -> tuple[Any, list[httpx.Request]]:
    """Run ``call`` against scripted answers; its result and the requests."""
    seen: list[httpx.Request] = []
    left = list(answers)

    def answer(request: httpx.Request) -> httpx.Response:
        seen.append(request)
        return httpx.Response(200, json=left.pop(0))

    async def main() -> Any:
        async with httpx.AsyncClient(transport=httpx.MockTransport(answer)) as http:
            return await call(Gate("http://gate.test/", "t", client=http))

    return asyncio.run(main()), seen


CALLS: list[tuple[str, Callable[[Gate], Awaitable[Any]], Any, str, str, Any, Callable[[Any], bool]]] = [
    ("catalog", lambda g: g.actions.catalog(), {"actions": [{"name": "a"}]}, "GET", "/v1/actions", None, lambda r: r == [{"name": "a"}]),
    ("observation", lambda g: g.observations.get("obs_1"), {"observation": "obs_1", "value": {"x": 1}, "receipt": RECEIPT},
     "GET", "/v1/observations/obs_1", None, lambda r: (r.id, r.value) == ("obs_1", {"x": 1})),
    ("observation in a session", lambda g: g.observations.get("obs_1", "ses_1"), {"observation": "obs_1", "status": "truncated", "value": 1, "receipt": RECEIPT},
     "GET", "/v1/observations/obs_1?session=ses_1", None, lambda r: (r.status, r.value) == ("truncated", 1)),
    ("show", lambda g: g.approvals.show("apr_1"), FULL, "GET", "/v1/approvals/apr_1", None, lambda r: r.plan == {"summary": "s"}),
    ("review", lambda g: g.approvals.review("apr_1", "approve", digest="d", reason="ok", narrow={"grace_s": 1}),
     {"approval": {**APPROVAL, "state": "approved"}, "receipt": RECEIPT}, "POST", "/v1/approvals/apr_1/reviews",
     {"verdict": "approve", "digest": "d", "reason": "ok", "narrow": {"grace_s": 1}}, lambda r: r.approval.state == "approved"),
    ("policies", lambda g: g.policies.read(), {"engine": "regorus"}, "GET", "/v1/policies", None, lambda r: r["engine"] == "regorus"),
    ("simulate", lambda g: g.policies.simulate({"action": "a"}), {"decision": 1}, "POST", "/v1/policies/simulate", {"action": "a"}, lambda r: r["decision"] == 1),
    ("activate", lambda g: g.policies.activate(b"\x00\x01", "sig", reason="r"), {"status": "waiting"}, "POST", "/v1/policies/activate",
     {"bundle": "AAE=", "signature": "sig", "reason": "r"}, lambda r: r["status"] == "waiting"),
    ("rollback", lambda g: g.policies.rollback("dd", reason="r"), {"status": "waiting"}, "POST", "/v1/policies/rollback",
     {"digest": "dd", "reason": "r"}, lambda r: r["status"] == "waiting"),
    ("entries", lambda g: g.audit.entries(after=4, limit=2, kinds=("intent", "outcome"), session="ses_1"), {"entries": [{"seq": 5, "leaf": "a", "record": {"kind": "intent"}}]},
     "GET", "/v1/audit/entries?after=4&limit=2&kinds=intent%2Coutcome&session=ses_1", None, lambda r: r[0].record["kind"] == "intent"),
    ("checkpoint", lambda g: g.audit.checkpoint(), {"checkpoint": "l\n1\n"}, "GET", "/v1/audit/checkpoint", None, lambda r: r == "l\n1\n"),
    ("proof", lambda g: g.audit.proof(3), {"proof": "c2sp.org/tlog-proof@v1\n"}, "GET", "/v1/audit/proof/3", None, lambda r: r.startswith("c2sp")),
    ("stopped", lambda g: g.agents.stopped(), {"stopped": [{"scope": "all"}]}, "GET", "/v1/agents", None, lambda r: r[0]["scope"] == "all"),
    ("kill", lambda g: g.agents.kill("agent", "dev:agent-1", reason="r"), {"changed": True}, "POST", "/v1/kill",
     {"scope": "agent", "target": "dev:agent-1", "reason": "r"}, lambda r: r["changed"]),
    ("resume", lambda g: g.agents.resume("all", reason="r"), {"changed": True}, "POST", "/v1/kill/resume",
     {"scope": "all", "target": "", "reason": "r"}, lambda r: r["changed"]),
    ("open", lambda g: g.sessions.open([Intent("t", "s", "alert")], agent="dev:agent-1", labels={"a": "b"}),
     {"session": "ses_1", "expires_at": 1, "budgets": {}}, "POST", "/v1/sessions",
     {"intent": [{"text": "t", "source": "s", "kind": "alert"}], "agent": "dev:agent-1", "incident": "", "labels": {"a": "b"}}, lambda r: r.id == "ses_1"),
    ("close", lambda g: g.sessions.close("ses_1"), {"closed": True}, "DELETE", "/v1/sessions/ses_1", None, lambda r: r is None),
]  # fmt: skip


@pytest.mark.parametrize(
    ("call", "answer", "method", "path", "body", "holds"), [case[1:] for case in CALLS], ids=[case[0] for case in CALLS]
)
def test_a_call_is_its_request_and_reads_its_answer(
    *,
    call: Callable[[Gate], Awaitable[Any]],
    answer: Any,
    method: str,
    path: str,
    body: Any,
    holds: Callable[[Any], bool],
) -> None:
    result, (request,) = exchange(call, answer)
    assert (request.method, request.url.raw_path.decode()) == (method, path)
    assert (json.loads(request.content) if request.content else None) == body
    assert ("idempotency-key" in request.headers) is (method != "GET")
    assert holds(result)


def test_a_list_of_approvals_goes_on_to_its_last_page() -> None:
    pages = [{"approvals": [APPROVAL], "after": "apr_1"}, {"approvals": [{**APPROVAL, "id": "apr_2"}], "after": ""}]
    found, requests = exchange(lambda gate: gate.approvals.list(), *pages)
    assert [one.id for one in found] == ["apr_1", "apr_2"]
    assert [request.url.query for request in requests] == [b"state=waiting", b"state=waiting&after=apr_1"]


def test_an_export_is_joined_from_its_pages_byte_by_byte() -> None:
    async def whole(gate: Gate) -> bytes:
        return b"".join([page async for page in gate.audit.export()])

    # Reading adds records of its own: the third page holds one that was not there at the beginning.
    texts = ((b"a\n", 0), (b"b\n", 1), (b"c\nd\n", 3))
    pages = [{"jsonl": base64.b64encode(text).decode(), "entries": 1, "after": seq} for text, seq in texts]
    joined, requests = exchange(whole, {"checkpoint": "l\n3\nroot\n"}, *pages)
    assert joined == b"a\nb\nc\n"
    assert [request.url.params["after"] for request in requests[1:]] == ["-1", "0", "1"]


def test_answers_may_grow_new_fields() -> None:
    found, _ = exchange(lambda gate: gate.approvals.show("apr_1"), {**FULL, "from_the_future": {"x": 1}})
    assert found.id == "apr_1"
