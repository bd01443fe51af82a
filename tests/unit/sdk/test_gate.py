"""The client against the wire of the gate: results, refusals, retries, waiting."""

import asyncio
import json
from typing import Any

import httpx
import pytest
from wicketgate import (
    ApprovalPending,
    Denied,
    Done,
    Gate,
    GateError,
    Intent,
    LimitExceeded,
    NotAuthenticated,
    NotDone,
    ObligationFailed,
    OnlyPlanned,
    Resource,
    Unavailable,
    Unreachable,
)

from tests.sim.gate import TOKEN, Refusal, SimGate, simulated_gate

CHECKOUT = Resource("process", "checkout", "prod")


class Waits:
    """Records pauses instead of sleeping."""

    def __init__(self) -> None:
        self.seconds: list[float] = []

    async def __call__(self, seconds: float) -> None:
        self.seconds.append(seconds)


def client(gate: SimGate, token: Any = TOKEN, **more: Any) -> tuple[Gate, Waits]:
    waits = Waits()
    return Gate(gate.url, token, sleep=waits, **more), waits


def act(gate: SimGate, action: str = "local.process.status", **more: Any) -> tuple[Any, list[float]]:
    """One action through a client with ``more`` options; the answer or the exception, and the pauses."""
    options = {name: more.pop(name) for name in ("patience", "token", "observer") if name in more}

    async def main() -> Any:
        made, waits = client(gate, **options)
        async with made:
            try:
                return await made.act(action, CHECKOUT, session="ses_x", **more), waits.seconds
            except GateError as error:
                return error, waits.seconds

    return asyncio.run(main())


def test_a_permitted_action_gives_result_decision_and_receipt() -> None:
    with simulated_gate(local__process__status={"running": True}) as gate:
        done, _ = act(gate)
    assert isinstance(done, Done)
    assert done.result["value"] == {"running": True}
    assert done.decision.effect == "permit"
    assert done.receipt.seq > 0


def test_the_request_on_the_wire_is_the_contract_s() -> None:
    with simulated_gate() as gate:
        act(gate, arguments={"a": 1}, reason="why", diagnosis="dia_1", work={"id": "wrk_1", "fence": 3})
        body = gate.bodies("/v1/actions")[0]
        bearer = gate.seen[0].headers["authorization"]
    assert body == {
        "session": "ses_x",
        "action": "local.process.status",
        "resource": {"type": "process", "id": "checkout", "env": "prod"},
        "arguments": {"a": 1},
        "reason": "why",
        "diagnosis": "dia_1",
        "work": {"id": "wrk_1", "fence": 3},
    }
    assert bearer == f"Bearer {TOKEN}"


@pytest.mark.parametrize(
    ("refusal", "kind"),
    [
        (Refusal(401, "identity.required"), NotAuthenticated),
        (Refusal(403, "policy.denied"), Denied),
        (Refusal(403, "obligation.constrain"), ObligationFailed),
        (
            Refusal(403, "residency.region_forbidden", title="a condition of the permit could not be met"),
            ObligationFailed,
        ),
        (Refusal(429, "limit.exceeded"), LimitExceeded),
        (Refusal(503, "policy.unavailable"), Unavailable),
        (Refusal(400, "request.invalid"), GateError),
        (Refusal(404, "resource.not_found"), GateError),
        (Refusal(409, "state.conflict"), GateError),
        (Refusal(502, "upstream.failed"), GateError),
    ],
)
def test_each_problem_becomes_its_own_error_with_code_remedy_decision_and_receipt(
    refusal: Refusal, kind: type[GateError]
) -> None:
    with simulated_gate(local__process__status=refusal) as gate:
        error, _ = act(gate)
    assert type(error) is kind
    assert (error.status, error.code) == (refusal.status, refusal.code)
    assert error.remedy == "do something else"
    assert error.reasons[0].code == refusal.code
    assert error.decision_id.startswith("dec_")
    assert error.receipt.leaf


def test_an_answer_that_is_no_problem_names_the_proxy_as_a_suspect() -> None:
    async def main() -> None:
        answers = httpx.MockTransport(lambda _: httpx.Response(403, text="<html>Forbidden by proxy</html>"))
        async with httpx.AsyncClient(transport=answers) as http:
            await Gate("http://gate.test", TOKEN, client=http).act("a.b.c", CHECKOUT, session="ses_x")

    with pytest.raises(Denied) as caught:
        asyncio.run(main())
    assert caught.value.code == "gate.answer_unreadable"
    assert "proxy" in caught.value.remedy


def test_a_limit_is_waited_for_as_the_gate_says_under_the_same_key() -> None:
    with simulated_gate(local__process__status=Refusal(429, "limit.exceeded", retry_after=2, times=2)) as gate:
        done, pauses = act(gate, patience=10)
        keys = gate.keys()
    assert isinstance(done, Done)
    assert pauses == [2.0, 2.0]
    assert len(keys) == 3
    assert len(set(keys)) == 1


def test_a_wait_beyond_the_patience_is_raised_instead() -> None:
    with simulated_gate(local__process__status=Refusal(429, "limit.exceeded", retry_after=6)) as gate:
        error, pauses = act(gate, patience=10)
    assert isinstance(error, LimitExceeded)
    assert error.retry_after == 6
    assert pauses == [6.0]


def test_without_retry_after_nothing_is_sent_again() -> None:
    with simulated_gate(local__process__status=Refusal(503, "audit.unavailable")) as gate:
        error, pauses = act(gate)
        sent = len(gate.keys())
    assert isinstance(error, Unavailable)
    assert (pauses, sent) == ([], 1)


def test_a_denial_is_never_sent_again() -> None:
    with simulated_gate(local__process__status=Refusal(403, "policy.denied", retry_after=1)) as gate:
        _, pauses = act(gate)
        sent = len(gate.keys())
    assert (pauses, sent) == ([], 1)


def test_a_broken_connection_is_tried_again_under_the_same_key() -> None:
    with simulated_gate() as gate:
        gate.drop_next = 2
        done, pauses = act(gate)
        keys = gate.keys()
    assert isinstance(done, Done)
    assert len(pauses) == 2
    assert pauses[1] > pauses[0]
    assert len(keys) == 3
    assert len(set(keys)) == 1


def test_two_calls_have_two_keys() -> None:
    with simulated_gate() as gate:
        act(gate)
        act(gate)
        assert len(set(gate.keys())) == 2


def test_a_gate_that_is_not_there_is_unreachable_and_says_what_to_check() -> None:
    async def main() -> None:
        async with Gate("http://127.0.0.1:9", TOKEN, patience=0) as gate:
            await gate.act("a.b.c", CHECKOUT, session="ses_x")

    with pytest.raises(Unreachable) as caught:
        asyncio.run(main())
    assert caught.value.code == "gate.unreachable"
    assert "doctor" in caught.value.remedy


def test_without_wait_an_approval_is_pending_and_says_which() -> None:
    with simulated_gate(local__process__status="wait") as gate:
        error, _ = act(gate)
    assert isinstance(error, ApprovalPending)
    assert error.action_id.startswith("act_")
    assert error.approval.digest
    assert error.decision.tier == 2


def test_with_wait_the_result_comes_when_a_person_approves() -> None:
    told: list[object] = []

    def observer(_request: Any, answer: Any) -> None:
        told.append(answer)
        if isinstance(answer, ApprovalPending):
            gate.decide(answer.action_id, "approve")

    with simulated_gate(local__process__status="wait") as gate:
        done, _ = act(gate, wait=90, observer=observer)
        waits = [asked.path.partition("?")[2] for asked in gate.seen if "?" in asked.path]
    assert done.result["value"] == {"restarted": "checkout"}
    assert [type(answer) for answer in told] == [type(None), ApprovalPending, Done]
    assert waits == ["wait=25"]


def test_with_wait_a_denied_approval_is_denied() -> None:
    def observer(_request: Any, answer: Any) -> None:
        if isinstance(answer, ApprovalPending):
            gate.decide(answer.action_id, "deny")

    with simulated_gate(local__process__status="wait") as gate:
        error, _ = act(gate, wait=30, observer=observer)
    assert type(error) is Denied
    assert error.code == "approval.denied"


@pytest.mark.parametrize(
    ("body", "kind", "code"),
    [
        ({"action_id": "act_1", "status": "planned", "plan": {"summary": "x"}}, OnlyPlanned, "obligation.dry_run"),
        ({"action_id": "act_1", "status": "running"}, ApprovalPending, "action.running"),
        ({"action_id": "act_1", "status": "failed", "result": None}, NotDone, "action.failed"),
        ({"action_id": "act_1", "status": "unknown"}, NotDone, "action.unknown"),
        ({"action_id": "act_1", "status": "brand-new"}, GateError, "gate.answer_unreadable"),
        ([], GateError, "gate.answer_unreadable"),
    ],
)
def test_an_answer_without_a_result_is_never_taken_for_one(body: Any, kind: type[GateError], code: str) -> None:
    async def main() -> None:
        answers = httpx.MockTransport(lambda _: httpx.Response(200, text=json.dumps(body)))
        async with httpx.AsyncClient(transport=answers) as http:
            await Gate("http://gate.test", TOKEN, client=http).act("a.b.c", CHECKOUT, session="ses_x")

    with pytest.raises(kind) as caught:
        asyncio.run(main())
    assert caught.value.code == code


def test_a_session_is_the_current_one_inside_its_block_only() -> None:
    async def main(url: str) -> Any:
        async with Gate(url, TOKEN) as gate:
            async with gate.session([Intent(text="t", source="s")]) as session:
                await gate.act("local.process.status", CHECKOUT)
            with pytest.raises(LookupError):
                await gate.act("local.process.status", CHECKOUT)
            return session.id

    with simulated_gate() as gate:
        session = asyncio.run(main(gate.url))
        opened = next(asked for asked in gate.seen if asked.path == "/v1/sessions")
        assert gate.bodies("/v1/actions")[0]["session"] == session
        assert opened.headers["idempotency-key"]
        assert opened.json()["intent"] == [{"text": "t", "source": "s", "kind": "task"}]


def test_two_tasks_have_their_own_current_sessions() -> None:
    async def main(url: str) -> None:
        async with Gate(url, TOKEN) as gate:
            started = asyncio.Event()

            async def inside() -> None:
                async with gate.session([Intent(text="t", source="s")]):
                    started.set()
                    await asyncio.sleep(0)

            async def outside() -> None:
                await started.wait()
                await gate.act("local.process.status", CHECKOUT)

            with pytest.raises(LookupError):
                await asyncio.gather(inside(), outside())

    with simulated_gate() as gate:
        asyncio.run(main(gate.url))


def test_an_error_never_carries_the_payload() -> None:
    with simulated_gate(local__process__status=Refusal(403, "policy.denied")) as gate:
        error, _ = act(gate, arguments={"note": "a very private value"}, reason="another private value")
    assert "private" not in repr(error) + str(error) + error.problem.model_dump_json()


def test_the_gate_s_health_needs_no_token() -> None:
    async def main(url: str) -> Any:
        async with Gate(url) as gate:
            return await gate.live(), await gate.ready()

    with simulated_gate() as gate:
        assert asyncio.run(main(gate.url)) == (True, True)
        assert all("authorization" not in asked.headers for asked in gate.seen)
