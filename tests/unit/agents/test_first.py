"""The first agent against a simulated gate and the scripted model, over real HTTP and the real SDK."""

import asyncio
import io
import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from agents.events import Teller, marks
from agents.first import Task, work
from demo.modelserver import Provider
from demo.wire import Answer, Asked
from tests.sim.gate import TOKEN, Refusal, SimGate, simulated_gate

SERVICES = ("storefront", "checkout", "payments", "inventory")


def metrics_of(failing: str) -> Any:
    """A rule: counters of a shop in which ``failing`` has errors of its own, and those before it pass them on."""

    def answer(request: Mapping[str, Any]) -> dict[str, Any]:
        service, metric = request["resource"]["id"], request["arguments"]["metric"]
        own = 40 if service == failing else 0
        series = [{"name": "shop_requests_total", "labels": {"service": service, "code": "200"}, "value": 100}]
        if metric == "shop_errors":
            series = [
                {"name": "shop_errors_total", "labels": {"service": service, "origin": "self"}, "value": own},
                {"name": "shop_errors_total", "labels": {"service": service, "origin": "upstream"}, "value": 60},
                {"name": "shop_errors_created", "labels": {"service": service, "origin": "self"}, "value": 1.7e9},
            ]
        return {"metric": metric, "at": 1, "series": series}

    return answer


def logs(request: Mapping[str, Any]) -> Any:
    """A rule: one redacted line of a log; the burst meets its limit after 30."""
    if request["arguments"]["window_seconds"] == 1:
        return Refusal(429, "limit.exceeded", retry_after=3, after=30)
    text = '2026-01-01T00:00:00Z level=error msg="connection pool exhausted: 8 of 8 in use" email=EMAIL_7K3Q9M2XTB4C'
    return {"matched": 1, "lines": [{"at": 1, "file": "checkout.log", "text": text}]}


def model_behind_the_gate(folder: Path) -> Any:
    """The scripted provider under the gate's path; a far model is refused as the gate refuses it."""
    provider = Provider(TOKEN, folder / "model-requests.jsonl")

    def route(asked: Asked) -> Answer:
        if asked.json()["model"] == "claude-opus-5-5":
            refused = {
                "type": "permission_error",
                "message": "policy denies this request [residency.region_forbidden]; x",
            }
            ours = {
                "code": "residency.region_forbidden",
                "remedy": "use a model in the right region",
                "decision_id": "dec_1",
            }
            return Answer(
                403, {"type": "error", "error": refused, "wicketgate": ours}, headers={"x-should-retry": "false"}
            )
        return provider.route(replace(asked, path=asked.path.removeprefix("/llm/anthropic")))

    return route


def task(gate: SimGate, **more: Any) -> Task:
    models = {"model": "claude-sonnet-5-5", "far_model": "claude-opus-5-5"}
    return Task(gate.url, TOKEN, SERVICES, "Customers get errors.", **{**models, **more})


def approving(gate: SimGate) -> Teller:
    """A teller whose listener approves each proposal, as a person beside the terminal does."""

    class Approving(Teller):
        def tell(self, event: str, **fields: Any) -> None:
            super().tell(event, **fields)
            if event == "approval":
                gate.decide(next(reversed(gate._waiting)), "approve")

    return Approving(io.StringIO())


def events(teller: Teller) -> list[dict[str, Any]]:
    out = teller._out
    assert isinstance(out, io.StringIO)
    return [json.loads(line) for line in out.getvalue().splitlines()]


RULES: dict[str, Any] = {
    "local__metrics__query": metrics_of("checkout"),
    "local__logs__search": logs,
    "local__config__read": Refusal(403, "denylist.resource"),
    "local__process__restart": "wait",
    "gate__review__create": Refusal(403, "guardrail.persons_only"),
}


def test_the_agent_restarts_the_service_that_fails_by_its_own_fault_and_waits_for_a_person(tmp_path: Path) -> None:
    with simulated_gate(**RULES) as gate:
        gate.model = model_behind_the_gate(tmp_path)
        teller = approving(gate)
        assert asyncio.run(work(task(gate), teller)) is True
        asked = [body for body in gate.bodies("/v1/actions") if body["action"] == "local.process.restart"]
    assert [body["resource"]["id"] for body in asked] == ["checkout"]
    assert "40% of the requests to checkout fail by its own fault" in asked[0]["reason"]
    assert "connection pool exhausted" in asked[0]["reason"]
    codes = [event["code"] for event in events(teller) if event["event"] == "decided" and event["verdict"] == "refuse"]
    assert codes == [
        "denylist.resource",
        "residency.region_forbidden",
        "guardrail.persons_only",
        "limit.exceeded",
    ]


def test_every_call_of_the_model_carries_the_session_and_the_agent_s_own_bearer(tmp_path: Path) -> None:
    with simulated_gate(**RULES) as gate:
        gate.model = model_behind_the_gate(tmp_path)
        asyncio.run(work(task(gate), approving(gate)))
        calls = [asked for asked in gate.seen if asked.path.startswith("/llm/")]
    assert len(calls) == 4
    assert {asked.headers["wicketgate-session"] for asked in calls} == {"ses_" + "a" * 26}
    assert {asked.headers["authorization"] for asked in calls} == {f"Bearer {TOKEN}"}
    assert not any("anthropic-beta" in asked.headers or "x-api-key" in asked.headers for asked in calls)


def test_the_provider_s_environment_cannot_move_the_model_endpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ANTHROPIC_BASE_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("ANTHROPIC_API_KEY", "somebody-else")
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    with simulated_gate(**RULES) as gate:
        gate.model = model_behind_the_gate(tmp_path)
        assert asyncio.run(work(task(gate), approving(gate))) is True
        assert "somebody-else" not in str(gate.seen)


def test_a_denied_proposal_reaches_the_model_as_an_error_and_nothing_is_restarted(tmp_path: Path) -> None:
    class Denying(Teller):
        def tell(self, event: str, **fields: Any) -> None:
            super().tell(event, **fields)
            if event == "approval":
                gate.decide(next(reversed(gate._waiting)), "deny")

    with simulated_gate(**RULES) as gate:
        gate.model = model_behind_the_gate(tmp_path)
        teller = Denying(io.StringIO())
        assert asyncio.run(work(task(gate), teller)) is False
    said = [event["text"] for event in events(teller) if event["event"] == "said"]
    assert "A person must decide" in said[-1]
    last = json.loads((tmp_path / "model-requests.jsonl").read_text().splitlines()[-1])["body"]["messages"][-1]
    assert last["content"][0]["is_error"] is True
    assert "approval.denied" in last["content"][0]["content"]


def test_without_a_model_the_agent_decides_by_rule() -> None:
    with simulated_gate(**{**RULES, "local__metrics__query": metrics_of("payments")}) as gate:
        teller = approving(gate)
        assert asyncio.run(work(task(gate, model="", far_model=""), teller)) is True
        restarted = [
            body["resource"]["id"] for body in gate.bodies("/v1/actions") if body["action"] == "local.process.restart"
        ]
        assert not any(asked.path.startswith("/llm/") for asked in gate.seen)
    assert restarted == ["payments"]


def test_without_a_fault_nothing_is_proposed(tmp_path: Path) -> None:
    with simulated_gate(**{**RULES, "local__metrics__query": metrics_of("nobody")}) as gate:
        gate.model = model_behind_the_gate(tmp_path)
        assert asyncio.run(work(task(gate), approving(gate))) is False
        assert asyncio.run(work(task(gate, model=""), approving(gate))) is False
        assert all(body["action"] != "local.process.restart" for body in gate.bodies("/v1/actions"))


def test_the_burst_stops_at_the_first_refusal(tmp_path: Path) -> None:
    with simulated_gate(**RULES) as gate:
        gate.model = model_behind_the_gate(tmp_path)
        asyncio.run(work(task(gate), approving(gate)))
        burst = [body for body in gate.bodies("/v1/actions") if body["arguments"].get("window_seconds") == 1]
    assert len(burst) == 4 * 8


def test_marks_are_counted_by_entity_and_ordinary_words_are_not() -> None:
    value = {
        "a": "EMAIL_7K3Q9M2XTB4C and EMAIL_7K3Q9M2XTB4C",
        "b": ["[SECRET:aws:0a1b2c3d]", "IP_B2_1F_09_77_4C"],
        "c": "HTTP_REQUESTS_TOTAL AWS_ACCESS",
    }
    assert dict(marks(value)) == {"EMAIL": 2, "SECRET": 1, "IP": 1}
